//! A directory whose calls fail on command.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_model::Timestamp;
use parking_lot::Mutex;

use super::{
    Directory, DirectoryEntry, LockGuard, MemoryDirectory, OpenMode, StorageFile, VolumeSpace,
};
use crate::index_map::IndexMap;

/// How a changing call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device is broken (EIO).
    InputOutput,
    /// The volume is full (ENOSPC); a write leaves half of its bytes.
    NoSpace,
}

/// A [`MemoryDirectory`] that counts changing calls (creations, writes, lengths, syncs, renames,
/// removals) and looking ones (opening, listing, reading, mapping), and fails the n-th of a kind,
/// alone or with all after it.
#[derive(Clone, Default, Debug)]
pub struct FaultyDirectory {
    inner: MemoryDirectory,
    plan: Arc<Mutex<Plan>>,
    looks: Arc<Mutex<Plan>>,
}

#[derive(Default, Debug)]
struct Plan {
    calls: u64,
    fault: Option<(Range<u64>, Fault)>,
}

impl FaultyDirectory {
    /// Wraps a file system; nothing fails yet.
    pub fn new(inner: MemoryDirectory) -> Self {
        Self {
            inner,
            plan: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// The file system underneath.
    pub fn memory(&self) -> &MemoryDirectory {
        &self.inner
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.plan.lock().calls
    }

    /// Lets the changing call with this number (counted from 0) and all after it fail.
    pub fn fail_from(&self, call: u64, fault: Fault) {
        self.plan.lock().fault = Some((call..u64::MAX, fault));
    }

    /// Lets only the changing call with this number fail.
    pub fn fail_once(&self, call: u64, fault: Fault) {
        self.plan.lock().fault = Some((call..call + 1, fault));
    }

    /// Looking calls so far.
    pub fn looks(&self) -> u64 {
        self.looks.lock().calls
    }

    /// Lets only the looking call with this number (counted from 0) fail.
    pub fn fail_look_once(&self, call: u64, fault: Fault) {
        self.looks.lock().fault = Some((call..call + 1, fault));
    }

    /// Lets everything succeed again.
    pub fn heal(&self) {
        self.plan.lock().fault = None;
        self.looks.lock().fault = None;
    }

    /// A power failure; see [`MemoryDirectory::crash`]. Heals as well.
    pub fn crash(&self, seed: u64) {
        self.heal();
        self.inner.crash(seed);
    }
}

impl Plan {
    fn next(&mut self) -> Result<(), Fault> {
        let call = self.calls;
        self.calls += 1;
        match &self.fault {
            Some((calls, fault)) if calls.contains(&call) => Err(*fault),
            _ => Ok(()),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let errno = match fault {
            Fault::InputOutput => rustix::io::Errno::IO,
            Fault::NoSpace => rustix::io::Errno::NOSPC,
        };
        errno.into()
    }
}

impl Directory for FaultyDirectory {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        if mode == OpenMode::Existing {
            self.looks.lock().next()?;
        } else {
            self.plan.lock().next()?;
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultyFile {
            inner,
            plan: Arc::clone(&self.plan),
            looks: Arc::clone(&self.looks),
        }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.create_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.looks.lock().next()?;
        self.inner.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.sync_directory(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.looks.lock().next()?;
        self.inner.exists(path)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.looks.lock().next()?;
        self.inner.length(path)
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        self.looks.lock().next()?;
        self.inner.modified(path)
    }

    fn set_modified(&self, path: &Path, modified: Timestamp) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.set_modified(path, modified)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.looks.lock().next()?;
        self.inner.canonical(path)
    }

    fn space(&self, path: &Path) -> io::Result<VolumeSpace> {
        self.looks.lock().next()?;
        self.inner.space(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.plan.lock().next()?;
        self.inner.try_lock(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    plan: Arc<Mutex<Plan>>,
    looks: Arc<Mutex<Plan>>,
}

impl StorageFile for FaultyFile {
    fn write_all_at(&self, buffers: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let result = self.plan.lock().next();
        if result == Err(Fault::NoSpace) {
            let bytes: Vec<u8> = buffers
                .iter()
                .flat_map(|buffer| buffer.iter().copied())
                .collect();
            let half = &bytes[..bytes.len() / 2];
            self.inner
                .write_all_at(&mut [IoSlice::new(half)], position)?;
        }
        result?;
        self.inner.write_all_at(buffers, position)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.looks.lock().next()?;
        self.inner.read_at(buffer, position)
    }

    fn length(&self) -> io::Result<u64> {
        self.looks.lock().next()?;
        self.inner.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.set_length(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.allocate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.lock().next()?;
        self.inner.sync()
    }

    fn map(&self, length: usize) -> io::Result<IndexMap> {
        self.looks.lock().next()?;
        self.inner.map(length)
    }

    fn descriptor(&self) -> Option<Arc<File>> {
        self.inner.descriptor()
    }
}
