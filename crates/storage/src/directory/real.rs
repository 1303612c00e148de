//! The file system of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ottla_model::Timestamp;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::{Directory, DirectoryEntry, LockGuard, OpenMode, StorageFile, VolumeSpace};
use crate::index_map::IndexMap;

/// The real file system.
#[derive(Clone, Copy, Default, Debug)]
pub struct RealDirectory;

impl Directory for RealDirectory {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match mode {
            OpenMode::Existing => {}
            OpenMode::OpenOrCreate => {
                options.create(true).truncate(false);
            }
            OpenMode::CreateEmpty => {
                options.create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(Arc::new(options.open(path)?))))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match is_directory(&entry) {
                Ok(is_directory) => entries.push(DirectoryEntry { name, is_directory }),
                // It vanished meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        let modified = fs::metadata(path)?.modified()?;
        let millis = modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Ok(Timestamp(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    fn set_modified(&self, path: &Path, modified: Timestamp) -> io::Result<()> {
        let since_epoch = Duration::from_millis(u64::try_from(modified.0).unwrap_or(0));
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_modified(UNIX_EPOCH + since_epoch)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn space(&self, path: &Path) -> io::Result<VolumeSpace> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(VolumeSpace {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // A POSIX record lock, the kind that a JVM takes; flock(2) would not exclude one.
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Follows symbolic links, as Java's `File.isDirectory`. Most file systems tell the type with the
/// name, so that it costs no call.
fn is_directory(entry: &fs::DirEntry) -> io::Result<bool> {
    let file_type = entry.file_type()?;
    if file_type.is_symlink() {
        return Ok(fs::metadata(entry.path())?.is_dir());
    }
    Ok(file_type.is_dir())
}

/// Closing the descriptor releases the lock; so would closing any other descriptor of that file in
/// this process, which is why nothing else may open `.lock`.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl LockGuard for RealLock {}

#[derive(Debug)]
struct RealFile(Arc<File>);

impl StorageFile for RealFile {
    fn write_all_at(&self, mut buffers: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut buffers, 0);
        while !buffers.is_empty() {
            match rustix::io::pwritev(&*self.0, buffers, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut buffers, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn will_read(&self, position: u64, length: u64) {
        // A file system that takes no hints reads as well.
        let _ = rustix::fs::fadvise(
            &*self.0,
            position,
            NonZeroU64::new(length),
            Advice::WillNeed,
        );
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&*self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.length()? < length => {
                self.set_length(length)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync also writes the length when it has changed.
        self.0.sync_data()
    }

    fn map(&self, length: usize) -> io::Result<IndexMap> {
        IndexMap::map_file(&self.0, length)
    }

    fn descriptor(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.0))
    }
}
