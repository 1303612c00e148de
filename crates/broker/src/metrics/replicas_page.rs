//! `kafka.server` and `kafka.cluster`: partitions, their traffic and their followers.

use super::counts::{BrokerCounts, Counter, TopicCounts};
use super::page::Page;
use crate::fetcher::Fetchers;
use crate::replica_manager::{PartitionGauges, ReplicaManager};

/// Writes what the replica manager knows.
pub(super) fn write(page: &mut Page, replicas: &ReplicaManager, fetchers: &Fetchers) {
    let partitions = replicas.partition_gauges();
    let offline = replicas.offline_replica_count();
    let counts = replicas.counts();
    manager(page, &partitions, offline);
    in_sync_replicas(page, counts);
    each_partition(page, &partitions);
    traffic(page, replicas);
    waiting(page, counts);
    fetch_sessions(page, replicas);
    followers(page, fetchers);
}

fn manager(page: &mut Page, partitions: &[PartitionGauges], offline: usize) {
    let led = || partitions.iter().filter(|partition| partition.is_leader);
    let count = |wanted: fn(&PartitionGauges) -> bool| led().filter(|p| wanted(p)).count();
    let mut gauge = |name, help, value| page.gauge(name, help).value(value);
    gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Led partitions of which a replica is not in sync.",
        count(|partition| partition.is_under_replicated),
    );
    gauge(
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Led partitions with fewer in-sync replicas than min.insync.replicas.",
        count(|partition| partition.is_under_min_isr),
    );
    gauge(
        "kafka_server_replicamanager_atminisrpartitioncount",
        "Led partitions with just min.insync.replicas in-sync replicas.",
        count(|partition| partition.is_at_min_isr),
    );
    gauge(
        "kafka_server_replicamanager_reassigningpartitions",
        "Led partitions that are being reassigned.",
        count(|partition| partition.is_reassigning),
    );
    gauge(
        "kafka_server_replicamanager_partitionswithlatetransactionscount",
        "Led partitions with a transaction that should have ended.",
        count(|partition| partition.has_late_transaction),
    );
    gauge(
        "kafka_server_replicamanager_produceridcount",
        "Producers that logs remember.",
        partitions.iter().map(|partition| partition.producers).sum(),
    );
    gauge(
        "kafka_server_replicamanager_leadercount",
        "Partitions that this broker leads.",
        led().count(),
    );
    gauge(
        "kafka_server_replicamanager_partitioncount",
        "Partitions of this broker, offline ones included.",
        partitions.len() + offline,
    );
    gauge(
        "kafka_server_replicamanager_offlinereplicacount",
        "Partitions of this broker in log directories that failed.",
        offline,
    );
}

fn in_sync_replicas(page: &mut Page, counts: &BrokerCounts) {
    let mut counter = |name, help, count: &Counter| page.counter(name, help).value(count.get());
    counter(
        "kafka_server_replicamanager_isrshrinks_total",
        "In-sync replicas that fell behind, as changes that were made.",
        &counts.isr_shrinks,
    );
    counter(
        "kafka_server_replicamanager_isrexpands_total",
        "In-sync replicas that came back, as changes that were made.",
        &counts.isr_expands,
    );
    counter(
        "kafka_server_replicamanager_failedisrupdates_total",
        "Changes of in-sync replicas that were not made.",
        &counts.failed_isr_updates,
    );
}

fn each_partition(page: &mut Page, partitions: &[PartitionGauges]) {
    let mut gauge = |name, help, of: fn(&PartitionGauges) -> i64| {
        let mut family = page.gauge(name, help);
        for partition in partitions {
            let number = partition.topic_partition.partition.to_string();
            let topic = partition.topic_partition.topic.as_str();
            family.sample(&[("topic", topic), ("partition", &number)], of(partition));
        }
    };
    gauge(
        "kafka_cluster_partition_replicascount",
        "Assigned replicas of a led partition.",
        |partition| partition.replicas as i64,
    );
    gauge(
        "kafka_cluster_partition_insyncreplicascount",
        "In-sync replicas of a led partition.",
        |partition| partition.in_sync_replicas as i64,
    );
    gauge(
        "kafka_cluster_partition_underreplicated",
        "Whether a replica of a led partition is not in sync.",
        |partition| i64::from(partition.is_under_replicated),
    );
    gauge(
        "kafka_cluster_partition_underminisr",
        "Whether a led partition has fewer in-sync replicas than min.insync.replicas.",
        |partition| i64::from(partition.is_under_min_isr),
    );
    gauge(
        "kafka_cluster_partition_atminisr",
        "Whether a led partition has just min.insync.replicas in-sync replicas.",
        |partition| i64::from(partition.is_at_min_isr),
    );
    gauge(
        "kafka_cluster_partition_laststableoffsetlag",
        "Offsets below the high watermark that open transactions hold back.",
        |partition| partition.last_stable_offset_lag,
    );
}

/// As in Kafka a topic has a series once there is something to count.
fn traffic(page: &mut Page, replicas: &ReplicaManager) {
    let topics = replicas.counts_by_topic();
    let all = &replicas.counts().all_topics;
    let mut counter = |name, help, of: fn(&TopicCounts) -> &Counter| {
        let mut family = page.counter(name, help);
        family.value(of(all).get());
        for (topic, counts) in &topics {
            let count = of(counts).get();
            if count > 0 {
                family.sample(&[("topic", topic.as_str())], count);
            }
        }
    };
    counter(
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records appended.",
        |counts| &counts.messages_in,
    );
    counter(
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of records appended.",
        |counts| &counts.bytes_in,
    );
    counter(
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of records sent to consumers.",
        |counts| &counts.bytes_out,
    );
    counter(
        "kafka_server_brokertopicmetrics_bytesrejected_total",
        "Bytes of records that were too large.",
        |counts| &counts.bytes_rejected,
    );
    counter(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Appends asked for, by partition.",
        |counts| &counts.total_produce_requests,
    );
    counter(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Appends that failed, by partition.",
        |counts| &counts.failed_produce_requests,
    );
    counter(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Reads for fetches, by partition.",
        |counts| &counts.total_fetch_requests,
    );
    counter(
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Reads for fetches that failed, by partition.",
        |counts| &counts.failed_fetch_requests,
    );
    counter(
        "kafka_server_brokertopicmetrics_producemessageconversions_total",
        "Records that were rebuilt to be appended.",
        |counts| &counts.produce_message_conversions,
    );
    counter(
        "kafka_server_brokertopicmetrics_fetchmessageconversions_total",
        "Records that were converted for clients of old versions.",
        |counts| &counts.fetch_message_conversions,
    );
    let counts = replicas.counts();
    let mut counter = |name, help, count: &Counter| page.counter(name, help).value(count.get());
    counter(
        "kafka_server_brokertopicmetrics_replicationbytesin_total",
        "Bytes of records appended as a follower.",
        &counts.replication_bytes_in,
    );
    counter(
        "kafka_server_brokertopicmetrics_replicationbytesout_total",
        "Bytes of records sent to followers.",
        &counts.replication_bytes_out,
    );
}

fn waiting(page: &mut Page, counts: &BrokerCounts) {
    let kinds = [
        ("Fetch", &counts.waiting_fetches),
        ("Produce", &counts.waiting_produces),
    ];
    let mut family = page.gauge(
        "kafka_server_delayedoperationpurgatory_numdelayedoperations",
        "Requests that wait.",
    );
    for (kind, waiting) in kinds {
        family.sample(&[("delayedOperation", kind)], waiting.requests());
    }
    let mut family = page.gauge(
        "kafka_server_delayedoperationpurgatory_purgatorysize",
        "Partitions for which requests wait.",
    );
    for (kind, waiting) in kinds {
        family.sample(&[("delayedOperation", kind)], waiting.places());
    }
}

fn fetch_sessions(page: &mut Page, replicas: &ReplicaManager) {
    let (sessions, partitions, evictions) = replicas.fetch_sessions.totals();
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        "Incremental fetch sessions.",
    )
    .value(sessions);
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
        "Partitions in incremental fetch sessions.",
    )
    .value(partitions);
    page.counter(
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
        "Incremental fetch sessions that made room for others.",
    )
    .value(evictions);
}

fn followers(page: &mut Page, fetchers: &Fetchers) {
    const REPLICA: [(&str, &str); 1] = [("clientId", "Replica")];
    let counts = fetchers.counts();
    page.gauge(
        "kafka_server_replicafetchermanager_maxlag",
        "Records by which the last of the followed partitions is behind its leader.",
    )
    .sample(&REPLICA, counts.lag_max);
    page.gauge(
        "kafka_server_replicafetchermanager_failedpartitionscount",
        "Partitions that cannot be followed.",
    )
    .sample(&REPLICA, counts.failed_partitions);
    let mut family = page.gauge(
        "kafka_server_fetcherlagmetrics_consumerlag",
        "Records by which a followed partition is behind its leader.",
    );
    for (fetcher, partition, lag) in fetchers.lags() {
        let number = partition.partition.to_string();
        let labels = [
            ("clientId", fetcher.as_str()),
            ("topic", partition.topic.as_str()),
            ("partition", &number),
        ];
        family.sample(&labels, lag);
    }
}
