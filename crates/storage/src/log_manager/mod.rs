//! All logs of a broker, over all its directories (`LogManager`): finds, makes and deletes them,
//! and knows the duties that somebody has to call from time to time.
//!
//! Locks: a log's lock may be taken while none is held or while a partition's is; never call the
//! manager with a log locked.

mod describe;
mod dirs;
mod duties;
mod future;
mod load;
mod progress;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use ottla_model::{Instant, Offset, Timestamp, TopicId, TopicName, TopicPartition};
use parking_lot::Mutex;

pub use describe::{LogDescription, LogDirDescription};
pub use dirs::{LogDirs, StartError};
pub use duties::FailedDirectory;
pub use future::{MovedLog, ReplaceError};
pub(crate) use progress::Recovery;
pub use progress::{LoadProgress, RemainingRecovery};

use crate::checkpoint::PartitionOffsets;
use crate::cleaner::CleaningStates;
use crate::directory::{Directory, LockGuard};
use crate::errors::{LoadError, LogError};
use crate::log::{Log, OpenLog};
use crate::log_config::LogConfig;
use crate::log_dir::{Background, FlushObserver, LogDir, Place};
use crate::log_reader::LogReader;
use crate::names::{UniqueId, delete_directory_name};
use crate::partition_directory::PartitionDirectory;

/// A log as its users share it. Readers do not lock: they take [`Log::reader`] once.
pub type LogHandle = Arc<Mutex<Log>>;

/// Gives the configuration of a topic's logs.
pub type TopicConfigs<'a> = &'a (dyn Fn(&TopicName) -> Arc<LogConfig> + Sync);

/// What all logs have in common.
#[derive(Clone, Debug)]
pub struct LogManagerSettings {
    /// `num.recovery.threads.per.data.dir`, at least 1.
    pub recovery_threads_per_dir: usize,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// `transaction.partition.verification.enable`.
    pub verifies_transactions: bool,
    /// `log.segment.delete.delay.ms`, for whole logs.
    pub delete_delay_ms: i64,
    /// Seeds the jitter of segments.
    pub seed: u64,
}

impl Default for LogManagerSettings {
    fn default() -> Self {
        Self {
            recovery_threads_per_dir: 1,
            producer_expiration_ms: 86_400_000,
            verifies_transactions: true,
            delete_delay_ms: 60_000,
            seed: 0,
        }
    }
}

/// Why a log cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The log may be on a directory that is offline, or is damaged: KAFKA_STORAGE_ERROR.
    #[error("the log of {0} is offline")]
    Offline(TopicPartition),
    /// No directory is online.
    #[error("no log directory is online")]
    NoDirectory,
    /// What is on the disk cannot be opened.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The log has another topic id.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl CreateError {
    /// What Kafka answers.
    pub fn code(&self) -> ottla_model::ErrorCode {
        use ottla_model::ErrorCode;
        match self {
            Self::Offline(_) | Self::NoDirectory => ErrorCode::KafkaStorageError,
            Self::Load(LoadError::Io { .. } | LoadError::Damaged { .. }) => {
                ErrorCode::KafkaStorageError
            }
            Self::Load(LoadError::InconsistentTopicId { .. }) => ErrorCode::InconsistentTopicId,
            Self::Log(error) => error.code(),
        }
    }
}

/// All logs of a broker.
#[derive(Debug)]
pub struct LogManager {
    directory: Arc<dyn Directory>,
    settings: LogManagerSettings,
    producer_expiration_ms: AtomicI64,
    verifies_transactions: AtomicBool,
    dirs: Vec<ManagedDir>,
    background: Arc<Background>,
    tables: Mutex<Tables>,
    jitter_seeds: AtomicU64,
    pub(crate) cleaning: CleaningStates,
    /// Held while the cleaner's checkpoints are read or written.
    pub(crate) cleaner_checkpoint: Mutex<()>,
}

/// One directory of `log.dirs` with what is remembered of it.
#[derive(Debug)]
struct ManagedDir {
    log_dir: Arc<LogDir>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    /// Its logs were all loaded, or it was closed in an orderly way before.
    may_be_marked_clean: bool,
    /// Checkpointed offsets of partitions that are damaged and whose files are left alone.
    damaged: DamagedOffsets,
    /// Held while a checkpoint is written: truncations write them as well as the schedule, and two
    /// writers of one temporary file would take it from each other.
    checkpoints: Mutex<()>,
}

#[derive(Clone, Default, Debug)]
struct DamagedOffsets {
    recovery_points: PartitionOffsets,
    log_starts: PartitionOffsets,
    high_watermarks: PartitionOffsets,
}

#[derive(Default, Debug)]
struct Tables {
    current: BTreeMap<TopicPartition, ManagedLog>,
    /// Logs that move here from another directory. Nothing of their partitions is cleaned: one
    /// [`CleaningStates::abort_and_pause`] is held for each entry.
    future: BTreeMap<TopicPartition, ManagedLog>,
    /// Damaged partitions, with the reason.
    damaged: BTreeMap<TopicPartition, String>,
    preferred: BTreeMap<TopicPartition, PathBuf>,
    to_delete: VecDeque<DoomedLog>,
    doomed_files: VecDeque<DoomedFiles>,
}

/// A log, and its reader for what needs no lock: no log may be locked while the tables are.
#[derive(Debug)]
struct ManagedLog {
    handle: LogHandle,
    reader: LogReader,
    _place: Place,
}

impl ManagedLog {
    fn new(log: Log) -> Self {
        let reader = log.reader();
        Self {
            handle: Arc::new(Mutex::new(log)),
            _place: Place::take(reader.log_dir()),
            reader,
        }
    }

    fn is_in(&self, log_dir: &Arc<LogDir>) -> bool {
        Arc::ptr_eq(&self.reader.log_dir(), log_dir)
    }
}

/// A log's directory that waits for its removal.
#[derive(Debug)]
struct DoomedLog {
    log_dir: Arc<LogDir>,
    directory: Arc<PartitionDirectory>,
    due: Option<Instant>,
}

/// Renamed files that wait for their removal.
#[derive(Debug)]
struct DoomedFiles {
    directory: Arc<PartitionDirectory>,
    names: Vec<String>,
    delay_ms: i64,
    due: Option<Instant>,
}

impl LogManager {
    /// Loads all logs of the directories, recovering what was not closed in an orderly way.
    ///
    /// # Errors
    /// See [`StartError`]. A directory that fails goes offline; a damaged log is offline alone.
    pub fn load(
        dirs: LogDirs,
        settings: LogManagerSettings,
        configs: TopicConfigs<'_>,
        now: Timestamp,
    ) -> Result<Self, StartError> {
        load::load(dirs, settings, configs, now)
    }

    /// The log of a partition.
    pub fn get_log(&self, partition: &TopicPartition) -> Option<LogHandle> {
        self.tables
            .lock()
            .current
            .get(partition)
            .map(|log| Arc::clone(&log.handle))
    }

    /// All logs, by partition.
    pub fn logs(&self) -> Vec<(TopicPartition, LogHandle)> {
        let tables = self.tables.lock();
        let pair = |(partition, log): (&TopicPartition, &ManagedLog)| {
            (partition.clone(), Arc::clone(&log.handle))
        };
        tables.current.iter().map(pair).collect()
    }

    /// The same with the logs that move to another directory.
    fn current_and_future_logs(&self) -> Vec<(TopicPartition, LogHandle)> {
        let tables = self.tables.lock();
        let all = tables.current.iter().chain(&tables.future);
        all.map(|(partition, log)| (partition.clone(), Arc::clone(&log.handle)))
            .collect()
    }

    /// What all logs are read with, by partition.
    pub fn readers(&self) -> Vec<LogReader> {
        let tables = self.tables.lock();
        let current = tables.current.values();
        current.map(|log| log.reader.clone()).collect()
    }

    /// The directories of `log.dirs`, and whether each is offline.
    pub fn directories(&self) -> Vec<(PathBuf, bool)> {
        let dirs = self.dirs.iter().map(|dir| &dir.log_dir);
        dirs.map(|dir| (dir.path().to_owned(), dir.is_offline()))
            .collect()
    }

    /// Why a partition is offline although its directory serves: its flushed bytes are damaged.
    pub fn damage(&self, partition: &TopicPartition) -> Option<String> {
        self.tables.lock().damaged.get(partition).cloned()
    }

    /// Whether any directory is offline.
    pub fn has_offline_directories(&self) -> bool {
        self.dirs.iter().any(|dir| dir.log_dir.is_offline())
    }

    /// Whether no directory is left: the broker ends.
    pub fn is_all_offline(&self) -> bool {
        self.dirs.iter().all(|dir| dir.log_dir.is_offline())
    }

    /// The log of a partition, made if there is none. `is_new` says that the partition has never
    /// been here: otherwise, while a directory is offline, its log may be there and none is made.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn get_or_create_log(
        &self,
        partition: &TopicPartition,
        is_new: bool,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        now: Timestamp,
    ) -> Result<LogHandle, CreateError> {
        if let Some(log) = self.get_log(partition) {
            if let Some(topic_id) = topic_id {
                log.lock().assign_topic_id(topic_id)?;
            }
            return Ok(log);
        }
        let mut tables = self.tables.lock();
        if let Some(log) = tables.current.get(partition) {
            // Somebody else was quicker just now.
            return Ok(Arc::clone(&log.handle));
        }
        if tables.damaged.contains_key(partition) || (!is_new && self.has_offline_directories()) {
            return Err(CreateError::Offline(partition.clone()));
        }
        for log_dir in self.placement(&tables, partition) {
            let name = partition.to_string();
            let opened = self.make_log(partition, &log_dir, &name, false, topic_id, &config, now);
            let Some(log) = opened? else { continue };
            let log = ManagedLog::new(log);
            let handle = Arc::clone(&log.handle);
            tables.current.insert(partition.clone(), log);
            tables.preferred.remove(partition);
            return Ok(handle);
        }
        Err(CreateError::NoDirectory)
    }

    /// Takes logs out of service and renames their directories; they are removed after
    /// `log.segment.delete.delay.ms` by [`LogManager::run_background`]. Returns those that failed:
    /// their directories went offline. Partitions without a log are passed over.
    pub fn delete_logs(&self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, LogError)> {
        let mut failed = Vec::new();
        let mut touched: Vec<Arc<LogDir>> = Vec::new();
        for partition in partitions {
            self.cleaning.abort_and_pause(partition);
            let removed = {
                let mut tables = self.tables.lock();
                tables.preferred.remove(partition);
                let current = tables.current.remove(partition);
                let future = tables.future.remove(partition);
                if future.is_some() {
                    self.cleaning.resume(partition);
                }
                [current, future]
            };
            for log in removed.into_iter().flatten() {
                let (log_dir, result) = self.retire(partition, &log);
                if let Err(error) = result {
                    failed.push((partition.clone(), error));
                }
                if !touched.iter().any(|dir| Arc::ptr_eq(dir, &log_dir)) {
                    touched.push(log_dir);
                }
            }
            self.cleaning.forget(partition);
            self.cleaning.resume(partition);
        }
        for log_dir in touched {
            self.write_recovery_points_of(&log_dir);
            self.write_log_starts_of(&log_dir);
            self.write_cleaner_without(&log_dir, partitions);
        }
        failed
    }

    /// Opens a new log in a directory; `None` if that has no room for it: it is offline now.
    #[allow(
        clippy::too_many_arguments,
        reason = "both kinds of logs are made here"
    )]
    fn make_log(
        &self,
        partition: &TopicPartition,
        log_dir: &Arc<LogDir>,
        name: &str,
        is_future: bool,
        topic_id: Option<TopicId>,
        config: &Arc<LogConfig>,
        now: Timestamp,
    ) -> Result<Option<Log>, LoadError> {
        let path = log_dir.path().join(name);
        if let Err(error) = self.directory.create_directory(&path) {
            log_dir.report_failure(&error);
            return Ok(None);
        }
        let directory = PartitionDirectory::new(Arc::clone(&self.directory), path);
        let mut log = Log::open(OpenLog {
            topic_partition: partition.clone(),
            directory: Arc::new(directory),
            log_dir: Arc::clone(log_dir),
            config: Arc::clone(config),
            log_start_offset: 0,
            recovery_point: 0,
            is_clean: true,
            is_future,
            topic_id,
            producer_expiration_ms: self.producer_expiration_ms.load(Ordering::Relaxed),
            jitter_seed: self.jitter_seeds.fetch_add(1, Ordering::Relaxed),
            now,
        })
        .inspect_err(|error| {
            if let LoadError::Io { error, .. } = error {
                log_dir.report_failure(error);
            }
        })?;
        log.set_transaction_verification(self.verifies_transactions.load(Ordering::Relaxed));
        Ok(Some(log))
    }

    /// Takes a log out of service that is in no table any more, and has it removed later.
    fn retire(
        &self,
        partition: &TopicPartition,
        log: &ManagedLog,
    ) -> (Arc<LogDir>, Result<(), LogError>) {
        let name = delete_directory_name(partition, UniqueId::random());
        let (log_dir, directory, result) = {
            let mut log = log.handle.lock();
            let result = log.retire(&name);
            (log.log_dir(), Arc::clone(log.directory()), result)
        };
        if result.is_ok() {
            self.tables.lock().to_delete.push_back(DoomedLog {
                log_dir: Arc::clone(&log_dir),
                directory,
                due: None,
            });
        }
        (log_dir, result)
    }

    /// Cuts a log and rewrites its directory's recovery checkpoint; see [`Log::truncate_to`].
    ///
    /// # Errors
    /// As [`Log::truncate_to`].
    pub fn truncate_to(
        &self,
        log: &LogHandle,
        offset: Offset,
        now: Timestamp,
    ) -> Result<bool, LogError> {
        let (cut, log_dir) =
            self.without_cleaning(log, offset, |log| log.truncate_to(offset, now))?;
        if cut {
            self.write_recovery_points_of(&log_dir);
        }
        Ok(cut)
    }

    /// Empties a log and rewrites its directory's recovery checkpoint; see
    /// [`Log::truncate_fully_and_start_at`].
    ///
    /// # Errors
    /// As [`Log::truncate_fully_and_start_at`].
    pub fn truncate_fully_and_start_at(
        &self,
        log: &LogHandle,
        offset: Offset,
        now: Timestamp,
    ) -> Result<(), LogError> {
        // As in Kafka even when it only affects the active segment: it is rare.
        let cut = |log: &mut Log| log.truncate_fully_and_start_at(offset, None, now);
        let ((), log_dir) = self.without_cleaning(log, Offset::MIN, cut)?;
        self.write_recovery_points_of(&log_dir);
        Ok(())
    }

    /// Cuts a log while nobody cleans it. The active segment is never cleaned: a cut at or above
    /// its base, of `offset`, waits for nobody.
    fn without_cleaning<T>(
        &self,
        log: &LogHandle,
        offset: Offset,
        cut: impl FnOnce(&mut Log) -> Result<T, LogError>,
    ) -> Result<(T, Arc<LogDir>), LogError> {
        let (partition, affects_cleaner) = {
            let log = log.lock();
            let below_active = offset < log.active_base_offset() && !log.is_future();
            (log.topic_partition().clone(), below_active)
        };
        if affects_cleaner {
            self.cleaning.abort_and_pause(&partition);
        }
        let (result, log_dir, active_base) = {
            let mut log = log.lock();
            (cut(&mut log), log.log_dir(), log.active_base_offset())
        };
        if affects_cleaner {
            self.lower_cleaner_checkpoint(&log_dir, &partition, active_base);
            self.cleaning.resume(&partition);
        }
        Ok((result?, log_dir))
    }

    /// Directories that serve.
    pub(crate) fn online_dirs(&self) -> Vec<Arc<LogDir>> {
        let dirs = self.dirs.iter().map(|dir| &dir.log_dir);
        dirs.filter(|dir| !dir.is_offline()).cloned().collect()
    }

    /// Gives a topic's logs their changed configuration.
    pub fn update_topic_config(&self, topic: &TopicName, config: &Arc<LogConfig>) {
        for (_, log) in self
            .current_and_future_logs()
            .into_iter()
            .filter(|(partition, _)| partition.topic == *topic)
        {
            log.lock().update_config(Arc::clone(config));
        }
    }

    /// `producer.id.expiration.ms` changed.
    pub fn set_producer_expiration_ms(&self, expiration_ms: i64) {
        self.producer_expiration_ms
            .store(expiration_ms, Ordering::Relaxed);
        for (_, log) in self.current_and_future_logs() {
            log.lock().set_producer_expiration_ms(expiration_ms);
        }
    }

    /// `transaction.partition.verification.enable` changed.
    pub fn set_transaction_verification(&self, enabled: bool) {
        self.verifies_transactions.store(enabled, Ordering::Relaxed);
        for (_, log) in self.current_and_future_logs() {
            log.lock().set_transaction_verification(enabled);
        }
    }

    /// Calls this whenever [`LogManager::run_background`] or
    /// [`LogManager::take_failed_directories`] has something to do; it must not block.
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send + Sync>) {
        self.background.set_waker(waker);
    }

    /// Tells this how long flushes of segments take, those of a shutdown left out; once.
    pub fn set_flush_observer(&self, observer: FlushObserver) {
        self.background.set_flush_observer(observer);
    }

    /// Online directories for a new log, best first: the preferred one, else by fewest logs.
    fn placement(&self, tables: &Tables, partition: &TopicPartition) -> Vec<Arc<LogDir>> {
        let online = self
            .dirs
            .iter()
            .map(|dir| &dir.log_dir)
            .filter(|dir| !dir.is_offline());
        if let Some(preferred) = tables.preferred.get(partition)
            && let Some(found) = online.clone().find(|dir| dir.path() == preferred)
        {
            return vec![Arc::clone(found)];
        }
        let mut choices = online.clone();
        if let (Some(only), None) = (choices.next(), choices.next()) {
            return vec![Arc::clone(only)];
        }
        let mut counted: Vec<(usize, Arc<LogDir>)> = online
            .map(|dir| (dir.log_count(), Arc::clone(dir)))
            .collect();
        counted.sort_by_key(|(count, _)| *count);
        counted.into_iter().map(|(_, dir)| dir).collect()
    }
}

#[cfg(test)]
mod tests;
