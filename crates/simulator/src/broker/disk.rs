//! The one log directory of a broker: its logs, checkpoints and the mark of an orderly end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_model::{Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::checkpoint::{
    HIGH_WATERMARK_CHECKPOINT, PartitionOffsets, RECOVERY_POINT_CHECKPOINT, read_partition_offsets,
    write_partition_offsets,
};
use ottla_storage::directory::{Directory, FaultyDirectory, OpenMode, remove_if_exists};
use ottla_storage::log_dir::Background;
use ottla_storage::partition_directory::PartitionDirectory;
use ottla_storage::{LoadError, Log, LogConfig, LogDir, LogError, OpenLog};

use crate::settings::Settings;

const ROOT: &str = "/logs";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

pub(super) struct Disk {
    log_dir: Arc<LogDir>,
    config: Arc<LogConfig>,
    seed: u64,
    /// Opened at the start and not asked for yet.
    found: BTreeMap<TopicPartition, Log>,
    /// As the checkpoint tells them.
    high_watermarks: PartitionOffsets,
    recovery_points: PartitionOffsets,
}

impl Disk {
    /// Opens all logs there are, recovering them if the last end was not orderly.
    pub(super) fn open(
        directory: &FaultyDirectory,
        settings: &Settings,
        seed: u64,
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let files: Arc<dyn Directory> = Arc::new(directory.clone());
        let failed = |error| LoadError::Io {
            topic_partition: TopicPartition::new("", 0),
            error,
        };
        let root = Path::new(ROOT);
        files.create_directory(root).map_err(failed)?;
        files.sync_directory(root).map_err(failed)?;
        let is_clean = remove_if_exists(&*files, &root.join(CLEAN_SHUTDOWN)).map_err(failed)?;
        if is_clean {
            // Or it comes back when the power fails, and nothing is recovered.
            files.sync_directory(root).map_err(failed)?;
        }
        let read = |name| read_partition_offsets(&*files, &root.join(name)).map_err(failed);
        let mut disk = Self {
            high_watermarks: read(HIGH_WATERMARK_CHECKPOINT)?,
            recovery_points: read(RECOVERY_POINT_CHECKPOINT)?,
            log_dir: Arc::new(LogDir::new(
                Arc::clone(&files),
                root.to_owned(),
                Arc::new(Background::default()),
            )),
            config: Arc::new(log_config(settings)),
            seed,
            found: BTreeMap::new(),
        };
        for entry in files.list(root).map_err(failed)? {
            let Some(tp) = partition_of(&entry.name).filter(|_| entry.is_directory) else {
                continue;
            };
            let log = disk.open_log(&tp, None, is_clean, now)?;
            disk.found.insert(tp, log);
        }
        Ok(disk)
    }

    pub(super) fn found(&self, partition: &TopicPartition) -> Option<&Log> {
        self.found.get(partition)
    }

    pub(super) fn is_offline(&self) -> bool {
        self.log_dir.is_offline()
    }

    /// The log of a partition that becomes hosted, with the high watermark of the checkpoint.
    pub(super) fn take_log(
        &mut self,
        partition: &TopicPartition,
        topic_id: TopicId,
        now: Timestamp,
    ) -> Result<Log, LoadError> {
        let topic_id = Some(topic_id).filter(|id| !id.is_zero());
        let mut log = match self.found.remove(partition) {
            Some(log) => log,
            None => {
                let directory = self.log_dir.directory();
                let made = directory
                    .create_directory(&self.path(partition))
                    .and_then(|()| directory.sync_directory(self.log_dir.path()));
                made.map_err(|error| self.failed(partition, error))?;
                self.open_log(partition, topic_id, false, now)?
            }
        };
        if let Some(offset) = self.high_watermarks.get(partition) {
            log.update_high_watermark(*offset);
        }
        Ok(log)
    }

    fn open_log(
        &self,
        partition: &TopicPartition,
        topic_id: Option<TopicId>,
        is_clean: bool,
        now: Timestamp,
    ) -> Result<Log, LoadError> {
        let directory = Arc::clone(self.log_dir.directory());
        Log::open(OpenLog {
            topic_partition: partition.clone(),
            directory: Arc::new(PartitionDirectory::new(directory, self.path(partition))),
            log_dir: Arc::clone(&self.log_dir),
            config: Arc::clone(&self.config),
            log_start_offset: 0,
            recovery_point: self.recovery_points.get(partition).copied().unwrap_or(0),
            is_clean,
            is_future: false,
            topic_id,
            producer_expiration_ms: 86_400_000,
            jitter_seed: self.seed,
            now,
        })
    }

    /// Removes a log, hosted (given) or left over.
    pub(super) fn delete_log(&mut self, partition: &TopicPartition, log: Option<Log>) {
        drop(log);
        drop(self.found.remove(partition));
        self.high_watermarks.remove(partition);
        self.recovery_points.remove(partition);
        let path = self.path(partition);
        let directory = self.log_dir.directory();
        let result = match directory.remove_directory(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.and_then(|()| directory.sync_directory(self.log_dir.path())),
        };
        self.note(result);
        self.write_checkpoints();
    }

    /// Takes over high watermarks and recovery points and writes the checkpoints.
    pub(super) fn checkpoint<'a>(
        &mut self,
        logs: impl Iterator<Item = (&'a TopicPartition, &'a Log)>,
    ) {
        for (tp, log) in logs {
            self.high_watermarks
                .insert(tp.clone(), log.high_watermark());
            self.recovery_points
                .insert(tp.clone(), log.recovery_point());
        }
        self.write_checkpoints();
    }

    /// After a truncation the recovery points on disk must not lie above the log.
    pub(super) fn note_recovery_point(&mut self, partition: &TopicPartition, offset: Offset) {
        self.recovery_points.insert(partition.clone(), offset);
        self.write_checkpoints();
    }

    fn write_checkpoints(&mut self) {
        let directory = Arc::clone(self.log_dir.directory());
        let write = |name, offsets| {
            write_partition_offsets(&*directory, &self.log_dir.path().join(name), offsets)
        };
        let result = write(HIGH_WATERMARK_CHECKPOINT, &self.high_watermarks)
            .and_then(|()| write(RECOVERY_POINT_CHECKPOINT, &self.recovery_points));
        self.note(result);
    }

    /// Closes everything so that the next start need not recover.
    pub(super) fn close<'a>(
        &mut self,
        hosted: impl Iterator<Item = (&'a TopicPartition, &'a mut Log)>,
        now: Timestamp,
    ) {
        let found = std::mem::take(&mut self.found);
        let found: Vec<_> = found.into_iter().collect();
        let mut closed: Result<(), LogError> = Ok(());
        for (tp, log) in hosted {
            closed = closed.and_then(|()| log.close(now));
            self.high_watermarks
                .insert(tp.clone(), log.high_watermark());
            self.recovery_points
                .insert(tp.clone(), log.recovery_point());
        }
        for (tp, mut log) in found {
            closed = closed.and_then(|()| log.close(now));
            self.recovery_points.insert(tp, log.recovery_point());
        }
        self.write_checkpoints();
        if closed.is_ok() && !self.is_offline() {
            let directory = self.log_dir.directory();
            let mark = self.log_dir.path().join(CLEAN_SHUTDOWN);
            let result = directory
                .open(&mark, OpenMode::CreateEmpty)
                .and_then(|_| directory.sync_directory(self.log_dir.path()));
            self.note(result);
        }
    }

    fn path(&self, partition: &TopicPartition) -> PathBuf {
        self.log_dir.path().join(partition.to_string())
    }

    fn failed(&self, partition: &TopicPartition, error: io::Error) -> LoadError {
        self.log_dir.report_failure(&error);
        LoadError::Io {
            topic_partition: partition.clone(),
            error,
        }
    }

    fn note(&self, result: io::Result<()>) {
        if let Err(error) = result {
            self.log_dir.report_failure(&error);
        }
    }
}

fn log_config(settings: &Settings) -> LogConfig {
    LogConfig {
        segment_bytes: settings.segment_bytes,
        // Small: the directory in memory holds each index whole.
        segment_index_bytes: 1_200,
        index_interval_bytes: 300,
        flush_messages: settings.flush_messages,
        ..LogConfig::default()
    }
}

fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}
