//! What replication needs to know of a log.

use ottla_model::Offset;

/// The four offsets of a log at one moment. `log_start_offset` is the first readable record, the
/// others are exclusive ends: start ≤ last stable ≤ high watermark ≤ end, except that the start may
/// run ahead of the rest while a follower catches up with a leader that deleted records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogOffsets {
    /// First readable offset.
    pub log_start_offset: Offset,
    /// First offset that is not committed.
    pub high_watermark: Offset,
    /// End of what `read_committed` may see.
    pub last_stable_offset: Offset,
    /// Next offset to be written.
    pub log_end_offset: Offset,
}

/// An offset and where it lies in the log (`LogOffsetMetadata`): the segment and the byte position
/// in it, which tell how many bytes lie between two offsets without reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsetMetadata {
    /// The offset.
    pub message_offset: Offset,
    /// The base offset of its segment.
    pub segment_base_offset: Offset,
    /// Its byte position in that segment's file.
    pub position_in_segment: u64,
}

impl LogOffsetMetadata {
    /// Whether it lies in an earlier segment than `other`.
    pub fn on_older_segment(&self, other: &Self) -> bool {
        self.segment_base_offset < other.segment_base_offset
    }

    /// Bytes from here to `end`, if both lie in the same segment and `end` is not before.
    pub fn bytes_until(&self, end: &Self) -> Option<u64> {
        (self.segment_base_offset == end.segment_base_offset).then(|| {
            end.position_in_segment
                .saturating_sub(self.position_in_segment)
        })
    }
}
