//! OffsetDelete (key 47, version 0).

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use ottla_model::{ErrorCode, TopicName, TopicPartition};

use super::group_wire::shared;
use super::wire;
use crate::broker::Broker;

/// Removes committed offsets of partitions that exist.
pub(crate) async fn handle(broker: &Broker, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let snapshot = broker.metadata_cache.snapshot();
    let asked = request.topics.iter().flat_map(|topic| {
        let name = wire::topic_name(&topic.name);
        topic
            .partitions
            .iter()
            .map(move |partition| TopicPartition {
                topic: name.clone(),
                partition: partition.partition_index,
            })
    });
    let (known, unknown): (Vec<_>, Vec<_>) = asked.partition(|p| snapshot.contains(p));
    // Asked even about nothing, for the group may be refused.
    match broker
        .group_coordinator
        .delete_offsets(shared(&request.group_id), known)
        .await
    {
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        Ok(mut answers) => {
            let error = ErrorCode::UnknownTopicOrPartition;
            answers.extend(unknown.into_iter().map(|partition| (partition, error)));
            OffsetDeleteResponse::default().with_topics(encode(answers))
        }
    }
}

fn encode(answers: Vec<(TopicPartition, ErrorCode)>) -> Vec<OffsetDeleteResponseTopic> {
    let mut topics: BTreeMap<TopicName, Vec<OffsetDeleteResponsePartition>> = BTreeMap::new();
    for (partition, error) in answers {
        topics.entry(partition.topic).or_default().push(
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition)
                .with_error_code(error.code()),
        );
    }
    topics
        .into_iter()
        .map(|(name, partitions)| {
            OffsetDeleteResponseTopic::default()
                .with_name(wire::name(&name))
                .with_partitions(partitions)
        })
        .collect()
}
