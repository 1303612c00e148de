//! Windows in which quotas are measured.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("alter.log.dirs.replication.quota.window.num").default("11").at_least(1.0).low()
        .unserved(),
    Key::int("alter.log.dirs.replication.quota.window.size.seconds").default("1").at_least(1.0)
        .low().unserved(),
    Key::class("client.quota.callback.class").low()
        .refused("Java classes cannot run here: clients would not be throttled as it says"),
    Key::int("controller.quota.window.num").default("11").at_least(1.0).low().unserved(),
    Key::int("controller.quota.window.size.seconds").default("1").at_least(1.0).low().unserved(),
    Key::int("quota.window.num").default("11").at_least(1.0).low().unserved(),
    Key::int("quota.window.size.seconds").default("1").at_least(1.0).low().unserved(),
    Key::int("replication.quota.window.num").default("11").at_least(1.0).low().unserved(),
    Key::int("replication.quota.window.size.seconds").default("1").at_least(1.0).low().unserved(),
];
