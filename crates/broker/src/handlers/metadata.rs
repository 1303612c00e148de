//! Metadata (key 3, versions 0–12), answered from the metadata cache
//! (`KafkaApis.handleTopicMetadataRequest`, `ZkMetadataCache.getPartitionMetadata`).

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_model::{BrokerId, ErrorCode, TopicId, TopicName};
use ottla_network::RequestContext;

use super::{authorized_operations, wire};
use crate::broker::Broker;
use crate::client_quotas::Charge;
use crate::metadata_cache::{MetadataSnapshot, PartitionMetadata, TopicMetadata};
use ottla_model::topic_names;

/// What a version of the API tells about brokers and listeners that are missing.
#[derive(Clone, Copy)]
struct View<'a> {
    snapshot: &'a MetadataSnapshot,
    listener: &'a str,
    /// Version 0 leaves out replicas that cannot be reached and says so by an error.
    hide_unavailable_replicas: bool,
    /// From version 6 a missing listener has an error of its own.
    tell_missing_listener: bool,
}

/// How long a request waits for the controller's first word to a broker that has just started.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Answers the request. Topics that do not exist may be created on the way.
///
/// Kinder than Kafka: a client that connects faster than the controller does is not told that the
/// cluster has no brokers. librdkafka 2.16 believes it, drops all of its brokers, and a group
/// member never finds its coordinator again.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: MetadataRequest,
    charge: Option<&Charge<'_>>,
) -> MetadataResponse {
    let version = context.header.api_version;
    let deadline = tokio::time::Instant::now() + FIRST_WORD;
    // Without a controller the answer is Kafka's: nobody.
    _ = broker
        .metadata_cache
        .wait_until(deadline, |cluster| !cluster.brokers.is_empty())
        .await;
    let snapshot = broker.metadata_cache.snapshot();
    let view = View {
        snapshot: &snapshot,
        listener: context.listener.as_str(),
        hide_unavailable_replicas: version == 0,
        tell_missing_listener: version >= 6,
    };
    if let Some(topics) = &request.topics
        && version < 12
        && topics
            .iter()
            .any(|topic| topic.name.is_none() || !topic.topic_id.is_nil())
    {
        let topics = topics.iter().map(|topic| {
            unknown_operations()
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_name(Some(topic.name.clone().unwrap_or_default()))
        });
        return MetadataResponse::default()
            .with_topics(topics.collect())
            .with_controller_id(wire::broker_id(BrokerId::NONE))
            .with_cluster_authorized_operations(authorized_operations::NOT_REQUESTED);
    }

    let mut topics = match &request.topics {
        None => all_topics(view),
        Some(topics) if version == 0 && topics.is_empty() => all_topics(view),
        Some(topics) => {
            let ids: BTreeSet<TopicId> = topics
                .iter()
                .map(|t| wire::topic_id(t.topic_id))
                .filter(|id| !id.is_zero())
                .collect();
            if ids.is_empty() {
                let names: BTreeSet<TopicName> = topics
                    .iter()
                    .flat_map(|t| &t.name)
                    .map(wire::topic_name)
                    .collect();
                let create = request.allow_auto_topic_creation || version < 4;
                by_name(broker, view, names, create, charge).await
            } else {
                ids.into_iter().map(|id| by_id(view, id)).collect()
            }
        }
    };

    if version >= 8 && request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = authorized_operations::TOPIC;
        }
    }
    let cluster_operations =
        (8..=10).contains(&version) && request.include_cluster_authorized_operations;
    MetadataResponse::default()
        .with_throttle_time_ms(0)
        .with_brokers(brokers(view))
        .with_cluster_id(Some(wire::text(&broker.cluster_id)))
        .with_controller_id(wire::broker_id(
            snapshot.controller.unwrap_or(BrokerId::NONE),
        ))
        .with_topics(topics)
        .with_cluster_authorized_operations(if cluster_operations {
            authorized_operations::CLUSTER
        } else {
            authorized_operations::NOT_REQUESTED
        })
}

fn brokers(view: View<'_>) -> Vec<MetadataResponseBroker> {
    let reachable = view.snapshot.brokers.values().filter_map(|broker| {
        let endpoint = broker.endpoint(view.listener)?;
        Some(
            MetadataResponseBroker::default()
                .with_node_id(wire::broker_id(broker.id))
                .with_host(wire::text(&endpoint.host))
                .with_port(endpoint.port)
                .with_rack(broker.rack.as_deref().map(wire::text)),
        )
    });
    reachable.collect()
}

fn all_topics(view: View<'_>) -> Vec<MetadataResponseTopic> {
    let names = view.snapshot.topic_names();
    names
        .iter()
        .filter_map(|name| Some(existing(view, name, view.snapshot.topic(name.as_str())?)))
        .collect()
}

fn by_id(view: View<'_>, id: TopicId) -> MetadataResponseTopic {
    let known = view
        .snapshot
        .topic_name(id)
        .and_then(|name| Some((name, view.snapshot.topic(name.as_str())?)));
    match known {
        Some((name, topic)) => existing(view, name, topic),
        None => unknown_operations()
            .with_error_code(ErrorCode::UnknownTopicId.code())
            .with_name(None)
            .with_topic_id(wire::uuid(id)),
    }
}

async fn by_name(
    broker: &Broker,
    view: View<'_>,
    names: BTreeSet<TopicName>,
    may_create: bool,
    charge: Option<&Charge<'_>>,
) -> Vec<MetadataResponseTopic> {
    let mut found = Vec::with_capacity(names.len());
    let mut missing = Vec::new();
    for name in names {
        match view.snapshot.topic(name.as_str()) {
            Some(topic) => found.push(existing(view, &name, topic)),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return found;
    }
    let errors = if may_create && broker.configs.broker().auto_create_topics_enable {
        broker.create_missing_topics(missing, charge).await
    } else {
        missing
            .into_iter()
            .map(|name| {
                let error = match topic_names::validate(name.as_str()) {
                    Ok(()) => ErrorCode::UnknownTopicOrPartition,
                    Err(_) => ErrorCode::InvalidTopicException,
                };
                (name, error)
            })
            .collect()
    };
    found.extend(errors.into_iter().map(|(name, error)| {
        unknown_operations()
            .with_error_code(error.code())
            .with_is_internal(name.is_internal())
            .with_name(Some(wire::name(&name)))
    }));
    found
}

fn existing(view: View<'_>, name: &TopicName, topic: &TopicMetadata) -> MetadataResponseTopic {
    unknown_operations()
        .with_error_code(ErrorCode::None.code())
        .with_name(Some(wire::name(name)))
        .with_topic_id(topic.id.map(wire::uuid).unwrap_or_default())
        .with_is_internal(name.is_internal())
        .with_partitions(
            topic
                .partitions
                .iter()
                .map(|(index, partition)| partition_metadata(view, *index, partition))
                .collect(),
        )
}

fn partition_metadata(
    view: View<'_>,
    index: i32,
    partition: &PartitionMetadata,
) -> MetadataResponsePartition {
    let reachable = |id: &BrokerId| {
        view.snapshot
            .brokers
            .get(id)
            .is_some_and(|b| b.endpoint(view.listener).is_some())
    };
    let visible = |ids: &[BrokerId]| -> Vec<_> {
        ids.iter()
            .filter(|id| !view.hide_unavailable_replicas || reachable(id))
            .map(|id| wire::broker_id(*id))
            .collect()
    };
    let state = &partition.state;
    let replica_nodes = visible(&partition.replicas);
    let isr_nodes = visible(&state.isr);
    let (leader, error) = if reachable(&state.leader) {
        let hidden =
            replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < state.isr.len();
        (
            state.leader,
            if hidden {
                ErrorCode::ReplicaNotAvailable
            } else {
                ErrorCode::None
            },
        )
    } else if view.snapshot.is_alive(state.leader) && view.tell_missing_listener {
        (BrokerId::NONE, ErrorCode::ListenerNotFound)
    } else {
        (BrokerId::NONE, ErrorCode::LeaderNotAvailable)
    };
    MetadataResponsePartition::default()
        .with_error_code(error.code())
        .with_partition_index(index)
        .with_leader_id(wire::broker_id(leader))
        .with_leader_epoch(state.leader_epoch.0)
        .with_replica_nodes(replica_nodes)
        .with_isr_nodes(isr_nodes)
        .with_offline_replicas(
            partition
                .offline_replicas
                .iter()
                .copied()
                .map(wire::broker_id)
                .collect(),
        )
}

fn unknown_operations() -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(StrBytes::default().into()))
        .with_topic_authorized_operations(authorized_operations::NOT_REQUESTED)
}
