//! DeleteGroups (key 42, versions 0–2).

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::group_wire::shared;
use crate::broker::Broker;

/// Deletes groups without members; each is answered once however often it was named.
pub(crate) async fn handle(broker: &Broker, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = BTreeSet::new();
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let name = shared(&group_id);
        if seen.insert(name.clone()) {
            let error = broker.group_coordinator.delete_group(name).await;
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(group_id)
                    .with_error_code(error.code()),
            );
        }
    }
    DeleteGroupsResponse::default().with_results(results)
}
