//! The Raft-based controller, which this broker does not use.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::int("broker.heartbeat.interval.ms").default("2000").unserved()
        .doc("Time between a broker's heartbeats to a Raft-based controller."),
    Key::int("broker.session.timeout.ms").default("9000").unserved()
        .doc("Time without heartbeats after which a Raft-based controller gives a broker up."),
    Key::string("controller.listener.names").high().unserved()
        .doc("Listeners of a Raft-based controller."),
    Key::int("controller.quorum.append.linger.ms").default("25").unserved()
        .doc("Time for which the leader of a Raft quorum collects records."),
    Key::list("controller.quorum.bootstrap.servers").default("")
        .validator(Validator::QuorumAddresses).high().unserved()
        .doc("Addresses at which a Raft quorum is found."),
    Key::int("controller.quorum.election.backoff.max.ms").default("1000").high().unserved()
        .doc("Longest pause between two elections of a Raft quorum."),
    Key::int("controller.quorum.election.timeout.ms").default("1000").high().unserved()
        .doc("Time without an answer after which a Raft election starts anew."),
    Key::int("controller.quorum.fetch.timeout.ms").default("2000").high().unserved()
        .doc("Time without a fetch from the majority after which a Raft leader gives up."),
    Key::int("controller.quorum.request.timeout.ms").default("2000").unserved()
        .doc("Time to wait for an answer within a Raft quorum."),
    Key::int("controller.quorum.retry.backoff.ms").default("20").low().unserved()
        .doc("Pause before a request within a Raft quorum is sent again."),
    Key::list("controller.quorum.voters").default("").validator(Validator::QuorumAddresses).high()
        .unserved()
        .doc("Members of a Raft quorum as id@host:port."),
    Key::string("early.start.listeners").high().unserved()
        .doc("Listeners that open before a Raft-based controller lets the broker in."),
    Key::boolean("eligible.leader.replicas.enable").default("false").high().unserved()
        .doc("Whether replicas outside the in-sync set can be known to hold all committed \
            records."),
    Key::int("initial.broker.registration.timeout.ms").default("60000").unserved()
        .doc("Time for a first registration with a Raft-based controller."),
    Key::long("log.dir.failure.timeout.ms").default("30000").at_least(1.0).low().unserved()
        .doc("Time after which a broker that cannot report a failed directory stops."),
    Key::string("metadata.log.dir").high().unserved()
        .doc("Directory of the metadata log of a Raft-based cluster."),
    Key::long("metadata.log.max.record.bytes.between.snapshots").default("20971520").at_least(1.0)
        .high().unserved()
        .doc("Bytes of the metadata log after which a snapshot is made."),
    Key::long("metadata.log.max.snapshot.interval.ms").default("3600000").at_least(0.0).high()
        .unserved()
        .doc("Longest time between two snapshots of the metadata."),
    Key::int("metadata.log.segment.bytes").default("1073741824").at_least(12.0).high().unserved()
        .doc("Bytes after which a segment of the metadata log is closed."),
    Key::int("metadata.log.segment.min.bytes").default("8388608").at_least(12.0).high().internal()
        .unserved()
        .doc("Least value of metadata.log.segment.bytes."),
    Key::long("metadata.log.segment.ms").default("604800000").high().unserved()
        .doc("Time after which a segment of the metadata log is closed."),
    Key::int("metadata.max.idle.interval.ms").default("500").at_least(0.0).low().unserved()
        .doc("Longest time without a record in the metadata log."),
    Key::long("metadata.max.retention.bytes").default("104857600").high().unserved()
        .doc("Bytes of the metadata log and its snapshots above which old ones are deleted."),
    Key::long("metadata.max.retention.ms").default("604800000").high().unserved()
        .doc("Time for which old metadata logs and snapshots stay."),
    Key::int("node.id").default("-1").high()
        .doc("Number of this node, the same as broker.id."),
    Key::list("process.roles").default("").one_of(&["broker", "controller"]).high()
        .refused("this broker works with ZooKeeper, not with a Raft-based controller")
        .doc("Roles in a Raft-based cluster; empty with ZooKeeper."),
    Key::long("server.max.startup.time.ms").default("9223372036854775807").at_least(0.0)
        .internal().unserved()
        .doc("Longest time that a start may take."),
    Key::boolean("unstable.api.versions.enable").default("false").high().internal().unserved()
        .doc("Whether versions of requests still under development are offered."),
    Key::boolean("unstable.feature.versions.enable").default("false").high().internal().unserved()
        .doc("Whether versions of features still under development are offered."),
];
