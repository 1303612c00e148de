//! The log cleaner (compaction).

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::long("log.cleaner.backoff.ms").default("15000").at_least(0.0).cluster_wide().unserved(),
    Key::long("log.cleaner.dedupe.buffer.size").default("134217728").cluster_wide().unserved(),
    Key::long("log.cleaner.delete.retention.ms").default("86400000").at_least(0.0).cluster_wide()
        .unserved(),
    Key::boolean("log.cleaner.enable").default("true").unserved(),
    Key::double("log.cleaner.io.buffer.load.factor").default("0.9").cluster_wide().unserved(),
    Key::int("log.cleaner.io.buffer.size").default("524288").at_least(0.0).cluster_wide()
        .unserved(),
    Key::double("log.cleaner.io.max.bytes.per.second").default("1.7976931348623157E308")
        .cluster_wide().unserved(),
    Key::long("log.cleaner.max.compaction.lag.ms").default("9223372036854775807").at_least(1.0)
        .cluster_wide().unserved(),
    Key::double("log.cleaner.min.cleanable.ratio").default("0.5").between(0.0, 1.0).cluster_wide()
        .unserved(),
    Key::long("log.cleaner.min.compaction.lag.ms").default("0").at_least(0.0).cluster_wide()
        .unserved(),
    Key::int("log.cleaner.threads").default("1").at_least(0.0).cluster_wide().unserved(),
];
