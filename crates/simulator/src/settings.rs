//! What a cluster is like: fixed for one simulation, drawn from its seed.

use std::time::Duration;

use ottla_model::TopicPartition;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};

use crate::random::Random;

/// The shape of a cluster, its configuration and how bad its network is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many brokers; their ids count from 0.
    pub brokers: i32,
    /// `min.insync.replicas` of every topic.
    pub min_insync_replicas: i32,
    /// `replica.lag.time.max.ms`
    pub replica_lag_time_max: Duration,
    /// `zookeeper.session.timeout.ms`
    pub session_timeout: Duration,
    /// `replica.fetch.wait.max.ms`
    pub fetch_wait_max: Duration,
    /// `replica.fetch.backoff.ms`
    pub fetch_backoff: Duration,
    /// `replica.fetch.max.bytes`
    pub fetch_bytes_max: usize,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval: Duration,
    /// `log.flush.interval.messages`
    pub flush_messages: i64,
    /// How often logs are flushed and recovery points written.
    pub flush_interval: Duration,
    /// `log.segment.bytes`
    pub segment_bytes: u64,
    /// Leaders answer fetches with diverging epochs (inter-broker protocol 2.7 and above);
    /// otherwise followers ask where epochs end before they fetch.
    pub truncation_on_fetch: bool,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
    /// `transaction.state.log.num.partitions`; 0 without transactions.
    pub transaction_partitions: i32,
    /// The longest way of a message over the network when all is well.
    pub delay_max: Duration,
    /// Of 1000 messages this many are lost, with their connection.
    pub loss_permille: u64,
}

impl Settings {
    /// A quiet cluster: short delays, nothing lost, nothing drawn.
    pub fn quiet(brokers: i32) -> Self {
        Self {
            brokers,
            min_insync_replicas: 1,
            replica_lag_time_max: Duration::from_secs(10),
            session_timeout: Duration::from_secs(3),
            fetch_wait_max: Duration::from_millis(500),
            fetch_backoff: Duration::from_secs(1),
            fetch_bytes_max: 1 << 20,
            high_watermark_checkpoint_interval: Duration::from_secs(5),
            flush_messages: i64::MAX,
            flush_interval: Duration::from_secs(20),
            segment_bytes: 1 << 20,
            truncation_on_fetch: true,
            auto_leader_rebalance: false,
            transaction_partitions: 0,
            delay_max: Duration::from_millis(2),
            loss_permille: 0,
        }
    }

    pub(crate) fn draw(random: &mut Random) -> Self {
        let flush_messages = if random.chance(25) { 1 } else { i64::MAX };
        Self {
            brokers: random.between(3, 5) as i32,
            min_insync_replicas: random.between(1, 2) as i32,
            replica_lag_time_max: random.millis(2_000, 10_000),
            session_timeout: random.millis(2_000, 6_000),
            fetch_bytes_max: if random.chance(50) { 400 } else { 1 << 20 },
            fetch_backoff: random.millis(100, 1_000),
            high_watermark_checkpoint_interval: random.millis(500, 5_000),
            flush_messages,
            flush_interval: random.millis(1_000, 30_000),
            segment_bytes: if random.chance(50) { 2_000 } else { 1 << 20 },
            truncation_on_fetch: random.chance(75),
            auto_leader_rebalance: random.chance(50),
            transaction_partitions: random.between(0, 2) as i32,
            delay_max: random.millis(1, 60),
            loss_permille: random.between(0, 15),
            ..Self::quiet(0)
        }
    }

    /// The only partition of `__consumer_offsets`.
    pub(crate) fn offsets_partition() -> TopicPartition {
        TopicPartition::new(GROUP_METADATA_TOPIC, 0)
    }

    /// Which partition of `__transaction_state` coordinates an id.
    pub(crate) fn transaction_partition(&self, transactional_id: &str) -> TopicPartition {
        let sum: i32 = transactional_id.bytes().map(i32::from).sum();
        let partition = sum % self.transaction_partitions.max(1);
        TopicPartition::new(TRANSACTION_STATE_TOPIC, partition)
    }
}
