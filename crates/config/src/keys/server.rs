//! The broker itself: who it is and what it does with topics.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.create.topics.enable").default("true").high()
        .doc("Whether asking for the metadata of a missing topic creates it."),
    Key::int("background.threads").default("10").at_least(1.0).high().cluster_wide()
        .doc("Threads for housekeeping such as deleting old files."),
    Key::int("broker.id").default("-1").high()
        .doc("Number of this broker in the cluster; with -1 one is generated."),
    Key::boolean("broker.id.generation.enable").default("true").unserved()
        .doc("Whether a broker without an id gets one above reserved.broker.max.id."),
    Key::string("broker.rack")
        .doc("Rack or zone of this broker, which replica placement and consumers take into \
            account."),
    Key::boolean("delete.topic.enable").default("true").high()
        .doc("Whether topics can be deleted."),
    Key::int("reserved.broker.max.id").default("1000").at_least(0.0).unserved()
        .doc("Highest id that may be set by hand where others are generated."),
];
