//! DescribeLogDirs (key 35, versions 0–4): what lies on which disk.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ottla_model::{TopicName, TopicPartition};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;
use crate::replica_manager::LogDirDescription;

/// The first version that tells the volume's size.
const FIRST_WITH_SIZES: i16 = 4;

/// Answers the request; null topics ask for all.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let asked = request.topics.map(|topics| {
        let partitions = topics.iter().flat_map(|topic| {
            let name = wire::topic_name(&topic.topic);
            topic
                .partitions
                .iter()
                .map(move |&partition| TopicPartition {
                    topic: name.clone(),
                    partition,
                })
        });
        partitions.collect::<BTreeSet<_>>()
    });
    let version = context.header.api_version;
    let described = broker.replica_manager.describe_log_dirs(asked).await;
    let results = described
        .into_iter()
        .map(|directory| encode(version, directory));
    DescribeLogDirsResponse::default().with_results(results.collect())
}

fn encode(version: i16, directory: LogDirDescription) -> DescribeLogDirsResult {
    let mut topics: BTreeMap<TopicName, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in directory.logs {
        topics.entry(log.topic_partition.topic).or_default().push(
            DescribeLogDirsPartition::default()
                .with_partition_index(log.topic_partition.partition)
                .with_partition_size(log.size)
                .with_offset_lag(log.offset_lag)
                .with_is_future_key(log.is_future),
        );
    }
    let mut result = DescribeLogDirsResult::default()
        .with_error_code(directory.error.code())
        .with_log_dir(wire::text(&directory.path))
        .with_topics(
            topics
                .into_iter()
                .map(|(name, partitions)| {
                    DescribeLogDirsTopic::default()
                        .with_name(wire::name(&name))
                        .with_partitions(partitions)
                })
                .collect(),
        )
        .with_total_bytes(-1)
        .with_usable_bytes(-1);
    if version >= FIRST_WITH_SIZES {
        result.total_bytes = directory.total_bytes;
        result.usable_bytes = directory.usable_bytes;
    }
    result
}
