//! The log cleaner (compaction).

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::long("log.cleaner.backoff.ms").default("15000").at_least(0.0).cluster_wide()
        .doc("Pause of the cleaner when it finds nothing to do."),
    Key::long("log.cleaner.dedupe.buffer.size").default("134217728").cluster_wide()
        .doc("Memory for the map of keys, over all cleaner threads."),
    Key::long("log.cleaner.delete.retention.ms").default("86400000").at_least(0.0).cluster_wide()
        .doc("How long a compacted log keeps the markers of deleted keys."),
    Key::boolean("log.cleaner.enable").default("true")
        .doc("Whether logs are compacted; the offsets of groups need it."),
    Key::double("log.cleaner.io.buffer.load.factor").default("0.9").cluster_wide()
        .doc("How full the map of keys may become, from 0 to 1."),
    Key::int("log.cleaner.io.buffer.size").default("524288").at_least(0.0).cluster_wide()
        .doc("Memory for reading and writing, over all cleaner threads."),
    Key::double("log.cleaner.io.max.bytes.per.second").default("1.7976931348623157E308")
        .cluster_wide()
        .doc("Most bytes per second that the cleaner reads and writes."),
    Key::long("log.cleaner.max.compaction.lag.ms").default("9223372036854775807").at_least(1.0)
        .cluster_wide()
        .doc("Longest time for which a record may stay uncompacted."),
    Key::double("log.cleaner.min.cleanable.ratio").default("0.5").between(0.0, 1.0).cluster_wide()
        .doc("Share of uncompacted bytes from which a log is compacted."),
    Key::long("log.cleaner.min.compaction.lag.ms").default("0").at_least(0.0).cluster_wide()
        .doc("Shortest time for which a record stays uncompacted."),
    Key::int("log.cleaner.threads").default("1").at_least(0.0).cluster_wide()
        .doc("Threads that compact logs."),
];
