//! The write side of one partition's log (`UnifiedLog`, `LocalLog`).
//!
//! Kept at every moment: `log_start ≤ last stable ≤ high watermark ≤ log end`; the recovery point
//! is not above the log end; offsets in the segments rise; the epoch cache holds nothing that
//! starts above the log end.

mod append;
pub(crate) mod clean;
mod flush;
mod load;
mod offsets;
mod producers;
mod recall;
mod recover;
mod retention;
mod roll;
pub(crate) mod split;
mod truncate;
mod walk;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_model::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_record::ValidationConfig;

pub use append::AppendInfo;
pub use flush::FlushPlan;
pub use load::OpenLog;
pub use offsets::{OffsetForTimestamp, TimestampTarget};
pub use producers::ProducerDescription;
pub use retention::DeletionReason;

use crate::checkpoint::{LEADER_EPOCH_CHECKPOINT, write_leader_epochs};
use crate::errors::LogError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log_config::LogConfig;
use crate::log_dir::LogDir;
use crate::log_reader::{LogReader, Shared};
use crate::partition_directory::PartitionDirectory;
use crate::partition_metadata::{PARTITION_METADATA, write_topic_id};
use crate::producer::ProducerStateManager;
use crate::published::{LogOffsets, LogPosition};
use crate::random::Random;
use crate::segment::Segment;

/// Ends of recent appends whose places are remembered, so that a high watermark can be placed
/// without a search.
const RECENT_ENDS: usize = 64;

/// The write side of one partition's log. One owner at a time; readers use [`Log::reader`].
#[derive(Debug)]
pub struct Log {
    topic_partition: TopicPartition,
    directory: Arc<PartitionDirectory>,
    config: Arc<LogConfig>,
    validation: ValidationConfig,
    shared: Arc<Shared>,
    active: Arc<Segment>,
    active_state: ActiveState,
    offsets: LogOffsets,
    recent_ends: VecDeque<LogPosition>,
    epochs: LeaderEpochCache,
    producers: ProducerStateManager,
    producer_expiration_ms: i64,
    recovery_point: Offset,
    last_flushed: Timestamp,
    topic_id: Option<TopicId>,
    metadata_is_pending: bool,
    is_future: bool,
    verifies_transactions: bool,
    jitter: Random,
}

/// What only the writer knows of the active segment.
#[derive(Debug)]
struct ActiveState {
    bytes_since_index_entry: u64,
    /// Timestamp of the first append, once known; rolling by time counts from it.
    first_timestamp: Option<Timestamp>,
    created: Timestamp,
    jitter_ms: i64,
    /// The indexes have their full size and can take entries.
    indexes_have_room: bool,
}

impl Log {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// A handle to read from.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Its configuration.
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Takes over a changed configuration; it counts from the next operation on.
    pub fn update_config(&mut self, config: Arc<LogConfig>) {
        self.validation = config.validation(&self.topic_partition);
        self.config = config;
    }

    /// All offsets.
    pub fn offsets(&self) -> LogOffsets {
        self.offsets
    }

    /// First readable offset.
    pub fn log_start_offset(&self) -> Offset {
        self.offsets.log_start_offset
    }

    /// Exclusive end of what is committed.
    pub fn high_watermark(&self) -> Offset {
        self.offsets.high_watermark.offset
    }

    /// Exclusive end of what read_committed consumers see.
    pub fn last_stable_offset(&self) -> Offset {
        self.offsets.last_stable_offset.offset
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.offsets.log_end_offset.offset
    }

    /// All below it survives a crash.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Bytes of batches in all segments.
    pub fn size_in_bytes(&self) -> u64 {
        self.shared
            .segments
            .load()
            .iter()
            .map(|segment| segment.size())
            .sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.shared.segments.load().len()
    }

    /// Base offset of the first segment.
    pub fn first_base_offset(&self) -> Offset {
        let segments = self.shared.segments.load();
        segments
            .first()
            .map_or(self.active.base_offset, |first| first.base_offset)
    }

    /// Base offset of the active segment.
    pub fn active_base_offset(&self) -> Offset {
        self.active.base_offset
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Arc<PartitionDirectory> {
        &self.directory
    }

    /// The directory of `log.dirs` it lies in.
    pub fn log_dir(&self) -> Arc<LogDir> {
        self.shared.log_dir.load_full()
    }

    /// Whether this is the target of a move between directories.
    pub fn is_future(&self) -> bool {
        self.is_future
    }

    /// The topic's id, if the log knows it.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Assigns the topic's id. It is written before the first append or flush.
    ///
    /// # Errors
    /// The log has another id.
    pub fn assign_topic_id(&mut self, topic_id: TopicId) -> Result<(), LogError> {
        match self.topic_id {
            Some(existing) if existing != topic_id => Err(LogError::InconsistentTopicId {
                topic_partition: self.topic_partition.clone(),
                requested: topic_id,
                existing,
            }),
            Some(_) => Ok(()),
            None => {
                self.topic_id = Some(topic_id);
                self.metadata_is_pending = true;
                Ok(())
            }
        }
    }

    /// Writes `partition.metadata` if an id was assigned since.
    ///
    /// # Errors
    /// The directory goes offline.
    pub fn flush_metadata(&mut self) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.write_pending_metadata();
        self.guard(result)
    }

    /// Sets the high watermark, bounded to the log; what it is now. It may fall: only a leader's
    /// never does, and only the leader knows that it is one.
    pub fn update_high_watermark(&mut self, offset: Offset) -> Offset {
        let log_end = self.offsets.log_end_offset;
        let offset = offset.clamp(self.offsets.log_start_offset, log_end.offset);
        if offset == self.offsets.high_watermark.offset {
            return offset;
        }
        self.offsets.high_watermark = self.place(offset);
        self.producers.on_high_watermark_updated(offset);
        self.publish();
        offset
    }

    /// Raises the log's start, for DeleteRecords and after the leader; whether it rose.
    ///
    /// # Errors
    /// The offset is above the high watermark, or the epoch file cannot be written.
    pub fn maybe_increment_log_start_offset(&mut self, offset: Offset) -> Result<bool, LogError> {
        self.check_online()?;
        if offset > self.high_watermark() {
            return Err(LogError::OffsetOutOfRange {
                topic_partition: self.topic_partition.clone(),
                offset,
                limit: self.high_watermark(),
            });
        }
        if offset <= self.log_start_offset() {
            return Ok(false);
        }
        self.offsets.log_start_offset = offset;
        let changed = self.epochs.truncate_from_start(offset);
        let result = if changed { self.write_epochs() } else { Ok(()) };
        self.producers.on_log_start_offset_incremented(offset);
        self.publish();
        self.guard(result).map(|()| true)
    }

    /// Records where a leader epoch starts, durably: at an election, whether or not anything is
    /// written in it.
    ///
    /// # Errors
    /// The epoch file cannot be written.
    pub fn assign_epoch_start_offset(
        &mut self,
        epoch: LeaderEpoch,
        start_offset: Offset,
    ) -> Result<(), LogError> {
        self.check_online()?;
        let changed = self.epochs.assign(epoch, start_offset);
        let result = if changed { self.write_epochs() } else { Ok(()) };
        self.guard(result)
    }

    /// The newest leader epoch.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest_epoch()
    }

    /// The leader epochs.
    pub fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// The largest epoch ≤ the requested one and where it ends; see
    /// [`LeaderEpochCache::end_offset_for`].
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset_for(epoch, self.log_end_offset())
    }

    /// Takes the log out of service and renames its directory. It takes no more changes; readers go
    /// on with the files they have open.
    pub(crate) fn retire(&mut self, directory_name: &str) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.directory.rename_to(directory_name);
        self.guard(result)?;
        self.shared.is_retired.store(true, Ordering::Release);
        Ok(())
    }

    /// A log that moved from another directory takes its partition's plain name.
    pub(crate) fn become_current(&mut self) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.directory.rename_to(&self.topic_partition.to_string());
        self.guard(result)?;
        self.is_future = false;
        Ok(())
    }

    fn is_out_of_service(&self) -> bool {
        self.shared.is_retired.load(Ordering::Acquire) || self.shared.log_dir.load().is_offline()
    }

    fn check_online(&self) -> Result<(), LogError> {
        if self.is_out_of_service() {
            return Err(LogError::Offline(self.topic_partition.clone()));
        }
        Ok(())
    }

    /// Takes the directory offline if an operation failed.
    fn guard<T>(&self, result: io::Result<T>) -> Result<T, LogError> {
        result.map_err(|error| {
            self.shared.log_dir.load().report_failure(&error);
            LogError::Io {
                topic_partition: self.topic_partition.clone(),
                error,
            }
        })
    }

    fn write_pending_metadata(&mut self) -> io::Result<()> {
        if let Some(topic_id) = self.topic_id
            && self.metadata_is_pending
        {
            let path = self.directory.file(PARTITION_METADATA);
            write_topic_id(self.directory.directory(), &path, topic_id)?;
            self.metadata_is_pending = false;
        }
        Ok(())
    }

    fn write_epochs(&self) -> io::Result<()> {
        let path = self.directory.file(LEADER_EPOCH_CHECKPOINT);
        write_leader_epochs(self.directory.directory(), &path, self.epochs.entries())
    }

    /// Brings the derived offsets up to date and shows all of them to readers.
    fn publish(&mut self) {
        let high_watermark = self.offsets.high_watermark;
        let stable = match self.producers.first_unstable_offset() {
            Some(unstable) if unstable < high_watermark.offset => {
                self.place(unstable.max(self.offsets.log_start_offset))
            }
            _ => high_watermark,
        };
        self.offsets.last_stable_offset = stable;
        let offsets = &self.offsets;
        assert!(
            offsets.log_start_offset <= stable.offset
                && stable.offset <= high_watermark.offset
                && high_watermark.offset <= offsets.log_end_offset.offset,
            "the offsets of {} are in order: {offsets:?}",
            self.topic_partition
        );
        self.shared.published.store(offsets);
    }

    /// An offset with its place, if that is known without a search.
    fn place(&self, offset: Offset) -> LogPosition {
        let offsets = &self.offsets;
        let known = [
            offsets.log_end_offset,
            offsets.high_watermark,
            offsets.last_stable_offset,
        ];
        let recent = known.iter().chain(self.recent_ends.iter().rev());
        let found = recent
            .copied()
            .find(|place| place.offset == offset && place.is_placed());
        found.unwrap_or_else(|| LogPosition::offset_only(offset))
    }

    fn remember_end(&mut self, end: LogPosition) {
        if self.recent_ends.len() == RECENT_ENDS {
            self.recent_ends.pop_front();
        }
        self.recent_ends.push_back(end);
    }

    fn forget_places(&mut self) {
        self.recent_ends.clear();
    }
}

#[cfg(test)]
mod tests;
