//! AlterClientQuotas (key 49, versions 0–1).

use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use super::config_resource::outcome;
use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{QuotaEntity, QuotaOperation};

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let part = |part: &kafka_protocol::messages::alter_client_quotas_request::EntityData| {
            (
                part.entity_type.to_string(),
                part.entity_name.as_ref().map(ToString::to_string),
            )
        };
        let entity: QuotaEntity = entry.entity.iter().map(part).collect();
        let operations: Vec<QuotaOperation> = entry
            .ops
            .iter()
            .map(|op| QuotaOperation {
                key: op.key.to_string(),
                value: (!op.remove).then_some(op.value),
            })
            .collect();
        let altered = broker
            .dynamic_config
            .alter_quotas(&entity, &operations, request.validate_only)
            .await;
        let (code, message) = outcome(altered);
        let entity = entry.entity.iter().map(|part| {
            EntityData::default()
                .with_entity_type(part.entity_type.clone())
                .with_entity_name(part.entity_name.clone())
        });
        entries.push(
            EntryData::default()
                .with_error_code(code)
                .with_error_message(message.as_deref().map(wire::text))
                .with_entity(entity.collect()),
        );
    }
    AlterClientQuotasResponse::default().with_entries(entries)
}
