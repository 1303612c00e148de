//! LeaderAndIsr, UpdateMetadata and StopReplica on the wire, in every version that an inter-broker
//! protocol version can ask for.

use std::collections::BTreeMap;

use kafka_protocol::messages;
use kafka_protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use kafka_protocol::messages::stop_replica_request::{
    StopReplicaPartitionState, StopReplicaPartitionV0, StopReplicaTopicState, StopReplicaTopicV1,
};
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState,
    UpdateMetadataTopicState,
};
use ottla_client::{ClientError, Connection};
use ottla_model::control::{
    ControlRequest, ControlResponse, LeaderAndIsrPartition, LeaderAndIsrRequest,
    LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse, UpdateMetadataPartition,
    UpdateMetadataRequest,
};
use ottla_model::{
    BrokerId, ErrorCode, LiveBroker, SecurityProtocol, TopicId, TopicName, TopicPartition,
};

use super::settings::RequestVersions;
use crate::handlers::wire;

/// From this version on partitions are grouped by topic.
const LEADER_AND_ISR_GROUPED: i16 = 2;
const UPDATE_METADATA_GROUPED: i16 = 5;
/// From this version on unclean leaders are marked.
const LEADER_AND_ISR_WITH_RECOVERY: i16 = 6;

/// Sends a request and waits for its answer.
pub(super) async fn ask(
    connection: &Connection,
    versions: RequestVersions,
    inter_broker_listener: &str,
    request: &ControlRequest,
) -> Result<ControlResponse, ClientError> {
    match request {
        ControlRequest::LeaderAndIsr(request) => {
            let version = versions.leader_and_isr;
            let body = leader_and_isr(request, version, inter_broker_listener);
            let response = connection.send(&body, version).await?;
            Ok(ControlResponse::LeaderAndIsr(leader_and_isr_response(
                request, &response,
            )))
        }
        ControlRequest::UpdateMetadata(request) => {
            let version = versions.update_metadata;
            let response = connection
                .send(&update_metadata(request, version), version)
                .await?;
            Ok(ControlResponse::UpdateMetadata(ErrorCode::from_code(
                response.error_code,
            )))
        }
        ControlRequest::StopReplica(request) => {
            let version = versions.stop_replica;
            let response = connection
                .send(&stop_replica(request, version), version)
                .await?;
            Ok(ControlResponse::StopReplica(stop_replica_response(
                &response,
            )))
        }
    }
}

fn leader_and_isr(
    request: &LeaderAndIsrRequest,
    version: i16,
    inter_broker_listener: &str,
) -> messages::LeaderAndIsrRequest {
    let mut body = messages::LeaderAndIsrRequest::default()
        .with_controller_id(wire::broker_id(request.header.controller_id))
        .with_controller_epoch(request.header.controller_epoch.0)
        .with_broker_epoch(request.header.broker_epoch.0)
        .with_live_leaders(
            request
                .live_leaders
                .iter()
                .filter_map(|leader| live_leader(leader, inter_broker_listener))
                .collect(),
        );
    let states = request
        .partitions
        .iter()
        .map(|p| leader_and_isr_state(p, version));
    if version < LEADER_AND_ISR_GROUPED {
        body.ungrouped_partition_states = states.collect();
        return body;
    }
    let ids: BTreeMap<&TopicName, TopicId> = request
        .topic_ids
        .iter()
        .map(|(name, id)| (name, *id))
        .collect();
    let topics = request.partitions.iter().map(|p| &p.topic_partition.topic);
    body.topic_states = grouped(topics.zip(states))
        .into_iter()
        .map(|(name, partition_states)| {
            LeaderAndIsrTopicState::default()
                .with_topic_name(wire::name(name))
                .with_topic_id(wire::uuid(ids.get(name).copied().unwrap_or(TopicId::ZERO)))
                .with_partition_states(partition_states)
        })
        .collect();
    body
}

fn leader_and_isr_state(
    partition: &LeaderAndIsrPartition,
    version: i16,
) -> LeaderAndIsrPartitionState {
    let state = LeaderAndIsrPartitionState::default()
        .with_topic_name(wire::name(&partition.topic_partition.topic))
        .with_partition_index(partition.topic_partition.partition)
        .with_controller_epoch(partition.state.controller_epoch.0)
        .with_leader(wire::broker_id(partition.state.leader))
        .with_leader_epoch(partition.state.leader_epoch.0)
        .with_isr(broker_ids(&partition.state.isr))
        .with_partition_epoch(partition.state.partition_epoch.0)
        .with_replicas(broker_ids(&partition.assignment.replicas))
        .with_adding_replicas(broker_ids(&partition.assignment.adding))
        .with_removing_replicas(broker_ids(&partition.assignment.removing))
        .with_is_new(partition.is_new);
    // Older versions must not carry it; leaders recover only where brokers know of it.
    if version < LEADER_AND_ISR_WITH_RECOVERY {
        return state;
    }
    state.with_leader_recovery_state(partition.state.recovery.code())
}

fn live_leader(leader: &LiveBroker, listener: &str) -> Option<LeaderAndIsrLiveLeader> {
    let endpoint = leader.endpoint(listener)?;
    Some(
        LeaderAndIsrLiveLeader::default()
            .with_broker_id(wire::broker_id(leader.id))
            .with_host_name(wire::text(&endpoint.host))
            .with_port(endpoint.port),
    )
}

/// Answers by id are named again as the request named them; unknown ids are left out.
fn leader_and_isr_response(
    request: &LeaderAndIsrRequest,
    response: &messages::LeaderAndIsrResponse,
) -> LeaderAndIsrResponse {
    let names: BTreeMap<TopicId, &TopicName> = request
        .topic_ids
        .iter()
        .map(|(name, id)| (*id, name))
        .collect();
    let mut partitions: Vec<(TopicPartition, ErrorCode)> = response
        .partition_errors
        .iter()
        .map(|error| {
            let topic = wire::topic_name(&error.topic_name);
            let partition = TopicPartition::new(topic, error.partition_index);
            (partition, ErrorCode::from_code(error.error_code))
        })
        .collect();
    for topic in &response.topics {
        let Some(name) = names.get(&wire::topic_id(topic.topic_id)) else {
            continue;
        };
        partitions.extend(topic.partition_errors.iter().map(|error| {
            let partition = TopicPartition::new((*name).clone(), error.partition_index);
            (partition, ErrorCode::from_code(error.error_code))
        }));
    }
    LeaderAndIsrResponse {
        error: ErrorCode::from_code(response.error_code),
        partitions,
    }
}

fn update_metadata(
    request: &UpdateMetadataRequest,
    version: i16,
) -> messages::UpdateMetadataRequest {
    let mut body = messages::UpdateMetadataRequest::default()
        .with_controller_id(wire::broker_id(request.header.controller_id))
        .with_controller_epoch(request.header.controller_epoch.0)
        .with_broker_epoch(request.header.broker_epoch.0)
        .with_live_brokers(request.live_brokers.iter().map(metadata_broker).collect());
    let states = request.partitions.iter().map(metadata_state);
    if version < UPDATE_METADATA_GROUPED {
        body.ungrouped_partition_states = states.collect();
        return body;
    }
    let ids: BTreeMap<&TopicName, TopicId> = request
        .topic_ids
        .iter()
        .map(|(name, id)| (name, *id))
        .collect();
    let topics = request.partitions.iter().map(|p| &p.topic_partition.topic);
    body.topic_states = grouped(topics.zip(states))
        .into_iter()
        .map(|(name, partition_states)| {
            UpdateMetadataTopicState::default()
                .with_topic_name(wire::name(name))
                .with_topic_id(wire::uuid(ids.get(name).copied().unwrap_or(TopicId::ZERO)))
                .with_partition_states(partition_states)
        })
        .collect();
    body
}

fn metadata_state(partition: &UpdateMetadataPartition) -> UpdateMetadataPartitionState {
    UpdateMetadataPartitionState::default()
        .with_topic_name(wire::name(&partition.topic_partition.topic))
        .with_partition_index(partition.topic_partition.partition)
        .with_controller_epoch(partition.state.controller_epoch.0)
        .with_leader(wire::broker_id(partition.state.leader))
        .with_leader_epoch(partition.state.leader_epoch.0)
        .with_isr(broker_ids(&partition.state.isr))
        .with_zk_version(partition.state.partition_epoch.0)
        .with_replicas(broker_ids(&partition.replicas))
        .with_offline_replicas(broker_ids(&partition.offline_replicas))
}

fn metadata_broker(broker: &LiveBroker) -> UpdateMetadataBroker {
    let endpoints = broker.endpoints.iter().map(|endpoint| {
        UpdateMetadataEndpoint::default()
            .with_host(wire::text(&endpoint.host))
            .with_port(endpoint.port)
            .with_security_protocol(endpoint.protocol.id())
            .with_listener(wire::text(&endpoint.listener))
    });
    let mut body = UpdateMetadataBroker::default()
        .with_id(wire::broker_id(broker.id))
        .with_endpoints(endpoints.collect())
        .with_rack(broker.rack.as_deref().map(wire::text));
    // Version 0 knows the plaintext endpoint only.
    if let Some(plaintext) = broker.endpoint(SecurityProtocol::Plaintext.name()) {
        body = body
            .with_v0_host(wire::text(&plaintext.host))
            .with_v0_port(plaintext.port);
    }
    body
}

/// Up to version 2 one flag tells whether all partitions are to be deleted; the controller never
/// mixes them there.
fn stop_replica(request: &StopReplicaRequest, version: i16) -> messages::StopReplicaRequest {
    let mut body = messages::StopReplicaRequest::default()
        .with_controller_id(wire::broker_id(request.header.controller_id))
        .with_controller_epoch(request.header.controller_epoch.0)
        .with_broker_epoch(request.header.broker_epoch.0)
        .with_delete_partitions(request.partitions.iter().any(|partition| partition.delete));
    let topics = request.partitions.iter().map(|p| &p.topic_partition.topic);
    let indexes = request
        .partitions
        .iter()
        .map(|p| p.topic_partition.partition);
    match version {
        ..=0 => {
            body.ungrouped_partitions = topics
                .zip(indexes)
                .map(|(name, index)| {
                    StopReplicaPartitionV0::default()
                        .with_topic_name(wire::name(name))
                        .with_partition_index(index)
                })
                .collect();
        }
        1..=2 => {
            body.topics = grouped(topics.zip(indexes))
                .into_iter()
                .map(|(name, indexes)| {
                    StopReplicaTopicV1::default()
                        .with_name(wire::name(name))
                        .with_partition_indexes(indexes)
                })
                .collect();
        }
        3.. => {
            let states = request.partitions.iter().map(|partition| {
                StopReplicaPartitionState::default()
                    .with_partition_index(partition.topic_partition.partition)
                    .with_leader_epoch(partition.leader_epoch.0)
                    .with_delete_partition(partition.delete)
            });
            body.topic_states = grouped(topics.zip(states))
                .into_iter()
                .map(|(name, states)| {
                    StopReplicaTopicState::default()
                        .with_topic_name(wire::name(name))
                        .with_partition_states(states)
                })
                .collect();
            body.delete_partitions = false;
        }
    }
    body
}

fn stop_replica_response(response: &messages::StopReplicaResponse) -> StopReplicaResponse {
    let partitions = response.partition_errors.iter().map(|error| {
        let topic = wire::topic_name(&error.topic_name);
        let partition = TopicPartition::new(topic, error.partition_index);
        (partition, ErrorCode::from_code(error.error_code))
    });
    StopReplicaResponse {
        error: ErrorCode::from_code(response.error_code),
        partitions: partitions.collect(),
    }
}

fn grouped<'a, T>(
    items: impl Iterator<Item = (&'a TopicName, T)>,
) -> BTreeMap<&'a TopicName, Vec<T>> {
    let mut groups: BTreeMap<&TopicName, Vec<T>> = BTreeMap::new();
    for (topic, item) in items {
        groups.entry(topic).or_default().push(item);
    }
    groups
}

fn broker_ids(ids: &[BrokerId]) -> Vec<messages::BrokerId> {
    ids.iter().copied().map(wire::broker_id).collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;
    use ottla_model::control::{ControlHeader, StopReplicaPartition};
    use ottla_model::{
        BrokerEpoch, ControllerEpoch, Endpoint, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState,
        PartitionEpoch, ReplicaAssignment,
    };

    use super::*;

    fn header() -> ControlHeader {
        ControlHeader {
            controller_id: BrokerId(0),
            controller_epoch: ControllerEpoch(3),
            broker_epoch: BrokerEpoch(77),
        }
    }

    fn state() -> LeaderAndIsr {
        LeaderAndIsr {
            leader: BrokerId(1),
            leader_epoch: LeaderEpoch(4),
            isr: vec![BrokerId(1), BrokerId(2)],
            recovery: LeaderRecoveryState::Recovering,
            partition_epoch: PartitionEpoch(5),
            controller_epoch: ControllerEpoch(2),
        }
    }

    fn broker() -> LiveBroker {
        LiveBroker {
            id: BrokerId(1),
            epoch: BrokerEpoch(78),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".into(),
                host: "h".into(),
                port: 9092,
                protocol: SecurityProtocol::Plaintext,
            }],
            rack: Some("r".into()),
        }
    }

    fn topic_ids() -> Vec<(TopicName, TopicId)> {
        vec![("t".into(), TopicId([7; 16]))]
    }

    #[test]
    fn every_request_can_be_written_in_every_version() {
        let partition = |index| LeaderAndIsrPartition {
            topic_partition: TopicPartition::new("t", index),
            state: state(),
            assignment: ReplicaAssignment::of([BrokerId(1)]).reassign_to(&[BrokerId(2)]),
            is_new: true,
        };
        let lisr = LeaderAndIsrRequest {
            header: header(),
            partitions: vec![partition(0), partition(1)],
            topic_ids: topic_ids(),
            live_leaders: vec![broker()],
        };
        for version in 0..=7 {
            let body = leader_and_isr(&lisr, version, "PLAINTEXT");
            assert_eq!(body.live_leaders.len(), 1);
            body.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
        let umr = UpdateMetadataRequest {
            header: header(),
            partitions: vec![UpdateMetadataPartition {
                topic_partition: TopicPartition::new("t", 0),
                state: state(),
                replicas: vec![BrokerId(1)],
                offline_replicas: vec![BrokerId(1)],
            }],
            topic_ids: topic_ids(),
            live_brokers: vec![broker()],
        };
        for version in 0..=8 {
            let body = update_metadata(&umr, version);
            body.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
        let stop = StopReplicaRequest {
            header: header(),
            partitions: vec![StopReplicaPartition {
                topic_partition: TopicPartition::new("t", 0),
                leader_epoch: LeaderEpoch::DURING_DELETE,
                delete: true,
            }],
        };
        for version in 0..=4 {
            let body = stop_replica(&stop, version);
            body.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn answers_by_id_are_named_as_in_the_request() {
        use kafka_protocol::messages::leader_and_isr_response::{
            LeaderAndIsrPartitionError, LeaderAndIsrTopicError,
        };
        let request = LeaderAndIsrRequest {
            header: header(),
            partitions: vec![],
            topic_ids: topic_ids(),
            live_leaders: vec![],
        };
        let topic = |id: u8| {
            let error = LeaderAndIsrPartitionError::default()
                .with_partition_index(3)
                .with_error_code(ErrorCode::KafkaStorageError.code());
            LeaderAndIsrTopicError::default()
                .with_topic_id(wire::uuid(TopicId([id; 16])))
                .with_partition_errors(vec![error])
        };
        let response =
            messages::LeaderAndIsrResponse::default().with_topics(vec![topic(7), topic(8)]);
        assert_eq!(
            leader_and_isr_response(&request, &response).partitions,
            [(TopicPartition::new("t", 3), ErrorCode::KafkaStorageError)]
        );
    }
}
