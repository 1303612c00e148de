//! AlterReplicaLogDirs (key 34, versions 0–2): replicas move between the directories of this broker.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use ottla_model::{TopicName, TopicPartition};

use super::wire;
use crate::broker::Broker;

/// Begins the moves, and answers before they are done. The last directory counts that a partition is
/// named under.
pub(crate) async fn handle(
    broker: &Broker,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut wanted = BTreeMap::new();
    for directory in &request.dirs {
        for topic in &directory.topics {
            let name = wire::topic_name(&topic.name);
            for &partition in &topic.partitions {
                let topic = name.clone();
                let tp = TopicPartition { topic, partition };
                wanted.insert(tp, directory.path.to_string());
            }
        }
    }
    let answers = broker.replica_manager.alter_replica_log_dirs(wanted).await;
    let mut topics: BTreeMap<TopicName, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for (tp, error) in answers {
        topics.entry(tp.topic).or_default().push(
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(tp.partition)
                .with_error_code(error.code()),
        );
    }
    let results = topics.into_iter().map(|(name, partitions)| {
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(wire::name(&name))
            .with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
