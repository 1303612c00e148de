//! The directory of one partition: where its files are now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::directory::{Directory, OpenMode, StorageFile};

/// The directory of one partition. It may be renamed while files in it are in use, so everything
/// that opens a file by name asks here.
#[derive(Debug)]
pub struct PartitionDirectory {
    directory: Arc<dyn Directory>,
    path: ArcSwap<PathBuf>,
}

impl PartitionDirectory {
    /// Names a directory, which need not exist yet.
    pub fn new(directory: Arc<dyn Directory>, path: PathBuf) -> Self {
        Self {
            directory,
            path: ArcSwap::from_pointee(path),
        }
    }

    /// The file system it is in.
    pub fn directory(&self) -> &dyn Directory {
        &*self.directory
    }

    /// Where it is now.
    pub fn path(&self) -> Arc<PathBuf> {
        self.path.load_full()
    }

    /// Where a file in it is now.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.load().join(name)
    }

    /// Opens a file in it.
    pub fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        self.directory.open(&self.file(name), mode)
    }

    /// Renames it within its parent, and makes that survive a crash.
    pub fn rename_to(&self, name: &str) -> io::Result<()> {
        let from = self.path();
        let parent = from.parent().unwrap_or(Path::new("."));
        let to = parent.join(name);
        self.directory.rename(&from, &to)?;
        self.path.store(Arc::new(to));
        self.directory.sync_directory(parent)
    }

    /// Makes its own name survive a crash.
    pub fn sync_parent(&self) -> io::Result<()> {
        let path = self.path.load();
        self.directory
            .sync_directory(path.parent().unwrap_or(Path::new(".")))
    }

    /// Makes the names in it survive a crash.
    pub fn sync(&self) -> io::Result<()> {
        self.directory.sync_directory(&self.path.load())
    }
}
