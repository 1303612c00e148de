//! What a real 3.9.1 controller (id 0) sent to its peers 1 and 2, request by request.

use std::collections::BTreeMap;

use ottla_model::{BrokerId, ErrorCode};

use super::cluster::{Cluster, ids, t};
use crate::event::{Answer, ApiError};

#[track_caller]
fn expect(cluster: &mut Cluster, expected: &[&str]) {
    let trace = cluster.take_trace();
    assert_eq!(trace, expected, "\nsent:\n{}\n", trace.join("\n"));
}

#[test]
fn creating_a_topic_tells_leaders_and_followers_and_then_everybody() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1, 2], &[1, 2, 0]]);
    let lisr = "p0(leader 0 isr [0,1,2] lEp 0 pEp 0 replicas [0,1,2] new) p1(leader 1 isr [1,2,0] lEp 0 pEp 0 replicas [1,2,0] new)";
    let umr = "p0(leader 0 isr [0,1,2] lEp 0 pEp 0) p1(leader 1 isr [1,2,0] lEp 0 pEp 0)";
    expect(
        &mut cluster,
        &[
            &format!("1 LISR {lisr}"),
            &format!("2 LISR {lisr}"),
            &format!("1 UMR {umr}"),
            &format!("2 UMR {umr}"),
        ],
    );
    assert_eq!(
        cluster.text("/brokers/topics/t/partitions/1/state"),
        r#"{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":0,"isr":[1,2,0]}"#
    );
}

#[test]
fn a_reassignment_starts_the_new_replica_and_then_removes_the_old_one() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.take_trace();

    let answer = cluster.reassign(0, Some(&[1, 2]));
    let accepted = BTreeMap::from([(t(0), ApiError::NONE)]);
    assert_eq!(answer, Answer::AlterPartitionReassignments(Ok(accepted)));
    let znode = cluster.assignment("t").partitions.remove(&0).unwrap();
    assert_eq!(znode.replicas, ids(&[1, 2, 0]));
    assert_eq!((znode.adding, znode.removing), (ids(&[2]), ids(&[0])));
    let moving = "p0(leader 0 isr [0,1] lEp 1 pEp 1 replicas [1,2,0] adding [2] removing [0]";
    let umr = "UMR p0(leader 0 isr [0,1] lEp 1 pEp 1)";
    expect(
        &mut cluster,
        &[
            &format!("1 LISR {moving})"),
            &format!("2 LISR {moving} new)"),
            &format!("1 {umr}"),
            &format!("2 {umr}"),
            &format!("2 LISR {moving} new)"),
            &format!("1 {umr}"),
            &format!("2 {umr}"),
        ],
    );

    cluster.alter_isr(0, &[0, 1, 2]);
    let expanded = "UMR p0(leader 0 isr [0,1,2] lEp 1 pEp 2)";
    let moved = "p0(leader 1 isr [0,1,2] lEp 2 pEp 3 replicas [1,2])";
    let shrunk = "p0(leader 1 isr [1,2] lEp 3 pEp 4";
    expect(
        &mut cluster,
        &[
            &format!("1 {expanded}"),
            &format!("2 {expanded}"),
            &format!("1 LISR {moved}"),
            &format!("2 LISR {moved}"),
            "1 UMR p0(leader 1 isr [0,1,2] lEp 2 pEp 3)",
            "2 UMR p0(leader 1 isr [0,1,2] lEp 2 pEp 3)",
            &format!("1 LISR {shrunk} replicas [1,2])"),
            &format!("2 LISR {shrunk} replicas [1,2])"),
            &format!("1 UMR {shrunk})"),
            &format!("2 UMR {shrunk})"),
            &format!("1 UMR {shrunk})"),
            &format!("2 UMR {shrunk})"),
        ],
    );
    let znode = cluster.assignment("t");
    assert_eq!(znode.topic_id, Some(Cluster::topic_id()));
    assert_eq!(znode.partitions[&0].replicas, ids(&[1, 2]));
    assert!(!znode.partitions[&0].is_being_reassigned());
}

#[test]
fn a_cancelled_reassignment_goes_back_to_the_origin() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1]]);
    cluster.reassign(0, Some(&[0, 2]));
    cluster.take_trace();
    cluster.reassign(0, None);
    let dropped = "p0(leader 0 isr [0,1] lEp 1 pEp 1";
    let ended = "p0(leader 0 isr [0,1] lEp 2 pEp 2";
    expect(
        &mut cluster,
        &[
            // Dropping the added replica: nothing changes in the state, and still it is sent.
            &format!("1 LISR {dropped} replicas [0,1])"),
            &format!("1 UMR {dropped})"),
            &format!("2 UMR {dropped})"),
            "2 STOP p0(lEp 1)",
            "2 STOP p0(lEp 1 delete)",
            &format!("1 LISR {ended} replicas [0,1])"),
            &format!("1 UMR {ended})"),
            &format!("2 UMR {ended})"),
            &format!("1 UMR {ended})"),
            &format!("2 UMR {ended})"),
        ],
    );
    assert_eq!(
        cluster.assignment("t").partitions[&0].replicas,
        ids(&[0, 1])
    );
}

#[test]
fn a_controlled_shutdown_moves_leaders_and_stops_followers() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0, 2], &[0, 1, 2]]);
    cluster.take_trace();
    assert_eq!(cluster.shut_down(1), Answer::ControlledShutdown(Ok(vec![])));
    let p0 = "p0(leader 0 isr [0,2] lEp 1 pEp 1";
    let p1 = "p1(leader 0 isr [0,2] lEp 1 pEp 1";
    expect(
        &mut cluster,
        &[
            &format!("1 LISR {p0} replicas [1,0,2])"),
            &format!("2 LISR {p0} replicas [1,0,2])"),
            &format!("1 UMR {p0} offline [1])"),
            &format!("2 UMR {p0} offline [1])"),
            "1 STOP p1(lEp 0)",
            &format!("2 LISR {p1} replicas [0,1,2])"),
            &format!("1 UMR {p1} offline [1])"),
            &format!("2 UMR {p1} offline [1])"),
            "1 STOP p1(lEp 0)",
        ],
    );
}

#[test]
fn deleting_a_topic_uses_the_sentinels() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[0, 1, 2]]);
    cluster.take_trace();
    cluster.order_deletion("t");
    cluster.settle();
    expect(
        &mut cluster,
        &[
            "1 UMR p0(leader -2 isr [0,1,2] lEp 0 pEp 0)",
            "2 UMR p0(leader -2 isr [0,1,2] lEp 0 pEp 0)",
            "1 STOP p0(lEp -2)",
            "2 STOP p0(lEp -2)",
            "1 STOP p0(lEp -2 delete)",
            "2 STOP p0(lEp -2 delete)",
        ],
    );
    for path in [
        "/brokers/topics/t",
        "/config/topics/t",
        "/admin/delete_topics/t",
    ] {
        assert!(!cluster.exists(path), "{path}");
    }
}

#[test]
fn a_failed_log_directory_is_found_out_by_leader_and_isr() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0, 2]]);
    cluster.take_trace();
    cluster
        .leader_and_isr_errors
        .insert((BrokerId(1), t(0)), ErrorCode::KafkaStorageError);
    let event = ottla_coordination::payloads::LogDirEvent {
        broker_id: BrokerId(1),
    };
    cluster.create(
        "/log_dir_event_notification/log_dir_event_0000000000",
        Some(event.encode()),
    );
    cluster.settle();
    let before = "p0(leader 1 isr [1,0,2] lEp 0 pEp 0";
    let after = "p0(leader 0 isr [0,2] lEp 1 pEp 1";
    expect(
        &mut cluster,
        &[
            &format!("1 LISR {before} replicas [1,0,2])"),
            &format!("1 UMR {before})"),
            &format!("2 UMR {before})"),
            &format!("2 LISR {after} replicas [1,0,2])"),
            &format!("1 UMR {after} offline [1])"),
            &format!("2 UMR {after} offline [1])"),
            &format!("2 LISR {after} replicas [1,0,2])"),
            &format!("1 UMR {after} offline [1])"),
            &format!("2 UMR {after} offline [1])"),
            "1 STOP p0(lEp 1)",
        ],
    );
    assert!(!cluster.exists("/log_dir_event_notification/log_dir_event_0000000000"));
}

#[test]
fn a_failover_with_work_pending_sends_old_decisions_under_the_new_epoch() {
    let mut cluster = Cluster::started(&[1, 2]);
    cluster.create_topic(&[&[1, 0]]);
    cluster.reassign(0, Some(&[1, 2]));
    cluster.replace_controller();
    cluster.event(crate::Event::Startup);
    cluster.settle_without_answers();
    let requests: Vec<_> = cluster.sent.iter().cloned().collect();
    for (_, request) in &requests {
        use ottla_model::control::ControlRequest::{LeaderAndIsr, StopReplica, UpdateMetadata};
        let header = match &**request {
            LeaderAndIsr(request) => request.header,
            UpdateMetadata(request) => request.header,
            StopReplica(request) => request.header,
        };
        assert_eq!(header.controller_epoch.0, 2);
    }
    let moving = "p0(leader 1 isr [1,0] lEp 1 pEp 1 replicas [1,2,0] adding [2] removing [0])";
    let again = "p0(leader 1 isr [1,0] lEp 2 pEp 2 replicas [1,2,0] adding [2] removing [0]";
    let umr = "UMR p0(leader 1 isr [1,0] lEp 1 pEp 1)";
    let umr_again = "UMR p0(leader 1 isr [1,0] lEp 2 pEp 2)";
    expect(
        &mut cluster,
        &[
            "1 UMR",
            "2 UMR",
            &format!("1 LISR {moving}"),
            &format!("2 LISR {moving}"),
            &format!("1 {umr}"),
            &format!("2 {umr}"),
            &format!("1 LISR {again})"),
            &format!("2 LISR {again} new)"),
            &format!("1 {umr_again}"),
            &format!("2 {umr_again}"),
        ],
    );
}
