//! All groups of one partition of `__consumer_offsets`, and the gate before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator_runtime::{DeadlineQueue, Now};
use ottla_model::{ErrorCode, Instant, LeaderEpoch, TopicPartition};

use crate::commit::no_offset;
use crate::config::GroupConfig;
use crate::context::{Appends, CleanupCause, Context, TimerKey};
use crate::group::Group;
use crate::load::Loader;
use crate::messages::{
    Event, FetchedOffset, GroupAction, GroupDescription, GroupOverview, JoinGroupResponse,
};
use crate::state::GroupState;
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
    pub(crate) config: Arc<GroupConfig>,
    status: Status,
    /// The newest leadership that was heard of; older news is ignored.
    leader_epoch: Option<LeaderEpoch>,
    /// Numbers the loads, so that a load that was overtaken by a resignation is recognized.
    load_ticket: u64,
    next_incarnation: u64,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) deadlines: DeadlineQueue<TimerKey>,
    pub(crate) appends: Appends,
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

    pub(crate) fn gate(
        &self,
        group_id: &str,
        empty_group_id: EmptyGroupId,
    ) -> Result<(), ErrorCode> {
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

    pub(crate) fn split<'a>(
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

    pub(crate) fn get_or_create(&mut self, now: Now, group_id: &Arc<str>) {
        if !self.groups.contains_key(group_id) {
            self.next_incarnation += 1;
            let group = Group::new(group_id.clone(), self.next_incarnation, now.timestamp);
            self.groups.insert(group_id.clone(), group);
        }
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

    pub(crate) fn remove_from_group(
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

/// Whether a request may name the group with the empty id, for clients of old.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyGroupId {
    Legal,
    Invalid,
}
