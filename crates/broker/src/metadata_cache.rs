//! What this broker knows of the cluster, fed by UpdateMetadata alone (`ZkMetadataCache`).
//!
//! A snapshot is immutable and swapped whole, so a reader takes one snapshot per request and
//! never waits for a writer. Topics are shared between snapshots: an update copies one map of
//! pointers and only the topics that it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_model::control::UpdateMetadataRequest;
use ottla_model::{BrokerId, LeaderAndIsr, LiveBroker, TopicId, TopicName, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::watch;

/// One partition as the controller last described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Leader, epochs and in-sync replicas.
    pub state: LeaderAndIsr,
    /// All assigned replicas.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are not online.
    pub offline_replicas: Vec<BrokerId>,
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its id, if it has one.
    pub id: Option<TopicId>,
    /// Its partitions by index.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct MetadataSnapshot {
    /// The active controller as the last UpdateMetadata named it.
    pub controller: Option<BrokerId>,
    /// Live brokers (those shutting down included).
    pub brokers: BTreeMap<BrokerId, LiveBroker>,
    topics: HashMap<TopicName, Arc<TopicMetadata>>,
    names: HashMap<TopicId, TopicName>,
}

impl MetadataSnapshot {
    /// A topic.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    /// A partition.
    pub fn partition(&self, partition: &TopicPartition) -> Option<&PartitionMetadata> {
        self.topics
            .get(&partition.topic)?
            .partitions
            .get(&partition.partition)
    }

    /// Whether the partition exists.
    pub fn contains(&self, partition: &TopicPartition) -> bool {
        self.partition(partition).is_some()
    }

    /// A topic's id, if it is known and has one.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name)?.id
    }

    /// The topic that has this id.
    pub fn topic_name(&self, id: TopicId) -> Option<&TopicName> {
        self.names.get(&id)
    }

    /// All topics, by name.
    pub fn topic_names(&self) -> Vec<TopicName> {
        let mut names: Vec<_> = self.topics.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// How many topics and partitions there are.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.topics.len(),
            self.topics
                .values()
                .map(|topic| topic.partitions.len())
                .sum(),
        )
    }

    /// Whether a broker is registered.
    pub fn is_alive(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker)
    }

    fn apply(&mut self, request: &UpdateMetadataRequest) -> Vec<TopicPartition> {
        let mut deleted = Vec::new();
        self.controller = request.header.controller_id.some();
        self.brokers = request
            .live_brokers
            .iter()
            .map(|broker| (broker.id, broker.clone()))
            .collect();
        for (name, id) in &request.topic_ids {
            let id = (!id.is_zero()).then_some(*id);
            if let Some(old) = self.topics.get(name).and_then(|topic| topic.id)
                && Some(old) != id
            {
                self.names.remove(&old);
            }
            if let Some(id) = id {
                self.names.insert(id, name.clone());
            }
            Arc::make_mut(self.topics.entry(name.clone()).or_default()).id = id;
        }
        for update in &request.partitions {
            let TopicPartition { topic, partition } = &update.topic_partition;
            if update.state.leader == BrokerId::LEADER_DURING_DELETE {
                if let Some(known) = self.topics.get_mut(topic) {
                    Arc::make_mut(known).partitions.remove(partition);
                }
                deleted.push(update.topic_partition.clone());
                continue;
            }
            Arc::make_mut(self.topics.entry(topic.clone()).or_default())
                .partitions
                .insert(
                    *partition,
                    PartitionMetadata {
                        state: update.state.clone(),
                        replicas: update.replicas.clone(),
                        offline_replicas: update.offline_replicas.clone(),
                    },
                );
        }
        // The id goes with the topic's last partition.
        let touched = request.topic_ids.iter().map(|(name, _)| name);
        for name in touched.chain(deleted.iter().map(|partition| &partition.topic)) {
            if self
                .topics
                .get(name)
                .is_some_and(|topic| topic.partitions.is_empty())
                && let Some(topic) = self.topics.remove(name)
                && let Some(id) = topic.id
            {
                self.names.remove(&id);
            }
        }
        deleted
    }
}

/// The broker's view of the cluster, and a way to wait for it to change.
#[derive(Debug)]
pub struct MetadataCache {
    snapshot: ArcSwap<MetadataSnapshot>,
    writer: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Default for MetadataCache {
    fn default() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writer: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }
}

impl MetadataCache {
    /// The cluster now.
    pub fn snapshot(&self) -> Arc<MetadataSnapshot> {
        self.snapshot.load_full()
    }

    /// Takes an UpdateMetadata whose epochs have been accepted; returns the partitions that it
    /// says are being deleted.
    pub fn update(&self, request: &UpdateMetadataRequest) -> Vec<TopicPartition> {
        let deleted = {
            let _writer = self.writer.lock();
            let mut next = MetadataSnapshot::clone(&self.snapshot.load());
            let deleted = next.apply(request);
            self.snapshot.store(Arc::new(next));
            deleted
        };
        self.changes.send_modify(|version| *version += 1);
        deleted
    }

    /// Waits until `condition` holds of a snapshot or the deadline passes; tells which.
    pub async fn wait_until(
        &self,
        deadline: tokio::time::Instant,
        mut condition: impl FnMut(&MetadataSnapshot) -> bool,
    ) -> bool {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if condition(&self.snapshot.load()) {
                return true;
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return condition(&self.snapshot.load()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_model::control::{ControlHeader, UpdateMetadataPartition};
    use ottla_model::{
        BrokerEpoch, ControllerEpoch, LeaderEpoch, LeaderRecoveryState, PartitionEpoch,
    };

    use super::*;

    fn update(partitions: &[(&str, i32, i32)], ids: &[(&str, u8)]) -> UpdateMetadataRequest {
        UpdateMetadataRequest {
            header: ControlHeader {
                controller_id: BrokerId(0),
                controller_epoch: ControllerEpoch(1),
                broker_epoch: BrokerEpoch(7),
            },
            partitions: partitions
                .iter()
                .map(|&(topic, index, leader)| UpdateMetadataPartition {
                    topic_partition: TopicPartition::new(topic, index),
                    state: LeaderAndIsr {
                        leader: BrokerId(leader),
                        leader_epoch: LeaderEpoch(0),
                        isr: vec![BrokerId(0)],
                        recovery: LeaderRecoveryState::Recovered,
                        partition_epoch: PartitionEpoch(0),
                        controller_epoch: ControllerEpoch(1),
                    },
                    replicas: vec![BrokerId(0)],
                    offline_replicas: vec![],
                })
                .collect(),
            topic_ids: ids
                .iter()
                .map(|&(topic, id)| (TopicName::from(topic), TopicId([id; 16])))
                .collect(),
            live_brokers: vec![],
        }
    }

    #[test]
    fn partitions_are_merged_and_those_not_named_stay() {
        let cache = MetadataCache::default();
        cache.update(&update(&[("t", 0, 0)], &[("t", 1)]));
        cache.update(&update(&[("t", 1, 0), ("u", 0, 0)], &[("t", 1), ("u", 2)]));
        let snapshot = cache.snapshot();
        assert_eq!(snapshot.topic("t").unwrap().partitions.len(), 2);
        assert_eq!(
            snapshot.topic_name(TopicId([2; 16])),
            Some(&TopicName::from("u"))
        );
    }

    #[test]
    fn a_topic_and_its_id_go_with_its_last_partition() {
        let cache = MetadataCache::default();
        cache.update(&update(&[("t", 0, 0), ("t", 1, 0)], &[("t", 1)]));
        assert_eq!(cache.update(&update(&[("t", 0, -2)], &[("t", 1)])).len(), 1);
        assert!(cache.snapshot().topic("t").is_some());
        cache.update(&update(&[("t", 1, -2)], &[("t", 1)]));
        assert!(cache.snapshot().topic("t").is_none());
        assert_eq!(cache.snapshot().topic_name(TopicId([1; 16])), None);
    }

    #[test]
    fn a_zero_id_forgets_the_topics_id() {
        let cache = MetadataCache::default();
        cache.update(&update(&[("t", 0, 0)], &[("t", 1)]));
        cache.update(&update(&[("t", 0, 0)], &[("t", 0)]));
        assert_eq!(cache.snapshot().topic_id("t"), None);
        assert_eq!(cache.snapshot().topic_name(TopicId([1; 16])), None);
    }
}
