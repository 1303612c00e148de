//! Duties that come round: retention, flushes, checkpoints. Each runs on a thread where blocking is
//! allowed, one after the other per duty, and ends with the broker.

mod cleaner;

use std::sync::Arc;
use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_storage::LogManager;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::metrics::LogMetrics;
use crate::replica_manager::ReplicaManager;

/// The first run of what is not urgent (`log.initial.task.delay.ms`).
const INITIAL_TASK_DELAY: Duration = Duration::from_secs(30);
/// Files whose time has come are looked for at least so often.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(5);

/// The running duties; they end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: Vec<JoinHandle<()>>,
    metrics: Arc<LogMetrics>,
    none_left: Arc<Notify>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Background {
    /// Starts the duties of the logs and of their partitions; `announce` is called when a log
    /// directory has failed.
    pub(crate) fn start(
        config: &BrokerConfig,
        clock: Clock,
        log_manager: &Arc<LogManager>,
        replica_manager: &Arc<ReplicaManager>,
        announce: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let mut background = Self::default();
        let logs = |duty: fn(&LogManager, Clock)| {
            let log_manager = Arc::clone(log_manager);
            move || duty(&log_manager, clock)
        };
        let partitions = |duty: fn(&ReplicaManager)| {
            let replica_manager = Arc::clone(replica_manager);
            move || duty(&replica_manager)
        };
        background.every(
            config.log_retention_check_interval_ms,
            logs(|logs, clock| _ = logs.run_retention(clock.wall())),
        );
        background.every(
            config.log_flush_scheduler_interval_ms,
            logs(|logs, clock| logs.run_flush(clock.wall())),
        );
        background.every(
            i64::from(config.log_flush_offset_checkpoint_interval_ms),
            logs(|logs, _| logs.checkpoint_recovery_points()),
        );
        background.every(
            i64::from(config.log_flush_start_offset_checkpoint_interval_ms),
            logs(|logs, _| logs.checkpoint_log_start_offsets()),
        );
        background.every(
            i64::from(config.producer_id_expiration_check_interval_ms),
            logs(|logs, clock| _ = logs.remove_expired_producers(clock.wall())),
        );
        background.every(
            config.replica_high_watermark_checkpoint_interval_ms,
            partitions(ReplicaManager::checkpoint_high_watermarks),
        );
        background.every(
            config.replica_lag_time_max_ms / 2,
            partitions(ReplicaManager::shrink_isrs),
        );
        if config.log_cleaner_enable {
            let replicas = Arc::clone(replica_manager);
            let current = Arc::new(move || replicas.broker_config());
            let metrics = Arc::clone(&background.metrics);
            let cleaner = cleaner::run(Arc::clone(log_manager), clock, current, metrics);
            background.tasks.push(tokio::spawn(cleaner));
        }
        let metrics = Arc::clone(&background.metrics);
        log_manager.set_flush_observer(Box::new(move |took| metrics.flushed(took)));
        let (now, later) = (Arc::new(Notify::new()), Arc::clone(log_manager));
        let wake = Arc::clone(&now);
        log_manager.set_waker(Box::new(move || wake.notify_one()));
        let replicas = Arc::clone(replica_manager);
        let (announce, none_left) = (Arc::new(announce), Arc::clone(&background.none_left));
        background.tasks.push(tokio::spawn(async move {
            loop {
                // Woken, or due: both mean the same work.
                _ = tokio::time::timeout(REMOVAL_INTERVAL, now.notified()).await;
                let (logs, replicas) = (Arc::clone(&later), Arc::clone(&replicas));
                let (announce, none_left) = (Arc::clone(&announce), Arc::clone(&none_left));
                aside(move || {
                    logs.run_background(clock.now(), clock.wall());
                    if !replicas.handle_failed_directories().is_empty() {
                        announce();
                    }
                    if replicas.is_all_offline() {
                        none_left.notify_one();
                    }
                })
                .await;
            }
        }));
        background
    }

    /// What is counted of its work.
    pub(crate) fn metrics(&self) -> &Arc<LogMetrics> {
        &self.metrics
    }

    /// Ready when no log directory is left.
    pub(crate) async fn all_directories_failed(&self) {
        self.none_left.notified().await;
    }

    /// A duty every so many milliseconds; an interval that never ends is none.
    fn every(&mut self, interval_ms: i64, duty: impl Fn() + Clone + Send + Sync + 'static) {
        let interval = Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0).max(1));
        if interval_ms == i64::MAX {
            return;
        }
        self.tasks.push(tokio::spawn(async move {
            tokio::time::sleep(interval.min(INITIAL_TASK_DELAY)).await;
            loop {
                aside(duty.clone()).await;
                tokio::time::sleep(interval).await;
            }
        }));
    }
}

/// Runs what blocks where that is allowed; a duty that panics is reported and comes round again.
async fn aside(duty: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(duty).await {
        tracing::error!(%error, "a background duty failed");
    }
}
