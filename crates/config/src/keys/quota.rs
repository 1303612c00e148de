//! Windows in which quotas are measured.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("alter.log.dirs.replication.quota.window.num").default("11").at_least(1.0).low()
        .doc("Samples kept for the rate at which replicas move between log directories."),
    Key::int("alter.log.dirs.replication.quota.window.size.seconds").default("1").at_least(1.0)
        .low()
        .doc("Length in seconds of a sample of the rate at which replicas move between log \
            directories."),
    Key::class("client.quota.callback.class").low()
        .refused("Java classes cannot run here: clients would not be throttled as it says")
        .doc("Java class that sets the quotas of clients."),
    Key::int("controller.quota.window.num").default("11").at_least(1.0).low()
        .doc("Samples kept for the rate of topic changes."),
    Key::int("controller.quota.window.size.seconds").default("1").at_least(1.0).low()
        .doc("Length in seconds of a sample of the rate of topic changes."),
    Key::int("quota.window.num").default("11").at_least(1.0).low()
        .doc("Samples kept for the quotas of clients."),
    Key::int("quota.window.size.seconds").default("1").at_least(1.0).low()
        .doc("Length in seconds of a sample for the quotas of clients."),
    Key::int("replication.quota.window.num").default("11").at_least(1.0).low()
        .doc("Samples kept for the rate of throttled replication."),
    Key::int("replication.quota.window.size.seconds").default("1").at_least(1.0).low()
        .doc("Length in seconds of a sample of the rate of throttled replication."),
];
