//! Topics that grow, go, and cannot go yet.

use ottla_coordination::payloads::{EntityConfig, TopicAssignment};
use ottla_coordination::{Request, paths};
use ottla_model::{BrokerId, ErrorCode, ReplicaAssignment, TopicPartition};

use super::cluster::{Cluster, ids, t};
use crate::event::{Answer, ApiRequest, ElectionType};

#[test]
fn added_partitions_come_to_life_and_keep_the_others() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.take_trace();
    cluster.create_topic(&[&[0, 1], &[1, 0]]);
    assert_eq!(cluster.state_text(&t(0)), "0 [0,1] 0 0");
    assert_eq!(cluster.state_text(&t(1)), "1 [1,0] 0 0");
    assert_eq!(
        cluster.take_trace(),
        [
            "1 LISR p1(leader 1 isr [1,0] lEp 0 pEp 0 replicas [1,0] new)",
            "1 UMR p1(leader 1 isr [1,0] lEp 0 pEp 0)"
        ]
    );
}

#[test]
fn a_topic_without_an_id_gets_one() {
    let mut cluster = Cluster::started(&[1]);
    let znode = TopicAssignment {
        topic_id: None,
        partitions: [(0, ReplicaAssignment::of(ids(&[0, 1])))].into(),
    };
    cluster.create(&paths::topic("t"), Some(znode.encode()));
    cluster.settle();
    let id = cluster.assignment("t").topic_id.expect("an id");
    assert!(!id.is_zero());
    assert_eq!(cluster.assignment("t").partitions, znode.partitions);
}

#[test]
fn a_deletion_waits_for_dead_replicas() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.kill(1);
    cluster.order_deletion("t");
    cluster.settle();
    assert!(cluster.exists("/brokers/topics/t"));
    assert_eq!(cluster.topics_queued(), ["t".into()]);
    assert_eq!(cluster.view().gauges.topics_ineligible_to_delete_count, 1);
    assert_eq!(cluster.view().gauges.replicas_to_delete_count, 1);
    cluster.start(1);
    assert!(!cluster.exists("/brokers/topics/t"));
    assert!(cluster.topics_queued().is_empty());
}

#[test]
fn a_storage_error_is_tried_again_at_the_next_start_of_the_broker() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    cluster
        .stop_replica_errors
        .insert((BrokerId(1), t(0)), ErrorCode::KafkaStorageError);
    cluster.order_deletion("t");
    cluster.settle();
    assert!(cluster.exists("/brokers/topics/t"));
    cluster.stop_replica_errors.clear();
    cluster.bounce(1);
    assert!(!cluster.exists("/brokers/topics/t"));
}

#[test]
fn a_broker_that_dies_during_the_deletion_delays_it() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.silent.insert(BrokerId(1));
    cluster.order_deletion("t");
    cluster.settle();
    cluster.kill(1);
    assert!(cluster.exists("/brokers/topics/t"));
    cluster.silent.clear();
    cluster.start(1);
    assert!(!cluster.exists("/brokers/topics/t"));
}

#[test]
fn a_new_controller_goes_on_with_a_deletion() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.silent.insert(BrokerId(1));
    cluster.order_deletion("t");
    cluster.settle();
    cluster.replace_controller();
    cluster.silent.clear();
    cluster.elect();
    assert!(!cluster.exists("/brokers/topics/t"));
    assert!(!cluster.exists("/config/topics/t"));
}

#[test]
fn orders_for_unknown_topics_and_disabled_deletions_are_taken_back() {
    let mut cluster = Cluster::started(&[1]);
    cluster.order_deletion("unknown");
    cluster.settle();
    assert!(!cluster.exists("/admin/delete_topics/unknown"));

    let mut cluster = Cluster::prepared(&[1]);
    cluster.config.delete_topic_enable = false;
    cluster.replace_controller();
    cluster.elect();
    cluster.create_topic(&[&[0, 1]]);
    cluster.order_deletion("t");
    cluster.settle();
    assert!(!cluster.exists("/admin/delete_topics/t"));
    assert!(cluster.exists("/brokers/topics/t"));
}

#[test]
fn a_topic_that_is_being_deleted_is_left_alone() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.silent.insert(BrokerId(1));
    cluster.order_deletion("t");
    cluster.settle();
    // No expansion: the old assignment is written back.
    cluster.create_topic(&[&[0, 1], &[0, 1]]);
    assert_eq!(cluster.assignment("t").partitions.len(), 1);
    assert_eq!(cluster.assignment("t").topic_id, Some(Cluster::topic_id()));
    let Answer::AlterPartitionReassignments(Ok(results)) = cluster.reassign(0, Some(&[2])) else {
        panic!()
    };
    assert_eq!(results[&t(0)].error, ErrorCode::UnknownTopicOrPartition);
    let Answer::ElectLeaders(results) = cluster.ask(ApiRequest::ElectLeaders {
        partitions: [t(0)].into(),
        election: ElectionType::Unclean,
    }) else {
        panic!()
    };
    assert_eq!(
        results[&t(0)].as_ref().unwrap_err().error,
        ErrorCode::InvalidTopicException
    );
}

#[test]
fn a_topic_of_the_same_name_can_be_made_again() {
    let mut cluster = Cluster::started(&[1]);
    for _ in 0..3 {
        cluster.create_topic(&[&[0, 1], &[1, 0]]);
        assert_eq!(cluster.state_text(&t(1)), "1 [1,0] 0 0");
        cluster.order_deletion("t");
        cluster.settle();
        assert!(!cluster.exists("/brokers/topics/t"));
    }
    assert_eq!(cluster.view().gauges.global_topic_count, 0);
    assert_eq!(cluster.view().gauges.global_partition_count, 0);
}

#[test]
fn a_topic_whose_znodes_vanish_is_forgotten() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    for path in [
        "/brokers/topics/t/partitions/0/state",
        "/brokers/topics/t/partitions/0",
        "/brokers/topics/t/partitions",
        "/brokers/topics/t",
    ] {
        cluster
            .write(Request::Delete {
                path: path.into(),
                version: -1,
            })
            .unwrap();
    }
    cluster.settle();
    assert_eq!(cluster.view().gauges.global_topic_count, 0);
    cluster.create_topic(&[&[1, 0]]);
    assert_eq!(cluster.state_text(&t(0)), "1 [1,0] 0 0");
}

#[test]
fn many_topics_are_made_in_one_round() {
    let mut cluster = Cluster::started(&[1, 2]);
    for index in 0..20 {
        let znode = TopicAssignment {
            topic_id: None,
            partitions: (0..3)
                .map(|p| (p, ReplicaAssignment::of(ids(&[0, 1, 2]))))
                .collect(),
        };
        let config = EntityConfig::default().encode();
        cluster.create(&format!("/config/topics/t{index}"), Some(config));
        cluster.create(&format!("/brokers/topics/t{index}"), Some(znode.encode()));
    }
    cluster.settle();
    for index in 0..20 {
        let partition = TopicPartition::new(format!("t{index}"), 2);
        assert_eq!(cluster.state(&partition).leader, BrokerId(0));
    }
    assert_eq!(cluster.view().gauges.global_partition_count, 60);
}
