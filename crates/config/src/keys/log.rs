//! Logs: where they are, how they roll, how long records stay.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("compression.gzip.level").default("-1").validator(Validator::GzipLevel)
        .cluster_wide()
        .doc("Level of gzip when the broker compresses; -1 is the library's own."),
    Key::int("compression.lz4.level").default("9").between(1.0, 17.0).cluster_wide()
        .doc("Level of LZ4 when the broker compresses."),
    Key::string("compression.type").default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]).high()
        .cluster_wide()
        .doc("How batches are stored: as the producer sent them, uncompressed, or with one codec."),
    Key::int("compression.zstd.level").default("3").between(-131072.0, 22.0).cluster_wide()
        .doc("Level of Zstandard when the broker compresses."),
    Key::list("log.cleanup.policy").default("delete").one_of(&["compact", "delete"])
        .cluster_wide()
        .doc("What happens to old records: delete, compact, or both."),
    Key::string("log.dir").default("/tmp/kafka-logs").high()
        .doc("Directory for logs, used while log.dirs is unset."),
    Key::string("log.dirs").high()
        .doc("Directories for logs, separated by commas."),
    Key::long("log.flush.interval.messages").default("9223372036854775807").at_least(1.0).high()
        .cluster_wide()
        .doc("Records after which a partition is flushed to disk."),
    Key::long("log.flush.interval.ms").high().cluster_wide()
        .doc("Time after which unflushed records are flushed to disk."),
    Key::int("log.flush.offset.checkpoint.interval.ms").default("60000").at_least(0.0).high()
        .doc("Time between two notes of how far logs are flushed."),
    Key::long("log.flush.scheduler.interval.ms").default("9223372036854775807").high()
        .doc("Time between two searches for logs that need a flush."),
    Key::int("log.flush.start.offset.checkpoint.interval.ms").default("60000").at_least(0.0)
        .high()
        .doc("Time between two notes of where logs start."),
    Key::int("log.index.interval.bytes").default("4096").at_least(0.0).cluster_wide()
        .doc("Bytes of records between two entries of an offset index."),
    Key::int("log.index.size.max.bytes").default("10485760").at_least(4.0).cluster_wide()
        .doc("Most bytes of an offset index."),
    Key::long("log.initial.task.delay.ms").default("30000").at_least(0.0).low().internal()
        .doc("Time after the start before housekeeping of logs begins."),
    Key::boolean("log.message.downconversion.enable").default("true").low().cluster_wide()
        .doc("Whether records are converted for consumers that know only older formats."),
    Key::string("log.message.format.version").default("3.0-IV1")
        .validator(Validator::MetadataVersion).unserved()
        .doc("Format of stored records before version 3.0; ignored since."),
    Key::long("log.message.timestamp.after.max.ms").default("9223372036854775807").at_least(0.0)
        .cluster_wide()
        .doc("How far a record's timestamp may lie ahead of the broker's clock."),
    Key::long("log.message.timestamp.before.max.ms").default("9223372036854775807").at_least(0.0)
        .cluster_wide()
        .doc("How far a record's timestamp may lie behind the broker's clock."),
    Key::long("log.message.timestamp.difference.max.ms").default("9223372036854775807")
        .at_least(0.0).cluster_wide()
        .doc("How far a record's timestamp may lie from the broker's clock; replaced by the \
            before and after keys."),
    Key::string("log.message.timestamp.type").default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"]).cluster_wide()
        .doc("Whether a record keeps its producer's timestamp or gets the broker's."),
    Key::boolean("log.preallocate").default("false").cluster_wide()
        .doc("Whether the whole file of a new segment is allocated at once."),
    Key::long("log.retention.bytes").default("-1").high().cluster_wide()
        .doc("Bytes of a partition above which old segments are deleted; -1 is no limit."),
    Key::long("log.retention.check.interval.ms").default("300000").at_least(1.0)
        .doc("Time between two searches for segments to delete."),
    Key::int("log.retention.hours").default("168").high()
        .doc("Hours for which records stay, if neither minutes nor milliseconds are set."),
    Key::int("log.retention.minutes").high()
        .doc("Minutes for which records stay, if milliseconds are not set."),
    Key::long("log.retention.ms").high().cluster_wide()
        .doc("Milliseconds for which records stay; -1 is for ever."),
    Key::int("log.roll.hours").default("168").at_least(1.0).high()
        .doc("Hours after which a segment is closed, if milliseconds are not set."),
    Key::int("log.roll.jitter.hours").default("0").at_least(0.0).high()
        .doc("Most hours by which closing a segment is brought forward at random, if \
            milliseconds are not set."),
    Key::long("log.roll.jitter.ms").high().cluster_wide()
        .doc("Most milliseconds by which closing a segment is brought forward at random."),
    Key::long("log.roll.ms").high().cluster_wide()
        .doc("Milliseconds after which a segment is closed."),
    Key::int("log.segment.bytes").default("1073741824").at_least(14.0).high().cluster_wide()
        .doc("Bytes after which a segment is closed."),
    Key::long("log.segment.delete.delay.ms").default("60000").at_least(0.0).high().cluster_wide()
        .doc("Time between taking a segment out of use and deleting its files."),
    Key::int("message.max.bytes").default("1048588").at_least(0.0).high().cluster_wide()
        .doc("Most bytes of one batch of records, after compression."),
    Key::int("num.partitions").default("1").at_least(1.0)
        .doc("Partitions of topics that are created without a number of their own."),
    Key::int("num.recovery.threads.per.data.dir").default("1").at_least(1.0).high().cluster_wide()
        .doc("Threads per log directory that open logs at start and flush them at the end."),
];
