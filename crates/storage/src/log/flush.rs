//! Making a log survive a crash.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_model::{Offset, Timestamp};

use super::Log;
use crate::directory::OpenMode;
use crate::errors::LogError;
use crate::log_reader::floor;
use crate::names::FileKind;
use crate::partition_directory::PartitionDirectory;
use crate::segment::Segment;

/// What has to be written to the disk so that a log is safe up to an offset. It runs without the
/// log; [`Log::complete_flush`] then moves the recovery point.
#[derive(Debug)]
pub struct FlushPlan {
    offset: Offset,
    segments: Vec<Arc<Segment>>,
    directory: Arc<PartitionDirectory>,
    syncs_directory: bool,
    snapshot: Option<Offset>,
}

impl FlushPlan {
    /// Writes and waits for the disk. Blocks; never on a connection's worker.
    ///
    /// # Errors
    /// What the system said, for [`Log::fail_flush`]: a failed fsync is not retried.
    pub fn run(&self) -> io::Result<()> {
        self.run_observed(&|_| {})
    }

    /// The same; tells how long each segment took.
    ///
    /// # Errors
    /// As [`FlushPlan::run`].
    pub fn run_observed(&self, flushed: &dyn Fn(Duration)) -> io::Result<()> {
        if let Some(offset) = self.snapshot {
            match self
                .directory
                .open(&FileKind::Snapshot.file_name(offset), OpenMode::Existing)
            {
                Ok(file) => file.sync()?,
                // Retention took it with its segment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for segment in &self.segments {
            let started = Instant::now();
            let result = segment.flush();
            flushed(started.elapsed());
            match result {
                Err(error) if error.kind() == io::ErrorKind::NotFound && segment.is_deleted() => {}
                result => result?,
            }
        }
        if self.syncs_directory {
            self.directory.sync()?;
            self.directory.sync_parent()?;
        }
        Ok(())
    }
}

impl Log {
    /// When the log was last flushed, for `flush.ms`.
    pub fn last_flushed(&self) -> Timestamp {
        self.last_flushed
    }

    /// The plan to make everything below the active segment safe, after a roll. `None` if it is.
    ///
    /// # Errors
    /// The topic id cannot be written; the directory goes offline.
    pub fn plan_flush_of_rolled(&mut self) -> Result<Option<FlushPlan>, LogError> {
        let offset = self.active.base_offset;
        let snapshot = self
            .producers
            .snapshots()
            .contains(&offset)
            .then_some(offset);
        self.plan_flush(offset, false, snapshot)
    }

    /// The plan to make the whole log safe. `None` if it is.
    ///
    /// # Errors
    /// The topic id cannot be written; the directory goes offline.
    pub fn plan_flush_of_all(&mut self) -> Result<Option<FlushPlan>, LogError> {
        self.plan_flush(self.log_end_offset(), false, None)
    }

    /// A plan failed: the directory goes offline, unless the log was deleted while the plan ran.
    pub fn fail_flush(&self, error: &io::Error) {
        if !self.is_out_of_service() {
            self.log_dir().report_failure(error);
        }
    }

    /// Takes over what a plan achieved: the recovery point rises.
    pub fn complete_flush(&mut self, plan: &FlushPlan, now: Timestamp) {
        // A truncation meanwhile may have put the end below what was flushed.
        let reached = plan.offset.min(self.log_end_offset());
        self.recovery_point = self.recovery_point.max(reached);
        self.last_flushed = now;
    }

    /// Makes the whole log safe now. Blocks.
    ///
    /// # Errors
    /// The directory goes offline.
    pub fn flush(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.flush_all(now);
        self.guard(result)
    }

    pub(super) fn flush_all(&mut self, now: Timestamp) -> io::Result<()> {
        self.write_pending_metadata()?;
        if let Some(plan) = self.plan(self.log_end_offset(), false, None) {
            plan.run()?;
            self.complete_flush(&plan, now);
        }
        Ok(())
    }

    /// Flushes everything, the active segment even if nothing was added to it, writes a producer
    /// snapshot at the log's end and cuts the indexes: the log can be opened without recovery then.
    /// The log must not be written to afterwards.
    ///
    /// # Errors
    /// The directory goes offline.
    pub fn close(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.close_files(now);
        self.guard(result)
    }

    fn close_files(&mut self, now: Timestamp) -> io::Result<()> {
        self.write_pending_metadata()?;
        let was_written = self.active_state.indexes_have_room;
        self.producers.set_map_end_offset(self.log_end_offset());
        self.producers.take_snapshot(&self.directory, true)?;
        if was_written {
            self.active.become_inactive(self.config.preallocate)?;
            self.active_state.indexes_have_room = false;
        }
        if let Some(plan) = self.plan(self.log_end_offset(), was_written, None) {
            plan.run()?;
            self.complete_flush(&plan, now);
        }
        for segment in self.shared.segments.load().iter() {
            segment.release_maps();
        }
        Ok(())
    }

    fn plan_flush(
        &mut self,
        offset: Offset,
        including_active: bool,
        snapshot: Option<Offset>,
    ) -> Result<Option<FlushPlan>, LogError> {
        self.check_online()?;
        let result = self.write_pending_metadata();
        self.guard(result)?;
        Ok(self.plan(offset, including_active, snapshot))
    }

    fn plan(
        &self,
        offset: Offset,
        including_active: bool,
        snapshot: Option<Offset>,
    ) -> Option<FlushPlan> {
        let end = if including_active { offset + 1 } else { offset };
        if end <= self.recovery_point {
            return None;
        }
        let all = self.shared.segments.load();
        let segments: Vec<_> = all[floor(&all, self.recovery_point)..]
            .iter()
            .filter(|segment| segment.base_offset < end)
            .cloned()
            .collect();
        let syncs_directory = segments
            .iter()
            .any(|segment| segment.base_offset >= self.recovery_point);
        let directory = Arc::clone(&self.directory);
        Some(FlushPlan {
            offset,
            segments,
            directory,
            syncs_directory,
            snapshot,
        })
    }
}
