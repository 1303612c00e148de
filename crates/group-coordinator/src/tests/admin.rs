//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete, deleted topics.

use ottla_coordinator_runtime::Durability;
use ottla_model::{ErrorCode as E, TopicPartition};

use super::harness::*;
use crate::records::RecordKey;
use crate::*;

fn delete_offsets(
    world: &mut World,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, E)>, E> {
    let partitions = partitions.to_vec();
    let id = world.send(Request::OffsetDelete {
        group_id: GROUP.into(),
        partitions,
    });
    match world.reply(id) {
        Some(Response::OffsetDelete(result)) => result.map(|mut answers| {
            answers.sort();
            answers
        }),
        other => panic!("{other:?}"),
    }
}

fn delete_group(world: &mut World) -> E {
    let id = world.send(Request::DeleteGroup {
        group_id: GROUP.into(),
    });
    match world.reply(id) {
        Some(Response::DeleteGroup(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_and_assignment_are_described_only_of_a_stable_group() {
    let mut world = World::new();
    let clients = world.stable_group(2);
    let described = world.describe();
    assert_eq!(
        (&*described.protocol_type, &*described.protocol),
        ("consumer", "range")
    );
    let leader = described
        .members
        .iter()
        .find(|m| m.member_id == clients[0].member_id)
        .unwrap();
    assert_eq!(leader.assignment, clients[0].member_id.as_bytes());
    assert_eq!(leader.metadata, protocol("range", &["t"]).metadata);
    assert_eq!(
        (&*leader.client_id, &*leader.client_host),
        ("client", "/127.0.0.1")
    );

    world.join(&clients[0].member_id);
    let described = world.describe();
    assert_eq!(described.state, GroupState::PreparingRebalance);
    assert_eq!(
        (&*described.protocol_type, &*described.protocol),
        ("consumer", "")
    );
    assert_eq!(described.members.len(), 2);
    assert!(
        described
            .members
            .iter()
            .all(|m| m.metadata.is_empty() && m.assignment.is_empty())
    );
}

#[test]
fn filters_of_states_and_types_ignore_case_and_unknown_names_match_nothing() {
    let mut world = World::new();
    world.stable_group(1);
    let listed = world.shard.list_groups().remove(0);
    for (states, types, expected) in [
        (vec![], vec![], true),
        (vec!["stable"], vec![], true),
        (vec!["Empty", "STABLE"], vec!["Classic"], true),
        (vec!["Empty"], vec![], false),
        (vec!["nonsense"], vec![], false),
        (vec![], vec!["consumer"], false),
        (vec![], vec!["nonsense"], false),
    ] {
        let text = |names: Vec<&str>| names.into_iter().map(String::from).collect();
        let filter = GroupFilter {
            states: text(states),
            types: text(types),
        };
        assert_eq!(filter.matches(&listed), expected, "{filter:?}");
    }
}

#[test]
fn only_an_empty_group_is_deleted_and_its_tombstones_go_in_one_batch() {
    let mut world = World::new();
    assert_eq!(delete_group(&mut world), E::GroupIdNotFound);
    let member = world.stable_group(1).remove(0);
    world.commit(Some(&member), partition("t", 0), 1);
    world.commit(Some(&member), partition("t", 1), 2);
    assert_eq!(delete_group(&mut world), E::NonEmptyGroup);
    world.leave(&member.member_id, None);
    let batches = world.log.len();
    assert_eq!(delete_group(&mut world), E::None);
    assert_eq!(world.state(), GroupState::Dead);
    assert_eq!(world.log.len(), batches + 1);
    let Some(LogEntry::Batch { append, .. }) = world.log.last() else {
        panic!("a batch")
    };
    assert_eq!(
        (append.durability, append.base_sequence),
        (Durability::Local, -1)
    );
    let tombstones: Vec<RecordKey> = world
        .records()
        .into_iter()
        .rev()
        .take(3)
        .map(|(key, value)| {
            assert_eq!(value, None);
            key
        })
        .collect();
    assert_eq!(
        tombstones[0],
        RecordKey::GroupMetadata {
            group_id: GROUP.into()
        }
    );
    assert_eq!(delete_group(&mut world), E::GroupIdNotFound);
    assert!(
        world
            .failover(GroupConfig::default())
            .shard
            .list_groups()
            .is_empty()
    );
}

#[test]
fn a_group_without_a_generation_leaves_no_tombstone_of_itself() {
    let mut world = World::new();
    world.commit(None, partition("t", 0), 1);
    assert_eq!(delete_group(&mut world), E::None);
    let (key, value) = world.records().pop().unwrap();
    assert_eq!(value, None);
    assert!(matches!(key, RecordKey::OffsetCommit { .. }));
}

#[test]
fn a_commit_that_outlives_its_group_is_answered_and_forgotten() {
    let mut world = World::new();
    world.acks = Acks::ByHand;
    let request = world.commit_request(None, &[(partition("t", 0), committed(7))]);
    let id = world.send(Request::OffsetCommit(request.clone()));
    assert_eq!(delete_group(&mut world), E::None);
    let second = world.send(Request::OffsetCommit(request));
    world.ack();
    assert_eq!(world.commit_reply(id), E::None);
    assert_eq!(
        world.offset(&partition("t", 0)),
        -1,
        "it belonged to the group before"
    );
    world.ack();
    assert_eq!(world.commit_reply(second), E::None);
    assert_eq!(world.offset(&partition("t", 0)), 7);
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut world = World::new();
    assert_eq!(
        delete_offsets(&mut world, &[partition("t", 0)]),
        Err(E::GroupIdNotFound)
    );
    let member = world.stable_group(1).remove(0);
    world.commit(Some(&member), partition("t", 0), 1);
    world.commit(Some(&member), partition("u", 0), 2);
    assert_eq!(
        delete_offsets(
            &mut world,
            &[partition("t", 0), partition("u", 0), partition("v", 0)]
        ),
        Ok(vec![
            (partition("t", 0), E::GroupSubscribedToTopic),
            (partition("u", 0), E::None),
            (partition("v", 0), E::None),
        ])
    );
    assert_eq!(world.offset(&partition("t", 0)), 1);
    assert_eq!(world.offset(&partition("u", 0)), -1);
    assert_eq!(world.shard.stats().offset_deletions, 1);

    world.leave(&member.member_id, None);
    assert_eq!(
        delete_offsets(&mut world, &[partition("t", 0)]),
        Ok(vec![(partition("t", 0), E::None)])
    );
    assert_eq!(
        world.state(),
        GroupState::Dead,
        "nothing kept the empty group"
    );
}

#[test]
fn what_a_subscription_says_decides_and_an_unreadable_one_protects_every_topic() {
    for (protocol_type, metadata, expected) in [
        (
            "consumer",
            &b"?"[..],
            Ok(vec![(partition("u", 0), E::GroupSubscribedToTopic)]),
        ),
        ("connect", &b"?"[..], Err(E::NonEmptyGroup)),
    ] {
        let mut world = World::new();
        let mut request = world.join_request("");
        request.protocol_type = protocol_type.into();
        request.protocols = vec![Protocol {
            name: "range".into(),
            metadata: bytes::Bytes::from_static(metadata),
        }];
        world.send(Request::JoinGroup(request));
        world.advance(3_000);
        assert_eq!(world.state(), GroupState::CompletingRebalance);
        assert_eq!(delete_offsets(&mut world, &[partition("u", 0)]), expected);
    }
}

#[test]
fn a_deleted_topic_takes_its_offsets_and_every_empty_group_without_offsets() {
    let mut world = World::new();
    world.commit(None, partition("t", 0), 1);
    world.commit(None, partition("u", 0), 1);
    let mut other = world.join_request("");
    other.group_id = "created by a refused join".into();
    other.protocols = Vec::new();
    world.send(Request::JoinGroup(other));
    assert_eq!(world.shard.list_groups().len(), 2);
    world.event(Event::PartitionsDeleted(vec![partition("t", 0)]));
    assert_eq!(world.shard.list_groups().len(), 1);
    assert_eq!(world.offset(&partition("t", 0)), -1);
    assert_eq!(world.offset(&partition("u", 0)), 1);
    world.event(Event::PartitionsDeleted(vec![partition("u", 0)]));
    assert!(world.shard.list_groups().is_empty());
    assert!(
        world
            .failover(GroupConfig::default())
            .shard
            .list_groups()
            .is_empty()
    );
}
