//! TxnOffsetCommit and markers.

use ottla_coordinator_runtime::TransactionOutcome::{Abort, Commit};
use ottla_model::{ErrorCode as E, ProducerEpoch, ProducerId};

use super::harness::*;
use crate::*;

#[test]
fn a_transactional_commit_is_unstable_until_its_marker() {
    for (outcome, expected) in [(Commit, 9), (Abort, 4)] {
        let mut world = World::new();
        let t0 = partition("t", 0);
        world.commit(None, t0.clone(), 4);
        let id = world.commit_transactional(77, t0.clone(), 9);
        assert_eq!(world.commit_reply(id), E::None);
        assert_eq!(world.offset(&t0), 4);
        assert_eq!(world.fetch(&t0, true).error, E::UnstableOffsetCommit);
        assert_eq!(world.fetch(&t0, false).error, E::None);
        world.marker(77, outcome);
        assert_eq!(world.offset(&t0), expected);
        assert_eq!(world.fetch(&t0, true).error, E::None);
    }
}

#[test]
fn its_batch_carries_the_producer() {
    let mut world = World::new();
    world.acks = Acks::ByHand;
    world.commit_transactional(77, partition("t", 0), 9);
    let append = world.unacknowledged[0].clone();
    assert_eq!(
        (append.producer_id, append.producer_epoch),
        (ProducerId(77), ProducerEpoch(0))
    );
    assert_eq!((append.base_sequence, append.transactional), (0, true));
}

#[test]
fn a_newer_plain_commit_is_not_undone_by_a_late_marker() {
    let mut world = World::new();
    let t0 = partition("t", 0);
    world.commit_transactional(77, t0.clone(), 9);
    world.commit(None, t0.clone(), 12);
    world.marker(77, Commit);
    assert_eq!(world.offset(&t0), 12);
}

#[test]
fn a_marker_that_overtakes_the_acknowledgement_still_counts() {
    for (outcome, expected) in [(Commit, 9), (Abort, -1)] {
        let mut world = World::new();
        world.acks = Acks::ByHand;
        let t0 = partition("t", 0);
        let id = world.commit_transactional(77, t0.clone(), 9);
        world.marker(77, outcome);
        assert_eq!(world.offset(&t0), -1);
        world.ack();
        assert_eq!(world.commit_reply(id), E::None);
        assert_eq!(world.offset(&t0), expected);
        assert_eq!(world.fetch(&t0, true).error, E::None);
    }
}

#[test]
fn a_refused_transactional_commit_leaves_the_partition_stable() {
    let mut world = World::new();
    world.acks = Acks::Refused(E::NotEnoughReplicas);
    let t0 = partition("t", 0);
    let id = world.commit_transactional(77, t0.clone(), 9);
    assert_eq!(world.commit_reply(id), E::CoordinatorNotAvailable);
    assert_eq!(world.fetch(&t0, true).error, E::None);
}

#[test]
fn a_producer_may_commit_for_a_live_group_without_naming_a_member() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    let id = world.commit_transactional(77, partition("t", 0), 9);
    assert_eq!(world.commit_reply(id), E::None);
    for (client, expected) in [
        (
            Client {
                generation: 0,
                ..member.clone()
            },
            E::IllegalGeneration,
        ),
        (
            Client {
                member_id: "x".into(),
                ..member.clone()
            },
            E::UnknownMemberId,
        ),
        (member, E::None),
    ] {
        let commit = world.commit_request(Some(&client), &[(partition("t", 0), committed(1))]);
        let id = world.send(Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            commit,
            producer_id: ProducerId(78),
            producer_epoch: ProducerEpoch(0),
        }));
        assert_eq!(world.commit_reply(id), expected);
    }
}

#[test]
fn an_unverified_commit_has_made_its_group_nevertheless() {
    let mut world = World::new();
    let now = world.now;
    assert_eq!(
        world.shard.begin_transactional_commit(now, &GROUP.into()),
        Ok(())
    );
    assert_eq!(world.state(), GroupState::Empty);
    assert_eq!(
        world.shard.begin_transactional_commit(now, &"".into()),
        Err(E::InvalidGroupId)
    );
}

#[test]
fn other_producers_are_not_touched_by_a_marker() {
    let mut world = World::new();
    world.commit_transactional(1, partition("t", 0), 9);
    world.commit_transactional(2, partition("t", 1), 8);
    world.marker(1, Commit);
    assert_eq!(world.offset(&partition("t", 0)), 9);
    assert_eq!(world.offset(&partition("t", 1)), -1);
    assert_eq!(
        world.fetch(&partition("t", 1), true).error,
        E::UnstableOffsetCommit
    );
}
