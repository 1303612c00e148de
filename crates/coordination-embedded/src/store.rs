//! The directory: a lock, one snapshot at most, and the logs since.
//!
//! ```text
//! lock                        held while a process has the directory open
//! snapshot.<zxid>             the tree after that zxid (16 hex digits)
//! log.<zxid>                  transactions with this zxid or greater
//! ```
//! A snapshot is written to a temporary file, synced, and renamed. Only then a new log begins and
//! what the snapshot covers is deleted; so at every moment the files give the whole tree.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::{BufMut, BytesMut};
use ottla_coordination::Tree;

use crate::frames::{self, FrameBuilder, MAGIC};

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// A file holds what neither we nor a crash can have written. Nothing was changed.
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The open directory.
pub(crate) struct Store {
    directory: PathBuf,
    log: File,
    log_path: PathBuf,
    /// Bytes of the log.
    log_length: u64,
    /// Bytes of the last snapshot.
    snapshot_length: u64,
    /// Bytes of log after which a snapshot is due, if the last snapshot is not larger.
    snapshot_after: u64,
    /// Holds the lock.
    _lock: File,
}

const SNAPSHOT_MAGIC: &[u8; 8] = b"OTTLASN1";

impl Store {
    /// Opens the directory, creating it if missing, and reads the tree.
    pub(crate) fn open(directory: &Path, snapshot_after: u64) -> Result<(Self, Tree), StoreError> {
        fs::create_dir_all(directory).map_err(io_error(directory))?;
        let lock = lock(directory)?;
        let files = Files::list(directory)?;
        for leftover in &files.temporary {
            fs::remove_file(leftover).map_err(io_error(leftover))?;
        }
        let (mut tree, snapshot_length) = match files.snapshots.last() {
            None => (Tree::new(), 0),
            Some((_, path)) => read_snapshot(path)?,
        };
        let mut end = None;
        for (position, (_, path)) in files.logs.iter().enumerate() {
            let is_last = position + 1 == files.logs.len();
            end = Some((path.clone(), replay(path, &mut tree, is_last)?));
        }
        let (log_path, end) = end.unwrap_or_else(|| (log_path(directory, tree.last_zxid()), 0));
        let (log, log_length) = open_log(directory, &log_path, end)?;
        let store = Self {
            directory: directory.to_owned(),
            log,
            log_path,
            log_length,
            snapshot_length,
            snapshot_after,
            _lock: lock,
        };
        Ok((store, tree))
    }

    /// Makes the frame durable. After an error nothing may be written any more: what is on disk is
    /// not known.
    pub(crate) fn append(&mut self, frame: &mut FrameBuilder) -> Result<(), StoreError> {
        let bytes = frame.finish();
        self.log
            .write_all(&bytes)
            .map_err(io_error(&self.log_path))?;
        self.log.sync_data().map_err(io_error(&self.log_path))?;
        self.log_length += bytes.len() as u64;
        Ok(())
    }

    /// Whether the log has grown enough for a snapshot.
    pub(crate) fn is_snapshot_due(&self) -> bool {
        self.log_length > self.snapshot_after.max(self.snapshot_length)
    }

    /// Writes the tree, which must be what the files give, begins a new log, and deletes the files
    /// that are not needed any more.
    pub(crate) fn snapshot(&mut self, tree: &Tree) -> Result<(), StoreError> {
        self.snapshot_length = write_snapshot(&self.directory, tree)?;
        let path = log_path(&self.directory, tree.last_zxid());
        if path != self.log_path {
            (self.log, self.log_length) = open_log(&self.directory, &path, 0)?;
            self.log_path = path;
        }
        let files = Files::list(&self.directory)?;
        let last_snapshot = files.snapshots.last().map(|(_, path)| path.clone());
        for (_, path) in files.snapshots.iter().chain(&files.logs) {
            if *path != self.log_path && Some(path) != last_snapshot.as_ref() {
                fs::remove_file(path).map_err(io_error(path))?;
            }
        }
        Ok(())
    }
}

/// The directory's files, each kind sorted by zxid.
#[derive(Default)]
struct Files {
    snapshots: Vec<(i64, PathBuf)>,
    logs: Vec<(i64, PathBuf)>,
    temporary: Vec<PathBuf>,
}

impl Files {
    fn list(directory: &Path) -> Result<Self, StoreError> {
        let mut files = Self::default();
        for entry in fs::read_dir(directory).map_err(io_error(directory))? {
            let path = entry.map_err(io_error(directory))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let zxid = |digits: &str| i64::from_str_radix(digits, 16).ok();
            if name == TEMPORARY {
                files.temporary.push(path);
            } else if let Some(zxid) = name.strip_prefix("snapshot.").and_then(zxid) {
                files.snapshots.push((zxid, path));
            } else if let Some(zxid) = name.strip_prefix("log.").and_then(zxid) {
                files.logs.push((zxid, path));
            }
        }
        files.snapshots.sort();
        files.logs.sort();
        Ok(files)
    }
}

const TEMPORARY: &str = "snapshot.temporary";

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(directory.to_owned())),
        Err(error) => Err(io_error(&path)(error.into())),
    }
}

/// The log that begins after a zxid.
fn log_path(directory: &Path, last_zxid: i64) -> PathBuf {
    directory.join(format!("log.{:016x}", last_zxid + 1))
}

/// Applies a log's transactions; gives where its whole frames end. Only the last log can be torn.
fn replay(path: &Path, tree: &mut Tree, is_last: bool) -> Result<usize, StoreError> {
    let file = fs::read(path).map_err(io_error(path))?;
    let contents =
        frames::read(&file).map_err(|damage| damaged(path, damage.offset, damage.reason))?;
    if contents.end < file.len() && !is_last {
        return Err(damaged(path, contents.end, "it ends too early"));
    }
    for transaction in &contents.transactions {
        // A log may begin before the snapshot.
        if transaction.zxid > tree.last_zxid() {
            tree.replay(transaction)
                .map_err(|error| damaged(path, contents.end, error))?;
        }
    }
    Ok(contents.end)
}

/// Opens a log for appending after its whole frames.
fn open_log(directory: &Path, path: &Path, end: usize) -> Result<(File, u64), StoreError> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io_error(path))?;
    file.set_len(end as u64).map_err(io_error(path))?;
    let mut length = end as u64;
    if end == 0 {
        file.write_all(MAGIC).map_err(io_error(path))?;
        length = MAGIC.len() as u64;
    }
    file.sync_all().map_err(io_error(path))?;
    sync_directory(directory)?;
    Ok((file, length))
}

/// A snapshot: magic, the tree, CRC-32C of both.
fn write_snapshot(directory: &Path, tree: &Tree) -> Result<u64, StoreError> {
    let mut bytes = BytesMut::from(&SNAPSHOT_MAGIC[..]);
    tree.encode(&mut bytes);
    bytes.put_u32(crc32c::crc32c(&bytes));
    let temporary = directory.join(TEMPORARY);
    let mut file = File::create(&temporary).map_err(io_error(&temporary))?;
    file.write_all(&bytes).map_err(io_error(&temporary))?;
    file.sync_all().map_err(io_error(&temporary))?;
    let path = directory.join(format!("snapshot.{:016x}", tree.last_zxid()));
    fs::rename(&temporary, &path).map_err(io_error(&path))?;
    sync_directory(directory)?;
    Ok(bytes.len() as u64)
}

fn read_snapshot(path: &Path) -> Result<(Tree, u64), StoreError> {
    let bytes = fs::read(path).map_err(io_error(path))?;
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(damaged(path, 0, "shorter than a checksum"));
    };
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(damaged(path, 0, "a bad checksum"));
    }
    let Some(tree) = body.strip_prefix(SNAPSHOT_MAGIC) else {
        return Err(damaged(path, 0, "not a snapshot"));
    };
    let tree = Tree::decode(tree).map_err(|error| damaged(path, SNAPSHOT_MAGIC.len(), error))?;
    Ok((tree, bytes.len() as u64))
}

fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(io_error(directory))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

fn damaged(path: &Path, offset: usize, reason: impl ToString) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        offset,
        reason: reason.to_string(),
    }
}
