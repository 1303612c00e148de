//! Replication, in-sync replicas, leadership, and requests that wait.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.leader.rebalance.enable").default("true").high()
        .doc("Whether the controller gives leadership back to preferred replicas from time to \
            time."),
    Key::boolean("controlled.shutdown.enable").default("true")
        .doc("Whether a broker that stops hands its leaderships over first."),
    Key::int("controlled.shutdown.max.retries").default("3")
        .doc("Attempts at handing leaderships over before stopping anyway."),
    Key::long("controlled.shutdown.retry.backoff.ms").default("5000")
        .doc("Pause between two attempts at handing leaderships over before a stop."),
    Key::int("controller.socket.timeout.ms").default("30000")
        .doc("Time the controller waits for a broker's answer."),
    Key::int("default.replication.factor").default("1")
        .doc("Replicas of topics that are created without a number of their own."),
    Key::int("delete.records.purgatory.purge.interval.requests").default("1")
        .doc("Finished DeleteRecords requests after which waiting lists are swept."),
    Key::int("fetch.max.bytes").default("57671680").at_least(1024.0)
        .doc("Most bytes in one answer to a consumer."),
    Key::int("fetch.purgatory.purge.interval.requests").default("1000")
        .doc("Finished fetches after which waiting lists are swept."),
    Key::string("inter.broker.protocol.version").default("3.9-IV0")
        .validator(Validator::MetadataVersion)
        .doc("Version of the protocol that brokers speak to each other; raised after the last \
            broker is upgraded."),
    Key::long("leader.imbalance.check.interval.seconds").default("300").at_least(1.0).high()
        .doc("Seconds between two searches for brokers that lead too few of their partitions."),
    Key::int("leader.imbalance.per.broker.percentage").default("10").high()
        .doc("Share of a broker's partitions led by others above which leadership is given back."),
    Key::int("max.incremental.fetch.session.cache.slots").default("1000").at_least(0.0)
        .doc("Most incremental fetch sessions at once."),
    Key::int("min.insync.replicas").default("1").at_least(1.0).high().cluster_wide()
        .doc("Replicas that must be in sync for a write with acks=all to be accepted."),
    Key::int("num.replica.alter.log.dirs.threads").high()
        .doc("Threads that move replicas between log directories."),
    Key::int("num.replica.fetchers").default("1").high().cluster_wide()
        .doc("Connections to each leader over which replicas are fetched."),
    Key::int("producer.purgatory.purge.interval.requests").default("1000")
        .doc("Finished produce requests after which waiting lists are swept."),
    Key::int("replica.fetch.backoff.ms").default("1000").at_least(0.0)
        .doc("Pause of a follower after a failed fetch."),
    Key::int("replica.fetch.max.bytes").default("1048576").at_least(0.0)
        .doc("Most bytes of one partition that a follower fetches at once."),
    Key::int("replica.fetch.min.bytes").default("1").high()
        .doc("Bytes that a leader waits for before it answers a follower."),
    Key::int("replica.fetch.response.max.bytes").default("10485760").at_least(0.0)
        .doc("Most bytes that a follower fetches at once."),
    Key::int("replica.fetch.wait.max.ms").default("500").high()
        .doc("Longest wait of a leader for enough bytes to answer a follower."),
    Key::long("replica.high.watermark.checkpoint.interval.ms").default("5000").high()
        .doc("Time between two notes of the high watermarks."),
    Key::long("replica.lag.time.max.ms").default("30000").high()
        .doc("Time behind the leader's end after which a follower leaves the in-sync replicas."),
    Key::string("replica.selector.class")
        .doc("Java class that names the replica a consumer should read from."),
    Key::int("replica.socket.receive.buffer.bytes").default("65536").high().unserved()
        .doc("Receive buffer of a follower's connection."),
    Key::int("replica.socket.timeout.ms").default("30000").high()
        .doc("Time a follower waits for a leader's answer."),
    Key::boolean("unclean.leader.election.enable").default("false").high().cluster_wide()
        .doc("Whether a replica that is not in sync may lead, at the price of lost records, when \
            no other is left."),
    Key::long("unclean.leader.election.interval.ms").default("300000").at_least(1.0).internal()
        .doc("Time between two searches for partitions that only an unclean election can serve."),
];
