//! EndTxn, markers, completion.

use ErrorCode as E;
use TransactionState as S;
use ottla_model::{BrokerId, ErrorCode, ProducerEpoch, ProducerId};

use super::harness::*;
use crate::*;

#[test]
fn the_client_is_answered_before_the_markers_are_written() {
    let mut world = World::new();
    let who = world.begin();
    world.acks = Acks::ByHand;
    world.markers_at_once = false;
    let end = world.send_end(who, COMMIT);
    assert!(
        world.reply(end).is_none(),
        "not before the decision is durable"
    );
    assert!(world.sent.is_empty());
    world.ack();
    assert_eq!(world.end_reply(end), E::None);
    assert_eq!(world.state(), S::PrepareCommit);

    // One request per broker, with what it leads.
    let destinations: Vec<_> = world
        .sent
        .iter()
        .map(|(_, broker, markers)| (*broker, markers[0].partitions.clone()))
        .collect();
    assert_eq!(
        destinations,
        [(BrokerId(1), [t(0)].into()), (BrokerId(2), [t(1)].into())]
    );

    assert_eq!(world.end(who, COMMIT), E::ConcurrentTransactions);
    assert_eq!(world.add(who, &[t(0)]), E::ConcurrentTransactions);
    assert_eq!(world.init(None), Err(E::ConcurrentTransactions));

    world.answer_markers();
    assert_eq!(
        world.describe().partitions,
        [t(1)].into(),
        "the rest is awaited"
    );
    assert!(world.unacknowledged.is_empty());
    world.answer_markers();
    assert_eq!(world.state(), S::PrepareCommit);
    world.ack();
    assert_eq!(world.state(), S::CompleteCommit);
    assert_eq!(
        world.end(who, COMMIT),
        E::None,
        "a repeated EndTxn is answered the same"
    );
    assert_eq!(world.shard.stats().commits, 1);
    let marker = (ProducerId(0), ProducerEpoch(0), world.epoch, COMMIT);
    assert_eq!(world.partitions[&t(0)].markers, [marker]);
    assert_eq!(world.partitions[&t(1)].markers, [marker]);
}

#[test]
fn the_completion_has_the_time_at_which_the_markers_were_begun() {
    let mut world = World::new();
    let who = world.begin();
    world.markers_at_once = false;
    world.end(who, ABORT);
    let decided = world.now.timestamp;
    world.advance(500);
    world.answer_markers();
    world.answer_markers();
    let last = world.values().pop().unwrap().unwrap();
    assert_eq!(
        (last.state, last.last_update_timestamp),
        (S::CompleteAbort, decided)
    );
    assert!(last.partitions.is_empty());
    assert_eq!(world.log.last().unwrap().timestamp, world.now.timestamp);
}

#[test]
fn a_transaction_without_partitions_needs_no_markers() {
    let mut world = World::new();
    let who = world.init(None).unwrap();
    assert_eq!(world.add(who, &[]), E::None);
    assert_eq!(world.end(who, COMMIT), E::None);
    assert_eq!(world.state(), S::CompleteCommit);
}

#[test]
fn markers_that_may_succeed_later_are_tried_until_they_do() {
    for error in [
        E::UnknownTopicOrPartition,
        E::NotLeaderOrFollower,
        E::NotEnoughReplicas,
        E::NotEnoughReplicasAfterAppend,
        E::RequestTimedOut,
        E::KafkaStorageError,
        E::UnknownServerError,
    ] {
        let mut world = World::new();
        let who = world.begin();
        world.partitions.get_mut(&t(1)).unwrap().refuses = Some(error);
        assert_eq!(world.end(who, COMMIT), E::None);
        world.advance(10_000);
        assert_eq!(world.state(), S::PrepareCommit, "{error}");
        assert_eq!(world.describe().partitions, [t(1)].into());
        world.partitions.get_mut(&t(1)).unwrap().refuses = None;
        world.advance(20);
        assert_eq!(world.state(), S::CompleteCommit, "{error}");
        assert_eq!(
            world.partitions[&t(0)].markers.len(),
            1,
            "what was written is not repeated"
        );
    }
}

#[test]
fn markers_follow_the_leader() {
    let mut world = World::new();
    let who = world.begin();
    world.markers_at_once = false;
    world.end(who, COMMIT);
    world.partitions.get_mut(&t(1)).unwrap().leader = Some(BrokerId(3));
    world.answer_markers();
    world.answer_markers();
    assert_eq!(world.state(), S::PrepareCommit);
    world.advance(20);
    assert_eq!(world.sent[0].1, BrokerId(3));
    world.answer_markers();
    assert_eq!(world.state(), S::CompleteCommit);
}

#[test]
fn markers_wait_for_a_leader() {
    let mut world = World::new();
    let who = world.begin();
    world.partitions.get_mut(&t(0)).unwrap().leader = None;
    world.end(who, COMMIT);
    world.advance(60_000);
    assert_eq!(world.sender.unknown_destinations(), 1);
    assert_eq!(world.state(), S::PrepareCommit);
    world.partitions.get_mut(&t(0)).unwrap().leader = Some(BrokerId(2));
    world.advance(20);
    assert_eq!(world.state(), S::CompleteCommit);
    assert_eq!(world.sender.unknown_destinations(), 0);
    assert_eq!(world.sender.next_deadline(), None);
}

#[test]
fn a_lost_connection_repeats_the_markers() {
    let mut world = World::new();
    let who = world.begin();
    world.markers_at_once = false;
    world.end(who, COMMIT);
    // Written, but the answer is lost.
    let (token, broker, markers) = world.sent.remove(0);
    world.write_markers(broker, &markers);
    world.sender_event(SenderEvent::Answered {
        token,
        answers: None,
    });
    world.markers_at_once = true;
    world.answer_markers();
    world.advance(20);
    assert_eq!(world.state(), S::CompleteCommit);
    assert_eq!(
        world.partitions[&t(0)].markers.len(),
        2,
        "twice, which does no harm"
    );
}

#[test]
fn deleted_partitions_need_no_markers() {
    let mut world = World::new();
    let who = world.begin();
    world.partitions.remove(&t(0));
    world.partitions.get_mut(&t(1)).unwrap().leader = None;
    world.end(who, COMMIT);
    assert_eq!(world.describe().partitions, [t(1)].into());
    world.partitions.remove(&t(1));
    world.advance(20);
    assert_eq!(world.state(), S::CompleteCommit);
}

#[test]
fn partitions_that_cannot_have_markers_need_none() {
    for error in [E::UnsupportedForMessageFormat, E::UnsupportedVersion] {
        let mut world = World::new();
        let who = world.begin();
        world.partitions.get_mut(&t(0)).unwrap().refuses = Some(error);
        world.end(who, COMMIT);
        assert_eq!(world.state(), S::CompleteCommit, "{error}");
    }
}

#[test]
fn a_fenced_coordinator_gives_up_until_it_loads_again() {
    for error in [E::InvalidProducerEpoch, E::TransactionCoordinatorFenced] {
        let mut world = World::new();
        let who = world.begin();
        world.partitions.get_mut(&t(0)).unwrap().refuses = Some(error);
        world.end(who, COMMIT);
        world.partitions.get_mut(&t(0)).unwrap().refuses = None;
        world.advance(60_000);
        assert_eq!(world.state(), S::PrepareCommit, "{error}");
        assert_eq!(world.describe().partitions, [t(0)].into());
        assert_eq!(world.init(None), Err(E::ConcurrentTransactions));
        world.load();
        assert_eq!(world.state(), S::CompleteCommit);
    }
}

#[test]
fn a_completion_that_was_not_replicated_is_written_again() {
    let mut world = World::new();
    let who = world.begin();
    world.acks = Acks::ByHand;
    let end = world.send_end(who, COMMIT);
    world.ack();
    assert_eq!(world.end_reply(end), E::None);
    for error in [E::NotEnoughReplicas, E::RequestTimedOut, E::CorruptMessage] {
        world.refuse(error);
        assert_eq!(world.shard.gauges().log_append_retries, 1);
        assert_eq!(world.add(who, &[t(0)]), E::ConcurrentTransactions);
        world.advance(100);
        assert_eq!(world.shard.gauges().log_append_retries, 0);
        assert_eq!(world.unacknowledged.len(), 1);
    }
    world.ack();
    assert_eq!(world.state(), S::CompleteCommit);
}

#[test]
fn records_wait_as_long_as_the_transaction_may_take() {
    let mut world = World::new();
    world.acks = Acks::ByHand;
    world.send_init(ID, None);
    let (append, timeout_ms) = &world.unacknowledged[0];
    assert_eq!(*timeout_ms, 60_000);
    assert_eq!(append.records.len(), 1);
    assert_eq!(append.producer_id, ProducerId::NONE);
    assert_eq!(append.base_sequence, -1);
    assert!(!append.transactional);
}
