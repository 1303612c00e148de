//! AlterPartition (key 56, versions 0–3), from leaders to the active controller.

use kafka_protocol::messages;
use kafka_protocol::messages::alter_partition_request::PartitionData;
use kafka_protocol::messages::alter_partition_response;
use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use ottla_controller::event::{AlterPartition, AlterPartitionResult, TopicReference};
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, LeaderRecoveryState, PartitionEpoch,
};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;

/// Topics are named by id.
const FIRST_WITH_TOPIC_IDS: i16 = 2;
/// Members of the ISR come with their epochs.
const FIRST_WITH_BROKER_EPOCHS: i16 = 3;

/// Passes the leader's wishes on.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    let version = context.header.api_version;
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let reference = if version >= FIRST_WITH_TOPIC_IDS {
            TopicReference::Id(wire::topic_id(topic.topic_id))
        } else {
            TopicReference::Name(wire::topic_name(&topic.topic_name))
        };
        for partition in &topic.partitions {
            match decode(version, reference.clone(), partition) {
                Some(wish) => partitions.push(wish),
                // A recovery state that Kafka does not know: its handler fails.
                None => return failed(ErrorCode::UnknownServerError),
            }
        }
    }
    let asked = ApiRequest::AlterPartition {
        broker: BrokerId(request.broker_id.0),
        broker_epoch: BrokerEpoch(request.broker_epoch),
        knows_ineligible_replica: version >= FIRST_WITH_TOPIC_IDS,
        partitions,
    };
    match broker.controller.ask(asked).await {
        Answer::AlterPartition(Ok(results)) => respond(results),
        Answer::AlterPartition(Err(error)) => failed(error),
        // Kafka leaves a pre-empted request without an answer; this one makes the leader look for
        // the new controller at once.
        _ => failed(ErrorCode::NotController),
    }
}

fn decode(
    version: i16,
    topic: TopicReference,
    partition: &PartitionData,
) -> Option<AlterPartition> {
    let new_isr = if version >= FIRST_WITH_BROKER_EPOCHS {
        partition
            .new_isr_with_epochs
            .iter()
            .map(|member| BrokerId(member.broker_id.0))
            .collect()
    } else {
        partition.new_isr.iter().map(|id| BrokerId(id.0)).collect()
    };
    Some(AlterPartition {
        topic,
        partition: partition.partition_index,
        leader_epoch: LeaderEpoch(partition.leader_epoch),
        new_isr,
        recovery: LeaderRecoveryState::from_code(partition.leader_recovery_state)?,
        partition_epoch: PartitionEpoch(partition.partition_epoch),
    })
}

fn failed(error: ErrorCode) -> AlterPartitionResponse {
    AlterPartitionResponse::default().with_error_code(error.code())
}

fn respond(results: Vec<AlterPartitionResult>) -> AlterPartitionResponse {
    let mut topics: Vec<(TopicReference, alter_partition_response::TopicData)> = Vec::new();
    for result in results {
        let index = topics.iter().position(|(topic, _)| *topic == result.topic);
        let index = index.unwrap_or_else(|| {
            topics.push((result.topic.clone(), topic_data(&result.topic)));
            topics.len() - 1
        });
        topics[index].1.partitions.push(partition_data(&result));
    }
    let topics = topics.into_iter().map(|(_, data)| data).collect();
    AlterPartitionResponse::default().with_topics(topics)
}

fn topic_data(topic: &TopicReference) -> alter_partition_response::TopicData {
    let data = alter_partition_response::TopicData::default();
    match topic {
        TopicReference::Name(name) => data.with_topic_name(wire::name(name)),
        TopicReference::Id(id) => data.with_topic_id(wire::uuid(*id)),
    }
}

fn partition_data(result: &AlterPartitionResult) -> alter_partition_response::PartitionData {
    let data =
        alter_partition_response::PartitionData::default().with_partition_index(result.partition);
    match &result.result {
        Err(error) => data.with_error_code(error.code()),
        Ok(state) => {
            let isr: Vec<messages::BrokerId> =
                state.isr.iter().copied().map(wire::broker_id).collect();
            data.with_leader_id(wire::broker_id(state.leader))
                .with_leader_epoch(state.leader_epoch.0)
                .with_isr(isr)
                .with_leader_recovery_state(state.recovery.code())
                .with_partition_epoch(state.partition_epoch.0)
        }
    }
}
