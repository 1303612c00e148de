//! The rebalance clock: how a join phase begins and ends, and how long members may take to sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::ErrorCode;

use crate::context::{BatchKind, Context, InFlight, TimerKey};
use crate::group::{Group, JoinClock};
use crate::member::millis;
use crate::state::GroupState;

impl Group {
    fn join_timer(&self) -> TimerKey {
        TimerKey::Join {
            group_id: self.id.clone(),
        }
    }

    fn sync_timer(&self) -> TimerKey {
        TimerKey::Sync {
            group_id: self.id.clone(),
        }
    }

    /// Begins a join phase unless one runs.
    pub(crate) fn prepare_rebalance_if_possible(&mut self, ctx: &mut Context<'_>, reason: &str) {
        if GroupState::PreparingRebalance.may_follow(self.state()) {
            self.prepare_rebalance(ctx, reason);
        }
    }

    /// Begins a join phase.
    pub(crate) fn prepare_rebalance(&mut self, ctx: &mut Context<'_>, reason: &str) {
        if self.is(GroupState::CompletingRebalance) {
            self.propagate_assignment_error(ctx, ErrorCode::RebalanceInProgress);
        }
        self.stop_sync_timer(ctx);
        let (clock, delay) = if self.is(GroupState::Empty) {
            let delay = millis(ctx.config.group_initial_rebalance_delay_ms);
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            (JoinClock::Initial { delay, remaining }, delay)
        } else {
            (JoinClock::AllJoined, self.rebalance_timeout())
        };
        tracing::info!(
            group = %self.id, generation = self.generation_id, state = %self.state(), reason,
            "preparing to rebalance"
        );
        self.transition_to(GroupState::PreparingRebalance, ctx.now.timestamp);
        self.set_join_clock(ctx, clock, delay);
        self.complete_join_if_all_joined(ctx);
    }

    fn set_join_clock(&mut self, ctx: &mut Context<'_>, clock: JoinClock, delay: Duration) {
        self.join_clock = Some(clock);
        ctx.schedule(self.join_timer(), delay);
    }

    /// Ends the join phase if nobody is missing. The initial delay always runs out.
    pub(crate) fn complete_join_if_all_joined(&mut self, ctx: &mut Context<'_>) {
        let waits_for_members = self.join_clock == Some(JoinClock::AllJoined);
        if self.is(GroupState::PreparingRebalance) && waits_for_members && self.all_members_joined()
        {
            self.complete_join(ctx);
        }
    }

    /// The join timer ran out.
    pub(crate) fn on_join_deadline(&mut self, ctx: &mut Context<'_>) {
        if !self.is(GroupState::PreparingRebalance) {
            return;
        }
        match self.join_clock {
            Some(JoinClock::Initial { delay, remaining })
                if self.new_member_added && !remaining.is_zero() =>
            {
                self.new_member_added = false;
                let step = remaining.min(millis(ctx.config.group_initial_rebalance_delay_ms));
                // What is left shrinks by the step that is over, not by the one that begins.
                let remaining = remaining.saturating_sub(delay);
                self.set_join_clock(
                    ctx,
                    JoinClock::Initial {
                        delay: step,
                        remaining,
                    },
                    step,
                );
            }
            Some(JoinClock::Initial { .. } | JoinClock::AllJoined) | None => {
                self.complete_join(ctx)
            }
        }
    }

    fn complete_join(&mut self, ctx: &mut Context<'_>) {
        self.join_clock = None;
        let join_timer = self.join_timer();
        ctx.cancel(&join_timer);

        // Static members stay until their session ends, joined or not.
        let absent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static())
            .map(|member| member.id.clone())
            .collect();
        for member_id in absent {
            tracing::info!(group = %self.id, member = %member_id, "removed: did not join in time");
            self.remove_member(ctx, &member_id);
        }

        if !self.elect_joined_leader() && !self.members.is_empty() {
            tracing::error!(group = %self.id, "no member joined again, waiting once more");
            let timeout = self.rebalance_timeout();
            self.set_join_clock(ctx, JoinClock::AllJoined, timeout);
            return;
        }
        self.begin_generation(ctx.now.timestamp);
        if self.is(GroupState::Empty) {
            self.store_empty_group(ctx);
        } else {
            self.answer_joins(ctx);
            self.start_sync_timer(ctx);
        }
    }

    /// Keeps a leader that joined, or elects any member that did; whether there is one.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &Arc<str>| {
            self.members
                .get(id)
                .is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let elected = self.members.keys().find(|id| joined(id)).cloned();
        let Some(elected) = elected else { return false };
        tracing::info!(group = %self.id, leader = %elected, "new leader: the old one did not join");
        self.leader = Some(elected);
        true
    }

    fn store_empty_group(&mut self, ctx: &mut Context<'_>) {
        tracing::info!(group = %self.id, generation = self.generation_id, "group is now empty");
        match self.encode(ctx, &BTreeMap::new()) {
            Ok(record) => ctx.append(
                self.reference(),
                BatchKind::GroupMetadata,
                vec![record],
                InFlight::EmptyGroup,
            ),
            Err(error) => {
                tracing::error!(group = %self.id, %error, "group record cannot be written");
            }
        }
    }

    fn answer_joins(&mut self, ctx: &mut Context<'_>) {
        tracing::info!(
            group = %self.id, generation = self.generation_id, members = self.members.len(),
            "stabilized generation"
        );
        let member_ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            if let Some(request) = self.take_join(&member_id) {
                let is_leader = self.is_leader(&member_id);
                ctx.reply_join(
                    request,
                    self.current_generation(member_id.clone(), is_leader),
                );
            }
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.restart_session(ctx, &member_id);
            self.pending_sync.insert(member_id);
        }
    }

    fn start_sync_timer(&mut self, ctx: &mut Context<'_>) {
        ctx.schedule(self.sync_timer(), self.rebalance_timeout());
    }

    fn stop_sync_timer(&mut self, ctx: &mut Context<'_>) {
        self.pending_sync.clear();
        let sync_timer = self.sync_timer();
        ctx.cancel(&sync_timer);
    }

    /// A member has sent its SyncGroup for this generation.
    pub(crate) fn member_synced(&mut self, ctx: &mut Context<'_>, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.stop_sync_timer(ctx);
        }
    }

    /// The sync timer ran out: who has not synced, static or not, is out.
    pub(crate) fn on_sync_deadline(&mut self, ctx: &mut Context<'_>) {
        let settled = matches!(
            self.state(),
            GroupState::CompletingRebalance | GroupState::Stable
        );
        if !settled || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            tracing::info!(group = %self.id, member = %member_id, "removed: did not sync in time");
            self.remove_member(ctx, &member_id);
        }
        self.prepare_rebalance(ctx, "members did not sync in time");
    }
}
