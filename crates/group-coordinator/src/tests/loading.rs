//! Failover: what the log says is what was.

use bytes::Bytes;
use ottla_coordinator_runtime::{BatchInfo, TransactionOutcome};
use ottla_model::{ErrorCode as E, LeaderEpoch, ProducerId};

use super::harness::*;
use crate::*;

#[test]
fn a_stable_group_survives_with_members_assignments_and_fresh_sessions() {
    let mut world = World::new();
    let joins = vec![world.join(""), world.join_static("i", "")];
    let clients = world.settle(joins);
    world.commit(Some(&clients[0]), partition("t", 0), 42);
    world.advance(5_000);
    let before = world.describe();
    let mut next = world.failover(GroupConfig::default());
    assert_eq!(next.describe(), before);
    assert_eq!(next.offset(&partition("t", 0)), 42);
    next.advance(9_999);
    for client in &clients {
        assert_eq!(next.heartbeat(client), E::None);
    }
    let sync = next.sync(&clients[1], &[]);
    assert_eq!(
        next.sync_reply(sync).assignment,
        clients[1].member_id.as_bytes()
    );
    // The leader is still the leader.
    next.join(&clients[0].member_id);
    assert_eq!(next.state(), GroupState::PreparingRebalance);
}

#[test]
fn after_a_failover_only_the_selected_protocol_is_known() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.protocols = vec![protocol("range", &["t"]), protocol("rr", &["t"])];
    let first = world.send(Request::JoinGroup(request));
    world.settle(vec![first]);
    let mut next = world.failover(GroupConfig::default());
    for (name, accepted) in [("rr", false), ("range", true)] {
        let mut request = next.join_request("");
        request.protocols = vec![protocol(name, &["t"])];
        let id = next.send(Request::JoinGroup(request));
        assert_eq!(next.is_parked(id), accepted, "{name}");
    }
}

#[test]
fn an_empty_group_stays_empty_with_its_generation_and_its_age() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    world.commit(Some(&member), partition("t", 0), 1);
    world.leave(&member.member_id, None);
    let mut next = world.failover(GroupConfig::default());
    assert_eq!(next.state(), GroupState::Empty);
    assert_eq!(&*next.describe().protocol_type, "consumer");
    assert_eq!(next.offset(&partition("t", 0)), 1);
    let first = next.join("");
    next.advance(3_000);
    assert_eq!(next.join_reply(first).generation_id, 3);
}

#[test]
fn a_group_tombstone_with_offsets_left_makes_a_simple_group() {
    let mut world = World::unloaded(GroupConfig::default());
    let mut loader = world.shard.begin_load(LeaderEpoch(0)).unwrap();
    let batch = BatchInfo {
        base_offset: 0,
        producer_id: ProducerId::NONE,
        transactional: false,
    };
    let t0 = partition("t", 0);
    let offset_key = records::offset_commit_key(GROUP, &t0).unwrap();
    let value = records::offset_commit_value(&committed(6), 3).unwrap();
    loader.replay(batch, offset_key, Some(value)).unwrap();
    loader
        .replay(batch, records::group_metadata_key(GROUP).unwrap(), None)
        .unwrap();
    assert!(world.shard.finish_load(world.now, loader, &mut Vec::new()));
    assert_eq!(world.offset(&t0), 6);
    assert_eq!(&*world.describe().protocol_type, "");
}

#[test]
fn open_transactions_are_settled_by_the_markers_that_follow() {
    let mut world = World::new();
    let (t0, t1, t2) = (partition("t", 0), partition("t", 1), partition("t", 2));
    world.commit_transactional(1, t0.clone(), 10);
    world.commit_transactional(2, t1.clone(), 11);
    world.commit_transactional(3, t2.clone(), 12);
    world.marker(1, TransactionOutcome::Commit);
    world.marker(2, TransactionOutcome::Abort);
    let mut next = world.failover(GroupConfig::default());
    assert_eq!(next.offset(&t0), 10);
    assert_eq!(next.fetch(&t1, true).error, E::None);
    assert_eq!(next.offset(&t1), -1);
    assert_eq!(next.fetch(&t2, true).error, E::UnstableOffsetCommit);
    next.marker(3, TransactionOutcome::Commit);
    assert_eq!(next.offset(&t2), 12);
}

#[test]
fn records_of_other_kinds_are_ignored_and_broken_ones_do_not_end_the_load() {
    let mut world = World::unloaded(GroupConfig::default());
    let mut loader = world.shard.begin_load(LeaderEpoch(0)).unwrap();
    let batch = BatchInfo {
        base_offset: 0,
        producer_id: ProducerId::NONE,
        transactional: false,
    };
    let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
    for version in 3..=11_u8 {
        let key = Bytes::from(vec![0, version, 0, 1, b'g']);
        loader.replay(batch, key, Some(bytes(&[0, 0, 0]))).unwrap();
    }
    assert!(loader.replay(batch, bytes(&[]), None).is_err());
    assert!(
        loader
            .replay(batch, bytes(&[0, 2, 0, 9, b'g']), None)
            .is_err()
    );
    let key = records::group_metadata_key("g").unwrap();
    assert!(loader.replay(batch, key, Some(bytes(&[0, 9]))).is_err());
    assert!(world.shard.finish_load(world.now, loader, &mut Vec::new()));
    assert!(world.shard.list_groups().is_empty());
}

#[test]
fn a_record_with_strange_members_is_loaded_without_panic() {
    let mut world = World::unloaded(GroupConfig::default());
    let mut loader = world.shard.begin_load(LeaderEpoch(0)).unwrap();
    let batch = BatchInfo {
        base_offset: 0,
        producer_id: ProducerId::NONE,
        transactional: false,
    };
    let member = records::MemberValue {
        member_id: "m".into(),
        group_instance_id: Some("i".into()),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: -5,
        session_timeout_ms: -5,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    let value = records::GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation_id: i32::MAX,
        protocol: None,
        leader: Some("nobody".into()),
        current_state_timestamp: ottla_model::Timestamp::NONE,
        members: vec![member.clone(), member.clone()],
    };
    let value = records::group_metadata_value(&value, 3).unwrap();
    loader
        .replay(
            batch,
            records::group_metadata_key(GROUP).unwrap(),
            Some(value),
        )
        .unwrap();
    let mut actions = Vec::new();
    assert!(world.shard.finish_load(world.now, loader, &mut actions));
    assert_eq!(world.describe().members.len(), 1);
    world.advance(10);
    assert_eq!(world.state(), GroupState::Empty);
}
