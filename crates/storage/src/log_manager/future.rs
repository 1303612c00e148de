//! Logs that move from one directory to another (AlterReplicaLogDirs): a future log is made beside
//! the current one, filled by the caller, and takes its place.

use std::sync::Arc;

use ottla_model::{Offset, Timestamp, TopicId, TopicPartition};

use super::{CreateError, LogHandle, LogManager};
use crate::errors::LogError;
use crate::log_config::LogConfig;
use crate::log_dir::LogDir;
use crate::names::{UniqueId, future_directory_name};

/// Why a future log did not take the place of the current one.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// One of the two is gone: deleted, or its directory failed.
    #[error("the current or the future log of {0} is not here any more")]
    Gone(TopicPartition),
    /// It could not be renamed: its directory is offline.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A log that has moved. [`LogManager::finish_move`] does what may take longer.
#[derive(Debug)]
#[must_use = "the checkpoints still name the old directory"]
pub struct MovedLog {
    /// The partition's log from now on.
    pub log: LogHandle,
    partition: TopicPartition,
    from: Arc<LogDir>,
    to: Arc<LogDir>,
}

impl LogManager {
    /// Whether a directory of `log.dirs`, by its absolute path, serves; `None` if it is none.
    pub fn directory_is_online(&self, path: &str) -> Option<bool> {
        let dir = self.dir_named(path)?;
        Some(!dir.is_offline())
    }

    /// Remembers where AlterReplicaLogDirs wants the log of a partition, unless its current or
    /// future log is there.
    pub fn prefer_directory(&self, partition: &TopicPartition, path: &str) {
        let Some(dir) = self.dir_named(path) else {
            return;
        };
        let mut tables = self.tables.lock();
        let logs = [tables.current.get(partition), tables.future.get(partition)];
        if !logs.into_iter().flatten().any(|log| log.is_in(dir)) {
            let path = dir.path().to_owned();
            tables.preferred.insert(partition.clone(), path);
        }
    }

    /// The log that a partition moves to.
    pub fn get_future_log(&self, partition: &TopicPartition) -> Option<LogHandle> {
        let tables = self.tables.lock();
        let log = tables.future.get(partition);
        log.map(|log| Arc::clone(&log.handle))
    }

    /// Makes the log that a partition moves to, in the directory of this path. Nothing of the
    /// partition is cleaned until it has moved. Must not be called with a log locked: a cleaning
    /// that runs is waited for.
    ///
    /// # Errors
    /// See [`CreateError`]. While any directory is offline none is made: it might be there already.
    pub fn create_future_log(
        &self,
        partition: &TopicPartition,
        path: &str,
        topic_id: Option<TopicId>,
        config: &Arc<LogConfig>,
        now: Timestamp,
    ) -> Result<LogHandle, CreateError> {
        let log_dir = Arc::clone(self.dir_named(path).ok_or(CreateError::NoDirectory)?);
        self.cleaning.abort_and_pause(partition);
        let made = self.make_future_log(partition, &log_dir, topic_id, config, now);
        if made.is_ok() {
            // What they say of an earlier log of this name is not true of this one.
            self.write_recovery_points_of(&log_dir);
            self.write_log_starts_of(&log_dir);
        } else {
            self.cleaning.resume(partition);
        }
        made
    }

    /// Ends a move: the future log is removed as a deleted one is. Whether there was one.
    pub fn delete_future_log(&self, partition: &TopicPartition) -> bool {
        let Some(future) = self.tables.lock().future.remove(partition) else {
            return false;
        };
        let (log_dir, result) = self.retire(partition, &future);
        if let Err(error) = result {
            tracing::error!(%partition, %error, "a future log was not deleted");
        }
        drop(future);
        self.write_recovery_points_of(&log_dir);
        self.write_log_starts_of(&log_dir);
        self.cleaning.resume(partition);
        true
    }

    /// Puts the future log of a partition in the place of the current one, which is removed as a
    /// deleted one is. The caller sees to it that neither changes: both end at the same offset.
    /// Not with a log locked.
    ///
    /// As in Kafka the future log gets its plain name first. After a crash in between both have it,
    /// and the next start asks the operator to remove one.
    ///
    /// # Errors
    /// See [`ReplaceError`].
    pub fn replace_current_with_future(
        &self,
        partition: &TopicPartition,
    ) -> Result<MovedLog, ReplaceError> {
        let gone = || ReplaceError::Gone(partition.clone());
        let current = self.get_log(partition).ok_or_else(gone)?;
        let future = self.get_future_log(partition).ok_or_else(gone)?;
        let high_watermark = current.lock().high_watermark();
        let to = {
            let mut future = future.lock();
            future.become_current()?;
            future.update_high_watermark(high_watermark);
            future.log_dir()
        };
        let replaced = {
            let mut tables = self.tables.lock();
            let moved = tables.future.remove(partition).ok_or_else(gone)?;
            tables.current.insert(partition.clone(), moved)
        };
        let from = match replaced {
            Some(replaced) => {
                let (from, result) = self.retire(partition, &replaced);
                if let Err(error) = result {
                    // The directory went offline with what is left of the log.
                    tracing::error!(%partition, %error, "the log was not removed where it was");
                }
                from
            }
            None => Arc::clone(&to),
        };
        Ok(MovedLog {
            log: future,
            partition: partition.clone(),
            from,
            to,
        })
    }

    /// Rewrites the checkpoints of both directories and lets the log be cleaned again.
    pub fn finish_move(&self, moved: MovedLog) {
        let MovedLog {
            partition,
            from,
            to,
            ..
        } = moved;
        let mut clean_up_to: Option<Offset> = None;
        self.change_cleaner_checkpoint(&from, |offsets| {
            clean_up_to = offsets.remove(&partition);
            clean_up_to.is_some()
        });
        if let Some(offset) = clean_up_to {
            self.change_cleaner_checkpoint(&to, |offsets| {
                offsets.insert(partition.clone(), offset) != Some(offset)
            });
        }
        for dir in [&from, &to] {
            self.write_recovery_points_of(dir);
            self.write_log_starts_of(dir);
        }
        self.cleaning.resume(&partition);
    }

    /// Flushes a log whole. Blocks for the disk; not with the log locked. A failure takes its
    /// directory offline.
    pub fn flush_log(&self, log: &LogHandle, now: Timestamp) {
        let plan = log.lock().plan_flush_of_all();
        self.carry_out(log, plan, now);
    }

    fn make_future_log(
        &self,
        partition: &TopicPartition,
        log_dir: &Arc<LogDir>,
        topic_id: Option<TopicId>,
        config: &Arc<LogConfig>,
        now: Timestamp,
    ) -> Result<LogHandle, CreateError> {
        let mut tables = self.tables.lock();
        if self.has_offline_directories()
            || tables.future.contains_key(partition)
            || tables.damaged.contains_key(partition)
        {
            return Err(CreateError::Offline(partition.clone()));
        }
        let name = future_directory_name(partition, UniqueId::random());
        let made = self.make_log(partition, log_dir, &name, true, topic_id, config, now)?;
        let log = super::ManagedLog::new(made.ok_or(CreateError::NoDirectory)?);
        let handle = Arc::clone(&log.handle);
        tables.future.insert(partition.clone(), log);
        tables.preferred.remove(partition);
        Ok(handle)
    }

    /// Kafka compares the texts.
    fn dir_named(&self, path: &str) -> Option<&Arc<LogDir>> {
        let mut dirs = self.dirs.iter().map(|dir| &dir.log_dir);
        dirs.find(|dir| dir.path().as_os_str() == path)
    }
}
