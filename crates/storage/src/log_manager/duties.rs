//! What has to be done from time to time. None of it may run on a connection's worker: it waits for
//! disks.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::{Instant, Offset, Timestamp, TopicPartition};

use super::load::CLEAN_SHUTDOWN_FILE;
use super::{DoomedFiles, LogHandle, LogManager, ManagedDir};
use crate::checkpoint::{
    HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, PartitionOffsets, RECOVERY_POINT_CHECKPOINT,
    write_partition_offsets,
};
use crate::directory::{OpenMode, remove_if_exists};
use crate::errors::LogError;
use crate::log::{FlushPlan, Log};
use crate::log_dir::{LogDir, Task};

/// Most threads that close the logs of one directory.
const CLOSING_THREADS_MAX: usize = 16;
/// Fewest logs for which another one is worth it.
const CLOSED_PER_THREAD_MIN: usize = 32;

/// A directory that failed, and the partitions that are offline with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Partitions whose logs were there. Their readers answer KAFKA_STORAGE_ERROR from now on.
    pub partitions: Vec<TopicPartition>,
    /// Partitions that were moving there: they stay where they are.
    pub moving_here: Vec<TopicPartition>,
}

impl LogManager {
    /// Deletes old segments of all logs that are not compacted; every
    /// `log.retention.check.interval.ms`. How many. Failures took directories offline already.
    pub fn run_retention(&self, now: Timestamp) -> usize {
        let mut deleted = 0;
        for (partition, log) in self.logs() {
            if self.tables.lock().future.contains_key(&partition) {
                // As in Kafka, nothing is deleted from a log while it moves.
                continue;
            }
            let mut log = log.lock();
            if !log.config().compact {
                deleted += log.delete_old_segments(now).unwrap_or(0);
            }
        }
        deleted
    }

    /// Flushes logs that were not flushed for `flush.ms`; every
    /// `log.flush.scheduler.interval.ms`.
    pub fn run_flush(&self, now: Timestamp) {
        for (_, log) in self.current_and_future_logs() {
            let plan = {
                let mut log = log.lock();
                let age = now.0.saturating_sub(log.last_flushed().0);
                if age < log.config().flush_ms {
                    continue;
                }
                log.plan_flush_of_all()
            };
            self.carry_out(&log, plan, now);
        }
    }

    /// Flushes rolled segments and removes files and logs whose time has come. To be called when
    /// the waker says so, and every few seconds.
    pub fn run_background(&self, monotonic: Instant, now: Timestamp) {
        let mut failed = Vec::new();
        for task in self.background.take() {
            match task {
                Task::Flush(partition) => {
                    let logs = [self.get_log(&partition), self.get_future_log(&partition)];
                    for log in logs.into_iter().flatten() {
                        let plan = log.lock().plan_flush_of_rolled();
                        self.carry_out(&log, plan, now);
                    }
                }
                Task::DeleteFiles {
                    directory,
                    names,
                    delay_ms,
                } => {
                    let doomed = DoomedFiles {
                        directory,
                        names,
                        delay_ms,
                        due: None,
                    };
                    self.tables.lock().doomed_files.push_back(doomed);
                }
                Task::DirectoryFailed(path) => failed.push(path),
            }
        }
        for path in failed {
            // For whoever asks which directories failed.
            self.background.requeue(Task::DirectoryFailed(path));
        }
        self.remove_doomed_files(monotonic);
        self.remove_doomed_logs(monotonic);
    }

    /// Writes the recovery points of all logs; every `log.flush.offset.checkpoint.interval.ms`.
    pub fn checkpoint_recovery_points(&self) {
        self.dirs
            .iter()
            .for_each(|dir| self.write_recovery_points_of(&dir.log_dir));
    }

    /// Writes the raised log starts; every `log.flush.start.offset.checkpoint.interval.ms`.
    pub fn checkpoint_log_start_offsets(&self) {
        self.dirs
            .iter()
            .for_each(|dir| self.write_log_starts_of(&dir.log_dir));
    }

    /// Writes the high watermarks of all logs; every `replica.high.watermark.checkpoint.interval.ms`
    /// once the first LeaderAndIsr came, and at stop. Logs that nobody asked for keep theirs.
    pub fn checkpoint_high_watermarks(&self) {
        for dir in &self.dirs {
            let damaged = &dir.damaged.high_watermarks;
            self.write_offsets(dir, HIGH_WATERMARK_CHECKPOINT, damaged, |log| {
                Some(log.high_watermark())
            });
        }
    }

    /// Forgets silent producers; every `producer.id.expiration.check.interval.ms`. How many.
    pub fn remove_expired_producers(&self, now: Timestamp) -> usize {
        self.current_and_future_logs()
            .iter()
            .map(|(_, log)| log.lock().remove_expired_producers(now))
            .sum()
    }

    /// Directories that failed since the last call. Their logs are out of service, their locks
    /// released; other directories serve on.
    pub fn take_failed_directories(&self) -> Vec<FailedDirectory> {
        let mut failed = Vec::new();
        for task in self.background.take() {
            let Task::DirectoryFailed(path) = task else {
                self.background.requeue(task);
                continue;
            };
            let Some(dir) = self.dirs.iter().find(|dir| dir.log_dir.path() == path) else {
                continue;
            };
            *dir.lock.lock() = None;
            let mut tables = self.tables.lock();
            let mut partitions = Vec::new();
            tables.current.retain(|partition, log| {
                let gone = log.is_in(&dir.log_dir);
                if gone {
                    partitions.push(partition.clone());
                }
                !gone
            });
            let mut moving_here = Vec::new();
            tables.future.retain(|partition, log| {
                let gone = log.is_in(&dir.log_dir);
                if gone {
                    self.cleaning.resume(partition);
                    moving_here.push(partition.clone());
                }
                !gone
            });
            tables
                .to_delete
                .retain(|doomed| !Arc::ptr_eq(&doomed.log_dir, &dir.log_dir));
            failed.push(FailedDirectory {
                path,
                partitions,
                moving_here,
            });
        }
        failed
    }

    /// Orderly stop: flushes and closes all logs, writes all checkpoints and then the mark that
    /// spares the next start a recovery, and releases the locks. High watermarks too: they are the
    /// logs' own.
    pub fn shutdown(&self, now: Timestamp) {
        self.cleaning.stop();
        std::thread::scope(|scope| {
            for dir in self.dirs.iter().filter(|dir| !dir.log_dir.is_offline()) {
                scope.spawn(|| self.shut_down_dir(dir, now));
            }
        });
        for dir in &self.dirs {
            *dir.lock.lock() = None;
        }
    }

    fn shut_down_dir(&self, dir: &ManagedDir, now: Timestamp) {
        let logs = self.logs_of(&dir.log_dir);
        // Each waits for the disk several times; a disk has many at once for little more.
        let share = logs
            .len()
            .div_ceil(CLOSING_THREADS_MAX)
            .max(CLOSED_PER_THREAD_MIN);
        // A failure took the directory offline and was logged there.
        let close = |logs: &[LogHandle]| logs.iter().all(|log| log.lock().close(now).is_ok());
        let are_closed = std::thread::scope(|scope| {
            let mut shares = logs.chunks(share);
            let own = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|logs| scope.spawn(move || close(logs)))
                .collect();
            let own = close(own);
            others.into_iter().fold(own, |closed, thread| {
                closed
                    & thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        if !are_closed {
            return;
        }
        self.write_offsets(
            dir,
            HIGH_WATERMARK_CHECKPOINT,
            &dir.damaged.high_watermarks,
            |log| Some(log.high_watermark()),
        );
        self.write_recovery_points_of(&dir.log_dir);
        self.write_log_starts_of(&dir.log_dir);
        if dir.may_be_marked_clean && !dir.log_dir.is_offline() {
            let path = dir.log_dir.path().join(CLEAN_SHUTDOWN_FILE);
            if let Err(error) = self.write_clean_mark(&path) {
                dir.log_dir.report_failure(&error);
            }
        }
    }

    fn write_clean_mark(&self, path: &std::path::Path) -> io::Result<()> {
        let file = self.directory.open(path, OpenMode::CreateEmpty)?;
        file.write_all_at(&mut [IoSlice::new(br#"{"version":0,"brokerEpoch":-1}"#)], 0)?;
        file.sync()?;
        path.parent()
            .map_or(Ok(()), |parent| self.directory.sync_directory(parent))
    }

    pub(super) fn write_recovery_points_of(&self, log_dir: &Arc<LogDir>) {
        let Some(dir) = self.dir_of(log_dir) else {
            return;
        };
        let damaged = &dir.damaged.recovery_points;
        self.write_offsets(dir, RECOVERY_POINT_CHECKPOINT, damaged, |log| {
            Some(log.recovery_point())
        });
    }

    pub(super) fn write_log_starts_of(&self, log_dir: &Arc<LogDir>) {
        let Some(dir) = self.dir_of(log_dir) else {
            return;
        };
        let damaged = &dir.damaged.log_starts;
        self.write_offsets(dir, LOG_START_CHECKPOINT, damaged, |log| {
            let start = log.log_start_offset();
            (start > log.first_base_offset()).then_some(start)
        });
    }

    /// Drops entries of deleted logs from the cleaner's checkpoint, which is kept as it is else.
    pub(super) fn write_cleaner_without(&self, log_dir: &LogDir, partitions: &[TopicPartition]) {
        self.change_cleaner_checkpoint(log_dir, |offsets| {
            let before = offsets.len();
            offsets.retain(|partition, _| !partitions.contains(partition));
            offsets.len() < before
        });
    }

    fn write_offsets(
        &self,
        dir: &ManagedDir,
        name: &str,
        damaged: &PartitionOffsets,
        offset: impl Fn(&Log) -> Option<Offset>,
    ) {
        if dir.log_dir.is_offline() {
            return;
        }
        // Before the offsets are looked at: an older state never replaces a newer one.
        let _one_at_a_time = dir.checkpoints.lock();
        let mut offsets = damaged.clone();
        for log in self.logs_of(&dir.log_dir) {
            let log = log.lock();
            if let Some(offset) = offset(&log) {
                offsets.insert(log.topic_partition().clone(), offset);
            }
        }
        let path = dir.log_dir.path().join(name);
        if let Err(error) = write_partition_offsets(&*self.directory, &path, &offsets) {
            dir.log_dir.report_failure(&error);
        }
    }

    fn dir_of(&self, log_dir: &Arc<LogDir>) -> Option<&ManagedDir> {
        self.dirs
            .iter()
            .find(|dir| Arc::ptr_eq(&dir.log_dir, log_dir))
    }

    /// Logs that lie in a directory: current ones, and those that move into it.
    fn logs_of(&self, log_dir: &Arc<LogDir>) -> Vec<LogHandle> {
        let tables = self.tables.lock();
        let all = tables.future.values().chain(tables.current.values());
        all.filter(|log| log.is_in(log_dir))
            .map(|log| Arc::clone(&log.handle))
            .collect()
    }

    /// Runs a plan without holding its log.
    pub(super) fn carry_out(
        &self,
        log: &LogHandle,
        plan: Result<Option<FlushPlan>, LogError>,
        now: Timestamp,
    ) {
        // An error was reported where it happened.
        let Ok(Some(plan)) = plan else { return };
        match plan.run_observed(&|took| self.background.flushed(took)) {
            Ok(()) => log.lock().complete_flush(&plan, now),
            Err(error) => log.lock().fail_flush(&error),
        }
    }

    fn remove_doomed_files(&self, now: Instant) {
        let mut due = Vec::new();
        self.tables.lock().doomed_files.retain_mut(|doomed| {
            let at = *doomed.due.get_or_insert(now + delay(doomed.delay_ms));
            if at <= now {
                due.push((
                    Arc::clone(&doomed.directory),
                    std::mem::take(&mut doomed.names),
                ));
            }
            at > now
        });
        for (directory, names) in due {
            for name in names {
                let path = directory.file(&name);
                if let Err(error) = remove_if_exists(directory.directory(), &path) {
                    self.report_for(&path, &error);
                }
            }
        }
    }

    fn remove_doomed_logs(&self, now: Instant) {
        let delay = delay(self.settings.delete_delay_ms);
        let mut due = Vec::new();
        self.tables.lock().to_delete.retain_mut(|doomed| {
            let at = *doomed.due.get_or_insert(now + delay);
            if at <= now {
                due.push((Arc::clone(&doomed.log_dir), Arc::clone(&doomed.directory)));
            }
            at > now
        });
        for (log_dir, directory) in due {
            match directory.directory().remove_directory(&directory.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log_dir.report_failure(&error);
                }
                _ => tracing::info!(directory = %directory.path().display(), "deleted a log"),
            }
        }
    }

    fn report_for(&self, path: &std::path::Path, error: &io::Error) {
        let dir = self
            .dirs
            .iter()
            .find(|dir| path.starts_with(dir.log_dir.path()));
        if let Some(dir) = dir {
            dir.log_dir.report_failure(error);
        }
    }
}

fn delay(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
