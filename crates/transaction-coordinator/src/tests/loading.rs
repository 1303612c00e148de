//! Elections, loads, resignations.

use ErrorCode as E;
use TransactionState as S;
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId};

use super::harness::*;
use crate::*;

#[test]
fn requests_hear_where_the_coordinator_is_not() {
    let mut world = World::unloaded();
    let check = |world: &mut World, expected: E| {
        let who = producer(0, 0);
        assert_eq!(world.init(None), Err(expected));
        assert_eq!(world.add(who, &[t(0)]), expected);
        assert_eq!(world.end(who, COMMIT), expected);
        assert_eq!(world.verify(who, &[t(0)]), [expected]);
        assert_eq!(world.shard.describe(ID), Err(expected));
    };
    check(&mut world, E::NotCoordinator);
    let loader = world
        .shard
        .begin_load(LeaderEpoch(1), &mut Vec::new())
        .unwrap();
    assert_eq!(world.shard.status(), Status::Loading);
    check(&mut world, E::CoordinatorLoadInProgress);
    let outcome = world
        .shard
        .finish_load(world.now, loader, 0, &mut Vec::new());
    assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
    assert_eq!(world.init(None), Ok(producer(0, 0)));
    world.event(Event::Resigned(Some(LeaderEpoch(2))));
    check(&mut world, E::NotCoordinator);
    world.event(Event::ShutDown);
    assert_eq!(world.shard.describe(ID), Err(E::CoordinatorNotAvailable));
    assert_eq!(world.init(None), Err(E::NotCoordinator));
    assert!(
        world
            .shard
            .begin_load(LeaderEpoch(3), &mut Vec::new())
            .is_none()
    );
}

#[test]
fn old_news_of_leadership_is_ignored() {
    let mut world = World::unloaded();
    let mut actions = Vec::new();
    let overtaken = world
        .shard
        .begin_load(LeaderEpoch(5), &mut actions)
        .unwrap();
    assert!(
        world
            .shard
            .begin_load(LeaderEpoch(5), &mut actions)
            .is_none()
    );
    assert!(
        world
            .shard
            .begin_load(LeaderEpoch(4), &mut actions)
            .is_none()
    );
    let newer = world
        .shard
        .begin_load(LeaderEpoch(6), &mut actions)
        .unwrap();
    let outcome = world
        .shard
        .finish_load(world.now, overtaken, 0, &mut actions);
    assert!(matches!(outcome, LoadOutcome::Overtaken), "{outcome:?}");
    assert_eq!(world.shard.status(), Status::Loading);
    let outcome = world.shard.finish_load(world.now, newer, 0, &mut actions);
    assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
    world.event(Event::Resigned(Some(LeaderEpoch(5))));
    assert_eq!(world.shard.status(), Status::Active);
    world.event(Event::Resigned(None));
    assert_eq!(world.shard.status(), Status::NotOwned);
}

#[test]
fn a_load_brings_back_what_the_log_says() {
    for state in [S::Empty, S::Ongoing, S::CompleteCommit, S::CompleteAbort] {
        let (mut world, who) = World::in_state(state);
        let before = world.describe();
        let written = world.log.len();
        world.load();
        assert_eq!(world.describe(), before, "{state}");
        assert_eq!(world.log.len(), written);
        if state == S::Ongoing {
            assert_eq!(world.end(who, COMMIT), E::None);
            assert_eq!(world.state(), S::CompleteCommit);
        }
    }
}

#[test]
fn a_load_repeats_the_markers_of_decided_transactions() {
    for (prepared, complete, outcome) in [
        (S::PrepareCommit, S::CompleteCommit, COMMIT),
        (S::PrepareAbort, S::CompleteAbort, ABORT),
    ] {
        let (mut world, _) = World::in_state(prepared);
        for data in world.partitions.values_mut() {
            data.markers.clear();
        }
        world.load();
        assert_eq!(world.state(), complete);
        let marker = (ProducerId(0), ProducerEpoch(0), world.epoch, outcome);
        assert_eq!(
            world.partitions[&t(0)].markers,
            [marker],
            "under the new coordinator epoch"
        );
        assert_eq!(world.partitions[&t(1)].markers, [marker]);
        assert!(world.partitions[&t(2)].markers.is_empty());
    }
}

#[test]
fn nothing_is_served_or_marked_before_what_was_loaded_is_replicated() {
    let (mut world, who) = World::in_state(S::PrepareCommit);
    let mut actions = Vec::new();
    let mut loader = world
        .shard
        .begin_load(LeaderEpoch(2), &mut actions)
        .unwrap();
    world.feed(&mut loader);
    let end = loader.end_offset();
    assert_eq!(end, 3, "Empty, Ongoing, PrepareCommit");
    actions.clear();
    for high_watermark in [0, end - 1] {
        let outcome = world
            .shard
            .finish_load(world.now, loader, high_watermark, &mut actions);
        let LoadOutcome::NotReplicated(again) = outcome else {
            panic!("{outcome:?} at {high_watermark}");
        };
        loader = again;
        assert!(actions.is_empty(), "{actions:?}");
        assert_eq!(world.shard.status(), Status::Loading);
        assert_eq!(world.add(who, &[t(0)]), E::CoordinatorLoadInProgress);
        assert_eq!(world.verify(who, &[t(0)]), [E::CoordinatorLoadInProgress]);
    }
    let outcome = world
        .shard
        .finish_load(world.now, loader, end, &mut actions);
    assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
    assert!(
        matches!(&actions[..], [TransactionAction::SendMarkers(_)]),
        "{actions:?}"
    );
}

#[test]
fn a_load_that_waits_for_replication_may_be_overtaken() {
    let (mut world, _) = World::in_state(S::PrepareCommit);
    let mut actions = Vec::new();
    let mut loader = world
        .shard
        .begin_load(LeaderEpoch(2), &mut actions)
        .unwrap();
    world.feed(&mut loader);
    let end = loader.end_offset();
    let outcome = world
        .shard
        .finish_load(world.now, loader, end - 1, &mut actions);
    let LoadOutcome::NotReplicated(loader) = outcome else {
        panic!("{outcome:?}");
    };
    world.event(Event::Resigned(Some(LeaderEpoch(3))));
    let outcome = world
        .shard
        .finish_load(world.now, loader, end, &mut actions);
    assert!(matches!(outcome, LoadOutcome::Overtaken), "{outcome:?}");
    assert_eq!(world.shard.status(), Status::NotOwned);
}

#[test]
fn a_load_that_is_given_up_does_not_touch_the_next_one() {
    let mut world = World::unloaded();
    let mut actions = Vec::new();
    let mut begin = |world: &mut World, epoch| {
        let epoch = LeaderEpoch(epoch);
        world.shard.begin_load(epoch, &mut actions).unwrap()
    };
    let first = begin(&mut world, 1);
    let second = begin(&mut world, 2);
    world.shard.give_up_load(&first);
    assert_eq!(world.shard.status(), Status::Loading);
    world.shard.give_up_load(&second);
    assert_eq!(world.shard.status(), Status::NotOwned);
    let third = begin(&mut world, 3);
    let outcome = world
        .shard
        .finish_load(world.now, third, 0, &mut Vec::new());
    assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
}

#[test]
fn markers_of_a_lost_partition_are_forgotten() {
    let mut world = World::new();
    let who = world.begin();
    world.markers_at_once = false;
    world.end(who, COMMIT);
    world.event(Event::Resigned(None));
    let written = world.log.len();
    // The answers still come; one says that it should be tried again.
    world.partitions.get_mut(&t(0)).unwrap().refuses = Some(E::NotEnoughReplicas);
    world.answer_markers();
    world.answer_markers();
    world.advance(60_000);
    assert!(world.sent.is_empty());
    assert_eq!(world.log.len(), written);
}

#[test]
fn answers_to_markers_of_an_older_epoch_count_for_nothing() {
    let mut world = World::new();
    let who = world.begin();
    world.markers_at_once = false;
    world.end(who, COMMIT);
    world.load();
    assert_eq!(world.state(), S::PrepareCommit);
    assert_eq!(
        world.sent.len(),
        2,
        "the brokers are busy with the old markers"
    );
    world.answer_markers();
    world.answer_markers();
    assert_eq!(world.describe().partitions, [t(0), t(1)].into());
    assert_eq!(world.sent.len(), 2, "now the new ones are on their way");
    world.answer_markers();
    world.answer_markers();
    assert_eq!(world.state(), S::CompleteCommit);
}

#[test]
fn an_append_that_outlives_its_leadership_is_answered_and_changes_nothing() {
    let begun = |ending: fn(&mut World)| {
        let mut world = World::new();
        let who = world.begin();
        world.acks = Acks::ByHand;
        let end = world.send_end(who, COMMIT);
        ending(&mut world);
        world.ack();
        let answer = world.end_reply(end);
        (world, answer)
    };
    let (_, answer) = begun(|world| world.event(Event::Resigned(None)));
    assert_eq!(answer, E::NotCoordinator);
    let (_, answer) = begun(|world| {
        world
            .shard
            .begin_load(LeaderEpoch(2), &mut Vec::new())
            .unwrap();
    });
    assert_eq!(answer, E::CoordinatorLoadInProgress);
    let (mut world, answer) = begun(World::load);
    assert_eq!(answer, E::NotCoordinator);
    assert_eq!(world.state(), S::Ongoing, "as the log was when it was read");
    world.load();
    world.ack();
    assert_eq!(world.state(), S::CompleteCommit, "as the log is now");
}

#[test]
fn tombstones_and_unknown_records_are_read() {
    let mut world = World::new();
    world.init(None).unwrap();
    let mut loader = world
        .shard
        .begin_load(LeaderEpoch(2), &mut Vec::new())
        .unwrap();
    world.feed(&mut loader);
    assert_eq!(loader.transactional_ids(), 1);
    let unknown = bytes::Bytes::from_static(&[0, 9, 0, 1]);
    loader.replay(unknown, None).unwrap();
    let broken = bytes::Bytes::from_static(&[0, 0]);
    assert!(
        loader
            .replay(records::key("other").unwrap(), Some(broken))
            .is_err()
    );
    assert_eq!(loader.transactional_ids(), 1);
    loader.replay(records::key(ID).unwrap(), None).unwrap();
    assert_eq!(loader.transactional_ids(), 0);
}
