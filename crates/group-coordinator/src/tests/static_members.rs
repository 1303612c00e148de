//! Static membership (KIP-345, KIP-814).

use std::sync::Arc;

use ottla_model::ErrorCode as E;

use super::harness::*;
use crate::*;

/// A Stable group of two static members, the leader `leader` first.
fn static_group(world: &mut World) -> Vec<Client> {
    let joins = vec![
        world.join_static("leader", ""),
        world.join_static("follower", ""),
    ];
    let clients = world.settle(joins);
    assert_eq!(clients[0].instance_id.as_deref(), Some("leader"));
    clients
}

#[test]
fn a_static_member_is_never_asked_for_an_id() {
    let mut world = World::new();
    let id = world.join_static("i", "");
    world.advance(3_000);
    let response = world.join_reply(id);
    assert_eq!(response.error, E::None);
    assert!(response.member_id.starts_with("i-"));
    assert_eq!(response.members[0].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn a_returning_follower_gets_a_new_id_without_a_rebalance() {
    let mut world = World::new();
    let clients = static_group(&mut world);
    world.acks = Acks::ByHand;
    let id = world.join_static("follower", "");
    assert!(world.is_parked(id), "answered when the new id is stored");
    world.ack();
    let response = world.join_reply(id);
    assert_eq!((response.error, response.generation_id), (E::None, 1));
    assert_eq!(response.leader, clients[0].member_id);
    assert!(!response.skip_assignment && response.members.is_empty());
    assert_ne!(response.member_id, clients[1].member_id);
    assert_eq!(world.state(), GroupState::Stable);
    assert_eq!(world.heartbeat(&clients[1]), E::FencedInstanceId);
    let back = Client {
        member_id: response.member_id.clone(),
        ..clients[1].clone()
    };
    assert_eq!(world.heartbeat(&back), E::None);
    let sync = world.sync(&back, &[]);
    assert_eq!(
        world.sync_reply(sync).assignment,
        clients[1].member_id.as_bytes()
    );
    let record = world.group_record().unwrap();
    assert!(
        record
            .members
            .iter()
            .any(|m| *m.member_id == *response.member_id)
    );
    assert_eq!(record.generation_id, 1);
}

#[test]
fn a_returning_leader_skips_the_assignment_if_it_can_and_else_is_told_its_old_id() {
    for supports_skip_assignment in [true, false] {
        let mut world = World::new();
        let clients = static_group(&mut world);
        let mut request = world.static_join_request("leader", "");
        request.supports_skip_assignment = supports_skip_assignment;
        let id = world.send(Request::JoinGroup(request));
        let response = world.join_reply(id);
        assert_eq!(response.error, E::None);
        assert_eq!(response.skip_assignment, supports_skip_assignment);
        if supports_skip_assignment {
            assert_eq!(response.leader, response.member_id);
            assert_eq!(response.members.len(), 2);
        } else {
            assert_eq!(response.leader, clients[0].member_id);
            assert!(response.members.is_empty());
        }
        assert_eq!(world.state(), GroupState::Stable);
    }
}

#[test]
fn a_replacement_that_cannot_be_stored_is_undone() {
    let mut world = World::new();
    let clients = static_group(&mut world);
    world.acks = Acks::ByHand;
    let id = world.join_static("leader", "");
    world.refuse(E::NotEnoughReplicas);
    let response = world.join_reply(id);
    assert_eq!(response.error, E::CoordinatorNotAvailable);
    assert_eq!((response.generation_id, &*response.member_id), (1, ""));
    assert_eq!(response.leader, clients[0].member_id);
    assert_eq!(world.heartbeat(&clients[0]), E::None);
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn a_replacement_overtaken_by_a_rebalance_is_answered_by_the_rebalance() {
    let mut world = World::new();
    let clients = static_group(&mut world);
    world.acks = Acks::ByHand;
    let back = world.join_static("follower", "");
    let leader = world.join_static("leader", &clients[0].member_id);
    let response = world.join_reply(back);
    assert_eq!(response.generation_id, 2);
    assert_eq!(world.join_reply(leader).generation_id, 2);
    world.ack();
    assert!(world.reply(back).is_none());
    assert_eq!(world.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_returning_member_that_changes_the_protocol_rebalances() {
    let mut world = World::new();
    let joins: Vec<_> = ["a", "b"]
        .iter()
        .map(|instance| {
            let mut request = world.static_join_request(instance, "");
            request.protocols = vec![protocol("range", &["t"]), protocol("rr", &["t"])];
            world.send(Request::JoinGroup(request))
        })
        .collect();
    world.settle(joins);
    let mut request = world.static_join_request("b", "");
    request.protocols = vec![protocol("rr", &["t"])];
    let id = world.send(Request::JoinGroup(request));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert!(world.is_parked(id));
}

#[test]
fn a_member_that_returns_before_the_assignment_rebalances() {
    let mut world = World::new();
    let joins = [world.join_static("a", ""), world.join_static("b", "")];
    world.advance(6_000);
    let responses = joins.map(|id| world.join_reply(id));
    let follower = Client {
        member_id: responses[1].member_id.clone(),
        instance_id: Some("b".into()),
        generation: 1,
    };
    let sync = world.sync(&follower, &[]);
    let back = world.join_static("b", "");
    assert_eq!(world.sync_reply(sync).error, E::FencedInstanceId);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert!(world.is_parked(back));
    let leader = world.join_static("a", &responses[0].member_id);
    assert_eq!(world.join_reply(back).generation_id, 2);
    assert_eq!(world.join_reply(leader).generation_id, 2);
}

#[test]
fn whoever_waits_under_the_old_id_is_fenced_at_once() {
    let mut world = World::new();
    let clients = static_group(&mut world);
    let old = world.join_static("leader", &clients[0].member_id);
    assert!(world.is_parked(old));
    let new = world.join_static("leader", "");
    let response = world.join_reply(old);
    assert_eq!(
        (response.error, response.member_id),
        (E::FencedInstanceId, clients[0].member_id.clone())
    );
    assert!(world.is_parked(new));
}

#[test]
fn an_instance_id_must_match_its_member_id() {
    let mut world = World::new();
    let clients = static_group(&mut world);
    for (instance_id, member_id, expected) in [
        ("leader", &clients[1].member_id, E::FencedInstanceId),
        ("unknown", &clients[0].member_id, E::UnknownMemberId),
        ("leader", &clients[0].member_id, E::None),
    ] {
        let client = Client {
            member_id: member_id.clone(),
            instance_id: Some(Arc::from(instance_id)),
            generation: 1,
        };
        assert_eq!(world.heartbeat(&client), expected, "{instance_id}");
        assert_eq!(
            world.commit(Some(&client), partition("t", 0), 1),
            expected,
            "{instance_id}"
        );
        let sync = world.sync(&client, &[]);
        assert_eq!(world.sync_reply(sync).error, expected, "{instance_id}");
        if expected != E::None {
            let join = world.join_static(instance_id, member_id);
            assert_eq!(world.join_reply(join).error, expected, "{instance_id}");
            assert_eq!(
                world.leave(member_id, Some(instance_id)),
                expected,
                "{instance_id}"
            );
        }
    }
}

#[test]
fn a_static_member_that_does_not_join_in_time_stays_in_the_generation() {
    let mut world = World::new();
    let mut leader = world.static_join_request("leader", "");
    leader.session_timeout_ms = 200_000;
    let joins = vec![
        world.send(Request::JoinGroup(leader)),
        world.join_static("follower", ""),
    ];
    let clients = world.settle(joins);
    let mut request = world.static_join_request("follower", &clients[1].member_id);
    request.protocols = vec![protocol("range", &["u"])];
    let follower = world.send(Request::JoinGroup(request));
    world.advance(60_000);
    let response = world.join_reply(follower);
    assert_eq!(response.generation_id, 2);
    assert_eq!(
        response.members.len(),
        2,
        "the silent static member is still there"
    );
    assert_eq!(response.leader, clients[1].member_id);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut world = World::new();
    static_group(&mut world);
    assert_eq!(world.leave("", Some("nobody")), E::UnknownMemberId);
    assert_eq!(world.leave("", None), E::UnknownMemberId);
    assert_eq!(world.leave("", Some("follower")), E::None);
    assert_eq!(world.describe().members.len(), 1);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}
