//! CreateTopics (key 19, versions 0–7), on the active controller only
//! (`KafkaApis.handleCreateTopicsRequest`).

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use ottla_config::DescribedEntry;
use ottla_controller::ApiError;
use ottla_model::{BrokerId, ErrorCode, TopicName};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;
use crate::client_quotas::{Charge, MutationQuota};
use crate::controller::topic_admin::create::{CreatedTopic, NewTopic};

/// `KRaft`'s own log: never a topic of clients.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// From this version on, clients know of quotas on changes of topics (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 6;

/// Answers the request once the topics have leaders, or time is up.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: CreateTopicsRequest,
    charge: Option<&Charge<'_>>,
) -> CreateTopicsResponse {
    if !broker.controller.is_active() {
        let refuse = |topic: &CreatableTopic| {
            result(&wire::topic_name(&topic.name)).with_error_code(ErrorCode::NotController.code())
        };
        let topics = request.topics.iter().map(refuse).collect();
        return CreateTopicsResponse::default().with_topics(topics);
    }
    let mut named: BTreeMap<TopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *named.entry(wire::topic_name(&topic.name)).or_default() += 1;
    }
    let mut results: Vec<CreatableTopicResult> = Vec::with_capacity(request.topics.len());
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        let refusal = if name.as_str() == CLUSTER_METADATA_TOPIC {
            Some("Creation of internal topic __cluster_metadata is prohibited.")
        } else if named.get(&name).is_some_and(|times| *times > 1) {
            Some("Found multiple entries for this topic.")
        } else {
            None
        };
        match refusal {
            Some(message) => results.push(
                result(&name)
                    .with_error_code(ErrorCode::InvalidRequest.code())
                    .with_error_message(Some(wire::text(message))),
            ),
            None => wanted.push(new_topic(topic, name)),
        }
    }
    let quota = MutationQuota::of_version(charge, context.header.api_version, STRICT_QUOTA_SINCE);
    let created = broker
        .topic_admin()
        .under(&quota)
        .create_topics(request.timeout_ms, request.validate_only, wanted)
        .await;
    results.extend(created.into_iter().map(|(name, outcome)| match outcome {
        Ok(topic) => describe(&name, &topic),
        Err(error) => failure(&name, &error),
    }));
    CreateTopicsResponse::default()
        .with_throttle_time_ms(quota.throttle_ms())
        .with_topics(results)
}

fn new_topic(topic: &CreatableTopic, name: TopicName) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| {
        let replicas = assignment
            .broker_ids
            .iter()
            .map(|id| BrokerId(id.0))
            .collect();
        (assignment.partition_index, replicas)
    });
    let configs = topic.configs.iter().map(|config| {
        (
            config.name.to_string(),
            config.value.as_ref().map(ToString::to_string),
        )
    });
    NewTopic {
        name,
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn result(name: &TopicName) -> CreatableTopicResult {
    CreatableTopicResult::default().with_name(wire::name(name))
}

fn failure(name: &TopicName, error: &ApiError) -> CreatableTopicResult {
    result(name)
        .with_error_code(error.error.code())
        .with_error_message(error.message.as_deref().map(wire::text))
}

fn describe(name: &TopicName, topic: &CreatedTopic) -> CreatableTopicResult {
    result(name)
        .with_topic_id(wire::uuid(topic.id))
        .with_error_message(None)
        .with_num_partitions(topic.num_partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(Some(topic.configs.iter().map(describe_config).collect()))
}

fn describe_config(entry: &DescribedEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(wire::text(&entry.name))
        .with_value(entry.value.as_deref().map(wire::text))
        .with_read_only(entry.is_read_only)
        .with_config_source(entry.source.id())
        .with_is_sensitive(entry.is_sensitive)
}
