//! DescribeGroups (key 15, versions 0–5).

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use ottla_group_coordinator::GroupDescription;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;

use super::{authorized_operations, wire};
use crate::broker::Broker;

/// From this version on operations may be asked for.
const FIRST_WITH_OPERATIONS: i16 = 3;

/// Describes groups in the order in which they were named.
pub(crate) fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let with_operations = context.header.api_version >= FIRST_WITH_OPERATIONS
        && request.include_authorized_operations;
    let groups = request.groups.into_iter().map(|group_id| {
        match broker.group_coordinator.describe_group(&group_id) {
            Ok(description) => {
                describe(group_id, description).with_authorized_operations(if with_operations {
                    authorized_operations::GROUP
                } else {
                    authorized_operations::NOT_REQUESTED
                })
            }
            Err(error) => failed(group_id, error),
        }
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn failed(group_id: GroupId, error: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(group_id)
        .with_error_code(error.code())
        .with_authorized_operations(authorized_operations::NOT_REQUESTED)
}

fn describe(group_id: GroupId, description: GroupDescription) -> DescribedGroup {
    let members = description.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(wire::text(&member.member_id))
            .with_group_instance_id(member.group_instance_id.as_deref().map(wire::text))
            .with_client_id(wire::text(&member.client_id))
            .with_client_host(wire::text(&member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_id(group_id)
        .with_group_state(wire::text(description.state.name()))
        .with_protocol_type(wire::text(&description.protocol_type))
        .with_protocol_data(wire::text(&description.protocol))
        .with_members(members.collect())
}
