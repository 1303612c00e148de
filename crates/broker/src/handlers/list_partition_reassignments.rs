//! ListPartitionReassignments (key 46, version 0), on the active controller only.

use std::collections::BTreeMap;

use kafka_protocol::messages;
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use ottla_controller::{Answer, ApiError, ApiRequest};
use ottla_model::{BrokerId, ErrorCode, TopicName, TopicPartition};

use super::wire;
use crate::broker::Broker;

/// Lists running moves of replicas.
pub(crate) async fn handle(
    broker: &Broker,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let partitions = request.topics.as_ref().map(|topics| {
        let of_topic = |topic: &messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics| {
            let name = wire::topic_name(&topic.name);
            let indexes = topic.partition_indexes.clone();
            indexes.into_iter().map(move |index| TopicPartition::new(name.clone(), index))
        };
        topics.iter().flat_map(of_topic).collect()
    });
    let asked = ApiRequest::ListPartitionReassignments(partitions);
    let moving = match broker.controller.ask(asked).await {
        Answer::ListPartitionReassignments(Ok(moving)) => moving,
        Answer::ListPartitionReassignments(Err(error)) => return refusal(&error),
        // The controllership was lost in the middle.
        _ => return refusal(&ApiError::of(ErrorCode::NotController)),
    };
    let mut topics: BTreeMap<TopicName, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for (partition, assignment) in moving {
        let result = OngoingPartitionReassignment::default()
            .with_partition_index(partition.partition)
            .with_replicas(broker_ids(&assignment.replicas))
            .with_adding_replicas(broker_ids(&assignment.adding))
            .with_removing_replicas(broker_ids(&assignment.removing));
        topics.entry(partition.topic).or_default().push(result);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OngoingTopicReassignment::default()
            .with_name(wire::name(&topic))
            .with_partitions(partitions)
    });
    ListPartitionReassignmentsResponse::default().with_topics(topics.collect())
}

fn refusal(error: &ApiError) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
        .with_error_code(error.error.code())
        .with_error_message(error.message.as_deref().map(wire::text))
}

fn broker_ids(ids: &[BrokerId]) -> Vec<messages::BrokerId> {
    ids.iter().copied().map(wire::broker_id).collect()
}
