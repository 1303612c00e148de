//! A file of fixed-size entries that is mapped on demand: what offset and time index share
//! (`AbstractIndex`, `LazyIndex`).
//!
//! The active segment's index is preallocated with zeros to its full size and cut to what is used
//! when the segment rolls or closes; an inactive one has exact length. One writer adds entries; any
//! number of readers look them up without a lock once the file is mapped.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::directory::OpenMode;
use crate::index_map::IndexMap;
use crate::partition_directory::PartitionDirectory;

/// Space for entries is reserved on the disk in pieces of this size.
const PAGE_BYTES: u64 = 4096;
/// In place of a number of entries: the file has not been looked at yet.
const UNKNOWN: u64 = u64::MAX;

/// One index file. Mutating calls come from the log's one writer only.
#[derive(Debug)]
pub(crate) struct IndexFile {
    directory: Arc<PartitionDirectory>,
    name: String,
    words_per_entry: usize,
    map: ArcSwapOption<IndexMap>,
    /// Entries that readers may look at.
    entries: AtomicU64,
    /// Serializes mapping with shrinking, and knows the file's length and its reserved part.
    file: Mutex<FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    length: u64,
    reserved: u64,
}

impl IndexFile {
    /// Names an existing file, which is not touched before it is needed.
    pub(crate) fn existing(
        directory: Arc<PartitionDirectory>,
        name: String,
        entry_bytes: usize,
    ) -> Self {
        Self {
            directory,
            name,
            words_per_entry: entry_bytes / size_of::<u32>(),
            map: ArcSwapOption::empty(),
            entries: AtomicU64::new(UNKNOWN),
            file: Mutex::default(),
        }
    }

    /// Makes the file new and empty, with room for entries up to `size_max` bytes.
    pub(crate) fn create(
        directory: Arc<PartitionDirectory>,
        name: String,
        entry_bytes: usize,
        size_max: u64,
    ) -> io::Result<Self> {
        let index = Self::existing(directory, name, entry_bytes);
        index.reset(size_max)?;
        Ok(index)
    }

    /// Drops all entries and makes room for `size_max` bytes.
    pub(crate) fn reset(&self, size_max: u64) -> io::Result<()> {
        let mut file = self.file.lock();
        self.unmap();
        self.entries.store(0, Ordering::Release);
        let handle = self.directory.open(&self.name, OpenMode::CreateEmpty)?;
        let length = self.whole_entries(size_max);
        handle.set_length(length)?;
        *file = FileState {
            length,
            reserved: 0,
        };
        Ok(())
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self.entries.load(Ordering::Acquire) {
            UNKNOWN => {
                let mut file = self.file.lock();
                self.discover(&mut file)?;
                Ok(self.entries.load(Ordering::Acquire))
            }
            entries => Ok(entries),
        }
    }

    /// Number of entries that the file has room for now.
    pub(crate) fn capacity(&self) -> io::Result<u64> {
        self.len()?;
        Ok(self.file.lock().length / self.entry_bytes())
    }

    /// Bytes of the entries.
    pub(crate) fn size_in_bytes(&self) -> io::Result<u64> {
        Ok(self.len()? * self.entry_bytes())
    }

    /// Calls with a view of the entries; they do not vanish while it is used.
    pub(crate) fn view<T>(&self, read: impl FnOnce(&View<'_>) -> T) -> io::Result<T> {
        let map = match self.map.load_full() {
            Some(map) => map,
            None => self.map_now()?,
        };
        // Loaded after the map: never more than the map holds.
        let entries = self.entries.load(Ordering::Acquire);
        let entries = entries.min((map.word_count() / self.words_per_entry) as u64);
        Ok(read(&View {
            map: &map,
            words_per_entry: self.words_per_entry,
            entries,
        }))
    }

    /// Adds an entry. The caller has checked that there is room.
    pub(crate) fn push(&self, words: &[u32]) -> io::Result<()> {
        assert_eq!(
            words.len(),
            self.words_per_entry,
            "an entry has a fixed size"
        );
        let entries = self.len()?;
        let end = (entries + 1) * self.entry_bytes();
        let map = match self.map.load_full() {
            Some(map) => map,
            None => self.map_now()?,
        };
        self.reserve(end)?;
        for (index, word) in words.iter().enumerate() {
            map.store(entries as usize * self.words_per_entry + index, *word);
        }
        self.entries.store(entries + 1, Ordering::Release);
        Ok(())
    }

    /// Keeps the first `entries` entries. The file keeps its length.
    pub(crate) fn truncate(&self, entries: u64) -> io::Result<()> {
        if entries < self.len()? {
            self.entries.store(entries, Ordering::Release);
        }
        Ok(())
    }

    /// Gives the file its full size again, so that it can take entries (`resize`).
    pub(crate) fn make_room(&self, size_max: u64) -> io::Result<()> {
        let size = self.whole_entries(size_max).max(self.size_in_bytes()?);
        self.set_file_length(size)
    }

    /// Cuts the file to its entries (`trimToValidSize`).
    pub(crate) fn trim(&self) -> io::Result<()> {
        let used = self.size_in_bytes()?;
        self.set_file_length(used)
    }

    /// Writes changed entries to the disk.
    pub(crate) fn flush(&self) -> io::Result<()> {
        // Without a map nothing was changed since the file was last cut, reset or loaded.
        match self.map.load_full() {
            Some(map) => map.flush(),
            None => self.directory.open(&self.name, OpenMode::Existing)?.sync(),
        }
    }

    /// Gives back the memory map; the next use maps the file again.
    pub(crate) fn release(&self) {
        let _file = self.file.lock();
        self.map.store(None);
    }

    fn entry_bytes(&self) -> u64 {
        (self.words_per_entry * size_of::<u32>()) as u64
    }

    fn whole_entries(&self, size: u64) -> u64 {
        size - size % self.entry_bytes()
    }

    /// The length of the file counts as its entries: there is no other count (as in Kafka).
    fn discover(&self, file: &mut FileState) -> io::Result<()> {
        if self.entries.load(Ordering::Acquire) != UNKNOWN {
            return Ok(());
        }
        let handle = match self.directory.open(&self.name, OpenMode::Existing) {
            // A missing time index counts as empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directory.open(&self.name, OpenMode::OpenOrCreate)?
            }
            result => result?,
        };
        let length = self.whole_entries(handle.length()?);
        *file = FileState {
            length,
            reserved: length,
        };
        self.entries
            .store(length / self.entry_bytes(), Ordering::Release);
        Ok(())
    }

    fn map_now(&self) -> io::Result<Arc<IndexMap>> {
        let mut file = self.file.lock();
        if let Some(map) = self.map.load_full() {
            return Ok(map);
        }
        self.discover(&mut file)?;
        let handle = self.directory.open(&self.name, OpenMode::Existing)?;
        // The file may be shorter than it was when somebody else cut it: a map past the end of a
        // file would fault.
        let length = self.whole_entries(file.length.min(handle.length()?));
        if length < self.entries.load(Ordering::Acquire) * self.entry_bytes() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = Arc::new(handle.map(length as usize)?);
        self.map.store(Some(Arc::clone(&map)));
        Ok(map)
    }

    /// Changes the file's length. A shrinking file is taken from its readers first: no map may
    /// reach past its end.
    fn set_file_length(&self, length: u64) -> io::Result<()> {
        let mut file = self.file.lock();
        self.discover(&mut file)?;
        if file.length == length {
            return Ok(());
        }
        if let Some(map) = self.map.load_full() {
            map.flush()?;
        }
        self.unmap();
        let handle = self.directory.open(&self.name, OpenMode::Existing)?;
        handle.set_length(length)?;
        *file = FileState {
            length,
            reserved: file.reserved.min(length),
        };
        Ok(())
    }

    /// Takes the map away and waits until nobody uses it. Uses are short: a binary search.
    fn unmap(&self) {
        let Some(mut map) = self.map.swap(None) else {
            return;
        };
        loop {
            match Arc::try_unwrap(map) {
                Ok(last) => break drop(last),
                Err(shared) => map = shared,
            }
            std::thread::yield_now();
        }
    }

    /// Backs the pages up to `end` with disk space. A store into a hole of a full volume would kill
    /// the process; a write of zeros fails instead.
    fn reserve(&self, end: u64) -> io::Result<()> {
        let mut file = self.file.lock();
        if end > file.length {
            return Err(io::Error::other("an index has no room for another entry"));
        }
        while file.reserved < end {
            let to = (file.reserved / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES).min(file.length);
            let zeros = [0; PAGE_BYTES as usize];
            let piece = &zeros[..(to - file.reserved) as usize];
            let handle = self.directory.open(&self.name, OpenMode::Existing)?;
            handle.write_all_at(&mut [IoSlice::new(piece)], file.reserved)?;
            file.reserved = to;
        }
        Ok(())
    }
}

/// The entries of an index at one moment.
pub(crate) struct View<'a> {
    map: &'a IndexMap,
    words_per_entry: usize,
    entries: u64,
}

impl View<'_> {
    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.entries
    }

    /// A word of an entry.
    pub(crate) fn word(&self, entry: u64, word: usize) -> u32 {
        self.map.load(entry as usize * self.words_per_entry + word)
    }

    /// Number of leading entries that satisfy a condition which holds for no entry after the first
    /// that does not.
    pub(crate) fn partition_point(&self, holds: impl Fn(u64) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
