//! Moving replicas between the directories of this broker (`ReplicaManager.alterReplicaLogDirs`,
//! `ReplicaAlterLogDirsThread`): which moves begin and end, and one step of a move.
//!
//! A future log is filled from the current one, whoever leads the partition, without holding the
//! partition. The last records are copied with the partition held, and the logs change places then:
//! nothing can be added in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Offset, TopicPartition};
use ottla_replication::log_dirs::{
    Destination, History, Place, Replica, Steps, alter_replica_log_dir, cut_of_future_log,
};
use ottla_replication::partition::EpochEndOffset;
use ottla_storage::names::future_name_is_too_long;
use ottla_storage::{FetchIsolation, Log, LogConfig, LogHandle, LogReader, ReadError};

use super::ReplicaManager;
use super::hosted::{Effects, Fetches, FutureLog, Hosted, HostedPartition, Inner};

/// So little is copied while the partition is held.
const LAST_BYTES_MAX: usize = 256 * 1024;

/// What a step of a move came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MoveStep {
    /// So many bytes were copied; there is more to do.
    Copied(usize),
    /// The partition serves from its new directory; so many bytes were copied last.
    Done(usize),
    /// There is no such move any more.
    Ended,
    /// The move cannot go on until the next LeaderAndIsr; the reason is in the log.
    Failed,
}

/// What was copied at once.
struct Copied {
    bytes: usize,
    /// There was little left to copy.
    is_near_end: bool,
}

/// Why a step failed; it was logged.
struct StepFailed;

impl ReplicaManager {
    /// Answers AlterReplicaLogDirs: partitions and the directories they shall move to.
    pub(crate) async fn alter_replica_log_dirs(
        self: &Arc<Self>,
        wanted: BTreeMap<TopicPartition, String>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let this = Arc::clone(self);
        self.run_aside(move || {
            let fence = this.control.lock();
            let answer = |(tp, path): (TopicPartition, String)| {
                let error = this.alter_replica_log_dir(&tp, &path);
                if error != ErrorCode::None {
                    tracing::warn!(partition = %tp, directory = path, %error, "not moved");
                }
                (tp, error)
            };
            let answers = wanted.into_iter().map(answer).collect();
            drop(fence);
            answers
        })
        .await
    }

    fn alter_replica_log_dir(&self, tp: &TopicPartition, path: &str) -> ErrorCode {
        let destination = match self.log_manager.directory_is_online(path) {
            None => Destination::Unknown,
            Some(false) => Destination::Offline,
            Some(true) => Destination::Online,
        };
        let hosted = self.find_online(tp.topic.as_str(), tp.partition);
        let replica = match &hosted {
            Ok(hosted) => self.places(&hosted.lock(), tp, path),
            Err(ErrorCode::KafkaStorageError) => Replica::Offline,
            Err(error) => Replica::None {
                is_known: *error == ErrorCode::NotLeaderOrFollower,
            },
        };
        let steps = alter_replica_log_dir(future_name_is_too_long(tp), destination, replica);
        let Steps {
            cancel,
            prefer,
            begin,
            answer,
        } = steps;
        if cancel {
            self.forget_future(tp);
            self.log_manager.delete_future_log(tp);
            tracing::info!(partition = %tp, "the move to another directory was given up");
        }
        if prefer {
            self.log_manager.prefer_directory(tp, path);
        }
        if let (true, Ok(hosted)) = (begin, hosted) {
            return self.begin_move(&hosted, path).err().unwrap_or(answer);
        }
        answer
    }

    /// Where the logs of a partition are, seen from a directory.
    fn places(&self, inner: &Inner, tp: &TopicPartition, path: &str) -> Replica {
        let place = |log: &LogHandle| {
            if log.lock().log_dir().path().as_os_str() == path {
                Place::There
            } else {
                Place::Elsewhere
            }
        };
        Replica::Online {
            current: inner.log.as_ref().map(place),
            future: self.log_manager.get_future_log(tp).as_ref().map(place),
        }
    }

    /// The caller holds the replica state lock.
    fn begin_move(&self, hosted: &HostedPartition, path: &str) -> Result<(), ErrorCode> {
        let tp = hosted.topic_partition();
        let config = Arc::new(LogConfig::from(&*self.configs.topic(tp.topic.as_str())));
        let topic_id = hosted.view().topic_id();
        let now = self.clock.wall();
        let log = self
            .log_manager
            .create_future_log(tp, path, topic_id, &config, now)
            .inspect_err(|error| tracing::error!(partition = %tp, %error, "no future log"))
            .map_err(|error| error.code())?;
        tracing::info!(partition = %tp, directory = path, "moving to another directory");
        self.fill(hosted, log);
        Ok(())
    }

    /// Goes on with moves of these partitions that were interrupted. The caller holds the replica
    /// state lock.
    pub(super) fn resume_moves<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>) {
        for tp in partitions {
            let Some(log) = self.log_manager.get_future_log(tp) else {
                continue;
            };
            let table = self.table.load();
            if let Some(Hosted::Online(hosted)) = table.get(tp.topic.as_str(), tp.partition)
                && hosted.view().reader().is_ok()
            {
                tracing::info!(partition = %tp, "the move to another directory goes on");
                self.fill(hosted, log);
            }
        }
    }

    fn fill(&self, hosted: &HostedPartition, log: LogHandle) {
        let cut_first = Some(log.lock().high_watermark());
        hosted.lock().future = Some(FutureLog { log, cut_first });
        if let Some(fetchers) = self.fetchers() {
            fetchers.movers().begin(hosted.topic_partition());
        }
    }

    /// Nothing is copied to a future log any more once this returns and its log was retired.
    pub(super) fn forget_future(&self, tp: &TopicPartition) {
        let Ok(hosted) = self.find_online(tp.topic.as_str(), tp.partition) else {
            return;
        };
        let mut inner = hosted.lock();
        inner.future = None;
        let mut effects = Effects::default();
        inner.take_deleted(&self.metadata_cache, &mut effects);
        drop(inner);
        hosted.carry_out(effects);
    }

    /// The next step of a move: at most `bytes_max` bytes, or one batch. Blocks for the disks.
    pub(crate) fn move_step(&self, tp: &TopicPartition, bytes_max: usize) -> MoveStep {
        let Ok(hosted) = self.find_online(tp.topic.as_str(), tp.partition) else {
            return MoveStep::Ended;
        };
        match self.try_move_step(&hosted, bytes_max) {
            Ok(step) => step,
            Err(StepFailed) => {
                let is_offline = |log: &LogHandle| log.lock().log_dir().is_offline();
                let inner = hosted.lock();
                match (&inner.log, &inner.future) {
                    // Ended meanwhile, or about to be: its directory failed.
                    (Some(log), Some(future)) if !is_offline(log) && !is_offline(&future.log) => {
                        MoveStep::Failed
                    }
                    _ => MoveStep::Ended,
                }
            }
        }
    }

    fn try_move_step(
        &self,
        hosted: &HostedPartition,
        bytes_max: usize,
    ) -> Result<MoveStep, StepFailed> {
        let tp = hosted.topic_partition();
        let (reader, current, future) = {
            let mut inner = hosted.lock();
            let Inner { log, future, .. } = &mut *inner;
            let (Some(log), Some(future)) = (log.as_ref(), future.as_mut()) else {
                return Ok(MoveStep::Ended);
            };
            self.cut_if_needed(log, future)?;
            let reader = log.lock().reader();
            (reader, Arc::clone(log), Arc::clone(&future.log))
        };
        let copied = self.copy(tp, &reader, &future, bytes_max)?;
        let mut effects = Effects::default();
        let bytes = copied.bytes;
        if !copied.is_near_end {
            let mut inner = hosted.lock();
            inner.take_deleted(&self.metadata_cache, &mut effects);
            drop(inner);
            hosted.carry_out(effects);
            return Ok(MoveStep::Copied(bytes));
        }
        // What survives a crash where it is must survive one where it goes.
        let flushed = current.lock().recovery_point();
        if future.lock().recovery_point() < flushed {
            self.log_manager.flush_log(&future, self.clock.wall());
        }

        let mut inner = hosted.lock();
        let Inner {
            log, future: own, ..
        } = &mut *inner;
        let (Some(log), Some(own)) = (log.as_ref(), own.as_mut()) else {
            return Ok(MoveStep::Ended);
        };
        let is_same = Arc::ptr_eq(log, &current) && Arc::ptr_eq(&own.log, &future);
        if own.cut_first.is_some() || !is_same {
            return Ok(MoveStep::Copied(bytes));
        }
        let bytes = bytes + self.copy(tp, &reader, &future, LAST_BYTES_MAX)?.bytes;
        let is_ready = {
            let (log, future) = (log.lock(), future.lock());
            future.log_end_offset() == log.log_end_offset()
                && future.recovery_point() >= log.recovery_point()
        };
        if !is_ready {
            inner.take_deleted(&self.metadata_cache, &mut effects);
            drop(inner);
            hosted.carry_out(effects);
            return Ok(MoveStep::Copied(bytes));
        }
        let moved = self
            .log_manager
            .replace_current_with_future(tp)
            .map_err(|error| {
                tracing::error!(partition = %tp, %error, "did not change places");
                StepFailed
            })?;
        inner.log = Some(Arc::clone(&moved.log));
        inner.future = None;
        hosted.publish(&inner);
        inner.take_deleted(&self.metadata_cache, &mut effects);
        effects.fetches = Fetches::Changed;
        drop(inner);
        hosted.carry_out(effects);
        tracing::info!(partition = %tp, directory = %moved.log.lock().log_dir().path().display(), "moved to another directory");
        self.log_manager.finish_move(moved);
        Ok(MoveStep::Done(bytes))
    }

    /// Brings a future log back to the history that it shares with the current one.
    fn cut_if_needed(&self, current: &LogHandle, future: &mut FutureLog) -> Result<(), StepFailed> {
        let Some(fetch_offset) = future.cut_first else {
            return Ok(());
        };
        loop {
            let (cut, end) = {
                let (current, future) = (current.lock(), future.log.lock());
                let cut = cut_of_future_log(&Epochs(&current), &Epochs(&future), fetch_offset);
                (cut, future.log_end_offset())
            };
            let now = self.clock.wall();
            self.log_manager
                .truncate_to(&future.log, cut.offset, now)
                .map_err(|error| {
                    tracing::error!(%error, "a future log was not truncated");
                    StepFailed
                })?;
            // A cut that cuts nothing would be asked for without end.
            if cut.is_complete || cut.offset >= end {
                future.cut_first = None;
                return Ok(());
            }
        }
    }

    /// Copies from where the future log ends.
    fn copy(
        &self,
        tp: &TopicPartition,
        current: &LogReader,
        future: &LogHandle,
        bytes_max: usize,
    ) -> Result<Copied, StepFailed> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(partition = %tp, %error, "the copy to another directory stops");
            StepFailed
        };
        let from = future.lock().log_end_offset();
        let fetched = match current.read(from, bytes_max, FetchIsolation::LogEnd, true) {
            Ok(fetched) => fetched,
            Err(ReadError::OffsetOutOfRange {
                log_start_offset, ..
            }) if from < log_start_offset => {
                // Retention or DeleteRecords was faster.
                self.log_manager
                    .truncate_fully_and_start_at(future, log_start_offset, self.clock.wall())
                    .map_err(|error| failed(&error))?;
                return Ok(Copied {
                    bytes: 0,
                    is_near_end: false,
                });
            }
            // Cut just now: the next step cuts the future log too.
            Err(ReadError::OffsetOutOfRange { .. }) => {
                return Ok(Copied {
                    bytes: 0,
                    is_near_end: true,
                });
            }
            Err(error) => return Err(failed(&error)),
        };
        let bytes = match &fetched.slice {
            None => None,
            Some(slice) => Some(slice.read().map_err(|error| failed(&error))?),
        };
        let size = bytes.as_ref().map_or(0, |bytes| bytes.len());
        if let Some(records) = bytes.filter(|bytes| !bytes.is_empty()) {
            self.append_verbatim(tp, future, records)
                .map_err(|_| StepFailed)?;
        }
        let mut future = future.lock();
        future.update_high_watermark(fetched.offsets.high_watermark.offset);
        let start = fetched.offsets.log_start_offset;
        if start <= future.high_watermark() {
            future
                .maybe_increment_log_start_offset(start)
                .map_err(|error| failed(&error))?;
        }
        Ok(Copied {
            bytes: size,
            is_near_end: size <= LAST_BYTES_MAX,
        })
    }
}

struct Epochs<'a>(&'a Log);

impl History for Epochs<'_> {
    fn log_end_offset(&self) -> Offset {
        self.0.log_end_offset()
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.latest_epoch()
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset> {
        let end = self.0.end_offset_for_epoch(epoch);
        end.map(|(leader_epoch, end_offset)| EpochEndOffset {
            leader_epoch,
            end_offset,
        })
    }
}
