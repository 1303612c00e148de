//! Transactions that last too long, ids that nobody uses.

use ErrorCode as E;
use TransactionState as S;
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId};

use super::harness::*;
use crate::*;

const WEEK: u64 = 604_800_000;

fn expire(world: &mut World, batch_size_max: usize) {
    world.event(Event::ExpireTransactionalIds { batch_size_max });
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_under_a_higher_epoch() {
    let mut world = World::new();
    let who = world.begin();
    world.advance(60_000);
    world.event(Event::AbortTimedOutTransactions);
    assert_eq!(world.state(), S::Ongoing, "its last moment");
    world.advance(1);
    world.event(Event::AbortTimedOutTransactions);
    assert_eq!(world.state(), S::CompleteAbort);
    assert_eq!(
        world.written()[2..],
        [Some((S::PrepareAbort, 1)), Some((S::CompleteAbort, 1))]
    );
    assert_eq!(
        world.partitions[&t(0)].markers,
        [(ProducerId(0), ProducerEpoch(1), world.epoch, ABORT)]
    );
    assert_eq!(world.end(who, COMMIT), E::ProducerFenced);
    assert_eq!(world.add(who, &[t(0)]), E::ProducerFenced);
    assert_eq!(world.shard.stats().timeouts, 1);
}

#[test]
fn a_transition_under_way_saves_from_the_timeout_once() {
    let mut world = World::new();
    let who = world.begin();
    world.advance(60_001);
    world.acks = Acks::ByHand;
    let end = world.send_end(who, COMMIT);
    world.event(Event::AbortTimedOutTransactions);
    world.ack();
    assert_eq!(world.end_reply(end), E::None);
    assert_eq!(world.shard.stats().timeouts, 0);
}

#[test]
fn the_time_counts_from_the_start_over_a_failover() {
    let mut world = World::new();
    world.begin();
    world.advance(59_000);
    world.load();
    world.advance(1_001);
    world.event(Event::AbortTimedOutTransactions);
    assert_eq!(world.state(), S::CompleteAbort);
}

#[test]
fn a_timeout_whose_record_is_refused_is_tried_again() {
    let mut world = World::new();
    world.begin();
    world.advance(60_001);
    world.acks = Acks::Refused(E::NotEnoughReplicas);
    world.event(Event::AbortTimedOutTransactions);
    assert_eq!(world.state(), S::Ongoing);
    world.acks = Acks::AtOnce;
    world.event(Event::AbortTimedOutTransactions);
    assert_eq!(world.written().last(), Some(&Some((S::CompleteAbort, 1))));
}

#[test]
fn idle_ids_are_forgotten_by_state() {
    for (state, expires) in [
        (S::Empty, true),
        (S::Ongoing, false),
        (S::PrepareCommit, false),
        (S::PrepareAbort, false),
        (S::CompleteCommit, true),
        (S::CompleteAbort, true),
    ] {
        let (mut world, _) = World::in_state(state);
        world.sleep(WEEK - 1);
        expire(&mut world, 1_000_000);
        assert!(world.shard.describe(ID).is_ok(), "{state}: not yet");
        world.advance(1);
        expire(&mut world, 1_000_000);
        assert_eq!(world.shard.describe(ID).is_err(), expires, "{state}");
        assert_eq!(
            world.log.last().unwrap().records[0].value.is_none(),
            expires
        );
        assert_eq!(world.shard.stats().expirations, u64::from(expires));
    }
}

#[test]
fn a_dying_id_refuses_requests_and_lives_on_if_its_tombstone_is_refused() {
    let mut world = World::new();
    let who = world.init(None).unwrap();
    world.sleep(WEEK);
    world.acks = Acks::ByHand;
    expire(&mut world, 1_000_000);
    assert_eq!(world.unacknowledged[0].1, 30_000);
    assert_eq!(world.add(who, &[t(0)]), E::ConcurrentTransactions);
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    expire(&mut world, 1_000_000);
    assert_eq!(world.unacknowledged.len(), 1, "one tombstone at a time");
    world.refuse(E::NotEnoughReplicas);
    let add = world.send_add(who, &[t(0)]);
    world.ack();
    assert_eq!(world.add_reply(add), E::None);
}

#[test]
fn tombstones_come_in_batches_of_the_largest_size() {
    let mut world = World::new();
    for index in 0..10 {
        let init = world.send_init(&format!("id{index}"), None);
        world.init_reply(init).unwrap();
    }
    world.sleep(WEEK);
    world.acks = Acks::ByHand;
    // A key of 7 bytes makes a record of 14; a header takes 61.
    expire(&mut world, 61 + 3 * 14);
    let sizes: Vec<usize> = world
        .unacknowledged
        .iter()
        .map(|(append, _)| append.records.len())
        .collect();
    assert_eq!(sizes, [3, 3, 3, 1]);
    while !world.unacknowledged.is_empty() {
        world.ack();
    }
    assert_eq!(world.shard.gauges().transactional_ids, 0);
}

#[test]
fn a_batch_has_at_least_one_tombstone() {
    let mut world = World::new();
    world.init(None).unwrap();
    world.sleep(WEEK);
    expire(&mut world, 0);
    assert_eq!(world.shard.gauges().transactional_ids, 0);
}

#[test]
fn a_forgotten_id_begins_anew() {
    let mut world = World::new();
    let old = world.init(None).unwrap();
    world.sleep(WEEK);
    expire(&mut world, 1_000_000);
    assert_eq!(world.add(old, &[t(0)]), E::InvalidProducerIdMapping);
    assert_eq!(world.init(None), Ok(producer(1, 0)));
}

#[test]
fn tombstones_of_an_older_epoch_take_nothing_away() {
    let mut world = World::new();
    world.init(None).unwrap();
    world.sleep(WEEK);
    world.acks = Acks::ByHand;
    expire(&mut world, 1_000_000);
    world.load();
    world.ack();
    assert!(world.shard.describe(ID).is_ok());
    world.load();
    assert_eq!(world.shard.describe(ID), Err(E::TransactionalIdNotFound));
}
