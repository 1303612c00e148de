//! OffsetCommit (key 8, versions 0–9). Version 0 goes to znodes, the others to the coordinator.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_coordination::{paths, payloads};
use ottla_group_coordinator::{self as group, OffsetAndMetadata};
use ottla_model::{ErrorCode, LeaderEpoch, Timestamp, TopicName, TopicPartition};
use ottla_network::RequestContext;

use super::group_wire::{is_static_member_too_new, shared, shared_option};
use super::wire;
use crate::broker::Broker;

/// "Now" for a commit's timestamp, "the broker's" for its retention.
const DEFAULT: i64 = -1;

/// Answers in the order of the request's topics; what the coordinator knows of comes after what
/// does not exist.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut answers: Vec<(TopicPartition, ErrorCode)> = Vec::new();
    let mut known: Vec<(TopicPartition, &OffsetCommitRequestPartition)> = Vec::new();
    let is_refused = is_static_member_too_new(broker, request.group_instance_id.as_ref());
    let snapshot = broker.metadata_cache.snapshot();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for committed in &topic.partitions {
            let partition = TopicPartition {
                topic: name.clone(),
                partition: committed.partition_index,
            };
            if is_refused {
                answers.push((partition, ErrorCode::UnsupportedVersion));
            } else if snapshot.contains(&partition) {
                known.push((partition, committed));
            } else {
                answers.push((partition, ErrorCode::UnknownTopicOrPartition));
            }
        }
    }
    if known.is_empty() {
        return encode(answers);
    }
    if context.header.api_version == 0 {
        for (partition, committed) in known {
            let error = store_in_znode(broker, &request.group_id, &partition, committed).await;
            answers.push((partition, error));
        }
        return encode(answers);
    }
    let now = broker.clock.wall();
    let expire_timestamp = (request.retention_time_ms != DEFAULT)
        .then(|| Timestamp(now.0.saturating_add(request.retention_time_ms)));
    let commit = group::OffsetCommitRequest {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        group_instance_id: shared_option(request.group_instance_id.as_ref()),
        generation_id: request.generation_id_or_member_epoch,
        offsets: known
            .into_iter()
            .map(|(partition, committed)| {
                (
                    partition,
                    offset_and_metadata(committed, now, expire_timestamp),
                )
            })
            .collect(),
    };
    answers.extend(broker.group_coordinator.commit_offsets(commit).await);
    encode(answers)
}

fn offset_and_metadata(
    committed: &OffsetCommitRequestPartition,
    now: Timestamp,
    expire_timestamp: Option<Timestamp>,
) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: committed.committed_offset,
        leader_epoch: LeaderEpoch(committed.committed_leader_epoch),
        metadata: committed
            .committed_metadata
            .as_deref()
            .unwrap_or_default()
            .into(),
        commit_timestamp: match committed.commit_timestamp {
            DEFAULT => now,
            given => Timestamp(given),
        },
        expire_timestamp,
    }
}

/// As clients before 0.8.2 have it: any broker answers, and nobody asks about membership.
async fn store_in_znode(
    broker: &Broker,
    group_id: &str,
    partition: &TopicPartition,
    committed: &OffsetCommitRequestPartition,
) -> ErrorCode {
    let limit = usize::try_from(broker.configs.broker().offset_metadata_max_bytes).unwrap_or(0);
    let metadata = committed.committed_metadata.as_deref().unwrap_or_default();
    if metadata.encode_utf16().count() > limit {
        return ErrorCode::OffsetMetadataTooLarge;
    }
    let path = paths::consumer_offset(group_id, partition);
    let data = payloads::encode_consumer_offset(committed.committed_offset);
    match broker.coordination.set_or_create(&path, Some(data)).await {
        Ok(()) => ErrorCode::None,
        Err(error) => {
            tracing::error!(path, %error, "an offset cannot be stored in its znode");
            ErrorCode::UnknownServerError
        }
    }
}

fn encode(answers: Vec<(TopicPartition, ErrorCode)>) -> OffsetCommitResponse {
    let mut topics: BTreeMap<TopicName, Vec<OffsetCommitResponsePartition>> = BTreeMap::new();
    for (partition, error) in answers {
        topics.entry(partition.topic).or_default().push(
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition)
                .with_error_code(error.code()),
        );
    }
    OffsetCommitResponse::default().with_topics(
        topics
            .into_iter()
            .map(|(name, partitions)| {
                OffsetCommitResponseTopic::default()
                    .with_name(wire::name(&name))
                    .with_partitions(partitions)
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_commit_leaves_out_is_now_and_empty() {
        let now = Timestamp(500);
        let committed = OffsetCommitRequestPartition::default().with_committed_offset(7);
        let value = offset_and_metadata(&committed, now, None);
        assert_eq!((value.offset, value.commit_timestamp), (7, now));
        assert_eq!(
            (&*value.metadata, value.leader_epoch),
            ("", LeaderEpoch::NONE)
        );
        let committed = committed
            .with_commit_timestamp(9)
            .with_committed_metadata(None);
        let value = offset_and_metadata(&committed, now, Some(Timestamp(600)));
        assert_eq!(
            (value.commit_timestamp, &*value.metadata),
            (Timestamp(9), "")
        );
        assert_eq!(value.expire_timestamp, Some(Timestamp(600)));
    }
}
