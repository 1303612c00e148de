//! Tiered storage.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::long("log.local.retention.bytes").default("-2").at_least(-2.0).cluster_wide().unserved(),
    Key::long("log.local.retention.ms").default("-2").at_least(-2.0).cluster_wide().unserved(),
    Key::int("remote.fetch.max.wait.ms").default("500").at_least(1.0).cluster_wide().unserved(),
    Key::long("remote.log.index.file.cache.total.size.bytes").default("1073741824").at_least(1.0)
        .low().cluster_wide().unserved(),
    Key::int("remote.log.manager.copier.thread.pool.size").default("-1")
        .validator(Validator::RemoteThreads).unserved(),
    Key::long("remote.log.manager.copy.max.bytes.per.second").default("9223372036854775807")
        .at_least(1.0).cluster_wide().unserved(),
    Key::int("remote.log.manager.copy.quota.window.num").default("11").at_least(1.0).unserved(),
    Key::int("remote.log.manager.copy.quota.window.size.seconds").default("1").at_least(1.0)
        .unserved(),
    Key::int("remote.log.manager.expiration.thread.pool.size").default("-1")
        .validator(Validator::RemoteThreads).unserved(),
    Key::long("remote.log.manager.fetch.max.bytes.per.second").default("9223372036854775807")
        .at_least(1.0).cluster_wide().unserved(),
    Key::int("remote.log.manager.fetch.quota.window.num").default("11").at_least(1.0).unserved(),
    Key::int("remote.log.manager.fetch.quota.window.size.seconds").default("1").at_least(1.0)
        .unserved(),
    Key::long("remote.log.manager.task.interval.ms").default("30000").at_least(1.0).low()
        .unserved(),
    Key::long("remote.log.manager.task.retry.backoff.max.ms").default("30000").at_least(1.0).low()
        .internal().unserved(),
    Key::long("remote.log.manager.task.retry.backoff.ms").default("500").at_least(1.0).low()
        .internal().unserved(),
    Key::double("remote.log.manager.task.retry.jitter").default("0.2").between(0.0, 0.5).low()
        .internal().unserved(),
    Key::int("remote.log.manager.thread.pool.size").default("10").at_least(1.0).unserved(),
    Key::int("remote.log.metadata.custom.metadata.max.bytes").default("128").at_least(0.0).low()
        .unserved(),
    Key::string("remote.log.metadata.manager.class.name")
        .default("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager")
        .validator(Validator::NonEmptyString).unserved(),
    Key::string("remote.log.metadata.manager.class.path").unserved(),
    Key::string("remote.log.metadata.manager.impl.prefix").default("rlmm.config.")
        .validator(Validator::NonEmptyString).unserved(),
    Key::string("remote.log.metadata.manager.listener.name").validator(Validator::NonEmptyString)
        .unserved(),
    Key::int("remote.log.reader.max.pending.tasks").default("100").at_least(1.0).unserved(),
    Key::int("remote.log.reader.threads").default("10").at_least(1.0).unserved(),
    Key::string("remote.log.storage.manager.class.name").validator(Validator::NonEmptyString)
        .unserved(),
    Key::string("remote.log.storage.manager.class.path").unserved(),
    Key::string("remote.log.storage.manager.impl.prefix").default("rsm.config.")
        .validator(Validator::NonEmptyString).unserved(),
    Key::boolean("remote.log.storage.system.enable").default("false").unserved(),
];
