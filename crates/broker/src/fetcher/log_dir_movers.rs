//! Copying replicas to other directories of this broker (`ReplicaAlterLogDirsManager`): so many
//! tasks as `num.replica.alter.log.dirs.threads` says, each of which moves one partition after the
//! other and ends when it has none. The steps themselves are the replica manager's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_model::TopicPartition;
use ottla_replication::fetcher::fetcher_id;
use ottla_replication::quota::ReplicationQuota;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::replica_manager::{MoveStep, ReplicaManager};

/// A longer pause is taken in parts: the limit may change, and the broker may stop.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// All movers of this broker.
pub(crate) struct LogDirMovers {
    replica_manager: Weak<ReplicaManager>,
    runtime: Handle,
    movers: Vec<Arc<Mutex<Mover>>>,
    quota: Arc<Mutex<ReplicationQuota>>,
    bytes_max: usize,
    /// `replica.fetch.backoff.ms`: when the limit is exceeded.
    backoff: Duration,
}

/// What one task moves.
#[derive(Default)]
struct Mover {
    /// With the number of the move: one that was begun anew is another one.
    partitions: BTreeMap<TopicPartition, u64>,
    next_number: u64,
    in_progress: Option<TopicPartition>,
    task: Option<JoinHandle<()>>,
    is_shut_down: bool,
}

impl fmt::Debug for LogDirMovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDirMovers")
            .field("movers", &self.movers.len())
            .finish_non_exhaustive()
    }
}

impl LogDirMovers {
    /// Movers that have nothing to do; within a tokio runtime.
    pub(crate) fn new(config: &BrokerConfig, replica_manager: &Arc<ReplicaManager>) -> Self {
        let threads = config.num_replica_alter_log_dirs_threads;
        let threads = threads.and_then(|threads| usize::try_from(threads).ok());
        let threads = threads.unwrap_or_else(|| config.log_dirs().len()).max(1);
        let window_count =
            u32::try_from(config.alter_log_dirs_replication_quota_window_num).unwrap_or(1);
        let window_seconds =
            u64::try_from(config.alter_log_dirs_replication_quota_window_size_seconds).unwrap_or(1);
        let window = Duration::from_secs(window_seconds);
        let backoff = u64::try_from(config.replica_fetch_backoff_ms).unwrap_or(0);
        Self {
            replica_manager: Arc::downgrade(replica_manager),
            runtime: Handle::current(),
            movers: (0..threads).map(|_| Arc::default()).collect(),
            quota: Arc::new(Mutex::new(ReplicationQuota::new(window_count, window))),
            bytes_max: usize::try_from(config.replica_fetch_max_bytes).unwrap_or(0),
            backoff: Duration::from_millis(backoff).min(PAUSE_MAX),
        }
    }

    /// What all moves together may copy (`replica.alter.log.dirs.io.max.bytes.per.second`).
    pub(crate) fn quota(&self) -> &Mutex<ReplicationQuota> {
        &self.quota
    }

    /// Moves a partition whose future log is there, from now on until it has moved, its future log
    /// is gone, or it fails.
    pub(crate) fn begin(&self, partition: &TopicPartition) {
        let count = i32::try_from(self.movers.len()).unwrap_or(i32::MAX);
        let id = usize::try_from(fetcher_id(partition, count)).unwrap_or(0);
        let shared = &self.movers[id];
        let mut mover = shared.lock();
        if mover.is_shut_down {
            return;
        }
        mover.next_number += 1;
        let number = mover.next_number;
        mover.partitions.insert(partition.clone(), number);
        if mover.task.is_none() {
            let worker = Worker {
                replica_manager: Weak::clone(&self.replica_manager),
                shared: Arc::clone(shared),
                quota: Arc::clone(&self.quota),
                bytes_max: self.bytes_max,
                backoff: self.backoff,
            };
            mover.task = Some(self.runtime.spawn(worker.run()));
        }
    }

    /// Ends all movers; nothing is copied any more when this returns. The next start goes on.
    pub(crate) async fn shut_down(&self) {
        for mover in &self.movers {
            let task = {
                let mut mover = mover.lock();
                mover.is_shut_down = true;
                mover.partitions.clear();
                mover.task.take()
            };
            if let Some(task) = task {
                // It ends by itself after its step; a panic in it was reported.
                _ = task.await;
            }
        }
    }
}

struct Worker {
    replica_manager: Weak<ReplicaManager>,
    shared: Arc<Mutex<Mover>>,
    quota: Arc<Mutex<ReplicationQuota>>,
    bytes_max: usize,
    backoff: Duration,
}

impl Worker {
    async fn run(self) {
        while let Some((partition, number)) = self.next() {
            let Some(replica_manager) = self.replica_manager.upgrade() else {
                return;
            };
            let now = replica_manager.now();
            if self.quota.lock().is_exceeded(now) {
                drop(replica_manager);
                tokio::time::sleep(self.backoff).await;
                continue;
            }
            let (tp, bytes_max) = (partition.clone(), self.bytes_max);
            let replicas = Arc::clone(&replica_manager);
            let step = move || replicas.move_step(&tp, bytes_max);
            let step = tokio::task::spawn_blocking(step).await;
            let bytes = match step {
                Ok(MoveStep::Copied(bytes)) => bytes,
                Ok(MoveStep::Done(bytes)) => {
                    self.remove(&partition, number);
                    bytes
                }
                Ok(MoveStep::Ended | MoveStep::Failed) => {
                    self.remove(&partition, number);
                    0
                }
                Err(error) => {
                    tracing::error!(%partition, %error, "the copy to another directory failed");
                    self.remove(&partition, number);
                    0
                }
            };
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.quota.lock().record(bytes, replica_manager.now());
        }
    }

    /// As in Kafka one partition is moved at a time, the first by name, and kept to.
    fn next(&self) -> Option<(TopicPartition, u64)> {
        let mut mover = self.shared.lock();
        let kept = mover.in_progress.take();
        let kept = kept.filter(|partition| mover.partitions.contains_key(partition));
        let chosen = kept.or_else(|| mover.partitions.keys().next().cloned());
        let Some(partition) = chosen else {
            // Whoever brings the next one starts another task.
            mover.task = None;
            return None;
        };
        let number = mover.partitions[&partition];
        mover.in_progress = Some(partition.clone());
        Some((partition, number))
    }

    fn remove(&self, partition: &TopicPartition, number: u64) {
        let mut mover = self.shared.lock();
        if mover.partitions.get(partition) == Some(&number) {
            mover.partitions.remove(partition);
        }
    }
}
