//! Transactions and the ids of producers.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("producer.id.expiration.check.interval.ms").default("600000").at_least(1.0).low()
        .internal()
        .doc("Time between two searches for idle producer ids."),
    Key::int("producer.id.expiration.ms").default("86400000").at_least(1.0).low().cluster_wide()
        .doc("Time without writes after which a partition forgets a producer id."),
    Key::int("transaction.abort.timed.out.transaction.cleanup.interval.ms").default("10000")
        .at_least(1.0).low()
        .doc("Time between two searches for transactions that took too long."),
    Key::int("transaction.max.timeout.ms").default("900000").at_least(1.0).high()
        .doc("Longest transaction timeout that a producer may choose."),
    Key::boolean("transaction.partition.verification.enable").default("true").low().cluster_wide()
        .doc("Whether a write in a transaction is checked with its coordinator first."),
    Key::int("transaction.remove.expired.transaction.cleanup.interval.ms").default("3600000")
        .at_least(1.0).low()
        .doc("Time between two searches for unused transactional ids."),
    Key::int("transaction.state.log.load.buffer.size").default("5242880").at_least(1.0).high()
        .doc("Bytes read at once when transactions are loaded."),
    Key::int("transaction.state.log.min.isr").default("2").at_least(1.0).high()
        .doc("Replicas of the transaction log that must be in sync for a write."),
    Key::int("transaction.state.log.num.partitions").default("50").at_least(1.0).high()
        .doc("Partitions of the transaction log; not to be changed once it exists."),
    Key::short("transaction.state.log.replication.factor").default("3").at_least(1.0).high()
        .doc("Replicas of the transaction log."),
    Key::int("transaction.state.log.segment.bytes").default("104857600").at_least(1.0).high()
        .doc("Bytes after which a segment of the transaction log is closed."),
    Key::int("transactional.id.expiration.ms").default("604800000").at_least(1.0).high()
        .doc("Time without use after which a transactional id is forgotten."),
];
