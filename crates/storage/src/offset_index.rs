//! The offset index of a segment: some offsets and where their batches lie (`OffsetIndex`).

use std::io;
use std::sync::Arc;

use ottla_model::Offset;

use crate::index_file::{IndexFile, View};
use crate::names::FileKind;
use crate::partition_directory::PartitionDirectory;

const ENTRY_BYTES: usize = 8;

/// An entry of an offset index, or the start of the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetPosition {
    /// An offset; the batch at `position` does not end below it.
    pub offset: Offset,
    /// A position in the segment's file at which a batch begins.
    pub position: u32,
}

/// Entries `relative offset i32, position i32`, both ascending.
#[derive(Debug)]
pub struct OffsetIndex {
    base_offset: Offset,
    file: IndexFile,
}

impl OffsetIndex {
    /// The existing index of a segment.
    pub fn existing(directory: Arc<PartitionDirectory>, base_offset: Offset) -> Self {
        let name = FileKind::OffsetIndex.file_name(base_offset);
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
        let name = FileKind::OffsetIndex.file_name(base_offset);
        Ok(Self {
            base_offset,
            file: IndexFile::create(directory, name, ENTRY_BYTES, size_max)?,
        })
    }

    /// The last entry whose offset is at most the target; the segment's start if there is none.
    pub fn lookup(&self, target: Offset) -> io::Result<OffsetPosition> {
        self.file.view(|view| {
            let above = view.partition_point(|entry| self.entry(view, entry).offset <= target);
            above
                .checked_sub(1)
                .map_or(self.start(), |entry| self.entry(view, entry))
        })
    }

    /// The first entry after a position: an upper bound for what lies before it.
    pub fn first_at_or_after_position(&self, position: u64) -> io::Result<Option<OffsetPosition>> {
        self.file.view(|view| {
            let is_before = |entry| u64::from(self.entry(view, entry).position) < position;
            let entry = view.partition_point(is_before);
            (entry < view.len()).then(|| self.entry(view, entry))
        })
    }

    /// The last entry; the segment's start if there is none.
    pub fn last(&self) -> io::Result<OffsetPosition> {
        self.file.view(|view| {
            view.len()
                .checked_sub(1)
                .map_or(self.start(), |entry| self.entry(view, entry))
        })
    }

    /// Adds an entry. The offset must be above the last one's and within reach of 31 bits: an entry
    /// that is not, or that finds no room, is an error, as in Kafka.
    pub fn append(&self, offset: Offset, position: u32) -> io::Result<()> {
        let last = self.last()?;
        let relative = u32::try_from(offset - self.base_offset)
            .ok()
            .filter(|r| *r <= i32::MAX as u32);
        let Some(relative) = relative else {
            return Err(io::Error::other(format!(
                "offset {offset} cannot be relative to {}",
                self.base_offset
            )));
        };
        if self.file.len()? > 0 && offset <= last.offset {
            return Err(io::Error::other(format!(
                "index offset {offset} is not larger than the last entry's {}",
                last.offset
            )));
        }
        self.file.push(&[relative, position])
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
                before.offset < last.offset && before.position < last.position
            }
            None => true,
        })
    }

    /// Whether no entry can be added.
    pub fn is_full(&self) -> io::Result<bool> {
        Ok(self.file.len()? >= self.file.capacity()?)
    }

    /// Entries, ascending; for tests and tools.
    pub fn entries(&self) -> io::Result<Vec<OffsetPosition>> {
        self.file.view(|view| {
            (0..view.len())
                .map(|entry| self.entry(view, entry))
                .collect()
        })
    }

    pub(crate) fn file(&self) -> &IndexFile {
        &self.file
    }

    fn start(&self) -> OffsetPosition {
        OffsetPosition {
            offset: self.base_offset,
            position: 0,
        }
    }

    fn entry(&self, view: &View<'_>, entry: u64) -> OffsetPosition {
        OffsetPosition {
            offset: self
                .base_offset
                .saturating_add(Offset::from(view.word(entry, 0) as i32)),
            position: view.word(entry, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{MemoryDirectory, read_file};

    fn index(size_max: u64) -> (Arc<PartitionDirectory>, OffsetIndex) {
        let directory = Arc::new(MemoryDirectory::new());
        let directory = Arc::new(PartitionDirectory::new(directory, "/".into()));
        let index = OffsetIndex::create(Arc::clone(&directory), 100, size_max).unwrap();
        (directory, index)
    }

    #[test]
    fn lookup_finds_the_last_entry_at_or_below_the_target() {
        let (_, index) = index(1000);
        let pair = |found: OffsetPosition| (found.offset, found.position);
        assert_eq!(pair(index.lookup(105).unwrap()), (100, 0));
        for (offset, position) in [(101, 10), (105, 20), (110, 30)] {
            index.append(offset, position).unwrap();
        }
        for (target, expected) in [
            (99, (100, 0)),
            (100, (100, 0)),
            (101, (101, 10)),
            (109, (105, 20)),
            (500, (110, 30)),
        ] {
            assert_eq!(pair(index.lookup(target).unwrap()), expected, "{target}");
        }
        assert_eq!(
            index.first_at_or_after_position(11).unwrap().map(pair),
            Some((105, 20))
        );
        assert_eq!(index.first_at_or_after_position(31).unwrap(), None);
    }

    #[test]
    fn an_entry_must_rise_fit_in_31_bits_and_find_room() {
        let (_, index) = index(17);
        index.append(100, 0).unwrap();
        assert!(index.append(100, 5).is_err());
        assert!(index.append(99, 5).is_err());
        assert!(index.append(100 + (1 << 31), 5).is_err());
        index.append(100 + i64::from(i32::MAX), 5).unwrap();
        assert!(index.is_full().unwrap());
        assert!(index.append(100 + i64::from(i32::MAX), 9).is_err());
    }

    #[test]
    fn an_index_that_ends_in_zeros_is_not_sane() {
        let (directory, index) = index(40);
        index.append(101, 10).unwrap();
        index.append(105, 20).unwrap();
        assert!(index.is_sane().unwrap());
        index.file().flush().unwrap();
        let untrimmed = OffsetIndex::existing(Arc::clone(&directory), 100);
        assert!(!untrimmed.is_sane().unwrap());
        index.file().trim().unwrap();
        assert!(OffsetIndex::existing(directory, 100).is_sane().unwrap());
    }

    #[test]
    fn a_trimmed_file_holds_its_entries_and_grows_again() {
        let (directory, index) = index(10 * 4096 + 5);
        let path = directory.file("00000000000000000100.index");
        assert_eq!(directory.directory().length(&path).unwrap(), 40960);
        for entry in 0..600 {
            index.append(100 + entry, entry as u32).unwrap();
        }
        index.truncate_to(102).unwrap();
        index.file().trim().unwrap();
        let content = read_file(directory.directory(), &path, 100).unwrap();
        assert_eq!(content, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert!(index.is_full().unwrap());
        index.file().make_room(40960).unwrap();
        index.append(170, 9).unwrap();
        index.file().trim().unwrap();
        let reopened = OffsetIndex::existing(directory, 100);
        assert_eq!(reopened.entries().unwrap().len(), 3);
        assert_eq!(
            reopened.last().unwrap(),
            OffsetPosition {
                offset: 170,
                position: 9
            }
        );
    }
}
