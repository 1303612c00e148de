//! The Raft-based controller, which this broker does not use.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("broker.heartbeat.interval.ms").default("2000").unserved(),
    Key::int("broker.session.timeout.ms").default("9000").unserved(),
    Key::string("controller.listener.names").high().unserved(),
    Key::int("controller.quorum.append.linger.ms").default("25").unserved(),
    Key::list("controller.quorum.bootstrap.servers").default("")
        .validator(Validator::QuorumAddresses).high().unserved(),
    Key::int("controller.quorum.election.backoff.max.ms").default("1000").high().unserved(),
    Key::int("controller.quorum.election.timeout.ms").default("1000").high().unserved(),
    Key::int("controller.quorum.fetch.timeout.ms").default("2000").high().unserved(),
    Key::int("controller.quorum.request.timeout.ms").default("2000").unserved(),
    Key::int("controller.quorum.retry.backoff.ms").default("20").low().unserved(),
    Key::list("controller.quorum.voters").default("").validator(Validator::QuorumAddresses).high()
        .unserved(),
    Key::string("early.start.listeners").high().unserved(),
    Key::boolean("eligible.leader.replicas.enable").default("false").high().unserved(),
    Key::int("initial.broker.registration.timeout.ms").default("60000").unserved(),
    Key::long("log.dir.failure.timeout.ms").default("30000").at_least(1.0).low().unserved(),
    Key::string("metadata.log.dir").high().unserved(),
    Key::long("metadata.log.max.record.bytes.between.snapshots").default("20971520").at_least(1.0)
        .high().unserved(),
    Key::long("metadata.log.max.snapshot.interval.ms").default("3600000").at_least(0.0).high()
        .unserved(),
    Key::int("metadata.log.segment.bytes").default("1073741824").at_least(12.0).high().unserved(),
    Key::int("metadata.log.segment.min.bytes").default("8388608").at_least(12.0).high().internal()
        .unserved(),
    Key::long("metadata.log.segment.ms").default("604800000").high().unserved(),
    Key::int("metadata.max.idle.interval.ms").default("500").at_least(0.0).low().unserved(),
    Key::long("metadata.max.retention.bytes").default("104857600").high().unserved(),
    Key::long("metadata.max.retention.ms").default("604800000").high().unserved(),
    Key::int("node.id").default("-1").high(),
    Key::list("process.roles").default("").one_of(&["broker", "controller"]).high()
        .refused("this broker works with ZooKeeper, not with a Raft-based controller"),
    Key::long("server.max.startup.time.ms").default("9223372036854775807").at_least(0.0)
        .internal().unserved(),
    Key::boolean("unstable.api.versions.enable").default("false").high().internal().unserved(),
    Key::boolean("unstable.feature.versions.enable").default("false").high().internal().unserved(),
];
