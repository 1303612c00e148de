//! Tiered storage.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::long("log.local.retention.bytes").default("-2").at_least(-2.0).cluster_wide().unserved()
        .doc("Bytes of a partition that stay on this disk once they are in tiered storage; -2 is \
            the total limit."),
    Key::long("log.local.retention.ms").default("-2").at_least(-2.0).cluster_wide().unserved()
        .doc("Time for which records stay on this disk once they are in tiered storage; -2 is \
            the total limit."),
    Key::int("remote.fetch.max.wait.ms").default("500").at_least(1.0).cluster_wide().unserved()
        .doc("Longest wait of a fetch that reads from tiered storage."),
    Key::long("remote.log.index.file.cache.total.size.bytes").default("1073741824").at_least(1.0)
        .low().cluster_wide().unserved()
        .doc("Disk space for indexes fetched from tiered storage."),
    Key::int("remote.log.manager.copier.thread.pool.size").default("-1")
        .validator(Validator::RemoteThreads).unserved()
        .doc("Threads that copy segments to tiered storage; -1 takes the common number."),
    Key::long("remote.log.manager.copy.max.bytes.per.second").default("9223372036854775807")
        .at_least(1.0).cluster_wide().unserved()
        .doc("Most bytes per second copied to tiered storage."),
    Key::int("remote.log.manager.copy.quota.window.num").default("11").at_least(1.0).unserved()
        .doc("Samples kept for the rate of copying to tiered storage."),
    Key::int("remote.log.manager.copy.quota.window.size.seconds").default("1").at_least(1.0)
        .unserved()
        .doc("Length in seconds of a sample of the rate of copying to tiered storage."),
    Key::int("remote.log.manager.expiration.thread.pool.size").default("-1")
        .validator(Validator::RemoteThreads).unserved()
        .doc("Threads that delete from tiered storage; -1 takes the common number."),
    Key::long("remote.log.manager.fetch.max.bytes.per.second").default("9223372036854775807")
        .at_least(1.0).cluster_wide().unserved()
        .doc("Most bytes per second read from tiered storage."),
    Key::int("remote.log.manager.fetch.quota.window.num").default("11").at_least(1.0).unserved()
        .doc("Samples kept for the rate of reading from tiered storage."),
    Key::int("remote.log.manager.fetch.quota.window.size.seconds").default("1").at_least(1.0)
        .unserved()
        .doc("Length in seconds of a sample of the rate of reading from tiered storage."),
    Key::long("remote.log.manager.task.interval.ms").default("30000").at_least(1.0).low()
        .unserved()
        .doc("Time between two rounds of copying and deleting."),
    Key::long("remote.log.manager.task.retry.backoff.max.ms").default("30000").at_least(1.0).low()
        .internal().unserved()
        .doc("Longest pause before a round of tiered storage is tried again."),
    Key::long("remote.log.manager.task.retry.backoff.ms").default("500").at_least(1.0).low()
        .internal().unserved()
        .doc("First pause before a round of tiered storage is tried again."),
    Key::double("remote.log.manager.task.retry.jitter").default("0.2").between(0.0, 0.5).low()
        .internal().unserved()
        .doc("Share of the pause before a round of tiered storage is tried again that is random."),
    Key::int("remote.log.manager.thread.pool.size").default("10").at_least(1.0).unserved()
        .doc("Threads for tiered storage."),
    Key::int("remote.log.metadata.custom.metadata.max.bytes").default("128").at_least(0.0).low()
        .unserved()
        .doc("Most bytes that a storage plug-in may note about a segment."),
    Key::string("remote.log.metadata.manager.class.name")
        .default("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager")
        .validator(Validator::NonEmptyString).unserved()
        .doc("Java class that keeps the metadata of tiered storage."),
    Key::string("remote.log.metadata.manager.class.path").unserved()
        .doc("Class path of the class that keeps the metadata of tiered storage."),
    Key::string("remote.log.metadata.manager.impl.prefix").default("rlmm.config.")
        .validator(Validator::NonEmptyString).unserved()
        .doc("Prefix of keys for the class that keeps the metadata of tiered storage."),
    Key::string("remote.log.metadata.manager.listener.name").validator(Validator::NonEmptyString)
        .unserved()
        .doc("Listener over which the metadata of tiered storage is read and written."),
    Key::int("remote.log.reader.max.pending.tasks").default("100").at_least(1.0).unserved()
        .doc("Most waiting reads from tiered storage."),
    Key::int("remote.log.reader.threads").default("10").at_least(1.0).unserved()
        .doc("Threads that read from tiered storage."),
    Key::string("remote.log.storage.manager.class.name").validator(Validator::NonEmptyString)
        .unserved()
        .doc("Java class that stores segments remotely."),
    Key::string("remote.log.storage.manager.class.path").unserved()
        .doc("Class path of the class that stores segments remotely."),
    Key::string("remote.log.storage.manager.impl.prefix").default("rsm.config.")
        .validator(Validator::NonEmptyString).unserved()
        .doc("Prefix of keys for the class that stores segments remotely."),
    Key::boolean("remote.log.storage.system.enable").default("false").unserved()
        .doc("Whether tiered storage is available."),
];
