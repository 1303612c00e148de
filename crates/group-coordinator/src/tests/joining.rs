//! JoinGroup of dynamic members.

use ottla_model::ErrorCode as E;

use super::harness::*;
use crate::*;

#[test]
fn a_new_member_gets_an_id_and_has_to_come_back_with_it() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.require_known_member_id = true;
    let id = world.send(Request::JoinGroup(request.clone()));
    let response = world.join_reply(id);
    assert_eq!(response.error, E::MemberIdRequired);
    assert_eq!(
        &*response.member_id,
        "client-00000000-0000-4001-8101-010101010101"
    );
    assert_eq!(response.generation_id, -1);
    assert_eq!(
        (response.protocol_type, response.protocol_name),
        (None, None)
    );
    assert_eq!(world.state(), GroupState::Empty);

    request.member_id = response.member_id.clone();
    let id = world.send(Request::JoinGroup(request));
    assert!(world.is_parked(id));
    world.advance(2_999);
    assert!(world.is_parked(id));
    world.advance(1);
    let joined = world.join_reply(id);
    assert_eq!(joined.error, E::None);
    assert_eq!(joined.generation_id, 1);
    assert_eq!(joined.leader, response.member_id);
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(
        joined.members[0].metadata,
        protocol("range", &["t"]).metadata
    );
}

#[test]
fn a_pending_id_lapses_with_the_session_timeout() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.require_known_member_id = true;
    let id = world.send(Request::JoinGroup(request.clone()));
    request.member_id = world.join_reply(id).member_id;
    world.advance(10_000);
    let id = world.send(Request::JoinGroup(request));
    assert_eq!(world.join_reply(id).error, E::UnknownMemberId);
    assert_eq!(world.shard.next_deadline(), None);
}

#[test]
fn a_pending_id_with_an_instance_id_is_an_internal_error() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.require_known_member_id = true;
    let id = world.send(Request::JoinGroup(request.clone()));
    request.member_id = world.join_reply(id).member_id;
    request.group_instance_id = Some("i".into());
    let id = world.send(Request::JoinGroup(request));
    assert_eq!(world.join_reply(id).error, E::UnknownServerError);
}

#[test]
fn session_timeouts_outside_of_the_limits_are_refused() {
    for (timeout, accepted) in [
        (5_999, false),
        (6_000, true),
        (1_800_000, true),
        (1_800_001, false),
    ] {
        let mut world = World::new();
        let mut request = world.join_request("");
        request.session_timeout_ms = timeout;
        let id = world.send(Request::JoinGroup(request));
        assert_eq!(world.is_parked(id), accepted, "{timeout}");
        if !accepted {
            assert_eq!(world.join_reply(id).error, E::InvalidSessionTimeout);
            assert!(world.shard.list_groups().is_empty());
        }
    }
}

#[test]
fn protocols_that_not_all_members_support_are_refused() {
    let mut world = World::new();
    for (protocol_type, protocols) in [("", vec![protocol("range", &[])]), ("consumer", vec![])] {
        let mut request = world.join_request("");
        request.protocol_type = protocol_type.into();
        request.protocols = protocols;
        let id = world.send(Request::JoinGroup(request));
        assert_eq!(world.join_reply(id).error, E::InconsistentGroupProtocol);
    }
    assert_eq!(
        world.state(),
        GroupState::Empty,
        "the refused join has made the group"
    );

    let first = world.join("");
    for (protocol_type, name, accepted) in [
        ("connect", "range", false),
        ("consumer", "sticky", false),
        ("consumer", "range", true),
    ] {
        let mut request = world.join_request("");
        request.protocol_type = protocol_type.into();
        request.protocols = vec![protocol("other", &[]), protocol(name, &[])];
        let id = world.send(Request::JoinGroup(request));
        assert_eq!(world.is_parked(id), accepted, "{protocol_type} {name}");
    }
    assert!(world.is_parked(first));
}

#[test]
fn the_protocol_with_most_votes_among_those_of_all_wins() {
    let cases: &[(&[&[&str]], &str)] = &[
        (
            &[&["range", "rr"], &["rr", "range"], &["rr", "range"]],
            "rr",
        ),
        (&[&["sticky", "range"], &["rr", "range"]], "range"),
        (&[&["a", "b"], &["b", "a"]], "a"),
        (&[&["range", "range"]], "range"),
    ];
    for (members, expected) in cases {
        let mut world = World::new();
        let joins: Vec<_> = members
            .iter()
            .map(|names| {
                let mut request = world.join_request("");
                request.protocols = names.iter().map(|name| protocol(name, &[])).collect();
                world.send(Request::JoinGroup(request))
            })
            .collect();
        world.advance(9_000);
        for join in joins {
            assert_eq!(
                world.join_reply(join).protocol_name.as_deref(),
                Some(*expected)
            );
        }
    }
}

#[test]
fn only_the_leader_is_told_the_members() {
    let mut world = World::new();
    let joins = [world.join(""), world.join(""), world.join("")];
    world.advance(6_000);
    let responses = joins.map(|id| world.join_reply(id));
    let leader = responses[0].leader.clone();
    for (index, response) in responses.iter().enumerate() {
        assert_eq!(response.leader, leader);
        assert_eq!(response.generation_id, 1);
        assert_eq!(
            response.members.len(),
            if response.member_id == leader { 3 } else { 0 }
        );
        assert_eq!(
            response.member_id == leader,
            index == 0,
            "the first to join leads"
        );
    }
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_current_generation() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let id = world.join(&clients[1].member_id);
    let response = world.join_reply(id);
    assert_eq!((response.error, response.generation_id), (E::None, 1));
    assert_eq!(response.leader, clients[0].member_id);
    assert!(response.members.is_empty());
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn the_leaders_join_and_a_followers_changed_join_rebalance_a_stable_group() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let leader = world.join(&clients[0].member_id);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert!(world.is_parked(leader));

    let mut world = World::new();
    let clients = world.stable_group(2);
    let mut request = world.join_request(&clients[1].member_id);
    request.protocols = vec![protocol("range", &["t", "u"])];
    let follower = world.send(Request::JoinGroup(request));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    let leader = world.join(&clients[0].member_id);
    assert_eq!(world.join_reply(leader).generation_id, 2);
    assert_eq!(world.join_reply(follower).generation_id, 2);
}

#[test]
fn a_join_repeated_before_the_assignment_returns_the_generation_also_to_the_leader() {
    let mut world = World::new();
    let joins = [world.join(""), world.join("")];
    world.advance(6_000);
    let responses = joins.map(|id| world.join_reply(id));
    let repeated = world.join(&responses[0].member_id);
    assert_eq!(world.join_reply(repeated), responses[0]);
    let repeated = world.join(&responses[1].member_id);
    assert_eq!(world.join_reply(repeated), responses[1]);
    assert_eq!(world.state(), GroupState::CompletingRebalance);

    let mut changed = world.join_request(&responses[1].member_id);
    changed.protocols = vec![protocol("range", &["u"])];
    world.send(Request::JoinGroup(changed));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_superseded_join_is_sent_back_and_the_newest_one_is_answered() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let first = world.join(&clients[0].member_id);
    let second = world.join(&clients[0].member_id);
    assert_eq!(world.join_reply(first).error, E::RebalanceInProgress);
    world.join(&clients[1].member_id);
    assert_eq!(world.join_reply(second).error, E::None);
}

#[test]
fn a_parked_new_member_is_let_go_after_five_minutes() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.rebalance_timeout_ms = 3_600_000;
    let first = world.send(Request::JoinGroup(request));
    let clients = world.settle(vec![first]);
    let parked = world.join("");
    for _ in 0..60 {
        world.advance(4_999);
        assert_eq!(world.heartbeat(&clients[0]), E::RebalanceInProgress);
    }
    assert!(world.is_parked(parked));
    world.advance(100);
    let response = world.join_reply(parked);
    assert_eq!(
        (response.error, &*response.member_id),
        (E::UnknownMemberId, "")
    );
    assert_eq!(world.describe().members.len(), 1);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let config = GroupConfig {
        group_max_size: 2,
        ..GroupConfig::default()
    };
    let mut world = World::with(config.clone());
    let joins = vec![world.join(""), world.join("")];
    let refused = world.join("");
    let response = world.join_reply(refused);
    assert_eq!(
        (response.error, &*response.member_id),
        (E::GroupMaxSizeReached, "")
    );
    let clients = world.settle(joins);
    let refused = world.join("");
    assert_eq!(world.join_reply(refused).error, E::GroupMaxSizeReached);
    let again = world.join(&clients[1].member_id);
    assert_eq!(world.join_reply(again).error, E::None);

    // A group above the limit is rebalanced at once and loses whoever comes last.
    let mut smaller = world.failover(GroupConfig {
        group_max_size: 1,
        ..config
    });
    assert_eq!(smaller.state(), GroupState::PreparingRebalance);
    let kept = smaller.join(&clients[0].member_id);
    let dropped = smaller.join(&clients[1].member_id);
    assert_eq!(smaller.join_reply(dropped).error, E::GroupMaxSizeReached);
    assert_eq!(smaller.join_reply(kept).generation_id, 2);
}
