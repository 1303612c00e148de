//! The log cleaner (`LogCleaner`): of compacted logs only the last record of each key stays.
//!
//! One cleaning: choose the log with the largest dirty share ([`choose`](self)); remember the last
//! offset of each key of its dirty part ([`OffsetMap`]); rewrite all segments up to there into
//! `.cleaned` files without what is superseded; rename those over their sources. Offsets never
//! change. The log is locked for the exchange only; whoever truncates or deletes a log ends its
//! cleaning first.
//!
//! Threads and clocks are the caller's: a thread calls [`LogManager::clean`] with a [`Cleaner`] of
//! its own, and pauses when there was nothing to do.

mod choose;
mod offset_map;
mod output;
mod rewrite;
mod states;
mod throttle;
mod transactions;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::{Instant, Offset, Timestamp, TopicPartition};
use ottla_record::{ConvertError, CorruptBatch, InvalidRecords};

pub use offset_map::OffsetMap;
pub(crate) use output::CleanedSegment;
pub(crate) use states::CleaningStates;
pub use throttle::Throttle;

use self::choose::{CleanableRange, LogToClean};
use self::rewrite::Cleaning;
use crate::checkpoint::{CLEANER_CHECKPOINT, read_partition_offsets, write_partition_offsets};
use crate::errors::LogError;
use crate::log_dir::LogDir;
use crate::log_manager::LogManager;

/// The longest pause of the throttle before it is asked again whether the cleaning may go on.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The `log.cleaner.*` keys of the broker, by their names; buffers are for all threads together.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each field is the broker key of its name")]
pub struct CleanerSettings {
    pub threads: usize,
    pub dedupe_buffer_size: u64,
    pub io_buffer_size: usize,
    pub io_buffer_load_factor: f64,
    pub io_max_bytes_per_second: f64,
}

impl Default for CleanerSettings {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            threads: 1,
            dedupe_buffer_size: 128 << 20,
            io_buffer_size: 512 << 10,
            io_buffer_load_factor: 0.9,
            io_max_bytes_per_second: f64::MAX,
        }
    }
}

impl CleanerSettings {
    /// Memory for the map of one thread.
    fn map_bytes(&self) -> u64 {
        (self.dedupe_buffer_size / self.threads.max(1) as u64).min(i32::MAX as u64)
    }

    /// One of the two buffers of a thread.
    fn buffer_bytes(&self) -> usize {
        (self.io_buffer_size / self.threads.max(1) / 2).max(64)
    }
}

/// Time, as a thread of the cleaner lives in it. All threads share one throttle.
pub trait CleanerClock: Sync {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Wall time.
    fn wall(&self) -> Timestamp;
    /// Waits.
    fn pause(&self, duration: Duration);
    /// The throttle of all threads.
    fn throttle(&self) -> &parking_lot::Mutex<Throttle>;
}

/// What one thread of the cleaner keeps between cleanings.
#[derive(Debug)]
pub struct Cleaner {
    settings: CleanerSettings,
    map: OffsetMap,
}

impl Cleaner {
    /// A thread's part of the buffers.
    pub fn new(settings: CleanerSettings) -> Self {
        let map = OffsetMap::new(settings.map_bytes(), settings.io_buffer_load_factor);
        Self { settings, map }
    }

    /// Takes over changed settings.
    pub fn update(&mut self, settings: &CleanerSettings) {
        if self.settings != *settings {
            *self = Self::new(settings.clone());
        }
    }
}

/// What a cleaning did.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct CleaningStats {
    /// Bytes of batches read to map keys.
    pub bytes_mapped: u64,
    /// Bytes of batches read to be rewritten.
    pub bytes_read: u64,
    /// Bytes of batches written.
    pub bytes_written: u64,
    /// Records read.
    pub messages_read: u64,
    /// Records written.
    pub messages_written: u64,
    /// Records without a key, which a compacted log does not keep.
    pub keyless_messages: u64,
    /// The share of the map of keys, of 1, that was taken.
    pub map_utilization: f64,
    /// By how much the most overdue of all logs was past its `max.compaction.lag.ms` when this one
    /// was chosen, in milliseconds.
    pub compaction_delay_ms: i64,
}

/// What one call of [`LogManager::clean`] did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CleanRound {
    /// A log was cleaned; there may be more.
    Cleaned(CleaningStats),
    /// No log needs it now.
    Nothing,
    /// The logs are closed: the thread ends.
    Stopped,
}

/// Why a cleaning ended early.
#[derive(Debug, thiserror::Error)]
enum CleanError {
    #[error("the cleaning was aborted")]
    Aborted,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("corrupt batch: {0}")]
    Corrupt(#[from] CorruptBatch),
    #[error("invalid records: {0}")]
    Invalid(#[from] InvalidRecords),
    #[error("batch cannot be rewritten: {0}")]
    Convert(#[from] ConvertError),
    #[error("the batch at byte {position} is not complete")]
    Truncated { position: u64 },
}

/// Asked before every piece of work.
trait Pace {
    /// Accounts for bytes read or written, and waits if that was too fast.
    fn spend(&mut self, bytes: usize) -> Result<(), CleanError>;
}

struct Throttled<'a> {
    manager: &'a LogManager,
    partition: &'a TopicPartition,
    clock: &'a dyn CleanerClock,
    bytes_per_second: f64,
}

impl Throttled<'_> {
    fn check(&self) -> Result<(), CleanError> {
        if self.manager.cleaning.may_go_on(self.partition) {
            Ok(())
        } else {
            Err(CleanError::Aborted)
        }
    }
}

impl Pace for Throttled<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), CleanError> {
        self.check()?;
        let now = self.clock.now();
        let throttle = self.clock.throttle();
        let mut left = throttle.lock().record(now, bytes, self.bytes_per_second);
        while left > Duration::ZERO {
            let pause = left.min(PAUSE_MAX);
            self.clock.pause(pause);
            left -= pause;
            self.check()?;
        }
        Ok(())
    }
}

/// A log that was taken with [`CleaningStates::begin`]; given back when dropped.
struct Taken<'a>(&'a LogManager, &'a TopicPartition);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.cleaning.end(self.1);
    }
}

impl LogManager {
    /// Cleans the log that needs it most, if one does, and applies retention to compacted logs,
    /// which [`LogManager::run_retention`] leaves out. Blocks for as long as that takes.
    ///
    /// An I/O error takes a directory offline; whatever else is wrong with a log makes it
    /// uncleanable until a restart.
    pub fn clean(&self, cleaner: &mut Cleaner, clock: &dyn CleanerClock) -> CleanRound {
        let cleaned = self.clean_dirtiest(cleaner, clock);
        self.delete_from_compacted(clock.wall());
        if self.cleaning.is_stopped() {
            return CleanRound::Stopped;
        }
        cleaned.map_or(CleanRound::Nothing, CleanRound::Cleaned)
    }

    /// Logs that could not be cleaned and are left alone until a restart.
    pub fn uncleanable_partitions(&self) -> Vec<TopicPartition> {
        self.cleaning.uncleanable()
    }

    /// Bytes of these logs that could be cleaned, if the cleaner got over them, by their directory
    /// (`uncleanable-bytes`).
    pub fn uncleanable_bytes(&self, now: Timestamp) -> BTreeMap<PathBuf, u64> {
        let mut bytes = BTreeMap::new();
        for partition in self.cleaning.uncleanable() {
            let Some(log) = self.get_log(&partition) else {
                continue;
            };
            let view = log.lock().cleaning_view();
            if view.log_dir.is_offline() {
                continue;
            }
            let checkpoint = self.cleaner_checkpoint(&view.log_dir);
            let checkpoint = checkpoint.get(&partition).copied();
            // What cannot even be looked at is not known.
            if let Ok(range) = CleanableRange::of(&view, checkpoint, now) {
                *bytes.entry(view.log_dir.path().to_owned()).or_insert(0) += range.cleanable_bytes;
            }
        }
        bytes
    }

    /// The dirty share, of 1, of the dirtiest log, when the cleaner last looked for work.
    pub fn dirtiest_ratio(&self) -> f64 {
        self.cleaning.dirtiest()
    }

    /// Whether the logs are closed and nothing is cleaned any more.
    pub fn is_cleaning_stopped(&self) -> bool {
        self.cleaning.is_stopped()
    }

    fn clean_dirtiest(
        &self,
        cleaner: &mut Cleaner,
        clock: &dyn CleanerClock,
    ) -> Option<CleaningStats> {
        let now = clock.wall();
        let (target, compaction_delay_ms) = self.take_dirtiest(now)?;
        let partition = &target.topic_partition;
        let _taken = Taken(self, partition);
        let mut pace = Throttled {
            manager: self,
            partition,
            clock,
            bytes_per_second: cleaner.settings.io_max_bytes_per_second,
        };
        let mut cleaning = Cleaning {
            target: &target,
            map: &mut cleaner.map,
            settings: &cleaner.settings,
            pace: &mut pace,
            stats: CleaningStats {
                compaction_delay_ms,
                ..CleaningStats::default()
            },
        };
        let result = cleaning.run(now);
        let stats = cleaning.stats;
        cleaner.map.clear();
        let is_done = result.is_ok();
        match result {
            Ok(end_offset) => {
                tracing::info!(%partition, end_offset, ?stats, "cleaned a log");
                self.set_cleaner_checkpoint(&target.view.log_dir, partition, end_offset);
            }
            Err(CleanError::Aborted) => tracing::info!(%partition, "cleaning was aborted"),
            // A truncated or deleted log is not at fault for what its cleaner runs into.
            Err(error) if !self.cleaning.may_go_on(partition) => {
                tracing::info!(%partition, %error, "cleaning was aborted");
            }
            Err(CleanError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                target.view.log_dir.report_failure(&error);
            }
            // Its directory went offline when it happened.
            Err(CleanError::Log(error)) => tracing::warn!(%partition, %error, "cleaning failed"),
            Err(error) => {
                tracing::error!(%partition, %error, "a log cannot be cleaned");
                self.cleaning.set_uncleanable(partition);
            }
        }
        is_done.then_some(stats)
    }

    /// The log with the largest dirty share of those worth cleaning; it is taken. With it comes by
    /// how much the most overdue of all is late, in milliseconds.
    fn take_dirtiest(&self, now: Timestamp) -> Option<(LogToClean, i64)> {
        if self.cleaning.is_stopped() {
            return None;
        }
        let mut candidates = Vec::new();
        let (mut dirtiest, mut overdue_ms) = (0.0_f64, 0);
        for dir in self.online_dirs() {
            let checkpoints = self.cleaner_checkpoint(&dir);
            for (topic_partition, log) in self.logs() {
                let view = log.lock().cleaning_view();
                if !view.config.compact || !Arc::ptr_eq(&view.log_dir, &dir) {
                    continue;
                }
                let checkpoint = checkpoints.get(&topic_partition).copied();
                let range = match CleanableRange::of(&view, checkpoint, now) {
                    Ok(range) => range,
                    Err(error) => {
                        // It may have been truncated or deleted just now: the next round tells.
                        tracing::warn!(partition = %topic_partition, %error, "cannot look at a log");
                        continue;
                    }
                };
                if range.resets_checkpoint {
                    let first = range.first_dirty_offset;
                    tracing::warn!(
                        partition = %topic_partition, ?checkpoint, first,
                        "the cleaner's checkpoint is not in the log and is reset"
                    );
                    self.set_cleaner_checkpoint(&dir, &topic_partition, first);
                }
                overdue_ms = overdue_ms.max(range.overdue_ms);
                if range.total_bytes > 0 {
                    dirtiest = dirtiest.max(range.ratio());
                }
                if range.is_eligible(view.config.min_cleanable_dirty_ratio) {
                    candidates.push(LogToClean {
                        topic_partition,
                        log,
                        view,
                        range,
                    });
                }
            }
        }
        self.cleaning.set_dirtiest(dirtiest);
        candidates.sort_by(|a, b| b.range.ratio().total_cmp(&a.range.ratio()));
        let is_taken = |target: &LogToClean| self.cleaning.begin(&target.topic_partition);
        let mut target = candidates.into_iter().find(is_taken)?;
        // Before it was taken, others could still change it.
        target.view = target.log.lock().cleaning_view();
        let checkpoint = self.cleaner_checkpoint(&target.view.log_dir);
        let checkpoint = checkpoint.get(&target.topic_partition).copied();
        match CleanableRange::of(&target.view, checkpoint, now) {
            Ok(range) if range.is_eligible(target.view.config.min_cleanable_dirty_ratio) => {
                target.range = range;
                Some((target, overdue_ms))
            }
            _ => {
                self.cleaning.end(&target.topic_partition);
                None
            }
        }
    }

    fn delete_from_compacted(&self, now: Timestamp) {
        for (partition, log) in self.logs() {
            if !log.lock().config().compact || !self.cleaning.begin(&partition) {
                continue;
            }
            let _taken = Taken(self, &partition);
            // A failure took the directory offline and was logged there.
            _ = log.lock().delete_old_segments(now);
        }
    }

    fn cleaner_checkpoint(&self, dir: &LogDir) -> crate::checkpoint::PartitionOffsets {
        let path = dir.path().join(CLEANER_CHECKPOINT);
        let _one_at_a_time = self.cleaner_checkpoint.lock();
        read_partition_offsets(&**dir.directory(), &path).unwrap_or_else(|error| {
            dir.report_failure(&error);
            Default::default()
        })
    }

    /// Where the dirty part of a log begins from now on.
    fn set_cleaner_checkpoint(&self, dir: &LogDir, partition: &TopicPartition, offset: Offset) {
        self.change_cleaner_checkpoint(dir, |offsets| {
            offsets.insert(partition.clone(), offset) != Some(offset)
        });
    }

    /// The log was cut: nothing from `offset` on is clean.
    pub(crate) fn lower_cleaner_checkpoint(
        &self,
        dir: &LogDir,
        partition: &TopicPartition,
        offset: Offset,
    ) {
        self.change_cleaner_checkpoint(dir, |offsets| match offsets.get_mut(partition) {
            Some(present) if *present > offset => {
                *present = offset;
                true
            }
            _ => false,
        });
    }

    /// Rewrites the checkpoint of a directory if `change` says that it changed it.
    pub(crate) fn change_cleaner_checkpoint(
        &self,
        dir: &LogDir,
        change: impl FnOnce(&mut crate::checkpoint::PartitionOffsets) -> bool,
    ) {
        if dir.is_offline() {
            return;
        }
        let path = dir.path().join(CLEANER_CHECKPOINT);
        let files = &**dir.directory();
        let _one_at_a_time = self.cleaner_checkpoint.lock();
        let result = read_partition_offsets(files, &path).and_then(|mut offsets| {
            if change(&mut offsets) {
                write_partition_offsets(files, &path, &offsets)?;
            }
            Ok(())
        });
        if let Err(error) = result {
            dir.report_failure(&error);
        }
    }
}

#[cfg(test)]
mod tests;
