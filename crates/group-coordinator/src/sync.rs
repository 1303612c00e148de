//! SyncGroup: the leader's assignment on its way to the members.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{AppendResult, RequestId};
use ottla_model::ErrorCode;

use crate::append_error::group_state_error;
use crate::context::{BatchKind, Context, InFlight};
use crate::group::Group;
use crate::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::state::GroupState;

impl Group {
    /// Stores the leader's assignment, parks a member until it is there, or hands it out.
    pub(crate) fn sync(&mut self, ctx: &mut Context<'_>, id: RequestId, request: SyncGroupRequest) {
        if let Err(error) = self.validate_sync(&request) {
            return ctx.reply_sync_error(id, error);
        }
        let member_id = request.member_id;
        match self.state() {
            GroupState::Empty | GroupState::Dead => {
                ctx.reply_sync_error(id, ErrorCode::UnknownMemberId);
            }
            GroupState::PreparingRebalance => {
                ctx.reply_sync_error(id, ErrorCode::RebalanceInProgress);
            }
            GroupState::CompletingRebalance => {
                self.park_sync(ctx, &member_id, id);
                self.member_synced(ctx, &member_id);
                if self.is_leader(&member_id) {
                    self.store_assignment(ctx, request.assignments);
                }
            }
            GroupState::Stable => {
                self.member_synced(ctx, &member_id);
                let assignment = self
                    .members
                    .get(&member_id)
                    .map(|m| m.assignment.clone())
                    .unwrap_or_default();
                ctx.reply_sync(id, self.assignment_response(assignment));
                self.restart_session(ctx, &member_id);
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs =
            |given: &Option<Arc<str>>, own: &Option<Arc<str>>| given.is_some() && given != own;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn park_sync(&mut self, ctx: &mut Context<'_>, member_id: &str, request: RequestId) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if let Some(superseded) = member.awaiting_sync.replace(request) {
            // Its client gave up on it; Java never answers it.
            ctx.reply_sync_error(superseded, ErrorCode::RebalanceInProgress);
        }
    }

    fn store_assignment(&mut self, ctx: &mut Context<'_>, mut given: BTreeMap<Arc<str>, Bytes>) {
        let assignments: BTreeMap<Arc<str>, Bytes> = self
            .members
            .keys()
            .map(|id| (id.clone(), given.remove(id).unwrap_or_default()))
            .collect();
        ctx.stats.completed_rebalances += 1;
        let generation_id = self.generation_id;
        match self.encode(ctx, &assignments) {
            Ok(record) => ctx.append(
                self.reference(),
                BatchKind::GroupMetadata,
                vec![record],
                InFlight::Assignment {
                    generation_id,
                    assignments,
                },
            ),
            Err(error) => {
                tracing::error!(group = %self.id, %error, "group record cannot be written");
                self.assignment_failed(ctx, ErrorCode::UnknownServerError);
            }
        }
    }

    /// The record with an assignment was stored or refused. If the group went on meanwhile, the
    /// assignment means nothing any more.
    pub(crate) fn assignment_appended(
        &mut self,
        ctx: &mut Context<'_>,
        generation_id: i32,
        mut assignments: BTreeMap<Arc<str>, Bytes>,
        result: AppendResult,
    ) {
        if !self.is(GroupState::CompletingRebalance) || generation_id != self.generation_id {
            return;
        }
        match result {
            Ok(_) => {
                for member in self.members.values_mut() {
                    member.assignment = assignments.remove(&member.id).unwrap_or_default();
                }
                self.answer_syncs(ctx, ErrorCode::None);
                self.transition_to(GroupState::Stable, ctx.now.timestamp);
            }
            Err(append_error) => {
                tracing::warn!(group = %self.id, error = %append_error, "group record was refused");
                self.assignment_failed(ctx, group_state_error(append_error));
            }
        }
    }

    fn assignment_failed(&mut self, ctx: &mut Context<'_>, error: ErrorCode) {
        self.propagate_assignment_error(ctx, error);
        self.prepare_rebalance_if_possible(ctx, "the assignment could not be stored");
    }

    /// Clears the assignments and answers all parked syncs with an error.
    pub(crate) fn propagate_assignment_error(&mut self, ctx: &mut Context<'_>, error: ErrorCode) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(ctx, error);
    }

    /// Answers all parked syncs. Sessions that ran out meanwhile were not acted upon, so those of
    /// the answered members start anew.
    fn answer_syncs(&mut self, ctx: &mut Context<'_>, error: ErrorCode) {
        let parked: Vec<(Arc<str>, RequestId, Bytes)> = self
            .members
            .values_mut()
            .filter_map(|member| {
                let request = member.awaiting_sync.take()?;
                Some((member.id.clone(), request, member.assignment.clone()))
            })
            .collect();
        for (member_id, request, assignment) in parked {
            let response = if error == ErrorCode::None {
                self.assignment_response(assignment)
            } else {
                SyncGroupResponse::error(error)
            };
            ctx.reply_sync(request, response);
            self.restart_session(ctx, &member_id);
        }
    }

    fn assignment_response(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }
}
