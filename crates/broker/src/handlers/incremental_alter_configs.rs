//! IncrementalAlterConfigs (key 44, versions 0–1): changes single keys of a topic, a broker or the
//! broker's loggers (KIP-339, KIP-412).

use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::config_resource::{
    ResourceType, alter, check_entries, duplicate, duplicates, outcome, own_id,
};
use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{ApiError, Operation, OperationKind, Wanted};

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter_one(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), ApiError> {
    let operations: Vec<Operation> = resource.configs.iter().map(operation).collect();
    check_entries(operations.iter().map(|operation| {
        let deletes = operation.kind == Some(OperationKind::Delete);
        (
            operation.name.as_str(),
            deletes || operation.value.is_some(),
        )
    }))?;
    let name = resource.resource_name.as_str();
    if ResourceType::from_id(resource.resource_type) == ResourceType::BrokerLogger {
        own_id(broker, "Node", name, |expected| {
            // Kafka's text names the expected id twice.
            format!("Unexpected node id. Expected {expected}, but received {expected}")
        })?;
        return broker
            .dynamic_config
            .alter_loggers(&operations, validate_only);
    }
    alter(
        broker,
        resource.resource_type,
        name,
        Wanted::Changes(operations),
        validate_only,
    )
    .await
}

fn operation(config: &AlterableConfig) -> Operation {
    Operation {
        name: config.name.to_string(),
        kind: OperationKind::from_id(config.config_operation),
        id: config.config_operation,
        value: config.value.as_ref().map(ToString::to_string),
    }
}
