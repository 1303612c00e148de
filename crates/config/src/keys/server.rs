//! The broker itself: who it is and what it does with topics.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.create.topics.enable").default("true").high(),
    Key::int("background.threads").default("10").at_least(1.0).high().cluster_wide().unserved(),
    Key::int("broker.id").default("-1").high(),
    Key::boolean("broker.id.generation.enable").default("true").unserved(),
    Key::string("broker.rack"),
    Key::boolean("delete.topic.enable").default("true").high(),
    Key::int("reserved.broker.max.id").default("1000").at_least(0.0).unserved(),
];
