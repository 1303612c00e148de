//! The partitions of one fetcher, in the order in which they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, TopicId, TopicPartition};

use super::state::{FetchState, InitialFetch, ReplicaState};
use super::truncation::{self, OwnLog, Truncation};
use crate::partition::EpochEndOffset;

/// What a fetcher speaks, by inter-broker protocol version.
#[derive(Clone, Copy, Debug)]
pub struct FetcherSettings {
    /// Leaders answer a fetch with a diverging epoch (2.7-IV1).
    pub truncation_on_fetch: bool,
    /// Leaders can be asked where an epoch ends (0.11-IV2).
    pub epoch_queries: bool,
    /// `replica.fetch.backoff.ms`.
    pub backoff: Duration,
}

/// A question to the leader: where does `leader_epoch` end?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochQuery {
    /// The partition.
    pub partition: TopicPartition,
    /// The leadership that we believe in.
    pub current_leader_epoch: LeaderEpoch,
    /// The last epoch in our log.
    pub leader_epoch: LeaderEpoch,
}

/// What must happen before the truncating partitions can be fetched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TruncationPlan {
    /// To be asked.
    pub queries: Vec<EpochQuery>,
    /// To be cut at once, since no epochs are known: at the high watermark.
    pub cuts: Vec<(TopicPartition, Truncation)>,
}

/// One partition of the next fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedFetch {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's id, if it has one.
    pub topic_id: Option<TopicId>,
    /// From where.
    pub fetch_offset: Offset,
    /// The leadership that we believe in.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of our last record, where the leader can use it.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// The leader's answer for one partition, without its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchAnswer {
    /// The error.
    pub error: ErrorCode,
    /// Where our history and the leader's part.
    pub diverging_epoch: Option<EpochEndOffset>,
}

/// What to do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerStep {
    /// The partition has moved on since the request: nothing.
    Ignore,
    /// Append the records if the log ends at the fetch offset (else report
    /// [`AppendFailure::Unexpected`]), take over high watermark and log start, then call
    /// [`Fetcher::appended`].
    Append {
        /// Where the log must end.
        fetch_offset: Offset,
    },
    /// Compare and truncate ([`Fetcher::diverged`]); high watermark and log start stay.
    Diverged(EpochEndOffset),
    /// Ask the leader for its latest and earliest offsets, see [`truncation_after_out_of_range`].
    FindOffsets,
    /// The partition waits and is tried again.
    Delayed,
    /// The partition waits for a new LeaderAndIsr.
    Failed,
}

/// What was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The last offset, if there were records at all.
    pub last_offset: Option<Offset>,
    /// The leader epoch of the last batch.
    pub last_leader_epoch: Option<LeaderEpoch>,
    /// The leader's high watermark.
    pub leader_high_watermark: Offset,
}

/// Why records were not appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendFailure {
    /// They are damaged; perhaps only this time.
    Corrupt,
    /// The disk failed, or something that must not be: the partition fails.
    Unexpected,
}

/// What to do after OFFSET_OUT_OF_RANGE, given the leader's offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutOfRange {
    /// An unclean election lost our tail: cut to the leader's end.
    TruncateTo(Offset),
    /// All that we have is gone at the leader: start anew at its log start.
    StartAt(Offset),
    /// Keep the log and fetch from its end.
    Keep(Offset),
}

/// What to do after OFFSET_OUT_OF_RANGE. `leader_start` is only asked for when the leader's end
/// is not behind ours.
pub fn truncation_after_out_of_range(
    leader_end: Offset,
    leader_start: Offset,
    own_end: Offset,
) -> OutOfRange {
    if leader_end < own_end {
        OutOfRange::TruncateTo(leader_end)
    } else if leader_start > own_end {
        OutOfRange::StartAt(leader_start)
    } else {
        OutOfRange::Keep(own_end)
    }
}

/// See the module above.
#[derive(Debug)]
pub struct Fetcher {
    settings: FetcherSettings,
    states: BTreeMap<TopicPartition, (u64, FetchState)>,
    order: BTreeMap<u64, TopicPartition>,
    next_place: u64,
    failed: BTreeSet<TopicPartition>,
}

impl Fetcher {
    /// A fetcher without partitions.
    pub fn new(settings: FetcherSettings) -> Self {
        Self {
            settings,
            states: BTreeMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
            failed: BTreeSet::new(),
        }
    }

    /// Begins to follow, or goes on under a new leadership. The same leadership changes nothing.
    pub fn add(&mut self, partition: TopicPartition, initial: InitialFetch) {
        self.failed.remove(&partition);
        let same_epoch =
            |state: &FetchState| state.current_leader_epoch == initial.current_leader_epoch;
        if self.state(&partition).is_some_and(same_epoch) {
            self.move_to_end(&partition);
            return;
        }
        // Logs in the old format have no epochs and are cut at the high watermark.
        let trusts_fetch = self.settings.truncation_on_fetch && initial.latest_epoch.is_some();
        let state = FetchState {
            topic_id: initial.topic_id,
            fetch_offset: initial.fetch_offset,
            lag: None,
            current_leader_epoch: initial.current_leader_epoch,
            delayed_until: None,
            state: if trusts_fetch {
                ReplicaState::Fetching
            } else {
                ReplicaState::Truncating
            },
            last_fetched_epoch: initial.latest_epoch.filter(|_| trusts_fetch),
        };
        self.remove(&partition);
        self.states
            .insert(partition.clone(), (self.next_place, state));
        self.order.insert(self.next_place, partition);
        self.next_place += 1;
    }

    /// Stops following.
    pub fn remove(&mut self, partition: &TopicPartition) -> Option<FetchState> {
        let (place, state) = self.states.remove(partition)?;
        self.order.remove(&place);
        Some(state)
    }

    /// A partition's state.
    pub fn state(&self, partition: &TopicPartition) -> Option<&FetchState> {
        self.states.get(partition).map(|(_, state)| state)
    }

    /// Whether nothing is followed, so that the connection can go.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The lag of each partition in records, 0 where it is not known yet (`ConsumerLag`).
    pub fn lags(&self) -> impl Iterator<Item = (&TopicPartition, i64)> {
        let states = self.states.iter();
        states.map(|(partition, (_, s))| (partition, s.lag.unwrap_or(0)))
    }

    /// The partitions that wait for a new LeaderAndIsr (`FailedPartitionsCount`).
    pub fn failed_partitions(&self) -> &BTreeSet<TopicPartition> {
        &self.failed
    }

    /// Takes over a topic's id, or forgets it.
    pub fn set_topic_id(&mut self, partition: &TopicPartition, topic_id: Option<TopicId>) {
        if let Some((_, state)) = self.states.get_mut(partition) {
            state.topic_id = topic_id;
        }
    }

    /// What the truncating partitions need; `latest_epoch` tells the last epoch in each log.
    pub fn truncation_plan(
        &self,
        now: Instant,
        latest_epoch: &dyn Fn(&TopicPartition) -> Option<LeaderEpoch>,
    ) -> TruncationPlan {
        let mut plan = TruncationPlan::default();
        for (partition, state) in self.in_order().filter(|(_, s)| s.is_truncating(now)) {
            match latest_epoch(partition).filter(|_| self.settings.epoch_queries) {
                Some(leader_epoch) => plan.queries.push(EpochQuery {
                    partition: partition.clone(),
                    current_leader_epoch: state.current_leader_epoch,
                    leader_epoch,
                }),
                None => plan.cuts.push((
                    partition.clone(),
                    Truncation {
                        offset: state.fetch_offset,
                        is_complete: true,
                    },
                )),
            }
        }
        plan
    }

    /// Takes the leader's answer to a query. `own` tells what our log says of the epoch that the
    /// leader named. `Some` is to be carried out and reported to [`truncated`](Self::truncated).
    pub fn on_epoch_end(
        &mut self,
        now: Instant,
        query: &EpochQuery,
        answer: Result<EpochEndOffset, ErrorCode>,
        own: &OwnLog,
    ) -> Option<Truncation> {
        let state = self.state(&query.partition)?;
        if state.current_leader_epoch != query.current_leader_epoch {
            return None;
        }
        match answer {
            Ok(end) => Some(truncation::decide(end, state.fetch_offset, own)),
            Err(ErrorCode::FencedLeaderEpoch) => {
                self.fenced(now, &query.partition, query.current_leader_epoch);
                None
            }
            Err(_) => {
                self.delay(now, &query.partition);
                None
            }
        }
    }

    /// Where to cut after a diverging epoch; `None` if the partition is gone.
    pub fn diverged(
        &self,
        partition: &TopicPartition,
        end: EpochEndOffset,
        own: &OwnLog,
    ) -> Option<Truncation> {
        Some(truncation::decide(
            end,
            self.state(partition)?.fetch_offset,
            own,
        ))
    }

    /// A cut was made; `latest_epoch` is the last epoch in the log now.
    pub fn truncated(
        &mut self,
        partition: &TopicPartition,
        cut: Truncation,
        latest_epoch: Option<LeaderEpoch>,
    ) {
        let on_fetch = self.settings.truncation_on_fetch;
        if let Some((_, state)) = self.states.get_mut(partition) {
            state.fetch_offset = cut.offset;
            state.last_fetched_epoch = latest_epoch;
            state.state = if on_fetch || cut.is_complete {
                ReplicaState::Fetching
            } else {
                ReplicaState::Truncating
            };
        }
    }

    /// The partitions of the next fetch, in order; `is_throttled` leaves partitions out that lag
    /// while the quota is used up. Empty: wait for the backoff.
    pub fn fetch_plan(
        &self,
        now: Instant,
        is_throttled: &mut dyn FnMut(&TopicPartition, Option<i64>) -> bool,
    ) -> Vec<PlannedFetch> {
        self.in_order()
            .filter(|(_, state)| state.is_ready(now))
            .filter(|(partition, state)| !is_throttled(partition, state.lag))
            .map(|(partition, state)| PlannedFetch {
                partition: partition.clone(),
                topic_id: state.topic_id,
                fetch_offset: state.fetch_offset,
                current_leader_epoch: state.current_leader_epoch,
                last_fetched_epoch: state
                    .last_fetched_epoch
                    .filter(|_| self.settings.truncation_on_fetch),
            })
            .collect()
    }

    /// Takes the answer for one partition.
    pub fn on_answer(
        &mut self,
        now: Instant,
        sent: &PlannedFetch,
        answer: &FetchAnswer,
    ) -> AnswerStep {
        let partition = &sent.partition;
        let unchanged = self
            .state(partition)
            .is_some_and(|s| s.fetch_offset == sent.fetch_offset && s.is_ready(now));
        if !unchanged {
            return AnswerStep::Ignore;
        }
        match answer.error {
            ErrorCode::None => match answer.diverging_epoch {
                Some(end) if self.settings.truncation_on_fetch => AnswerStep::Diverged(end),
                _ => AnswerStep::Append {
                    fetch_offset: sent.fetch_offset,
                },
            },
            ErrorCode::OffsetOutOfRange => AnswerStep::FindOffsets,
            ErrorCode::FencedLeaderEpoch => self.fenced(now, partition, sent.current_leader_epoch),
            _ => {
                self.delay(now, partition);
                AnswerStep::Delayed
            }
        }
    }

    /// The records of an answer were appended.
    pub fn appended(&mut self, partition: &TopicPartition, appended: &Appended) {
        let Some((_, state)) = self.states.get_mut(partition) else {
            return;
        };
        if appended.last_offset.is_none() && state.lag.is_some() {
            return;
        }
        if let Some(last_offset) = appended.last_offset {
            state.fetch_offset = last_offset + 1;
        }
        state.lag = Some((appended.leader_high_watermark - state.fetch_offset).max(0));
        state.last_fetched_epoch = appended.last_leader_epoch.or(state.last_fetched_epoch);
        self.move_to_end(partition);
    }

    /// The records of an answer were not appended, or a truncation failed.
    pub fn append_failed(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        failure: AppendFailure,
    ) {
        match failure {
            AppendFailure::Corrupt => self.delay(now, partition),
            AppendFailure::Unexpected => self.fail(partition),
        }
    }

    /// The answer to [`AnswerStep::FindOffsets`] failed.
    pub fn offsets_not_found(
        &mut self,
        now: Instant,
        sent: &PlannedFetch,
        error: ErrorCode,
    ) -> AnswerStep {
        if error == ErrorCode::FencedLeaderEpoch {
            return self.fenced(now, &sent.partition, sent.current_leader_epoch);
        }
        self.delay(now, &sent.partition);
        AnswerStep::Delayed
    }

    /// What [`truncation_after_out_of_range`] said was carried out; fetching goes on at `offset`.
    pub fn reset(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        lag: i64,
        latest_epoch: Option<LeaderEpoch>,
    ) {
        if let Some((_, state)) = self.states.get_mut(partition) {
            state.fetch_offset = offset;
            state.lag = Some(lag);
            state.state = ReplicaState::Fetching;
            state.last_fetched_epoch = latest_epoch;
            self.move_to_end(partition);
        }
    }

    /// A whole request failed: everybody waits, and the fetch session begins anew.
    pub fn request_failed(&mut self, now: Instant) {
        let partitions: Vec<_> = self.states.keys().cloned().collect();
        for partition in &partitions {
            self.delay(now, partition);
        }
    }

    /// When a delayed partition is ready again.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.states
            .values()
            .filter_map(|(_, s)| s.delayed_until.filter(|until| *until > now))
            .min()
    }

    fn in_order(&self) -> impl Iterator<Item = (&TopicPartition, &FetchState)> {
        self.order
            .values()
            .filter_map(|tp| self.state(tp).map(|state| (tp, state)))
    }

    /// The leader is ahead of us in epochs. If ours has not changed since we asked, only the
    /// controller can help.
    fn fenced(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        asked: LeaderEpoch,
    ) -> AnswerStep {
        if self
            .state(partition)
            .is_some_and(|state| state.current_leader_epoch == asked)
        {
            self.fail(partition);
            return AnswerStep::Failed;
        }
        self.delay(now, partition);
        AnswerStep::Delayed
    }

    fn fail(&mut self, partition: &TopicPartition) {
        if self.remove(partition).is_some() {
            self.failed.insert(partition.clone());
        }
    }

    fn delay(&mut self, now: Instant, partition: &TopicPartition) {
        let backoff = self.settings.backoff;
        let Some((_, state)) = self.states.get_mut(partition) else {
            return;
        };
        if !state.is_delayed(now) {
            state.delayed_until = Some(now + backoff);
            self.move_to_end(partition);
        }
    }

    fn move_to_end(&mut self, partition: &TopicPartition) {
        if let Some((place, _)) = self.states.get_mut(partition) {
            if let Some(name) = self.order.remove(place) {
                self.order.insert(self.next_place, name);
            }
            *place = self.next_place;
            self.next_place += 1;
        }
    }
}
