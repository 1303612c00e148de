//! DescribeProducers (key 61, version 0): who writes to a partition (KIP-664).

use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_model::{ErrorCode, TopicName, TopicPartition, topic_names};

use super::wire;
use crate::broker::Broker;

/// Answers the request from this broker's replicas.
pub(crate) fn handle(
    broker: &Broker,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let snapshot = broker.metadata_cache.snapshot();
    let topics = request.topics.iter().map(|topic| {
        let name = wire::topic_name(&topic.name);
        let refused = match topic_names::validate(name.as_str()) {
            Err(error) => {
                let message = StrBytes::from_string(error.to_string());
                Some((ErrorCode::InvalidTopicException, Some(message)))
            }
            Ok(()) if snapshot.topic(name.as_str()).is_none() => Some((
                ErrorCode::UnknownTopicOrPartition,
                wire::message(ErrorCode::UnknownTopicOrPartition),
            )),
            Ok(()) => None,
        };
        let partitions = topic.partition_indexes.iter().map(|&index| match &refused {
            Some((error, message)) => PartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(error.code())
                .with_error_message(message.clone()),
            None => answer(broker, &name, index),
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn answer(broker: &Broker, topic: &TopicName, index: i32) -> PartitionResponse {
    let tp = TopicPartition {
        topic: topic.clone(),
        partition: index,
    };
    let mut response = PartitionResponse::default()
        .with_partition_index(index)
        .with_error_message(None);
    match broker.replica_manager.active_producers(&tp) {
        Ok(producers) => {
            response.active_producers = producers
                .into_iter()
                .map(|producer| {
                    ProducerState::default()
                        .with_producer_id(producer.producer_id.0.into())
                        .with_producer_epoch(i32::from(producer.producer_epoch.0))
                        .with_last_sequence(producer.last_sequence)
                        .with_last_timestamp(producer.last_timestamp.0)
                        .with_coordinator_epoch(producer.coordinator_epoch)
                        .with_current_txn_start_offset(producer.current_transaction_start_offset)
                })
                .collect();
        }
        Err(error) => response.error_code = error.code(),
    }
    response
}
