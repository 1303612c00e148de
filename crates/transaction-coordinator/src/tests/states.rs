//! Which request is answered what in which state.

use ErrorCode as E;
use TransactionState as S;
use ottla_model::ErrorCode;

use super::harness::*;
use crate::*;

#[test]
fn end_transaction_by_state() {
    for (state, commit, abort) in [
        (S::Empty, E::InvalidTxnState, E::InvalidTxnState),
        (S::Ongoing, E::None, E::None),
        (
            S::PrepareCommit,
            E::ConcurrentTransactions,
            E::InvalidTxnState,
        ),
        (
            S::PrepareAbort,
            E::InvalidTxnState,
            E::ConcurrentTransactions,
        ),
        (S::CompleteCommit, E::None, E::InvalidTxnState),
        (S::CompleteAbort, E::InvalidTxnState, E::None),
    ] {
        for (outcome, expected) in [(COMMIT, commit), (ABORT, abort)] {
            let (mut world, producer) = World::in_state(state);
            let written = world.log.len();
            assert_eq!(
                world.end(producer, outcome),
                expected,
                "{state} {outcome:?}"
            );
            let decides = state == S::Ongoing;
            assert_eq!(
                world.log.len() - written,
                if decides { 2 } else { 0 },
                "{state}"
            );
        }
    }
}

#[test]
fn add_partitions_by_state() {
    for (state, expected, records) in [
        (S::Empty, E::None, 1),
        (S::Ongoing, E::None, 1),
        (S::PrepareCommit, E::ConcurrentTransactions, 0),
        (S::PrepareAbort, E::ConcurrentTransactions, 0),
        (S::CompleteCommit, E::None, 1),
        (S::CompleteAbort, E::None, 1),
    ] {
        let (mut world, producer) = World::in_state(state);
        let written = world.log.len();
        assert_eq!(world.add(producer, &[t(2)]), expected, "{state}");
        assert_eq!(world.log.len() - written, records, "{state}");
    }
}

#[test]
fn init_producer_id_by_state() {
    for (state, expected) in [
        (S::Empty, Ok(producer(0, 1))),
        (S::Ongoing, Err(E::ConcurrentTransactions)),
        (S::PrepareCommit, Err(E::ConcurrentTransactions)),
        (S::PrepareAbort, Err(E::ConcurrentTransactions)),
        (S::CompleteCommit, Ok(producer(0, 1))),
        (S::CompleteAbort, Ok(producer(0, 1))),
    ] {
        let (mut world, _) = World::in_state(state);
        assert_eq!(world.init(None), expected, "{state}");
    }
}

#[test]
fn verification_by_state() {
    // In Empty and CompleteX nothing is in the transaction.
    for (state, first) in [
        (S::Empty, E::TransactionAbortable),
        (S::Ongoing, E::None),
        (S::PrepareCommit, E::ConcurrentTransactions),
        (S::PrepareAbort, E::ConcurrentTransactions),
        (S::CompleteCommit, E::TransactionAbortable),
        (S::CompleteAbort, E::TransactionAbortable),
    ] {
        let (world, producer) = World::in_state(state);
        let second = if state.is_prepared() {
            first
        } else {
            E::TransactionAbortable
        };
        assert_eq!(
            world.verify(producer, &[t(0), t(3)]),
            [first, second],
            "{state}"
        );
    }
}

#[test]
fn the_wrong_producer_is_refused_in_every_state() {
    for state in [
        S::Empty,
        S::Ongoing,
        S::PrepareCommit,
        S::PrepareAbort,
        S::CompleteCommit,
        S::CompleteAbort,
    ] {
        for (who, expected) in [
            (producer(9, 0), E::InvalidProducerIdMapping),
            (producer(0, 1), E::ProducerFenced),
            (producer(0, -1), E::ProducerFenced),
        ] {
            let (mut world, _) = World::in_state(state);
            assert_eq!(world.add(who, &[t(0)]), expected, "{state}");
            assert_eq!(world.end(who, COMMIT), expected, "{state}");
            assert_eq!(world.verify(who, &[t(0)]), [expected], "{state}");
        }
    }
}

#[test]
fn requests_without_a_known_id_are_refused() {
    let mut world = World::new();
    let who = producer(0, 0);
    assert_eq!(world.add(who, &[t(0)]), E::InvalidProducerIdMapping);
    assert_eq!(world.end(who, COMMIT), E::InvalidProducerIdMapping);
    assert_eq!(world.verify(who, &[t(0)]), [E::InvalidProducerIdMapping]);
    assert_eq!(world.shard.describe(ID), Err(E::TransactionalIdNotFound));

    let empty = || std::sync::Arc::from("");
    let (producer_id, producer_epoch) = (who.producer_id, who.producer_epoch);
    let init = world.send_init("", None);
    assert_eq!(world.init_reply(init), Err(E::InvalidRequest));
    let add = world.send(Request::AddPartitions {
        transactional_id: empty(),
        producer_id,
        producer_epoch,
        partitions: [t(0)].into(),
    });
    assert_eq!(world.add_reply(add), E::InvalidRequest);
    let end = world.send(Request::EndTransaction {
        transactional_id: empty(),
        producer_id,
        producer_epoch,
        outcome: COMMIT,
    });
    assert_eq!(world.end_reply(end), E::InvalidRequest);
    assert_eq!(world.shard.describe(""), Err(E::InvalidRequest));
    let verified = world.shard.verify_partitions("", who, &[t(0)].into());
    assert_eq!(verified, [(t(0), E::InvalidRequest)]);
}

#[test]
fn a_second_request_while_one_is_being_written_has_to_wait() {
    let (mut world, who) = World::in_state(S::Ongoing);
    world.acks = Acks::ByHand;
    let first = world.send_add(who, &[t(2)]);
    assert_eq!(world.add(who, &[t(3)]), E::ConcurrentTransactions);
    assert_eq!(world.add(who, &[t(0)]), E::ConcurrentTransactions);
    assert_eq!(world.end(who, COMMIT), E::ConcurrentTransactions);
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
    // What is not durable is not in the transaction; what is can be verified.
    assert_eq!(
        world.verify(who, &[t(0), t(2)]),
        [E::None, E::TransactionAbortable]
    );
    world.ack();
    assert_eq!(world.add_reply(first), E::None);
    assert_eq!(world.verify(who, &[t(0), t(2)]), [E::None, E::None]);
}

#[test]
fn a_refused_record_changes_nothing() {
    for (append, answer) in [
        (E::NotEnoughReplicas, E::CoordinatorNotAvailable),
        (E::RequestTimedOut, E::CoordinatorNotAvailable),
        (E::NotLeaderOrFollower, E::NotCoordinator),
        (E::MessageTooLarge, E::UnknownServerError),
    ] {
        let (mut world, who) = World::in_state(S::Ongoing);
        let before = world.describe();
        world.acks = Acks::Refused(append);
        assert_eq!(world.add(who, &[t(2)]), answer);
        assert_eq!(world.end(who, COMMIT), answer);
        assert_eq!(world.describe(), before);
        world.acks = Acks::AtOnce;
        assert_eq!(world.end(who, COMMIT), E::None);
        assert_eq!(world.state(), S::CompleteCommit);
    }
}

#[test]
fn partitions_that_are_in_already_are_not_written_again() {
    let (mut world, who) = World::in_state(S::Ongoing);
    let written = world.log.len();
    assert_eq!(world.add(who, &[t(1), t(0)]), E::None);
    assert_eq!(world.log.len(), written);
    assert_eq!(world.add(who, &[t(1), t(2)]), E::None);
    assert_eq!(world.log.len(), written + 1);
}

#[test]
fn a_transaction_starts_when_its_first_partition_is_added() {
    let mut world = World::new();
    let who = world.init(None).unwrap();
    assert_eq!(world.describe().start_timestamp.0, -1);
    world.advance(100);
    world.add(who, &[t(0)]);
    let start = world.now.timestamp;
    world.advance(100);
    world.add(who, &[t(1)]);
    assert_eq!(world.describe().start_timestamp, start);
    world.end(who, COMMIT);
    assert_eq!(
        world.describe().start_timestamp,
        start,
        "kept when it is complete"
    );
    world.advance(100);
    world.add(who, &[t(0)]);
    assert_eq!(world.describe().start_timestamp, world.now.timestamp);
}
