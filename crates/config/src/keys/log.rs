//! Logs: where they are, how they roll, how long records stay.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("compression.gzip.level").default("-1").validator(Validator::GzipLevel)
        .cluster_wide(),
    Key::int("compression.lz4.level").default("9").between(1.0, 17.0).cluster_wide(),
    Key::string("compression.type").default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]).high()
        .cluster_wide(),
    Key::int("compression.zstd.level").default("3").between(-131072.0, 22.0).cluster_wide(),
    Key::list("log.cleanup.policy").default("delete").one_of(&["compact", "delete"])
        .cluster_wide(),
    Key::string("log.dir").default("/tmp/kafka-logs").high(),
    Key::string("log.dirs").high(),
    Key::long("log.flush.interval.messages").default("9223372036854775807").at_least(1.0).high()
        .cluster_wide(),
    Key::long("log.flush.interval.ms").high().cluster_wide(),
    Key::int("log.flush.offset.checkpoint.interval.ms").default("60000").at_least(0.0).high(),
    Key::long("log.flush.scheduler.interval.ms").default("9223372036854775807").high(),
    Key::int("log.flush.start.offset.checkpoint.interval.ms").default("60000").at_least(0.0)
        .high(),
    Key::int("log.index.interval.bytes").default("4096").at_least(0.0).cluster_wide(),
    Key::int("log.index.size.max.bytes").default("10485760").at_least(4.0).cluster_wide(),
    Key::long("log.initial.task.delay.ms").default("30000").at_least(0.0).low().internal(),
    Key::boolean("log.message.downconversion.enable").default("true").low().cluster_wide()
        .unserved(),
    Key::string("log.message.format.version").default("3.0-IV1")
        .validator(Validator::MetadataVersion).unserved(),
    Key::long("log.message.timestamp.after.max.ms").default("9223372036854775807").at_least(0.0)
        .cluster_wide(),
    Key::long("log.message.timestamp.before.max.ms").default("9223372036854775807").at_least(0.0)
        .cluster_wide(),
    Key::long("log.message.timestamp.difference.max.ms").default("9223372036854775807")
        .at_least(0.0).cluster_wide(),
    Key::string("log.message.timestamp.type").default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"]).cluster_wide(),
    Key::boolean("log.preallocate").default("false").cluster_wide(),
    Key::long("log.retention.bytes").default("-1").high().cluster_wide(),
    Key::long("log.retention.check.interval.ms").default("300000").at_least(1.0),
    Key::int("log.retention.hours").default("168").high(),
    Key::int("log.retention.minutes").high(),
    Key::long("log.retention.ms").high().cluster_wide(),
    Key::int("log.roll.hours").default("168").at_least(1.0).high(),
    Key::int("log.roll.jitter.hours").default("0").at_least(0.0).high(),
    Key::long("log.roll.jitter.ms").high().cluster_wide(),
    Key::long("log.roll.ms").high().cluster_wide(),
    Key::int("log.segment.bytes").default("1073741824").at_least(14.0).high().cluster_wide(),
    Key::long("log.segment.delete.delay.ms").default("60000").at_least(0.0).high().cluster_wide(),
    Key::int("message.max.bytes").default("1048588").at_least(0.0).high().cluster_wide(),
    Key::int("num.partitions").default("1").at_least(1.0),
    Key::int("num.recovery.threads.per.data.dir").default("1").at_least(1.0).high().cluster_wide(),
];
