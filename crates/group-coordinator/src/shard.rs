//! All groups of one partition of `__consumer_offsets`, and the gate before them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_coordinator_runtime::{
    AppendResult, AppendToken, DeadlineQueue, Now, RequestId, TransactionOutcome,
};
use ottla_model::{ErrorCode, Instant, LeaderEpoch, ProducerId, TopicPartition};

use crate::commit::{no_offset, same_for_all};
use crate::config::GroupConfig;
use crate::context::{Appends, CleanupCause, Context, GroupRef, InFlight, TimerKey};
use crate::group::{Group, GroupState};
use crate::load::Loader;
use crate::messages::{
    Event, FetchedOffset, GroupAction, GroupDescription, GroupOverview, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, Request,
    Response, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
};
use crate::stats::{Gauges, Stats};

/// Whether the shard serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The broker does not lead the partition, or has not begun to read it.
    NotOwned,
    /// The partition is being read.
    Loading,
    /// Requests are served.
    Active,
    /// The broker goes down.
    ShutDown,
}

/// The group coordinator of one partition.
#[derive(Debug)]
pub struct GroupCoordinatorShard {
    config: Arc<GroupConfig>,
    status: Status,
    /// The newest leadership that was heard of; older news is ignored.
    leader_epoch: Option<LeaderEpoch>,
    /// Numbers the loads, so that a load that was overtaken by a resignation is recognized.
    load_ticket: u64,
    next_incarnation: u64,
    groups: BTreeMap<Arc<str>, Group>,
    deadlines: DeadlineQueue<TimerKey>,
    appends: Appends,
    stats: Stats,
}

impl GroupCoordinatorShard {
    /// A shard whose partition the broker does not lead yet.
    pub fn new(config: Arc<GroupConfig>) -> Self {
        Self {
            config,
            status: Status::NotOwned,
            leader_epoch: None,
            load_ticket: 0,
            next_incarnation: 0,
            groups: BTreeMap::new(),
            deadlines: DeadlineQueue::default(),
            appends: Appends::default(),
            stats: Stats::default(),
        }
    }

    /// Whether the shard serves.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many groups and offsets there are.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges {
            groups: self.groups.len(),
            ..Gauges::default()
        };
        for group in self.groups.values() {
            gauges.offsets += group.offsets.committed().len();
            match group.state() {
                GroupState::Empty => gauges.empty += 1,
                GroupState::PreparingRebalance => gauges.preparing_rebalance += 1,
                GroupState::CompletingRebalance => gauges.completing_rebalance += 1,
                GroupState::Stable => gauges.stable += 1,
                GroupState::Dead => {}
            }
        }
        gauges
    }

    /// When [`Event::DeadlinesDue`] is to be given next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next_deadline()
    }

    /// The broker was elected: from now on requests hear that the partition is being loaded.
    /// The loader is to be fed with the whole log and given to [`Self::finish_load`]. `None` if
    /// the news is old, or the partition is owned or being loaded already.
    pub fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Option<Loader> {
        if !self.learn_epoch(Some(leader_epoch)) || self.status != Status::NotOwned {
            return None;
        }
        self.status = Status::Loading;
        self.load_ticket += 1;
        Some(Loader::new(self.load_ticket))
    }

    /// The log is read: begin to serve. Whether this was still wanted.
    pub fn finish_load(
        &mut self,
        now: Now,
        loader: Loader,
        actions: &mut Vec<GroupAction>,
    ) -> bool {
        if self.status != Status::Loading || loader.ticket != self.load_ticket {
            return false;
        }
        self.status = Status::Active;
        let next_incarnation = &mut self.next_incarnation;
        self.groups = loader.into_groups(now.timestamp, || {
            *next_incarnation += 1;
            *next_incarnation
        });
        let (groups, mut ctx) = self.split(now, actions);
        for group in groups.values_mut() {
            let limit = usize::try_from(ctx.config.group_max_size).unwrap_or(0);
            if group.members.len() > limit {
                group.prepare_rebalance(&mut ctx, "the group is loaded above its maximum size");
            }
            let member_ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
            for member_id in member_ids {
                group.restart_session(&mut ctx, &member_id);
            }
        }
        true
    }

    /// Takes an event and appends what is to be done to `actions`.
    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<GroupAction>) {
        match event {
            Event::Request { id, request } => self.on_request(now, id, request, actions),
            Event::AppendDone { token, result } => {
                self.on_append_done(now, token, result, actions);
            }
            Event::DeadlinesDue => self.on_deadlines(now, actions),
            Event::TransactionCompleted {
                producer_id,
                outcome,
            } => {
                self.on_transaction_completed(producer_id, outcome);
            }
            Event::PartitionsDeleted(partitions) => {
                self.clean_up(now, actions, CleanupCause::PartitionDelete, |_, _| {
                    partitions.clone()
                });
            }
            Event::ExpireOffsets => {
                self.clean_up(now, actions, CleanupCause::Expired, |group, config| {
                    group.expired_offsets(now.timestamp, config.offsets_retention_ms)
                });
            }
            Event::Resigned(leader_epoch) => {
                if self.learn_epoch(leader_epoch) && self.status != Status::ShutDown {
                    self.unload(now, actions);
                    self.status = Status::NotOwned;
                }
            }
            Event::ShutDown => {
                self.unload(now, actions);
                self.status = Status::ShutDown;
            }
        }
    }

    /// OffsetFetch: some partitions, or all that have an offset.
    ///
    /// # Errors
    /// Why the shard does not serve the group.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<Vec<FetchedOffset>, ErrorCode> {
        self.gate(group_id, EmptyGroupId::Legal)?;
        Ok(match self.groups.get(group_id) {
            Some(group) => group.fetch_offsets(partitions, require_stable),
            None => partitions.unwrap_or(&[]).iter().map(no_offset).collect(),
        })
    }

    /// DescribeGroups, one group.
    ///
    /// # Errors
    /// Why the shard does not serve the group.
    pub fn describe_group(&self, group_id: &str) -> Result<GroupDescription, ErrorCode> {
        self.gate(group_id, EmptyGroupId::Legal)?;
        Ok(self
            .groups
            .get(group_id)
            .map_or_else(GroupDescription::dead, Group::description))
    }

    /// ListGroups: the groups of this shard, none while it is being loaded.
    pub fn list_groups(&self) -> Vec<GroupOverview> {
        self.groups.values().map(Group::overview).collect()
    }

    /// TxnOffsetCommit, before its transaction is verified: passes the gate and creates the group,
    /// which in Kafka exists from then on even if the verification fails.
    ///
    /// # Errors
    /// Why the shard does not serve the group.
    pub fn begin_transactional_commit(
        &mut self,
        now: Now,
        group_id: &Arc<str>,
    ) -> Result<(), ErrorCode> {
        self.gate(group_id, EmptyGroupId::Invalid)?;
        self.get_or_create(now, group_id);
        Ok(())
    }

    fn learn_epoch(&mut self, heard: Option<LeaderEpoch>) -> bool {
        let Some(heard) = heard else { return true };
        if self.leader_epoch.is_some_and(|known| heard < known) {
            return false;
        }
        self.leader_epoch = Some(heard);
        true
    }

    fn gate(&self, group_id: &str, empty_group_id: EmptyGroupId) -> Result<(), ErrorCode> {
        if group_id.is_empty() && empty_group_id == EmptyGroupId::Invalid {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.status {
            Status::ShutDown => Err(ErrorCode::CoordinatorNotAvailable),
            Status::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Status::NotOwned => Err(ErrorCode::NotCoordinator),
            Status::Active => Ok(()),
        }
    }

    fn split<'a>(
        &'a mut self,
        now: Now,
        actions: &'a mut Vec<GroupAction>,
    ) -> (&'a mut BTreeMap<Arc<str>, Group>, Context<'a>) {
        let context = Context {
            now,
            config: &self.config,
            deadlines: &mut self.deadlines,
            appends: &mut self.appends,
            stats: &mut self.stats,
            actions,
        };
        (&mut self.groups, context)
    }

    fn get_or_create(&mut self, now: Now, group_id: &Arc<str>) {
        if !self.groups.contains_key(group_id) {
            self.next_incarnation += 1;
            let group = Group::new(group_id.clone(), self.next_incarnation, now.timestamp);
            self.groups.insert(group_id.clone(), group);
        }
    }

    fn on_request(
        &mut self,
        now: Now,
        id: RequestId,
        request: Request,
        actions: &mut Vec<GroupAction>,
    ) {
        match request {
            Request::JoinGroup(request) => self.on_join(now, id, request, actions),
            Request::SyncGroup(request) => self.on_sync(now, id, request, actions),
            Request::Heartbeat {
                group_id,
                member_id,
                group_instance_id,
                generation_id,
            } => {
                let error = match self.gate(&group_id, EmptyGroupId::Invalid) {
                    // Blindly: old clients do not know the error, and sessions restart anyway.
                    Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
                    Err(error) => error,
                    Ok(()) => {
                        let (groups, mut ctx) = self.split(now, actions);
                        groups
                            .get_mut(&group_id)
                            .map_or(ErrorCode::UnknownMemberId, |group| {
                                let instance_id = group_instance_id.as_deref();
                                group.heartbeat(&mut ctx, &member_id, instance_id, generation_id)
                            })
                    }
                };
                let (_, mut ctx) = self.split(now, actions);
                ctx.reply(id, Response::Heartbeat(error));
            }
            Request::LeaveGroup(request) => self.on_leave(now, id, request, actions),
            Request::OffsetCommit(request) => self.on_commit(now, id, request, actions),
            Request::TxnOffsetCommit(request) => {
                self.on_transactional_commit(now, id, request, actions);
            }
            Request::OffsetDelete {
                group_id,
                partitions,
            } => {
                self.on_offset_delete(now, id, &group_id, partitions, actions);
            }
            Request::DeleteGroup { group_id } => {
                self.on_delete_group(now, id, &group_id, actions);
            }
        }
    }

    fn on_join(
        &mut self,
        now: Now,
        id: RequestId,
        request: JoinGroupRequest,
        actions: &mut Vec<GroupAction>,
    ) {
        let timeouts =
            self.config.group_min_session_timeout_ms..=self.config.group_max_session_timeout_ms;
        let error = match self.gate(&request.group_id, EmptyGroupId::Invalid) {
            Err(error) => Some(error),
            Ok(()) if !timeouts.contains(&request.session_timeout_ms) => {
                Some(ErrorCode::InvalidSessionTimeout)
            }
            Ok(()) => None,
        };
        if error.is_none() && request.member_id.is_empty() {
            self.get_or_create(now, &request.group_id);
        }
        let (groups, mut ctx) = self.split(now, actions);
        match (error, groups.get_mut(&request.group_id)) {
            (Some(error), _) => {
                ctx.reply_join(id, JoinGroupResponse::error(request.member_id, error));
            }
            (None, None) => {
                let error = ErrorCode::UnknownMemberId;
                ctx.reply_join(id, JoinGroupResponse::error(request.member_id, error));
            }
            (None, Some(group)) => group.join(&mut ctx, id, request),
        }
    }

    fn on_sync(
        &mut self,
        now: Now,
        id: RequestId,
        request: SyncGroupRequest,
        actions: &mut Vec<GroupAction>,
    ) {
        let gate = self.gate(&request.group_id, EmptyGroupId::Invalid);
        let (groups, mut ctx) = self.split(now, actions);
        let error = match gate {
            // The rebalance is lost with the move: the member has to join again, which it can do
            // here, without a new look-up.
            Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::RebalanceInProgress,
            Err(error) => error,
            Ok(()) => match groups.get_mut(&request.group_id) {
                Some(group) => return group.sync(&mut ctx, id, request),
                None => ErrorCode::UnknownMemberId,
            },
        };
        ctx.reply_sync(id, SyncGroupResponse::error(error));
    }

    fn on_leave(
        &mut self,
        now: Now,
        id: RequestId,
        request: LeaveGroupRequest,
        actions: &mut Vec<GroupAction>,
    ) {
        let gate = self.gate(&request.group_id, EmptyGroupId::Invalid);
        let (groups, mut ctx) = self.split(now, actions);
        let response = match gate {
            Err(error) => LeaveGroupResponse {
                error,
                members: Vec::new(),
            },
            Ok(()) => {
                let mut group = groups.get_mut(&request.group_id);
                let members = request
                    .members
                    .into_iter()
                    .map(|leaving| {
                        let error = match &mut group {
                            Some(group) => group.leave(&mut ctx, &leaving),
                            None => ErrorCode::UnknownMemberId,
                        };
                        (leaving, error)
                    })
                    .collect();
                LeaveGroupResponse {
                    error: ErrorCode::None,
                    members,
                }
            }
        };
        ctx.reply(id, Response::LeaveGroup(response));
    }

    fn on_commit(
        &mut self,
        now: Now,
        id: RequestId,
        request: OffsetCommitRequest,
        actions: &mut Vec<GroupAction>,
    ) {
        let gate = self.gate(&request.group_id, EmptyGroupId::Legal);
        // A commit from outside of any membership needs no group before it.
        if gate.is_ok() && request.generation_id < 0 {
            self.get_or_create(now, &request.group_id);
        }
        let (groups, mut ctx) = self.split(now, actions);
        let error = match gate {
            Err(error) => error,
            Ok(()) => match groups.get_mut(&request.group_id) {
                Some(group) => return group.commit(&mut ctx, id, request),
                None => ErrorCode::IllegalGeneration,
            },
        };
        ctx.reply(id, same_for_all(&request.offsets, error));
    }

    fn on_transactional_commit(
        &mut self,
        now: Now,
        id: RequestId,
        request: TxnOffsetCommitRequest,
        actions: &mut Vec<GroupAction>,
    ) {
        let TxnOffsetCommitRequest {
            commit,
            producer_id,
            producer_epoch,
        } = request;
        let gate = self.begin_transactional_commit(now, &commit.group_id);
        let (groups, mut ctx) = self.split(now, actions);
        let error = match gate {
            Err(error) => error,
            Ok(()) => match groups.get_mut(&commit.group_id) {
                Some(group) => {
                    let producer = (producer_id, producer_epoch);
                    return group.commit_transactional(&mut ctx, id, commit, producer);
                }
                None => ErrorCode::CoordinatorNotAvailable,
            },
        };
        ctx.reply(id, same_for_all(&commit.offsets, error));
    }

    fn on_offset_delete(
        &mut self,
        now: Now,
        id: RequestId,
        group_id: &Arc<str>,
        partitions: Vec<TopicPartition>,
        actions: &mut Vec<GroupAction>,
    ) {
        let unique: BTreeSet<TopicPartition> = partitions.into_iter().collect();
        let decision = self.gate(group_id, EmptyGroupId::Invalid).and_then(|()| {
            match self.groups.get(group_id) {
                Some(group) => group.deletable_offsets(unique.into_iter().collect()),
                None => Err(ErrorCode::GroupIdNotFound),
            }
        });
        let answer = decision.map(|(eligible, mut answers)| {
            if !eligible.is_empty() {
                self.remove_from_group(
                    now,
                    actions,
                    group_id,
                    &eligible,
                    CleanupCause::OffsetDelete,
                );
            }
            answers.extend(
                eligible
                    .into_iter()
                    .map(|partition| (partition, ErrorCode::None)),
            );
            answers
        });
        let (_, mut ctx) = self.split(now, actions);
        ctx.reply(id, Response::OffsetDelete(answer));
    }

    fn on_delete_group(
        &mut self,
        now: Now,
        id: RequestId,
        group_id: &Arc<str>,
        actions: &mut Vec<GroupAction>,
    ) {
        let state = self
            .groups
            .get(group_id)
            .map_or(GroupState::Dead, Group::state);
        let error = match (self.gate(group_id, EmptyGroupId::Legal), state) {
            (Err(error), _) => error,
            (Ok(()), GroupState::Dead) => ErrorCode::GroupIdNotFound,
            (Ok(()), GroupState::Empty) => {
                let all: Vec<TopicPartition> = self
                    .groups
                    .get(group_id)
                    .map(|group| group.offsets.committed().keys().cloned().collect())
                    .unwrap_or_default();
                self.remove_from_group(now, actions, group_id, &all, CleanupCause::GroupDelete);
                ErrorCode::None
            }
            (Ok(()), _) => ErrorCode::NonEmptyGroup,
        };
        let (_, mut ctx) = self.split(now, actions);
        ctx.reply(id, Response::DeleteGroup(error));
    }

    fn clean_up(
        &mut self,
        now: Now,
        actions: &mut Vec<GroupAction>,
        cause: CleanupCause,
        select: impl Fn(&Group, &GroupConfig) -> Vec<TopicPartition>,
    ) {
        let group_ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for group_id in group_ids {
            let Some(group) = self.groups.get(&group_id) else {
                continue;
            };
            let partitions = select(group, &self.config);
            self.remove_from_group(now, actions, &group_id, &partitions, cause);
        }
    }

    fn remove_from_group(
        &mut self,
        now: Now,
        actions: &mut Vec<GroupAction>,
        group_id: &Arc<str>,
        partitions: &[TopicPartition],
        cause: CleanupCause,
    ) {
        let (groups, mut ctx) = self.split(now, actions);
        let Some(group) = groups.get_mut(group_id) else {
            return;
        };
        if group.remove_offsets(&mut ctx, partitions, cause) {
            groups.remove(group_id);
        }
    }

    fn on_append_done(
        &mut self,
        now: Now,
        token: AppendToken,
        result: AppendResult,
        actions: &mut Vec<GroupAction>,
    ) {
        let Some((
            GroupRef {
                group_id,
                incarnation,
            },
            in_flight,
        )) = self.appends.in_flight.remove(&token)
        else {
            return;
        };
        let (groups, mut ctx) = self.split(now, actions);
        // A group that was removed, or removed and made again, is not the one that appended.
        let group = groups
            .get_mut(&group_id)
            .filter(|group| group.incarnation == incarnation);
        match in_flight {
            InFlight::Assignment {
                generation_id,
                assignments,
            } => {
                if let Some(group) = group {
                    group.assignment_appended(&mut ctx, generation_id, assignments, result);
                }
            }
            InFlight::StaticReplacement(replacement) => match (group, result) {
                (Some(group), Ok(_)) => group.replacement_stored(&mut ctx, replacement),
                (Some(group), Err(error)) => {
                    group.replacement_refused(&mut ctx, replacement, error);
                }
                (None, _) => {}
            },
            InFlight::EmptyGroup => {
                if let Err(error) = result {
                    // The generation before may come back with a reload, and will time out then.
                    tracing::warn!(group = %group_id, %error, "record of empty group was refused");
                }
            }
            InFlight::Offsets(write) => {
                if let Some(group) = group {
                    group.offsets_appended(&write, result);
                }
                if result.is_ok() {
                    ctx.stats.offset_commits += 1;
                }
                ctx.reply(write.request, write.answer_to(result));
            }
            InFlight::Tombstones {
                cause,
                offsets_removed,
            } => match (result, cause) {
                (Ok(_), CleanupCause::Expired) => ctx.stats.offset_expirations += offsets_removed,
                (Ok(_), CleanupCause::OffsetDelete) => {
                    ctx.stats.offset_deletions += offsets_removed;
                }
                (Ok(_), CleanupCause::GroupDelete | CleanupCause::PartitionDelete) => {}
                (Err(error), _) => {
                    tracing::error!(group = %group_id, %error, "tombstones were refused");
                }
            },
        }
    }

    fn on_transaction_completed(&mut self, producer_id: ProducerId, outcome: TransactionOutcome) {
        for group in self.groups.values_mut() {
            if group.offsets.has_pending_of_producer(producer_id) {
                group.offsets.complete_transaction(producer_id, outcome);
            }
        }
        for (_, in_flight) in self.appends.in_flight.values_mut() {
            if let InFlight::Offsets(write) = in_flight
                && write.producer_id == Some(producer_id)
            {
                write.outcome.get_or_insert(outcome);
            }
        }
    }

    fn on_deadlines(&mut self, now: Now, actions: &mut Vec<GroupAction>) {
        while let Some(key) = self.deadlines.pop_due(now.instant) {
            let (groups, mut ctx) = self.split(now, actions);
            match key {
                TimerKey::Join { group_id } => {
                    if let Some(group) = groups.get_mut(&group_id) {
                        group.on_join_deadline(&mut ctx);
                    }
                }
                TimerKey::Sync { group_id } => {
                    if let Some(group) = groups.get_mut(&group_id) {
                        group.on_sync_deadline(&mut ctx);
                    }
                }
                TimerKey::Session {
                    group_id,
                    member_id,
                } => {
                    if let Some(group) = groups.get_mut(&group_id) {
                        group.on_session_deadline(&mut ctx, &member_id);
                    }
                }
            }
        }
    }

    /// Drops all groups and answers what is parked. Commits on their way to the log are answered
    /// when the log answers.
    fn unload(&mut self, now: Now, actions: &mut Vec<GroupAction>) {
        let mut groups = std::mem::take(&mut self.groups);
        self.deadlines.clear();
        let (_, mut ctx) = self.split(now, actions);
        for group in groups.values_mut() {
            for member in group.members.values_mut() {
                if let Some(request) = member.awaiting_join.take() {
                    let error = ErrorCode::NotCoordinator;
                    ctx.reply_join(request, JoinGroupResponse::error(member.id.clone(), error));
                }
                if let Some(request) = member.awaiting_sync.take() {
                    ctx.reply_sync_error(request, ErrorCode::NotCoordinator);
                }
            }
        }
    }
}

#[cfg(test)]
impl GroupCoordinatorShard {
    /// Asserts what must hold between events; the parked requests.
    pub(crate) fn check_invariants(&self) -> Vec<RequestId> {
        let mut parked = Vec::new();
        for (id, group) in &self.groups {
            group.check_invariants();
            let state = group.state();
            let join = TimerKey::Join {
                group_id: id.clone(),
            };
            let sync = TimerKey::Sync {
                group_id: id.clone(),
            };
            let joining = state == GroupState::PreparingRebalance;
            assert_eq!(
                self.deadlines.deadline_of(&join).is_some(),
                joining,
                "{id} {state}"
            );
            let syncing = matches!(state, GroupState::CompletingRebalance | GroupState::Stable)
                && !group.pending_sync.is_empty();
            assert_eq!(
                self.deadlines.deadline_of(&sync).is_some(),
                syncing,
                "{id} {state}"
            );
            for member in group.members.values() {
                let requests = member.awaiting_join.iter().chain(&member.awaiting_sync);
                parked.extend(requests);
                let timed = self
                    .deadlines
                    .deadline_of(&group.session_timer(&member.id))
                    .is_some();
                assert!(
                    timed || !member.fails_when_silent(),
                    "{} has a deadline",
                    member.id
                );
            }
            for pending in &group.pending_members {
                assert!(
                    self.deadlines
                        .deadline_of(&group.session_timer(pending))
                        .is_some()
                );
            }
        }
        for key in self.deadlines.keys() {
            let (TimerKey::Join { group_id }
            | TimerKey::Sync { group_id }
            | TimerKey::Session { group_id, .. }) = key;
            let group = self
                .groups
                .get(group_id)
                .expect("a deadline belongs to a group");
            if let TimerKey::Session { member_id, .. } = key {
                let known = group.members.contains_key(member_id)
                    || group.pending_members.contains(member_id);
                assert!(known, "the deadline of {member_id} outlived it");
            }
        }
        for (_, in_flight) in self.appends.in_flight.values() {
            if let InFlight::Offsets(write) = in_flight {
                parked.push(write.request);
            }
        }
        parked
    }

    pub(crate) fn generations(&self) -> Vec<(Arc<str>, u64, i32)> {
        self.groups
            .values()
            .map(|g| (g.id.clone(), g.incarnation, g.generation_id))
            .collect()
    }
}

/// Whether a request may name the group with the empty id, for clients of old.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyGroupId {
    Legal,
    Invalid,
}
