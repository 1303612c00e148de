//! Numbers of now, for the metrics (`Partition`, `ReplicaManager`).

use std::sync::Arc;

use ottla_model::{Offset, Timestamp, TopicName, TopicPartition};

use super::ReplicaManager;
use super::hosted::{Hosted, HostedPartition};
use crate::metrics::TopicCounts;

/// One partition as its metrics show it. Followers know only the offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionGauges {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) is_leader: bool,
    /// `ReplicasCount`: those that a reassignment adds are left out.
    pub(crate) replicas: usize,
    /// `InSyncReplicasCount`.
    pub(crate) in_sync_replicas: usize,
    pub(crate) is_under_replicated: bool,
    pub(crate) is_under_min_isr: bool,
    pub(crate) is_at_min_isr: bool,
    pub(crate) is_reassigning: bool,
    /// From the last stable offset to the high watermark.
    pub(crate) last_stable_offset_lag: Offset,
    /// Producers that the log remembers.
    pub(crate) producers: usize,
    /// Its oldest open transaction should have ended by now.
    pub(crate) has_late_transaction: bool,
}

impl ReplicaManager {
    /// Every partition that is served here, by topic and number.
    pub(crate) fn partition_gauges(&self) -> Vec<PartitionGauges> {
        let table = self.table.load();
        let timeout_max = i64::from(self.configs.broker().transaction_max_timeout_ms);
        let now = self.clock.wall();
        let gauges = |hosted: &Arc<HostedPartition>| gauges_of(hosted, now, timeout_max);
        let mut all: Vec<_> = table.online().map(gauges).collect();
        all.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
        all
    }

    /// How many partitions are offline with their directories.
    pub(crate) fn offline_replica_count(&self) -> usize {
        let table = self.table.load();
        let all = table.all();
        all.filter(|hosted| matches!(hosted, Hosted::Offline))
            .count()
    }

    /// What each topic that is served here has counted, by name.
    pub(crate) fn counts_by_topic(&self) -> Vec<(TopicName, Arc<TopicCounts>)> {
        let table = self.table.load();
        let mut topics = table.topic_names();
        topics.sort();
        let counted = topics.into_iter().map(|topic| {
            let counts = table.topic_counts(topic.as_str());
            (topic, counts)
        });
        counted.collect()
    }
}

fn gauges_of(
    hosted: &HostedPartition,
    now: Timestamp,
    transaction_timeout_ms_max: i64,
) -> PartitionGauges {
    let inner = hosted.lock();
    let partition = &inner.partition;
    let is_leader = partition.is_leader();
    let min_isr = partition.effective_min_isr(inner.min_insync_replicas());
    let in_sync_replicas = if is_leader {
        partition.isr().isr().len()
    } else {
        0
    };
    let assignment = partition.assignment();
    let leads_log = is_leader && inner.log.is_some();
    let offsets = inner.offsets();
    let (producers, is_late) = inner.log.as_ref().map_or((0, false), |log| {
        let log = log.lock();
        let is_late = log.has_late_transaction(now, transaction_timeout_ms_max);
        (log.producer_count(), is_late)
    });
    PartitionGauges {
        topic_partition: hosted.topic_partition().clone(),
        is_leader,
        replicas: if is_leader {
            assignment
                .replicas
                .len()
                .saturating_sub(assignment.adding.len())
        } else {
            0
        },
        in_sync_replicas,
        is_under_replicated: partition.is_under_replicated(),
        is_under_min_isr: leads_log && in_sync_replicas < min_isr,
        is_at_min_isr: leads_log && in_sync_replicas == min_isr,
        is_reassigning: !assignment.adding.is_empty() || !assignment.removing.is_empty(),
        producers,
        has_late_transaction: is_leader && is_late,
        last_stable_offset_lag: offsets.high_watermark - offsets.last_stable_offset,
    }
}
