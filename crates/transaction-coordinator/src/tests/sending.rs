//! The marker sender by itself.

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{
    BrokerId, ErrorCode, Instant, LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition,
};

use super::harness::t;
use crate::*;

const LEADER: MarkerDestination = MarkerDestination::Leader(BrokerId(1));

fn markers(producer_id: i64, partitions: &[TopicPartition]) -> TransactionMarkers {
    TransactionMarkers {
        key: MarkerKey {
            transactional_id: format!("tx{producer_id}").into(),
            coordinator_epoch: LeaderEpoch(1),
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(0),
        },
        outcome: TransactionOutcome::Commit,
        partitions: partitions.iter().cloned().collect(),
    }
}

fn give(sender: &mut MarkerSender, event: SenderEvent) -> Vec<SenderAction> {
    let mut actions = Vec::new();
    sender.handle(Instant::ZERO, event, |_| LEADER, &mut actions);
    actions
}

fn send(sender: &mut MarkerSender, shard: i32, producer_id: i64) -> Vec<SenderAction> {
    let markers = markers(producer_id, &[t(0)]);
    give(
        sender,
        SenderEvent::Send {
            transaction_partition: shard,
            markers,
        },
    )
}

fn sent(actions: &[SenderAction]) -> Vec<(u64, Vec<i64>)> {
    let requests = actions.iter().filter_map(|action| match action {
        SenderAction::Send { token, markers, .. } => {
            let producers = markers
                .iter()
                .map(|markers| markers.key.producer_id.0)
                .collect();
            Some((token.0, producers))
        }
        SenderAction::Tell { .. } => None,
    });
    requests.collect()
}

fn answer(sender: &mut MarkerSender, token: u64, error: ErrorCode) -> Vec<SenderAction> {
    let answers = (0..10)
        .map(|producer| ((ProducerId(producer), t(0)), error))
        .collect();
    let token = SendToken(token);
    give(
        sender,
        SenderEvent::Answered {
            token,
            answers: Some(answers),
        },
    )
}

#[test]
fn what_comes_while_a_request_is_under_way_goes_out_together() {
    let mut sender = MarkerSender::new();
    assert_eq!(sent(&send(&mut sender, 0, 1)), [(0, vec![1])]);
    assert_eq!(sent(&send(&mut sender, 0, 2)), []);
    assert_eq!(sent(&send(&mut sender, 5, 3)), []);
    let actions = answer(&mut sender, 0, ErrorCode::None);
    assert_eq!(sent(&actions), [(1, vec![2, 3])]);
    let told = |shard| {
        let event = Event::MarkersWritten {
            key: markers(1, &[]).key,
            partitions: [t(0)].into(),
        };
        SenderAction::Tell {
            transaction_partition: shard,
            event,
        }
    };
    assert!(actions.contains(&told(0)));
}

#[test]
fn cancelling_takes_out_one_shards_markers() {
    let mut sender = MarkerSender::new();
    send(&mut sender, 0, 1);
    send(&mut sender, 0, 2);
    send(&mut sender, 5, 3);
    give(
        &mut sender,
        SenderEvent::Cancel {
            transaction_partition: 0,
        },
    );
    let actions = answer(&mut sender, 0, ErrorCode::NotEnoughReplicas);
    assert_eq!(
        actions.len(),
        1,
        "nobody is told of what is not wanted any more"
    );
    assert_eq!(sent(&actions), [(1, vec![3])]);
    assert_eq!(sender.next_deadline(), None);
}

#[test]
fn an_answer_is_taken_once() {
    let mut sender = MarkerSender::new();
    send(&mut sender, 0, 1);
    assert_eq!(answer(&mut sender, 0, ErrorCode::None).len(), 1);
    assert_eq!(answer(&mut sender, 0, ErrorCode::None), []);
    assert_eq!(answer(&mut sender, 9, ErrorCode::None), []);
}

#[test]
fn a_partition_without_an_answer_is_tried_again() {
    let mut sender = MarkerSender::new();
    send(&mut sender, 0, 1);
    let answers = Some(Answers::new());
    let token = SendToken(0);
    assert_eq!(
        give(&mut sender, SenderEvent::Answered { token, answers }),
        []
    );
    let at = sender.next_deadline().expect("it is tried again");
    let mut actions = Vec::new();
    sender.handle(at, SenderEvent::DeadlinesDue, |_| LEADER, &mut actions);
    assert_eq!(sent(&actions), [(1, vec![1])]);
}
