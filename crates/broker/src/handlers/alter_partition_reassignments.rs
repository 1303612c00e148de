//! AlterPartitionReassignments (key 45, version 0), on the active controller only.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use ottla_controller::{Answer, ApiError, ApiRequest};
use ottla_model::{BrokerId, ErrorCode, TopicName, TopicPartition};

use super::wire;
use crate::broker::Broker;

/// Starts, replaces or cancels moves of replicas; does not wait for their end.
pub(crate) async fn handle(
    broker: &Broker,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut targets = BTreeMap::new();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for partition in &topic.partitions {
            // Null cancels a running move.
            let replicas = partition.replicas.as_ref();
            let target = replicas.map(|ids| ids.iter().map(|id| BrokerId(id.0)).collect());
            let partition = TopicPartition::new(name.clone(), partition.partition_index);
            targets.insert(partition, target);
        }
    }
    let asked = ApiRequest::AlterPartitionReassignments(targets);
    let results = match broker.controller.ask(asked).await {
        Answer::AlterPartitionReassignments(Ok(results)) => results,
        Answer::AlterPartitionReassignments(Err(error)) => return refusal(&error),
        // The controllership was lost in the middle.
        _ => return refusal(&ApiError::of(ErrorCode::NotController)),
    };
    let mut topics: BTreeMap<TopicName, Vec<ReassignablePartitionResponse>> = BTreeMap::new();
    for (partition, error) in results {
        let result = ReassignablePartitionResponse::default()
            .with_partition_index(partition.partition)
            .with_error_code(error.error.code())
            .with_error_message(error.message.as_deref().map(wire::text));
        topics.entry(partition.topic).or_default().push(result);
    }
    let responses = topics.into_iter().map(|(topic, partitions)| {
        ReassignableTopicResponse::default()
            .with_name(wire::name(&topic))
            .with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default().with_responses(responses.collect())
}

fn refusal(error: &ApiError) -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse::default()
        .with_error_code(error.error.code())
        .with_error_message(error.message.as_deref().map(wire::text))
}
