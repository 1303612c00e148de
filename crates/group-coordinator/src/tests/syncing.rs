//! SyncGroup, Heartbeat and LeaveGroup of a generation.

use ottla_coordinator_runtime::Durability;
use ottla_model::{ErrorCode as E, ProducerEpoch, ProducerId};

use super::harness::*;
use crate::*;

/// Two members that have joined and not synced, the leader first.
fn joined(world: &mut World) -> [Client; 2] {
    let joins = [world.join(""), world.join("")];
    world.advance(6_000);
    joins.map(|id| {
        let member_id = world.join_reply(id).member_id;
        Client {
            member_id,
            instance_id: None,
            generation: 1,
        }
    })
}

#[test]
fn followers_wait_until_the_leaders_assignment_is_stored() {
    let mut world = World::new();
    let [leader, follower] = joined(&mut world);
    world.acks = Acks::ByHand;
    let waits = world.sync(&follower, &[]);
    assert!(world.is_parked(waits));
    let given = world.sync(
        &leader,
        &[
            (&*leader.member_id, "L"),
            (&*follower.member_id, "F"),
            ("stranger", "S"),
        ],
    );
    assert!(
        world.is_parked(waits) && world.is_parked(given),
        "not before it is replicated"
    );
    assert_eq!(world.heartbeat(&follower), E::None);

    let append = world.unacknowledged[0].clone();
    assert_eq!(
        (append.producer_id, append.producer_epoch),
        (ProducerId::NONE, ProducerEpoch::NONE)
    );
    assert_eq!((append.base_sequence, append.transactional), (-1, false));
    assert_eq!(append.durability, Durability::Required);
    world.ack();
    for (id, expected) in [(given, "L"), (waits, "F")] {
        let response = world.sync_reply(id);
        assert_eq!(response.error, E::None);
        assert_eq!(response.assignment, expected);
        assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
    }
    assert_eq!(world.state(), GroupState::Stable);
    let record = world.group_record().unwrap();
    assert_eq!(record.leader.as_deref(), Some(&*leader.member_id));
    assert_eq!(record.members.len(), 2);
    assert_eq!(record.members[0].assignment, "L");
    assert_eq!(world.shard.stats().completed_rebalances, 1);
}

#[test]
fn members_without_an_assignment_get_an_empty_one() {
    let mut world = World::new();
    let [leader, follower] = joined(&mut world);
    let sync = world.sync(&leader, &[(&*leader.member_id, "L")]);
    assert_eq!(world.sync_reply(sync).assignment, "L");
    let sync = world.sync(&follower, &[]);
    let response = world.sync_reply(sync);
    assert_eq!((response.error, response.assignment.len()), (E::None, 0));
}

#[test]
fn in_a_stable_group_a_leaders_new_assignments_are_ignored() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let sync = world.sync(&clients[0], &[(&*clients[0].member_id, "new")]);
    assert_eq!(
        world.sync_reply(sync).assignment,
        clients[0].member_id.as_bytes()
    );
}

#[test]
fn a_refused_assignment_is_told_to_all_and_starts_a_new_rebalance() {
    let mut world = World::new();
    let [leader, follower] = joined(&mut world);
    world.acks = Acks::ByHand;
    let syncs = [world.sync(&follower, &[]), world.sync(&leader, &[])];
    world.refuse(E::NotLeaderOrFollower);
    for sync in syncs {
        let response = world.sync_reply(sync);
        assert_eq!(
            (response.error, response.protocol_type),
            (E::NotCoordinator, None)
        );
    }
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_assignment_that_a_rebalance_overtook_means_nothing() {
    let mut world = World::new();
    let [leader, follower] = joined(&mut world);
    world.acks = Acks::ByHand;
    let syncs = [world.sync(&follower, &[]), world.sync(&leader, &[])];
    let new = world.join("");
    for sync in syncs {
        assert_eq!(world.sync_reply(sync).error, E::RebalanceInProgress);
    }
    world.ack();
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert!(world.is_parked(new));
}

#[test]
fn checks_of_a_sync_come_in_kafkas_order() {
    let mut world = World::new();
    let clients = world.stable_group(1);
    let known = sync_request(&clients[0], &[]);
    for (request, expected) in [
        (
            SyncGroupRequest {
                member_id: "x".into(),
                generation_id: 9,
                ..known.clone()
            },
            E::UnknownMemberId,
        ),
        (
            SyncGroupRequest {
                generation_id: 9,
                protocol_type: Some("x".into()),
                ..known.clone()
            },
            E::IllegalGeneration,
        ),
        (
            SyncGroupRequest {
                protocol_type: Some("x".into()),
                ..known.clone()
            },
            E::InconsistentGroupProtocol,
        ),
        (
            SyncGroupRequest {
                protocol_name: Some("x".into()),
                ..known.clone()
            },
            E::InconsistentGroupProtocol,
        ),
        (
            SyncGroupRequest {
                protocol_type: None,
                protocol_name: None,
                ..known.clone()
            },
            E::None,
        ),
        (known, E::None),
    ] {
        let id = world.send(Request::SyncGroup(request));
        assert_eq!(world.sync_reply(id).error, expected);
    }
}

#[test]
fn a_leaving_members_parked_sync_is_answered() {
    let mut world = World::new();
    let [leader, follower] = joined(&mut world);
    let sync = world.sync(&follower, &[]);
    assert_eq!(world.leave(&follower.member_id, None), E::None);
    assert_eq!(world.sync_reply(sync).error, E::UnknownMemberId);
    assert_eq!(world.heartbeat(&leader), E::RebalanceInProgress);
}

#[test]
fn the_last_member_to_leave_empties_the_group_and_writes_so() {
    let mut world = World::new();
    let clients = world.stable_group(1);
    assert_eq!(world.leave(&clients[0].member_id, None), E::None);
    assert_eq!(world.state(), GroupState::Empty);
    let record = world.group_record().unwrap();
    assert_eq!(
        (record.generation_id, record.protocol, record.leader),
        (2, None, None)
    );
    assert_eq!(world.heartbeat(&clients[0]), E::UnknownMemberId);
    assert_eq!(world.shard.next_deadline(), None);
}

#[test]
fn a_batch_of_leaving_members_is_answered_one_by_one_as_they_were_named() {
    let mut world = World::new();
    let joins = vec![world.join(""), world.join_static("i", "")];
    let clients = world.settle(joins);
    let mut pending = world.join_request("");
    pending.require_known_member_id = true;
    let pending = world.send(Request::JoinGroup(pending));
    let pending = world.join_reply(pending).member_id;
    let leaving = |member_id: &str, instance_id: Option<&str>| LeavingMember {
        member_id: member_id.into(),
        group_instance_id: instance_id.map(Into::into),
        reason: None,
    };
    let members = vec![
        leaving("", Some("i")),
        leaving(&pending, None),
        leaving("x", None),
        leaving(
            &clients
                .iter()
                .find(|c| c.instance_id.is_none())
                .unwrap()
                .member_id,
            None,
        ),
    ];
    let request = LeaveGroupRequest {
        group_id: GROUP.into(),
        members: members.clone(),
    };
    let id = world.send(Request::LeaveGroup(request));
    let errors = [E::None, E::None, E::UnknownMemberId, E::None];
    let expected = LeaveGroupResponse {
        error: E::None,
        members: members.into_iter().zip(errors).collect(),
    };
    assert_eq!(world.reply(id), Some(Response::LeaveGroup(expected)));
    assert_eq!(world.state(), GroupState::Empty);
}

#[test]
fn checks_of_a_heartbeat_come_in_kafkas_order() {
    let mut world = World::new();
    let clients = world.stable_group(1);
    let stranger = Client {
        member_id: "x".into(),
        generation: 9,
        ..clients[0].clone()
    };
    assert_eq!(world.heartbeat(&stranger), E::UnknownMemberId);
    let late = Client {
        generation: 0,
        ..clients[0].clone()
    };
    assert_eq!(world.heartbeat(&late), E::IllegalGeneration);
    assert_eq!(world.heartbeat(&clients[0]), E::None);
}
