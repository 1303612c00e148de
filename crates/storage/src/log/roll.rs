//! Starting a new segment.

use std::io;
use std::sync::Arc;

use ottla_model::{Offset, Timestamp};

use super::{ActiveState, Log};
use crate::errors::LogError;
use crate::log_dir::Task;
use crate::names::FileKind;
use crate::published::LogPosition;
use crate::segment::Segment;

impl Log {
    /// Starts a new segment at the log's end; its base offset. An empty active segment stays.
    ///
    /// # Errors
    /// The directory goes offline.
    pub fn roll(&mut self, now: Timestamp) -> Result<Offset, LogError> {
        self.check_online()?;
        let result = self.roll_to(self.log_end_offset(), now);
        self.guard(result)?;
        Ok(self.active.base_offset)
    }

    /// Whether an append of `size` bytes belongs into a new segment (`LogSegment.shouldRoll`).
    pub(super) fn should_roll(
        &mut self,
        size: u64,
        max_timestamp: Timestamp,
        last_offset: Offset,
        now: Timestamp,
    ) -> io::Result<bool> {
        let segment = Arc::clone(&self.active);
        let present = segment.size();
        if present.saturating_add(size) > self.config.segment_bytes {
            return Ok(true);
        }
        if present > 0 && self.active_state.first_timestamp.is_none() {
            self.active_state.first_timestamp = segment.first_timestamp()?;
        }
        let waited = match self.active_state.first_timestamp {
            Some(first) if max_timestamp.0 >= 0 => max_timestamp.0.saturating_sub(first.0),
            _ => now.0.saturating_sub(self.active_state.created.0),
        };
        let limit = self
            .config
            .roll_ms()
            .saturating_sub(self.active_state.jitter_ms);
        Ok((present > 0 && waited > limit)
            || segment.offset_index.is_full()?
            || segment.time_index.is_full()?
            || last_offset - segment.base_offset > Offset::from(i32::MAX))
    }

    /// Starts a segment at `base_offset`, or at the log's end if that is higher.
    pub(super) fn roll_to(&mut self, base_offset: Offset, now: Timestamp) -> io::Result<()> {
        let new_base = base_offset.max(self.log_end_offset());
        let old = Arc::clone(&self.active);
        if new_base == old.base_offset {
            if old.size() > 0 {
                return Err(io::Error::other(format!(
                    "segment {new_base} exists and is not empty"
                )));
            }
            // Its indexes are full of nothing usable: the empty segment is made again.
            return self.recreate_active(now);
        }
        self.make_room_in_indexes()?;
        old.become_inactive(self.config.preallocate)?;
        // The state must end exactly where the new segment begins: its snapshot bears that name.
        self.producers.set_map_end_offset(new_base);
        self.producers.take_snapshot(&self.directory, false)?;
        self.remove_stale_files(new_base)?;
        let segment = self.new_segment(new_base)?;
        self.add_active(segment, now);
        let mut list = self.shared.segments.load().to_vec();
        list.push(Arc::clone(&self.active));
        self.shared.segments.store(Arc::new(list));
        self.offsets.log_end_offset = LogPosition {
            offset: self.log_end_offset(),
            segment_base_offset: new_base,
            position: 0,
        };
        self.publish();
        let background = Task::Flush(self.topic_partition.clone());
        self.shared.log_dir.load().background().push(background);
        Ok(())
    }

    /// Gives the active indexes their full size, which an idle log does without.
    pub(super) fn make_room_in_indexes(&mut self) -> io::Result<()> {
        if !self.active_state.indexes_have_room {
            self.active
                .offset_index
                .file()
                .make_room(self.config.segment_index_bytes)?;
            self.active
                .time_index
                .file()
                .make_room(self.config.segment_index_bytes)?;
            self.active_state.indexes_have_room = true;
        }
        Ok(())
    }

    /// Makes `segment` the one that is written to.
    pub(super) fn add_active(&mut self, segment: Arc<Segment>, now: Timestamp) {
        self.active = segment;
        let jitter_ms = self.jitter.below(self.config.jitter_ms_max()) as i64;
        self.active_state = ActiveState {
            bytes_since_index_entry: 0,
            first_timestamp: None,
            created: now,
            jitter_ms,
            indexes_have_room: true,
        };
    }

    pub(super) fn new_segment(&self, base_offset: Offset) -> io::Result<Arc<Segment>> {
        let preallocate = self.config.preallocate.then_some(self.config.segment_bytes);
        let directory = Arc::clone(&self.directory);
        let index_bytes = self.config.segment_index_bytes;
        Ok(Arc::new(Segment::create(
            directory,
            base_offset,
            index_bytes,
            preallocate,
        )?))
    }

    fn recreate_active(&mut self, now: Timestamp) -> io::Result<()> {
        let base_offset = self.active.base_offset;
        self.active.delete()?;
        let segment = self.new_segment(base_offset)?;
        self.add_active(segment, now);
        let mut list = self.shared.segments.load().to_vec();
        list.pop();
        list.push(Arc::clone(&self.active));
        self.shared.segments.store(Arc::new(list));
        Ok(())
    }

    fn remove_stale_files(&self, base_offset: Offset) -> io::Result<()> {
        for kind in [
            FileKind::OffsetIndex,
            FileKind::TimeIndex,
            FileKind::TransactionIndex,
        ] {
            let path = self.directory.file(&kind.file_name(base_offset));
            crate::directory::remove_if_exists(self.directory.directory(), &path)?;
        }
        Ok(())
    }
}
