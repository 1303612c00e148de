//! `offsets.retention.minutes`.

use ottla_model::{ErrorCode as E, Timestamp};

use super::harness::*;
use crate::*;

const RETENTION: u64 = 10_080 * 60_000;

/// Lets time pass without the members' deadlines.
fn pass(world: &mut World, millis: u64) {
    world.now.timestamp = Timestamp(world.now.timestamp.0 + millis as i64);
}

#[test]
fn offsets_of_an_empty_group_expire_together_counted_from_its_last_member() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    world.commit(Some(&member), partition("t", 0), 1);
    pass(&mut world, RETENTION);
    world.leave(&member.member_id, None);
    world.commit(None, partition("t", 1), 1);
    pass(&mut world, RETENTION - 1);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), 1);
    pass(&mut world, 1);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.state(), GroupState::Dead);
    assert_eq!(world.shard.stats().offset_expirations, 2);
    assert!(
        world
            .failover(GroupConfig::default())
            .shard
            .list_groups()
            .is_empty()
    );
}

#[test]
fn a_simple_groups_offsets_expire_one_by_one_by_their_commit() {
    let mut world = World::new();
    world.commit(None, partition("t", 0), 1);
    pass(&mut world, 1_000);
    world.commit(None, partition("t", 1), 1);
    pass(&mut world, RETENTION - 1_000);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), -1);
    assert_eq!(world.offset(&partition("t", 1)), 1);
    assert_eq!(world.state(), GroupState::Empty);
}

#[test]
fn in_a_stable_group_only_offsets_of_unsubscribed_topics_expire() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    for topic in ["t", "u"] {
        assert_eq!(world.commit(Some(&member), partition(topic, 0), 1), E::None);
    }
    pass(&mut world, RETENTION);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), 1);
    assert_eq!(world.offset(&partition("u", 0)), -1);
    // While it rebalances nothing expires.
    world.commit(Some(&member), partition("u", 0), 1);
    world.join("");
    pass(&mut world, RETENTION);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("u", 0)), 1);
}

#[test]
fn other_active_groups_keep_their_offsets() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.protocol_type = "connect".into();
    world.send(Request::JoinGroup(request));
    world.advance(3_000);
    let member = world.describe().members.remove(0).member_id;
    let member = Client {
        member_id: member,
        instance_id: None,
        generation: 1,
    };
    let sync = SyncGroupRequest {
        protocol_type: Some("connect".into()),
        ..sync_request(&member, &[])
    };
    world.send(Request::SyncGroup(sync));
    assert_eq!(world.commit(Some(&member), partition("t", 0), 1), E::None);
    pass(&mut world, 2 * RETENTION);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), 1);
}

#[test]
fn an_explicit_expiry_replaces_the_retention() {
    let mut world = World::new();
    let expiry = Timestamp(world.now.timestamp.0 + 500);
    let value = OffsetAndMetadata {
        expire_timestamp: Some(expiry),
        ..committed(1)
    };
    let request = world.commit_request(None, &[(partition("t", 0), value)]);
    world.send(Request::OffsetCommit(request));
    pass(&mut world, 499);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), 1);
    pass(&mut world, 1);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), -1);
}

#[test]
fn an_offset_with_a_commit_under_way_does_not_expire() {
    let mut world = World::new();
    world.commit(None, partition("t", 0), 1);
    pass(&mut world, RETENTION);
    world.acks = Acks::ByHand;
    let request = world.commit_request(None, &[(partition("t", 0), committed(2))]);
    world.send(Request::OffsetCommit(request));
    world.event(Event::ExpireOffsets);
    assert_eq!(world.offset(&partition("t", 0)), 1);
}

#[test]
fn an_empty_group_without_offsets_goes_and_so_do_its_pending_members() {
    let mut world = World::new();
    let mut request = world.join_request("");
    request.require_known_member_id = true;
    let id = world.send(Request::JoinGroup(request.clone()));
    request.member_id = world.join_reply(id).member_id;
    world.event(Event::ExpireOffsets);
    assert!(world.shard.list_groups().is_empty());
    assert_eq!(world.shard.next_deadline(), None);
    assert!(world.log.is_empty(), "it had no record");
    let id = world.send(Request::JoinGroup(request));
    assert_eq!(world.join_reply(id).error, E::UnknownMemberId);
}

#[test]
fn a_refused_tombstone_is_not_counted_and_the_offset_is_gone_nevertheless() {
    let mut world = World::new();
    world.commit(None, partition("t", 0), 1);
    pass(&mut world, RETENTION);
    world.acks = Acks::Refused(E::KafkaStorageError);
    world.event(Event::ExpireOffsets);
    assert_eq!(world.shard.stats().offset_expirations, 0);
    assert!(world.shard.list_groups().is_empty());
}
