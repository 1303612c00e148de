//! Heartbeat (key 12, versions 0–4).

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use ottla_model::ErrorCode;

use super::group_wire::{is_static_member_too_new, shared, shared_option};
use crate::broker::Broker;

/// Keeps the member's session alive.
pub(crate) async fn handle(broker: &Broker, request: HeartbeatRequest) -> HeartbeatResponse {
    let error = if is_static_member_too_new(broker, request.group_instance_id.as_ref()) {
        ErrorCode::UnsupportedVersion
    } else {
        broker
            .group_coordinator
            .heartbeat(
                shared(&request.group_id),
                shared(&request.member_id),
                shared_option(request.group_instance_id.as_ref()),
                request.generation_id,
            )
            .await
    };
    HeartbeatResponse::default().with_error_code(error.code())
}
