//! AlterConfigs (key 33, versions 0–2): replaces all overrides of a topic or a broker.

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::config_resource::{alter, check_entries, duplicate, duplicates, outcome};
use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{ApiError, Wanted};

/// Answers the request.
pub(crate) async fn handle(broker: &Broker, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let names = request
        .resources
        .iter()
        .map(|r| (r.resource_type, r.resource_name.as_str()));
    let duplicates = duplicates(names);
    let mut responses = Vec::with_capacity(request.resources.len());
    for (resource, is_duplicate) in request.resources.iter().zip(duplicates) {
        let result = if is_duplicate {
            Err(duplicate())
        } else {
            alter_one(broker, resource, request.validate_only).await
        };
        let (code, message) = outcome(result);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message.as_deref().map(wire::text))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter_one(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), ApiError> {
    check_entries(
        resource
            .configs
            .iter()
            .map(|c| (c.name.as_str(), c.value.is_some())),
    )?;
    let entry = |config: &kafka_protocol::messages::alter_configs_request::AlterableConfig| {
        let value = config.value.as_ref()?;
        Some((config.name.to_string(), value.to_string()))
    };
    let wanted = Wanted::All(resource.configs.iter().filter_map(entry).collect());
    alter(
        broker,
        resource.resource_type,
        &resource.resource_name,
        wanted,
        validate_only,
    )
    .await
}
