//! DescribeClientQuotas (key 48, versions 0–1): stored quotas of users, client ids and addresses.

use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use ottla_model::ErrorCode;

use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{ApiError, Component, Match};

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let filter: Option<Vec<Component>> = request.components.iter().map(component).collect();
    let listed = match filter {
        Some(filter) => {
            broker
                .dynamic_config
                .describe_quotas(&filter, request.strict)
                .await
        }
        // A way of matching that Kafka does not know.
        None => Err(ApiError::unknown()),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let message = error
                .message
                .unwrap_or_else(|| error.code.message().to_owned());
            return DescribeClientQuotasResponse::default()
                .with_error_code(error.code.code())
                .with_error_message(Some(wire::text(&message)))
                .with_entries(None);
        }
    };
    let entries = listed.into_iter().map(|(entity, quotas)| {
        let part = |(kind, name): (String, Option<String>)| {
            EntityData::default()
                .with_entity_type(wire::text(&kind))
                .with_entity_name(name.as_deref().map(wire::text))
        };
        let value = |(key, value): (String, f64)| {
            ValueData::default()
                .with_key(wire::text(&key))
                .with_value(value)
        };
        EntryData::default()
            .with_entity(entity.into_iter().map(part).collect())
            .with_values(quotas.into_iter().map(value).collect())
    });
    DescribeClientQuotasResponse::default()
        .with_error_code(ErrorCode::None.code())
        .with_entries(Some(entries.collect()))
}

fn component(component: &ComponentData) -> Option<Component> {
    let matches = match component.match_type {
        0 => Match::Exact(component._match.as_ref()?.to_string()),
        1 => Match::Default,
        2 => Match::Any,
        _ => return None,
    };
    Some(Component {
        kind: component.entity_type.to_string(),
        matches,
    })
}
