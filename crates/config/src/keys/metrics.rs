//! Metrics and telemetry.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.include.jmx.reporter").default("true").low().unserved()
        .doc("Whether metrics go to JMX even if no reporter names it."),
    Key::int("kafka.metrics.polling.interval.secs").default("10").at_least(1.0).low().unserved()
        .doc("Seconds between two polls of the metrics reporters for Yammer metrics."),
    Key::list("kafka.metrics.reporters").default("").low().unserved()
        .doc("Java classes that report Yammer metrics."),
    Key::list("metric.reporters").default("").low().cluster_wide().unserved()
        .doc("Java classes that report metrics."),
    Key::int("metrics.num.samples").default("2").at_least(1.0).low().unserved()
        .doc("Samples kept for each metric."),
    Key::string("metrics.recording.level").default("INFO").low().unserved()
        .doc("Level of detail of the metrics."),
    Key::long("metrics.sample.window.ms").default("30000").at_least(1.0).low().unserved()
        .doc("Length of one sample of a metric."),
    Key::int("telemetry.max.bytes").default("1048576").at_least(1.0).low().unserved()
        .doc("Most bytes of metrics that a client may push at once."),
];
