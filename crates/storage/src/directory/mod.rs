//! Files as the log needs them: a contract with three implementations, the real file system, one in
//! memory, and one in memory that fails and crashes on command.
//!
//! Durable multi-step operations (write a file whole, make a rename last) live here and nowhere else.

mod faulty;
mod memory;
mod real;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::Timestamp;

pub use faulty::{Fault, FaultyDirectory};
pub use memory::MemoryDirectory;
pub use real::RealDirectory;

use crate::index_map::IndexMap;

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirectoryEntry {
    /// The name, without the path. Names that are not UTF-8 are not listed: nothing here writes any.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// How [`Directory::open`] treats what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// The file must exist; read and write.
    Existing,
    /// Opened if it exists, else created empty; read and write.
    OpenOrCreate,
    /// Created, or cut to nothing if it exists; read and write.
    CreateEmpty,
}

/// Bytes and capacity of the volume that holds a directory (DescribeLogDirs v4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VolumeSpace {
    /// Size of the volume in bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still use.
    pub usable_bytes: u64,
}

/// An exclusive lock on a file, held until dropped.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// A file system. Paths are absolute, or relative to the process where the implementation is real.
pub trait Directory: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;
    /// Makes a directory and its missing parents.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, by name ascending.
    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// Renames a file or a directory; an existing file at the target is replaced atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all it holds.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in this directory survive a crash.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Whether something has this path.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Length of a file in bytes.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// When a file was last written.
    fn modified(&self, path: &Path) -> io::Result<Timestamp>;
    /// Lets a file appear as last written at another time.
    fn set_modified(&self, path: &Path, modified: Timestamp) -> io::Result<()>;
    /// The path without symbolic links; the directory must exist.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Size of the volume.
    fn space(&self, path: &Path) -> io::Result<VolumeSpace>;
    /// Takes an exclusive lock on a file, made if missing; `None` when another process has it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>>;
}

/// An open file; all positions are given, none is kept.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Writes all buffers one after the other from `position` on: one system call in the usual case.
    fn write_all_at(&self, buffers: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Reads up to the buffer's length; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Tells that a range will be read soon, so that the disk may begin with it. A hint: nothing
    /// depends on it.
    fn will_read(&self, position: u64, length: u64) {
        let _ = (position, length);
    }
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts the file, or lengthens it with zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Reserves space so that the file is at least this long.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Makes the content survive a crash.
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `length` bytes; the file must be that long. The file may be closed afterwards.
    fn map(&self, length: usize) -> io::Result<IndexMap>;
    /// The descriptor for sendfile; `None` where there is none.
    fn descriptor(&self) -> Option<Arc<File>>;
}

/// Reads until the buffer is full or the file ends; the number of bytes read.
pub fn read_full(file: &dyn StorageFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], position + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// A range of a file that holds record batches: what a fetch sends, without having been read.
#[derive(Clone)]
pub struct FileSlice {
    /// The segment's file.
    pub file: Arc<dyn StorageFile>,
    /// First byte.
    pub position: u64,
    /// Number of bytes, greater than 0.
    pub length: usize,
}

impl FileSlice {
    /// Reads the range into memory. Shorter than `length` if the log was truncated meanwhile.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; self.length];
        let read = read_full(&*self.file, &mut buffer, self.position)?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    /// The descriptor for sendfile; `None` for a file that is only in memory.
    pub fn descriptor(&self) -> Option<Arc<File>> {
        self.file.descriptor()
    }
}

impl fmt::Debug for FileSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSlice({}+{})", self.position, self.length)
    }
}

/// Reads a small file whole; more than `limit` bytes is an error, so that no file sizes memory.
pub fn read_file(directory: &dyn Directory, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = directory.open(path, OpenMode::Existing)?;
    let length = file.length()?;
    if length > limit {
        return Err(invalid_data(format!(
            "{} is {length} bytes long",
            path.display()
        )));
    }
    let mut content = vec![0; length as usize];
    let read = read_full(&*file, &mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// Replaces a file's content so that after a crash there is either the old or the new one, whole:
/// `<name>.tmp`, fsync, rename, fsync of the directory (Kafka's `CheckpointFile`).
pub fn write_file_atomically(
    directory: &dyn Directory,
    path: &Path,
    content: &[u8],
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let file = directory.open(&temporary, OpenMode::CreateEmpty)?;
    file.write_all_at(&mut [IoSlice::new(content)], 0)?;
    file.sync()?;
    drop(file);
    directory.rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => directory.sync_directory(parent),
        None => Ok(()),
    }
}

/// Removes a file that may be gone already.
pub fn remove_if_exists(directory: &dyn Directory, path: &Path) -> io::Result<bool> {
    match directory.remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// An I/O error that says what is wrong with a file's content.
pub(crate) fn invalid_data(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
