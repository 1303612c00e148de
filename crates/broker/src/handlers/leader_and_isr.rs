//! LeaderAndIsr (key 4, versions 0–7): a controller makes this broker leader or follower.

use std::collections::BTreeMap;

use kafka_protocol::messages::leader_and_isr_request::{
    LeaderAndIsrPartitionState, LeaderAndIsrRequest as Request,
};
use kafka_protocol::messages::leader_and_isr_response::{
    LeaderAndIsrPartitionError, LeaderAndIsrResponse as Response, LeaderAndIsrTopicError,
};
use ottla_model::control::{
    ControlHeader, LeaderAndIsrPartition, LeaderAndIsrRequest, LeaderAndIsrResponse,
};
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, PartitionEpoch, ReplicaAssignment, SecurityProtocol, TopicId,
    TopicName, TopicPartition,
};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;

/// From this version on, topics are answered by id.
const FIRST_WITH_TOPIC_IDS: i16 = 5;

/// Carries the command out and answers it.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: Request,
) -> Response {
    let request = decode(request);
    let topic_ids = request.topic_ids.iter().cloned().collect();
    let answer = broker
        .replica_manager
        .become_leader_or_follower(request)
        .await;
    encode(context.header.api_version, &topic_ids, answer)
}

/// The request as the broker understands it, whatever its version grouped how.
fn decode(request: Request) -> LeaderAndIsrRequest {
    let mut partitions: Vec<_> = request
        .ungrouped_partition_states
        .iter()
        .map(|state| partition(wire::topic_name(&state.topic_name), state))
        .collect();
    let mut topic_ids = Vec::with_capacity(request.topic_states.len());
    for topic in &request.topic_states {
        let name = wire::topic_name(&topic.topic_name);
        partitions.extend(
            topic
                .partition_states
                .iter()
                .map(|s| partition(name.clone(), s)),
        );
        topic_ids.push((name, wire::topic_id(topic.topic_id)));
    }
    LeaderAndIsrRequest {
        header: ControlHeader {
            controller_id: BrokerId(request.controller_id.0),
            controller_epoch: ControllerEpoch(request.controller_epoch),
            broker_epoch: BrokerEpoch(request.broker_epoch),
        },
        partitions,
        topic_ids,
        live_leaders: request
            .live_leaders
            .iter()
            .map(|leader| LiveBroker {
                id: BrokerId(leader.broker_id.0),
                epoch: BrokerEpoch::NONE,
                // The wire names neither listener nor protocol: it is the inter-broker one.
                endpoints: vec![Endpoint {
                    listener: String::new(),
                    host: leader.host_name.to_string(),
                    port: leader.port,
                    protocol: SecurityProtocol::Plaintext,
                }],
                rack: None,
            })
            .collect(),
    }
}

fn partition(topic: TopicName, state: &LeaderAndIsrPartitionState) -> LeaderAndIsrPartition {
    let ids = |list: &[kafka_protocol::messages::BrokerId]| -> Vec<BrokerId> {
        list.iter().map(|id| BrokerId(id.0)).collect()
    };
    LeaderAndIsrPartition {
        topic_partition: TopicPartition {
            topic,
            partition: state.partition_index,
        },
        state: LeaderAndIsr {
            leader: BrokerId(state.leader.0),
            leader_epoch: LeaderEpoch(state.leader_epoch),
            isr: ids(&state.isr),
            // A state that we do not know is one that we cannot act on; Kafka's leader treats
            // each as recovered anyway.
            recovery: LeaderRecoveryState::from_code(state.leader_recovery_state)
                .unwrap_or_default(),
            partition_epoch: PartitionEpoch(state.partition_epoch),
            controller_epoch: ControllerEpoch(state.controller_epoch),
        },
        assignment: ReplicaAssignment {
            replicas: ids(&state.replicas),
            adding: ids(&state.adding_replicas),
            removing: ids(&state.removing_replicas),
        },
        is_new: state.is_new,
    }
}

fn encode(
    version: i16,
    topic_ids: &BTreeMap<TopicName, TopicId>,
    answer: LeaderAndIsrResponse,
) -> Response {
    let mut response = Response::default().with_error_code(answer.error.code());
    if version < FIRST_WITH_TOPIC_IDS {
        response.partition_errors = answer
            .partitions
            .iter()
            .map(|(tp, error)| {
                LeaderAndIsrPartitionError::default()
                    .with_topic_name(wire::name(&tp.topic))
                    .with_partition_index(tp.partition)
                    .with_error_code(error.code())
            })
            .collect();
        return response;
    }
    let mut topics: BTreeMap<TopicId, Vec<LeaderAndIsrPartitionError>> = BTreeMap::new();
    for (tp, error) in &answer.partitions {
        let id = topic_ids.get(&tp.topic).copied().unwrap_or(TopicId::ZERO);
        topics.entry(id).or_default().push(
            LeaderAndIsrPartitionError::default()
                .with_partition_index(tp.partition)
                .with_error_code(error.code()),
        );
    }
    response.topics = topics
        .into_iter()
        .map(|(id, partition_errors)| {
            LeaderAndIsrTopicError::default()
                .with_topic_id(wire::uuid(id))
                .with_partition_errors(partition_errors)
        })
        .collect();
    response
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::leader_and_isr_request::LeaderAndIsrTopicState;
    use kafka_protocol::protocol::Encodable;
    use ottla_model::ErrorCode;

    use super::*;

    fn state(topic: &str, index: i32) -> LeaderAndIsrPartitionState {
        LeaderAndIsrPartitionState::default()
            .with_topic_name(wire::name(&topic.into()))
            .with_partition_index(index)
            .with_leader(1.into())
            .with_leader_epoch(4)
            .with_isr(vec![1.into(), 2.into()])
            .with_partition_epoch(9)
            .with_replicas(vec![1.into(), 2.into()])
            .with_is_new(true)
    }

    #[test]
    fn partitions_are_read_grouped_and_ungrouped() {
        let old = Request::default().with_ungrouped_partition_states(vec![state("t", 3)]);
        let new = Request::default().with_topic_states(vec![
            LeaderAndIsrTopicState::default()
                .with_topic_name(wire::name(&"t".into()))
                .with_partition_states(vec![state("", 3)]),
        ]);
        assert_eq!(decode(old).partitions, decode(new.clone()).partitions);
        assert_eq!(
            decode(new).partitions[0].topic_partition,
            TopicPartition::new("t", 3)
        );
    }

    #[test]
    fn answers_are_by_name_before_version_5_and_by_id_from_then_on() {
        let answer = LeaderAndIsrResponse {
            error: ErrorCode::None,
            partitions: vec![(TopicPartition::new("t", 0), ErrorCode::StaleControllerEpoch)],
        };
        let ids = BTreeMap::from([(TopicName::from("t"), TopicId([7; 16]))]);
        for version in 0..=7 {
            let response = encode(version, &ids, answer.clone());
            let by_id = version >= 5;
            assert_eq!(response.topics.len(), usize::from(by_id));
            assert_eq!(response.partition_errors.len(), usize::from(!by_id));
            response
                .encode(&mut bytes::BytesMut::new(), version)
                .unwrap();
        }
    }
}
