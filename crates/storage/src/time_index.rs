//! The time index of a segment: timestamps and the offsets that reached them (`TimeIndex`).

use std::io;
use std::sync::Arc;

use ottla_model::{Offset, Timestamp};

use crate::index_file::{IndexFile, View};
use crate::names::FileKind;
use crate::partition_directory::PartitionDirectory;

const ENTRY_BYTES: usize = 12;

/// A timestamp and the offset at which it was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampOffset {
    /// The timestamp; [`Timestamp::NONE`] before any.
    pub timestamp: Timestamp,
    /// No record up to this offset has a later timestamp.
    pub offset: Offset,
}

/// Entries `timestamp i64, relative offset i32`, both ascending.
#[derive(Debug)]
pub struct TimeIndex {
    base_offset: Offset,
    file: IndexFile,
}

impl TimeIndex {
    /// The index of a segment; a missing file counts as empty.
    pub fn existing(directory: Arc<PartitionDirectory>, base_offset: Offset) -> Self {
        let name = FileKind::TimeIndex.file_name(base_offset);
        Self {
            base_offset,
            file: IndexFile::existing(directory, name, ENTRY_BYTES),
        }
    }

    /// A new index with room for `size_max` bytes.
    pub fn create(
        directory: Arc<PartitionDirectory>,
        base_offset: Offset,
        size_max: u64,
    ) -> io::Result<Self> {
        let name = FileKind::TimeIndex.file_name(base_offset);
        Ok(Self {
            base_offset,
            file: IndexFile::create(directory, name, ENTRY_BYTES, size_max)?,
        })
    }

    /// The last entry whose timestamp is at most the target; (−1, base) if there is none.
    pub fn lookup(&self, target: Timestamp) -> io::Result<TimestampOffset> {
        self.file.view(|view| {
            let above = view.partition_point(|entry| self.entry(view, entry).timestamp <= target);
            above
                .checked_sub(1)
                .map_or(self.start(), |entry| self.entry(view, entry))
        })
    }

    /// The last entry; (−1, base) if there is none.
    pub fn last(&self) -> io::Result<TimestampOffset> {
        self.file.view(|view| {
            view.len()
                .checked_sub(1)
                .map_or(self.start(), |entry| self.entry(view, entry))
        })
    }

    /// Adds an entry if its timestamp is later than the last one's. The last slot is kept for the
    /// entry that closes a segment, which skips the check for room.
    ///
    /// # Errors
    /// The timestamp or the offset falls, or there is no room: as in Kafka.
    pub fn maybe_append(&self, entry: TimestampOffset, is_closing: bool) -> io::Result<()> {
        if !is_closing && self.is_full()? {
            return Err(io::Error::other("the time index is full"));
        }
        let last = self.last()?;
        let is_empty = self.file.len()? == 0;
        if !is_empty && (entry.offset < last.offset || entry.timestamp < last.timestamp) {
            return Err(io::Error::other(format!(
                "time index entry {entry:?} does not follow {last:?}"
            )));
        }
        if entry.timestamp <= last.timestamp {
            return Ok(());
        }
        let relative = u32::try_from(entry.offset - self.base_offset).ok();
        let Some(relative) = relative.filter(|relative| *relative <= i32::MAX as u32) else {
            return Err(io::Error::other(format!(
                "offset {} cannot be relative to {}",
                entry.offset, self.base_offset
            )));
        };
        let timestamp = entry.timestamp.0 as u64;
        self.file
            .push(&[(timestamp >> 32) as u32, timestamp as u32, relative])
    }

    /// Keeps entries below an offset.
    pub fn truncate_to(&self, offset: Offset) -> io::Result<()> {
        let kept = self
            .file
            .view(|view| view.partition_point(|entry| self.entry(view, entry).offset < offset))?;
        self.file.truncate(kept)
    }

    /// Whether the last entry follows those before it. A file whose end was never written holds
    /// zeros there.
    pub fn is_sane(&self) -> io::Result<bool> {
        self.file.view(|view| match view.len().checked_sub(2) {
            Some(before) => {
                let (before, last) = (self.entry(view, before), self.entry(view, before + 1));
                before.timestamp < last.timestamp && before.offset <= last.offset
            }
            None => true,
        })
    }

    /// Whether only the closing entry can be added.
    pub fn is_full(&self) -> io::Result<bool> {
        Ok(self.file.len()? + 1 >= self.file.capacity()?)
    }

    /// Entries, ascending; for tests and tools.
    pub fn entries(&self) -> io::Result<Vec<TimestampOffset>> {
        self.file.view(|view| {
            (0..view.len())
                .map(|entry| self.entry(view, entry))
                .collect()
        })
    }

    pub(crate) fn file(&self) -> &IndexFile {
        &self.file
    }

    fn start(&self) -> TimestampOffset {
        TimestampOffset {
            timestamp: Timestamp::NONE,
            offset: self.base_offset,
        }
    }

    fn entry(&self, view: &View<'_>, entry: u64) -> TimestampOffset {
        let timestamp = u64::from(view.word(entry, 0)) << 32 | u64::from(view.word(entry, 1));
        TimestampOffset {
            timestamp: Timestamp(timestamp as i64),
            offset: self
                .base_offset
                .saturating_add(Offset::from(view.word(entry, 2) as i32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::MemoryDirectory;

    #[test]
    fn entries_rise_equal_times_are_skipped_and_one_slot_is_kept() {
        let directory = Arc::new(MemoryDirectory::new());
        let directory = Arc::new(PartitionDirectory::new(directory, "/".into()));
        let index = TimeIndex::create(directory, 100, 36).unwrap();
        let at = |timestamp, offset| TimestampOffset {
            timestamp: Timestamp(timestamp),
            offset,
        };
        assert_eq!(index.lookup(Timestamp(5)).unwrap(), at(-1, 100));
        index.maybe_append(at(1000, 110), false).unwrap();
        index.maybe_append(at(1000, 120), false).unwrap();
        assert_eq!(index.entries().unwrap().len(), 1);
        assert!(index.maybe_append(at(999, 120), false).is_err());
        assert!(index.maybe_append(at(1001, 109), false).is_err());
        index.maybe_append(at(i64::MAX, 130), false).unwrap();
        assert!(index.is_full().unwrap());
        assert!(index.maybe_append(at(i64::MAX, 140), false).is_err());
        index.maybe_append(at(i64::MAX, 140), true).unwrap();
        assert_eq!(index.lookup(Timestamp(1000)).unwrap(), at(1000, 110));
        assert_eq!(index.lookup(Timestamp(999)).unwrap(), at(-1, 100));
        index.truncate_to(130).unwrap();
        assert_eq!(index.last().unwrap(), at(1000, 110));
    }

    #[test]
    fn an_index_that_ends_in_zeros_is_not_sane() {
        let directory = Arc::new(MemoryDirectory::new());
        let directory = Arc::new(PartitionDirectory::new(directory, "/".into()));
        let index = TimeIndex::create(Arc::clone(&directory), 100, 60).unwrap();
        let untrimmed = || TimeIndex::existing(Arc::clone(&directory), 100);
        assert!(!untrimmed().is_sane().unwrap(), "nothing but zeros");
        for (timestamp, offset) in [(1000, 110), (2000, 120)] {
            let entry = TimestampOffset {
                timestamp: Timestamp(timestamp),
                offset,
            };
            index.maybe_append(entry, false).unwrap();
        }
        assert!(index.is_sane().unwrap());
        index.file().flush().unwrap();
        assert!(!untrimmed().is_sane().unwrap());
    }
}
