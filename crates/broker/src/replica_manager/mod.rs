//! The replicas of this broker (`ReplicaManager`): decisions of `ottla-replication` joined with the
//! logs of `ottla-storage`.
//!
//! Each partition has one lock over its decisions and its log ([`hosted`]); appends run under it on
//! the caller's thread. Consumers read without any lock. Commands of the controller run one at a
//! time. Requests that wait stand in the purgatory and are completed by whoever changes the
//! partition, after its lock is gone.
//!
//! Read in this order: [`hosted`], [`append`], [`fetch`], [`offsets`], [`follower`],
//! [`commands`], [`log_dirs`], [`alter_log_dirs`].

mod alter_log_dirs;
mod append;
mod commands;
mod fetch;
mod follower;
mod gauges;
mod hosted;
mod isr;
mod log_dirs;
mod new_topics;
mod offsets;
mod sessions;
#[cfg(test)]
mod tests;
mod throttles;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_config::BrokerConfig;
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, TopicName, TopicPartition};
use ottla_replication::control::{ControlFence, Hosted as HostedFacts, lookup_error};
use ottla_replication::isr_manager::IsrManager;
use ottla_replication::quota::ReplicationQuota;
use ottla_storage::{LogConfig, LogManager, LogReader};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::configs::Configs;
use crate::dynamic_config::DynamicConfig;
use crate::fetcher::Fetchers;
use crate::metadata_cache::MetadataCache;
use crate::metrics::BrokerCounts;

pub(crate) use alter_log_dirs::MoveStep;
pub use append::AppendOutcome;
pub(crate) use append::{AppendEntry, wait_until_replicated};
pub(crate) use fetch::{ClientPlace, FetchEntry, FetchParams, ReadResult};
pub(crate) use follower::FetchedFromLeader;
pub(crate) use gauges::PartitionGauges;
pub(crate) use hosted::HostedPartition;
use hosted::{Hosted, HostedTable};
pub(crate) use log_dirs::LogDirDescription;
pub(crate) use offsets::{ClientIsolation, OffsetQuery};
use sessions::FetchSessions;

/// The replica selector that knows racks; any other one ends the start of the broker.
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Who is told when this broker begins or ceases to lead partitions of Kafka's internal topics, and
/// which partitions are deleted from the cluster. Called under the replica state lock: must not
/// block and must not command replicas.
pub trait LeadershipListener: Send + Sync {
    /// This broker leads the partition, an internal one, from this epoch on.
    fn on_election(&self, partition: &TopicPartition, leader_epoch: LeaderEpoch);

    /// This broker does not lead the partition, an internal one, any more, or has lost its replica;
    /// the epoch is that of the new leader, if it is known.
    fn on_resignation(&self, partition: &TopicPartition, leader_epoch: Option<LeaderEpoch>);

    /// The controller deletes these partitions of any topic.
    fn on_partitions_deleted(&self, partitions: &[TopicPartition]);
}

/// See the module.
pub struct ReplicaManager {
    local: BrokerId,
    broker_epoch: AtomicI64,
    clock: Clock,
    configs: Arc<Configs>,
    metadata_cache: Arc<MetadataCache>,
    log_manager: Arc<LogManager>,
    table: ArcSwap<HostedTable>,
    /// The replica state lock: commands run one at a time.
    control: Mutex<ControlFence>,
    listener: OnceLock<Arc<dyn LeadershipListener>>,
    fetchers: OnceLock<Arc<Fetchers>>,
    dynamic_config: OnceLock<Arc<DynamicConfig>>,
    isr_manager: Mutex<IsrManager>,
    /// Notified when a change of in-sync replicas waits to be sent.
    isr_proposed: Notify,
    leader_quota: Mutex<ReplicationQuota>,
    selects_replicas_by_rack: bool,
    checkpoints_started: AtomicBool,
    counts: Arc<BrokerCounts>,
    pub(crate) fetch_sessions: FetchSessions,
}

impl fmt::Debug for ReplicaManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaManager")
            .field("broker", &self.local)
            .finish_non_exhaustive()
    }
}

impl ReplicaManager {
    /// A broker without partitions, over logs that are loaded already.
    pub fn new(
        local: BrokerId,
        clock: Clock,
        configs: Arc<Configs>,
        metadata_cache: Arc<MetadataCache>,
        log_manager: Arc<LogManager>,
    ) -> Arc<Self> {
        let broker = configs.broker();
        let slots = usize::try_from(broker.max_incremental_fetch_session_cache_slots).unwrap_or(0);
        let window_count = u32::try_from(broker.replication_quota_window_num).unwrap_or(1);
        let window_seconds =
            u64::try_from(broker.replication_quota_window_size_seconds).unwrap_or(1);
        let window = Duration::from_secs(window_seconds);
        Arc::new(Self {
            local,
            broker_epoch: AtomicI64::new(BrokerEpoch::NONE.0),
            clock,
            selects_replicas_by_rack: broker.replica_selector_class.as_deref()
                == Some(RACK_AWARE_SELECTOR),
            configs,
            metadata_cache,
            log_manager,
            table: ArcSwap::default(),
            control: Mutex::default(),
            listener: OnceLock::new(),
            fetchers: OnceLock::new(),
            dynamic_config: OnceLock::new(),
            isr_manager: Mutex::default(),
            isr_proposed: Notify::new(),
            leader_quota: Mutex::new(ReplicationQuota::new(window_count, window)),
            checkpoints_started: AtomicBool::new(false),
            counts: Arc::default(),
            fetch_sessions: FetchSessions::new(slots),
        })
    }

    /// Sets where the configuration of new topics is read; once, before the first command. Without
    /// it they have the broker's defaults.
    pub fn set_dynamic_config(&self, dynamic_config: Arc<DynamicConfig>) {
        // A second one would be a fault of the assembly.
        assert!(
            self.dynamic_config.set(dynamic_config).is_ok(),
            "the source of configuration is set once"
        );
        self.update_throttled_rates();
    }

    /// Sets who is told of elections; once, before the first command.
    pub fn set_listener(&self, listener: Arc<dyn LeadershipListener>) {
        // A second listener would be a fault of the assembly.
        assert!(
            self.listener.set(listener).is_ok(),
            "the leadership listener is set once"
        );
    }

    /// This incarnation of the broker, once it is registered: older commands are refused.
    pub fn set_broker_epoch(&self, epoch: BrokerEpoch) {
        self.broker_epoch.store(epoch.0, Ordering::Release);
    }

    /// A handle to read a partition's log, if it is hosted here.
    pub fn reader(&self, partition: &TopicPartition) -> Option<LogReader> {
        let hosted = self
            .find_online(partition.topic.as_str(), partition.partition)
            .ok()?;
        hosted.view().reader().ok().cloned()
    }

    /// Takes over a changed configuration of a topic: call after [`Configs::set_topic`].
    pub fn update_topic_config(&self, topic: &str) {
        let config = self.configs.topic(topic);
        if let Some(name) = self.topic_name(topic) {
            self.throttle_topic(&name, &config);
        }
        let log_config = Arc::new(LogConfig::from(&*config));
        for hosted in self.table.load().online_of(topic) {
            let mut inner = hosted.lock();
            inner.config = Arc::clone(&config);
            if let Some(log) = &inner.log {
                log.lock().update_config(Arc::clone(&log_config));
            }
            if let Some(future) = &inner.future {
                future.log.lock().update_config(Arc::clone(&log_config));
            }
            hosted.publish(&inner);
        }
    }

    /// The broker's configuration in force.
    pub fn broker_config(&self) -> Arc<BrokerConfig> {
        self.configs.broker()
    }

    /// Takes over changed broker defaults: call after [`Configs::set_broker`].
    pub fn update_broker_config(&self) {
        self.update_throttled_rates();
        let broker = self.configs.broker();
        self.resize_fetchers(broker.num_replica_fetchers);
        self.log_manager
            .set_producer_expiration_ms(i64::from(broker.producer_id_expiration_ms));
        for topic in self.table.load().topic_names() {
            self.update_topic_config(topic.as_str());
        }
    }

    /// How many partitions this broker hosts, and how many of them it leads.
    pub fn partition_counts(&self) -> (usize, usize) {
        let table = self.table.load();
        let led = table
            .online()
            .filter(|hosted| hosted.view().partition().is_leader())
            .count();
        (table.online().count(), led)
    }

    /// What all partitions count.
    pub(crate) fn counts(&self) -> &Arc<BrokerCounts> {
        &self.counts
    }

    /// The partition, or Kafka's error for one that is not served here.
    pub(crate) fn find_online(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Arc<HostedPartition>, ErrorCode> {
        let facts = match self.table.load().get(topic, partition) {
            Some(Hosted::Online(hosted)) => return Ok(Arc::clone(hosted)),
            Some(Hosted::Offline) => HostedFacts::Offline,
            None => HostedFacts::None,
        };
        let snapshot = self.metadata_cache.snapshot();
        let is_known = snapshot
            .topic(topic)
            .is_some_and(|topic| topic.partitions.contains_key(&partition));
        Err(lookup_error(facts, is_known))
    }

    /// A topic's name as it is shared here, so that it need not be allocated again.
    pub(crate) fn topic_name(&self, topic: &str) -> Option<TopicName> {
        self.table.load().topic_name(topic).cloned()
    }

    fn broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.broker_epoch.load(Ordering::Acquire))
    }

    /// `replica.lag.time.max.ms`.
    fn lag_max(&self) -> Duration {
        let millis = self.configs.broker().replica_lag_time_max_ms;
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Runs what may block on a thread for that. A panic in it is passed on: it is a fault.
    async fn run_aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime cancels such work, and then nobody waits for it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The same for work that may fail.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        self.run_aside(work).await
    }
}
