//! Each state against each request: the table of coordinators.md A1.

use ottla_model::ErrorCode as E;

use super::harness::*;
use crate::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Parked,
    Answered(E),
}

/// A group in a state, with a member that knows its generation (a former member of an Empty one).
fn world_in(state: GroupState) -> (World, Client) {
    let mut world = World::new();
    let member = match state {
        GroupState::Empty => {
            let member = world.stable_group(1).remove(0);
            world.leave(&member.member_id, None);
            Client {
                generation: 2,
                ..member
            }
        }
        GroupState::Stable => world.stable_group(2).remove(1),
        GroupState::PreparingRebalance => {
            let members = world.stable_group(2);
            world.join(&members[0].member_id);
            members[1].clone()
        }
        GroupState::CompletingRebalance => {
            let joins = [world.join(""), world.join("")];
            world.advance(6_000);
            let responses = joins.map(|id| world.join_reply(id));
            let follower = responses.iter().find(|r| r.member_id != r.leader).unwrap();
            Client {
                member_id: follower.member_id.clone(),
                instance_id: None,
                generation: 1,
            }
        }
        GroupState::Dead => {
            let member = world.stable_group(1).remove(0);
            world.leave(&member.member_id, None);
            world.send(Request::DeleteGroup {
                group_id: GROUP.into(),
            });
            member
        }
    };
    assert_eq!(world.state(), state);
    (world, member)
}

fn outcome(world: &mut World, request: Request) -> Outcome {
    let id = world.send(request);
    match world.reply(id) {
        None => Outcome::Parked,
        Some(Response::JoinGroup(response)) => Outcome::Answered(response.error),
        Some(Response::SyncGroup(response)) => Outcome::Answered(response.error),
        Some(Response::Heartbeat(error)) => Outcome::Answered(error),
        Some(Response::OffsetCommit(partitions)) => Outcome::Answered(partitions[0].1),
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_state_answers_every_member_request_as_kafka_does() {
    use GroupState as S;
    use Outcome::{Answered, Parked};
    // join of a new member, join of the member, sync, heartbeat, commit of the member,
    // commit without membership
    let table = [
        (
            S::Empty,
            [
                Parked,
                Answered(E::UnknownMemberId),
                Answered(E::UnknownMemberId),
                Answered(E::UnknownMemberId),
                Answered(E::UnknownMemberId),
                Answered(E::None),
            ],
        ),
        (
            S::PreparingRebalance,
            [
                Parked,
                Answered(E::None),
                Answered(E::RebalanceInProgress),
                Answered(E::RebalanceInProgress),
                Answered(E::None),
                Answered(E::UnknownMemberId),
            ],
        ),
        (
            S::CompletingRebalance,
            [
                Parked,
                Answered(E::None),
                Parked,
                Answered(E::None),
                Answered(E::RebalanceInProgress),
                Answered(E::UnknownMemberId),
            ],
        ),
        (
            S::Stable,
            [
                Parked,
                Answered(E::None),
                Answered(E::None),
                Answered(E::None),
                Answered(E::None),
                Answered(E::UnknownMemberId),
            ],
        ),
        // A removed group is a group that does not exist.
        (
            S::Dead,
            [
                Parked,
                Answered(E::UnknownMemberId),
                Answered(E::UnknownMemberId),
                Answered(E::UnknownMemberId),
                Answered(E::IllegalGeneration),
                Answered(E::None),
            ],
        ),
    ];
    for (state, expected) in table {
        for (index, expected) in expected.into_iter().enumerate() {
            let (mut world, member) = world_in(state);
            let offsets = [(partition("t", 0), committed(5))];
            let request = match index {
                0 => Request::JoinGroup(world.join_request("")),
                1 => Request::JoinGroup(world.join_request(&member.member_id)),
                2 => Request::SyncGroup(sync_request(&member, &[])),
                3 => Request::Heartbeat {
                    group_id: GROUP.into(),
                    member_id: member.member_id.clone(),
                    group_instance_id: None,
                    generation_id: member.generation,
                },
                4 => Request::OffsetCommit(world.commit_request(Some(&member), &offsets)),
                _ => Request::OffsetCommit(world.commit_request(None, &offsets)),
            };
            assert_eq!(
                outcome(&mut world, request),
                expected,
                "{state} request {index}"
            );
        }
    }
}

#[test]
fn states_follow_each_other_as_in_kafka() {
    use GroupState as S;
    for (next, previous) in [
        (S::Empty, vec![S::PreparingRebalance]),
        (
            S::PreparingRebalance,
            vec![S::Empty, S::CompletingRebalance, S::Stable],
        ),
        (S::CompletingRebalance, vec![S::PreparingRebalance]),
        (S::Stable, vec![S::CompletingRebalance]),
        (S::Dead, S::ALL.to_vec()),
    ] {
        for state in S::ALL {
            assert_eq!(
                next.may_follow(state),
                previous.contains(&state),
                "{state} to {next}"
            );
        }
    }
}
