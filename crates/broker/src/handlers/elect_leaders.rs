//! ElectLeaders (key 43, versions 0–2), on the active controller only
//! (`KafkaApis.handleElectLeaders`, `DelayedElectLeader`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use ottla_controller::event::ElectionType;
use ottla_controller::{Answer, ApiError, ApiRequest};
use ottla_model::{BrokerId, ErrorCode, TopicName, TopicPartition};

use super::wire;
use crate::broker::Broker;
use crate::metadata_cache::MetadataSnapshot;

/// Answers the request once the metadata cache shows the elected leaders, or time is up.
pub(crate) async fn handle(broker: &Broker, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = tokio::time::Instant::now() + timeout;
    let partitions = partitions(broker, &request);
    let election = match request.election_type {
        0 => ElectionType::Preferred,
        1 => ElectionType::Unclean,
        // No election that Kafka knows: its handler fails.
        _ => {
            let error = ApiError::of(ErrorCode::UnknownServerError);
            let results = partitions.into_iter().map(|p| (p, error.clone())).collect();
            return response(results).with_error_code(ErrorCode::UnknownServerError.code());
        }
    };
    let asked = ApiRequest::ElectLeaders {
        partitions: partitions.clone(),
        election,
    };
    let elections = match broker.controller.ask(asked).await {
        Answer::ElectLeaders(elections) => elections,
        // The controllership was lost in the middle.
        _ => {
            let refusal = || Err(ApiError::of(ErrorCode::NotController));
            partitions
                .into_iter()
                .map(|partition| (partition, refusal()))
                .collect()
        }
    };
    let mut results = wait_for_leaders(broker, deadline, elections).await;
    if request.topic_partitions.is_none() {
        // Of all partitions only those are told where there was something to do.
        results.retain(|_, result| result.error != ErrorCode::ElectionNotNeeded);
    }
    response(results)
}

fn partitions(broker: &Broker, request: &ElectLeadersRequest) -> BTreeSet<TopicPartition> {
    let Some(topics) = &request.topic_partitions else {
        let snapshot = broker.metadata_cache.snapshot();
        let topics = snapshot.topic_names();
        let of_topic = |name: TopicName| {
            let topic = snapshot.topic(name.as_str());
            let indexes = topic
                .into_iter()
                .flat_map(|topic| topic.partitions.keys().copied());
            indexes
                .map(|index| TopicPartition::new(name.clone(), index))
                .collect::<Vec<_>>()
        };
        return topics.into_iter().flat_map(of_topic).collect();
    };
    topics
        .iter()
        .flat_map(|topic| {
            let name = wire::topic_name(&topic.topic);
            topic
                .partitions
                .iter()
                .map(move |index| TopicPartition::new(name.clone(), *index))
        })
        .collect()
}

async fn wait_for_leaders(
    broker: &Broker,
    deadline: tokio::time::Instant,
    elections: BTreeMap<TopicPartition, Result<BrokerId, ApiError>>,
) -> BTreeMap<TopicPartition, ApiError> {
    let is_led = |snapshot: &MetadataSnapshot, partition: &TopicPartition, leader: BrokerId| {
        snapshot
            .partition(partition)
            .is_some_and(|known| known.state.leader == leader)
    };
    let all_led = |snapshot: &MetadataSnapshot| {
        let mut elected = elections
            .iter()
            .filter_map(|(p, leader)| Some((p, leader.as_ref().ok()?)));
        elected.all(|(partition, leader)| is_led(snapshot, partition, *leader))
    };
    broker.metadata_cache.wait_until(deadline, all_led).await;
    let snapshot = broker.metadata_cache.snapshot();
    let result = |partition: &TopicPartition, election| match election {
        Ok(leader) if is_led(&snapshot, partition, leader) => ApiError::NONE,
        Ok(_) => ApiError::of(ErrorCode::RequestTimedOut),
        Err(error) => error,
    };
    elections
        .into_iter()
        .map(|(partition, election)| {
            let result = result(&partition, election);
            (partition, result)
        })
        .collect()
}

fn response(results: BTreeMap<TopicPartition, ApiError>) -> ElectLeadersResponse {
    let mut topics: BTreeMap<TopicName, Vec<PartitionResult>> = BTreeMap::new();
    for (partition, error) in results {
        let result = PartitionResult::default()
            .with_partition_id(partition.partition)
            .with_error_code(error.error.code())
            .with_error_message(error.message.as_deref().map(wire::text));
        topics.entry(partition.topic).or_default().push(result);
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default()
            .with_topic(wire::name(&topic))
            .with_partition_result(partitions)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}
