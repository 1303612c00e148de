//! Reading a log without its writer's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use ottla_model::{Offset, TopicPartition};

use crate::directory::FileSlice;
use crate::errors::ReadError;
use crate::log_dir::LogDir;
use crate::published::{LogOffsets, LogPosition, Published};
use crate::scanner::ScanError;
use crate::segment::Segment;
use crate::transaction_index::AbortedTransaction;

/// How far a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchIsolation {
    /// To the log's end: followers.
    LogEnd,
    /// To the high watermark: read_uncommitted consumers.
    HighWatermark,
    /// To the last stable offset: read_committed consumers.
    TxnCommitted,
}

/// What a read found. Record bytes are not read, only located.
#[derive(Clone, Debug)]
pub struct FetchedRecords {
    /// The offset asked for, with its place if it was looked up.
    pub position: LogPosition,
    /// The batches; `None` if there are none to send.
    pub slice: Option<FileSlice>,
    /// The first batch does not fit in the limit and is cut.
    pub first_batch_incomplete: bool,
    /// For [`FetchIsolation::TxnCommitted`]: transactions whose records in the slice are to be
    /// skipped. May name more than needed.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The log's offsets when the read began.
    pub offsets: LogOffsets,
}

impl FetchedRecords {
    /// Bytes in the slice.
    pub fn size_in_bytes(&self) -> usize {
        self.slice.as_ref().map_or(0, |slice| slice.length)
    }
}

/// What writer and readers of a log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) log_dir: ArcSwap<LogDir>,
    /// By base offset ascending; never empty.
    pub(crate) segments: ArcSwap<Vec<Arc<Segment>>>,
    pub(crate) published: Published,
    /// Taken out of service: what fails from now on is no fault of the disk.
    pub(crate) is_retired: AtomicBool,
}

/// A handle to read a log: cheap to clone, never waits for the writer.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.shared.topic_partition
    }

    /// All offsets, at one moment.
    pub fn offsets(&self) -> LogOffsets {
        self.shared.published.load()
    }

    /// First readable offset.
    pub fn log_start_offset(&self) -> Offset {
        self.offsets().log_start_offset
    }

    /// Exclusive end of what is committed.
    pub fn high_watermark(&self) -> Offset {
        self.offsets().high_watermark.offset
    }

    /// Exclusive end of what read_committed consumers see; never above the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        self.offsets().last_stable_offset.offset
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.offsets().log_end_offset.offset
    }

    /// Whether the log's directory failed.
    pub fn is_offline(&self) -> bool {
        self.shared.log_dir.load().is_offline()
    }

    /// The directory of `log.dirs` it lies in.
    pub fn log_dir(&self) -> Arc<LogDir> {
        self.shared.log_dir.load_full()
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

    /// Locates batches from `from` on: at most `bytes_max` bytes, but at least one batch if
    /// `min_one_batch` and there is one. Nothing is an answer too: at and beyond the bound of the
    /// isolation there is nothing yet.
    ///
    /// # Errors
    /// See [`ReadError`]; an I/O error takes the log's directory offline.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        isolation: FetchIsolation,
        min_one_batch: bool,
    ) -> Result<FetchedRecords, ReadError> {
        if self.is_offline() {
            return Err(ReadError::Offline(self.shared.topic_partition.clone()));
        }
        let offsets = self.offsets();
        let log_end_offset = offsets.log_end_offset.offset;
        if from > log_end_offset || from < offsets.log_start_offset {
            return Err(ReadError::OffsetOutOfRange {
                topic_partition: self.shared.topic_partition.clone(),
                offset: from,
                log_start_offset: offsets.log_start_offset,
                log_end_offset,
            });
        }
        let bound = match isolation {
            FetchIsolation::LogEnd => offsets.log_end_offset,
            FetchIsolation::HighWatermark => offsets.high_watermark,
            FetchIsolation::TxnCommitted => offsets.last_stable_offset,
        };
        let nothing = FetchedRecords {
            position: if from == bound.offset {
                bound
            } else {
                LogPosition::offset_only(from)
            },
            slice: None,
            first_batch_incomplete: false,
            aborted_transactions: (isolation == FetchIsolation::TxnCommitted).then(Vec::new),
            offsets,
        };
        if from >= bound.offset {
            return Ok(nothing);
        }
        self.locate(from, bytes_max as u64, bound, min_one_batch, nothing)
    }

    /// Where an offset lies: that of the first batch that does not end below it. Only offsets
    /// within the log are placed.
    pub fn position_of(&self, offset: Offset) -> Result<LogPosition, ReadError> {
        let offsets = self.offsets();
        for known in [
            offsets.log_end_offset,
            offsets.high_watermark,
            offsets.last_stable_offset,
        ] {
            if known.offset == offset && known.is_placed() {
                return Ok(known);
            }
        }
        let segments = self.shared.segments.load_full();
        for segment in &segments[floor(&segments, offset)..] {
            if let Some(batch) = segment.find(offset).map_err(|error| self.failed(error))? {
                return Ok(LogPosition {
                    offset,
                    segment_base_offset: segment.base_offset,
                    position: batch.position,
                });
            }
        }
        Ok(LogPosition::offset_only(offset))
    }

    fn locate(
        &self,
        from: Offset,
        bytes_max: u64,
        bound: LogPosition,
        min_one_batch: bool,
        nothing: FetchedRecords,
    ) -> Result<FetchedRecords, ReadError> {
        let segments = self.shared.segments.load_full();
        let first = floor(&segments, from);
        for (index, segment) in segments.iter().enumerate().skip(first) {
            let next_base = segments.get(index + 1).map(|next| next.base_offset);
            let position_max = self.position_max(segment, next_base, bound)?;
            let read = match segment.read(from, bytes_max, position_max, min_one_batch) {
                Ok(read) => read,
                Err(ScanError::Io(error))
                    if error.kind() == std::io::ErrorKind::NotFound && segment.is_deleted() =>
                {
                    // Deleted between the load of the list and the first use of its file.
                    return Err(self.out_of_range(from));
                }
                Err(error) => return Err(self.failed(error)),
            };
            let Some(read) = read else { continue };
            let position = LogPosition {
                offset: from,
                segment_base_offset: segment.base_offset,
                position: read.position,
            };
            let aborted_transactions = match nothing.aborted_transactions {
                None => None,
                Some(_) => {
                    let end = read.position + read.slice.as_ref().map_or(0, |s| s.length as u64);
                    let found = self.aborted(&segments[index..], from, end, &nothing.offsets);
                    Some(found.map_err(|error| self.failed(error.into()))?)
                }
            };
            return Ok(FetchedRecords {
                position,
                slice: read.slice,
                first_batch_incomplete: read.first_batch_incomplete,
                aborted_transactions,
                ..nothing
            });
        }
        // Everything at or above the offset was compacted away: the log's end is next.
        Ok(FetchedRecords {
            position: nothing.offsets.log_end_offset,
            ..nothing
        })
    }

    /// The end of what may be read of a segment.
    fn position_max(
        &self,
        segment: &Segment,
        next_base: Option<Offset>,
        bound: LogPosition,
    ) -> Result<u64, ReadError> {
        if next_base.is_some_and(|next| next <= bound.offset) {
            return Ok(segment.size());
        }
        if bound.segment_base_offset == segment.base_offset {
            return Ok(bound.position);
        }
        let found = segment
            .find(bound.offset)
            .map_err(|error| self.failed(error))?;
        Ok(found.map_or(segment.size(), |batch| batch.position))
    }

    fn aborted(
        &self,
        segments: &[Arc<Segment>],
        from: Offset,
        end_position: u64,
        offsets: &LogOffsets,
    ) -> std::io::Result<Vec<AbortedTransaction>> {
        let [segment, rest @ ..] = segments else {
            return Ok(Vec::new());
        };
        let upper_bound = match segment
            .offset_index
            .first_at_or_after_position(end_position)?
        {
            Some(entry) => entry.offset,
            None => rest
                .first()
                .map_or(offsets.log_end_offset.offset, |next| next.base_offset),
        };
        let mut found = Vec::new();
        for segment in segments {
            if segment
                .transaction_index
                .collect(from, upper_bound, &mut found)?
            {
                break;
            }
        }
        Ok(found)
    }

    fn out_of_range(&self, offset: Offset) -> ReadError {
        let offsets = self.offsets();
        ReadError::OffsetOutOfRange {
            topic_partition: self.shared.topic_partition.clone(),
            offset,
            log_start_offset: offsets.log_start_offset,
            log_end_offset: offsets.log_end_offset.offset,
        }
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.shared.segments.load_full()
    }

    pub(crate) fn checked<T>(&self, result: std::io::Result<T>) -> Result<T, ReadError> {
        result.map_err(|error| self.failed(error.into()))
    }

    pub(crate) fn failed(&self, error: ScanError) -> ReadError {
        let topic_partition = self.shared.topic_partition.clone();
        match error {
            ScanError::Io(_) if self.shared.is_retired.load(Ordering::Acquire) => {
                ReadError::Offline(topic_partition)
            }
            ScanError::Io(error) => {
                self.shared.log_dir.load().report_failure(&error);
                ReadError::Io {
                    topic_partition,
                    error,
                }
            }
            ScanError::Corrupt { error, .. } => ReadError::Corrupt {
                topic_partition,
                error,
            },
        }
    }
}

/// Index of the segment that holds an offset: the last whose base is not above it, or the first.
pub(crate) fn floor(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments
        .partition_point(|segment| segment.base_offset <= offset)
        .saturating_sub(1)
}
