//! Which log is cleaned next, and how far (`LogCleanerManager`, `LogToClean`).

use std::io;
use std::sync::Arc;

use ottla_model::{Offset, Timestamp, TopicPartition};

use crate::log::clean::CleaningView;
use crate::log_manager::LogHandle;
use crate::log_reader::floor;
use crate::segment::Segment;

/// A log that may be cleaned.
#[derive(Clone, Debug)]
pub(crate) struct LogToClean {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) log: LogHandle,
    pub(crate) view: CleaningView,
    pub(crate) range: CleanableRange,
}

/// What can be cleaned of a log, and how much that is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct CleanableRange {
    /// Offsets from here were not cleaned yet.
    pub(crate) first_dirty_offset: Offset,
    /// The base of the first segment that must stay as it is.
    pub(crate) first_uncleanable_offset: Offset,
    /// The checkpoint was not within the log and is to be rewritten.
    pub(crate) resets_checkpoint: bool,
    pub(crate) cleanable_bytes: u64,
    pub(crate) total_bytes: u64,
    /// By how many milliseconds the oldest of it is older than `max.compaction.lag.ms`, 0 if it is
    /// not.
    pub(crate) overdue_ms: i64,
}

impl CleanableRange {
    /// Looks at a log, whose checkpoint says up to where it is clean.
    pub(crate) fn of(
        view: &CleaningView,
        checkpoint: Option<Offset>,
        now: Timestamp,
    ) -> io::Result<Self> {
        let log_start = view.offsets.log_start_offset;
        let checkpoint = checkpoint.unwrap_or(log_start);
        let is_valid = log_start <= checkpoint && checkpoint <= view.offsets.log_end_offset.offset;
        let first_dirty_offset = if is_valid { checkpoint } else { log_start };

        let active = active_base(view);
        let mut uncleanable = view.offsets.last_stable_offset.offset.min(active);
        let lag = view.config.min_compaction_lag_ms.max(0);
        if lag > 0 {
            for segment in values(&view.segments, first_dirty_offset, active) {
                if segment.largest_timestamp()?.0 > now.0.saturating_sub(lag) {
                    uncleanable = uncleanable.min(segment.base_offset);
                    break;
                }
            }
        }
        let uncleanable = uncleanable.max(first_dirty_offset);
        // Whole segments only: that with the limit in it stays.
        let first_uncleanable_offset = values(&view.segments, uncleanable, active)
            .first()
            .map_or(active, |segment| segment.base_offset);
        let from = first_dirty_offset.min(first_uncleanable_offset);
        let cleanable_bytes = bytes(values(&view.segments, from, first_uncleanable_offset));
        let clean_bytes = bytes(values(&view.segments, -1, first_dirty_offset));
        Ok(Self {
            first_dirty_offset,
            first_uncleanable_offset,
            resets_checkpoint: !is_valid,
            cleanable_bytes,
            total_bytes: clean_bytes + cleanable_bytes,
            overdue_ms: overdue_ms(view, first_dirty_offset, now)?,
        })
    }

    /// The dirty share of what can be cleaned.
    pub(crate) fn ratio(&self) -> f64 {
        self.cleanable_bytes as f64 / self.total_bytes as f64
    }

    /// Whether it is worth it.
    pub(crate) fn is_eligible(&self, min_cleanable_dirty_ratio: f64) -> bool {
        self.total_bytes > 0
            && ((self.overdue_ms > 0 && self.cleanable_bytes > 0)
                || self.ratio() > min_cleanable_dirty_ratio)
    }
}

/// The segments that hold offsets of `[from, to)`, the one with `from` in it included.
pub(crate) fn values(segments: &[Arc<Segment>], from: Offset, to: Offset) -> &[Arc<Segment>] {
    if from >= to {
        return &[];
    }
    let end = segments.partition_point(|segment| segment.base_offset < to);
    &segments[floor(segments, from).min(end)..end]
}

fn active_base(view: &CleaningView) -> Offset {
    view.segments
        .last()
        .map_or(0, |segment| segment.base_offset)
}

fn bytes(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.size()).sum()
}

fn overdue_ms(view: &CleaningView, first_dirty: Offset, now: Timestamp) -> io::Result<i64> {
    let lag = view.config.max_compaction_lag_ms.max(0);
    if lag == i64::MAX {
        return Ok(0);
    }
    let limit = now.0.saturating_sub(lag);
    let mut overdue = 0;
    for segment in values(&view.segments, first_dirty, active_base(view)) {
        let first = segment.first_timestamp().map_err(io::Error::from)?;
        if let Some(first) = first.filter(|first| first.0 > 0) {
            overdue = overdue.max(limit.saturating_sub(first.0));
        }
    }
    Ok(overdue)
}
