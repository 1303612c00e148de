//! SyncGroup (key 14, versions 0–5).

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use ottla_group_coordinator as group;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;

use super::group_wire::{is_static_member_too_new, shared, shared_option};
use super::wire;
use crate::broker::Broker;

/// From this version on the member must say which protocol it means (KIP-559).
const FIRST_WITH_PROTOCOL: i16 = 5;

/// Answers when the assignment is there, or at once.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let lacks_protocol = context.header.api_version >= FIRST_WITH_PROTOCOL
        && (request.protocol_type.is_none() || request.protocol_name.is_none());
    let refused = if is_static_member_too_new(broker, request.group_instance_id.as_ref()) {
        Some(ErrorCode::UnsupportedVersion)
    } else {
        lacks_protocol.then_some(ErrorCode::InconsistentGroupProtocol)
    };
    if let Some(error) = refused {
        return encode(group::SyncGroupResponse::error(error));
    }
    let request = group::SyncGroupRequest {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        group_instance_id: shared_option(request.group_instance_id.as_ref()),
        generation_id: request.generation_id,
        protocol_type: shared_option(request.protocol_type.as_ref()),
        protocol_name: shared_option(request.protocol_name.as_ref()),
        assignments: request
            .assignments
            .into_iter()
            .map(|assigned| (shared(&assigned.member_id), assigned.assignment))
            .collect(),
    };
    encode(broker.group_coordinator.sync_group(request).await)
}

fn encode(response: group::SyncGroupResponse) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(response.error.code())
        .with_protocol_type(response.protocol_type.as_deref().map(wire::text))
        .with_protocol_name(response.protocol_name.as_deref().map(wire::text))
        .with_assignment(response.assignment)
}
