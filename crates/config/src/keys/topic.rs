//! What a topic can set for itself.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::list("cleanup.policy").default("delete").one_of(&["compact", "delete"])
        .doc("What happens to old records: delete, compact, or both."),
    Key::int("compression.gzip.level").default("-1").validator(Validator::GzipLevel)
        .doc("Level of gzip when the broker compresses; -1 is the library's own."),
    Key::int("compression.lz4.level").default("9").between(1.0, 17.0)
        .doc("Level of LZ4 when the broker compresses."),
    Key::string("compression.type").default("producer")
        .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
        .doc("How batches are stored: as the producer sent them, uncompressed, or with one codec."),
    Key::int("compression.zstd.level").default("3").between(-131072.0, 22.0)
        .doc("Level of Zstandard when the broker compresses."),
    Key::long("delete.retention.ms").default("86400000").at_least(0.0)
        .doc("How long a compacted log keeps the markers of deleted keys."),
    Key::long("file.delete.delay.ms").default("60000").at_least(0.0)
        .doc("Time between taking a segment out of use and deleting its files."),
    Key::long("flush.messages").default("9223372036854775807").at_least(1.0)
        .doc("Records after which a partition is flushed to disk."),
    Key::long("flush.ms").default("9223372036854775807").at_least(0.0)
        .doc("Time after which unflushed records are flushed to disk."),
    Key::list("follower.replication.throttled.replicas").default("")
        .validator(Validator::ThrottledReplicas).unserved()
        .doc("Replicas that fetch at the throttled rate, as partition:broker pairs, or * for all."),
    Key::int("index.interval.bytes").default("4096").at_least(0.0)
        .doc("Bytes of records between two entries of an offset index."),
    Key::list("leader.replication.throttled.replicas").default("")
        .validator(Validator::ThrottledReplicas).unserved()
        .doc("Replicas that are sent at the throttled rate, as partition:broker pairs, or * for \
            all."),
    Key::long("local.retention.bytes").default("-2").at_least(-2.0).unserved()
        .doc("Bytes of a partition that stay on this disk once they are in tiered storage; -2 is \
            the total limit."),
    Key::long("local.retention.ms").default("-2").at_least(-2.0).unserved()
        .doc("Time for which records stay on this disk once they are in tiered storage; -2 is \
            the total limit."),
    Key::long("max.compaction.lag.ms").default("9223372036854775807").at_least(1.0)
        .doc("Longest time for which a record may stay uncompacted."),
    Key::int("max.message.bytes").default("1048588").at_least(0.0)
        .doc("Most bytes of one batch of records, after compression."),
    Key::boolean("message.downconversion.enable").default("true").low()
        .doc("Whether records are converted for consumers that know only older formats."),
    Key::string("message.format.version").default("3.0-IV1").validator(Validator::MetadataVersion)
        .unserved()
        .doc("Format of stored records before version 3.0; ignored since."),
    Key::long("message.timestamp.after.max.ms").default("9223372036854775807").at_least(0.0)
        .doc("How far a record's timestamp may lie ahead of the broker's clock."),
    Key::long("message.timestamp.before.max.ms").default("9223372036854775807").at_least(0.0)
        .doc("How far a record's timestamp may lie behind the broker's clock."),
    Key::long("message.timestamp.difference.max.ms").default("9223372036854775807").at_least(0.0)
        .doc("How far a record's timestamp may lie from the broker's clock; replaced by the \
            before and after keys."),
    Key::string("message.timestamp.type").default("CreateTime")
        .one_of(&["CreateTime", "LogAppendTime"])
        .doc("Whether a record keeps its producer's timestamp or gets the broker's."),
    Key::double("min.cleanable.dirty.ratio").default("0.5").between(0.0, 1.0)
        .doc("Share of uncompacted bytes from which a log is compacted."),
    Key::long("min.compaction.lag.ms").default("0").at_least(0.0)
        .doc("Shortest time for which a record stays uncompacted."),
    Key::int("min.insync.replicas").default("1").at_least(1.0)
        .doc("Replicas that must be in sync for a write with acks=all to be accepted."),
    Key::boolean("preallocate").default("false")
        .doc("Whether the whole file of a new segment is allocated at once."),
    Key::boolean("remote.log.copy.disable").default("false").unserved()
        .doc("Whether tiered storage gets no more segments of this topic."),
    Key::boolean("remote.log.delete.on.disable").default("false").unserved()
        .doc("Whether turning tiered storage off deletes what it holds of this topic."),
    Key::boolean("remote.storage.enable").default("false").unserved()
        .doc("Whether segments of this topic go to tiered storage."),
    Key::long("retention.bytes").default("-1")
        .doc("Bytes of a partition above which old segments are deleted; -1 is no limit."),
    Key::long("retention.ms").default("604800000").at_least(-1.0)
        .doc("Milliseconds for which records stay; -1 is for ever."),
    Key::int("segment.bytes").default("1073741824").at_least(14.0)
        .doc("Bytes after which a segment is closed."),
    Key::int("segment.index.bytes").default("10485760").at_least(4.0)
        .doc("Most bytes of an offset index."),
    Key::long("segment.jitter.ms").default("0").at_least(0.0)
        .doc("Most milliseconds by which closing a segment is brought forward at random."),
    Key::long("segment.ms").default("604800000").at_least(1.0)
        .doc("Milliseconds after which a segment is closed."),
    Key::boolean("unclean.leader.election.enable").default("false")
        .doc("Whether a replica that is not in sync may lead, at the price of lost records, when \
            no other is left."),
];
