//! The directories of `log.dirs` before any log is looked at: made, locked, and known to belong to
//! this broker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_model::{BrokerId, Timestamp};
use parking_lot::Mutex;

use super::LoadProgress;
use crate::directory::{Directory, LockGuard};
use crate::log_dir::{Background, LogDir};
use crate::meta_properties::{META_PROPERTIES, MetaProperties};
use crate::names::MalformedDirectoryName;

const LOCK_FILE: &str = ".lock";

/// Why the logs cannot be started: the broker ends.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `log.dirs` is empty.
    #[error("at least one log directory must be specified via log.dirs or log.dir")]
    NoDirectory,
    /// One directory is listed twice.
    #[error("duplicate log directory found: {}", .0.display())]
    Duplicate(PathBuf),
    /// Another process uses a directory.
    #[error(
        "Failed to acquire lock on file .lock in {}. A Kafka instance in another process or thread is using this directory.",
        .0.display()
    )]
    Locked(PathBuf),
    /// No directory can be used.
    #[error(
        "Shutdown broker because none of the specified log dirs from {0} can be created or validated"
    )]
    AllOffline(String),
    /// A directory belongs to another cluster, broker or kind of broker.
    #[error("{0}")]
    Identity(String),
    /// A directory in a log directory is none of Kafka's.
    #[error(transparent)]
    UnexpectedDirectory(#[from] MalformedDirectoryName),
    /// Two directories hold the same partition.
    #[error(
        "Duplicate log directories for {partition} are found in both {} and {}. It is likely because log directory failure happened while broker was replacing current replica with future replica. Recover broker from this failure by manually deleting one of the two directories for this partition. It is recommended to delete the partition in the log directory that is known to have failed recently.",
        first.display(), second.display()
    )]
    DuplicatePartition {
        /// The partition.
        partition: String,
        /// One directory.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// The usable directories of `log.dirs`, locked.
#[derive(Debug)]
pub struct LogDirs {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) background: Arc<Background>,
    pub(super) dirs: Vec<OpenedDir>,
}

/// One directory with its lock.
#[derive(Debug)]
pub(super) struct OpenedDir {
    pub(super) log_dir: Arc<LogDir>,
    pub(super) lock: Mutex<Option<Box<dyn LockGuard>>>,
    meta: Option<MetaProperties>,
}

impl LogDirs {
    /// Makes, checks and locks the directories. Those that cannot be used go offline; others serve.
    ///
    /// # Errors
    /// See [`StartError`]; a lock that another process has ends the start whatever the others say.
    pub fn open(directory: Arc<dyn Directory>, paths: &[PathBuf]) -> Result<Self, StartError> {
        let background = Arc::<Background>::default();
        let mut dirs: Vec<OpenedDir> = Vec::new();
        let mut canonical: Vec<PathBuf> = Vec::new();
        if paths.is_empty() {
            return Err(StartError::NoDirectory);
        }
        for path in paths {
            // Clients see absolute paths (DescribeLogDirs).
            let path = &std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let log_dir = LogDir::new(
                Arc::clone(&directory),
                path.clone(),
                Arc::clone(&background),
            );
            let log_dir = Arc::new(log_dir);
            let opened = open_one(&*directory, path);
            let (lock, meta) = match opened {
                Ok((real, lock, meta)) => {
                    if canonical.contains(&real) {
                        return Err(StartError::Duplicate(path.clone()));
                    }
                    canonical.push(real);
                    (lock.ok_or_else(|| StartError::Locked(path.clone()))?, meta)
                }
                Err(error) => {
                    log_dir.report_failure(&error);
                    dirs.push(OpenedDir {
                        log_dir,
                        lock: Mutex::new(None),
                        meta: None,
                    });
                    continue;
                }
            };
            dirs.push(OpenedDir {
                log_dir,
                lock: Mutex::new(Some(lock)),
                meta,
            });
        }
        if dirs.iter().all(|dir| dir.log_dir.is_offline()) {
            let names: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(StartError::AllOffline(names.join(", ")));
        }
        Ok(Self {
            directory,
            background,
            dirs,
        })
    }

    /// Tells how far the loading of these directories is, once it began.
    pub fn progress(&self) -> LoadProgress {
        let dirs = self.dirs.iter().map(|dir| Arc::clone(&dir.log_dir));
        LoadProgress(dirs.collect())
    }

    /// The broker id that the directories agree on, if any has one.
    pub fn broker_id(&self) -> Option<BrokerId> {
        self.metas().find_map(|(_, meta)| meta.broker_id())
    }

    /// The cluster id in the directories, if any has one.
    pub fn cluster_id(&self) -> Option<String> {
        self.metas()
            .find_map(|(_, meta)| meta.cluster_id().map(str::to_owned))
    }

    /// Checks that the directories belong to this cluster and, if it is known, this broker, and
    /// agree with each other.
    ///
    /// # Errors
    /// [`StartError::Identity`] with Kafka's words.
    pub fn verify(&self, cluster_id: &str, broker_id: Option<BrokerId>) -> Result<(), StartError> {
        let mut expected_id = broker_id;
        let mut directory_ids: Vec<&str> = Vec::new();
        for (path, meta) in self.metas() {
            let file = path.join(META_PROPERTIES);
            let file = file.display();
            if meta.version() != 0 {
                return Err(StartError::Identity(format!(
                    "Found unexpected version in {file}. ZK-based brokers that are not migrating only \
                     support version 0 (which is implicit when the `version` field is missing)."
                )));
            }
            if let Some(found) = meta.cluster_id()
                && found != cluster_id
            {
                return Err(StartError::Identity(format!(
                    "Invalid cluster.id in: {file}. Expected {cluster_id}, but read {found}"
                )));
            }
            if let Some(found) = meta.broker_id() {
                let expected = *expected_id.get_or_insert(found);
                if found != expected {
                    return Err(StartError::Identity(format!(
                        "Stored node id {found} doesn't match previous node id {expected} in {file}. \
                         If you moved your data, make sure your configured node id matches. If you \
                         intend to create a new node, you should remove all data in your data directories."
                    )));
                }
            }
            if let Some(id) = meta.directory_id() {
                if directory_ids.contains(&id) {
                    return Err(StartError::Identity(format!(
                        "Duplicate directory ID {id} found in {file}"
                    )));
                }
                directory_ids.push(id);
            }
        }
        Ok(())
    }

    /// Writes cluster and broker id into every directory whose file does not say so yet. A
    /// directory that cannot be written goes offline.
    pub fn write_identity(&mut self, cluster_id: &str, broker_id: BrokerId, now: Timestamp) {
        for dir in self.dirs.iter_mut().filter(|dir| !dir.log_dir.is_offline()) {
            let before = dir.meta.clone().unwrap_or_default();
            let after = before.with_identity(cluster_id, broker_id);
            if after == before {
                continue;
            }
            let path = dir.log_dir.path().join(META_PROPERTIES);
            match after.write(&*self.directory, &path, now) {
                Ok(()) => dir.meta = Some(after),
                Err(error) => dir.log_dir.report_failure(&error),
            }
        }
    }

    fn metas(&self) -> impl Iterator<Item = (&Path, &MetaProperties)> {
        self.dirs
            .iter()
            .filter_map(|dir| Some((dir.log_dir.path(), dir.meta.as_ref()?)))
    }
}

type Opened = (PathBuf, Option<Box<dyn LockGuard>>, Option<MetaProperties>);

fn open_one(directory: &dyn Directory, path: &Path) -> io::Result<Opened> {
    directory.create_directory(path)?;
    let real = directory.canonical(path)?;
    directory.list(path)?;
    let lock = directory.try_lock(&path.join(LOCK_FILE))?;
    let meta = MetaProperties::read(directory, &path.join(META_PROPERTIES))?;
    Ok((real, lock, meta))
}
