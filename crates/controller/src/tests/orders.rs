//! What administrators ask for: elections, reassignments, producer ids, features.

use std::collections::BTreeMap;

use ottla_coordination::Request;
use ottla_coordination::payloads::{PreferredReplicaElection, ReassignPartitions};
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, ProducerId, TopicPartition};

use super::cluster::{Cluster, ids, t};
use crate::event::{Answer, ApiError, ApiRequest, ElectionType, FeatureUpdate, UpgradeType};

fn elect(cluster: &mut Cluster, election: ElectionType) -> Result<BrokerId, ErrorCode> {
    let partitions = [t(0)].into();
    match cluster.ask(ApiRequest::ElectLeaders {
        partitions,
        election,
    }) {
        Answer::ElectLeaders(mut results) => results.remove(&t(0)).unwrap().map_err(|e| e.error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn elections_answer_in_kafkas_codes() {
    let mut cluster = Cluster::started(&[1]);
    use ElectionType::{Preferred, Unclean};
    assert_eq!(
        elect(&mut cluster, Preferred),
        Err(ErrorCode::UnknownTopicOrPartition)
    );
    cluster.create_topic(&[&[1, 0]]);
    assert_eq!(
        elect(&mut cluster, Preferred),
        Err(ErrorCode::ElectionNotNeeded)
    );
    assert_eq!(
        elect(&mut cluster, Unclean),
        Err(ErrorCode::ElectionNotNeeded)
    );
    cluster.bounce(1);
    assert_eq!(
        elect(&mut cluster, Preferred),
        Err(ErrorCode::PreferredLeaderNotAvailable)
    );
    cluster.alter_isr(0, &[0, 1]);
    assert_eq!(elect(&mut cluster, Preferred), Ok(BrokerId(1)));
}

#[test]
fn an_administrator_can_force_an_unclean_election() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2]]);
    cluster.kill(2);
    cluster.kill(1);
    assert_eq!(
        elect(&mut cluster, ElectionType::Unclean),
        Err(ErrorCode::EligibleLeadersNotAvailable)
    );
    cluster.start(2);
    assert_eq!(elect(&mut cluster, ElectionType::Unclean), Ok(BrokerId(2)));
}

#[test]
fn an_election_ordered_by_znode_runs_once_and_the_next_one_is_noticed() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    for _ in 0..2 {
        cluster.bounce(1);
        cluster.alter_isr(0, &[0, 1]);
        let order = PreferredReplicaElection([t(0), TopicPartition::new("unknown", 0)].into());
        cluster.create("/admin/preferred_replica_election", Some(order.encode()));
        cluster.settle();
        assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
        assert!(!cluster.exists("/admin/preferred_replica_election"));
    }
}

fn reassignment_error(cluster: &mut Cluster, target: Option<&[i32]>) -> ErrorCode {
    match cluster.reassign(0, target) {
        Answer::AlterPartitionReassignments(Ok(results)) => results[&t(0)].error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reassignments_are_checked_in_kafkas_order() {
    let mut cluster = Cluster::started(&[1]);
    assert_eq!(
        reassignment_error(&mut cluster, Some(&[1])),
        ErrorCode::UnknownTopicOrPartition
    );
    cluster.create_topic(&[&[0]]);
    let invalid = ErrorCode::InvalidReplicaAssignment;
    assert_eq!(reassignment_error(&mut cluster, Some(&[])), invalid);
    assert_eq!(reassignment_error(&mut cluster, Some(&[1, 1])), invalid);
    assert_eq!(reassignment_error(&mut cluster, Some(&[-1])), invalid);
    assert_eq!(reassignment_error(&mut cluster, Some(&[9])), invalid);
    assert_eq!(
        reassignment_error(&mut cluster, None),
        ErrorCode::NoReassignmentInProgress
    );
    assert_eq!(cluster.assignment("t").partitions[&0].replicas, ids(&[0]));
    for (target, message) in [
        (
            &[1, 1],
            "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(1, 1)",
        ),
        (
            &[0, -1],
            "Invalid broker id in replica list: ArrayBuffer(0, -1)",
        ),
        (
            &[0, 9],
            "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(9), live broker list: Set(0, 1)",
        ),
    ] {
        let Answer::AlterPartitionReassignments(Ok(results)) = cluster.reassign(0, Some(target))
        else {
            panic!()
        };
        assert_eq!(results[&t(0)].message.as_deref(), Some(message));
    }
}

#[test]
fn running_reassignments_are_listed() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1], &[1]]);
    cluster.reassign(0, Some(&[0, 2]));
    let Answer::ListPartitionReassignments(Ok(all)) =
        cluster.ask(ApiRequest::ListPartitionReassignments(None))
    else {
        panic!()
    };
    assert_eq!(all.keys().collect::<Vec<_>>(), [&t(0)]);
    assert_eq!(all[&t(0)].adding, ids(&[2]));
    let none = cluster.ask(ApiRequest::ListPartitionReassignments(Some([t(1)].into())));
    assert_eq!(
        none,
        Answer::ListPartitionReassignments(Ok(BTreeMap::new()))
    );
}

#[test]
fn a_reassignment_ordered_by_znode_ends_with_the_znode() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0], &[0]]);
    for (partition, target) in [(0, 1), (1, 2)] {
        let order = ReassignPartitions([(t(partition), ids(&[target]))].into());
        cluster.create("/admin/reassign_partitions", Some(order.encode()));
        cluster.settle();
        assert!(cluster.exists("/admin/reassign_partitions"));
        cluster.alter_isr(partition, &[0, target]);
        assert!(!cluster.exists("/admin/reassign_partitions"));
        assert_eq!(cluster.state(&t(partition)).leader, BrokerId(target));
    }
}

#[test]
fn an_order_by_the_api_supplants_one_by_znode() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0], &[0]]);
    let order = ReassignPartitions([(t(0), ids(&[1])), (t(1), ids(&[1]))].into());
    cluster.create("/admin/reassign_partitions", Some(order.encode()));
    cluster.settle();
    cluster.reassign(0, Some(&[2]));
    let (left, _) = cluster.data("/admin/reassign_partitions").unwrap();
    let left = ReassignPartitions::decode(&left).unwrap();
    assert_eq!(left.0.keys().collect::<Vec<_>>(), [&t(1)]);
    assert_eq!(
        cluster.assignment("t").partitions[&0].replicas,
        ids(&[2, 0])
    );
}

#[test]
fn a_reassignment_goes_on_when_a_target_broker_starts() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.reassign(0, Some(&[0, 2]));
    cluster.kill(2);
    cluster.take_trace();
    cluster.start(2);
    cluster.alter_isr(0, &[0, 1, 2]);
    assert_eq!(
        cluster.assignment("t").partitions[&0].replicas,
        ids(&[0, 2])
    );
    assert_eq!(cluster.state(&t(0)).isr, ids(&[0, 2]));
}

#[test]
fn the_original_order_is_lost_when_an_overlapping_reassignment_is_cancelled() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2]]);
    cluster.reassign(0, Some(&[0, 2]));
    cluster.reassign(0, None);
    assert_eq!(
        cluster.assignment("t").partitions[&0].replicas,
        ids(&[2, 1])
    );
}

#[test]
fn producer_ids_are_given_in_blocks_of_a_thousand_to_registered_brokers() {
    let mut cluster = Cluster::started(&[1]);
    // Not every provider can make a znode without data, so the first block may have to make it.
    let path = "/latest_producer_id_block".to_owned();
    cluster
        .write(Request::Delete { path, version: -1 })
        .unwrap();
    let broker_epoch = cluster.broker_epoch(1);
    let mut allocate = |broker, epoch: BrokerEpoch| {
        let broker = BrokerId(broker);
        cluster.ask(ApiRequest::AllocateProducerIds {
            broker,
            broker_epoch: epoch,
        })
    };
    assert_eq!(
        allocate(1, broker_epoch),
        Answer::AllocateProducerIds(Ok((ProducerId(0), 1000)))
    );
    assert_eq!(
        allocate(1, broker_epoch),
        Answer::AllocateProducerIds(Ok((ProducerId(1000), 1000)))
    );
    for epoch in [broker_epoch.0 - 1, broker_epoch.0 + 1] {
        let refused = Answer::AllocateProducerIds(Err(ErrorCode::StaleBrokerEpoch));
        assert_eq!(allocate(1, BrokerEpoch(epoch)), refused);
    }
    assert_eq!(
        allocate(9, broker_epoch),
        Answer::AllocateProducerIds(Err(ErrorCode::BrokerIdNotRegistered))
    );
    assert_eq!(
        cluster.text("/latest_producer_id_block"),
        r#"{"version":1,"broker":1,"block_start":"1000","block_end":"1999"}"#
    );
}

#[test]
fn no_feature_is_supported() {
    let mut cluster = Cluster::started(&[]);
    let update = |feature: &str, version_level, upgrade_type| FeatureUpdate {
        feature: feature.into(),
        version_level,
        upgrade_type,
    };
    let answer = cluster.ask(ApiRequest::UpdateFeatures(vec![
        update("f", 1, UpgradeType::Upgrade),
        update("g", 0, UpgradeType::SafeDowngrade),
        update("", 1, UpgradeType::Upgrade),
    ]));
    let Answer::UpdateFeatures(Ok(results)) = answer else {
        panic!("{answer:?}")
    };
    assert!(
        results
            .values()
            .all(|result| result.error == ErrorCode::InvalidRequest)
    );
    assert_eq!(
        results["g"],
        ApiError::with(
            ErrorCode::InvalidRequest,
            "Can not delete non-existing finalized feature."
        )
    );
}

#[test]
fn a_broker_that_is_not_controller_says_so() {
    let mut cluster = Cluster::prepared(&[1]);
    let not_controller = ApiError::of(ErrorCode::NotController);
    assert_eq!(
        cluster.reassign(0, None),
        Answer::AlterPartitionReassignments(Err(not_controller.clone()))
    );
    assert_eq!(
        cluster.ask(ApiRequest::ListPartitionReassignments(None)),
        Answer::ListPartitionReassignments(Err(not_controller.clone()))
    );
    assert_eq!(
        cluster.ask(ApiRequest::UpdateFeatures(vec![])),
        Answer::UpdateFeatures(Err(not_controller))
    );
    assert_eq!(
        elect(&mut cluster, ElectionType::Preferred),
        Err(ErrorCode::NotController)
    );
    assert_eq!(
        cluster.shut_down(1),
        Answer::ControlledShutdown(Err(ErrorCode::StaleControllerEpoch))
    );
    let broker_epoch = cluster.broker_epoch(1);
    let broker = BrokerId(1);
    assert_eq!(
        cluster.ask(ApiRequest::AllocateProducerIds {
            broker,
            broker_epoch
        }),
        Answer::AllocateProducerIds(Err(ErrorCode::NotController))
    );
}
