//! Finding offsets by time (ListOffsets).

use ottla_model::{LeaderEpoch, Offset, Timestamp};
use ottla_record::{BatchView, DECOMPRESSED_SIZE_MAX};

use super::Log;
use crate::directory::read_full;
use crate::errors::ReadError;
use crate::log_reader::LogReader;

/// Which offset is wanted; the negative numbers of the protocol have names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampTarget {
    /// −1: the log's end. The caller bounds it by its isolation.
    Latest,
    /// −2, and −4 without tiered storage: the log's start.
    Earliest,
    /// −3: the record with the largest timestamp.
    MaxTimestamp,
    /// −5: the end of tiered storage; there is none.
    LatestTiered,
    /// The first record that is not older.
    At(Timestamp),
}

/// An offset found by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetForTimestamp {
    /// The record's timestamp; [`Timestamp::NONE`] for earliest and latest.
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch to answer, if one is known.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Log {
    /// Finds an offset; `None` if no record qualifies. Searches the log for all but earliest and
    /// latest: use [`LogReader::offset_for_timestamp`] and [`LogReader::offset_of_max_timestamp`]
    /// to search without holding the log.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn fetch_offset_by_timestamp(
        &self,
        target: TimestampTarget,
    ) -> Result<Option<OffsetForTimestamp>, ReadError> {
        let at = |offset, leader_epoch| {
            Some(OffsetForTimestamp {
                timestamp: Timestamp::NONE,
                offset,
                leader_epoch,
            })
        };
        match target {
            TimestampTarget::Latest => Ok(at(self.log_end_offset(), self.epochs.latest_epoch())),
            TimestampTarget::Earliest => Ok(at(self.log_start_offset(), self.earliest_epoch())),
            TimestampTarget::LatestTiered => Ok(at(-1, Some(LeaderEpoch::NONE))),
            TimestampTarget::MaxTimestamp => self.reader().offset_of_max_timestamp(),
            TimestampTarget::At(timestamp) => self.reader().offset_for_timestamp(timestamp),
        }
    }

    /// The epoch of the log's start, if the cache reaches that far back.
    pub fn earliest_epoch(&self) -> Option<LeaderEpoch> {
        let (epoch, start_offset) = self.epochs.entries().first()?;
        (*start_offset <= self.log_start_offset()).then_some(*epoch)
    }
}

impl LogReader {
    /// The first record whose timestamp is not below the target, up to the log's end. Reads
    /// batches: not on a connection's worker.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_timestamp(
        &self,
        target: Timestamp,
    ) -> Result<Option<OffsetForTimestamp>, ReadError> {
        let start = self.log_start_offset();
        for segment in self.segments().iter() {
            if self.checked(segment.largest_timestamp())? < target {
                continue;
            }
            let entry = self.checked(segment.time_index.lookup(target))?;
            let from = self.checked(segment.offset_index.lookup(entry.offset.max(start)))?;
            let mut scanner = self.checked(segment.scan(u64::from(from.position)))?;
            while let Some(batch) = scanner.next_batch().map_err(|error| self.failed(error))? {
                if batch.header.max_timestamp < target || batch.header.last_offset() < start {
                    continue;
                }
                let qualifies =
                    |timestamp: Timestamp, offset| timestamp >= target && offset >= start;
                let found = self.first_record(segment, batch.position, &batch.header, qualifies)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            // As in Kafka, only the first segment that may hold it is searched.
            return Ok(None);
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp of the log; `None` without records that have
    /// one. Reads a batch: not on a connection's worker.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_of_max_timestamp(&self) -> Result<Option<OffsetForTimestamp>, ReadError> {
        let segments = self.segments();
        let mut latest = None;
        for segment in segments.iter() {
            let largest = self.checked(segment.max_timestamp())?;
            if latest
                .as_ref()
                .is_none_or(|(known, _)| largest.timestamp > *known)
            {
                latest = Some((largest.timestamp, (segment, largest)));
            }
        }
        let Some((_, (segment, largest))) = latest else {
            return Ok(None);
        };
        let from = self.checked(segment.offset_index.lookup(largest.offset))?;
        let mut scanner = self.checked(segment.scan(u64::from(from.position)))?;
        while let Some(batch) = scanner.next_batch().map_err(|error| self.failed(error))? {
            if batch.header.max_timestamp == largest.timestamp {
                let qualifies = |timestamp, _| timestamp == largest.timestamp;
                return self.first_record(segment, batch.position, &batch.header, qualifies);
            }
        }
        Ok(None)
    }

    /// The offsets that ListOffsets v0 answers: bases of segments last written at or before the
    /// target, and the log's end, newest first, at most `count_max`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn legacy_offsets_before(
        &self,
        target: TimestampTarget,
        count_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Offset>, ReadError> {
        let segments = self.segments();
        let start = self.log_start_offset();
        let mut candidates = Vec::with_capacity(segments.len() + 1);
        for segment in segments.iter() {
            let modified = self.checked(segment.modified())?;
            candidates.push((segment.base_offset.max(start), modified));
        }
        if segments.last().is_some_and(|last| last.size() > 0) {
            candidates.push((self.log_end_offset(), now));
        }
        let end = match target {
            TimestampTarget::Latest => candidates.len(),
            TimestampTarget::Earliest => 1,
            TimestampTarget::At(target) => {
                let newest = candidates
                    .iter()
                    .rposition(|(_, modified)| *modified <= target);
                newest.map_or(0, |index| index + 1)
            }
            // Numbers without a meaning in v0: no file is that old.
            TimestampTarget::MaxTimestamp | TimestampTarget::LatestTiered => 0,
        };
        let mut offsets: Vec<Offset> = candidates[..end]
            .iter()
            .rev()
            .take(count_max)
            .map(|(offset, _)| *offset)
            .collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        Ok(offsets)
    }

    fn first_record(
        &self,
        segment: &crate::segment::Segment,
        position: u64,
        header: &ottla_record::BatchHeader,
        qualifies: impl Fn(Timestamp, Offset) -> bool,
    ) -> Result<Option<OffsetForTimestamp>, ReadError> {
        let mut bytes = vec![0; header.size_in_bytes];
        let file = self.checked(segment.file())?;
        let read = self.checked(read_full(&**file, &mut bytes, position))?;
        let corrupt = |error| ReadError::Corrupt {
            topic_partition: self.topic_partition().clone(),
            error,
        };
        let batch = BatchView::parse(&bytes[..read]).map_err(corrupt)?;
        batch.ensure_valid().map_err(corrupt)?;
        let unreadable = |error: ottla_record::InvalidRecords| ReadError::Unreadable {
            topic_partition: self.topic_partition().clone(),
            reason: error.to_string(),
        };
        let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(unreadable)?;
        for record in records.iter().map_err(unreadable)? {
            let record = record.map_err(unreadable)?;
            if qualifies(record.timestamp, record.offset) {
                let epoch = header.partition_leader_epoch;
                return Ok(Some(OffsetForTimestamp {
                    timestamp: record.timestamp,
                    offset: record.offset,
                    leader_epoch: (epoch.0 >= 0).then_some(epoch),
                }));
            }
        }
        Ok(None)
    }
}
