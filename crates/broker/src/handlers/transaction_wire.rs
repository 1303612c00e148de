//! Small conversions that the transaction APIs share.

use std::collections::BTreeSet;

use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use ottla_transaction_coordinator::ExpectedProducer;

/// From this version on AddPartitionsToTxn, AddOffsetsToTxn and EndTxn have PRODUCER_FENCED.
pub(crate) const FIRST_WITH_FENCED: i16 = 2;

/// A producer as a request names it.
pub(crate) fn producer(
    id: kafka_protocol::messages::ProducerId,
    producer_epoch: i16,
) -> ExpectedProducer {
    ExpectedProducer {
        producer_id: ProducerId(id.0),
        producer_epoch: ProducerEpoch(producer_epoch),
    }
}

/// What clients are told that do not know PRODUCER_FENCED.
pub(crate) fn fenced_for(version: i16, first_with_fenced: i16, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if version < first_with_fenced => ErrorCode::InvalidProducerEpoch,
        error => error,
    }
}

/// Partitions by topic.
pub(crate) fn by_topic(
    partitions: &BTreeSet<TopicPartition>,
) -> impl Iterator<Item = (TopicName, Vec<i32>)> {
    let mut topics: Vec<(TopicName, Vec<i32>)> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.last_mut() {
            Some((last, indexes)) if last == topic => indexes.push(*partition),
            _ => topics.push((topic.clone(), vec![*partition])),
        }
    }
    topics.into_iter()
}
