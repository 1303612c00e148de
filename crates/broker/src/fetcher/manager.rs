//! Which fetcher follows what (`ReplicaFetcherManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use ottla_client::ConnectionConfig;
use ottla_config::BrokerConfig;
use ottla_model::{BrokerId, TopicId, TopicPartition};
use ottla_replication::fetcher::{
    Fetcher, FetcherSettings, InitialFetch, fetcher_client_id, fetcher_id, fetcher_name,
};
use ottla_replication::quota::ReplicationQuota;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::leader::Leader;
use super::log_dir_movers::LogDirMovers;
use super::session::FetchSession;
use super::versions::LeaderVersions;
use super::worker::{FetchLimits, Shared, Worker};
use crate::metadata_cache::MetadataCache;
use crate::replica_manager::ReplicaManager;

/// A partition that begins to follow a leader.
pub(crate) struct Follow {
    pub(crate) partition: TopicPartition,
    pub(crate) leader: BrokerId,
    pub(crate) initial: InitialFetch,
}

/// What the metrics show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FetcherCounts {
    /// Running fetchers.
    pub fetchers: usize,
    /// Partitions that they follow.
    pub partitions: usize,
    /// Partitions that wait for a new LeaderAndIsr (`FailedPartitionsCount`).
    pub failed_partitions: usize,
    /// The largest known lag in records (`MaxLag`).
    pub lag_max: i64,
}

type FetcherKey = (BrokerId, i32);

/// All fetchers of this broker.
pub struct Fetchers {
    replica_manager: Arc<ReplicaManager>,
    metadata_cache: Arc<MetadataCache>,
    listener: String,
    versions: LeaderVersions,
    settings: FetcherSettings,
    limits: FetchLimits,
    fetcher_count: AtomicI32,
    socket_timeout: Duration,
    runtime: Handle,
    running: Mutex<BTreeMap<FetcherKey, Running>>,
    failed: Arc<Mutex<BTreeSet<TopicPartition>>>,
    quota: Arc<Mutex<ReplicationQuota>>,
    movers: LogDirMovers,
}

struct Running {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Fetchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetchers")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Fetchers {
    /// Makes the fetchers and gives them to the replica manager, whose commands start and stop
    /// them: before the first command, within a tokio runtime.
    pub fn start(
        config: &BrokerConfig,
        replica_manager: &Arc<ReplicaManager>,
        metadata_cache: &Arc<MetadataCache>,
    ) -> Arc<Self> {
        let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
        let versions = LeaderVersions::of(config.inter_broker_protocol_version());
        let window_count = u32::try_from(config.replication_quota_window_num).unwrap_or(1);
        let window_seconds =
            u64::try_from(config.replication_quota_window_size_seconds).unwrap_or(1);
        let fetchers = Arc::new(Self {
            replica_manager: Arc::clone(replica_manager),
            metadata_cache: Arc::clone(metadata_cache),
            listener: config.inter_broker_listener_name().to_owned(),
            versions,
            settings: FetcherSettings {
                truncation_on_fetch: versions.truncation_on_fetch,
                epoch_queries: versions.epoch_queries,
                backoff: millis(config.replica_fetch_backoff_ms),
            },
            limits: FetchLimits {
                wait_max_ms: config.replica_fetch_wait_max_ms,
                bytes_min: config.replica_fetch_min_bytes,
                bytes_max: config.replica_fetch_response_max_bytes,
                partition_bytes_max: config.replica_fetch_max_bytes,
            },
            fetcher_count: AtomicI32::new(config.num_replica_fetchers.max(1)),
            socket_timeout: millis(config.replica_socket_timeout_ms),
            runtime: Handle::current(),
            running: Mutex::default(),
            failed: Arc::default(),
            quota: Arc::new(Mutex::new(ReplicationQuota::new(
                window_count,
                Duration::from_secs(window_seconds),
            ))),
            movers: LogDirMovers::new(config, replica_manager),
        });
        replica_manager.set_fetchers(Arc::clone(&fetchers));
        fetchers
    }

    /// What followers' replication may use (`follower.replication.throttled.*`).
    pub fn follower_quota(&self) -> &Mutex<ReplicationQuota> {
        &self.quota
    }

    /// What moves replicas between the directories of this broker.
    pub(crate) fn movers(&self) -> &LogDirMovers {
        &self.movers
    }

    /// What the metrics show now.
    pub fn counts(&self) -> FetcherCounts {
        let running = self.running.lock();
        let mut counts = FetcherCounts {
            fetchers: running.len(),
            failed_partitions: self.failed.lock().len(),
            ..FetcherCounts::default()
        };
        for fetcher in running.values() {
            let lags = fetcher.shared.lags();
            counts.partitions += lags.len();
            let lag_max = lags.iter().map(|(_, lag)| *lag).max();
            counts.lag_max = counts.lag_max.max(lag_max.unwrap_or(0));
        }
        counts
    }

    /// How far each followed partition is behind its leader in records, with the name of its
    /// fetcher (`FetcherLagMetrics`).
    pub(crate) fn lags(&self) -> Vec<(String, TopicPartition, i64)> {
        let running = self.running.lock();
        let named = running.iter().map(|(&(leader, id), fetcher)| {
            (
                format!("ReplicaFetcherThread-{id}-{leader}"),
                &fetcher.shared,
            )
        });
        named
            .flat_map(|(name, shared)| {
                let lags = shared.lags().into_iter();
                lags.map(move |(partition, lag)| (name.clone(), partition, lag))
            })
            .collect()
    }

    /// Ends all fetchers; nothing is appended any more when this returns.
    pub async fn shut_down(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        for fetcher in running.values() {
            fetcher.task.abort();
        }
        for (_, fetcher) in running {
            // It was aborted, or has panicked and said so.
            _ = fetcher.task.await;
        }
        self.movers.shut_down().await;
    }

    /// Whether leaders tell where histories part in their answers to fetches.
    pub(crate) fn truncates_on_fetch(&self) -> bool {
        self.settings.truncation_on_fetch
    }

    /// How many fetchers share the partitions of one leader (`num.replica.fetchers`).
    pub(crate) fn fetcher_count(&self) -> i32 {
        self.fetcher_count.load(Ordering::Acquire)
    }

    /// Changes that number, while nothing is followed: which fetcher a partition belongs to
    /// depends on it.
    pub(crate) fn set_fetcher_count(&self, count: i32) {
        self.fetcher_count.store(count.max(1), Ordering::Release);
    }

    /// Follows partitions, each from its leader alone.
    pub(crate) fn follow(&self, partitions: Vec<Follow>) {
        let mut running = self.running.lock();
        for Follow {
            partition,
            leader,
            initial,
        } in partitions
        {
            self.stop_one(&running, &partition);
            let key = (leader, fetcher_id(&partition, self.fetcher_count()));
            let fetcher = running.entry(key).or_insert_with(|| self.start_one(key));
            tracing::info!(%partition, leader = leader.0, offset = initial.fetch_offset, leader_epoch = initial.current_leader_epoch.0, "following");
            fetcher.shared.add(partition, initial);
        }
        shut_down_idle(&mut running);
    }

    /// Stops following partitions. Nothing is appended to them any more when this returns.
    pub(crate) fn stop(&self, partitions: &[TopicPartition]) {
        let mut running = self.running.lock();
        for partition in partitions {
            self.stop_one(&running, partition);
        }
        shut_down_idle(&mut running);
    }

    /// Fetches a partition by this id of its topic from now on, or by name.
    pub(crate) fn set_topic_id(&self, partition: &TopicPartition, topic_id: Option<TopicId>) {
        for fetcher in self.running.lock().values() {
            fetcher.shared.set_topic_id(partition, topic_id);
        }
    }

    fn stop_one(&self, running: &BTreeMap<FetcherKey, Running>, partition: &TopicPartition) {
        let id = fetcher_id(partition, self.fetcher_count());
        for (_, fetcher) in running.iter().filter(|((_, other), _)| *other == id) {
            fetcher.shared.remove(partition);
        }
        self.failed.lock().remove(partition);
    }

    fn start_one(&self, (leader, id): FetcherKey) -> Running {
        let own_id = self.replica_manager.id();
        let shared = Arc::new(Shared::new(Fetcher::new(self.settings)));
        let worker = Worker {
            shared: Arc::clone(&shared),
            replica_manager: Arc::clone(&self.replica_manager),
            leader: Leader {
                own_id,
                id: leader,
                listener: self.listener.clone(),
                metadata_cache: Arc::clone(&self.metadata_cache),
                config: ConnectionConfig {
                    connect_timeout: self.socket_timeout,
                    request_timeout: self.socket_timeout,
                    ..ConnectionConfig::new(fetcher_client_id(own_id, id))
                },
                versions: self.versions,
                connection: None,
            },
            session: FetchSession::default(),
            backoff: self.settings.backoff,
            limits: self.limits,
            failed: Arc::clone(&self.failed),
            quota: Arc::clone(&self.quota),
            name: fetcher_name(id, leader),
        };
        Running {
            shared,
            task: self.runtime.spawn(worker.run()),
        }
    }
}

/// Ends the fetchers that follow nothing.
fn shut_down_idle(running: &mut BTreeMap<FetcherKey, Running>) {
    running.retain(|_, fetcher| {
        let is_idle = fetcher.shared.is_empty();
        if is_idle {
            fetcher.task.abort();
        }
        !is_idle
    });
}
