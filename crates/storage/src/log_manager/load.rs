//! Loading all logs at start (§ `loadLogs` of LogManager).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use ottla_model::{Timestamp, TopicPartition};
use parking_lot::Mutex;

use super::dirs::{LogDirs, OpenedDir, StartError};
use super::{
    DamagedOffsets, DoomedLog, LogManager, LogManagerSettings, ManagedDir, ManagedLog, Tables,
    TopicConfigs,
};
use crate::checkpoint::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, PartitionOffsets,
    RECOVERY_POINT_CHECKPOINT, create_if_absent, read_partition_offsets,
};
use crate::cleaner::CleaningStates;
use crate::directory::{Directory, remove_if_exists};
use crate::errors::LoadError;
use crate::log::{Log, OpenLog};
use crate::log_dir::LogDir;
use crate::names::{DirectoryRole, parse_directory_name};
use crate::partition_directory::PartitionDirectory;

/// Its existence says that a directory was closed in an orderly way.
pub(super) const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// Entries of a log directory that are no partitions.
const SKIPPED: [&str; 2] = ["remote-log-index-cache", "__cluster_metadata-0"];

/// What is known of a directory before its logs are loaded.
struct Prepared {
    was_clean: bool,
    recovery_points: PartitionOffsets,
    log_starts: PartitionOffsets,
    high_watermarks: PartitionOffsets,
    partitions: Vec<(TopicPartition, DirectoryRole, PathBuf)>,
}

/// What loading one directory came to.
#[derive(Default)]
struct LoadedDir {
    logs: Vec<(TopicPartition, DirectoryRole, Log)>,
    damaged: BTreeMap<TopicPartition, String>,
}

pub(super) fn load(
    dirs: LogDirs,
    settings: LogManagerSettings,
    configs: TopicConfigs<'_>,
    now: Timestamp,
) -> Result<LogManager, StartError> {
    let LogDirs {
        directory,
        background,
        dirs,
    } = dirs;
    let mut tables = Tables::default();
    let mut managed = Vec::with_capacity(dirs.len());
    let jitter_seeds = AtomicU64::new(settings.seed);
    let loader = Loader {
        directory: &directory,
        settings: &settings,
        configs,
        now,
        seeds: &jitter_seeds,
    };

    // Names first, in all directories: what must not start has not changed anything yet.
    let mut prepared = Vec::with_capacity(dirs.len());
    for dir in &dirs {
        prepared.push(loader.prepare(&dir.log_dir)?);
    }
    let loaded: Vec<LoadedDir> = std::thread::scope(|scope| {
        let threads: Vec<_> = dirs
            .iter()
            .zip(&prepared)
            .map(|(dir, prepared)| {
                let loader = &loader;
                scope.spawn(move || match prepared {
                    Some(prepared) => loader.load_dir(&dir.log_dir, prepared),
                    None => LoadedDir::default(),
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, LoadedDir>| match thread.join() {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    });
    for ((dir, prepared), loaded) in dirs.into_iter().zip(prepared).zip(loaded) {
        let OpenedDir { log_dir, lock, .. } = dir;
        let may_be_marked_clean = !log_dir.is_offline() && loaded.damaged.is_empty();
        let mut damaged = DamagedOffsets::default();
        if let Some(prepared) = prepared {
            damaged = damaged_offsets(&prepared, &loaded.damaged);
            for (_, role, path) in prepared.partitions {
                if role == DirectoryRole::Delete {
                    let directory = PartitionDirectory::new(Arc::clone(&directory), path);
                    tables.to_delete.push_back(DoomedLog {
                        log_dir: Arc::clone(&log_dir),
                        directory: Arc::new(directory),
                        due: None,
                    });
                }
            }
        }
        tables.damaged.extend(loaded.damaged);
        for (partition, role, log) in loaded.logs {
            let path = log.directory().path();
            let table = match role {
                DirectoryRole::Future => &mut tables.future,
                DirectoryRole::Current | DirectoryRole::Delete | DirectoryRole::Stray => {
                    &mut tables.current
                }
            };
            if let Some(other) = table.insert(partition.clone(), ManagedLog::new(log)) {
                let first = other.handle.lock().directory().path();
                return Err(StartError::DuplicatePartition {
                    partition: partition.to_string(),
                    first: first.to_path_buf(),
                    second: path.to_path_buf(),
                });
            }
        }
        managed.push(ManagedDir {
            log_dir,
            lock,
            may_be_marked_clean,
            damaged,
            checkpoints: Mutex::new(()),
        });
    }
    let cleaning = CleaningStates::default();
    for partition in tables.future.keys() {
        cleaning.abort_and_pause(partition);
    }
    Ok(LogManager {
        directory,
        producer_expiration_ms: AtomicI64::new(settings.producer_expiration_ms),
        verifies_transactions: AtomicBool::new(settings.verifies_transactions),
        settings,
        dirs: managed,
        background,
        tables: Mutex::new(tables),
        jitter_seeds,
        cleaning,
        cleaner_checkpoint: Mutex::default(),
    })
}

struct Loader<'a> {
    directory: &'a Arc<dyn Directory>,
    settings: &'a LogManagerSettings,
    configs: TopicConfigs<'a>,
    now: Timestamp,
    seeds: &'a AtomicU64,
}

impl Loader<'_> {
    /// Reads what a directory says about itself. `None` if it is offline.
    fn prepare(&self, log_dir: &LogDir) -> Result<Option<Prepared>, StartError> {
        if log_dir.is_offline() {
            return Ok(None);
        }
        let entries = match self.directory.list(log_dir.path()) {
            Ok(entries) => entries,
            Err(error) => {
                log_dir.report_failure(&error);
                return Ok(None);
            }
        };
        let mut partitions: Vec<(TopicPartition, DirectoryRole, PathBuf)> = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_directory) {
            if SKIPPED.contains(&entry.name.as_str()) {
                continue;
            }
            let (partition, role) = parse_directory_name(&entry.name)?;
            partitions.push((partition, role, log_dir.path().join(&entry.name)));
        }
        match self.read_checkpoints(log_dir, partitions) {
            Ok(prepared) => Ok(Some(prepared)),
            Err(error) => {
                log_dir.report_failure(&error);
                Ok(None)
            }
        }
    }

    fn read_checkpoints(
        &self,
        log_dir: &LogDir,
        partitions: Vec<(TopicPartition, DirectoryRole, PathBuf)>,
    ) -> io::Result<Prepared> {
        let files = &**self.directory;
        let path = |name: &str| log_dir.path().join(name);
        for name in [
            RECOVERY_POINT_CHECKPOINT,
            LOG_START_CHECKPOINT,
            HIGH_WATERMARK_CHECKPOINT,
            CLEANER_CHECKPOINT,
        ] {
            create_if_absent(files, &path(name))?;
        }
        // Two checkpoints only cost time or space when they are lost; the others must be read.
        let lenient = |name: &str| match read_partition_offsets(files, &path(name)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "a checkpoint is malformed and counts as empty");
                Ok(PartitionOffsets::new())
            }
            result => result,
        };
        let recovery_points = lenient(RECOVERY_POINT_CHECKPOINT)?;
        let log_starts = lenient(LOG_START_CHECKPOINT)?;
        let high_watermarks = read_partition_offsets(files, &path(HIGH_WATERMARK_CHECKPOINT))?;
        // Gone before any log is touched: a crash from here on is an unclean stop.
        let was_clean = remove_if_exists(files, &path(CLEAN_SHUTDOWN_FILE))?;
        if was_clean {
            files.sync_directory(log_dir.path())?;
        }
        Ok(Prepared {
            was_clean,
            recovery_points,
            log_starts,
            high_watermarks,
            partitions,
        })
    }

    /// Loads the logs of a directory with its recovery threads.
    fn load_dir(&self, log_dir: &Arc<LogDir>, prepared: &Prepared) -> LoadedDir {
        let queue: VecDeque<&(TopicPartition, DirectoryRole, PathBuf)> = prepared
            .partitions
            .iter()
            .filter(|(_, role, _)| matches!(role, DirectoryRole::Current | DirectoryRole::Future))
            .collect();
        let threads = NonZeroUsize::new(self.settings.recovery_threads_per_dir);
        let threads = threads.map_or(1, NonZeroUsize::get).min(queue.len().max(1));
        let total = queue.len();
        log_dir.recovery.begin(total, threads);
        let queue = Mutex::new(queue);
        let loaded = Mutex::new(LoadedDir::default());
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (queue, loaded) = (&queue, &loaded);
                scope.spawn(move || {
                    while let Some((partition, role, path)) = next(queue) {
                        if log_dir.is_offline() {
                            break;
                        }
                        log_dir.recovery.take(thread, partition);
                        let result = self.load_log(log_dir, prepared, partition, *role, path);
                        let left = log_dir.recovery.finish(thread);
                        if !prepared.was_clean {
                            tracing::info!(
                                %partition, left, total, directory = %log_dir.path().display(),
                                "recovered a log"
                            );
                        }
                        let mut loaded = loaded.lock();
                        match result {
                            Ok(log) => loaded.logs.push((partition.clone(), *role, log)),
                            Err(LoadError::Io { error, .. }) => log_dir.report_failure(&error),
                            Err(error) => {
                                tracing::error!(%partition, %error, "the partition stays offline");
                                loaded.damaged.insert(partition.clone(), error.to_string());
                            }
                        }
                    }
                });
            }
        });
        log_dir.recovery.end();
        if log_dir.is_offline() {
            return LoadedDir::default();
        }
        loaded.into_inner()
    }

    fn load_log(
        &self,
        log_dir: &Arc<LogDir>,
        prepared: &Prepared,
        partition: &TopicPartition,
        role: DirectoryRole,
        path: &std::path::Path,
    ) -> Result<Log, LoadError> {
        let offset =
            |offsets: &PartitionOffsets| offsets.get(partition).copied().unwrap_or(0).max(0);
        let directory = PartitionDirectory::new(Arc::clone(self.directory), path.to_owned());
        let mut log = Log::open(OpenLog {
            topic_partition: partition.clone(),
            directory: Arc::new(directory),
            log_dir: Arc::clone(log_dir),
            config: (self.configs)(&partition.topic),
            log_start_offset: offset(&prepared.log_starts),
            recovery_point: offset(&prepared.recovery_points),
            is_clean: prepared.was_clean,
            is_future: role == DirectoryRole::Future,
            topic_id: None,
            producer_expiration_ms: self.settings.producer_expiration_ms,
            jitter_seed: self.seeds.fetch_add(1, Ordering::Relaxed),
            now: self.now,
        })?;
        log.update_high_watermark(offset(&prepared.high_watermarks));
        log.set_transaction_verification(self.settings.verifies_transactions);
        Ok(log)
    }
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().pop_front()
}

fn damaged_offsets(
    prepared: &Prepared,
    damaged: &BTreeMap<TopicPartition, String>,
) -> DamagedOffsets {
    let of = |offsets: &PartitionOffsets| {
        let kept = offsets
            .iter()
            .filter(|(partition, _)| damaged.contains_key(*partition));
        kept.map(|(partition, offset)| (partition.clone(), *offset))
            .collect()
    };
    DamagedOffsets {
        recovery_points: of(&prepared.recovery_points),
        log_starts: of(&prepared.log_starts),
        high_watermarks: of(&prepared.high_watermarks),
    }
}
