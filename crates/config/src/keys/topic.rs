//! What a topic can set for itself.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::list("cleanup.policy").default("delete").one_of(&["compact", "delete"]),
    Key::int("compression.gzip.level").default("-1").validator(Validator::GzipLevel),
    Key::int("compression.lz4.level").default("9").between(1.0, 17.0),
    Key::string("compression.type").default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
    Key::int("compression.zstd.level").default("3").between(-131072.0, 22.0),
    Key::long("delete.retention.ms").default("86400000").at_least(0.0).unserved(),
    Key::long("file.delete.delay.ms").default("60000").at_least(0.0),
    Key::long("flush.messages").default("9223372036854775807").at_least(1.0),
    Key::long("flush.ms").default("9223372036854775807").at_least(0.0),
    Key::list("follower.replication.throttled.replicas").default("")
        .validator(Validator::ThrottledReplicas).unserved(),
    Key::int("index.interval.bytes").default("4096").at_least(0.0),
    Key::list("leader.replication.throttled.replicas").default("")
        .validator(Validator::ThrottledReplicas).unserved(),
    Key::long("local.retention.bytes").default("-2").at_least(-2.0).unserved(),
    Key::long("local.retention.ms").default("-2").at_least(-2.0).unserved(),
    Key::long("max.compaction.lag.ms").default("9223372036854775807").at_least(1.0).unserved(),
    Key::int("max.message.bytes").default("1048588").at_least(0.0),
    Key::boolean("message.downconversion.enable").default("true").low().unserved(),
    Key::string("message.format.version").default("3.0-IV1").validator(Validator::MetadataVersion)
        .unserved(),
    Key::long("message.timestamp.after.max.ms").default("9223372036854775807").at_least(0.0),
    Key::long("message.timestamp.before.max.ms").default("9223372036854775807").at_least(0.0),
    Key::long("message.timestamp.difference.max.ms").default("9223372036854775807").at_least(0.0),
    Key::string("message.timestamp.type").default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"]),
    Key::double("min.cleanable.dirty.ratio").default("0.5").between(0.0, 1.0).unserved(),
    Key::long("min.compaction.lag.ms").default("0").at_least(0.0).unserved(),
    Key::int("min.insync.replicas").default("1").at_least(1.0),
    Key::boolean("preallocate").default("false"),
    Key::boolean("remote.log.copy.disable").default("false").unserved(),
    Key::boolean("remote.log.delete.on.disable").default("false").unserved(),
    Key::boolean("remote.storage.enable").default("false").unserved(),
    Key::long("retention.bytes").default("-1"),
    Key::long("retention.ms").default("604800000").at_least(-1.0),
    Key::int("segment.bytes").default("1073741824").at_least(14.0),
    Key::int("segment.index.bytes").default("10485760").at_least(4.0),
    Key::long("segment.jitter.ms").default("0").at_least(0.0),
    Key::long("segment.ms").default("604800000").at_least(1.0),
    Key::boolean("unclean.leader.election.enable").default("false"),
];
