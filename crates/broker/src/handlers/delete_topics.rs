//! DeleteTopics (key 20, versions 0–6), on the active controller only
//! (`KafkaApis.handleDeleteTopicsRequest`).

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_model::{ErrorCode, TopicId, TopicName};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;
use crate::client_quotas::{Charge, MutationQuota};

/// From this version on topics are named in a list of their own, by name or id.
const FIRST_WITH_TOPIC_IDS: i16 = 6;

/// From this version on, clients know of quotas on changes of topics (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 5;

/// A topic as it was named.
struct Named {
    name: Option<TopicName>,
    id: TopicId,
}

/// Answers the request once the topics have left the metadata cache, or time is up.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DeleteTopicsRequest,
    charge: Option<&Charge<'_>>,
) -> DeleteTopicsResponse {
    let version = context.header.api_version;
    let topics: Vec<Named> = if version < FIRST_WITH_TOPIC_IDS {
        let name = |name| Named {
            name: Some(wire::topic_name(name)),
            id: TopicId::ZERO,
        };
        request.topic_names.iter().map(name).collect()
    } else {
        request.topics.iter().map(named).collect()
    };
    let whole = if !broker.controller.is_active() {
        Some(ErrorCode::NotController)
    } else if !broker.configs.broker().delete_topic_enable {
        Some(if version < 3 {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        })
    } else if topics
        .iter()
        .any(|topic| topic.name.is_some() && !topic.id.is_zero())
    {
        Some(ErrorCode::InvalidRequest)
    } else {
        None
    };
    if let Some(error) = whole {
        let responses = topics.iter().map(|topic| result(topic, error)).collect();
        return DeleteTopicsResponse::default().with_responses(responses);
    }

    let snapshot = broker.metadata_cache.snapshot();
    let mut responses = Vec::new();
    let mut ordered = Vec::new();
    for mut topic in topics {
        let by_id = !topic.id.is_zero();
        if by_id {
            topic.name = snapshot.topic_name(topic.id).cloned();
        }
        match &topic.name {
            None if by_id => responses.push(result(&topic, ErrorCode::UnknownTopicId)),
            Some(name) if snapshot.topic(name.as_str()).is_some() => ordered.push(topic),
            Some(_) => responses.push(result(&topic, ErrorCode::UnknownTopicOrPartition)),
            // Named in neither way: Kafka takes it for a topic that the caller may not see.
            None => responses.push(result(&topic, ErrorCode::TopicAuthorizationFailed)),
        }
    }
    let names: BTreeSet<TopicName> = ordered.iter().filter_map(|t| t.name.clone()).collect();
    let quota = MutationQuota::of_version(charge, version, STRICT_QUOTA_SINCE);
    let errors = broker
        .topic_admin()
        .under(&quota)
        .delete_topics(request.timeout_ms, names)
        .await;
    responses.extend(ordered.iter().map(|topic| {
        let error = topic.name.as_ref().and_then(|name| errors.get(name));
        result(
            topic,
            error.copied().unwrap_or(ErrorCode::UnknownServerError),
        )
    }));
    DeleteTopicsResponse::default()
        .with_throttle_time_ms(quota.throttle_ms())
        .with_responses(responses)
}

fn named(topic: &DeleteTopicState) -> Named {
    Named {
        name: topic.name.as_ref().map(wire::topic_name),
        id: wire::topic_id(topic.topic_id),
    }
}

fn result(topic: &Named, error: ErrorCode) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(topic.name.as_ref().map(wire::name))
        .with_topic_id(wire::uuid(topic.id))
        .with_error_code(error.code())
}
