//! The follower's side: one fetcher per leader, one request in flight each.

use ottla_model::{BrokerId, ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};
use ottla_replication::Partition;
use ottla_replication::fetcher::truncation::OwnLog;
use ottla_replication::fetcher::{
    AnswerStep, AppendFailure, Appended, EpochQuery, FetchAnswer, Fetcher, FetcherSettings,
    InitialFetch, OutOfRange, PlannedFetch, Truncation, truncation_after_out_of_range,
};
use ottla_replication::partition::EpochEndOffset;
use ottla_storage::{AppendError, Log};

use super::leading::end_of_epoch;
use super::{Io, Process, Purpose, offsets};
use crate::message::{FetchRequest, Fetched, FollowerPosition, Lane, Request};

/// The fetcher of one leader.
pub(super) struct Follower {
    pub(super) fetcher: Fetcher,
    /// Calls without an answer; a fetch goes out only when there is none.
    outstanding: usize,
    /// After an answer with nothing to do, or a lost connection.
    not_before: Option<Instant>,
}

impl Follower {
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.outstanding > 0 {
            return None;
        }
        let retry = self.not_before.filter(|at| *at > now);
        retry
            .into_iter()
            .chain(self.fetcher.next_deadline(now))
            .min()
    }
}

impl Process {
    pub(super) fn stop_following(&mut self, tp: &TopicPartition) {
        for follower in self.followers.values_mut() {
            follower.fetcher.remove(tp);
        }
    }

    pub(super) fn start_following(&mut self, tp: &TopicPartition, leader: BrokerId) {
        let Some(replica) = self.replicas.get(tp) else {
            return;
        };
        let Some(log) = &replica.log else { return };
        let settings = FetcherSettings {
            truncation_on_fetch: self.settings.truncation_on_fetch,
            epoch_queries: true,
            backoff: self.settings.fetch_backoff,
        };
        let latest_epoch = log.latest_epoch();
        let initial = InitialFetch {
            topic_id: log.topic_id(),
            current_leader_epoch: replica.partition.leader_epoch(),
            fetch_offset: InitialFetch::offset(
                settings.truncation_on_fetch,
                latest_epoch,
                log.log_end_offset(),
                log.high_watermark(),
            ),
            latest_epoch,
        };
        let follower = self.followers.entry(leader).or_insert_with(|| Follower {
            fetcher: Fetcher::new(settings),
            outstanding: 0,
            not_before: None,
        });
        follower.fetcher.add(tp.clone(), initial);
    }

    /// Sends what every idle fetcher has to ask.
    pub(super) fn fetch(&mut self, io: &mut Io<'_>) {
        let leaders: Vec<BrokerId> = self.followers.keys().copied().collect();
        for leader in leaders {
            let idle = self.followers.get(&leader).is_some_and(|follower| {
                follower.outstanding == 0 && follower.not_before.is_none_or(|at| at <= io.now)
            });
            if idle && !self.truncate_first(leader, io) {
                self.send_fetch(leader, io);
            }
        }
    }

    /// Truncates what can be truncated at once; true if the leader is asked where epochs end.
    fn truncate_first(&mut self, leader: BrokerId, io: &mut Io<'_>) -> bool {
        let Some(follower) = self.followers.get(&leader) else {
            return false;
        };
        let latest = |tp: &TopicPartition| {
            let log = self.replicas.get(tp)?.log.as_ref()?;
            log.latest_epoch()
        };
        let plan = follower.fetcher.truncation_plan(io.now, &latest);
        for (tp, cut) in plan.cuts {
            self.truncate(leader, &tp, cut, io);
        }
        if plan.queries.is_empty() {
            return false;
        }
        let request = Request::EpochEnds(plan.queries.clone());
        let queries = plan.queries;
        self.ask_leader(leader, request, Purpose::EpochEnds { leader, queries }, io);
        true
    }

    fn send_fetch(&mut self, leader: BrokerId, io: &mut Io<'_>) {
        let Some(follower) = self.followers.get(&leader) else {
            return;
        };
        let sent = follower.fetcher.fetch_plan(io.now, &mut |_, _| false);
        if sent.is_empty() {
            return;
        }
        let partitions = sent
            .iter()
            .map(|fetch| FollowerPosition {
                fetch: fetch.clone(),
                log_start_offset: self.log(&fetch.partition).map_or(-1, Log::log_start_offset),
            })
            .collect();
        let request = Request::Fetch(FetchRequest {
            follower: self.id,
            broker_epoch: self.view().broker_epoch,
            partitions,
        });
        self.ask_leader(leader, request, Purpose::Fetch { leader, sent }, io);
    }

    fn ask_leader(
        &mut self,
        leader: BrokerId,
        request: Request,
        purpose: Purpose,
        io: &mut Io<'_>,
    ) {
        let call = io.call(leader, Lane::Replication, request);
        self.calls.insert(call, purpose);
        if let Some(follower) = self.followers.get_mut(&leader) {
            follower.outstanding += 1;
            follower.not_before = None;
        }
    }

    fn answered(&mut self, leader: BrokerId) -> Option<&mut Follower> {
        let follower = self.followers.get_mut(&leader)?;
        follower.outstanding -= 1;
        Some(follower)
    }

    pub(super) fn on_leader_lost(&mut self, leader: BrokerId, io: &Io<'_>) {
        let backoff = self.settings.fetch_backoff;
        if let Some(follower) = self.answered(leader) {
            follower.fetcher.request_failed(io.now);
            follower.not_before = Some(io.now + backoff);
        }
    }

    pub(super) fn on_epoch_ends(
        &mut self,
        leader: BrokerId,
        queries: &[EpochQuery],
        answers: &[Result<EpochEndOffset, ErrorCode>],
        io: &Io<'_>,
    ) {
        self.answered(leader);
        for (query, answer) in queries.iter().zip(answers) {
            let tp = &query.partition;
            let epoch = answer.map_or(LeaderEpoch::NONE, |end| end.leader_epoch);
            let Some(own) = self.own_log(tp, epoch) else {
                continue;
            };
            let Some(follower) = self.followers.get_mut(&leader) else {
                continue;
            };
            if let Some(cut) = follower.fetcher.on_epoch_end(io.now, query, *answer, &own) {
                self.truncate(leader, tp, cut, io);
            }
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        leader: BrokerId,
        sent: &[PlannedFetch],
        answers: Vec<Fetched>,
        io: &mut Io<'_>,
    ) {
        self.answered(leader);
        for (fetch, fetched) in sent.iter().zip(answers) {
            let Some(follower) = self.followers.get_mut(&leader) else {
                return;
            };
            let answer = FetchAnswer {
                error: fetched.error,
                diverging_epoch: fetched.diverging_epoch,
            };
            match follower.fetcher.on_answer(io.now, fetch, &answer) {
                AnswerStep::Ignore | AnswerStep::Delayed | AnswerStep::Failed => {}
                AnswerStep::Append { fetch_offset } => {
                    self.append_fetched(leader, &fetch.partition, fetch_offset, &fetched, io);
                }
                AnswerStep::Diverged(end) => self.on_diverged(leader, &fetch.partition, end, io),
                AnswerStep::FindOffsets => {
                    let request = Request::ListOffsets {
                        partition: fetch.partition.clone(),
                        current_leader_epoch: fetch.current_leader_epoch,
                    };
                    let sent = fetch.clone();
                    self.ask_leader(leader, request, Purpose::Offsets { leader, sent }, io);
                }
            }
        }
    }

    fn append_fetched(
        &mut self,
        leader: BrokerId,
        tp: &TopicPartition,
        fetch_offset: Offset,
        fetched: &Fetched,
        io: &Io<'_>,
    ) {
        self.touched.insert(tp.clone());
        let outcome = self.try_append_fetched(tp, fetch_offset, fetched, io);
        let Some(follower) = self.followers.get_mut(&leader) else {
            return;
        };
        match outcome {
            Ok(appended) => follower.fetcher.appended(tp, &appended),
            Err(failure) => follower.fetcher.append_failed(io.now, tp, failure),
        }
    }

    fn try_append_fetched(
        &mut self,
        tp: &TopicPartition,
        fetch_offset: Offset,
        fetched: &Fetched,
        io: &Io<'_>,
    ) -> Result<Appended, AppendFailure> {
        let replica = self.replicas.get_mut(tp);
        let log = replica
            .and_then(|replica| replica.log.as_mut())
            .ok_or(AppendFailure::Unexpected)?;
        if log.log_end_offset() != fetch_offset {
            return Err(AppendFailure::Unexpected);
        }
        let info = log
            .append_as_follower(fetched.records.clone(), io.wall)
            .map_err(|error| match error {
                AppendError::Analysis(_) => AppendFailure::Corrupt,
                _ => AppendFailure::Unexpected,
            })?;
        if let Some(offset) =
            Partition::follower_high_watermark(fetched.high_watermark, &offsets(log))
        {
            log.update_high_watermark(offset);
        }
        log.maybe_increment_log_start_offset(fetched.log_start_offset)
            .map_err(|_| AppendFailure::Unexpected)?;
        let appended = info.last_offset >= 0;
        Ok(Appended {
            last_offset: appended.then_some(info.last_offset),
            last_leader_epoch: appended.then_some(info.last_leader_epoch),
            leader_high_watermark: fetched.high_watermark,
        })
    }

    fn on_diverged(
        &mut self,
        leader: BrokerId,
        tp: &TopicPartition,
        end: EpochEndOffset,
        io: &Io<'_>,
    ) {
        let Some(own) = self.own_log(tp, end.leader_epoch) else {
            return;
        };
        let follower = self.followers.get(&leader);
        if let Some(cut) = follower.and_then(|f| f.fetcher.diverged(tp, end, &own)) {
            self.truncate(leader, tp, cut, io);
        }
    }

    pub(super) fn on_leader_offsets(
        &mut self,
        leader: BrokerId,
        sent: &PlannedFetch,
        answer: Result<(Offset, Offset), ErrorCode>,
        io: &Io<'_>,
    ) {
        let own_end = self.log(&sent.partition).map_or(0, Log::log_end_offset);
        let Some(follower) = self.answered(leader) else {
            return;
        };
        let still = follower
            .fetcher
            .state(&sent.partition)
            .is_some_and(|state| state.current_leader_epoch == sent.current_leader_epoch);
        if !still {
            return;
        }
        match answer {
            Err(error) => {
                follower.fetcher.offsets_not_found(io.now, sent, error);
            }
            Ok((latest, earliest)) => {
                let tp = &sent.partition;
                match truncation_after_out_of_range(latest, earliest, own_end) {
                    OutOfRange::TruncateTo(offset) => {
                        self.cut_log(tp, offset, io);
                        self.reset(leader, tp, offset, latest);
                    }
                    OutOfRange::StartAt(offset) => {
                        self.restart_log(tp, offset, io);
                        self.reset(leader, tp, offset, latest);
                    }
                    OutOfRange::Keep(offset) => self.reset(leader, tp, offset, latest),
                }
            }
        }
    }

    fn reset(&mut self, leader: BrokerId, tp: &TopicPartition, offset: Offset, leader_end: Offset) {
        let latest_epoch = self.log(tp).and_then(Log::latest_epoch);
        if let Some(follower) = self.followers.get_mut(&leader) {
            let lag = (leader_end - offset).max(0);
            follower.fetcher.reset(tp, offset, lag, latest_epoch);
        }
    }

    fn own_log(&self, tp: &TopicPartition, leaders_epoch: LeaderEpoch) -> Option<OwnLog> {
        let log = self.replicas.get(tp)?.log.as_ref()?;
        let end = end_of_epoch(log, leaders_epoch);
        Some(OwnLog {
            log_end_offset: log.log_end_offset(),
            end_of_leaders_epoch: (!end.is_undefined()).then_some(end),
        })
    }

    fn truncate(&mut self, leader: BrokerId, tp: &TopicPartition, cut: Truncation, io: &Io<'_>) {
        let is_cut = self.cut_log(tp, cut.offset, io);
        let latest_epoch = self.log(tp).and_then(Log::latest_epoch);
        let Some(follower) = self.followers.get_mut(&leader) else {
            return;
        };
        if is_cut {
            follower.fetcher.truncated(tp, cut, latest_epoch);
        } else {
            let failure = AppendFailure::Unexpected;
            follower.fetcher.append_failed(io.now, tp, failure);
        }
    }

    fn cut_log(&mut self, tp: &TopicPartition, offset: Offset, io: &Io<'_>) -> bool {
        self.touched.insert(tp.clone());
        let Some(replica) = self.replicas.get_mut(tp) else {
            return false;
        };
        let Some(log) = &mut replica.log else {
            return false;
        };
        let is_cut = log.truncate_to(offset, io.wall);
        let recovery_point = log.recovery_point();
        let lowest = replica.cut_to.map_or(offset, |before| before.min(offset));
        replica.cut_to = Some(lowest);
        if matches!(is_cut, Ok(true)) {
            self.disk.note_recovery_point(tp, recovery_point);
        }
        is_cut.is_ok()
    }

    fn restart_log(&mut self, tp: &TopicPartition, offset: Offset, io: &Io<'_>) {
        self.touched.insert(tp.clone());
        let Some(replica) = self.replicas.get_mut(tp) else {
            return;
        };
        let Some(log) = &mut replica.log else { return };
        // A failure takes the directory offline, which is noticed after the event.
        _ = log.truncate_fully_and_start_at(offset, None, io.wall);
        let recovery_point = log.recovery_point();
        replica.cut_to = Some(0);
        self.disk.note_recovery_point(tp, recovery_point);
    }
}
