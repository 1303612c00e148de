//! Brokers that die, come back, and change their ISRs.

use std::time::Duration;

use ottla_coordination::payloads::EntityConfig;
use ottla_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, LeaderRecoveryState, PartitionEpoch,
};

use super::cluster::{Cluster, ids, t};
use crate::event::{AlterPartition, Answer, ApiRequest, TopicReference};
use crate::{Capabilities, ControllerConfig};

#[test]
fn a_dead_leader_is_replaced_from_the_isr_and_leaves_it() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0, 2], &[0, 1, 2]]);
    cluster.take_trace();
    cluster.kill(1);
    assert_eq!(cluster.state_text(&t(0)), "0 [0,2] 1 1");
    assert_eq!(cluster.state_text(&t(1)), "0 [0,2] 1 1");
    let p0 = "p0(leader 0 isr [0,2] lEp 1 pEp 1";
    let p1 = "p1(leader 0 isr [0,2] lEp 1 pEp 1";
    let trace = cluster.take_trace();
    assert_eq!(
        trace,
        [
            format!("2 LISR {p0} replicas [1,0,2])"),
            format!("2 UMR {p0} offline [1])"),
            format!("2 LISR {p0} replicas [1,0,2]) {p1} replicas [0,1,2])"),
            format!("2 UMR {p0} offline [1]) {p1} offline [1])"),
        ]
    );
}

#[test]
fn the_last_member_stays_in_the_isr_of_a_leaderless_partition() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1]]);
    cluster.kill(1);
    assert_eq!(cluster.state_text(&t(0)), "-1 [1] 1 1");
    assert_eq!(cluster.view().gauges.offline_partitions_count, 1);
    cluster.start(1);
    assert_eq!(cluster.state_text(&t(0)), "1 [1] 2 2");
    assert_eq!(cluster.view().gauges.offline_partitions_count, 0);
}

#[test]
fn a_started_broker_gets_all_metadata_and_then_all_that_it_hosts() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1], &[2, 1]]);
    cluster.kill(1);
    cluster.take_trace();
    cluster.start(1);
    let (p0, p1) = (
        "p0(leader 0 isr [0] lEp 1 pEp 1",
        "p1(leader 2 isr [2] lEp 1 pEp 1",
    );
    assert_eq!(
        cluster.take_trace(),
        [
            "2 UMR".to_owned(),
            format!("1 UMR {p0}) {p1})"),
            format!("1 LISR {p0} replicas [0,1]) {p1} replicas [2,1])"),
            format!("1 UMR {p0}) {p1})"),
            format!("2 UMR {p0}) {p1})"),
        ]
    );
}

#[test]
fn a_bounced_broker_goes_through_failure_and_start() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    cluster.actions.clear();
    cluster.bounce(1);
    assert_eq!(cluster.state_text(&t(0)), "0 [0] 1 1");
    let epoch = cluster.broker_epoch(1);
    use crate::Action::{BrokerAdded, BrokerRemoved};
    assert!(matches!(
        cluster.actions.as_slice(),
        [BrokerRemoved(BrokerId(1)), BrokerAdded(broker)] if broker.epoch == epoch
    ));
}

#[test]
fn a_partition_without_live_replicas_waits_for_the_first_one() {
    let mut cluster = Cluster::started(&[]);
    cluster.create_topic(&[&[1, 2]]);
    assert!(!cluster.exists("/brokers/topics/t/partitions/0/state"));
    cluster.start(2);
    assert_eq!(cluster.state_text(&t(0)), "2 [2] 0 0");
}

#[test]
fn an_unclean_leader_needs_the_topics_consent_read_at_that_moment() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2]]);
    cluster.kill(2);
    cluster.kill(1);
    cluster.start(2);
    assert_eq!(cluster.state_text(&t(0)), "-1 [1] 2 2");

    let mut config = EntityConfig::default();
    config
        .0
        .insert("unclean.leader.election.enable".into(), "true".into());
    cluster.set("/config/topics/t", config.encode());
    cluster.event(crate::Event::TopicUncleanLeaderElectionEnabled("t".into()));
    cluster.settle();
    assert_eq!(
        cluster.text("/brokers/topics/t/partitions/0/state"),
        r#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":3,"isr":[2],"leader_recovery_state":1}"#
    );
    assert_eq!(cluster.view().unclean_leader_elections, 1);
    // The leader's next ISR change clears the mark.
    cluster.alter_isr(0, &[2]);
    assert_eq!(
        cluster.state(&t(0)).recovery,
        LeaderRecoveryState::Recovered
    );
}

#[test]
fn the_brokers_default_for_unclean_elections_can_change_while_running() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2]]);
    cluster.kill(2);
    cluster.kill(1);
    cluster.start(2);
    cluster.event(crate::Event::UncleanLeaderElectionDefault(false));
    cluster.settle();
    assert_eq!(cluster.state(&t(0)).leader, BrokerId::NONE);
    cluster.event(crate::Event::UncleanLeaderElectionDefault(true));
    cluster.settle();
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(2));
}

#[test]
fn an_isr_change_keeps_the_leader_epoch_and_sends_only_metadata() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2]]);
    cluster.take_trace();
    let answer = cluster.alter_isr(0, &[1]);
    assert_eq!(cluster.state_text(&t(0)), "1 [1] 0 1");
    let Answer::AlterPartition(Ok(results)) = answer else {
        panic!("{answer:?}")
    };
    let state = results[0].result.clone().unwrap();
    assert_eq!(
        (state.isr, state.partition_epoch),
        (ids(&[1]), PartitionEpoch(1))
    );
    assert_eq!(results[0].topic, TopicReference::Id(Cluster::topic_id()));
    assert_eq!(
        cluster.take_trace(),
        [
            "1 UMR p0(leader 1 isr [1] lEp 0 pEp 1)",
            "2 UMR p0(leader 1 isr [1] lEp 0 pEp 1)"
        ]
    );
}

#[test]
fn isr_changes_are_refused_by_the_first_rule_that_hits() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 2, 0]]);
    cluster.alter_isr(0, &[1, 2]);
    cluster.reassign(0, Some(&[1, 2, 0]));
    assert_eq!(cluster.state_text(&t(0)), "1 [1,2] 1 2");
    let result = |cluster: &mut Cluster, isr: &[i32], leader_epoch, partition_epoch| {
        let (leader_epoch, partition_epoch) =
            (LeaderEpoch(leader_epoch), PartitionEpoch(partition_epoch));
        match cluster.alter_isr_as(1, 0, isr, leader_epoch, partition_epoch) {
            Answer::AlterPartition(Ok(results)) => results[0].result.clone().map(|s| s.isr),
            other => panic!("{other:?}"),
        }
    };
    let cluster = &mut cluster;
    assert_eq!(result(cluster, &[1], 1, 3), Err(ErrorCode::NotController));
    assert_eq!(result(cluster, &[1], 2, 2), Err(ErrorCode::NotController));
    assert_eq!(
        result(cluster, &[1], 0, 2),
        Err(ErrorCode::FencedLeaderEpoch)
    );
    assert_eq!(
        result(cluster, &[1, 2], 1, 1),
        Ok(ids(&[1, 2])),
        "what holds already succeeds"
    );
    assert_eq!(
        result(cluster, &[2, 1], 1, 1),
        Err(ErrorCode::InvalidUpdateVersion)
    );
    assert_eq!(
        result(cluster, &[1, 7], 1, 2),
        Err(ErrorCode::IneligibleReplica)
    );
    assert_eq!(result(cluster, &[2, 1], 1, 2), Ok(ids(&[2, 1])));
}

#[test]
fn a_broker_that_shuts_down_cannot_join_an_isr() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1, 2]]);
    cluster.shut_down(2);
    let answer = cluster.alter_isr(0, &[0, 1, 2]);
    let Answer::AlterPartition(Ok(results)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(results[0].result, Err(ErrorCode::IneligibleReplica));
}

#[test]
fn stale_and_unknown_requesters_are_refused() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    let epoch = cluster.broker_epoch(1);
    for (broker, epoch) in [(1, epoch.0 - 1), (1, epoch.0 + 1), (9, epoch.0)] {
        let (broker, broker_epoch) = (BrokerId(broker), BrokerEpoch(epoch));
        let answer = cluster.ask(ApiRequest::AlterPartition {
            broker,
            broker_epoch,
            knows_ineligible_replica: true,
            partitions: vec![],
        });
        assert_eq!(
            answer,
            Answer::AlterPartition(Err(ErrorCode::StaleBrokerEpoch))
        );
    }
    let stale = cluster.ask(ApiRequest::ControlledShutdown {
        broker: BrokerId(1),
        broker_epoch: BrokerEpoch(epoch.0 - 1),
    });
    assert_eq!(
        stale,
        Answer::ControlledShutdown(Err(ErrorCode::StaleBrokerEpoch))
    );
    for (epoch, error) in [
        (-1, ErrorCode::BrokerNotAvailable),
        (5, ErrorCode::UnknownServerError),
    ] {
        let answer = cluster.ask(ApiRequest::ControlledShutdown {
            broker: BrokerId(9),
            broker_epoch: BrokerEpoch(epoch),
        });
        assert_eq!(answer, Answer::ControlledShutdown(Err(error)));
    }
}

#[test]
fn unknown_topic_ids_are_refused_partition_by_partition() {
    let mut cluster = Cluster::started(&[1]);
    let broker_epoch = cluster.broker_epoch(1);
    let topic = TopicReference::Id(ottla_model::TopicId([9; 16]));
    let answer = cluster.ask(ApiRequest::AlterPartition {
        broker: BrokerId(1),
        broker_epoch,
        knows_ineligible_replica: true,
        partitions: vec![AlterPartition {
            topic: topic.clone(),
            partition: 3,
            leader_epoch: LeaderEpoch(0),
            new_isr: ids(&[1]),
            recovery: LeaderRecoveryState::Recovered,
            partition_epoch: PartitionEpoch(0),
        }],
    });
    let Answer::AlterPartition(Ok(results)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((&results[0].topic, results[0].partition), (&topic, 3));
    assert_eq!(results[0].result, Err(ErrorCode::UnknownTopicId));
}

#[test]
fn an_election_that_meets_a_conflict_decides_again() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0, 2]]);
    cluster.kill_quietly(1);
    // The old leader's ISR change gets in between the election's read and its write.
    for _ in 0..500 {
        let state = cluster.state(&t(0));
        if state.isr.len() == 3 && cluster.submitted() == 1 {
            let mut shrunk = state;
            shrunk.isr = ids(&[1, 2]);
            cluster.set_state(&t(0), &shrunk);
        }
        if !cluster.step() {
            break;
        }
    }
    cluster.settle();
    let state = cluster.state(&t(0));
    assert_eq!(
        state.leader,
        BrokerId(2),
        "broker 0 is not in sync any more"
    );
}

#[test]
fn states_of_a_later_controller_are_not_touched() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    let mut state = cluster.state(&t(0));
    state.controller_epoch = ottla_model::ControllerEpoch(9);
    cluster.set_state(&t(0), &state);
    cluster.kill(1);
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
}

#[test]
fn leaders_go_back_to_their_preferred_replicas_when_too_many_are_elsewhere() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[1, 0]]);
    cluster.bounce(1);
    cluster.alter_isr(0, &[0, 1]);
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(0));
    assert_eq!(cluster.view().gauges.preferred_replica_imbalance_count, 1);
    cluster.advance(Duration::from_secs(4));
    cluster.settle();
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(0));
    cluster.advance(Duration::from_secs(1));
    cluster.settle();
    assert_eq!(cluster.state(&t(0)).leader, BrokerId(1));
    assert_eq!(cluster.view().gauges.preferred_replica_imbalance_count, 0);
    let next = cluster.controller.next_deadline().unwrap();
    assert_eq!(next.since(cluster.now.monotonic), Duration::from_secs(300));
}

#[test]
fn old_protocols_stop_replicas_with_two_requests() {
    let mut cluster = Cluster::prepared(&[1]);
    let capabilities = Capabilities {
        stop_replica_per_partition: false,
        ..Capabilities::default()
    };
    cluster.config = ControllerConfig {
        capabilities,
        ..cluster.config.clone()
    };
    cluster.replace_controller();
    cluster.elect();
    cluster.create_topic(&[&[0, 1]]);
    cluster.take_trace();
    cluster.order_deletion("t");
    cluster.settle();
    assert!(!cluster.exists("/brokers/topics/t"));
}
