//! DescribeConfigs (key 32, versions 0–4): values in force with their sources (`ConfigHelper`).

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use ottla_config::{
    ConfigSource, DescribedEntry, describe_broker, describe_broker_defaults, describe_topic,
};
use ottla_model::{ErrorCode, topic_names};
use tracing::error;

use super::config_resource::{ResourceType, own_id};
use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::ApiError;

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let known = |resource: &DescribeConfigsResource| {
        ResourceType::from_id(resource.resource_type) != ResourceType::Unknown
    };
    // A type that Kafka does not know fails the whole request, without a text of its own.
    let all_known = request.resources.iter().all(known);
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let described = if all_known {
            describe(broker, resource).await
        } else {
            Err(ApiError::invalid_request(
                ErrorCode::InvalidRequest.message(),
            ))
        };
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        results.push(match described {
            Ok(entries) => {
                let wanted = resource.configuration_keys.as_deref().unwrap_or_default();
                let entries = entries.into_iter().filter(|entry| {
                    wanted.is_empty() || wanted.iter().any(|key| **key == *entry.name)
                });
                result.with_configs(entries.map(|entry| encode(&request, entry)).collect())
            }
            Err(error) => result
                .with_error_code(error.code.code())
                .with_error_message(error.message.as_deref().map(wire::text)),
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

async fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedEntry>, ApiError> {
    let name = resource.resource_name.as_str();
    match ResourceType::from_id(resource.resource_type) {
        ResourceType::Topic => describe_one_topic(broker, name).await,
        ResourceType::Broker if name.is_empty() => Ok(describe_broker_defaults(
            &broker.configs.broker(),
            &broker.dynamic_config.in_force(),
        )),
        ResourceType::Broker => {
            own_id(broker, "Broker", name, |expected| {
                format!(
                    "Unexpected broker id, expected {expected} or empty string, but received {name}"
                )
            })?;
            Ok(describe_broker(
                &broker.configs.broker(),
                &broker.dynamic_config.in_force(),
            ))
        }
        ResourceType::BrokerLogger => {
            if name.is_empty() {
                return Err(ApiError::invalid_request("Broker id must not be empty"));
            }
            own_id(broker, "Broker", name, |expected| {
                format!("Unexpected broker id, expected {expected} but received {name}")
            })?;
            Ok(loggers(broker))
        }
        ResourceType::ClientMetrics if name.is_empty() => Err(ApiError::invalid_request(
            "Client metrics subscription name must not be empty",
        )),
        ResourceType::ClientMetrics => Err(ApiError::invalid_request(
            "Config type client-metrics is only supported on KRaft clusters",
        )),
        ResourceType::Unknown => Err(ApiError::invalid_request(
            ErrorCode::InvalidRequest.message(),
        )),
    }
}

async fn describe_one_topic(broker: &Broker, name: &str) -> Result<Vec<DescribedEntry>, ApiError> {
    topic_names::validate(name)
        .map_err(|error| ApiError::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if broker.metadata_cache.snapshot().topic(name).is_none() {
        return Err(ApiError {
            code: ErrorCode::UnknownTopicOrPartition,
            // Kafka leaves the field at its default, which is not null.
            message: Some(String::new()),
        });
    }
    // As stored rather than as applied here: a change is visible to whoever has made it.
    let overrides = broker
        .dynamic_config
        .topic_overrides(name)
        .await
        .map_err(|error| {
            error!(topic = name, %error, "cannot read a topic's configuration");
            ApiError::unknown()
        })?;
    let config = broker.configs.broker();
    describe_topic(&config, &broker.dynamic_config.in_force(), &overrides).map_err(|error| {
        error!(topic = name, %error, "a topic's stored configuration is not valid");
        ApiError::unknown()
    })
}

fn loggers(broker: &Broker) -> Vec<DescribedEntry> {
    let levels = broker.dynamic_config.loggers().list();
    let entry = |(name, level): (String, &str)| DescribedEntry {
        name,
        value: Some(level.to_owned()),
        is_sensitive: false,
        is_read_only: false,
        source: ConfigSource::DynamicBrokerLogger,
        synonyms: Vec::new(),
        kind: None,
        documentation: None,
    };
    levels.into_iter().map(entry).collect()
}

fn encode(
    request: &DescribeConfigsRequest,
    entry: DescribedEntry,
) -> DescribeConfigsResourceResult {
    let synonyms = entry
        .synonyms
        .iter()
        .filter(|_| request.include_synonyms)
        .map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(wire::text(&synonym.name))
                .with_value(synonym.value.as_deref().map(wire::text))
                .with_source(synonym.source.id())
        });
    let documentation = entry
        .documentation
        .filter(|_| request.include_documentation);
    DescribeConfigsResourceResult::default()
        .with_name(wire::text(&entry.name))
        .with_value(entry.value.as_deref().map(wire::text))
        .with_read_only(entry.is_read_only)
        .with_config_source(entry.source.id())
        .with_is_sensitive(entry.is_sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(entry.kind.map_or(0, |kind| kind.describe_id()))
        .with_documentation(documentation.map(wire::text))
}
