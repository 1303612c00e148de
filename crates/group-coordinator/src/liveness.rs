//! Heartbeat, LeaveGroup and sessions that run out.

use std::sync::Arc;

use ottla_model::ErrorCode;

use crate::context::Context;
use crate::group::Group;
use crate::messages::LeavingMember;
use crate::state::GroupState;

impl Group {
    /// Restarts a member's session and tells it whether to join again.
    pub(crate) fn heartbeat(
        &mut self,
        ctx: &mut Context<'_>,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> ErrorCode {
        if let Err(error) = self.validate_member(member_id, group_instance_id) {
            return error;
        }
        if generation_id != self.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        match self.state() {
            GroupState::Empty | GroupState::Dead => ErrorCode::UnknownMemberId,
            GroupState::PreparingRebalance => {
                self.restart_session(ctx, member_id);
                ErrorCode::RebalanceInProgress
            }
            // Consumers heartbeat as soon as they have joined.
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.restart_session(ctx, member_id);
                ErrorCode::None
            }
        }
    }

    /// Removes a member or pending member on its own or an administrator's request.
    pub(crate) fn leave(&mut self, ctx: &mut Context<'_>, leaving: &LeavingMember) -> ErrorCode {
        let instance_id = leaving.group_instance_id.as_deref();
        let member_id: Arc<str> = if leaving.member_id.is_empty() {
            match instance_id.and_then(|id| self.static_members.get(id)) {
                Some(current) => current.clone(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else if self.pending_members.contains(&leaving.member_id) {
            self.remove_pending(ctx, &leaving.member_id);
            return ErrorCode::None;
        } else if let Err(error) = self.validate_member(&leaving.member_id, instance_id) {
            return error;
        } else {
            leaving.member_id.clone()
        };
        tracing::info!(
            group = %self.id, member = %member_id,
            reason = leaving.reason.as_deref().unwrap_or("not provided"),
            "member leaves"
        );
        self.remove_and_rebalance(ctx, &member_id, "a member leaves");
        ErrorCode::None
    }

    /// A session, or the time of a pending member, ran out.
    pub(crate) fn on_session_deadline(&mut self, ctx: &mut Context<'_>, member_id: &str) {
        if self.pending_members.contains(member_id) {
            tracing::info!(group = %self.id, member = member_id, "pending member did not join");
            self.remove_pending(ctx, member_id);
        } else if self
            .members
            .get(member_id)
            .is_some_and(|member| member.fails_when_silent())
        {
            tracing::info!(group = %self.id, member = member_id, "member failed");
            self.remove_and_rebalance(ctx, member_id, "a member failed");
        }
    }

    fn remove_pending(&mut self, ctx: &mut Context<'_>, member_id: &str) {
        self.remove_member(ctx, member_id);
        self.complete_join_if_all_joined(ctx);
    }

    fn remove_and_rebalance(&mut self, ctx: &mut Context<'_>, member_id: &str, reason: &str) {
        self.remove_member(ctx, member_id);
        match self.state() {
            GroupState::Empty | GroupState::Dead => {}
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(ctx, reason);
            }
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(ctx),
        }
    }
}
