//! JoinGroup (key 11, versions 0–9).

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_group_coordinator as group;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;

use super::group_wire::{is_static_member_too_new, shared, shared_option};
use super::wire;
use crate::broker::Broker;
use crate::clock::random_bytes;

/// Before it there is no rebalance timeout: the session timeout counts.
const FIRST_WITH_REBALANCE_TIMEOUT: i16 = 1;
/// From this version on a dynamic member comes back with the id that it is given (KIP-394).
const FIRST_WITH_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version on the protocol's name may be null; before, it is empty instead.
const FIRST_WITH_NULLABLE_PROTOCOL: i16 = 7;
/// From this version on a leader may be told to skip the assignment (KIP-814).
const FIRST_WITH_SKIP_ASSIGNMENT: i16 = 9;

/// Answers when the join phase is over, or at once.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.header.api_version;
    if is_static_member_too_new(broker, request.group_instance_id.as_ref()) {
        let error = ErrorCode::UnsupportedVersion;
        return encode(version, group::JoinGroupResponse::error("", error));
    }
    let request = group::JoinGroupRequest {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        client_id: context.client_id().into(),
        client_host: context.client_host().into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version < FIRST_WITH_REBALANCE_TIMEOUT {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: shared(&request.protocol_type),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| group::Protocol {
                name: shared(&protocol.name),
                metadata: protocol.metadata,
            })
            .collect(),
        require_known_member_id: version >= FIRST_WITH_MEMBER_ID_REQUIRED
            && request.group_instance_id.is_none(),
        supports_skip_assignment: version >= FIRST_WITH_SKIP_ASSIGNMENT,
        reason: request.reason.as_ref().map(ToString::to_string),
        member_uuid: random_bytes(),
        group_instance_id: shared_option(request.group_instance_id.as_ref()),
    };
    encode(version, broker.group_coordinator.join_group(request).await)
}

fn encode(version: i16, response: group::JoinGroupResponse) -> JoinGroupResponse {
    let protocol_name = response
        .protocol_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let protocol_name = match protocol_name {
        None if version < FIRST_WITH_NULLABLE_PROTOCOL => Some(StrBytes::default()),
        name => name.map(wire::text),
    };
    JoinGroupResponse::default()
        .with_error_code(response.error.code())
        .with_generation_id(response.generation_id)
        .with_protocol_type(response.protocol_type.as_deref().map(wire::text))
        .with_protocol_name(protocol_name)
        .with_leader(wire::text(&response.leader))
        .with_skip_assignment(response.skip_assignment)
        .with_member_id(wire::text(&response.member_id))
        .with_members(
            response
                .members
                .into_iter()
                .map(|member| {
                    JoinGroupResponseMember::default()
                        .with_member_id(wire::text(&member.member_id))
                        .with_group_instance_id(member.group_instance_id.as_deref().map(wire::text))
                        .with_metadata(member.metadata)
                })
                .collect(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_version_7_a_missing_protocol_is_empty_and_not_null() {
        let refused = group::JoinGroupResponse::error("m", ErrorCode::MemberIdRequired);
        for version in 0..=9 {
            let response = encode(version, refused.clone());
            let expected = (version < 7).then(StrBytes::default);
            assert_eq!(response.protocol_name, expected, "{version}");
            assert_eq!(response.protocol_type, None);
        }
    }
}
