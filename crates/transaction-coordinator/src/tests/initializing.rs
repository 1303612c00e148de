//! InitProducerId: epochs, fences, and clients that come again (KIP-360, KIP-588).

use ErrorCode as E;
use TransactionState as S;
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};

use super::harness::*;
use crate::*;

/// A world whose id has reached this epoch, in Empty, by the log.
fn at_epoch(epoch: i16) -> World {
    let mut world = World::unloaded();
    let value = TransactionLogValue {
        producer_id: ProducerId(500),
        producer_epoch: ProducerEpoch(epoch),
        timeout_ms: 60_000,
        state: S::Empty,
        partitions: Default::default(),
        last_update_timestamp: Timestamp(1),
        start_timestamp: Timestamp::NONE,
    };
    world.load();
    let epoch = ottla_model::LeaderEpoch(world.epoch.0 + 1);
    world.epoch = epoch;
    let mut actions = Vec::new();
    let mut loader = world.shard.begin_load(epoch, &mut actions).unwrap();
    let (key, value) = (records::key(ID).unwrap(), records::value(&value).unwrap());
    loader.replay(key, Some(value)).unwrap();
    let outcome = world.shard.finish_load(world.now, loader, 0, &mut actions);
    assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
    world
}

#[test]
fn a_new_id_gets_a_producer_id_and_epoch_zero() {
    let mut world = World::new();
    assert_eq!(world.init(None), Ok(producer(0, 0)));
    assert_eq!(world.written(), [Some((S::Empty, 0))]);
    assert_eq!(
        world.init(None),
        Ok(producer(0, 1)),
        "the one before is fenced"
    );
    assert_eq!(world.add(producer(0, 0), &[t(0)]), E::ProducerFenced);
}

#[test]
fn a_new_id_accepts_whatever_the_client_had() {
    let mut world = World::new();
    assert_eq!(world.init(Some(producer(77, 5))), Ok(producer(0, 0)));
}

#[test]
fn timeouts_have_bounds() {
    let mut world = World::new();
    for (timeout_ms, is_legal) in [(0, false), (-1, false), (1, true), (900_000, true)] {
        let id = world.send(Request::InitProducerId {
            transactional_id: ID.into(),
            timeout_ms,
            expected: None,
        });
        let result = world.init_reply(id);
        assert_eq!(result.is_ok(), is_legal, "{timeout_ms}");
        assert!(is_legal || result == Err(E::InvalidTransactionTimeout));
    }
    assert_eq!(world.describe().timeout_ms, 900_000, "the last one counts");
    let id = world.send(Request::InitProducerId {
        transactional_id: "other".into(),
        timeout_ms: 900_001,
        expected: None,
    });
    assert_eq!(world.init_reply(id), Err(E::InvalidTransactionTimeout));
}

#[test]
fn without_a_producer_id_the_error_is_the_answer() {
    let mut world = World::new();
    world.producer_ids_at_once = false;
    let init = world.send_init(ID, None);
    let request = world.awaiting_producer_id.remove(0);
    assert_eq!(request, init);
    let result = Err(E::CoordinatorLoadInProgress);
    world.event(Event::ProducerIdAllocated { request, result });
    assert_eq!(world.init_reply(init), Err(E::CoordinatorLoadInProgress));
    assert_eq!(world.shard.describe(ID), Err(E::TransactionalIdNotFound));
}

#[test]
fn two_first_requests_at_once_make_one_producer() {
    let mut world = World::new();
    world.producer_ids_at_once = false;
    world.acks = Acks::ByHand;
    let (first, second) = (world.send_init(ID, None), world.send_init(ID, None));
    for (request, producer_id) in [(second, 1), (first, 0)] {
        let result = Ok(ProducerId(producer_id));
        world.event(Event::ProducerIdAllocated { request, result });
    }
    assert_eq!(world.init_reply(first), Err(E::ConcurrentTransactions));
    world.ack();
    assert_eq!(world.init_reply(second), Ok(producer(1, 0)));
}

#[test]
fn an_answer_of_the_allocator_that_comes_too_late_does_no_harm() {
    let mut world = World::new();
    world.producer_ids_at_once = false;
    let init = world.send_init(ID, None);
    world.event(Event::Resigned(None));
    world.event(Event::ProducerIdAllocated {
        request: init,
        result: Ok(ProducerId(3)),
    });
    assert_eq!(world.init_reply(init), Err(E::NotCoordinator));
    world.event(Event::ProducerIdAllocated {
        request: init,
        result: Ok(ProducerId(4)),
    });
    assert!(world.log.is_empty());
}

#[test]
fn an_id_whose_first_record_was_refused_stays_without_an_epoch() {
    let mut world = World::new();
    world.acks = Acks::Refused(E::NotEnoughReplicas);
    assert_eq!(world.init(None), Err(E::CoordinatorNotAvailable));
    assert_eq!(world.describe().producer_epoch, ProducerEpoch::NONE);
    assert_eq!(world.add(producer(0, -1), &[t(0)]), E::UnknownServerError);
    world.acks = Acks::AtOnce;
    assert_eq!(
        world.init(None),
        Ok(producer(0, 0)),
        "with the same producer id"
    );
}

#[test]
fn a_client_that_tells_its_epoch_gets_the_next_one_once() {
    let mut world = World::new();
    let first = world.init(None).unwrap();
    let second = world.init(Some(first)).unwrap();
    assert_eq!(second, producer(0, 1));
    let written = world.log.len();
    assert_eq!(
        world.init(Some(first)),
        Ok(second),
        "the answer was lost: the same again"
    );
    assert_eq!(world.log.len(), written + 1, "a record is written again");
    assert_eq!(world.init(Some(second)), Ok(producer(0, 2)));
    assert_eq!(world.init(Some(first)), Err(E::ProducerFenced));
    assert_eq!(world.init(Some(producer(9, 2))), Err(E::ProducerFenced));
}

#[test]
fn another_producer_ends_the_right_to_come_again() {
    let mut world = World::new();
    let first = world.init(None).unwrap();
    world.init(Some(first)).unwrap();
    world.init(None).unwrap();
    assert_eq!(world.init(Some(first)), Err(E::ProducerFenced));
}

#[test]
fn the_epoch_before_is_forgotten_by_a_failover() {
    let mut world = World::new();
    let first = world.init(None).unwrap();
    let second = world.init(Some(first)).unwrap();
    world.load();
    assert_eq!(world.init(Some(first)), Err(E::ProducerFenced));
    assert_eq!(world.init(Some(second)), Ok(producer(0, 2)));
}

#[test]
fn an_exhausted_epoch_brings_a_new_producer_id() {
    let mut world = at_epoch(32765);
    assert_eq!(
        world.init(None),
        Ok(producer(500, 32766)),
        "the last epoch of a client"
    );
    assert_eq!(world.init(None), Ok(producer(0, 0)));
    assert_eq!(
        world.init(Some(producer(500, 32766))),
        Err(E::ProducerFenced)
    );
}

#[test]
fn a_client_may_come_again_over_the_change_of_producer_id() {
    let mut world = at_epoch(32766);
    let last = producer(500, 32766);
    assert_eq!(world.init(Some(last)), Ok(producer(0, 0)));
    assert_eq!(world.init(Some(last)), Ok(producer(0, 0)));
    assert_eq!(
        world.init(Some(producer(500, 32765))),
        Err(E::ProducerFenced)
    );
    assert_eq!(world.init(Some(producer(0, 0))), Ok(producer(0, 1)));
    assert_eq!(world.init(Some(last)), Err(E::ProducerFenced));
}

#[test]
fn an_old_epoch_when_none_is_left_is_an_unknown_error_as_in_kafka() {
    let mut world = at_epoch(32766);
    assert_eq!(
        world.init(Some(producer(500, 32765))),
        Err(E::UnknownServerError)
    );
}

#[test]
fn an_ongoing_transaction_is_aborted_and_the_client_comes_again() {
    let mut world = World::new();
    world.begin();
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    assert_eq!(world.init(None), Ok(producer(0, 2)));
    assert_eq!(
        world.written(),
        [
            Some((S::Empty, 0)),
            Some((S::Ongoing, 0)),
            Some((S::PrepareAbort, 1)),
            Some((S::CompleteAbort, 1)),
            Some((S::Empty, 2)),
        ]
    );
    let marker = (ProducerId(0), ProducerEpoch(1), world.epoch, ABORT);
    assert_eq!(world.partitions[&t(0)].markers, [marker]);
    assert_eq!(world.partitions[&t(1)].markers, [marker]);
    assert_eq!(world.partitions[&t(2)].markers, []);
    assert_eq!(world.shard.stats().fences, 1);
}

#[test]
fn a_fence_that_could_not_be_written_raises_the_epoch_once() {
    let mut world = World::new();
    let old = world.begin();
    world.acks = Acks::Refused(E::NotEnoughReplicas);
    for _ in 0..3 {
        assert_eq!(world.init(None), Err(E::CoordinatorNotAvailable));
        assert_eq!(world.describe().producer_epoch, ProducerEpoch(1));
        assert_eq!(world.state(), S::Ongoing);
    }
    assert_eq!(world.end(old, COMMIT), E::ProducerFenced);
    world.acks = Acks::AtOnce;
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    assert_eq!(world.written().last(), Some(&Some((S::CompleteAbort, 1))));
    assert_eq!(world.init(None), Ok(producer(0, 2)));
    assert_eq!(world.add(producer(0, 2), &[t(0)]), E::None);
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    assert_eq!(
        world.written().last(),
        Some(&Some((S::CompleteAbort, 3))),
        "raised again"
    );
}

#[test]
fn the_last_epoch_serves_for_fencing_only() {
    let mut world = at_epoch(32765);
    let last = world.init(None).unwrap();
    world.add(last, &[t(0)]);
    world.acks = Acks::Refused(E::NotEnoughReplicas);
    assert_eq!(world.init(None), Err(E::CoordinatorNotAvailable));
    world.acks = Acks::AtOnce;
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    assert_eq!(
        world.written().last(),
        Some(&Some((S::CompleteAbort, 32767)))
    );
    assert_eq!(world.init(None), Ok(producer(0, 0)));
}

#[test]
fn an_id_too_long_for_a_record_is_refused() {
    let mut world = World::new();
    let init = world.send_init(&"x".repeat(32768), None);
    assert_eq!(world.init_reply(init), Err(E::UnknownServerError));
    assert!(world.log.is_empty());
}
