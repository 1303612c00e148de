//! What UpdateMetadata has told.

use std::collections::BTreeMap;

use ottla_model::control::UpdateMetadataRequest;
use ottla_model::{BrokerId, LeaderAndIsr, LiveBroker, TopicId, TopicName, TopicPartition};

#[derive(Default)]
pub(super) struct Metadata {
    brokers: BTreeMap<BrokerId, LiveBroker>,
    partitions: BTreeMap<TopicPartition, LeaderAndIsr>,
    topic_ids: BTreeMap<TopicName, TopicId>,
}

impl Metadata {
    pub(super) fn update(&mut self, request: &UpdateMetadataRequest) {
        self.brokers = request
            .live_brokers
            .iter()
            .map(|broker| (broker.id, broker.clone()))
            .collect();
        for partition in &request.partitions {
            let tp = &partition.topic_partition;
            if partition.state.leader == BrokerId::LEADER_DURING_DELETE {
                self.partitions.remove(tp);
            } else {
                self.partitions.insert(tp.clone(), partition.state.clone());
            }
        }
        self.topic_ids.extend(request.topic_ids.iter().cloned());
    }

    pub(super) fn is_alive(&self, id: BrokerId) -> bool {
        self.brokers.contains_key(&id)
    }

    pub(super) fn knows(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    pub(super) fn knows_topic(&self, topic: &str) -> bool {
        self.partitions.keys().any(|tp| tp.topic.as_str() == topic)
    }

    pub(super) fn leader(&self, partition: &TopicPartition) -> Option<BrokerId> {
        self.partitions.get(partition)?.leader.some()
    }
}
