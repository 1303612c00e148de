//! Deleting old segments.

use std::io;
use std::sync::Arc;

use ottla_model::{Offset, Timestamp};

use super::Log;
use crate::errors::LogError;
use crate::log_dir::Task;
use crate::segment::Segment;

/// Why segments were deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeletionReason {
    /// They end below the log's start.
    LogStart,
    /// The log was larger than `retention.bytes`.
    Size,
    /// They were older than `retention.ms`.
    Time,
}

impl Log {
    /// Deletes segments that retention no longer keeps, as the task every
    /// `log.retention.check.interval.ms` does. How many. Nothing at or above the high watermark is
    /// deleted. Files go after `file.delete.delay.ms`.
    ///
    /// # Errors
    /// The directory goes offline.
    pub fn delete_old_segments(&mut self, now: Timestamp) -> Result<usize, LogError> {
        self.check_online()?;
        let result = self.delete_by_all_reasons(now);
        self.guard(result)
    }

    fn delete_by_all_reasons(&mut self, now: Timestamp) -> io::Result<usize> {
        let by_start = self.deletable_by_log_start();
        let mut deleted = self.delete(&by_start, DeletionReason::LogStart, now)?;
        if self.config.delete {
            let by_size = self.deletable_by_size();
            deleted += self.delete(&by_size, DeletionReason::Size, now)?;
            let by_time = self.deletable_by_time(now)?;
            deleted += self.delete(&by_time, DeletionReason::Time, now)?;
        }
        Ok(deleted)
    }

    fn deletable_by_log_start(&self) -> Vec<Arc<Segment>> {
        let log_start = self.log_start_offset();
        let segments = self.committed_segments();
        let is_below =
            |(_, next): &(Arc<Segment>, Option<Offset>)| next.is_some_and(|next| next <= log_start);
        segments
            .into_iter()
            .take_while(is_below)
            .map(|(segment, _)| segment)
            .collect()
    }

    fn deletable_by_size(&self) -> Vec<Arc<Segment>> {
        let Ok(limit) = u64::try_from(self.config.retention_bytes) else {
            return Vec::new();
        };
        let mut excess = self.size_in_bytes().saturating_sub(limit);
        let mut found = Vec::new();
        for (segment, _) in self.committed_segments() {
            if excess == 0 || excess < segment.size() {
                break;
            }
            excess -= segment.size();
            found.push(segment);
        }
        found
    }

    fn deletable_by_time(&self, now: Timestamp) -> io::Result<Vec<Arc<Segment>>> {
        let mut found = Vec::new();
        if self.config.retention_ms < 0 {
            return Ok(found);
        }
        for (segment, _) in self.committed_segments() {
            let age = now.0.saturating_sub(segment.largest_timestamp()?.0);
            if age <= self.config.retention_ms {
                break;
            }
            found.push(segment);
        }
        Ok(found)
    }

    /// Segments that end at or below the high watermark, oldest first, with the base of the next;
    /// an empty last segment is not among them.
    fn committed_segments(&self) -> Vec<(Arc<Segment>, Option<Offset>)> {
        let all = self.shared.segments.load();
        let with_next = all.iter().enumerate().map(|(index, segment)| {
            (
                Arc::clone(segment),
                all.get(index + 1).map(|next| next.base_offset),
            )
        });
        with_next
            .take_while(|(segment, next)| {
                let end = next.unwrap_or(self.log_end_offset());
                end <= self.high_watermark() && (next.is_some() || segment.size() > 0)
            })
            .collect()
    }

    fn delete(
        &mut self,
        segments: &[Arc<Segment>],
        reason: DeletionReason,
        now: Timestamp,
    ) -> io::Result<usize> {
        let Some(last) = segments.last() else {
            return Ok(0);
        };
        if last.base_offset == self.active.base_offset {
            self.roll_to(self.log_end_offset(), now)?;
        }
        let kept = self.shared.segments.load()[segments.len()..].to_vec();
        let first_base = kept
            .first()
            .map_or(self.log_end_offset(), |first| first.base_offset);
        self.shared.segments.store(Arc::new(kept));
        self.delete_later(segments)?;
        tracing::info!(
            partition = %self.topic_partition, ?reason, segments = segments.len(), first_base,
            "deleted segments"
        );
        if first_base > self.log_start_offset() {
            self.offsets.log_start_offset = first_base;
            if self.epochs.truncate_from_start(first_base) {
                self.write_epochs()?;
            }
            self.producers.on_log_start_offset_incremented(first_base);
            self.publish();
        }
        Ok(segments.len())
    }

    /// Renames the files of segments that are in the log no more, with the producer snapshots at
    /// their bases, and leaves their removal to the background.
    pub(super) fn delete_later(&mut self, segments: &[Arc<Segment>]) -> io::Result<()> {
        let mut names = Vec::new();
        for segment in segments {
            names.extend(segment.mark_deleted()?);
            let base = segment.base_offset;
            names.extend(
                self.producers
                    .mark_snapshot_deleted(&self.directory, base)?,
            );
        }
        let directory = Arc::clone(&self.directory);
        let delay_ms = self.config.file_delete_delay_ms;
        let task = Task::DeleteFiles {
            directory,
            names,
            delay_ms,
        };
        self.shared.log_dir.load().background().push(task);
        Ok(())
    }
}
