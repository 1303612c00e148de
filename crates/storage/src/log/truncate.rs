//! Cutting a log back, when a leader's log says otherwise.

use std::io;
use std::sync::Arc;

use ottla_model::{Offset, Timestamp};

use super::Log;
use crate::errors::LogError;
use crate::log_reader::floor;
use crate::published::LogPosition;
use crate::scanner::{HeaderScanner, ScanError};
use crate::segment::Segment;
use crate::time_index::TimestampOffset;

impl Log {
    /// Cuts the log so that it ends at `offset`; whether anything was above. A batch that straddles
    /// the offset goes as a whole, and the log still ends at `offset` exactly.
    ///
    /// The caller then rewrites the recovery checkpoint ([`crate::LogManager::truncate_to`] does).
    ///
    /// # Errors
    /// The offset is negative, or the directory goes offline.
    pub fn truncate_to(&mut self, offset: Offset, now: Timestamp) -> Result<bool, LogError> {
        self.check_online()?;
        self.check_not_negative(offset)?;
        if offset >= self.log_end_offset() {
            // A deposed leader may have cached an epoch that it never wrote anything in.
            let changed = self.epochs.truncate_from_end(self.log_end_offset());
            let result = if changed { self.write_epochs() } else { Ok(()) };
            return self.guard(result).map(|()| false);
        }
        let first_base = self
            .shared
            .segments
            .load()
            .first()
            .map(|first| first.base_offset);
        if first_base.is_none_or(|first| offset < first) {
            return self
                .truncate_fully_and_start_at(offset, None, now)
                .map(|()| true);
        }
        let result = self.cut(offset, now);
        self.guard(result).map(|()| true)
    }

    /// Drops everything; the log is empty and starts at `offset`, or at a lower `log_start_offset`
    /// if one is given.
    ///
    /// # Errors
    /// The offset is negative, or the directory goes offline.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: Offset,
        log_start_offset: Option<Offset>,
        now: Timestamp,
    ) -> Result<(), LogError> {
        self.check_online()?;
        self.check_not_negative(offset)?;
        let result = self.start_over(offset, log_start_offset.unwrap_or(offset).min(offset), now);
        self.guard(result)
    }

    fn check_not_negative(&self, offset: Offset) -> Result<(), LogError> {
        if offset >= 0 {
            return Ok(());
        }
        let topic_partition = self.topic_partition.clone();
        Err(LogError::OffsetOutOfRange {
            topic_partition,
            offset,
            limit: 0,
        })
    }

    fn cut(&mut self, offset: Offset, now: Timestamp) -> io::Result<()> {
        let all = self.shared.segments.load_full();
        let (kept, dropped) = all.split_at(floor(&all, offset) + 1);
        let segment = Arc::clone(&kept[kept.len() - 1]);
        // Readers first lose sight of what goes.
        let recovery_point = self.recovery_point.min(offset);
        let high_watermark = self.offsets.high_watermark.offset.min(offset);
        let log_start = self.log_start_offset().min(offset);
        self.shared.segments.store(Arc::new(kept.to_vec()));
        self.delete_later(dropped)?;

        let position = match segment.find(offset).map_err(io::Error::from)? {
            Some(batch) => batch.position,
            None => segment.size(),
        };
        self.make_active(&segment, now)?;
        segment.set_size(position);
        segment.offset_index.truncate_to(offset)?;
        segment.time_index.truncate_to(offset)?;
        segment.transaction_index.truncate_to(offset)?;
        segment.file()?.set_length(position)?;
        if self.config.preallocate {
            segment.file()?.allocate(self.config.segment_bytes)?;
        }
        let largest = largest_timestamp_by_scan(&segment).map_err(io::Error::from)?;
        segment.set_max_timestamp(largest);
        if position == 0 {
            self.active_state.first_timestamp = None;
            self.active_state.created = now;
        }

        self.forget_places();
        self.recovery_point = recovery_point;
        let end = LogPosition {
            offset,
            segment_base_offset: segment.base_offset,
            position,
        };
        self.offsets.log_end_offset = end;
        self.offsets.log_start_offset = log_start;
        self.offsets.high_watermark = LogPosition::offset_only(high_watermark);
        self.offsets.last_stable_offset = LogPosition::offset_only(high_watermark);
        self.offsets.high_watermark = self.place(high_watermark);
        if self.epochs.truncate_from_end(offset) {
            self.write_epochs()?;
        }
        self.rebuild_producers(offset, false, now)?;
        self.publish();
        Ok(())
    }

    fn start_over(&mut self, offset: Offset, log_start: Offset, now: Timestamp) -> io::Result<()> {
        let all = self.shared.segments.load_full();
        for segment in all.iter() {
            segment.delete()?;
        }
        let segment = self.new_segment(offset)?;
        self.add_active(Arc::clone(&segment), now);
        self.shared.segments.store(Arc::new(vec![segment]));
        self.forget_places();
        let end = LogPosition {
            offset,
            segment_base_offset: offset,
            position: 0,
        };
        self.offsets.log_start_offset = log_start;
        self.offsets.log_end_offset = end;
        self.offsets.high_watermark = end;
        self.offsets.last_stable_offset = end;
        self.recovery_point = self.recovery_point.min(offset);
        if self.epochs.clear() {
            self.write_epochs()?;
        }
        self.producers.truncate_fully(&self.directory, offset)?;
        self.publish();
        Ok(())
    }

    /// Lets appends go to a segment that was inactive.
    fn make_active(&mut self, segment: &Arc<Segment>, now: Timestamp) -> io::Result<()> {
        if self.active.base_offset == segment.base_offset {
            return self.make_room_in_indexes();
        }
        self.add_active(Arc::clone(segment), now);
        self.active_state.indexes_have_room = false;
        self.make_room_in_indexes()
    }
}

/// The largest timestamp by the time index and the batches after its last entry.
pub(super) fn largest_timestamp_by_scan(segment: &Segment) -> Result<TimestampOffset, ScanError> {
    let mut largest = segment.time_index.last()?;
    let start = segment.offset_index.lookup(largest.offset)?;
    let mut scanner: HeaderScanner<'_> = segment.scan(u64::from(start.position))?;
    while let Some(batch) = scanner.next_batch()? {
        if batch.header.max_timestamp > largest.timestamp {
            largest = TimestampOffset {
                timestamp: batch.header.max_timestamp,
                offset: batch.header.last_offset(),
            };
        }
    }
    Ok(largest)
}
