//! Consumer groups and their committed offsets.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::list("group.consumer.assignors")
        .default("org.apache.kafka.coordinator.group.assignor.UniformAssignor,org.apache.kafka.coordinator.group.assignor.RangeAssignor")
        .unserved()
        .doc("Assignors that the broker offers to groups of the new consumer protocol."),
    Key::int("group.consumer.heartbeat.interval.ms").default("5000").at_least(1.0).unserved()
        .doc("Time between heartbeats in groups of the new consumer protocol."),
    Key::int("group.consumer.max.heartbeat.interval.ms").default("15000").at_least(1.0).unserved()
        .doc("Longest time between heartbeats that a group of the new consumer protocol may \
            choose."),
    Key::int("group.consumer.max.session.timeout.ms").default("60000").at_least(1.0).unserved()
        .doc("Longest session timeout that a group of the new consumer protocol may choose."),
    Key::int("group.consumer.max.size").default("2147483647").at_least(1.0).unserved()
        .doc("Most members of a group of the new consumer protocol."),
    Key::string("group.consumer.migration.policy").default("disabled")
        .validator(Validator::OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]))
        .internal().unserved()
        .doc("Which ways groups may go between the classic and the new consumer protocol."),
    Key::int("group.consumer.min.heartbeat.interval.ms").default("5000").at_least(1.0).unserved()
        .doc("Shortest time between heartbeats that a group of the new consumer protocol may \
            choose."),
    Key::int("group.consumer.min.session.timeout.ms").default("45000").at_least(1.0).unserved()
        .doc("Shortest session timeout that a group of the new consumer protocol may choose."),
    Key::int("group.consumer.session.timeout.ms").default("45000").at_least(1.0).unserved()
        .doc("Time without heartbeats after which a member of a group of the new consumer \
            protocol is removed."),
    Key::int("group.coordinator.append.linger.ms").default("10").at_least(0.0).unserved()
        .doc("Time for which the new group coordinator collects records before it writes them."),
    Key::boolean("group.coordinator.new.enable").default("false").internal().unserved()
        .doc("Whether the new group coordinator runs."),
    Key::list("group.coordinator.rebalance.protocols").default("classic")
        .one_of(&["consumer", "classic", "share", "unknown"]).unserved()
        .doc("Kinds of groups that the coordinator serves."),
    Key::int("group.coordinator.threads").default("1").at_least(1.0).unserved()
        .doc("Threads of the new group coordinator."),
    Key::int("group.initial.rebalance.delay.ms").default("3000")
        .doc("Time for which an empty group waits for more members before its first rebalance."),
    Key::int("group.max.session.timeout.ms").default("1800000")
        .doc("Longest session timeout that a consumer may choose."),
    Key::int("group.max.size").default("2147483647").at_least(1.0)
        .doc("Most members of a classic group."),
    Key::int("group.min.session.timeout.ms").default("6000")
        .doc("Shortest session timeout that a consumer may choose."),
    Key::int("group.share.delivery.count.limit").default("5").between(2.0, 10.0).unserved()
        .doc("Deliveries of a record to a share group before it counts as undeliverable."),
    Key::boolean("group.share.enable").default("false").internal().unserved()
        .doc("Whether share groups are served."),
    Key::int("group.share.heartbeat.interval.ms").default("5000").at_least(1.0).unserved()
        .doc("Time between heartbeats in share groups."),
    Key::short("group.share.max.groups").default("10").between(1.0, 100.0).unserved()
        .doc("Most share groups that may exist at once."),
    Key::int("group.share.max.heartbeat.interval.ms").default("15000").at_least(1.0).unserved()
        .doc("Longest time between heartbeats that a share group may choose."),
    Key::int("group.share.max.record.lock.duration.ms").default("60000")
        .between(30000.0, 3600000.0).unserved()
        .doc("Longest time that a share group may choose to hold a record."),
    Key::int("group.share.max.session.timeout.ms").default("60000").at_least(1.0).unserved()
        .doc("Longest session timeout that a share group may choose."),
    Key::short("group.share.max.size").default("200").between(10.0, 1000.0).unserved()
        .doc("Most members of a share group."),
    Key::int("group.share.min.heartbeat.interval.ms").default("5000").at_least(1.0).unserved()
        .doc("Shortest time between heartbeats that a share group may choose."),
    Key::int("group.share.min.record.lock.duration.ms").default("15000").between(1000.0, 30000.0)
        .unserved()
        .doc("Shortest time that a share group may choose to hold a record."),
    Key::int("group.share.min.session.timeout.ms").default("45000").at_least(1.0).unserved()
        .doc("Shortest session timeout that a share group may choose."),
    Key::int("group.share.partition.max.record.locks").default("200").between(100.0, 10000.0)
        .unserved()
        .doc("Most records of a partition that a share group holds at once."),
    Key::int("group.share.record.lock.duration.ms").default("30000").between(1000.0, 60000.0)
        .unserved()
        .doc("Time for which a member of a share group holds a record."),
    Key::int("group.share.session.timeout.ms").default("45000").at_least(1.0).unserved()
        .doc("Time without heartbeats after which a member of a share group is removed."),
    Key::int("offset.metadata.max.bytes").default("4096").high()
        .doc("Most bytes of the text that comes with a committed offset."),
    Key::short("offsets.commit.required.acks").default("-1").high()
        .doc("Acknowledgements before a commit is accepted; leave it at -1."),
    Key::int("offsets.commit.timeout.ms").default("5000").at_least(1.0).high()
        .doc("Time for a commit to reach all in-sync replicas."),
    Key::int("offsets.load.buffer.size").default("5242880").at_least(1.0).high()
        .doc("Bytes read at once when the offsets of groups are loaded."),
    Key::long("offsets.retention.check.interval.ms").default("600000").at_least(1.0).high()
        .doc("Time between two searches for expired offsets."),
    Key::int("offsets.retention.minutes").default("10080").at_least(1.0).high()
        .doc("Minutes for which the offsets of a group without members stay."),
    Key::int("offsets.topic.compression.codec").default("0").high()
        .doc("Codec of the offsets topic as its number: 0 none, 1 gzip, 2 snappy, 3 LZ4, 4 \
            Zstandard."),
    Key::int("offsets.topic.num.partitions").default("50").at_least(1.0).high()
        .doc("Partitions of the offsets topic; not to be changed once it exists."),
    Key::short("offsets.topic.replication.factor").default("3").at_least(1.0).high()
        .doc("Replicas of the offsets topic."),
    Key::int("offsets.topic.segment.bytes").default("104857600").at_least(1.0).high()
        .doc("Bytes after which a segment of the offsets topic is closed."),
];
