//! ListOffsets (key 2, versions 0–9): offsets by timestamp, and the ends of a log.

use std::collections::BTreeSet;

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_model::{ErrorCode, LeaderEpoch, TopicPartition};
use ottla_network::RequestContext;
use ottla_replication::partition::ReadRequirement;

use super::wire;
use crate::broker::Broker;
use crate::replica_manager::{ClientIsolation, OffsetQuery};

/// The replica id of consumers.
const CONSUMER: i32 = -1;
/// The replica id that may ask any replica.
const DEBUGGING: i32 = -2;

/// The first version that knows a special timestamp; `None` for those that no version knows.
fn first_version(timestamp: i64) -> Option<i16> {
    match timestamp {
        OffsetQuery::LATEST | OffsetQuery::EARLIEST => Some(0),
        OffsetQuery::MAX_TIMESTAMP => Some(7),
        OffsetQuery::EARLIEST_LOCAL => Some(8),
        OffsetQuery::LATEST_TIERED => Some(9),
        negative if negative < 0 => None,
        _ => Some(0),
    }
}

/// Answers the request. Looking timestamps up may read from disk, which is done aside.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let version = context.header.api_version;
    let duplicates = if version == 0 {
        BTreeSet::new()
    } else {
        duplicate_partitions(&request)
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let tp = TopicPartition {
                topic: name.clone(),
                partition: partition.partition_index,
            };
            let supported =
                first_version(partition.timestamp).is_some_and(|first| first <= version);
            partitions.push(if duplicates.contains(&tp) {
                failed(version, partition, ErrorCode::InvalidRequest)
            } else if !supported {
                failed(version, partition, ErrorCode::UnsupportedVersion)
            } else if version == 0 {
                answer_legacy(broker, &request, tp, partition).await
            } else {
                answer(broker, version, &request, tp, partition).await
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn answer(
    broker: &Broker,
    version: i16,
    request: &ListOffsetsRequest,
    tp: TopicPartition,
    partition: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let query = OffsetQuery {
        timestamp: partition.timestamp,
        isolation: match (request.replica_id.0, request.isolation_level) {
            (CONSUMER, 1) => Some(ClientIsolation::ReadCommitted),
            (CONSUMER, _) => Some(ClientIsolation::ReadUncommitted),
            _ => None,
        },
        current_leader_epoch: (partition.current_leader_epoch != -1)
            .then_some(LeaderEpoch(partition.current_leader_epoch)),
        from: read_requirement(request),
    };
    match broker.replica_manager.offset_for_timestamp(tp, query).await {
        Ok(Some(found)) => ListOffsetsPartitionResponse::default()
            .with_partition_index(partition.partition_index)
            .with_timestamp(found.timestamp)
            .with_offset(found.offset)
            .with_leader_epoch(match found.leader_epoch {
                Some(epoch) if version >= 4 => epoch.0,
                _ => -1,
            }),
        Ok(None) => failed(version, partition, ErrorCode::None),
        Err(ErrorCode::OffsetNotAvailable) if version < 5 => {
            failed(version, partition, ErrorCode::LeaderNotAvailable)
        }
        Err(error) => failed(version, partition, error),
    }
}

/// Version 0 answers a list of offsets, newest first.
async fn answer_legacy(
    broker: &Broker,
    request: &ListOffsetsRequest,
    tp: TopicPartition,
    partition: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let offsets = broker
        .replica_manager
        .legacy_offsets(
            tp,
            partition.timestamp,
            partition.max_num_offsets,
            request.replica_id.0 == CONSUMER,
            read_requirement(request),
        )
        .await;
    match offsets {
        Ok(offsets) => ListOffsetsPartitionResponse::default()
            .with_partition_index(partition.partition_index)
            .with_old_style_offsets(offsets),
        Err(error) => failed(0, partition, error),
    }
}

fn read_requirement(request: &ListOffsetsRequest) -> ReadRequirement {
    if request.replica_id.0 == DEBUGGING {
        ReadRequirement::AnyReplica
    } else {
        ReadRequirement::Leader
    }
}

fn failed(
    version: i16,
    partition: &ListOffsetsPartition,
    error: ErrorCode,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(error.code());
    if version > 0 {
        response.timestamp = -1;
        response.offset = -1;
    }
    response
}

fn duplicate_partitions(request: &ListOffsetsRequest) -> BTreeSet<TopicPartition> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for partition in &topic.partitions {
            let tp = TopicPartition {
                topic: name.clone(),
                partition: partition.partition_index,
            };
            if !seen.insert(tp.clone()) {
                duplicates.insert(tp);
            }
        }
    }
    duplicates
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;

    use super::*;

    #[test]
    fn special_timestamps_by_version() {
        for (timestamp, expected) in [
            (-1, Some(0)),
            (-2, Some(0)),
            (-3, Some(7)),
            (-4, Some(8)),
            (-5, Some(9)),
            (-6, None),
            (i64::MIN, None),
            (0, Some(0)),
            (1_700_000_000_000, Some(0)),
        ] {
            assert_eq!(first_version(timestamp), expected, "{timestamp}");
        }
    }

    #[test]
    fn duplicates_are_found_across_topics_entries() {
        let topic = |partitions: &[i32]| {
            ListOffsetsTopic::default()
                .with_name(wire::name(&"t".into()))
                .with_partitions(
                    partitions
                        .iter()
                        .map(|p| ListOffsetsPartition::default().with_partition_index(*p))
                        .collect(),
                )
        };
        let request =
            ListOffsetsRequest::default().with_topics(vec![topic(&[0, 1]), topic(&[1, 2])]);
        assert_eq!(
            duplicate_partitions(&request),
            BTreeSet::from([TopicPartition::new("t", 1)])
        );
    }
}
