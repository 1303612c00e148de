//! Replication, in-sync replicas, leadership, and requests that wait.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("auto.leader.rebalance.enable").default("true").high().unserved(),
    Key::boolean("controlled.shutdown.enable").default("true").unserved(),
    Key::int("controlled.shutdown.max.retries").default("3").unserved(),
    Key::long("controlled.shutdown.retry.backoff.ms").default("5000").unserved(),
    Key::int("controller.socket.timeout.ms").default("30000").unserved(),
    Key::int("default.replication.factor").default("1"),
    Key::int("delete.records.purgatory.purge.interval.requests").default("1"),
    Key::int("fetch.max.bytes").default("57671680").at_least(1024.0),
    Key::int("fetch.purgatory.purge.interval.requests").default("1000"),
    Key::string("inter.broker.protocol.version").default("3.9-IV0")
        .validator(Validator::MetadataVersion).unserved(),
    Key::long("leader.imbalance.check.interval.seconds").default("300").at_least(1.0).high()
        .unserved(),
    Key::int("leader.imbalance.per.broker.percentage").default("10").high().unserved(),
    Key::int("max.incremental.fetch.session.cache.slots").default("1000").at_least(0.0),
    Key::int("min.insync.replicas").default("1").at_least(1.0).high().cluster_wide(),
    Key::int("num.replica.alter.log.dirs.threads").high().unserved(),
    Key::int("num.replica.fetchers").default("1").high().cluster_wide().unserved(),
    Key::int("producer.purgatory.purge.interval.requests").default("1000"),
    Key::int("replica.fetch.backoff.ms").default("1000").at_least(0.0).unserved(),
    Key::int("replica.fetch.max.bytes").default("1048576").at_least(0.0).unserved(),
    Key::int("replica.fetch.min.bytes").default("1").high().unserved(),
    Key::int("replica.fetch.response.max.bytes").default("10485760").at_least(0.0).unserved(),
    Key::int("replica.fetch.wait.max.ms").default("500").high().unserved(),
    Key::long("replica.high.watermark.checkpoint.interval.ms").default("5000").high(),
    Key::long("replica.lag.time.max.ms").default("30000").high(),
    Key::string("replica.selector.class").unserved(),
    Key::int("replica.socket.receive.buffer.bytes").default("65536").high().unserved(),
    Key::int("replica.socket.timeout.ms").default("30000").high().unserved(),
    Key::boolean("unclean.leader.election.enable").default("false").high().cluster_wide(),
    Key::long("unclean.leader.election.interval.ms").default("300000").at_least(1.0).internal(),
];
