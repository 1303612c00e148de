//! What fetchers do to the logs of followed partitions. Each call names the leader epoch under which
//! the fetcher asked: when the partition has moved on, nothing is done.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{BrokerEpoch, BrokerId, Instant, LeaderEpoch, Offset, TopicPartition};
use ottla_record::BatchIterator;
use ottla_replication::fetcher::truncation::OwnLog;
use ottla_replication::fetcher::{AppendFailure, Appended};
use ottla_replication::partition::EpochEndOffset;
use ottla_storage::{AppendError, AppendInfo, LogHandle};

use super::ReplicaManager;
use super::hosted::{Effects, Fetches, HostedPartition};
use crate::fetcher::Fetchers;

/// The answer of a leader for one partition.
pub(crate) struct FetchedFromLeader {
    /// Where the log must end.
    pub(crate) fetch_offset: Offset,
    /// Whole batches as the leader stores them.
    pub(crate) records: Bytes,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
}

impl ReplicaManager {
    /// Sets what follows leaders for this broker; once, before the first command.
    pub(crate) fn set_fetchers(&self, fetchers: Arc<Fetchers>) {
        // A second set would be a fault of the assembly.
        assert!(
            self.fetchers.set(fetchers).is_ok(),
            "the fetchers are set once"
        );
    }

    pub(super) fn fetchers(&self) -> Option<&Arc<Fetchers>> {
        self.fetchers.get()
    }

    pub(crate) fn id(&self) -> BrokerId {
        self.local
    }

    pub(crate) fn own_broker_epoch(&self) -> BrokerEpoch {
        self.broker_epoch()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn tokio_deadline(&self, deadline: Instant) -> tokio::time::Instant {
        self.clock.tokio_deadline(deadline)
    }

    /// The last epoch in a partition's log.
    pub(crate) fn latest_epoch(&self, tp: &TopicPartition) -> Option<LeaderEpoch> {
        self.with_log(tp, |log| log.lock().latest_epoch())?
    }

    /// Where a partition's log starts.
    pub(crate) fn log_start_offset(&self, tp: &TopicPartition) -> Option<Offset> {
        self.with_log(tp, |log| log.lock().log_start_offset())
    }

    /// Where a partition's log ends.
    pub(crate) fn log_end_offset(&self, tp: &TopicPartition) -> Option<Offset> {
        self.with_log(tp, |log| log.lock().log_end_offset())
    }

    /// What our log says of an epoch that the leader named.
    pub(crate) fn own_log(&self, tp: &TopicPartition, epoch: LeaderEpoch) -> Option<OwnLog> {
        self.with_log(tp, |log| {
            let log = log.lock();
            OwnLog {
                log_end_offset: log.log_end_offset(),
                end_of_leaders_epoch: log.end_offset_for_epoch(epoch).map(
                    |(leader_epoch, end_offset)| EpochEndOffset {
                        leader_epoch,
                        end_offset,
                    },
                ),
            }
        })
    }

    /// Appends what a leader sent, then takes over its high watermark and log start; `None` if the
    /// partition does not follow under this epoch any more.
    pub(crate) fn append_fetched(
        &self,
        tp: &TopicPartition,
        leader_epoch: LeaderEpoch,
        fetched: FetchedFromLeader,
    ) -> Result<Option<Appended>, AppendFailure> {
        let mut effects = Effects::default();
        let Some((hosted, result)) = self.while_following(tp, leader_epoch, |log| {
            let (end, high_watermark_before) = {
                let log = log.lock();
                (log.log_end_offset(), log.high_watermark())
            };
            if end != fetched.fetch_offset {
                tracing::error!(partition = %tp, log_end_offset = end, fetch_offset = fetched.fetch_offset, "the log does not end where it was fetched from");
                return Err(AppendFailure::Unexpected);
            }
            let size = fetched.records.len();
            let info = match fetched.records.is_empty() {
                true => None,
                false => Some(self.append_verbatim(tp, log, fetched.records)?),
            };
            self.counts.replication_bytes_in.add(size as u64);
            let mut log = log.lock();
            if fetched.high_watermark >= 0 {
                log.update_high_watermark(fetched.high_watermark);
            }
            let raised = log.maybe_increment_log_start_offset(fetched.log_start_offset);
            if let Err(error) = raised {
                tracing::error!(partition = %tp, %error, "the leader's log start was not taken over");
                return Err(AppendFailure::Unexpected);
            }
            if log.high_watermark() != high_watermark_before {
                effects.fetches = Fetches::Committed;
            }
            let info = info.filter(|info| info.last_offset >= 0);
            Ok(Appended {
                last_offset: info.map(|info| info.last_offset),
                last_leader_epoch: info
                    .map(|info| info.last_leader_epoch)
                    .filter(|epoch| epoch.0 >= 0),
                leader_high_watermark: fetched.high_watermark,
            })
        }) else {
            return Ok(None);
        };
        hosted.carry_out(effects);
        result.map(Some)
    }

    /// Cuts a followed log; the last epoch in it then.
    pub(crate) fn truncate_follower(
        &self,
        tp: &TopicPartition,
        leader_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<LeaderEpoch>, AppendFailure> {
        self.cut(tp, leader_epoch, offset, |log| {
            let high_watermark = log.lock().high_watermark();
            if offset < high_watermark {
                tracing::warn!(partition = %tp, offset, high_watermark, "truncating below the high watermark");
            }
            self.log_manager
                .truncate_to(log, offset, self.clock.wall())
                .map(|_| ())
        })
    }

    /// Empties a followed log, which then starts at `offset`; the last epoch in it then.
    pub(crate) fn start_follower_at(
        &self,
        tp: &TopicPartition,
        leader_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<LeaderEpoch>, AppendFailure> {
        self.cut(tp, leader_epoch, offset, |log| {
            self.log_manager
                .truncate_fully_and_start_at(log, offset, self.clock.wall())
        })
    }

    fn cut(
        &self,
        tp: &TopicPartition,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        cut: impl FnOnce(&LogHandle) -> Result<(), ottla_storage::LogError>,
    ) -> Result<Option<LeaderEpoch>, AppendFailure> {
        let (hosted, result) = self
            .while_following(tp, leader_epoch, |log| {
                cut(log).map(|()| log.lock().latest_epoch())
            })
            .ok_or(AppendFailure::Unexpected)?;
        hosted.lock().current_log_was_cut(offset);
        hosted.carry_out(Effects {
            fetches: Fetches::Changed,
            ..Effects::default()
        });
        result.map_err(|error| {
            tracing::error!(partition = %tp, %error, "a follower's log was not truncated");
            AppendFailure::Unexpected
        })
    }

    /// Appends to a log that follows another one, which may begin within the first batch.
    pub(super) fn append_verbatim(
        &self,
        tp: &TopicPartition,
        log: &LogHandle,
        records: Bytes,
    ) -> Result<AppendInfo, AppendFailure> {
        let now = self.clock.wall();
        // Bound first, or the log would stay locked over the error.
        let appended = log.lock().append_as_follower(records.clone(), now);
        let error = match appended {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        if let AppendError::UnexpectedAppendOffset { first_offset, .. } = &error
            && straddles_the_start(log, *first_offset, &records)
        {
            tracing::info!(partition = %tp, offset = first_offset, "the log start lies within a batch, starting at the batch");
            let started = self
                .log_manager
                .truncate_fully_and_start_at(log, *first_offset, now);
            if let Err(error) = started {
                tracing::error!(partition = %tp, %error, "a follower's log was not truncated");
                return Err(AppendFailure::Unexpected);
            }
            let again = log.lock().append_as_follower(records, now);
            return again.map_err(|error| failure(tp, &error));
        }
        Err(failure(tp, &error))
    }

    fn with_log<T>(&self, tp: &TopicPartition, look: impl FnOnce(&LogHandle) -> T) -> Option<T> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition).ok()?;
        let inner = hosted.lock();
        inner.log.as_ref().map(look)
    }

    /// Runs `work` under the partition's lock if it follows a leader of this epoch.
    fn while_following<T>(
        &self,
        tp: &TopicPartition,
        leader_epoch: LeaderEpoch,
        work: impl FnOnce(&LogHandle) -> T,
    ) -> Option<(Arc<HostedPartition>, T)> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition).ok()?;
        let inner = hosted.lock();
        let follows =
            !inner.partition.is_leader() && inner.partition.leader_epoch() == leader_epoch;
        let log = inner.log.as_ref().filter(|_| follows)?;
        let result = work(log);
        drop(inner);
        Some((hosted, result))
    }
}

fn failure(tp: &TopicPartition, error: &AppendError) -> AppendFailure {
    tracing::error!(partition = %tp, %error, "records of the leader were not appended");
    match error {
        AppendError::Analysis(_) | AppendError::Validation(_) => AppendFailure::Corrupt,
        AppendError::MessageTooLarge { .. }
        | AppendError::RecordListTooLarge { .. }
        | AppendError::Producer(_)
        | AppendError::OffsetsOutOfOrder(_)
        | AppendError::UnexpectedAppendOffset { .. }
        | AppendError::Io { .. }
        | AppendError::Offline(_) => AppendFailure::Unexpected,
    }
}

/// The leader's log start may lie within a batch, and an empty follower gets the whole batch.
fn straddles_the_start(log: &LogHandle, first_offset: Offset, records: &[u8]) -> bool {
    let log = log.lock();
    let end = log.log_end_offset();
    let last_offset = BatchIterator::new(records)
        .flatten()
        .last()
        .map(|batch| batch.last_offset());
    end == log.log_start_offset()
        && first_offset < end
        && last_offset.is_some_and(|last_offset| last_offset >= end)
}
