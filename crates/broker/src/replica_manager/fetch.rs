//! Reading from partitions, at once or when enough has come (`ReplicaManager.fetchMessages`,
//! `DelayedFetch`). Consumers read without any lock; a follower's fetch takes its partition's lock,
//! for it changes what the leader knows of it.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset};
use ottla_replication::delayed::{FetchReadiness, WaitingFetch, fetch_readiness};
use ottla_replication::fetch_session::FetchPartition;
use ottla_replication::partition::{
    EpochEndOffset, ReadRequirement, Surroundings, check_last_fetched_epoch,
};
use ottla_replication::preferred_replica::{ReplicaLocation, rack_aware_replica};
use ottla_replication::replica::FollowerFetch;
use ottla_replication::{LogOffsetMetadata, control};
use ottla_storage::{
    AbortedTransaction, FetchIsolation, FetchedRecords, FileSlice, LogOffsets, LogPosition,
    LogReader,
};

use super::ReplicaManager;
use super::hosted::{Effects, Fetches, HostedPartition, Inner, View, to_log_offsets};
use crate::purgatory::FetchWaiter;

/// How to read, for all partitions of a request.
pub(crate) struct FetchParams<'a> {
    /// The follower that reads; `None` for consumers.
    pub(crate) follower: Option<(BrokerId, BrokerEpoch)>,
    /// Who may answer.
    pub(crate) from: ReadRequirement,
    /// How long to wait for `bytes_min`.
    pub(crate) wait_max: Duration,
    /// Enough to answer.
    pub(crate) bytes_min: i64,
    /// The most to answer; only the first batch may exceed it.
    pub(crate) bytes_max: usize,
    /// Not even the first batch may exceed the limits, and it may be cut (versions up to 2).
    pub(crate) is_limit_hard: bool,
    /// To where.
    pub(crate) isolation: FetchIsolation,
    /// Where the consumer is, from version 11 on: its rack and the listener it uses.
    pub(crate) client: Option<ClientPlace<'a>>,
}

/// Where a consumer is.
#[derive(Clone, Copy)]
pub(crate) struct ClientPlace<'a> {
    /// `client.rack`; empty if unknown.
    pub(crate) rack: &'a str,
    /// The listener of its connection.
    pub(crate) listener: &'a str,
}

/// One partition to read, looked up already.
pub(crate) struct FetchEntry {
    /// The partition, or why it cannot be read.
    pub(crate) hosted: Result<Arc<HostedPartition>, ErrorCode>,
    /// The topic's id as the request or its session knows it.
    pub(crate) topic_id: Option<ottla_model::TopicId>,
    /// What is asked.
    pub(crate) request: FetchPartition,
}

/// What was read from one partition.
#[derive(Debug)]
pub(crate) struct ReadResult {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable_offset: Offset,
    pub(crate) log_start_offset: Offset,
    pub(crate) diverging_epoch: Option<EpochEndOffset>,
    pub(crate) preferred_read_replica: Option<BrokerId>,
    pub(crate) aborted_transactions: Option<Vec<AbortedTransaction>>,
    pub(crate) records: Option<FileSlice>,
    /// Where the reader stands; `None` where nothing was looked up.
    position: Option<LogPosition>,
}

impl ReadResult {
    pub(crate) fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            preferred_read_replica: None,
            aborted_transactions: None,
            records: None,
            position: None,
        }
    }

    fn at(offsets: &LogOffsets) -> Self {
        Self {
            high_watermark: offsets.high_watermark.offset,
            last_stable_offset: offsets.last_stable_offset.offset,
            log_start_offset: offsets.log_start_offset,
            ..Self::failed(ErrorCode::None)
        }
    }

    /// Bytes of records.
    pub(crate) fn size(&self) -> usize {
        self.records.as_ref().map_or(0, |slice| slice.length)
    }

    /// Whether it lets no request wait.
    fn is_urgent(&self) -> bool {
        !self.error.is_none()
            || self.diverging_epoch.is_some()
            || self.preferred_read_replica.is_some()
    }
}

impl ReplicaManager {
    /// Reads the partitions in order; waits, if there is less than `bytes_min`, until there is
    /// more, anything happens to one of the partitions, or the time is up.
    pub(crate) async fn fetch(
        &self,
        params: &FetchParams<'_>,
        entries: &[FetchEntry],
    ) -> Vec<ReadResult> {
        let results = self.read_all(params, entries, true);
        let size: usize = results.iter().map(ReadResult::size).sum();
        let answer_now = params.wait_max.is_zero()
            || entries.is_empty()
            || size as i64 >= params.bytes_min
            || results.iter().any(ReadResult::is_urgent);
        if answer_now {
            return results;
        }
        let positions: Vec<_> = results.iter().map(|result| result.position).collect();
        drop(results);
        self.wait_for_bytes(params, entries, &positions).await;
        self.read_all(params, entries, false)
    }

    async fn wait_for_bytes(
        &self,
        params: &FetchParams<'_>,
        entries: &[FetchEntry],
        positions: &[Option<LogPosition>],
    ) {
        let deadline = tokio::time::Instant::now() + params.wait_max;
        let watch = Watch::register(params, entries);
        let _waits = self.counts.waiting_fetches.enter(entries.len());
        loop {
            // The order matters: what comes after the look is seen by the count, what came before
            // it by the look, and what came in between by the second look at the ends.
            let ends = ends_of(params, entries);
            match self.readiness(params, entries, positions) {
                FetchReadiness::Complete => return,
                FetchReadiness::Bytes(bytes) => {
                    let missing = params.bytes_min.saturating_sub_unsigned(bytes);
                    if missing <= 0 {
                        return;
                    }
                    // How far the last stable offset jumps does not depend on the bytes that came.
                    let exact = params.isolation != FetchIsolation::TxnCommitted;
                    watch.waiter.set_missing(if exact { missing } else { 1 });
                }
            }
            if ends_of(params, entries) != ends {
                continue;
            }
            if !watch.waiter.wait_until(deadline).await {
                return;
            }
        }
    }

    /// Whether a waiting fetch should be answered, or how many bytes it could read.
    fn readiness(
        &self,
        params: &FetchParams<'_>,
        entries: &[FetchEntry],
        positions: &[Option<LogPosition>],
    ) -> FetchReadiness {
        let mut available = 0;
        for (entry, position) in entries.iter().zip(positions) {
            let (Ok(hosted), Some(position)) = (&entry.hosted, position) else {
                return FetchReadiness::Complete;
            };
            let view = hosted.view();
            let Ok(reader) = view.reader() else {
                return FetchReadiness::Complete;
            };
            if reader.is_offline() {
                return FetchReadiness::Complete;
            }
            let offsets = reader.offsets();
            let bound = bound_of(params.isolation, &offsets);
            let end_of_last_fetched = entry.request.last_fetched_epoch.map(|epoch| {
                let inner = hosted.lock();
                end_of_epoch(&inner, epoch)
            });
            let throttled = params
                .follower
                .is_some_and(|(follower, _)| self.leader_withholds(hosted, &view, follower));
            let Some(position) = placed(reader, position) else {
                return FetchReadiness::Complete;
            };
            let waiting = WaitingFetch {
                position,
                current_leader_epoch: entry.request.current_leader_epoch,
                last_fetched_epoch: entry.request.last_fetched_epoch,
                partition_max_bytes: u64::try_from(entry.request.max_bytes).unwrap_or(0),
                from: params.from,
                throttled,
            };
            let Some(bound) = placed(reader, &bound) else {
                return FetchReadiness::Complete;
            };
            let log = to_log_offsets(&offsets);
            match fetch_readiness(
                &waiting,
                view.partition(),
                &bound,
                end_of_last_fetched,
                &log,
            ) {
                FetchReadiness::Complete => return FetchReadiness::Complete,
                FetchReadiness::Bytes(bytes) => available += bytes,
            }
        }
        FetchReadiness::Bytes(available)
    }

    fn read_all(
        &self,
        params: &FetchParams<'_>,
        entries: &[FetchEntry],
        is_first: bool,
    ) -> Vec<ReadResult> {
        let mut results = Vec::with_capacity(entries.len());
        let mut left = params.bytes_max;
        let mut min_one_batch = !params.is_limit_hard;
        for entry in entries {
            let partition_max = usize::try_from(entry.request.max_bytes).unwrap_or(0);
            let result = self.read_one(
                params,
                entry,
                partition_max.min(left),
                min_one_batch,
                is_first,
            );
            let topic_counts = entry
                .hosted
                .as_ref()
                .ok()
                .map(|hosted| &*hosted.topic_counts);
            if is_first {
                self.counts.fetch_began(topic_counts);
            }
            self.counts.fetch_failed(topic_counts, result.error);
            let size = result.size();
            if size > 0 {
                min_one_batch = false;
            }
            left = left.saturating_sub(size);
            results.push(result);
        }
        results
    }

    fn read_one(
        &self,
        params: &FetchParams<'_>,
        entry: &FetchEntry,
        bytes_max: usize,
        min_one_batch: bool,
        is_first: bool,
    ) -> ReadResult {
        let hosted = match &entry.hosted {
            Ok(hosted) => hosted,
            Err(error) => return ReadResult::failed(*error),
        };
        let view = hosted.view();
        if !control::is_consistent_topic_id(entry.topic_id, view.topic_id()) {
            return ReadResult::failed(ErrorCode::InconsistentTopicId);
        }
        let limits = Limits {
            bytes_max,
            min_one_batch,
        };
        let result = match params.follower {
            Some(follower) => {
                self.read_as_follower(params, hosted, entry, limits, follower, is_first)
            }
            None => self.read_as_consumer(params, hosted, &view, entry, limits),
        };
        result.unwrap_or_else(ReadResult::failed)
    }

    fn read_as_consumer(
        &self,
        params: &FetchParams<'_>,
        hosted: &HostedPartition,
        view: &View,
        entry: &FetchEntry,
        limits: Limits,
    ) -> Result<ReadResult, ErrorCode> {
        let request = &entry.request;
        if let Some(client) = params.client
            && let Some(replica) =
                self.preferred_read_replica(hosted, view, client, request.fetch_offset)
        {
            view.partition()
                .check_leader_epoch(request.current_leader_epoch)?;
            let offsets = view.reader()?.offsets();
            return Ok(ReadResult {
                preferred_read_replica: Some(replica),
                ..ReadResult::at(&offsets)
            });
        }
        view.partition()
            .may_read(request.current_leader_epoch, params.from)?;
        let reader = view.reader()?;
        if let Some(epoch) = request.last_fetched_epoch {
            let end = end_of_epoch(&hosted.lock(), epoch);
            if let Some(diverged) = diverging(epoch, request.fetch_offset, end, reader)? {
                return Ok(diverged);
            }
        }
        read_log(reader, params, request.fetch_offset, limits)
    }

    fn read_as_follower(
        &self,
        params: &FetchParams<'_>,
        hosted: &HostedPartition,
        entry: &FetchEntry,
        limits: Limits,
        (follower, broker_epoch): (BrokerId, BrokerEpoch),
        is_first: bool,
    ) -> Result<ReadResult, ErrorCode> {
        let request = &entry.request;
        let now = self.clock.now();
        let mut effects = Effects::default();
        let mut proposal = None;
        let result = {
            let mut inner = hosted.lock();
            let inner = &mut *inner;
            inner
                .partition
                .may_read(request.current_leader_epoch, params.from)?;
            inner
                .partition
                .check_follower(follower, request.current_leader_epoch)?;
            let reader = hosted.view().reader()?.clone();
            if let Some(epoch) = request.last_fetched_epoch {
                let end = end_of_epoch(inner, epoch);
                if let Some(diverged) = diverging(epoch, request.fetch_offset, end, &reader)? {
                    return Ok(diverged);
                }
            }
            let mut result = read_log(&reader, params, request.fetch_offset, limits)?;
            if is_first {
                let log = inner.offsets();
                let fetch = FollowerFetch {
                    fetch_offset: request.fetch_offset,
                    log_start_offset: request.log_start_offset,
                    broker_epoch,
                    now,
                    leader_log_end_offset: log.log_end_offset,
                };
                let around = Surroundings {
                    now,
                    min_insync_replicas: inner.config.min_insync_replicas,
                    is_alive: &|id| self.metadata_cache.snapshot().is_alive(id),
                };
                let outcome = inner
                    .partition
                    .record_follower_fetch(follower, &fetch, &log, &around);
                proposal = outcome.proposal;
                if let (Some(log), Some(high_watermark)) = (&inner.log, outcome.high_watermark) {
                    log.lock().update_high_watermark(high_watermark);
                    effects.fetches = Fetches::Committed;
                    inner.take_produced(&mut effects);
                }
                if outcome.low_watermark_rose || effects.fetches == Fetches::Committed {
                    inner.take_deleted(&self.metadata_cache, &mut effects);
                }
            }
            let in_sync = inner.partition.isr().isr().contains(&follower);
            if self
                .leader_quota
                .lock()
                .leader_withholds(hosted.topic_partition(), in_sync, now)
            {
                result.records = None;
            }
            result
        };
        hosted.carry_out(effects);
        if let Some(proposal) = proposal {
            self.submit_isr_change(hosted, proposal);
        }
        Ok(result)
    }

    fn leader_withholds(&self, hosted: &HostedPartition, view: &View, follower: BrokerId) -> bool {
        let tp = hosted.topic_partition();
        if !self.leader_quota.lock().is_throttled(tp) {
            return false;
        }
        let in_sync =
            view.partition().is_leader() && hosted.lock().partition.isr().isr().contains(&follower);
        self.leader_quota
            .lock()
            .leader_withholds(tp, in_sync, self.clock.now())
    }

    /// Where a consumer should rather read, if this leader's replicas are told apart by rack.
    fn preferred_read_replica(
        &self,
        hosted: &HostedPartition,
        view: &View,
        client: ClientPlace<'_>,
        fetch_offset: Offset,
    ) -> Option<BrokerId> {
        if !self.selects_replicas_by_rack || client.rack.is_empty() || !view.partition().is_leader()
        {
            return None;
        }
        let snapshot = self.metadata_cache.snapshot();
        let replicas = &view.partition().assignment().replicas;
        let locations: Vec<_> = replicas
            .iter()
            .filter_map(|id| snapshot.brokers.get(id))
            .filter(|broker| broker.endpoint(client.listener).is_some())
            .map(|broker| ReplicaLocation {
                id: broker.id,
                rack: broker.rack.as_deref(),
            })
            .collect();
        let inner = hosted.lock();
        rack_aware_replica(
            &inner.partition,
            client.rack,
            fetch_offset,
            &locations,
            self.clock.now(),
        )
    }
}

#[derive(Clone, Copy)]
struct Limits {
    bytes_max: usize,
    min_one_batch: bool,
}

fn read_log(
    reader: &LogReader,
    params: &FetchParams<'_>,
    fetch_offset: Offset,
    limits: Limits,
) -> Result<ReadResult, ErrorCode> {
    let read = reader
        .read(
            fetch_offset,
            limits.bytes_max,
            params.isolation,
            limits.min_one_batch,
        )
        .map_err(|error| error.code())?;
    let FetchedRecords {
        position,
        slice,
        first_batch_incomplete,
        aborted_transactions,
        offsets,
    } = read;
    // From version 3 on a batch that does not fit is left out: the client makes progress elsewhere.
    let records = slice.filter(|_| params.is_limit_hard || !first_batch_incomplete);
    Ok(ReadResult {
        records,
        aborted_transactions,
        position: Some(position),
        ..ReadResult::at(&offsets)
    })
}

fn diverging(
    last_fetched: LeaderEpoch,
    fetch_offset: Offset,
    end: EpochEndOffset,
    reader: &LogReader,
) -> Result<Option<ReadResult>, ErrorCode> {
    let offsets = reader.offsets();
    let log = to_log_offsets(&offsets);
    let diverging_epoch = check_last_fetched_epoch(last_fetched, fetch_offset, end, &log)?;
    Ok(diverging_epoch.map(|end| ReadResult {
        diverging_epoch: Some(end),
        ..ReadResult::at(&offsets)
    }))
}

/// The log's answer for a leader epoch.
pub(super) fn end_of_epoch(inner: &Inner, epoch: LeaderEpoch) -> EpochEndOffset {
    let end = inner
        .log
        .as_ref()
        .and_then(|log| log.lock().end_offset_for_epoch(epoch));
    end.map_or(EpochEndOffset::UNDEFINED, |(leader_epoch, end_offset)| {
        EpochEndOffset {
            leader_epoch,
            end_offset,
        }
    })
}

fn bound_of(isolation: FetchIsolation, offsets: &LogOffsets) -> LogPosition {
    match isolation {
        FetchIsolation::LogEnd => offsets.log_end_offset,
        FetchIsolation::HighWatermark => offsets.high_watermark,
        FetchIsolation::TxnCommitted => offsets.last_stable_offset,
    }
}

/// A position with its place in the log, looked up if need be; `None` where that fails, which the
/// next read will tell.
fn placed(reader: &LogReader, position: &LogPosition) -> Option<LogOffsetMetadata> {
    let position = if position.is_placed() {
        *position
    } else {
        reader.position_of(position.offset).ok()?
    };
    Some(LogOffsetMetadata {
        message_offset: position.offset,
        segment_base_offset: position.segment_base_offset,
        position_in_segment: position.position,
    })
}

/// A number that changes whenever the readable end of a partition does.
fn ends_of(params: &FetchParams<'_>, entries: &[FetchEntry]) -> Offset {
    entries
        .iter()
        .filter_map(|entry| {
            let view = entry.hosted.as_ref().ok()?.view();
            Some(bound_of(params.isolation, &view.reader().ok()?.offsets()).offset)
        })
        .fold(0, Offset::wrapping_add)
}

/// A waiter in the lists of its partitions, taken out of them when the request is answered or its
/// client goes away.
struct Watch<'a> {
    waiter: Arc<FetchWaiter>,
    entries: &'a [FetchEntry],
    is_follower: bool,
}

impl<'a> Watch<'a> {
    fn register(params: &FetchParams<'_>, entries: &'a [FetchEntry]) -> Self {
        let watch = Self {
            waiter: FetchWaiter::new(1),
            entries,
            is_follower: params.follower.is_some(),
        };
        watch.lists().for_each(|list| list.add(&watch.waiter));
        watch
    }

    fn lists(&self) -> impl Iterator<Item = &crate::purgatory::WatchList> {
        self.entries
            .iter()
            .filter_map(|entry| entry.hosted.as_ref().ok())
            .map(|hosted| {
                if self.is_follower {
                    &hosted.followers
                } else {
                    &hosted.consumers
                }
            })
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.lists().for_each(|list| list.remove(&self.waiter));
    }
}
