//! The files that a rewrite makes: `<base>.log.cleaned` and its indexes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use ottla_model::{Offset, Timestamp};
use ottla_record::BatchIterator;

use crate::directory::{OpenMode, StorageFile, invalid_data};
use crate::names::{CLEANED_SUFFIX, FileKind};
use crate::partition_directory::PartitionDirectory;
use crate::transaction_index::{AbortedTransaction, encode};

/// A batch lies further from the base of its segment than an index can say.
#[derive(Debug, thiserror::Error)]
#[error("offset {offset} is too far from {base_offset}")]
pub(crate) struct OffsetOverflow {
    offset: Offset,
    base_offset: Offset,
}

/// A segment in the making. Its indexes are small enough to be kept in memory until the end.
pub(crate) struct CleanedSegment {
    directory: Arc<PartitionDirectory>,
    base_offset: Offset,
    file: Arc<dyn StorageFile>,
    size: u64,
    index_interval_bytes: u64,
    indexed_up_to: u64,
    offset_index: Vec<u8>,
    time_index: Vec<u8>,
    /// The largest timestamp so far, and the offset that reached it.
    largest: (Timestamp, Offset),
    last_time_entry: Timestamp,
}

impl CleanedSegment {
    pub(crate) fn create(
        directory: Arc<PartitionDirectory>,
        base_offset: Offset,
        index_interval_bytes: u64,
    ) -> io::Result<Self> {
        let name = format!("{}{CLEANED_SUFFIX}", FileKind::Log.file_name(base_offset));
        let file = directory.open(&name, OpenMode::CreateEmpty)?;
        Ok(Self {
            directory,
            base_offset,
            file,
            size: 0,
            index_interval_bytes,
            indexed_up_to: 0,
            offset_index: Vec::new(),
            time_index: Vec::new(),
            largest: (Timestamp::NONE, base_offset),
            last_time_entry: Timestamp::NONE,
        })
    }

    /// Adds whole batches, with an index entry per interval.
    pub(crate) fn append(&mut self, batches: &[u8]) -> io::Result<()> {
        if batches.is_empty() {
            return Ok(());
        }
        let mut position = self.size;
        for batch in BatchIterator::new(batches) {
            let batch = batch.map_err(|error| invalid_data(error.to_string()))?;
            let relative = self.relative(batch.last_offset())?;
            if batch.max_timestamp > self.largest.0 {
                self.largest = (batch.max_timestamp, batch.last_offset());
            }
            if position - self.indexed_up_to > self.index_interval_bytes {
                let place = u32::try_from(position).map_err(io::Error::other)?;
                self.offset_index.extend(relative.to_be_bytes());
                self.offset_index.extend(place.to_be_bytes());
                self.add_time_entry()?;
                self.indexed_up_to = position;
            }
            position += batch.size_in_bytes as u64;
        }
        self.file
            .write_all_at(&mut [IoSlice::new(batches)], self.size)?;
        self.size = position;
        Ok(())
    }

    /// Completes the files, makes them survive a crash, and lets them look as old as what they
    /// replace; the size of the segment.
    pub(crate) fn finish(
        mut self,
        aborted: &[AbortedTransaction],
        modified: Timestamp,
    ) -> io::Result<u64> {
        self.add_time_entry()?;
        self.write(FileKind::OffsetIndex, &self.offset_index)?;
        self.write(FileKind::TimeIndex, &self.time_index)?;
        if !aborted.is_empty() {
            let entries: Vec<u8> = aborted.iter().flat_map(encode).collect();
            self.write(FileKind::TransactionIndex, &entries)?;
        }
        self.file.sync()?;
        for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex] {
            let path = self.directory.file(&self.name(kind));
            self.directory.directory().set_modified(&path, modified)?;
        }
        Ok(self.size)
    }

    fn add_time_entry(&mut self) -> io::Result<()> {
        let (timestamp, offset) = self.largest;
        if timestamp > self.last_time_entry {
            let relative = self.relative(offset)?;
            self.time_index.extend(timestamp.0.to_be_bytes());
            self.time_index.extend(relative.to_be_bytes());
            self.last_time_entry = timestamp;
        }
        Ok(())
    }

    fn relative(&self, offset: Offset) -> io::Result<i32> {
        i32::try_from(offset - self.base_offset).map_err(|_| {
            let overflow = OffsetOverflow {
                offset,
                base_offset: self.base_offset,
            };
            io::Error::new(io::ErrorKind::InvalidData, overflow)
        })
    }

    fn write(&self, kind: FileKind, content: &[u8]) -> io::Result<()> {
        let file = self
            .directory
            .open(&self.name(kind), OpenMode::CreateEmpty)?;
        if !content.is_empty() {
            file.write_all_at(&mut [IoSlice::new(content)], 0)?;
        }
        file.sync()
    }

    fn name(&self, kind: FileKind) -> String {
        format!("{}{CLEANED_SUFFIX}", kind.file_name(self.base_offset))
    }
}
