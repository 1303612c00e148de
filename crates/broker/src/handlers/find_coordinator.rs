//! FindCoordinator (key 10, versions 0–6): which broker coordinates a group or
//! a transactional id
//! (`KafkaApis.handleFindCoordinatorRequest`).

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_model::{BrokerId, Endpoint, ErrorCode, TopicName, TopicPartition};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;
use crate::client_quotas::Charge;

/// From this version on a request names several keys.
const FIRST_BATCHED: i16 = 4;
/// From this version on there are share groups.
const FIRST_WITH_SHARE: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Where a coordinator is.
type Found = Result<(BrokerId, Endpoint), ErrorCode>;

/// Answers the request. An internal topic that is missing is created on the way.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: FindCoordinatorRequest,
    charge: Option<&Charge<'_>>,
) -> FindCoordinatorResponse {
    let version = context.header.api_version;
    if version < FIRST_BATCHED {
        return single(find(broker, context, request.key_type, &request.key, charge).await);
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let found = find(broker, context, request.key_type, &key, charge).await;
        let mut coordinator = batched(key, found);
        if !matches!(request.key_type, GROUP | TRANSACTION | SHARE) {
            // The request as a whole is refused, and such errors come with their message.
            let message = ErrorCode::InvalidRequest.message();
            coordinator.error_message = Some(StrBytes::from_static_str(message));
        }
        coordinators.push(coordinator);
    }
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

fn single(found: Found) -> FindCoordinatorResponse {
    let (error, node, host, port) = parts(found);
    // Success is told in words too: `Errors.NONE.message()` is its name.
    let message = if error.is_none() {
        error.name()
    } else {
        error.message()
    };
    FindCoordinatorResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_static_str(message)))
        .with_node_id(wire::broker_id(node))
        .with_host(host)
        .with_port(port)
}

fn batched(key: StrBytes, found: Found) -> Coordinator {
    let (error, node, host, port) = parts(found);
    Coordinator::default()
        .with_key(key)
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::default()))
        .with_node_id(wire::broker_id(node))
        .with_host(host)
        .with_port(port)
}

fn parts(found: Found) -> (ErrorCode, BrokerId, StrBytes, i32) {
    match found {
        Ok((node, endpoint)) => (
            ErrorCode::None,
            node,
            wire::text(&endpoint.host),
            endpoint.port,
        ),
        Err(error) => (error, BrokerId::NONE, StrBytes::default(), -1),
    }
}

async fn find(
    broker: &Broker,
    context: &RequestContext,
    key_type: i8,
    key: &str,
    charge: Option<&Charge<'_>>,
) -> Found {
    let (topic, partition) = match key_type {
        GROUP => (
            GROUP_METADATA_TOPIC,
            broker.group_coordinator.partition_for(key),
        ),
        TRANSACTION => (
            TRANSACTION_STATE_TOPIC,
            broker.transaction_coordinator.partition_for(key),
        ),
        SHARE if context.header.api_version >= FIRST_WITH_SHARE => {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        _ => return Err(ErrorCode::InvalidRequest),
    };
    let topic = TopicName::from(topic);
    let snapshot = broker.metadata_cache.snapshot();
    if snapshot.topic(topic.as_str()).is_none() {
        // Whatever comes of it, the client asks again.
        for (topic, error) in broker.create_missing_topics([topic], charge).await {
            tracing::debug!(%topic, %error, "creating an internal topic");
        }
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    let partition = TopicPartition { topic, partition };
    let leader = snapshot
        .partition(&partition)
        .map(|known| known.state.leader);
    leader
        .and_then(|leader| {
            let endpoint = snapshot
                .brokers
                .get(&leader)?
                .endpoint(context.listener.as_str())?;
            Some((leader, endpoint.clone()))
        })
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}
