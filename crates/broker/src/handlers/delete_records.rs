//! DeleteRecords (key 21, versions 0–2): raises the start of logs.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use ottla_model::{ErrorCode, TopicName, TopicPartition};

use super::wire;
use crate::broker::Broker;

/// Deletes, waits for the live followers, answers each partition's low watermark.
pub(crate) async fn handle(
    broker: &Broker,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let snapshot = broker.metadata_cache.snapshot();
    let mut unknown = Vec::new();
    // Of a partition that is named twice the last offset counts.
    let mut offsets = BTreeMap::new();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for partition in &topic.partitions {
            let tp = TopicPartition {
                topic: name.clone(),
                partition: partition.partition_index,
            };
            if snapshot.contains(&tp) {
                offsets.insert(tp, partition.offset);
            } else {
                unknown.push((tp, ErrorCode::UnknownTopicOrPartition, -1));
            }
        }
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut answers = broker
        .replica_manager
        .delete_records(timeout, offsets.into_iter().collect())
        .await;
    answers.append(&mut unknown);

    let mut topics: BTreeMap<TopicName, Vec<DeleteRecordsPartitionResult>> = BTreeMap::new();
    for (tp, error, low_watermark) in answers {
        topics.entry(tp.topic).or_default().push(
            DeleteRecordsPartitionResult::default()
                .with_partition_index(tp.partition)
                .with_low_watermark(low_watermark)
                .with_error_code(error.code()),
        );
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DeleteRecordsTopicResult::default()
            .with_name(wire::name(&name))
            .with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
