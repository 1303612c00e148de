//! ListGroups (key 16, versions 0–5): the groups that this broker coordinates.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_group_coordinator::{GroupFilter, GroupOverview};

use super::wire;
use crate::broker::Broker;

/// Lists groups, filtered by state (version 4) and type (version 5).
pub(crate) fn handle(broker: &Broker, request: ListGroupsRequest) -> ListGroupsResponse {
    let text = |names: Vec<StrBytes>| names.iter().map(ToString::to_string).collect();
    let filter = GroupFilter {
        states: text(request.states_filter),
        types: text(request.types_filter),
    };
    let (error, groups) = broker.group_coordinator.list_groups(&filter);
    let listed = groups.into_iter().map(|group| {
        ListedGroup::default()
            .with_group_id(GroupId(wire::text(&group.group_id)))
            .with_protocol_type(wire::text(&group.protocol_type))
            .with_group_state(wire::text(group.state.name()))
            .with_group_type(StrBytes::from_static_str(GroupOverview::GROUP_TYPE))
    });
    ListGroupsResponse::default()
        .with_error_code(error.code())
        .with_groups(listed.collect())
}
