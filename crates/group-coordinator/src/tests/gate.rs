//! What every request meets first.

use ottla_model::LeaderEpoch;

use super::harness::*;
use crate::*;
use ottla_model::ErrorCode as E;

fn client() -> Client {
    Client {
        member_id: "m".into(),
        instance_id: None,
        generation: 1,
    }
}

/// The error of every request of a client that knows nothing of the shard.
fn errors(world: &mut World) -> Vec<E> {
    let mut errors = Vec::new();
    let join = world.join("m");
    errors.push(world.join_reply(join).error);
    let sync = world.sync(&client(), &[]);
    errors.push(world.sync_reply(sync).error);
    errors.push(world.heartbeat(&client()));
    let leave = LeaveGroupRequest {
        group_id: GROUP.into(),
        members: Vec::new(),
    };
    let leave = world.send(Request::LeaveGroup(leave));
    match world.reply(leave) {
        Some(Response::LeaveGroup(response)) => errors.push(response.error),
        other => panic!("{other:?}"),
    }
    errors.push(world.commit(Some(&client()), partition("t", 0), 1));
    errors.push(
        world
            .shard
            .fetch_offsets(GROUP, None, false)
            .err()
            .unwrap_or(E::None),
    );
    errors.push(world.shard.describe_group(GROUP).err().unwrap_or(E::None));
    let delete = world.send(Request::DeleteGroup {
        group_id: GROUP.into(),
    });
    match world.reply(delete) {
        Some(Response::DeleteGroup(error)) => errors.push(error),
        other => panic!("{other:?}"),
    }
    let delete = Request::OffsetDelete {
        group_id: GROUP.into(),
        partitions: Vec::new(),
    };
    let delete = world.send(delete);
    match world.reply(delete) {
        Some(Response::OffsetDelete(result)) => errors.push(result.err().unwrap_or(E::None)),
        other => panic!("{other:?}"),
    }
    errors
}

#[test]
fn a_shard_that_is_not_led_here_serves_nobody() {
    let mut world = World::unloaded(GroupConfig::default());
    assert_eq!(errors(&mut world), [E::NotCoordinator; 9]);
    assert!(world.shard.list_groups().is_empty());
}

#[test]
fn while_loading_heartbeats_succeed_and_syncs_are_sent_back_to_join() {
    let mut world = World::unloaded(GroupConfig::default());
    let _loader = world.shard.begin_load(LeaderEpoch(0)).unwrap();
    let loading = E::CoordinatorLoadInProgress;
    assert_eq!(
        errors(&mut world),
        [
            loading,
            E::RebalanceInProgress,
            E::None,
            loading,
            loading,
            loading,
            loading,
            loading,
            loading
        ]
    );
}

#[test]
fn a_group_that_does_not_exist_is_unknown_in_each_requests_own_way() {
    let mut world = World::new();
    assert_eq!(
        errors(&mut world),
        [
            E::UnknownMemberId,
            E::UnknownMemberId,
            E::UnknownMemberId,
            E::None,
            E::IllegalGeneration,
            E::None,
            E::None,
            E::GroupIdNotFound,
            E::GroupIdNotFound,
        ]
    );
    assert_eq!(world.describe(), GroupDescription::dead());
    assert_eq!(world.leave("m", None), E::UnknownMemberId);
}

#[test]
fn a_broker_that_goes_down_says_that_the_coordinator_is_not_available() {
    let mut world = World::new();
    world.event(Event::ShutDown);
    assert_eq!(errors(&mut world), [E::CoordinatorNotAvailable; 9]);
}

#[test]
fn the_empty_group_id_is_legal_only_where_old_clients_need_it() {
    let mut world = World::new();
    let mut join = world.join_request("");
    join.group_id = "".into();
    let join = world.send(Request::JoinGroup(join));
    assert_eq!(world.join_reply(join).error, E::InvalidGroupId);
    let mut commit = world.commit_request(None, &[(partition("t", 0), committed(3))]);
    commit.group_id = "".into();
    let commit = world.send(Request::OffsetCommit(commit));
    assert_eq!(world.commit_reply(commit), E::None);
    assert_eq!(
        world.shard.fetch_offsets("", None, false).unwrap()[0].offset,
        3
    );
    assert_eq!(
        world.shard.describe_group("").unwrap().state,
        GroupState::Empty
    );
    let delete = Request::OffsetDelete {
        group_id: "".into(),
        partitions: Vec::new(),
    };
    let delete = world.send(delete);
    assert_eq!(
        world.reply(delete),
        Some(Response::OffsetDelete(Err(E::InvalidGroupId)))
    );
    let delete = world.send(Request::DeleteGroup {
        group_id: "".into(),
    });
    assert_eq!(world.reply(delete), Some(Response::DeleteGroup(E::None)));
}

#[test]
fn news_of_an_older_leadership_is_ignored() {
    let mut world = World::unloaded(GroupConfig::default());
    let first = world.shard.begin_load(LeaderEpoch(5)).unwrap();
    assert!(
        world.shard.begin_load(LeaderEpoch(6)).is_none(),
        "it is being loaded already"
    );
    world.event(Event::Resigned(Some(LeaderEpoch(5))));
    assert_eq!(world.shard.status(), Status::Loading, "6 was heard of");
    world.event(Event::Resigned(Some(LeaderEpoch(7))));
    assert_eq!(world.shard.status(), Status::NotOwned);
    assert!(world.shard.begin_load(LeaderEpoch(6)).is_none());

    let second = world.shard.begin_load(LeaderEpoch(8)).unwrap();
    let mut actions = Vec::new();
    assert!(
        !world.shard.finish_load(world.now, first, &mut actions),
        "overtaken"
    );
    assert_eq!(world.shard.status(), Status::Loading);
    assert!(world.shard.finish_load(world.now, second, &mut actions));
    world.event(Event::Resigned(None));
    assert_eq!(world.shard.status(), Status::NotOwned);
}

#[test]
fn resignation_answers_what_is_parked_and_keeps_commits_for_the_logs_answer() {
    let mut world = World::new();
    let join = world.join("");
    world.acks = Acks::ByHand;
    let commit = world.commit_request(None, &[(partition("t", 0), committed(3))]);
    let commit = world.send(Request::OffsetCommit(OffsetCommitRequest {
        group_id: "other".into(),
        ..commit
    }));
    world.event(Event::Resigned(Some(LeaderEpoch(2))));
    assert_eq!(world.join_reply(join).error, E::NotCoordinator);
    assert_eq!(world.shard.next_deadline(), None);
    assert!(world.is_parked(commit));
    world.refuse(E::NotLeaderOrFollower);
    assert_eq!(world.commit_reply(commit), E::NotCoordinator);

    let mut world = World::new();
    let members = [world.join(""), world.join("")];
    world.advance(6_000);
    let responses = members.map(|id| world.join_reply(id));
    let follower = responses.iter().find(|r| r.leader != r.member_id).unwrap();
    let follower = Client {
        member_id: follower.member_id.clone(),
        instance_id: None,
        generation: 1,
    };
    let sync = world.sync(&follower, &[]);
    world.event(Event::Resigned(Some(LeaderEpoch(2))));
    assert_eq!(world.sync_reply(sync).error, E::NotCoordinator);
}
