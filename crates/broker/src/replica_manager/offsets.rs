//! Questions about offsets: by timestamp, by leader epoch; and DeleteRecords, which moves one.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_replication::delayed::{delete_records_is_ready, delete_records_offset};
use ottla_replication::partition::{EpochEndOffset, ReadRequirement};
use ottla_storage::{OffsetForTimestamp, ProducerDescription, TimestampTarget};

use super::ReplicaManager;
use super::fetch::end_of_epoch;
use super::hosted::{Effects, Fetches, HostedPartition};
use crate::purgatory::{Countdown, QueuePlace};

/// Which end of the log a client may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientIsolation {
    /// The high watermark.
    ReadUncommitted,
    /// The last stable offset.
    ReadCommitted,
}

/// A question of ListOffsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffsetQuery {
    /// A time in milliseconds, or one of the special values below.
    pub(crate) timestamp: i64,
    /// What a client may see; `None` for followers, who see all.
    pub(crate) isolation: Option<ClientIsolation>,
    /// The leadership that the asker believes in.
    pub(crate) current_leader_epoch: Option<LeaderEpoch>,
    /// Who may answer.
    pub(crate) from: ReadRequirement,
}

impl OffsetQuery {
    /// The end of the log.
    pub(crate) const LATEST: i64 = -1;
    /// The start of the log.
    pub(crate) const EARLIEST: i64 = -2;
    /// The record with the largest timestamp (KIP-734).
    pub(crate) const MAX_TIMESTAMP: i64 = -3;
    /// The start of what is on this disk (KIP-405): the start, since there is no other tier.
    pub(crate) const EARLIEST_LOCAL: i64 = -4;
    /// The end of what is on another tier (KIP-1005).
    pub(crate) const LATEST_TIERED: i64 = -5;
}

/// An answer of ListOffsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FoundOffset {
    pub(crate) timestamp: i64,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
}

impl ReplicaManager {
    /// Answers ListOffsets for one partition; `None` if no record fits. A look into the log's files
    /// is taken aside.
    pub(crate) async fn offset_for_timestamp(
        self: &Arc<Self>,
        tp: TopicPartition,
        query: OffsetQuery,
    ) -> Result<Option<FoundOffset>, ErrorCode> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition)?;
        let view = hosted.view();
        view.partition()
            .may_read(query.current_leader_epoch, query.from)?;
        let offsets = view.reader()?.offsets();
        let last_fetchable = match query.isolation {
            Some(ClientIsolation::ReadCommitted) => offsets.last_stable_offset.offset,
            Some(ClientIsolation::ReadUncommitted) => offsets.high_watermark.offset,
            None => offsets.log_end_offset.offset,
        };
        let is_not_available = query.isolation.is_some()
            && view
                .partition()
                .offset_is_not_available(offsets.high_watermark.offset);
        let leader_epoch = view.partition().leader_epoch();
        drop(view);
        let target = match query.timestamp {
            OffsetQuery::LATEST if is_not_available => return Err(ErrorCode::OffsetNotAvailable),
            OffsetQuery::LATEST => {
                return Ok(Some(FoundOffset {
                    timestamp: -1,
                    offset: last_fetchable,
                    leader_epoch: Some(leader_epoch),
                }));
            }
            OffsetQuery::EARLIEST | OffsetQuery::EARLIEST_LOCAL => TimestampTarget::Earliest,
            OffsetQuery::MAX_TIMESTAMP => TimestampTarget::MaxTimestamp,
            OffsetQuery::LATEST_TIERED => TimestampTarget::LatestTiered,
            timestamp => TimestampTarget::At(Timestamp(timestamp)),
        };
        let is_start = target == TimestampTarget::Earliest;
        let found = self
            .aside(move || look_up(&hosted, target))
            .await?
            .filter(|found| is_start || found.offset < last_fetchable);
        match found {
            None if is_not_available && !is_start => Err(ErrorCode::OffsetNotAvailable),
            found => Ok(found),
        }
    }

    /// Answers version 0 of ListOffsets: starts of segments that were written before a time, newest
    /// first.
    pub(crate) async fn legacy_offsets(
        self: &Arc<Self>,
        tp: TopicPartition,
        timestamp: i64,
        count_max: i32,
        is_consumer: bool,
        from: ReadRequirement,
    ) -> Result<Vec<Offset>, ErrorCode> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition)?;
        hosted.view().partition().may_read(None, from)?;
        let count_max = usize::try_from(count_max).unwrap_or(0);
        let reader = hosted.view().reader()?.clone();
        let high_watermark = reader.high_watermark();
        let now = self.clock.wall();
        let target = match timestamp {
            OffsetQuery::LATEST => TimestampTarget::Latest,
            OffsetQuery::EARLIEST => TimestampTarget::Earliest,
            timestamp => TimestampTarget::At(Timestamp(timestamp)),
        };
        let mut offsets = self
            .aside(move || {
                let found = reader.legacy_offsets_before(target, count_max, now);
                found.map_err(|error| error.code())
            })
            .await?;
        if is_consumer && offsets.iter().any(|offset| *offset > high_watermark) {
            let visible = offsets.iter().position(|offset| *offset <= high_watermark);
            offsets.drain(..visible.unwrap_or(offsets.len()));
            offsets.insert(0, high_watermark);
        }
        Ok(offsets)
    }

    /// Answers OffsetForLeaderEpoch for one partition.
    pub(crate) fn end_of_leader_epoch(
        &self,
        tp: &TopicPartition,
        current_leader_epoch: Option<LeaderEpoch>,
        epoch: LeaderEpoch,
    ) -> Result<EpochEndOffset, ErrorCode> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition)?;
        let inner = hosted.lock();
        inner
            .partition
            .may_read(current_leader_epoch, ReadRequirement::Leader)?;
        if inner.log.is_none() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(end_of_epoch(&inner, epoch))
    }

    /// The producers that a replica remembers.
    pub(crate) fn active_producers(
        &self,
        tp: &TopicPartition,
    ) -> Result<Vec<ProducerDescription>, ErrorCode> {
        let hosted = self.find_online(tp.topic.as_str(), tp.partition)?;
        let inner = hosted.lock();
        Ok(inner
            .log
            .as_ref()
            .ok_or(ErrorCode::NotLeaderOrFollower)?
            .lock()
            .describe_producers())
    }

    /// Raises the start of logs, and waits until all live replicas have done so, at most `timeout`.
    /// Answers error and low watermark of each partition.
    pub(crate) async fn delete_records(
        &self,
        timeout: Duration,
        offsets: Vec<(TopicPartition, Offset)>,
    ) -> Vec<(TopicPartition, ErrorCode, Offset)> {
        let mut answers = Vec::with_capacity(offsets.len());
        let mut pending = Vec::new();
        for (tp, requested) in offsets {
            let answer = match self.delete_one(&tp, requested) {
                Err(error) => (error, -1),
                Ok((_, required, low_watermark)) if low_watermark >= required => {
                    (ErrorCode::None, low_watermark)
                }
                Ok((hosted, required, low_watermark)) => {
                    pending.push((answers.len(), hosted, required));
                    (ErrorCode::RequestTimedOut, low_watermark)
                }
            };
            answers.push((tp, answer.0, answer.1));
        }
        if pending.is_empty() {
            return answers;
        }
        let request = Countdown::new(pending.len());
        let mut places = Places::default();
        for (part, (_, hosted, required)) in pending.iter().enumerate() {
            let mut inner = hosted.lock();
            let snapshot = self.metadata_cache.snapshot();
            let is_alive = |id| snapshot.is_alive(id);
            let log = inner.offsets();
            match delete_records_is_ready(&inner.partition, *required, &log, &is_alive) {
                Some(answer) => request.complete(part, answer),
                None => {
                    let place = inner
                        .delete_queue
                        .push(*required, Arc::clone(&request), part);
                    places.0.push((Arc::clone(hosted), place));
                }
            }
        }
        let parts = request
            .wait_until(tokio::time::Instant::now() + timeout)
            .await;
        drop(places);
        for ((index, ..), part) in pending.iter().zip(parts) {
            if let Some((error, low_watermark)) = part {
                answers[*index].1 = error;
                answers[*index].2 = low_watermark;
            }
        }
        answers
    }

    fn delete_one(
        &self,
        tp: &TopicPartition,
        requested: Offset,
    ) -> Result<(Arc<HostedPartition>, Offset, Offset), ErrorCode> {
        if tp.topic.is_internal() {
            return Err(ErrorCode::InvalidTopicException);
        }
        let hosted = self.find_online(tp.topic.as_str(), tp.partition)?;
        let mut effects = Effects::default();
        let (required, low_watermark) = {
            let mut inner = hosted.lock();
            let inner = &mut *inner;
            let Some(log) = inner.log.as_ref().filter(|_| inner.partition.is_leader()) else {
                return Err(ErrorCode::NotLeaderOrFollower);
            };
            let mut log = log.lock();
            if !log.config().delete {
                return Err(ErrorCode::PolicyViolation);
            }
            let offset = delete_records_offset(requested, log.high_watermark())?;
            let rose = log
                .maybe_increment_log_start_offset(offset)
                .map_err(|error| error.code())?;
            drop(log);
            if rose {
                inner.take_deleted(&self.metadata_cache, &mut effects);
                // Readers below the new start are to be told that they are out of range.
                effects.fetches = Fetches::Changed;
            }
            (offset, inner.low_watermark(&self.metadata_cache))
        };
        hosted.carry_out(effects);
        Ok((hosted, required, low_watermark))
    }
}

/// Searches without the partition's lock where batches have to be read.
fn look_up(
    hosted: &HostedPartition,
    target: TimestampTarget,
) -> Result<Option<FoundOffset>, ErrorCode> {
    let reader = hosted.view().reader()?.clone();
    let found = match target {
        TimestampTarget::MaxTimestamp => reader.offset_of_max_timestamp(),
        TimestampTarget::At(timestamp) => reader.offset_for_timestamp(timestamp),
        TimestampTarget::Latest | TimestampTarget::Earliest | TimestampTarget::LatestTiered => {
            let inner = hosted.lock();
            let log = inner
                .log
                .as_ref()
                .ok_or(ErrorCode::NotLeaderOrFollower)?
                .lock();
            log.fetch_offset_by_timestamp(target)
        }
    };
    let found = found.map_err(|error| error.code())?;
    Ok(found.map(
        |OffsetForTimestamp {
             timestamp,
             offset,
             leader_epoch,
         }| FoundOffset {
            timestamp: timestamp.0,
            offset,
            leader_epoch,
        },
    ))
}

/// The places of a waiting request, given up when it is answered or its client goes away.
#[derive(Default)]
struct Places(Vec<(Arc<HostedPartition>, QueuePlace)>);

impl Drop for Places {
    fn drop(&mut self) {
        for (hosted, place) in &self.0 {
            hosted.lock().delete_queue.remove(place);
        }
    }
}
