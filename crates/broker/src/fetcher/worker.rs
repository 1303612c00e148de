//! One fetcher: asks one leader for its partitions, over and over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_client::ClientError;
use ottla_model::{ErrorCode, LeaderEpoch, TopicId, TopicName, TopicPartition};
use ottla_protocol::Part;
use ottla_protocol::fetch::{FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse};
use ottla_replication::fetcher::truncation::OwnLog;
use ottla_replication::fetcher::{
    AnswerStep, AppendFailure, EpochQuery, FetchAnswer, Fetcher, InitialFetch, OutOfRange,
    PlannedFetch, Truncation, truncation_after_out_of_range,
};
use ottla_replication::partition::EpochEndOffset;
use ottla_replication::quota::ReplicationQuota;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::leader::{EARLIEST, LATEST, Leader};
use super::session::{FetchSession, Wanted};
use crate::replica_manager::{FetchedFromLeader, ReplicaManager};

/// How much a fetch asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchLimits {
    pub(super) wait_max_ms: i32,
    pub(super) bytes_min: i32,
    pub(super) bytes_max: i32,
    pub(super) partition_bytes_max: i32,
}

/// What commands change while the fetcher runs. An answer is applied under the same lock by which a
/// partition is taken away: what has been taken away is not appended to.
pub(super) struct Shared {
    fetcher: Mutex<Fetcher>,
    changed: Notify,
}

impl Shared {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher: Mutex::new(fetcher),
            changed: Notify::new(),
        }
    }

    pub(super) fn add(&self, partition: TopicPartition, initial: InitialFetch) {
        self.fetcher.lock().add(partition, initial);
        self.changed.notify_one();
    }

    pub(super) fn remove(&self, partition: &TopicPartition) {
        self.fetcher.lock().remove(partition);
    }

    pub(super) fn set_topic_id(&self, partition: &TopicPartition, topic_id: Option<TopicId>) {
        self.fetcher.lock().set_topic_id(partition, topic_id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fetcher.lock().is_empty()
    }

    /// The lag of each partition; 0 where it is not known yet.
    pub(super) fn lags(&self) -> Vec<(TopicPartition, i64)> {
        let fetcher = self.fetcher.lock();
        let owned = |(partition, lag): (&TopicPartition, i64)| (partition.clone(), lag);
        fetcher.lags().map(owned).collect()
    }
}

/// See the module.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) replica_manager: Arc<ReplicaManager>,
    pub(super) leader: Leader,
    pub(super) session: FetchSession,
    pub(super) backoff: Duration,
    pub(super) limits: FetchLimits,
    pub(super) failed: Arc<Mutex<BTreeSet<TopicPartition>>>,
    pub(super) quota: Arc<Mutex<ReplicationQuota>>,
    pub(super) name: String,
}

impl Worker {
    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        tracing::info!(fetcher = self.name, "starting");
        loop {
            self.truncate().await;
            let plan = self.plan();
            let wanted = plan
                .values()
                .map(|place| self.wanted(&place.1))
                .zip(plan.values());
            let mut wanted: Vec<_> = wanted.map(|(wanted, place)| (place.0, wanted)).collect();
            wanted.sort_by_key(|(place, _)| *place);
            let wanted = wanted.into_iter().map(|(_, wanted)| wanted).collect();
            let Some(next) = self.session.next(wanted) else {
                self.wait().await;
                continue;
            };
            let request = FetchRequest {
                replica_id: self.replica_manager.id().0,
                replica_epoch: self.replica_manager.own_broker_epoch().0,
                max_wait_ms: self.limits.wait_max_ms,
                min_bytes: self.limits.bytes_min,
                max_bytes: self.limits.bytes_max,
                session_id: next.session_id,
                session_epoch: next.session_epoch,
                topics: next.topics,
                forgotten_topics: next.forgotten,
                ..FetchRequest::default()
            };
            match self.leader.fetch(&request, next.by_topic_id).await {
                Ok(response) => self.take(&plan, response).await,
                Err(error) => self.request_failed(&error),
            }
        }
    }

    /// The next fetch: each partition with its place in the order.
    fn plan(&self) -> BTreeMap<TopicPartition, (usize, PlannedFetch)> {
        let now = self.replica_manager.now();
        let mut quota = self.quota.lock();
        let fetcher = self.shared.fetcher.lock();
        let mut is_throttled =
            |tp: &TopicPartition, lag: Option<i64>| quota.follower_waits(tp, lag, now);
        let planned = fetcher.fetch_plan(now, &mut is_throttled).into_iter();
        planned
            .enumerate()
            .map(|(place, planned)| (planned.partition.clone(), (place, planned)))
            .collect()
    }

    fn wanted(&self, planned: &PlannedFetch) -> Wanted {
        let log_start_offset = self.replica_manager.log_start_offset(&planned.partition);
        Wanted {
            partition: planned.partition.clone(),
            topic_id: planned.topic_id.unwrap_or(TopicId::ZERO),
            fetch: FetchPartition {
                partition: planned.partition.partition,
                current_leader_epoch: planned.current_leader_epoch.0,
                fetch_offset: planned.fetch_offset,
                last_fetched_epoch: planned.last_fetched_epoch.unwrap_or(LeaderEpoch::NONE).0,
                log_start_offset: log_start_offset.unwrap_or(-1),
                max_bytes: self.limits.partition_bytes_max,
            },
        }
    }

    /// Nothing can be fetched: until a command changes that, or a partition has waited enough.
    async fn wait(&self) {
        let now = self.replica_manager.now();
        let deadline = self.shared.fetcher.lock().next_deadline(now);
        let latest = now + self.backoff;
        let deadline = deadline.map_or(latest, |deadline| deadline.min(latest));
        let deadline = self.replica_manager.tokio_deadline(deadline);
        // Either way it is time to look again.
        _ = tokio::time::timeout_at(deadline, self.shared.changed.notified()).await;
    }

    fn request_failed(&mut self, error: &ClientError) {
        tracing::warn!(fetcher = self.name, %error, "a request to the leader failed");
        self.session.failed();
        let now = self.replica_manager.now();
        self.shared.fetcher.lock().request_failed(now);
    }

    /// Brings the truncating partitions to where they can fetch, or learns that they must wait.
    async fn truncate(&mut self) {
        let plan = {
            let now = self.replica_manager.now();
            let fetcher = self.shared.fetcher.lock();
            fetcher.truncation_plan(now, &|tp| self.replica_manager.latest_epoch(tp))
        };
        for (tp, cut) in plan.cuts {
            self.cut(&mut self.shared.fetcher.lock(), &tp, cut);
        }
        if plan.queries.is_empty() {
            return;
        }
        match self.leader.epoch_ends(&plan.queries).await {
            Ok(mut ends) => {
                for query in &plan.queries {
                    let end = ends.remove(&query.partition);
                    self.take_epoch_end(query, end.unwrap_or(Err(ErrorCode::UnknownServerError)));
                }
            }
            Err(error) => self.request_failed(&error),
        }
    }

    fn take_epoch_end(&self, query: &EpochQuery, end: Result<EpochEndOffset, ErrorCode>) {
        let named = end
            .as_ref()
            .map_or(LeaderEpoch::NONE, |end| end.leader_epoch);
        let now = self.replica_manager.now();
        let mut fetcher = self.shared.fetcher.lock();
        let Some(own) = self.replica_manager.own_log(&query.partition, named) else {
            return;
        };
        if let Some(cut) = fetcher.on_epoch_end(now, query, end, &own) {
            self.cut(&mut fetcher, &query.partition, cut);
        }
        self.note_failed(&fetcher, &query.partition);
    }

    /// Truncates a log as decided.
    fn cut(&self, fetcher: &mut Fetcher, tp: &TopicPartition, cut: Truncation) {
        let Some(epoch) = fetcher.state(tp).map(|state| state.current_leader_epoch) else {
            return;
        };
        tracing::info!(fetcher = self.name, partition = %tp, offset = cut.offset, is_complete = cut.is_complete, "truncating");
        match self
            .replica_manager
            .truncate_follower(tp, epoch, cut.offset)
        {
            Ok(latest_epoch) => fetcher.truncated(tp, cut, latest_epoch),
            Err(failure) => self.append_failed(fetcher, tp, failure),
        }
    }

    fn append_failed(&self, fetcher: &mut Fetcher, tp: &TopicPartition, failure: AppendFailure) {
        fetcher.append_failed(self.replica_manager.now(), tp, failure);
        self.note_failed(fetcher, tp);
    }

    /// Counts a partition that has failed; with the fetcher locked, so that a command which takes it
    /// away comes before or after.
    fn note_failed(&self, fetcher: &Fetcher, tp: &TopicPartition) {
        if fetcher.state(tp).is_none() && fetcher.failed_partitions().contains(tp) {
            tracing::info!(fetcher = self.name, partition = %tp, "replication failed until the next LeaderAndIsr");
            self.failed.lock().insert(tp.clone());
        }
    }

    async fn take(
        &mut self,
        plan: &BTreeMap<TopicPartition, (usize, PlannedFetch)>,
        response: FetchResponse,
    ) {
        self.session
            .answered(response.error_code, response.session_id);
        if !response.error_code.is_none() {
            tracing::info!(fetcher = self.name, error = ?response.error_code, "the leader refused the fetch");
            let session_only = matches!(
                response.error_code,
                ErrorCode::FetchSessionIdNotFound
                    | ErrorCode::InvalidFetchSessionEpoch
                    | ErrorCode::FetchSessionTopicIdError
            );
            if !session_only {
                let now = self.replica_manager.now();
                self.shared.fetcher.lock().request_failed(now);
            }
            return;
        }
        let names: BTreeMap<TopicId, TopicName> = plan
            .values()
            .filter_map(|(_, sent)| Some((sent.topic_id?, sent.partition.topic.clone())))
            .collect();
        let mut out_of_range = Vec::new();
        for topic in response.topics {
            let name = match topic.topic_id.is_zero() {
                true => Some(TopicName::from(topic.name.as_str())),
                false => names.get(&topic.topic_id).cloned(),
            };
            let Some(name) = name else {
                continue;
            };
            for partition in topic.partitions {
                let tp = TopicPartition::new(name.clone(), partition.partition);
                if let Some((_, sent)) = plan.get(&tp)
                    && self.take_partition(sent, partition) == AnswerStep::FindOffsets
                {
                    out_of_range.push(sent);
                }
            }
        }
        for sent in out_of_range {
            self.find_offsets(sent).await;
        }
    }

    fn take_partition(&self, sent: &PlannedFetch, answer: FetchPartitionResponse) -> AnswerStep {
        let tp = &sent.partition;
        let now = self.replica_manager.now();
        let mut fetcher = self.shared.fetcher.lock();
        let head = FetchAnswer {
            error: answer.error_code,
            diverging_epoch: answer
                .diverging_epoch
                .as_ref()
                .filter(|end| end.epoch >= 0)
                .map(|end| EpochEndOffset {
                    leader_epoch: LeaderEpoch(end.epoch),
                    end_offset: end.end_offset,
                }),
        };
        let step = fetcher.on_answer(now, sent, &head);
        match step {
            AnswerStep::Append { fetch_offset } => {
                self.append(&mut fetcher, sent, fetch_offset, answer);
            }
            AnswerStep::Diverged(end) => {
                let own = self.replica_manager.own_log(tp, end.leader_epoch);
                let cut = own.and_then(|own: OwnLog| fetcher.diverged(tp, end, &own));
                if let Some(cut) = cut {
                    self.cut(&mut fetcher, tp, cut);
                }
            }
            AnswerStep::Delayed => {
                tracing::debug!(fetcher = self.name, partition = %tp, error = ?head.error, "waiting after an error");
            }
            AnswerStep::Failed => self.note_failed(&fetcher, tp),
            AnswerStep::Ignore | AnswerStep::FindOffsets => {}
        }
        step
    }

    fn append(
        &self,
        fetcher: &mut Fetcher,
        sent: &PlannedFetch,
        fetch_offset: i64,
        answer: FetchPartitionResponse,
    ) {
        let tp = &sent.partition;
        let records = match answer.records {
            Some(Part::Bytes(records)) => records,
            Some(Part::FileRange { .. } | Part::Lazy { .. }) | None => Bytes::new(),
        };
        let bytes = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let fetched = FetchedFromLeader {
            fetch_offset,
            records,
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
        };
        match self
            .replica_manager
            .append_fetched(tp, sent.current_leader_epoch, fetched)
        {
            Ok(appended) => {
                if let Some(appended) = appended {
                    fetcher.appended(tp, &appended);
                }
                // Nothing counts too: it keeps the window of measurement open, as in Kafka.
                let mut quota = self.quota.lock();
                if quota.is_throttled(tp) {
                    quota.record(bytes, self.replica_manager.now());
                }
            }
            Err(failure) => self.append_failed(fetcher, tp, failure),
        }
    }

    /// The leader does not have the offset that was asked for: finds out what it has.
    async fn find_offsets(&mut self, sent: &PlannedFetch) {
        let tp = &sent.partition;
        let found = self.ask_for_offsets(sent).await;
        let now = self.replica_manager.now();
        let mut fetcher = self.shared.fetcher.lock();
        let unchanged = fetcher.state(tp).is_some_and(|state| {
            state.current_leader_epoch == sent.current_leader_epoch
                && state.fetch_offset == sent.fetch_offset
        });
        if !unchanged {
            return;
        }
        let (leader_end, step) = match found {
            Ok(found) => found,
            Err(error) => {
                fetcher.offsets_not_found(now, sent, error);
                self.note_failed(&fetcher, tp);
                return;
            }
        };
        tracing::warn!(fetcher = self.name, partition = %tp, fetch_offset = sent.fetch_offset, leader_end, ?step, "offset out of range");
        let epoch = sent.current_leader_epoch;
        let (offset, cut) = match step {
            OutOfRange::TruncateTo(offset) => {
                let cut = self.replica_manager.truncate_follower(tp, epoch, offset);
                (offset, cut)
            }
            OutOfRange::StartAt(offset) => {
                let cut = self.replica_manager.start_follower_at(tp, epoch, offset);
                (offset, cut)
            }
            OutOfRange::Keep(offset) => (offset, Ok(self.replica_manager.latest_epoch(tp))),
        };
        match cut {
            Ok(latest_epoch) => {
                fetcher.reset(tp, offset, (leader_end - offset).max(0), latest_epoch);
            }
            Err(failure) => self.append_failed(&mut fetcher, tp, failure),
        }
    }

    async fn ask_for_offsets(
        &mut self,
        sent: &PlannedFetch,
    ) -> Result<(i64, OutOfRange), ErrorCode> {
        let (tp, epoch) = (&sent.partition, sent.current_leader_epoch);
        let no_answer = |error: ClientError| {
            tracing::warn!(%error, "the leader did not tell its offsets");
            ErrorCode::UnknownServerError
        };
        let own_end = self.replica_manager.log_end_offset(tp);
        let own_end = own_end.ok_or(ErrorCode::NotLeaderOrFollower)?;
        let latest = self.leader.offset(tp, epoch, LATEST).await;
        let leader_end = latest.map_err(no_answer)??;
        let leader_start = if leader_end < own_end {
            0
        } else {
            let earliest = self.leader.offset(tp, epoch, EARLIEST).await;
            earliest.map_err(no_answer)??
        };
        let step = truncation_after_out_of_range(leader_end, leader_start, own_end);
        Ok((leader_end, step))
    }
}
