//! Throttled replication: which replicas, by topic configs, and how fast, by dynamic broker values
//! (`TopicConfigHandler`, `BrokerConfigHandler`).

use ottla_config::TopicConfig;
use ottla_model::{TopicName, TopicPartition};
use ottla_replication::quota::ThrottledReplicas;

use super::ReplicaManager;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const MOVE_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// Kafka's default of all rates, which limits nothing.
const UNLIMITED: u64 = i64::MAX as u64;

impl ReplicaManager {
    /// Takes over which replicas of a topic are throttled.
    pub(super) fn throttle_topic(&self, topic: &TopicName, config: &TopicConfig) {
        let of = |replicas: &[String]| match replicas {
            [] => None,
            replicas => ThrottledReplicas::parse(&replicas.join(","), self.local.0),
        };
        let leaders = of(&config.leader_replication_throttled_replicas);
        self.leader_quota
            .lock()
            .set_throttled(topic.clone(), leaders);
        if let Some(fetchers) = self.fetchers() {
            let followers = of(&config.follower_replication_throttled_replicas);
            fetchers
                .follower_quota()
                .lock()
                .set_throttled(topic.clone(), followers);
        }
    }

    /// Whether what followers read of a partition counts against the leader's limit.
    pub(crate) fn is_throttled_as_leader(&self, partition: &TopicPartition) -> bool {
        self.leader_quota.lock().is_throttled(partition)
    }

    /// Counts what is sent to a follower.
    pub(crate) fn sent_to_follower(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.leader_quota.lock().record(bytes, self.clock.now());
    }

    /// Takes over the rates in force.
    pub(super) fn update_throttled_rates(&self) {
        let Some(dynamic_config) = self.dynamic_config.get() else {
            return;
        };
        let values = dynamic_config.in_force();
        let rate = |key: &str| {
            let value = values.broker.get(key).or_else(|| values.default.get(key));
            // Values were checked when they were put in force.
            let rate = value.and_then(|value| value.trim().parse().ok());
            rate.unwrap_or(UNLIMITED)
        };
        self.leader_quota.lock().set_limit(rate(LEADER_RATE));
        if let Some(fetchers) = self.fetchers() {
            let mut quota = fetchers.follower_quota().lock();
            quota.set_limit(rate(FOLLOWER_RATE));
            drop(quota);
            let movers = fetchers.movers();
            movers.quota().lock().set_limit(rate(MOVE_RATE));
        }
    }
}
