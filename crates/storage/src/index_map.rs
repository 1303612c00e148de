//! Index files in memory: a mapped file, or plain memory where the directory has no real files.
//!
//! The only unsafe code of the project. A map is read and written in 32-bit big-endian words through
//! atomics, so that the one writer and any number of readers never race in the language's sense;
//! which words are valid is published by the entry count of the index (see `index_file`).

#![allow(unsafe_code, reason = "memory maps; each block states why it is sound")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// Bytes of an index file, addressed by words of four bytes.
#[derive(Debug)]
pub struct IndexMap(Memory);

#[derive(Debug)]
enum Memory {
    Empty,
    Mapped(MmapRaw),
    Shared(Arc<[AtomicU32]>, Arc<dyn SharedOwner>),
}

/// The file behind memory that is shared with it.
pub trait SharedOwner: Send + Sync + std::fmt::Debug {
    /// Makes the file's content survive a crash.
    fn sync_shared(&self) -> io::Result<()>;
}

impl IndexMap {
    /// Maps the first `length` bytes of a file that is at least that long, shared with the file.
    /// An empty range maps nothing.
    pub fn map_file(file: &File, length: usize) -> io::Result<Self> {
        if length == 0 {
            return Ok(Self(Memory::Empty));
        }
        let map = MmapOptions::new().len(length).map_raw(file)?;
        Ok(Self(Memory::Mapped(map)))
    }

    /// Memory shared with a file that exists only in memory.
    pub fn shared(words: Arc<[AtomicU32]>, owner: Arc<dyn SharedOwner>) -> Self {
        Self(Memory::Shared(words, owner))
    }

    /// Number of whole words.
    pub fn word_count(&self) -> usize {
        match &self.0 {
            Memory::Empty => 0,
            Memory::Mapped(map) => map.len() / size_of::<u32>(),
            Memory::Shared(words, _) => words.len(),
        }
    }

    /// The word at an index as the number its big-endian bytes spell.
    pub fn load(&self, index: usize) -> u32 {
        u32::from_be(self.word(index).load(Ordering::Relaxed))
    }

    /// Writes a word as big-endian bytes.
    pub fn store(&self, index: usize, value: u32) {
        self.word(index).store(value.to_be(), Ordering::Relaxed);
    }

    /// Writes changed pages to the disk.
    pub fn flush(&self) -> io::Result<()> {
        match &self.0 {
            Memory::Mapped(map) => map.flush(),
            Memory::Shared(_, owner) => owner.sync_shared(),
            Memory::Empty => Ok(()),
        }
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        assert!(
            index < self.word_count(),
            "an index entry lies within its map"
        );
        match &self.0 {
            Memory::Mapped(map) => {
                // SAFETY: in bounds, as asserted above. Aligned: a map begins at a page boundary and
                // words are at multiples of four. Valid for as long as `self`, which owns the map.
                // Shared access is through atomics only, here and in every other thread; no `&mut`
                // or plain reference into the map is ever made. Another process may not write the
                // file: the log directory is locked exclusively (`.lock`). The file is never cut
                // below the map's end while the map can be used: `IndexFile::set_file_length` takes
                // the map away from readers and waits for its last user before it shrinks the file.
                // Pages are backed before they are first written (`IndexFile::reserve`), so a full
                // disk shows as an error of a write and not as SIGBUS.
                unsafe { &*map.as_mut_ptr().cast::<AtomicU32>().add(index) }
            }
            Memory::Shared(words, _) => &words[index],
            Memory::Empty => unreachable!("an empty map has no words"),
        }
    }
}
