//! LeaveGroup (key 13, versions 0–5).

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use ottla_group_coordinator as group;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;

use super::group_wire::{shared, shared_option};
use super::wire;
use crate::broker::Broker;

/// From this version on a request names several members (KIP-345).
const FIRST_BATCHED: i16 = 3;

/// Removes members.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let version = context.header.api_version;
    let members = if version < FIRST_BATCHED {
        vec![group::LeavingMember {
            member_id: shared(&request.member_id),
            group_instance_id: None,
            reason: None,
        }]
    } else {
        request
            .members
            .iter()
            .map(|member| group::LeavingMember {
                member_id: shared(&member.member_id),
                group_instance_id: shared_option(member.group_instance_id.as_ref()),
                reason: member.reason.as_ref().map(ToString::to_string),
            })
            .collect()
    };
    let request = group::LeaveGroupRequest {
        group_id: shared(&request.group_id),
        members,
    };
    encode(version, broker.group_coordinator.leave_group(request).await)
}

fn encode(version: i16, response: group::LeaveGroupResponse) -> LeaveGroupResponse {
    if version < FIRST_BATCHED {
        // The one member's error stands for the request's.
        let member_error = response
            .members
            .first()
            .map_or(ErrorCode::None, |(_, error)| *error);
        let error = if response.error.is_none() {
            member_error
        } else {
            response.error
        };
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    LeaveGroupResponse::default()
        .with_error_code(response.error.code())
        .with_members(
            response
                .members
                .into_iter()
                .map(|(member, error)| {
                    MemberResponse::default()
                        .with_member_id(wire::text(&member.member_id))
                        .with_group_instance_id(member.group_instance_id.as_deref().map(wire::text))
                        .with_error_code(error.code())
                })
                .collect(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_version_3_the_members_error_is_the_requests() {
        let member = group::LeavingMember {
            member_id: "m".into(),
            group_instance_id: None,
            reason: None,
        };
        let response = group::LeaveGroupResponse {
            error: ErrorCode::None,
            members: vec![(member, ErrorCode::UnknownMemberId)],
        };
        let old = encode(2, response.clone());
        assert_eq!(old.error_code, ErrorCode::UnknownMemberId.code());
        assert!(old.members.is_empty());
        let new = encode(3, response);
        assert_eq!(new.error_code, 0);
        assert_eq!(new.members[0].error_code, ErrorCode::UnknownMemberId.code());
    }
}
