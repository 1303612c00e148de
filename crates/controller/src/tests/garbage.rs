//! Znodes that hold what Kafka never writes: nobody panics, other topics and brokers go on.

use bytes::Bytes;
use ottla_coordination::{Request, paths};
use ottla_model::{BrokerId, TopicName};

use super::cluster::{Cluster, t};

/// Not JSON, JSON of other types, and objects without what is needed.
const GARBAGE: [&[u8]; 14] = [
    b"",
    b"garbage",
    b"\xff\xfe\x00",
    b"{",
    b"[[[[[[[[[[[[[[[[[[[[",
    b"null",
    b"7",
    b"\"text\"",
    b"[]",
    b"{}",
    br#"{"version":99}"#,
    br#"{"version":1,"partitions":7,"brokerid":"x","broker":"y","features":1,"status":9}"#,
    br#"{"version":1,"partitions":[{"topic":7}],"leader":"x","isr":{},"endpoints":3}"#,
    br#"{"version":1,"partitions":{"x":[1],"0":["a"]},"leader":1e99,"isr":[99999999999]}"#,
];

fn delete(cluster: &mut Cluster, path: &str) {
    let path = path.to_owned();
    cluster
        .write(Request::Delete { path, version: -1 })
        .unwrap();
}

/// Another controllership of the same broker.
fn fail_over(cluster: &mut Cluster) {
    delete(cluster, paths::CONTROLLER);
    cluster.settle();
}

#[test]
fn a_known_broker_whose_registration_becomes_unreadable_stays_alive() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1, 2]);
        cluster.create_topic(&[&[1, 0, 2]]);
        cluster.set(&paths::broker(BrokerId(1)), Bytes::from_static(garbage));
        cluster.settle();
        // Other brokers that go and come make the controller read all of them.
        cluster.kill(2);
        cluster.start(2);
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
        assert_eq!(cluster.state(&t(0)).leader_epoch.0, 1, "only broker 2 left");
    }
}

#[test]
fn a_broker_that_registers_with_garbage_is_ignored() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        let path = paths::broker(BrokerId(9));
        cluster.create(&path, Some(Bytes::from_static(garbage)));
        cluster.create("/brokers/ids/not-a-number", None);
        cluster.settle();
        cluster.start(2);
        cluster.create_topic(&[&[2, 1]]);
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(2));
    }
}

#[test]
fn a_garbage_topic_stops_no_other_and_lives_once_it_is_readable() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        let bad = paths::topic("bad");
        cluster.create(&bad, Some(Bytes::from_static(garbage)));
        cluster.settle();
        cluster.create_topic(&[&[1, 0]]);
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
        fail_over(&mut cluster);
        assert!(cluster.view().is_active);
        // What an old tool writes.
        let version_1 = br#"{"version":1,"partitions":{"0":[1,0]},"unknown":{}}"#;
        cluster.set(&bad, Bytes::from_static(version_1));
        cluster.settle();
        let partition = ottla_model::TopicPartition::new("bad", 0);
        assert_eq!(cluster.state(&partition).leader, BrokerId(1));
        fail_over(&mut cluster);
        assert!(cluster.assignment("bad").topic_id.is_some(), "it has an id");
    }
}

#[test]
fn a_garbage_state_stops_no_other_partition() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        cluster.create_topic(&[&[1, 0], &[1, 0]]);
        let path = paths::partition_state(&t(0));
        let (before, _) = cluster.data(&path).unwrap();
        cluster.set(&path, Bytes::from_static(garbage));
        fail_over(&mut cluster);
        assert!(cluster.view().is_active);
        cluster.kill(1);
        assert_eq!(cluster.state(&t(1)).leader, BrokerId(0));
        let (now, _) = cluster.data(&path).unwrap();
        assert_eq!(now, garbage, "nobody makes up who was in sync");
        cluster.set(&path, before);
        cluster.start(1);
        fail_over(&mut cluster);
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
    }
}

#[test]
fn numbers_at_their_ends_do_not_panic() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    let mut state = cluster.state(&t(0));
    state.leader_epoch.0 = i32::MAX;
    cluster.set_state(&t(0), &state);
    fail_over(&mut cluster);
    cluster.kill(1);
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(0));

    cluster.set(paths::CONTROLLER_EPOCH, Bytes::from_static(b"2147483647"));
    fail_over(&mut cluster);
    assert!(!cluster.view().is_active, "there is no later epoch");
}

#[test]
fn garbage_notifications_and_orders_are_taken_away_or_left_alone() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        cluster.create_topic(&[&[1, 0]]);
        let isr = format!("{}/isr_change_0000000001", paths::ISR_CHANGE_NOTIFICATION);
        let dir = format!(
            "{}/log_dir_event_0000000001",
            paths::LOG_DIR_EVENT_NOTIFICATION
        );
        for path in [&isr, &dir] {
            cluster.create(path, Some(Bytes::from_static(garbage)));
            cluster.settle();
            assert!(!cluster.exists(path), "{path}");
        }
        let order = paths::PREFERRED_REPLICA_ELECTION;
        cluster.create(order, Some(Bytes::from_static(garbage)));
        cluster.settle();
        assert!(!cluster.exists(order), "an election is ordered once");

        let order = paths::REASSIGN_PARTITIONS;
        cluster.create(order, Some(Bytes::from_static(garbage)));
        cluster.settle();
        fail_over(&mut cluster);
        assert!(cluster.view().is_active);
        if cluster.exists(order) {
            delete(&mut cluster, order);
        }
        let valid = br#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[0]}]}"#;
        cluster.create(order, Some(Bytes::from_static(valid)));
        cluster.settle();
        assert!(!cluster.exists(order), "finished, after {garbage:?}");
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(0));
    }
}

#[test]
fn a_garbage_controller_znode_is_nobody_until_it_is_deleted() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        cluster.create_topic(&[&[1, 0]]);
        cluster.set(paths::CONTROLLER, Bytes::from_static(garbage));
        cluster.settle();
        fail_over(&mut cluster);
        assert!(cluster.view().is_active);
        cluster.kill(1);
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(0));
    }
    let mut cluster = Cluster::started(&[1]);
    cluster.set(paths::CONTROLLER, Bytes::from_static(b"garbage"));
    cluster.settle();
    assert!(!cluster.view().is_active, "it is controller no longer");
}

#[test]
fn a_topic_that_is_deleted_may_have_garbage_everywhere() {
    for garbage in GARBAGE {
        let mut cluster = Cluster::started(&[1]);
        cluster.create_topic(&[&[1, 0]]);
        let garbage = Bytes::from_static(garbage);
        cluster.set(&paths::partition_state(&t(0)), garbage.clone());
        cluster.set(&paths::topic("t"), garbage.clone());
        cluster.set(&paths::topic_config("t"), garbage.clone());
        cluster.settle();
        cluster.create(&paths::delete_topic("t"), None);
        cluster.settle();
        // As in Kafka replicas without a readable state are given up by the next controller.
        fail_over(&mut cluster);
        assert!(!cluster.exists(&paths::topic("t")), "{garbage:?}");
        assert!(!cluster.exists(&paths::delete_topic("t")));
        assert_eq!(cluster.topics_queued(), Vec::<TopicName>::new());
    }
}
