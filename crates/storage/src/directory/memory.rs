//! A file system in memory that remembers what a crash would leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use ottla_model::Timestamp;
use parking_lot::Mutex;

use super::{Directory, DirectoryEntry, LockGuard, OpenMode, StorageFile, VolumeSpace};
use crate::index_map::{IndexMap, SharedOwner};
use crate::random::Random;

/// Unsynced bytes survive a crash or not in pieces of this size.
const SECTOR_BYTES: usize = 512;

/// A file system in memory. Clones share it. Time of modification is set by [`Self::set_clock`].
#[derive(Clone, Default, Debug)]
pub struct MemoryDirectory {
    shared: Arc<Shared>,
}

#[derive(Default, Debug)]
struct Shared {
    names: Mutex<Names>,
    clock: AtomicI64,
}

/// The names as they are, and as a crash may leave them: the durable ones plus a prefix of the
/// changes since, as with a journaling file system.
#[derive(Default, Debug)]
struct Names {
    current: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    journal: Vec<Change>,
    locked: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Arc<Inode>),
}

#[derive(Clone, Debug)]
enum Change {
    Insert(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug)]
struct Inode {
    content: Mutex<Content>,
}

#[derive(Default, Debug)]
struct Content {
    bytes: Vec<u8>,
    /// Stands for the first bytes while the file is mapped.
    mapped: Option<Arc<[AtomicU32]>>,
    durable: Vec<u8>,
    modified: i64,
}

impl MemoryDirectory {
    /// An empty file system with a root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time that files written from now on bear.
    pub fn set_clock(&self, now: Timestamp) {
        self.shared.clock.store(now.0, Ordering::Relaxed);
    }

    /// What a power failure leaves: of unsynced bytes some sectors, of unsynced lengths some part,
    /// of unsynced names a prefix of the changes. The seed decides. Locks are gone. Files that were
    /// open keep working on what nobody sees any more.
    pub fn crash(&self, seed: u64) {
        let mut random = Random::new(seed);
        let mut names = self.shared.names.lock();
        let kept = random.below(names.journal.len() as u64 + 1) as usize;
        let mut after = std::mem::take(&mut names.durable);
        for change in names.journal.drain(..).take(kept) {
            apply(&mut after, change);
        }
        for node in after.values_mut() {
            if let Node::File(inode) = node {
                *node = Node::File(Arc::new(inode.after_crash(&mut random)));
            }
        }
        names.durable = after.clone();
        names.current = after;
        names.locked.clear();
    }

    /// A second file system with the same content, all of it durable.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let names = self.shared.names.lock();
        let mut copy = BTreeMap::new();
        for (path, node) in &names.current {
            let node = match node {
                Node::Directory => Node::Directory,
                Node::File(inode) => {
                    let content = inode.content.lock();
                    let bytes = content.image();
                    Node::File(Arc::new(Inode::durable(bytes, content.modified)))
                }
            };
            copy.insert(path.clone(), node);
        }
        let names = Names {
            current: copy.clone(),
            durable: copy,
            ..Names::default()
        };
        let clock = AtomicI64::new(self.shared.clock.load(Ordering::Relaxed));
        Self {
            shared: Arc::new(Shared {
                names: Mutex::new(names),
                clock,
            }),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.shared.names.lock().current.get(path) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Names {
    fn change(&mut self, change: Change) {
        apply(&mut self.current, change.clone());
        self.journal.push(change);
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || matches!(self.current.get(path), Some(Node::Directory))
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: Change) {
    match change {
        Change::Insert(path, node) => {
            names.insert(path, node);
        }
        Change::Remove(path) => names.retain(|name, _| !name.starts_with(&path)),
        Change::Rename(from, to) => {
            let moved: Vec<PathBuf> = names
                .keys()
                .filter(|name| name.starts_with(&from))
                .cloned()
                .collect();
            for name in moved {
                let Some(node) = names.remove(&name) else {
                    continue;
                };
                let rest = name.strip_prefix(&from).unwrap_or(Path::new(""));
                let target = if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                };
                names.insert(target, node);
            }
        }
    }
}

impl Directory for MemoryDirectory {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let clock = self.shared.clock.load(Ordering::Relaxed);
        let mut names = self.shared.names.lock();
        let inode = match (names.current.get(path), mode) {
            (Some(Node::Directory), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(inode)), _) => Arc::clone(inode),
            (None, OpenMode::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::OpenOrCreate | OpenMode::CreateEmpty) => {
                if !path
                    .parent()
                    .is_some_and(|parent| names.is_directory(parent))
                {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = Arc::new(Inode::durable(Vec::new(), clock));
                names.change(Change::Insert(
                    path.to_owned(),
                    Node::File(Arc::clone(&inode)),
                ));
                inode
            }
        };
        let file = MemoryFile {
            inode,
            shared: Arc::clone(&self.shared),
        };
        if mode == OpenMode::CreateEmpty {
            file.set_length(0)?;
        }
        Ok(Arc::new(file))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        let missing: Vec<&Path> = path
            .ancestors()
            .filter(|ancestor| !names.is_directory(ancestor))
            .collect();
        for ancestor in missing.into_iter().rev() {
            if names.current.contains_key(ancestor) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            names.change(Change::Insert(ancestor.to_owned(), Node::Directory));
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let names = self.shared.names.lock();
        if !names.is_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let children = names
            .current
            .iter()
            .filter(|(name, _)| name.parent() == Some(path));
        Ok(children
            .filter_map(|(name, node)| {
                let name = name.file_name()?.to_str()?.to_owned();
                let is_directory = matches!(node, Node::Directory);
                Some(DirectoryEntry { name, is_directory })
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        if !names.current.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inode(path)?;
        self.shared
            .names
            .lock()
            .change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        if !names.is_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        if !names.is_directory(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // The journal is one for all directories and written in order.
        names.journal.clear();
        names.durable = names.current.clone();
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let names = self.shared.names.lock();
        Ok(names.is_directory(path) || names.current.contains_key(path))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self.inode(path)?.content.lock().length() as u64)
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        Ok(Timestamp(self.inode(path)?.content.lock().modified))
    }

    fn set_modified(&self, path: &Path, modified: Timestamp) -> io::Result<()> {
        self.inode(path)?.content.lock().modified = modified.0;
        Ok(())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn space(&self, _path: &Path) -> io::Result<VolumeSpace> {
        let names = self.shared.names.lock();
        let used = names.current.values().map(|node| match node {
            Node::Directory => 0,
            Node::File(inode) => inode.content.lock().length() as u64,
        });
        let total_bytes = 1 << 40;
        Ok(VolumeSpace {
            total_bytes,
            usable_bytes: total_bytes - used.sum::<u64>().min(total_bytes),
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.open(path, OpenMode::OpenOrCreate)?;
        let mut names = self.shared.names.lock();
        if names.locked.iter().any(|locked| locked == path) {
            return Ok(None);
        }
        names.locked.push(path.to_owned());
        Ok(Some(Box::new(MemoryLock {
            path: path.to_owned(),
            shared: Arc::clone(&self.shared),
        })))
    }
}

#[derive(Debug)]
struct MemoryLock {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl LockGuard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.shared
            .names
            .lock()
            .locked
            .retain(|locked| *locked != self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    inode: Arc<Inode>,
    shared: Arc<Shared>,
}

impl MemoryFile {
    fn touch(&self, content: &mut Content) {
        content.modified = self.shared.clock.load(Ordering::Relaxed);
    }
}

impl StorageFile for MemoryFile {
    fn write_all_at(&self, buffers: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut content = self.inode.content.lock();
        let mut at = position as usize;
        for buffer in buffers.iter() {
            content.write(buffer, at);
            at += buffer.len();
        }
        self.touch(&mut content);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.inode.content.lock();
        Ok(content.read(buffer, usize::try_from(position).unwrap_or(usize::MAX)))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.content.lock().length() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut content = self.inode.content.lock();
        content.unmap();
        content.bytes.resize(length as usize, 0);
        self.touch(&mut content);
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.length()? < length {
            self.set_length(length)
        } else {
            Ok(())
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.inode.sync_shared()
    }

    fn map(&self, length: usize) -> io::Result<IndexMap> {
        let mut content = self.inode.content.lock();
        content.unmap();
        if content.bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let words: Arc<[AtomicU32]> = content.bytes[..length]
            .chunks_exact(4)
            .map(|word| AtomicU32::new(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
            .collect();
        content.mapped = Some(Arc::clone(&words));
        Ok(IndexMap::shared(
            words,
            Arc::clone(&self.inode) as Arc<dyn SharedOwner>,
        ))
    }

    fn descriptor(&self) -> Option<Arc<File>> {
        None
    }
}

impl Inode {
    fn durable(bytes: Vec<u8>, modified: i64) -> Self {
        let content = Content {
            durable: bytes.clone(),
            bytes,
            mapped: None,
            modified,
        };
        Self {
            content: Mutex::new(content),
        }
    }

    fn after_crash(&self, random: &mut Random) -> Self {
        let content = self.content.lock();
        let written = content.image();
        let durable = &content.durable;
        if written == *durable {
            return Self::durable(written, content.modified);
        }
        let (shorter, longer) = (
            written.len().min(durable.len()),
            written.len().max(durable.len()),
        );
        let length = match random.below(3) {
            0 => durable.len(),
            1 => written.len(),
            _ if written.len() >= durable.len() => {
                shorter + random.below((longer - shorter) as u64 + 1) as usize
            }
            _ => written.len(),
        };
        let mut left = durable.clone();
        left.resize(length, 0);
        for (sector, bytes) in written.chunks(SECTOR_BYTES).enumerate() {
            let start = sector * SECTOR_BYTES;
            if start < length && random.below(2) == 0 {
                let count = bytes.len().min(length - start);
                left[start..start + count].copy_from_slice(&bytes[..count]);
            }
        }
        Self::durable(left, content.modified)
    }
}

impl SharedOwner for Inode {
    fn sync_shared(&self) -> io::Result<()> {
        let mut content = self.content.lock();
        content.durable = content.image();
        Ok(())
    }
}

impl Content {
    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
        if let Some(words) = &self.mapped {
            for (offset, byte) in (at..end).zip(bytes) {
                let Some(word) = words.get(offset / 4) else {
                    break;
                };
                let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
                value[offset % 4] = *byte;
                word.store(u32::from_ne_bytes(value), Ordering::Relaxed);
            }
        }
    }

    fn read(&self, buffer: &mut [u8], at: usize) -> usize {
        let start = at.min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - start);
        buffer[..count].copy_from_slice(&self.bytes[start..start + count]);
        if let Some(words) = &self.mapped {
            for (offset, byte) in (start..start + count).zip(buffer) {
                let Some(word) = words.get(offset / 4) else {
                    break;
                };
                *byte = word.load(Ordering::Relaxed).to_ne_bytes()[offset % 4];
            }
        }
        count
    }

    /// The bytes that a reader of the file sees.
    fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.bytes.len()];
        self.read(&mut image, 0);
        image
    }

    fn unmap(&mut self) {
        self.bytes = if self.mapped.is_some() {
            self.image()
        } else {
            std::mem::take(&mut self.bytes)
        };
        self.mapped = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{read_file, write_file_atomically};

    fn write(directory: &MemoryDirectory, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
        let file = directory
            .open(Path::new(name), OpenMode::OpenOrCreate)
            .unwrap();
        file.write_all_at(&mut [IoSlice::new(bytes)], 0).unwrap();
        file
    }

    #[test]
    fn a_crash_keeps_synced_files_and_loses_only_what_was_not_synced() {
        let mut lost = 0;
        for seed in 0..64 {
            let directory = MemoryDirectory::new();
            write(&directory, "/kept", b"kept").sync().unwrap();
            directory.sync_directory(Path::new("/")).unwrap();
            write(&directory, "/kept", &[7; 2000]);
            directory.crash(seed);
            let content = read_file(&directory, Path::new("/kept"), 1 << 20).unwrap();
            assert!(content.len() >= 4 && content.len() <= 2000, "seed {seed}");
            assert!(
                content[..4] == *b"kept" || content[..4] == [7; 4],
                "seed {seed}"
            );
            lost += usize::from(content != [7; 2000]);
        }
        assert!(lost > 10, "crashes do lose bytes");
    }

    #[test]
    fn an_atomic_write_leaves_the_old_or_the_new_content_whole() {
        for seed in 0..64 {
            let directory = MemoryDirectory::new();
            let path = Path::new("/checkpoint");
            write_file_atomically(&directory, path, b"old").unwrap();
            write_file_atomically(&directory, path, b"newer").unwrap();
            directory.crash(seed);
            assert_eq!(read_file(&directory, path, 100).unwrap(), b"newer");
        }
    }

    #[test]
    fn a_lock_excludes_until_it_is_dropped() {
        let directory = MemoryDirectory::new();
        let lock = directory.try_lock(Path::new("/.lock")).unwrap();
        assert!(lock.is_some());
        assert!(directory.try_lock(Path::new("/.lock")).unwrap().is_none());
        drop(lock);
        assert!(directory.try_lock(Path::new("/.lock")).unwrap().is_some());
    }
}
