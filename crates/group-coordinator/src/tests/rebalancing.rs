//! The rebalance clock.

use ottla_model::ErrorCode as E;

use super::harness::*;
use crate::*;

#[test]
fn the_initial_delay_is_prolonged_by_new_members_up_to_the_rebalance_timeout() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.rebalance_timeout_ms = 7_000;
    let first = world.send(Request::JoinGroup(request));
    // 3 s, then steps of 3 s while somebody comes; the step that is over is taken from the rest.
    world.advance(2_000);
    world.join("");
    world.advance(3_000);
    world.join("");
    assert!(world.is_parked(first), "second step, until 6 s");
    world.advance(1_500);
    world.join("");
    assert!(world.is_parked(first), "third step, until 7 s");
    world.advance(499);
    assert!(world.is_parked(first));
    world.advance(1);
    assert_eq!(world.join_reply(first).members.len(), 4);
}

#[test]
fn the_initial_delay_ends_after_one_step_if_nobody_else_comes() {
    let mut world = World::new();
    let first = world.join("");
    world.advance(2_999);
    assert!(world.is_parked(first));
    world.advance(1);
    assert_eq!(world.join_reply(first).generation_id, 1);
}

#[test]
fn a_group_that_had_members_before_waits_the_initial_delay_just_once() {
    let mut world = World::new();
    let clients = world.stable_group(1);
    assert_eq!(world.leave(&clients[0].member_id, None), E::None);
    assert_eq!(world.state(), GroupState::Empty);
    let first = world.join("");
    world.advance(1_000);
    let second = world.join("");
    world.advance(2_000);
    assert_eq!(world.join_reply(first).generation_id, 3);
    assert_eq!(world.join_reply(second).generation_id, 3);
}

#[test]
fn without_an_initial_delay_the_first_member_joins_at_the_next_tick() {
    let config = GroupConfig {
        group_initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    };
    let mut world = World::with(config);
    let first = world.join("");
    world.advance(1);
    assert_eq!(world.join_reply(first).generation_id, 1);
}

#[test]
fn a_rebalance_ends_when_the_last_member_has_joined() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let new = world.join("");
    assert_eq!(world.heartbeat(&clients[0]), E::RebalanceInProgress);
    let leader = world.join(&clients[0].member_id);
    assert!(world.is_parked(new) && world.is_parked(leader));
    let follower = world.join(&clients[1].member_id);
    for id in [new, leader, follower] {
        assert_eq!(world.join_reply(id).generation_id, 2);
    }
}

#[test]
fn a_rebalance_waits_for_pending_members_but_the_initial_delay_does_not() {
    let mut world = World::new();
    let mut pending = world.join_request("");
    pending.require_known_member_id = true;
    let first = world.join("");
    let pending_id = world.send(Request::JoinGroup(pending.clone()));
    world.advance(3_000);
    let clients = [Client {
        member_id: world.join_reply(first).member_id,
        instance_id: None,
        generation: 1,
    }];
    assert_eq!(world.join_reply(pending_id).error, E::MemberIdRequired);
    let leader = world.join(&clients[0].member_id);
    assert_eq!(
        world.join_reply(leader).error,
        E::None,
        "unchanged: current generation"
    );
    let sync = world.sync(&clients[0], &[]);
    assert_eq!(world.sync_reply(sync).error, E::None);
    let leader = world.join(&clients[0].member_id);
    assert!(world.is_parked(leader), "the pending member is awaited");
    world.advance(7_000);
    assert_eq!(
        world.join_reply(leader).generation_id,
        2,
        "its session timeout is over"
    );
}

#[test]
fn a_dynamic_member_that_does_not_join_in_time_is_out() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let follower = world.join_request(&clients[1].member_id);
    let follower = JoinGroupRequest {
        protocols: vec![protocol("range", &["u"])],
        ..follower
    };
    let follower = world.send(Request::JoinGroup(follower));
    // The old leader heartbeats but does not join.
    for _ in 0..59 {
        world.advance(1_000);
        assert_eq!(world.heartbeat(&clients[0]), E::RebalanceInProgress);
    }
    assert!(world.is_parked(follower));
    world.advance(1_000);
    let response = world.join_reply(follower);
    assert_eq!(response.generation_id, 2);
    assert_eq!(
        response.leader, clients[1].member_id,
        "a member that joined leads"
    );
    assert_eq!(response.members.len(), 1);
    assert_eq!(world.heartbeat(&clients[0]), E::UnknownMemberId);
}

#[test]
fn when_nobody_joins_again_the_static_members_get_another_round() {
    let mut world = World::new();
    let mut request = world.static_join_request("i", "");
    request.session_timeout_ms = 200_000;
    let first = world.send(Request::JoinGroup(request));
    let clients = world.settle(vec![first]);
    let new = world.join("");
    assert_eq!(
        world.leave("client-00000000-0000-4002-8101-010101010101", None),
        E::None
    );
    assert_eq!(world.join_reply(new).error, E::UnknownMemberId);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    world.advance(60_000);
    assert_eq!(
        world.state(),
        GroupState::PreparingRebalance,
        "one more rebalance timeout"
    );
    let back = world.join_static("i", &clients[0].member_id);
    assert_eq!(world.join_reply(back).generation_id, 2);
}

#[test]
fn members_that_do_not_sync_in_time_are_out_and_static_ones_too() {
    let mut world = World::new();
    let joins = [world.join(""), world.join_static("i", "")];
    world.advance(6_000);
    let responses = joins.map(|id| world.join_reply(id));
    let leader = Client {
        member_id: responses[0].member_id.clone(),
        instance_id: None,
        generation: 1,
    };
    let fixed = Client {
        member_id: responses[1].member_id.clone(),
        instance_id: Some("i".into()),
        generation: 1,
    };
    let sync = world.sync(&leader, &[]);
    assert_eq!(world.sync_reply(sync).error, E::None);
    for _ in 0..59 {
        world.advance(1_000);
        assert_eq!(world.heartbeat(&leader), E::None);
        assert_eq!(world.heartbeat(&fixed), E::None);
    }
    world.advance(1_000);
    assert_eq!(world.heartbeat(&fixed), E::UnknownMemberId);
    assert_eq!(world.heartbeat(&leader), E::RebalanceInProgress);
    assert_eq!(world.describe().members.len(), 1);
}

#[test]
fn a_group_in_which_nobody_syncs_becomes_empty() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.rebalance_timeout_ms = 3_000;
    let id = world.send(Request::JoinGroup(request));
    world.advance(3_000);
    assert_eq!(world.join_reply(id).generation_id, 1);
    world.advance(2_999);
    assert_eq!(world.state(), GroupState::CompletingRebalance);
    world.advance(1);
    assert_eq!(world.state(), GroupState::Empty);
    let record = world.group_record().unwrap();
    assert_eq!((record.generation_id, record.members.len()), (2, 0));
    assert_eq!((record.protocol, record.leader), (None, None));
    assert_eq!(record.protocol_type, "consumer");
}

#[test]
fn a_silent_member_is_out_after_its_session_timeout() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    world.advance(9_000);
    assert_eq!(world.heartbeat(&clients[0]), E::None);
    world.advance(999);
    assert_eq!(world.state(), GroupState::Stable);
    world.advance(1);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.heartbeat(&clients[1]), E::UnknownMemberId);
    let leader = world.join(&clients[0].member_id);
    assert_eq!(world.join_reply(leader).generation_id, 2);
}

#[test]
fn sessions_do_not_run_out_while_a_request_is_parked() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let leader = world.join(&clients[0].member_id);
    for _ in 0..30 {
        world.advance(1_000);
        assert_eq!(world.heartbeat(&clients[1]), E::RebalanceInProgress);
    }
    assert!(world.is_parked(leader));
    assert_eq!(world.describe().members.len(), 2);
}

#[test]
fn zero_timeouts_do_not_spin() {
    let mut world = World::new();
    let mut request = world.static_join_request("i", "");
    request.rebalance_timeout_ms = 0;
    request.session_timeout_ms = 100_000;
    let first = world.send(Request::JoinGroup(request));
    let clients = world.settle(vec![first]);
    let new = world.join("");
    assert_eq!(
        world.leave("client-00000000-0000-4002-8101-010101010101", None),
        E::None
    );
    assert_eq!(world.join_reply(new).error, E::UnknownMemberId);
    world.advance(60_000);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.heartbeat(&clients[0]), E::RebalanceInProgress);
    world.advance(100_001);
    assert_eq!(world.state(), GroupState::Empty);
}
