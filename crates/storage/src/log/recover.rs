//! Recovery after an unclean stop: scanning what was not flushed, rebuilding indexes, epochs and
//! producer state, and cutting off a torn tail.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ottla_model::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_record::{AppendOrigin, BatchHeader, EndTransactionMarker, Magic};

use super::append::marker_of;
use super::load::OpenLog;
use super::recall::{LOOK_BACK_BYTES, LOOK_BACK_BYTES_CLEAN, recall_batches};
use super::split::{Piece, pieces, split_unopened};
use super::walk::{Step, Walk};
use crate::directory::read_full;
use crate::errors::LoadError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log_reader::floor;
use crate::partition_directory::PartitionDirectory;
use crate::producer::ProducerStateManager;
use crate::scanner::{PlacedBatch, ScanError};
use crate::segment::Segment;
use crate::time_index::TimestampOffset;
use crate::transaction_index::AbortedTransaction;

/// A log while it is being opened.
pub(super) struct Recovery<'a> {
    pub(super) open: &'a OpenLog,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) epochs: LeaderEpochCache,
    pub(super) producers: ProducerStateManager,
}

/// Where a segment stops making sense.
struct Damage {
    position: u64,
    offset: Offset,
    reason: String,
    /// The batch there is too far from the segment's base for an index.
    is_out_of_reach: bool,
}

/// What the scan of one segment found.
struct Scanned {
    next_offset: Offset,
    damage: Option<Damage>,
}

impl Scanned {
    fn damaged(position: u64, offset: Offset, reason: String) -> Self {
        Self {
            next_offset: offset,
            damage: Some(Damage {
                position,
                offset,
                reason,
                is_out_of_reach: false,
            }),
        }
    }

    fn out_of_reach(position: u64, offset: Offset, reason: String) -> Self {
        let mut scanned = Self::damaged(position, offset, reason);
        if let Some(damage) = &mut scanned.damage {
            damage.is_out_of_reach = true;
        }
        scanned
    }
}

impl Recovery<'_> {
    /// Rebuilds segments whose indexes are missing or cannot be theirs.
    pub(super) fn rebuild_insane_indexes(
        &mut self,
        without_index: &BTreeSet<Offset>,
    ) -> Result<(), LoadError> {
        for index in 0..self.segments.len() {
            let Some(segment) = self.segments.get(index).cloned() else {
                break;
            };
            let is_sane = self
                .has_sane_indexes(&segment)
                .map_err(|error| self.io(error))?;
            let has_index = !without_index.contains(&segment.base_offset);
            // Unflushed segments are recovered anyway, and with less to hold on to.
            if (has_index && is_sane) || self.is_unflushed(index) {
                continue;
            }
            tracing::error!(
                partition = %self.open.topic_partition, segment = segment.base_offset,
                "an index is missing or damaged and is rebuilt"
            );
            self.recover_segment(index)?;
        }
        Ok(())
    }

    /// After a power failure the indexes of a flushed segment may still have the length they had
    /// when it was written to, filled with zeros: a roll flushes nothing that is flushed already.
    fn has_sane_indexes(&self, segment: &Segment) -> io::Result<bool> {
        Ok(segment.transaction_index.is_sane()?
            && (self.open.is_clean
                || (segment.offset_index.is_sane()? && segment.time_index.is_sane()?)))
    }

    /// Recovers every segment from the one that holds the recovery point on.
    pub(super) fn recover_unflushed(&mut self) -> Result<(), LoadError> {
        let mut index = floor(&self.segments, self.open.recovery_point);
        while index < self.segments.len() {
            let left = self.segments.len() - index;
            let recovery = &self.open.log_dir.recovery;
            recovery.set_segments(&self.open.topic_partition, left);
            let next_offset = self.recover_segment(index)?;
            index += 1;
            let Some(next) = self.segments.get(index) else {
                break;
            };
            // Lost bytes that end at a batch's end leave a gap before the next segment. Compacted
            // logs have such gaps by right.
            let is_gap = next.base_offset > next_offset && !self.open.config.compact;
            if is_gap && next.base_offset > self.open.recovery_point {
                self.drop_segments_from(index)?;
            }
        }
        Ok(())
    }

    /// The end of the log; for a log without segments its start.
    pub(super) fn log_end_offset(&self) -> Result<Offset, LoadError> {
        let Some(last) = self.segments.last() else {
            return Ok(self.open.log_start_offset);
        };
        match last.next_offset() {
            Ok(offset) => Ok(offset),
            Err(ScanError::Io(error)) => Err(self.io(error)),
            Err(ScanError::Corrupt { position, error }) => {
                let reason = error.to_string();
                let offset = last.base_offset;
                Err(self.damaged(
                    last,
                    &Damage {
                        position,
                        offset,
                        reason,
                        is_out_of_reach: false,
                    },
                ))
            }
        }
    }

    /// Drops all segments, epochs and producers.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        for segment in self.segments.drain(..) {
            segment.delete()?;
        }
        self.epochs.clear();
        self.producers
            .truncate_fully(&self.open.directory, self.open.log_start_offset)
    }

    /// The producer state at the end of the log.
    pub(super) fn restore_producers(
        &mut self,
        log_start: Offset,
        log_end: Offset,
    ) -> Result<(), LoadError> {
        let bases: Vec<Offset> = self
            .segments
            .iter()
            .map(|segment| segment.base_offset)
            .collect();
        let strays = self
            .producers
            .remove_stray_snapshots(&self.open.directory, &bases);
        strays.map_err(|error| self.io(error))?;
        self.rebuild_to(log_start..log_end, self.open.is_clean)
    }

    fn is_unflushed(&self, index: usize) -> bool {
        !self.open.is_clean && index >= floor(&self.segments, self.open.recovery_point)
    }

    fn rebuild_to(&mut self, range: Range<Offset>, is_clean: bool) -> Result<(), LoadError> {
        let result = rebuild_producers(
            &mut self.producers,
            &self.open.topic_partition,
            &self.open.directory,
            &self.segments,
            range,
            is_clean,
            self.open.now,
            self.open.producer_expiration_ms,
        );
        result.map_err(|error| self.io(error))
    }

    /// Recovers one segment; its end. A torn tail is cut off and all later segments go with it.
    fn recover_segment(&mut self, index: usize) -> Result<Offset, LoadError> {
        let segment = Arc::clone(&self.segments[index]);
        // First look, then touch: damage to flushed bytes must change nothing.
        let scanned = self.scan(&segment).map_err(|error| self.io(error))?;
        if let Some(pieces) = self.pieces_of(index, &scanned)? {
            return self.split_and_recover(index, &pieces);
        }
        if let Some(damage) = &scanned.damage {
            // On a clean start all bytes count as flushed.
            let flushed = if self.open.is_clean {
                Offset::MAX
            } else {
                self.open.recovery_point
            };
            if damage.offset < flushed {
                return Err(self.damaged(&segment, damage));
            }
            tracing::warn!(
                partition = %self.open.topic_partition, segment = segment.base_offset,
                position = damage.position, offset = damage.offset, reason = damage.reason,
                "the segment ends in bytes that are no whole batch and is cut there"
            );
        }
        let start = self.open.log_start_offset;
        self.rebuild_to(start..segment.base_offset, false)?;
        if let Some(damage) = &scanned.damage {
            let cut = segment
                .file()
                .and_then(|file| file.set_length(damage.position));
            cut.map_err(|error| self.io(error))?;
            segment.set_size(damage.position);
        }
        self.rebuild_segment(&segment)
            .map_err(|error| self.io(error))?;
        self.producers
            .set_map_end_offset(scanned.next_offset.max(segment.base_offset));
        self.producers
            .take_snapshot(&self.open.directory, true)
            .map_err(|error| self.io(error))?;
        if scanned.damage.is_some() {
            self.drop_segments_from(index + 1)?;
        }
        Ok(scanned.next_offset)
    }

    /// How to split a segment whose offsets reach too far; `None` if it has another fault or none.
    /// The last segment never is such: only cleaners of old releases made them.
    fn pieces_of(&self, index: usize, scanned: &Scanned) -> Result<Option<Vec<Piece>>, LoadError> {
        match (&scanned.damage, self.segments.get(index + 1)) {
            (Some(damage), Some(next)) if damage.is_out_of_reach => {
                pieces(&self.segments[index], next.base_offset).map_err(|error| self.io(error))
            }
            _ => Ok(None),
        }
    }

    /// Splits a segment and recovers what it becomes; the end of that.
    fn split_and_recover(&mut self, index: usize, pieces: &[Piece]) -> Result<Offset, LoadError> {
        let segment = Arc::clone(&self.segments[index]);
        tracing::info!(
            partition = %self.open.topic_partition, segment = segment.base_offset,
            pieces = pieces.len(), "a segment is too long for its indexes and is split"
        );
        let interval = self.open.config.index_interval_bytes;
        let made = split_unopened(&self.open.directory, &segment, pieces, interval);
        let made = made.map_err(|error| self.io(error))?;
        let count = made.len();
        self.segments.splice(index..=index, made);
        let mut end = segment.base_offset;
        for piece in index..index + count {
            // Damage in one of them takes the later ones away.
            if piece < self.segments.len() {
                end = self.recover_segment(piece)?;
            }
        }
        Ok(end)
    }

    /// Checks all batches of a segment without changing anything.
    fn scan(&self, segment: &Segment) -> io::Result<Scanned> {
        let mut walk = Walk::new(segment)?;
        let mut next_offset = segment.base_offset;
        let mut newest = LeaderEpoch::NONE;
        loop {
            let position = walk.position();
            match walk.next(next_offset)? {
                Step::End => {
                    return Ok(Scanned {
                        next_offset,
                        damage: None,
                    });
                }
                Step::Batch(batch) => match self.contradiction(batch.header(), newest) {
                    None => {
                        next_offset = batch.next_offset();
                        newest = newest.max(batch.partition_leader_epoch);
                    }
                    Some(reason) => {
                        let mut scanned = Scanned::damaged(position, next_offset, reason);
                        if let Some(damage) = &mut scanned.damage {
                            // Whole, so its offset is known: after a gap it is not the next one.
                            damage.offset = batch.base_offset();
                        }
                        return Ok(scanned);
                    }
                },
                Step::Damaged(reason) => {
                    return Ok(Scanned::damaged(position, next_offset, reason));
                }
                Step::OutOfReach(reason) => {
                    return Ok(Scanned::out_of_reach(position, next_offset, reason));
                }
            }
        }
    }

    /// Why a batch cannot be what was written last at its offset. A truncation is not synced, but
    /// the epochs of what is appended after it are: a power failure may bring back a batch that was
    /// cut off, at an offset where another leader's records were. Kept, it would pass for those, and
    /// this replica would differ from all others without anybody noticing. `newest` is the newest
    /// epoch of the batches before.
    ///
    /// After an orderly end nothing is compared: what is there was closed like that.
    fn contradiction(&self, batch: &BatchHeader, newest: LeaderEpoch) -> Option<String> {
        let (offset, epoch) = (batch.base_offset(), batch.partition_leader_epoch);
        let may_be_stale = batch.magic == Magic::V2
            && epoch.0 >= 0
            && offset >= self.open.recovery_point
            && !self.open.is_clean;
        if !may_be_stale {
            return None;
        }
        let known = self.epochs.epoch_for_offset(offset).max(Some(newest))?;
        if epoch < known {
            return Some(format!(
                "offset {offset} of epoch {epoch}, which ended before epoch {known}"
            ));
        }
        self.epochs.rules_out(epoch, offset).then(|| {
            format!("offset {offset} of epoch {epoch}, which the epochs around it do not know")
        })
    }

    /// Rebuilds indexes, epochs and producer state from the headers of a segment's batches, all of
    /// which were found whole.
    fn rebuild_segment(&mut self, segment: &Segment) -> io::Result<()> {
        let config = &self.open.config;
        segment
            .offset_index
            .file()
            .reset(config.segment_index_bytes)?;
        segment
            .time_index
            .file()
            .reset(config.segment_index_bytes)?;
        segment.transaction_index.reset()?;
        let mut largest = TimestampOffset {
            timestamp: Timestamp::NONE,
            offset: segment.base_offset,
        };
        let mut bytes_since_entry = 0;
        let mut scanner = segment.scan(0)?;
        let mut end = 0;
        while let Some(PlacedBatch {
            position,
            header: batch,
        }) = scanner.next_batch()?
        {
            end = position + batch.size_in_bytes as u64;
            if batch.max_timestamp > largest.timestamp {
                let offset = batch.last_offset();
                largest = TimestampOffset {
                    timestamp: batch.max_timestamp,
                    offset,
                };
            }
            // A full index is left sparse: lookups then scan further.
            let has_room = !segment.offset_index.is_full()? && !segment.time_index.is_full()?;
            if bytes_since_entry > config.index_interval_bytes && has_room {
                segment
                    .offset_index
                    .append(batch.last_offset(), position as u32)?;
                segment.time_index.maybe_append(largest, false)?;
                bytes_since_entry = 0;
            }
            bytes_since_entry += batch.size_in_bytes as u64;
            if batch.magic == Magic::V2 {
                let epoch = batch.partition_leader_epoch;
                if epoch.0 >= 0
                    && self
                        .epochs
                        .latest_epoch()
                        .is_none_or(|latest| epoch > latest)
                {
                    self.epochs.assign(epoch, batch.base_offset());
                }
                let marker = marker_at(segment, position, &batch)?;
                let index = Some(segment);
                replay(
                    &mut self.producers,
                    &self.open.topic_partition,
                    &batch,
                    marker,
                    index,
                )?;
            }
        }
        if end < segment.size() {
            return Err(io::Error::other("a batch was whole and is not any more"));
        }
        segment.set_max_timestamp(largest);
        segment.become_inactive(false)
    }

    fn drop_segments_from(&mut self, index: usize) -> Result<(), LoadError> {
        for segment in self.segments.split_off(index) {
            let base = segment.base_offset;
            tracing::warn!(
                partition = %self.open.topic_partition, segment = base,
                "deleting a segment after the end of what could be recovered"
            );
            let deleted = segment
                .delete()
                .and_then(|()| self.producers.delete_snapshot(&self.open.directory, base));
            deleted.map_err(|error| self.io(error))?;
        }
        Ok(())
    }

    fn io(&self, error: io::Error) -> LoadError {
        LoadError::Io {
            topic_partition: self.open.topic_partition.clone(),
            error,
        }
    }

    fn damaged(&self, segment: &Segment, damage: &Damage) -> LoadError {
        LoadError::Damaged {
            topic_partition: self.open.topic_partition.clone(),
            segment: segment.base_offset,
            position: damage.position,
            offset: damage.offset,
            recovery_point: self.open.recovery_point,
            reason: damage.reason.clone(),
        }
    }
}

/// Brings producer state to the end of `range`, from the newest usable snapshot or the start, and
/// writes snapshots at the bases of the last two segments and at the end.
#[allow(
    clippy::too_many_arguments,
    reason = "a log that is open and one that opens share it"
)]
pub(super) fn rebuild_producers(
    producers: &mut ProducerStateManager,
    topic_partition: &TopicPartition,
    directory: &PartitionDirectory,
    segments: &[Arc<Segment>],
    range: Range<Offset>,
    is_clean: bool,
    now: Timestamp,
    expiration_ms: i64,
) -> io::Result<()> {
    let (log_start, last_offset) = (range.start, range.end);
    let last_bases = segments
        .iter()
        .rev()
        .take(2)
        .rev()
        .map(|segment| segment.base_offset);
    if is_clean && producers.snapshots().is_empty() {
        for offset in last_bases.chain([last_offset]) {
            producers.set_map_end_offset(offset);
            producers.take_snapshot(directory, true)?;
        }
        return Ok(());
    }
    let had_none = producers.is_empty() && producers.map_end_offset() >= last_offset;
    if producers.truncate_and_reload(directory, log_start, last_offset, now, expiration_ms)? {
        let bytes = if is_clean {
            LOOK_BACK_BYTES_CLEAN
        } else {
            LOOK_BACK_BYTES
        };
        recall_batches(producers, segments, log_start, bytes)?;
    }
    if last_offset > producers.map_end_offset() && !had_none {
        let last_bases: Vec<Offset> = last_bases.collect();
        let first = floor(segments, producers.map_end_offset());
        for segment in segments.iter().skip(first) {
            if segment.base_offset >= last_offset {
                break;
            }
            let start = segment
                .base_offset
                .max(producers.map_end_offset())
                .max(log_start);
            producers.set_map_end_offset(start);
            if last_bases.contains(&segment.base_offset) {
                producers.take_snapshot(directory, true)?;
            }
            replay_segment(producers, topic_partition, segment, start..last_offset)?;
        }
    }
    producers.set_map_end_offset(last_offset);
    producers.take_snapshot(directory, true).map(drop)
}

fn replay_segment(
    producers: &mut ProducerStateManager,
    topic_partition: &TopicPartition,
    segment: &Segment,
    range: Range<Offset>,
) -> io::Result<()> {
    let Some(first) = segment.find(range.start)? else {
        return Ok(());
    };
    let mut scanner = segment.scan(first.position)?;
    while let Some(PlacedBatch { position, header }) = scanner.next_batch()? {
        if header.last_offset() >= range.end {
            break;
        }
        if header.base_offset() < range.start || !header.has_producer_id() {
            continue;
        }
        let marker = marker_at(segment, position, &header)?;
        replay(producers, topic_partition, &header, marker, None)?;
    }
    Ok(())
}

/// Applies a batch of the log to the producer state; `index` takes aborted transactions.
fn replay(
    producers: &mut ProducerStateManager,
    topic_partition: &TopicPartition,
    batch: &ottla_record::BatchHeader,
    marker: Option<EndTransactionMarker>,
    index: Option<&Segment>,
) -> io::Result<()> {
    if !batch.has_producer_id() {
        return Ok(());
    }
    let mut info = producers.prepare_update(batch.producer_id, AppendOrigin::Replication);
    let offset = batch.base_offset();
    let result = match marker {
        Some(marker) => info.append_marker(
            marker,
            batch.producer_epoch,
            offset,
            batch.max_timestamp,
            topic_partition,
        ),
        None if batch.is_control() => return Ok(()),
        None => info.append_data(batch, topic_partition).map(|()| None),
    };
    let completed = match result {
        Ok(completed) => completed,
        Err(error) => {
            tracing::warn!(partition = %topic_partition, %error, "a batch in the log is passed over");
            return Ok(());
        }
    };
    producers.update(&info);
    let Some(completed) = completed else {
        return Ok(());
    };
    if let Some(segment) = index
        && completed.is_aborted
    {
        segment.transaction_index.append(AbortedTransaction {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: producers.last_stable_offset_after(&completed),
        })?;
    }
    producers.complete(&completed);
    Ok(())
}

/// The marker that a control batch is.
fn marker_at(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
) -> io::Result<Option<EndTransactionMarker>> {
    if !header.is_control() {
        return Ok(None);
    }
    // No larger than the file: the scanner saw the whole batch in it.
    let mut batch = vec![0; header.size_in_bytes];
    let read = read_full(&**segment.file()?, &mut batch, position)?;
    marker_of(&batch[..read])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
