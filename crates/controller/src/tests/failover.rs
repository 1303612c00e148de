//! Elections of controllers, lost sessions, lost connections.

use ottla_coordination::payloads::Controller as ControllerZnode;
use ottla_coordination::{Request, SessionEvent, paths};
use ottla_model::{BrokerEpoch, BrokerId, ControllerEpoch, ErrorCode};

use super::cluster::{Cluster, ids, t};
use crate::event::{Action, Answer, ApiRequest, Event};

#[test]
fn the_first_controller_has_epoch_1() {
    let mut cluster = Cluster::started(&[]);
    assert_eq!(cluster.text("/controller_epoch"), "1");
    assert_eq!(
        cluster.text("/controller"),
        r#"{"version":2,"brokerid":0,"timestamp":"1700000000000","kraftControllerEpoch":-1}"#
    );
    assert_eq!(
        cluster.text("/feature"),
        r#"{"features":{},"version":2,"status":1}"#
    );
    assert_eq!(cluster.view().controller_epoch, ControllerEpoch(1));
    assert!(
        cluster
            .actions
            .contains(&Action::Elected(ControllerEpoch(1)))
    );
}

fn somebody_else(id: i32) -> bytes::Bytes {
    ControllerZnode::of(BrokerId(id), ottla_model::Timestamp(1)).encode()
}

#[test]
fn a_broker_that_finds_a_controller_waits_until_it_is_gone() {
    let mut cluster = Cluster::prepared(&[1]);
    cluster.create(paths::CONTROLLER, Some(somebody_else(1)));
    cluster.event(Event::Startup);
    cluster.settle();
    assert!(!cluster.view().is_active);
    assert_eq!(cluster.view().active_controller_id, BrokerId(1));
    cluster
        .write(Request::Delete {
            path: paths::CONTROLLER.into(),
            version: -1,
        })
        .unwrap();
    cluster.settle();
    assert!(cluster.view().is_active);
}

#[test]
fn a_controller_that_is_gone_before_it_was_noticed_is_replaced() {
    let mut cluster = Cluster::prepared(&[1]);
    cluster.create(paths::CONTROLLER, Some(somebody_else(1)));
    cluster.event(Event::Startup);
    cluster.settle();
    let delete = || Request::Delete {
        path: paths::CONTROLLER.into(),
        version: -1,
    };
    // The next one comes and goes while the news of the first one's end is still on its way.
    cluster.set(paths::CONTROLLER, somebody_else(2));
    cluster.write(delete()).unwrap();
    cluster.settle();
    assert!(cluster.view().is_active);
}

#[test]
fn losing_controller_means_resigning_and_forgetting() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.actions.clear();
    cluster
        .write(Request::Delete {
            path: paths::CONTROLLER.into(),
            version: -1,
        })
        .unwrap();
    cluster.create(paths::CONTROLLER, Some(somebody_else(1)));
    cluster.settle();
    assert!(!cluster.view().is_active);
    assert_eq!(cluster.view().gauges, crate::Gauges::default());
    assert_eq!(
        cluster.actions,
        [
            Action::BrokerRemoved(BrokerId(0)),
            Action::BrokerRemoved(BrokerId(1)),
            Action::Resigned
        ]
    );
    // Nothing of the cluster concerns it any more.
    cluster.write_topic("t", &[&[0, 1], &[0, 1]]);
    cluster.settle();
    assert_eq!(
        cluster
            .take_trace()
            .iter()
            .filter(|line| line.contains("p1"))
            .count(),
        0
    );
}

#[test]
fn a_zombie_is_stopped_by_the_fence() {
    let mut cluster = Cluster::started(&[1]);
    // Another controller was elected and its znode is gone again before we heard of anything.
    cluster.set(paths::CONTROLLER_EPOCH, "2".into());
    cluster.create_topic(&[&[0, 1]]);
    assert!(!cluster.exists("/brokers/topics/t/partitions/0/state"));
}

#[test]
fn an_election_whose_reply_was_lost_is_recognized() {
    let mut cluster = Cluster::prepared(&[1]);
    cluster.event(Event::Startup);
    while !cluster.exists(paths::CONTROLLER_EPOCH) {
        assert!(cluster.step());
    }
    // The multi is submitted; it happens, and its reply is lost.
    cluster.session_event(SessionEvent::Disconnected);
    cluster.lose_replies(true);
    assert!(cluster.exists(paths::CONTROLLER));
    assert_eq!(
        cluster.submitted(),
        0,
        "nothing is sent again before the connection is back"
    );
    cluster.session_event(SessionEvent::Connected);
    cluster.settle();
    assert!(cluster.view().is_active);
    assert_eq!(cluster.text(paths::CONTROLLER_EPOCH), "1");
}

#[test]
fn only_requests_without_a_reply_are_sent_again() {
    let mut cluster = Cluster::started(&[1]);
    cluster.write_topic("t", &[&[0, 1], &[1, 0]]);
    let mut losses = 0;
    while cluster.submitted() > 0 {
        // Lose every other batch, applied; the retried creates meet what they have made.
        if losses % 2 == 0 {
            cluster.step();
        }
        cluster.lose_replies(losses % 4 < 2);
        losses += 1;
        assert!(losses < 1_000);
    }
    cluster.settle();
    assert!(cluster.view().is_active);
}

#[test]
fn a_topic_gets_its_leaders_whichever_replies_are_lost() {
    let mut lost_something = true;
    for steps in 0.. {
        if !lost_something {
            assert!(steps > 5, "a creation has several steps");
            return;
        }
        let mut cluster = Cluster::started(&[1]);
        cluster.write_topic("t", &[&[0, 1], &[1, 0]]);
        for _ in 0..steps {
            cluster.step();
        }
        lost_something = cluster.submitted() > 0;
        cluster.lose_replies(true);
        cluster.take_trace();
        cluster.settle();
        assert_eq!(cluster.state_text(&t(0)), "0 [0,1] 0 0");
        assert_eq!(cluster.state_text(&t(1)), "1 [1,0] 0 0");
        let trace = cluster.take_trace();
        let told = |line: &String| line.contains("LISR") && line.contains("p1(leader 1");
        assert!(
            !lost_something || trace.iter().any(told),
            "lost after {steps} steps: {trace:?}"
        );
    }
}

#[test]
fn expiry_preempts_the_queue_and_ends_the_event_in_work() {
    let mut cluster = Cluster::started(&[1]);
    cluster.create_topic(&[&[0, 1]]);
    // One event in work, waiting for the coordination service, others behind it.
    let shutdown = cluster.ask_later(ApiRequest::ControlledShutdown {
        broker: BrokerId(1),
        broker_epoch: BrokerEpoch::NONE,
    });
    let elect = cluster.ask_later(ApiRequest::ElectLeaders {
        partitions: [t(0)].into(),
        election: crate::event::ElectionType::Preferred,
    });
    let list = cluster.ask_later(ApiRequest::ListPartitionReassignments(None));
    let ids = cluster.ask_later(ApiRequest::AllocateProducerIds {
        broker: BrokerId(1),
        broker_epoch: BrokerEpoch::NONE,
    });
    assert!(cluster.submitted() > 0);
    assert!(cluster.view().event_queue_size > 0);
    cluster.session_event(SessionEvent::Expired);
    assert!(
        !cluster.view().is_active,
        "the controllership is given up at once"
    );
    assert_eq!(cluster.view().event_queue_size, 0);
    assert!(cluster.answers.contains_key(&shutdown));
    let Answer::ElectLeaders(results) = &cluster.answers[&elect] else {
        panic!()
    };
    assert_eq!(
        results[&t(0)].as_ref().unwrap_err().error,
        ErrorCode::NotController
    );
    let Answer::ListPartitionReassignments(Err(error)) = &cluster.answers[&list] else {
        panic!()
    };
    assert_eq!(error.error, ErrorCode::NotController);
    assert_eq!(cluster.answers[&ids], Answer::Nothing);
}

#[test]
fn after_expiry_the_broker_registers_with_a_new_epoch_and_runs_again() {
    let mut cluster = Cluster::started(&[1]);
    let before = cluster.broker_epoch(0);
    cluster.session_event(SessionEvent::Expired);
    cluster
        .tree
        .close_session(cluster.session, cluster.now.wall)
        .unwrap();
    let (session, _) = cluster.tree.open_session(cluster.now.wall);
    cluster.session = session;
    cluster.actions.clear();
    cluster.event(Event::SessionEstablished {
        session_id: session,
    });
    cluster.settle();
    assert!(cluster.view().is_active);
    assert_eq!(cluster.view().controller_epoch, ControllerEpoch(2));
    let after = cluster.broker_epoch(0);
    assert!(after > before);
    assert_eq!(cluster.view().broker_epoch, after);
    assert_eq!(
        cluster.actions.first(),
        Some(&Action::BrokerRegistered(after))
    );
}

#[test]
fn a_leftover_of_the_earlier_session_is_replaced_and_a_foreign_one_is_not() {
    let mut cluster = Cluster::started(&[1]);
    cluster.session_event(SessionEvent::Expired);
    // The old session still lives in the tree, as in ZOOKEEPER-2985.
    let (session, _) = cluster.tree.open_session(cluster.now.wall);
    let old = std::mem::replace(&mut cluster.session, session);
    cluster.event(Event::SessionEstablished {
        session_id: session,
    });
    cluster.settle();
    let (_, stat) = cluster.data("/brokers/ids/0").unwrap();
    assert_eq!(stat.ephemeral_owner, session);
    assert_ne!(old, session);

    cluster.session_event(SessionEvent::Expired);
    let (foreign, _) = cluster.tree.open_session(cluster.now.wall);
    let (third, _) = cluster.tree.open_session(cluster.now.wall);
    cluster
        .tree
        .close_session(session, cluster.now.wall)
        .unwrap();
    cluster.tree.handle(
        foreign,
        &Request::Create {
            path: "/brokers/ids/0".into(),
            data: Some("{}".into()),
            mode: ottla_coordination::CreateMode::Ephemeral,
            acl: ottla_coordination::AclPolicy::Open,
        },
        cluster.now.wall,
    );
    cluster.session = third;
    cluster.event(Event::SessionEstablished { session_id: third });
    cluster.settle();
    let (_, stat) = cluster.data("/brokers/ids/0").unwrap();
    assert_eq!(stat.ephemeral_owner, foreign);
    assert!(
        !cluster.view().is_active,
        "an unregistered broker does not run for controller"
    );
}

#[test]
fn a_new_controller_finds_offline_partitions_and_brings_new_ones_online() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0], &[2]]);
    cluster.replace_controller();
    cluster.kill_quietly(1);
    cluster.write_topic("t", &[&[1, 0], &[2], &[2, 0]]);
    cluster.elect();
    assert_eq!(cluster.state_text(&t(0)), "0 [0] 2 2");
    assert_eq!(cluster.state_text(&t(2)), "2 [2,0] 0 0");
    assert_eq!(cluster.view().gauges.offline_partitions_count, 0);
    assert_eq!(cluster.view().gauges.global_partition_count, 3);
}

#[test]
fn garbage_znodes_are_passed_over() {
    let mut cluster = Cluster::prepared(&[1]);
    cluster.create("/brokers/topics/garbage", Some("not json".into()));
    cluster.create("/brokers/topics/empty", None);
    cluster.create("/brokers/ids/x", Some("{}".into()));
    cluster.create("/brokers/ids/7", Some("{".into()));
    cluster.create("/admin/reassign_partitions", Some("[1]".into()));
    cluster.create("/admin/preferred_replica_election", Some("\"\"".into()));
    cluster.create(
        "/isr_change_notification/isr_change_0000000000",
        Some("x".into()),
    );
    cluster.create("/log_dir_event_notification/x", None);
    cluster.write_topic("t", &[&[0, 1]]);
    cluster.create_with_parents("/brokers/topics/t/partitions/0/state", Some("1".into()));
    cluster.elect();
    assert_eq!(cluster.view().gauges.active_broker_count, 2);
    cluster.create(
        "/isr_change_notification/isr_change_0000000001",
        Some("x".into()),
    );
    cluster.create(
        "/log_dir_event_notification/log_dir_event_1",
        Some("{}".into()),
    );
    cluster.settle();
    assert!(!cluster.exists("/isr_change_notification/isr_change_0000000001"));
    assert!(cluster.view().is_active);
    cluster.write_topic("u", &[&[1, 0]]);
    cluster.settle();
    let state = cluster.state(&ottla_model::TopicPartition::new("u", 0));
    assert_eq!((state.leader, state.isr), (BrokerId(1), ids(&[1, 0])));
}

#[test]
fn a_shut_down_controller_turns_callers_away_and_does_nothing() {
    let mut cluster = Cluster::started(&[1]);
    cluster.event(Event::Shutdown);
    assert!(
        cluster.exists(paths::CONTROLLER),
        "the session's end removes it"
    );
    assert_eq!(
        cluster.ask(ApiRequest::ListPartitionReassignments(None)),
        Answer::ListPartitionReassignments(Err(crate::ApiError::of(ErrorCode::NotController)))
    );
    cluster.write_topic("t", &[&[0, 1]]);
    cluster.settle();
    assert!(!cluster.exists("/brokers/topics/t/partitions"));
}
