//! CreatePartitions (key 37, versions 0–3), on the active controller only
//! (`KafkaApis.handleCreatePartitionsRequest`).

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use ottla_controller::ApiError;
use ottla_model::{BrokerId, ErrorCode, TopicName};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;
use crate::client_quotas::{Charge, MutationQuota};
use crate::controller::topic_admin::expand::NewPartitions;

/// From this version on, clients know of quotas on changes of topics (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 3;

/// Answers the request once the partitions have leaders, or time is up.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: CreatePartitionsRequest,
    charge: Option<&Charge<'_>>,
) -> CreatePartitionsResponse {
    let mut results: BTreeMap<TopicName, ApiError> = BTreeMap::new();
    let mut wanted: BTreeMap<TopicName, NewPartitions> = BTreeMap::new();
    let is_active = broker.controller.is_active();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        let refusal = if !is_active {
            ApiError::of(ErrorCode::NotController)
        } else if wanted.remove(&name).is_some() || results.contains_key(&name) {
            ApiError::with(ErrorCode::InvalidRequest, "Duplicate topic in request.")
        } else if broker.controller.is_topic_queued_for_deletion(&name) {
            let message = "The topic is queued for deletion.";
            ApiError::with(ErrorCode::InvalidTopicException, message)
        } else {
            wanted.insert(name.clone(), new_partitions(topic, name));
            continue;
        };
        results.insert(name, refusal);
    }
    let quota = MutationQuota::of_version(charge, context.header.api_version, STRICT_QUOTA_SINCE);
    let wanted: Vec<NewPartitions> = wanted.into_values().collect();
    if !wanted.is_empty() {
        let admin = broker.topic_admin().under(&quota);
        let expanded = admin
            .create_partitions(request.timeout_ms, request.validate_only, wanted)
            .await;
        results.extend(expanded);
    }
    let results = results.into_iter().map(|(name, error)| {
        CreatePartitionsTopicResult::default()
            .with_name(wire::name(&name))
            .with_error_code(error.error.code())
            .with_error_message(error.message.as_deref().map(wire::text))
    });
    CreatePartitionsResponse::default()
        .with_throttle_time_ms(quota.throttle_ms())
        .with_results(results.collect())
}

fn new_partitions(topic: &CreatePartitionsTopic, name: TopicName) -> NewPartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let replicas = assignments.iter().map(|assignment| &assignment.broker_ids);
        replicas
            .map(|ids| ids.iter().map(|id| BrokerId(id.0)).collect())
            .collect()
    });
    NewPartitions {
        topic: name,
        count: topic.count,
        assignments,
    }
}
