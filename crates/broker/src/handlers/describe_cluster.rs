//! DescribeCluster (key 60, versions 0–1): brokers on the request's listener, the controller and
//! the cluster's id (`AuthHelper.computeDescribeClusterResponse`).

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use ottla_model::{BrokerId, ErrorCode};
use ottla_network::RequestContext;

use super::{authorized_operations, wire};
use crate::broker::Broker;

const ENDPOINT_TYPE_BROKER: i8 = 1;
const ENDPOINT_TYPE_CONTROLLER: i8 = 2;

/// Answers the request.
pub(crate) fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if context.header.api_version >= 1 && request.endpoint_type != ENDPOINT_TYPE_BROKER {
        return wrong_endpoint_type(request.endpoint_type);
    }
    let snapshot = broker.metadata_cache.snapshot();
    let brokers: Vec<_> = snapshot
        .brokers
        .values()
        .filter_map(|known| {
            let endpoint = known.endpoint(context.listener.as_str())?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(wire::broker_id(known.id))
                    .with_host(wire::text(&endpoint.host))
                    .with_port(endpoint.port)
                    .with_rack(known.rack.as_deref().map(wire::text)),
            )
        })
        .collect();
    let controller = snapshot
        .controller
        .filter(|id| brokers.iter().any(|known| known.broker_id.0 == id.0))
        .unwrap_or(BrokerId::NONE);
    DescribeClusterResponse::default()
        .with_error_code(ErrorCode::None.code())
        .with_endpoint_type(ENDPOINT_TYPE_BROKER)
        .with_cluster_id(wire::text(&broker.cluster_id))
        .with_controller_id(wire::broker_id(controller))
        .with_brokers(brokers)
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            authorized_operations::CLUSTER
        } else {
            authorized_operations::NOT_REQUESTED
        })
}

fn wrong_endpoint_type(asked: i8) -> DescribeClusterResponse {
    let (error, message) = if asked == ENDPOINT_TYPE_CONTROLLER {
        (
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
             type CONTROLLER"
                .to_owned(),
        )
    } else {
        (
            ErrorCode::UnsupportedEndpointType,
            format!("Unsupported endpoint type {asked}"),
        )
    };
    DescribeClusterResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(wire::text(&message)))
        .with_endpoint_type(ENDPOINT_TYPE_BROKER)
        .with_controller_id(wire::broker_id(BrokerId::NONE))
        .with_cluster_authorized_operations(authorized_operations::NOT_REQUESTED)
}
