//! Transactions and the ids of producers.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("producer.id.expiration.check.interval.ms").default("600000").at_least(1.0).low()
        .internal(),
    Key::int("producer.id.expiration.ms").default("86400000").at_least(1.0).low().cluster_wide(),
    Key::int("transaction.abort.timed.out.transaction.cleanup.interval.ms").default("10000")
        .at_least(1.0).low().unserved(),
    Key::int("transaction.max.timeout.ms").default("900000").at_least(1.0).high().unserved(),
    Key::boolean("transaction.partition.verification.enable").default("true").low().cluster_wide()
        .unserved(),
    Key::int("transaction.remove.expired.transaction.cleanup.interval.ms").default("3600000")
        .at_least(1.0).low().unserved(),
    Key::int("transaction.state.log.load.buffer.size").default("5242880").at_least(1.0).high()
        .unserved(),
    Key::int("transaction.state.log.min.isr").default("2").at_least(1.0).high().unserved(),
    Key::int("transaction.state.log.num.partitions").default("50").at_least(1.0).high().unserved(),
    Key::short("transaction.state.log.replication.factor").default("3").at_least(1.0).high()
        .unserved(),
    Key::int("transaction.state.log.segment.bytes").default("104857600").at_least(1.0).high()
        .unserved(),
    Key::int("transactional.id.expiration.ms").default("604800000").at_least(1.0).high()
        .unserved(),
];
