//! Consumer groups and their committed offsets.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::list("group.consumer.assignors")
        .default("org.apache.kafka.coordinator.group.assignor.UniformAssignor,org.apache.kafka.coordinator.group.assignor.RangeAssignor")
        .unserved(),
    Key::int("group.consumer.heartbeat.interval.ms").default("5000").at_least(1.0).unserved(),
    Key::int("group.consumer.max.heartbeat.interval.ms").default("15000").at_least(1.0).unserved(),
    Key::int("group.consumer.max.session.timeout.ms").default("60000").at_least(1.0).unserved(),
    Key::int("group.consumer.max.size").default("2147483647").at_least(1.0).unserved(),
    Key::string("group.consumer.migration.policy").default("disabled")
        .validator(Validator::OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]))
        .internal().unserved(),
    Key::int("group.consumer.min.heartbeat.interval.ms").default("5000").at_least(1.0).unserved(),
    Key::int("group.consumer.min.session.timeout.ms").default("45000").at_least(1.0).unserved(),
    Key::int("group.consumer.session.timeout.ms").default("45000").at_least(1.0).unserved(),
    Key::int("group.coordinator.append.linger.ms").default("10").at_least(0.0).unserved(),
    Key::boolean("group.coordinator.new.enable").default("false").internal().unserved(),
    Key::list("group.coordinator.rebalance.protocols").default("classic")
        .one_of(&["consumer", "classic", "share", "unknown"]).unserved(),
    Key::int("group.coordinator.threads").default("1").at_least(1.0).unserved(),
    Key::int("group.initial.rebalance.delay.ms").default("3000"),
    Key::int("group.max.session.timeout.ms").default("1800000"),
    Key::int("group.max.size").default("2147483647").at_least(1.0),
    Key::int("group.min.session.timeout.ms").default("6000"),
    Key::int("group.share.delivery.count.limit").default("5").between(2.0, 10.0).unserved(),
    Key::boolean("group.share.enable").default("false").internal().unserved(),
    Key::int("group.share.heartbeat.interval.ms").default("5000").at_least(1.0).unserved(),
    Key::short("group.share.max.groups").default("10").between(1.0, 100.0).unserved(),
    Key::int("group.share.max.heartbeat.interval.ms").default("15000").at_least(1.0).unserved(),
    Key::int("group.share.max.record.lock.duration.ms").default("60000")
        .between(30000.0, 3600000.0).unserved(),
    Key::int("group.share.max.session.timeout.ms").default("60000").at_least(1.0).unserved(),
    Key::short("group.share.max.size").default("200").between(10.0, 1000.0).unserved(),
    Key::int("group.share.min.heartbeat.interval.ms").default("5000").at_least(1.0).unserved(),
    Key::int("group.share.min.record.lock.duration.ms").default("15000").between(1000.0, 30000.0)
        .unserved(),
    Key::int("group.share.min.session.timeout.ms").default("45000").at_least(1.0).unserved(),
    Key::int("group.share.partition.max.record.locks").default("200").between(100.0, 10000.0)
        .unserved(),
    Key::int("group.share.record.lock.duration.ms").default("30000").between(1000.0, 60000.0)
        .unserved(),
    Key::int("group.share.session.timeout.ms").default("45000").at_least(1.0).unserved(),
    Key::int("offset.metadata.max.bytes").default("4096").high(),
    Key::short("offsets.commit.required.acks").default("-1").high(),
    Key::int("offsets.commit.timeout.ms").default("5000").at_least(1.0).high(),
    Key::int("offsets.load.buffer.size").default("5242880").at_least(1.0).high(),
    Key::long("offsets.retention.check.interval.ms").default("600000").at_least(1.0).high(),
    Key::int("offsets.retention.minutes").default("10080").at_least(1.0).high(),
    Key::int("offsets.topic.compression.codec").default("0").high(),
    Key::int("offsets.topic.num.partitions").default("50").at_least(1.0).high(),
    Key::short("offsets.topic.replication.factor").default("3").at_least(1.0).high(),
    Key::int("offsets.topic.segment.bytes").default("104857600").at_least(1.0).high(),
];
