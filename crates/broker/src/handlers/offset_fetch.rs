//! OffsetFetch (key 9, versions 0–9). Version 0 reads znodes, the others ask the coordinator.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use ottla_coordination::{paths, payloads};
use ottla_group_coordinator::FetchedOffset;
use ottla_model::{ErrorCode, LeaderEpoch, TopicName, TopicPartition};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;

/// Before it there is no error for the whole group.
const FIRST_WITH_GROUP_ERROR: i16 = 2;
/// From this version on a request names several groups.
const FIRST_BATCHED: i16 = 8;

/// Offsets by topic, topics by name.
type ByTopic = BTreeMap<TopicName, Vec<FetchedOffset>>;

/// Answers with committed offsets; unknown groups and partitions have offset −1 and no error.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let version = context.header.api_version;
    if version >= FIRST_BATCHED {
        let groups = request.groups.into_iter().map(|asked| {
            let partitions = asked.topics.map(|topics| {
                flatten(
                    topics
                        .iter()
                        .map(|t| (wire::topic_name(&t.name), &*t.partition_indexes)),
                )
            });
            let require_stable = request.require_stable;
            let fetched = fetch(
                broker,
                &asked.group_id,
                partitions.as_deref(),
                require_stable,
            );
            let (error, topics) = split(fetched);
            OffsetFetchResponseGroup::default()
                .with_group_id(asked.group_id)
                .with_error_code(error.code())
                .with_topics(
                    topics
                        .into_iter()
                        .map(|(name, o)| batched_topic(&name, o))
                        .collect(),
                )
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let partitions = request.topics.map(|topics| {
        flatten(
            topics
                .iter()
                .map(|t| (wire::topic_name(&t.name), &*t.partition_indexes)),
        )
    });
    let fetched = if version == 0 {
        let partitions = partitions.unwrap_or_default();
        Ok(fetch_from_znodes(broker, &request.group_id, partitions).await)
    } else {
        fetch(
            broker,
            &request.group_id,
            partitions.as_deref(),
            request.require_stable,
        )
    };
    let (error, topics) = split(fetched);
    let response = OffsetFetchResponse::default().with_topics(
        topics
            .into_iter()
            .map(|(name, o)| single_topic(&name, o))
            .collect(),
    );
    if version >= FIRST_WITH_GROUP_ERROR {
        response.with_error_code(error.code())
    } else {
        // Nothing is left that could carry a group's error: as in Kafka the list is empty.
        response
    }
}

fn flatten<'a>(topics: impl Iterator<Item = (TopicName, &'a [i32])>) -> Vec<TopicPartition> {
    topics
        .flat_map(|(topic, partitions)| {
            partitions.iter().map(move |partition| TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            })
        })
        .collect()
}

fn fetch(
    broker: &Broker,
    group_id: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Vec<FetchedOffset>, ErrorCode> {
    broker
        .group_coordinator
        .fetch_offsets(group_id, partitions, require_stable)
}

async fn fetch_from_znodes(
    broker: &Broker,
    group_id: &str,
    partitions: Vec<TopicPartition>,
) -> Vec<FetchedOffset> {
    let snapshot = broker.metadata_cache.snapshot();
    let mut fetched = Vec::with_capacity(partitions.len());
    for topic_partition in partitions {
        let offset = if snapshot.contains(&topic_partition) {
            read_znode(broker, group_id, &topic_partition).await
        } else {
            Err(ErrorCode::UnknownTopicOrPartition)
        };
        fetched.push(FetchedOffset {
            topic_partition,
            offset: offset.unwrap_or(-1),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            error: offset.err().unwrap_or(ErrorCode::None),
        });
    }
    fetched
}

async fn read_znode(
    broker: &Broker,
    group_id: &str,
    partition: &TopicPartition,
) -> Result<i64, ErrorCode> {
    let path = paths::consumer_offset(group_id, partition);
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(path, %error, "an offset cannot be read from its znode");
        ErrorCode::UnknownServerError
    };
    match broker.coordination.find_data(path.as_str(), false).await {
        Ok(Some((Some(data), _))) => {
            payloads::decode_consumer_offset(&data).map_err(|error| failed(&error))
        }
        Ok(Some((None, _)) | None) => Err(ErrorCode::UnknownTopicOrPartition),
        Err(error) => Err(failed(&error)),
    }
}

fn split(fetched: Result<Vec<FetchedOffset>, ErrorCode>) -> (ErrorCode, ByTopic) {
    let (error, offsets) = match fetched {
        Ok(offsets) => (ErrorCode::None, offsets),
        Err(error) => (error, Vec::new()),
    };
    let mut topics = ByTopic::new();
    for offset in offsets {
        topics
            .entry(offset.topic_partition.topic.clone())
            .or_default()
            .push(offset);
    }
    (error, topics)
}

fn single_topic(name: &TopicName, offsets: Vec<FetchedOffset>) -> OffsetFetchResponseTopic {
    let partitions = offsets.into_iter().map(|offset| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(offset.topic_partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch.0)
            .with_metadata(Some(wire::text(&offset.metadata)))
            .with_error_code(offset.error.code())
    });
    OffsetFetchResponseTopic::default()
        .with_name(wire::name(name))
        .with_partitions(partitions.collect())
}

fn batched_topic(name: &TopicName, offsets: Vec<FetchedOffset>) -> OffsetFetchResponseTopics {
    let partitions = offsets.into_iter().map(|offset| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(offset.topic_partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch.0)
            .with_metadata(Some(wire::text(&offset.metadata)))
            .with_error_code(offset.error.code())
    });
    OffsetFetchResponseTopics::default()
        .with_name(wire::name(name))
        .with_partitions(partitions.collect())
}
