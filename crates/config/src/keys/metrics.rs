//! Metrics and telemetry.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.include.jmx.reporter").default("true").low().unserved(),
    Key::int("kafka.metrics.polling.interval.secs").default("10").at_least(1.0).low().unserved(),
    Key::list("kafka.metrics.reporters").default("").low().unserved(),
    Key::list("metric.reporters").default("").low().cluster_wide().unserved(),
    Key::int("metrics.num.samples").default("2").at_least(1.0).low().unserved(),
    Key::string("metrics.recording.level").default("INFO").low().unserved(),
    Key::long("metrics.sample.window.ms").default("30000").at_least(1.0).low().unserved(),
    Key::int("telemetry.max.bytes").default("1048576").at_least(1.0).low().unserved(),
];
