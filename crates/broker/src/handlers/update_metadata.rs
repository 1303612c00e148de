//! UpdateMetadata (key 6, versions 0–8): a controller describes the cluster.

use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataPartitionState, UpdateMetadataRequest as Request,
};
use kafka_protocol::messages::update_metadata_response::UpdateMetadataResponse as Response;
use ottla_model::control::{ControlHeader, UpdateMetadataPartition, UpdateMetadataRequest};
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, PartitionEpoch, SecurityProtocol, TopicName, TopicPartition,
};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;

/// Takes the description over and answers.
pub(crate) fn handle(broker: &Broker, context: &RequestContext, request: &Request) -> Response {
    let error = broker
        .replica_manager
        .update_metadata(&decode(context.header.api_version, request));
    Response::default().with_error_code(error.code())
}

fn decode(version: i16, request: &Request) -> UpdateMetadataRequest {
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
    UpdateMetadataRequest {
        header: ControlHeader {
            controller_id: BrokerId(request.controller_id.0),
            controller_epoch: ControllerEpoch(request.controller_epoch),
            broker_epoch: BrokerEpoch(request.broker_epoch),
        },
        partitions,
        topic_ids,
        live_brokers: request
            .live_brokers
            .iter()
            .map(|b| live_broker(version, b))
            .collect(),
    }
}

fn partition(topic: TopicName, state: &UpdateMetadataPartitionState) -> UpdateMetadataPartition {
    let ids = |list: &[kafka_protocol::messages::BrokerId]| -> Vec<BrokerId> {
        list.iter().map(|id| BrokerId(id.0)).collect()
    };
    UpdateMetadataPartition {
        topic_partition: TopicPartition {
            topic,
            partition: state.partition_index,
        },
        state: LeaderAndIsr {
            leader: BrokerId(state.leader.0),
            leader_epoch: LeaderEpoch(state.leader_epoch),
            isr: ids(&state.isr),
            recovery: LeaderRecoveryState::Recovered,
            partition_epoch: PartitionEpoch(state.zk_version),
            controller_epoch: ControllerEpoch(state.controller_epoch),
        },
        replicas: ids(&state.replicas),
        offline_replicas: ids(&state.offline_replicas),
    }
}

/// Version 0 knows one plaintext endpoint, versions 1 and 2 one per security protocol; listeners
/// have names from version 3 on.
fn live_broker(version: i16, broker: &UpdateMetadataBroker) -> LiveBroker {
    let endpoints = if version == 0 {
        vec![Endpoint {
            listener: SecurityProtocol::Plaintext.name().to_owned(),
            host: broker.v0_host.to_string(),
            port: broker.v0_port,
            protocol: SecurityProtocol::Plaintext,
        }]
    } else {
        broker
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                let protocol = SecurityProtocol::from_id(endpoint.security_protocol)?;
                let listener = if version < 3 {
                    protocol.name().to_owned()
                } else {
                    endpoint.listener.to_string()
                };
                Some(Endpoint {
                    listener,
                    host: endpoint.host.to_string(),
                    port: endpoint.port,
                    protocol,
                })
            })
            .collect()
    };
    LiveBroker {
        id: BrokerId(broker.id.0),
        epoch: BrokerEpoch::NONE,
        endpoints,
        rack: broker.rack.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::update_metadata_request::UpdateMetadataEndpoint;

    use super::*;

    #[test]
    fn endpoints_by_version() {
        let broker = UpdateMetadataBroker::default()
            .with_id(1.into())
            .with_v0_host(wire::text("old"))
            .with_v0_port(1)
            .with_endpoints(vec![
                UpdateMetadataEndpoint::default()
                    .with_port(2)
                    .with_host(wire::text("new"))
                    .with_listener(wire::text("CLIENTS"))
                    .with_security_protocol(1),
            ]);
        for (version, listener, host) in [
            (0, "PLAINTEXT", "old"),
            (1, "SSL", "new"),
            (2, "SSL", "new"),
            (3, "CLIENTS", "new"),
        ] {
            let endpoints = live_broker(version, &broker).endpoints;
            assert_eq!(
                (endpoints[0].listener.as_str(), endpoints[0].host.as_str()),
                (listener, host)
            );
        }
    }
}
