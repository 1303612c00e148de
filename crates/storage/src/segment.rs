//! One segment: a file of batches with its indexes (`LogSegment`), shared by the writer and readers.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ottla_model::{Offset, Timestamp};

use crate::directory::{FileSlice, OpenMode, StorageFile};
use crate::names::{DELETED_SUFFIX, FileKind};
use crate::offset_index::{OffsetIndex, OffsetPosition};
use crate::partition_directory::PartitionDirectory;
use crate::scanner::{HeaderScanner, PlacedBatch, ScanError};
use crate::time_index::{TimeIndex, TimestampOffset};
use crate::transaction_index::TransactionIndex;

/// In place of the largest timestamp: the time index has not been asked yet.
const NOT_LOADED: i64 = i64::MIN;

/// One segment. Changing calls come from the log's one writer only.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: Offset,
    pub(crate) offset_index: OffsetIndex,
    pub(crate) time_index: TimeIndex,
    pub(crate) transaction_index: TransactionIndex,
    directory: Arc<PartitionDirectory>,
    file: OnceLock<Arc<dyn StorageFile>>,
    size: AtomicU64,
    max_timestamp: AtomicI64,
    offset_of_max_timestamp: AtomicI64,
    is_deleted: AtomicBool,
}

/// What [`Segment::read`] found.
#[derive(Debug)]
pub(crate) struct SegmentRead {
    /// Where the first batch begins.
    pub(crate) position: u64,
    /// Bytes to send; `None` if the limits leave nothing.
    pub(crate) slice: Option<FileSlice>,
    /// The first batch is not wholly in the slice.
    pub(crate) first_batch_incomplete: bool,
}

impl Segment {
    /// A segment whose `.log` has this many bytes of batches. Nothing is opened yet.
    pub(crate) fn existing(
        directory: Arc<PartitionDirectory>,
        base_offset: Offset,
        size: u64,
    ) -> Self {
        Self {
            base_offset,
            offset_index: OffsetIndex::existing(Arc::clone(&directory), base_offset),
            time_index: TimeIndex::existing(Arc::clone(&directory), base_offset),
            transaction_index: TransactionIndex::new(Arc::clone(&directory), base_offset),
            directory,
            file: OnceLock::new(),
            size: AtomicU64::new(size),
            max_timestamp: AtomicI64::new(NOT_LOADED),
            offset_of_max_timestamp: AtomicI64::new(base_offset),
            is_deleted: AtomicBool::new(false),
        }
    }

    /// A new, empty segment; `preallocate` gives its file that many bytes at once.
    pub(crate) fn create(
        directory: Arc<PartitionDirectory>,
        base_offset: Offset,
        index_bytes_max: u64,
        preallocate: Option<u64>,
    ) -> io::Result<Self> {
        let file = directory.open(&FileKind::Log.file_name(base_offset), OpenMode::CreateEmpty)?;
        if let Some(bytes) = preallocate {
            file.allocate(bytes)?;
        }
        let shared = || Arc::clone(&directory);
        Ok(Self {
            base_offset,
            offset_index: OffsetIndex::create(shared(), base_offset, index_bytes_max)?,
            time_index: TimeIndex::create(shared(), base_offset, index_bytes_max)?,
            transaction_index: TransactionIndex::empty(shared(), base_offset),
            directory,
            file: OnceLock::from(file),
            size: AtomicU64::new(0),
            max_timestamp: AtomicI64::new(Timestamp::NONE.0),
            offset_of_max_timestamp: AtomicI64::new(base_offset),
            is_deleted: AtomicBool::new(false),
        })
    }

    /// The file of batches, opened when first needed.
    pub(crate) fn file(&self) -> io::Result<&Arc<dyn StorageFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let name = FileKind::Log.file_name(self.base_offset);
        let file = self.directory.open(&name, OpenMode::Existing)?;
        Ok(self.file.get_or_init(|| file))
    }

    /// Bytes of batches.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Whether the segment was taken out of its log.
    pub(crate) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::Acquire)
    }

    /// The largest timestamp with an offset that reached it; (−1, base) if there is none.
    pub(crate) fn max_timestamp(&self) -> io::Result<TimestampOffset> {
        let timestamp = self.max_timestamp.load(Ordering::Acquire);
        if timestamp == NOT_LOADED {
            let last = self.time_index.last()?;
            self.set_max_timestamp(last);
            return Ok(last);
        }
        Ok(TimestampOffset {
            timestamp: Timestamp(timestamp),
            offset: self.offset_of_max_timestamp.load(Ordering::Acquire),
        })
    }

    pub(crate) fn set_max_timestamp(&self, largest: TimestampOffset) {
        self.offset_of_max_timestamp
            .store(largest.offset, Ordering::Release);
        self.max_timestamp
            .store(largest.timestamp.0, Ordering::Release);
    }

    /// The largest timestamp of its records, else when the file was last written: its age for
    /// retention.
    pub(crate) fn largest_timestamp(&self) -> io::Result<Timestamp> {
        let largest = self.max_timestamp()?.timestamp;
        if largest.0 >= 0 {
            Ok(largest)
        } else {
            self.modified()
        }
    }

    /// When the file was last written.
    pub(crate) fn modified(&self) -> io::Result<Timestamp> {
        let path = self
            .directory
            .file(&FileKind::Log.file_name(self.base_offset));
        self.directory.directory().modified(&path)
    }

    /// Headers from a position on.
    pub(crate) fn scan(&self, position: u64) -> io::Result<HeaderScanner<'_>> {
        Ok(HeaderScanner::new(&**self.file()?, position, self.size()))
    }

    /// The first batch that does not end below an offset; the search begins at an index entry.
    pub(crate) fn find(&self, offset: Offset) -> Result<Option<PlacedBatch>, ScanError> {
        let entry = self.offset_index.lookup(offset)?;
        let mut scanner = self.scan(u64::from(entry.position))?;
        let mut next = scanner.next_batch();
        if self.is_astray(entry, &next) {
            scanner = self.scan(0)?;
            next = scanner.next_batch();
        }
        while let Some(batch) = next? {
            if batch.header.last_offset() >= offset {
                return Ok(Some(batch));
            }
            next = scanner.next_batch();
        }
        Ok(None)
    }

    /// Whether an index entry does not lead to what it says: it is damaged, and the search begins at
    /// the segment's start. Nothing else looks into indexes after an orderly stop, and a wrong entry
    /// must not hide records.
    fn is_astray(
        &self,
        entry: OffsetPosition,
        found: &Result<Option<PlacedBatch>, ScanError>,
    ) -> bool {
        let is_astray = entry.position > 0
            && match found {
                Ok(Some(batch)) => batch.header.base_offset() > entry.offset,
                Ok(None) | Err(ScanError::Corrupt { .. }) => true,
                Err(ScanError::Io(_)) => false,
            };
        if is_astray {
            tracing::warn!(
                segment = self.base_offset, ?entry, directory = %self.directory.path().display(),
                "an entry of an offset index is wrong and is passed over"
            );
        }
        is_astray
    }

    /// A range of batches from an offset on, without reading them: at most `bytes_max` bytes, but
    /// the first batch whole if `min_one_batch`, and nothing at or after `position_max`. `None` if
    /// the segment has no batch at or after the offset.
    pub(crate) fn read(
        &self,
        offset: Offset,
        bytes_max: u64,
        position_max: u64,
        min_one_batch: bool,
    ) -> Result<Option<SegmentRead>, ScanError> {
        let Some(first) = self.find(offset)? else {
            return Ok(None);
        };
        let first_bytes = first.header.size_in_bytes as u64;
        let limit = if min_one_batch {
            bytes_max.max(first_bytes)
        } else {
            bytes_max
        };
        let length = position_max.saturating_sub(first.position).min(limit);
        let slice = (length > 0).then_some(FileSlice {
            file: Arc::clone(self.file()?),
            position: first.position,
            length: length as usize,
        });
        let first_batch_incomplete = length < first_bytes;
        Ok(Some(SegmentRead {
            position: first.position,
            slice,
            first_batch_incomplete,
        }))
    }

    /// The offset after the last batch: the end of the log if this is its last segment.
    pub(crate) fn next_offset(&self) -> Result<Offset, ScanError> {
        let last = self.offset_index.last()?;
        let mut scanner = self.scan(u64::from(last.position))?;
        let mut next = scanner.next_batch();
        if self.is_astray(last, &next) {
            scanner = self.scan(0)?;
            next = scanner.next_batch();
        }
        let mut next_offset = self.base_offset;
        while let Some(batch) = next? {
            next_offset = batch.header.next_offset();
            next = scanner.next_batch();
        }
        Ok(next_offset)
    }

    /// Timestamp of the first batch, if there is one with a timestamp.
    pub(crate) fn first_timestamp(&self) -> Result<Option<Timestamp>, ScanError> {
        let first = self.scan(0)?.next_batch()?;
        Ok(first
            .map(|batch| batch.header.max_timestamp)
            .filter(|timestamp| timestamp.0 >= 0))
    }

    /// Adds the closing time entry and cuts the indexes to what they hold; the file too if it was
    /// preallocated.
    pub(crate) fn become_inactive(&self, is_preallocated: bool) -> io::Result<()> {
        let largest = self.max_timestamp()?;
        self.time_index.maybe_append(largest, true)?;
        self.offset_index.file().trim()?;
        self.time_index.file().trim()?;
        if is_preallocated {
            self.file()?.set_length(self.size())?;
        }
        Ok(())
    }

    /// Makes everything survive a crash.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file()?.sync()?;
        self.offset_index.file().flush()?;
        self.time_index.file().flush()?;
        self.transaction_index.flush()
    }

    /// Gives back the maps of the indexes until they are needed again.
    pub(crate) fn release_maps(&self) {
        self.offset_index.file().release();
        self.time_index.file().release();
    }

    /// Opens or loads all that is opened by name when first needed, before the names go to others.
    pub(crate) fn open_all(&self) -> io::Result<()> {
        self.file()?;
        self.max_timestamp()?;
        self.offset_index.last()?;
        self.time_index.last()?;
        self.transaction_index.entries().map(drop)
    }

    /// Renames all files for later removal; their new names. Missing ones are passed over.
    pub(crate) fn mark_deleted(&self) -> io::Result<Vec<String>> {
        // Whoever still reads keeps the descriptor.
        let _ = self.file();
        self.is_deleted.store(true, Ordering::Release);
        let mut renamed = Vec::new();
        for name in self.file_names() {
            let target = format!("{name}{DELETED_SUFFIX}");
            let (from, to) = (self.directory.file(&name), self.directory.file(&target));
            match self.directory.directory().rename(&from, &to) {
                Ok(()) => renamed.push(target),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(renamed)
    }

    /// Removes all files now.
    pub(crate) fn delete(&self) -> io::Result<()> {
        self.is_deleted.store(true, Ordering::Release);
        for name in self.file_names() {
            let path = self.directory.file(&name);
            crate::directory::remove_if_exists(self.directory.directory(), &path)?;
        }
        Ok(())
    }

    fn file_names(&self) -> [String; 4] {
        [
            FileKind::Log,
            FileKind::OffsetIndex,
            FileKind::TimeIndex,
            FileKind::TransactionIndex,
        ]
        .map(|kind| kind.file_name(self.base_offset))
    }
}
