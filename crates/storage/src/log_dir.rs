//! One directory of `log.dirs` as its logs see it: is it online, and what is to be done later.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ottla_model::TopicPartition;
use parking_lot::Mutex;

use crate::directory::Directory;
use crate::log_manager::Recovery;
use crate::partition_directory::PartitionDirectory;

/// One directory of `log.dirs`, shared by the manager and its logs.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    directory: Arc<dyn Directory>,
    is_offline: AtomicBool,
    background: Arc<Background>,
    /// Logs in it, current ones and those that move here: new logs go where there are fewest.
    logs: AtomicUsize,
    /// How far its loading is.
    pub(crate) recovery: Recovery,
}

impl LogDir {
    /// Names a directory that is online.
    pub fn new(directory: Arc<dyn Directory>, path: PathBuf, background: Arc<Background>) -> Self {
        Self {
            path,
            directory,
            is_offline: AtomicBool::new(false),
            background,
            logs: AtomicUsize::new(0),
            recovery: Recovery::default(),
        }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system it is in.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    /// Whether it failed. It does not come back before a restart.
    pub fn is_offline(&self) -> bool {
        self.is_offline.load(Ordering::Acquire)
    }

    /// Takes it offline because of an I/O error; the first report is logged and passed on.
    pub fn report_failure(&self, error: &io::Error) {
        if !self.is_offline.swap(true, Ordering::AcqRel) {
            tracing::error!(directory = %self.path.display(), %error, "log directory goes offline");
            self.background
                .push(Task::DirectoryFailed(self.path.clone()));
        }
    }

    /// How many logs lie in it.
    pub(crate) fn log_count(&self) -> usize {
        self.logs.load(Ordering::Relaxed)
    }

    /// Duties that its logs leave to background threads.
    pub(crate) fn background(&self) -> &Background {
        &self.background
    }
}

/// A log's place in the count of its directory, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<LogDir>);

impl Place {
    /// One more.
    pub(crate) fn take(log_dir: Arc<LogDir>) -> Self {
        log_dir.logs.fetch_add(1, Ordering::Relaxed);
        Self(log_dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.logs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something that a log wants to be done off its own path.
#[derive(Debug)]
pub(crate) enum Task {
    /// A segment was rolled: flush the log up to there.
    Flush(TopicPartition),
    /// Remove renamed files after a delay.
    DeleteFiles {
        directory: Arc<PartitionDirectory>,
        names: Vec<String>,
        delay_ms: i64,
    },
    /// A directory failed.
    DirectoryFailed(PathBuf),
}

/// The queue of [`Task`]s of all directories of a broker.
#[derive(Default)]
pub struct Background {
    tasks: Mutex<VecDeque<Task>>,
    waker: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
    flush_observer: OnceLock<FlushObserver>,
}

/// Told how long each flush of a segment took.
pub type FlushObserver = Box<dyn Fn(Duration) + Send + Sync>;

impl Background {
    /// Calls this whenever there is something to do; it must not block.
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send + Sync>) {
        *self.waker.lock() = Some(waker);
    }

    /// Tells this of flushes; only the first one that is set.
    pub(crate) fn set_flush_observer(&self, observer: FlushObserver) {
        if self.flush_observer.set(observer).is_err() {
            tracing::debug!("flushes are observed already");
        }
    }

    pub(crate) fn flushed(&self, took: Duration) {
        if let Some(observer) = self.flush_observer.get() {
            observer(took);
        }
    }

    pub(crate) fn push(&self, task: Task) {
        self.tasks.lock().push_back(task);
        if let Some(waker) = &*self.waker.lock() {
            waker();
        }
    }

    /// Puts back what somebody else is to take; wakes nobody.
    pub(crate) fn requeue(&self, task: Task) {
        self.tasks.lock().push_back(task);
    }

    pub(crate) fn take(&self) -> VecDeque<Task> {
        std::mem::take(&mut self.tasks.lock())
    }
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background")
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
