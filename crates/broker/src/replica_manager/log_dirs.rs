//! The disks under the replicas: logs for partitions, what lies where, directories that fail.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_model::{ErrorCode, TopicId, TopicPartition};
use ottla_storage::{LogConfig, LogHandle};

use super::ReplicaManager;
use super::hosted::{Hosted, HostedTable};

/// One directory of `log.dirs` for DescribeLogDirs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogDirDescription {
    /// KAFKA_STORAGE_ERROR if it is offline; nothing else is known then.
    pub(crate) error: ErrorCode,
    /// Its absolute path.
    pub(crate) path: String,
    /// Size of its volume; −1 if unknown.
    pub(crate) total_bytes: i64,
    /// What is free of it; −1 if unknown.
    pub(crate) usable_bytes: i64,
    /// Its logs.
    pub(crate) logs: Vec<LogDescription>,
}

/// One log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogDescription {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) size: i64,
    pub(crate) offset_lag: i64,
    pub(crate) is_future: bool,
}

impl ReplicaManager {
    /// The log of a partition, made if there is none.
    pub(super) fn log_of(
        &self,
        tp: &TopicPartition,
        is_new: bool,
        topic_id: TopicId,
    ) -> Result<LogHandle, ErrorCode> {
        let config = Arc::new(LogConfig::from(&*self.configs.topic(tp.topic.as_str())));
        let topic_id = Some(topic_id).filter(|id| !id.is_zero());
        self.log_manager
            .get_or_create_log(tp, is_new, topic_id, config, self.clock.wall())
            .inspect_err(|error| tracing::error!(partition = %tp, %error, "no log"))
            .map_err(|error| error.code())
    }

    /// Answers DescribeLogDirs for these partitions, or all; aside.
    pub(crate) async fn describe_log_dirs(
        self: &Arc<Self>,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) -> Vec<LogDirDescription> {
        let this = Arc::clone(self);
        self.run_aside(move || this.describe_log_dirs_blocking(partitions.as_ref()))
            .await
    }

    fn describe_log_dirs_blocking(
        &self,
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> Vec<LogDirDescription> {
        let is_asked = |tp: &TopicPartition| partitions.is_none_or(|asked| asked.contains(tp));
        let to_i64 = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let describe = |dir: ottla_storage::log_manager::LogDirDescription| LogDirDescription {
            error: if dir.is_offline {
                ErrorCode::KafkaStorageError
            } else {
                ErrorCode::None
            },
            path: dir.path.display().to_string(),
            total_bytes: dir
                .space
                .as_ref()
                .map_or(-1, |space| to_i64(space.total_bytes)),
            usable_bytes: dir
                .space
                .as_ref()
                .map_or(-1, |space| to_i64(space.usable_bytes)),
            logs: dir
                .logs
                .into_iter()
                .filter(|log| is_asked(&log.topic_partition))
                .map(|log| LogDescription {
                    size: to_i64(log.size_in_bytes),
                    // A log without a replica has no high watermark to lag behind.
                    offset_lag: if self.is_hosted(&log.topic_partition) {
                        log.offset_lag
                    } else {
                        -1
                    },
                    is_future: log.is_future,
                    topic_partition: log.topic_partition,
                })
                .collect(),
        };
        self.log_manager
            .describe_log_dirs()
            .into_iter()
            .map(describe)
            .collect()
    }

    fn is_hosted(&self, tp: &TopicPartition) -> bool {
        self.reader(tp).is_some()
    }

    /// Takes partitions out of service whose directories have failed since the last call; gives
    /// the directories back. The caller then tells the controller, and ends the broker if no
    /// directory is left.
    pub fn handle_failed_directories(&self) -> Vec<PathBuf> {
        let failed = self.log_manager.take_failed_directories();
        if failed.is_empty() {
            return Vec::new();
        }
        let fence = self.control.lock();
        for directory in &failed {
            tracing::warn!(
                directory = %directory.path.display(),
                partitions = directory.partitions.len(),
                "stopped serving replicas of a failed log directory"
            );
            for tp in &directory.moving_here {
                self.forget_future(tp);
            }
            for tp in &directory.partitions {
                self.mark_offline(tp);
            }
        }
        drop(fence);
        failed.into_iter().map(|directory| directory.path).collect()
    }

    /// Whether no directory is left.
    pub fn is_all_offline(&self) -> bool {
        self.log_manager.is_all_offline()
    }

    /// A partition whose log cannot be used: all that wait for it are told. The caller holds the
    /// replica state lock.
    pub(super) fn mark_offline(&self, tp: &TopicPartition) {
        self.stop_fetching(std::slice::from_ref(tp));
        let table = self.table.load();
        if let Some(Hosted::Online(hosted)) = table.get(tp.topic.as_str(), tp.partition) {
            let mut inner = hosted.lock();
            let effects = inner.end(ErrorCode::KafkaStorageError);
            inner.log = None;
            inner.future = None;
            hosted.publish(&inner);
            drop(inner);
            hosted.carry_out(effects);
        }
        let mut next = HostedTable::clone(&table);
        next.insert(tp, Hosted::Offline);
        self.table.store(Arc::new(next));
    }

    /// From the first LeaderAndIsr on, high watermarks are checkpointed: before it the table is
    /// incomplete.
    pub(super) fn start_high_watermark_checkpoints(&self) {
        self.checkpoints_started.store(true, Ordering::Release);
    }

    /// Writes the high watermarks of all logs, once the first LeaderAndIsr has come.
    pub(crate) fn checkpoint_high_watermarks(&self) {
        if self.checkpoints_started.load(Ordering::Acquire) {
            self.log_manager.checkpoint_high_watermarks();
        }
    }
}
