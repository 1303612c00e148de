//! JoinGroup.

use std::sync::Arc;

use ottla_coordinator_runtime::{CoordinatorRecord, FieldTooLong, RequestId, random_uuid_text};
use ottla_model::ErrorCode;

use crate::append_error::group_state_error;
use crate::context::{BatchKind, Context, InFlight, StaticReplacement};
use crate::group::Group;
use crate::member::{Member, millis};
use crate::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::records;
use crate::state::GroupState;

/// How long a new member's join may be parked. A client that went away cannot be noticed while
/// its socket is muted, and its retries would pile up as members (KAFKA-7610).
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

impl Group {
    /// Admits a member to the next generation, tells it the current one, or refuses it.
    pub(crate) fn join(&mut self, ctx: &mut Context<'_>, id: RequestId, request: JoinGroupRequest) {
        if !self.accepts(&request.member_id, ctx.config.group_max_size) {
            self.remove_member(ctx, &request.member_id);
            ctx.reply_join(
                id,
                JoinGroupResponse::error("", ErrorCode::GroupMaxSizeReached),
            );
        } else if request.member_id.is_empty() {
            self.join_without_id(ctx, id, request);
        } else {
            self.join_with_id(ctx, id, request);
        }
        self.complete_join_if_all_joined(ctx);
    }

    /// Whether the group has room. While it prepares, those who wait are counted and not the
    /// members: so a group above its limit loses those who come last.
    fn accepts(&self, member_id: &str, group_max_size: i32) -> bool {
        let has_room = |count: usize| i64::try_from(count).is_ok_and(|n| n < group_max_size.into());
        match self.state() {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let waits = |member: &Member| member.awaiting_join.is_some();
                self.members.get(member_id).is_some_and(waits)
                    || has_room(self.awaiting_join_count())
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member_id) || has_room(self.members.len())
            }
        }
    }

    fn join_without_id(&mut self, ctx: &mut Context<'_>, id: RequestId, request: JoinGroupRequest) {
        if !self.supports(&request.protocol_type, &request.protocols) {
            let error = ErrorCode::InconsistentGroupProtocol;
            return ctx.reply_join(id, JoinGroupResponse::error("", error));
        }
        let prefix = request
            .group_instance_id
            .as_ref()
            .unwrap_or(&request.client_id);
        let member_id: Arc<str> =
            format!("{prefix}-{}", random_uuid_text(request.member_uuid)).into();
        let known = request
            .group_instance_id
            .as_ref()
            .and_then(|instance_id| self.static_members.get(instance_id))
            .cloned();
        match known {
            Some(old_member_id) => {
                self.return_of_static_member(ctx, id, request, old_member_id, member_id);
            }
            None if request.require_known_member_id && request.group_instance_id.is_none() => {
                self.pending_members.insert(member_id.clone());
                ctx.schedule(
                    self.session_timer(&member_id),
                    millis(request.session_timeout_ms),
                );
                let response = JoinGroupResponse::error(member_id, ErrorCode::MemberIdRequired);
                ctx.reply_join(id, response);
            }
            None => self.add_and_rebalance(ctx, id, request, member_id),
        }
    }

    fn join_with_id(&mut self, ctx: &mut Context<'_>, id: RequestId, request: JoinGroupRequest) {
        let member_id = request.member_id.clone();
        if !self.supports(&request.protocol_type, &request.protocols) {
            let error = ErrorCode::InconsistentGroupProtocol;
            return ctx.reply_join(id, JoinGroupResponse::error(member_id, error));
        }
        if self.pending_members.contains(&member_id) {
            if request.group_instance_id.is_some() {
                // A pending member is never static; Java throws here.
                let error = ErrorCode::UnknownServerError;
                return ctx.reply_join(id, JoinGroupResponse::error(member_id, error));
            }
            return self.add_and_rebalance(ctx, id, request, member_id);
        }
        let known = self.validate_member(&member_id, request.group_instance_id.as_deref());
        if let Err(error) = known {
            return ctx.reply_join(id, JoinGroupResponse::error(member_id, error));
        }
        let changed = self
            .members
            .get(&member_id)
            .is_none_or(|member| !member.matches(&request.protocols));
        let is_leader = self.is_leader(&member_id);
        match self.state() {
            GroupState::PreparingRebalance => self.update_and_rebalance(ctx, id, request),
            GroupState::CompletingRebalance if !changed => {
                // It may have missed the answer to its join.
                ctx.reply_join(id, self.current_generation(member_id, is_leader));
            }
            // The leader's join starts a rebalance even if nothing changed: it has seen something
            // that matters for the assignment, for instance new partitions.
            GroupState::Stable if !changed && !is_leader => {
                ctx.reply_join(id, self.current_generation(member_id, false));
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.update_and_rebalance(ctx, id, request);
            }
            GroupState::Empty | GroupState::Dead => {
                let error = ErrorCode::UnknownMemberId;
                ctx.reply_join(id, JoinGroupResponse::error(member_id, error));
            }
        }
    }

    /// The answer to a join that succeeds: what the member needs to know of the generation.
    pub(crate) fn current_generation(
        &self,
        member_id: Arc<str>,
        with_members: bool,
    ) -> JoinGroupResponse {
        JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader_or_empty(),
            skip_assignment: false,
            member_id,
            members: if with_members {
                self.joined_members()
            } else {
                Vec::new()
            },
        }
    }

    fn add_and_rebalance(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        request: JoinGroupRequest,
        member_id: Arc<str>,
    ) {
        // Only the first generation ever is worth a longer initial delay.
        if self.is(GroupState::PreparingRebalance) && self.generation_id == 0 {
            self.new_member_added = true;
        }
        tracing::info!(
            group = %self.id, member = %member_id, state = %self.state(),
            reason = request.reason.as_deref().unwrap_or("not provided"),
            "new member joins"
        );
        let timer = self.session_timer(&member_id);
        let member = Member {
            id: member_id,
            group_instance_id: request.group_instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(id),
            awaiting_sync: None,
            is_new: true,
        };
        self.add_member(&request.protocol_type, member);
        ctx.schedule(timer, millis(NEW_MEMBER_JOIN_TIMEOUT_MS));
        self.prepare_rebalance_if_possible(ctx, "a new member joins");
    }

    fn update_and_rebalance(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        request: JoinGroupRequest,
    ) {
        self.update_member(
            &request.member_id,
            request.protocols,
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
        self.park_join(ctx, &request.member_id, id);
        let reason = request.reason.as_deref().unwrap_or("a member joins again");
        self.prepare_rebalance_if_possible(ctx, reason);
    }

    /// A static member comes back without its id: it gets a new one, and in a Stable group that
    /// does not change the protocol nothing else happens (KIP-345).
    fn return_of_static_member(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        request: JoinGroupRequest,
        old_member_id: Arc<str>,
        new_member_id: Arc<str>,
    ) {
        let Some(group_instance_id) = request.group_instance_id.clone() else {
            return;
        };
        let Some(old) = self.members.get(&old_member_id) else {
            return;
        };
        let replacement = StaticReplacement {
            request: id,
            group_instance_id: group_instance_id.clone(),
            old_rebalance_timeout_ms: old.rebalance_timeout_ms,
            old_session_timeout_ms: old.session_timeout_ms,
            old_leader: self.leader_or_empty(),
            supports_skip_assignment: request.supports_skip_assignment,
            old_member_id: old_member_id.clone(),
            new_member_id: new_member_id.clone(),
        };
        tracing::info!(
            group = %self.id, instance = %group_instance_id, old = %old_member_id,
            new = %new_member_id, state = %self.state(),
            reason = request.reason.as_deref().unwrap_or("not provided"),
            "static member comes back under a new id"
        );
        self.replace_static_member(ctx, &group_instance_id, &old_member_id, &new_member_id);
        self.restart_session(ctx, &new_member_id);
        self.update_member(
            &new_member_id,
            request.protocols,
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
        self.park_join(ctx, &new_member_id, id);
        match self.state() {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                self.store_replacement(ctx, replacement);
            }
            GroupState::Stable => {
                self.prepare_rebalance(ctx, "a static member changes the protocol");
            }
            // The leader may have been told the old id, and would assign nothing to the new one.
            GroupState::CompletingRebalance => {
                self.prepare_rebalance(ctx, "a static member comes back");
            }
            GroupState::PreparingRebalance => {}
            GroupState::Empty | GroupState::Dead => {
                unreachable!("a group in this state has no static members")
            }
        }
    }

    fn store_replacement(&mut self, ctx: &mut Context<'_>, replacement: StaticReplacement) {
        let assignments = self
            .members
            .values()
            .map(|member| (member.id.clone(), member.assignment.clone()))
            .collect();
        match self.encode(ctx, &assignments) {
            Ok(record) => ctx.append(
                self.reference(),
                BatchKind::GroupMetadata,
                vec![record],
                InFlight::StaticReplacement(replacement),
            ),
            Err(error) => {
                tracing::error!(group = %self.id, %error, "group record cannot be written");
                self.replacement_failed(ctx, replacement, ErrorCode::UnknownServerError);
            }
        }
    }

    /// The group's record with the given assignments.
    pub(crate) fn encode(
        &self,
        ctx: &Context<'_>,
        assignments: &std::collections::BTreeMap<Arc<str>, bytes::Bytes>,
    ) -> Result<CoordinatorRecord, FieldTooLong> {
        let version = ctx.config.record_versions.group_metadata_value;
        Ok(CoordinatorRecord {
            key: records::group_metadata_key(&self.id)?,
            value: Some(records::group_metadata_value(
                &self.to_record(assignments),
                version,
            )?),
        })
    }

    /// The record with a static member's new id is stored.
    pub(crate) fn replacement_stored(&mut self, ctx: &mut Context<'_>, stored: StaticReplacement) {
        // A rebalance that began meanwhile may have answered the join already, or will.
        let is_parked = self
            .members
            .get(&stored.new_member_id)
            .is_some_and(|member| member.awaiting_join == Some(stored.request));
        if !is_parked {
            return;
        }
        self.take_join(&stored.new_member_id);
        // A session that ran out while the join was parked was not acted upon.
        self.restart_session(ctx, &stored.new_member_id);
        let is_leader = self.is_leader(&stored.new_member_id);
        let mut response = self.current_generation(stored.new_member_id, false);
        if stored.supports_skip_assignment {
            // The leader goes on watching the metadata but leaves the assignment alone (KIP-814).
            if is_leader && !self.is(GroupState::PreparingRebalance) {
                response.members = self.joined_members();
            }
            response.skip_assignment = is_leader;
        } else {
            // Told the id that it no longer has, an old client does not take itself for the
            // leader and does not compute an assignment that a Stable group would ignore.
            response.leader = stored.old_leader;
        }
        ctx.reply_join(stored.request, response);
    }

    /// The record with a static member's new id was refused: the old id counts again.
    pub(crate) fn replacement_refused(
        &mut self,
        ctx: &mut Context<'_>,
        refused: StaticReplacement,
        append_error: ErrorCode,
    ) {
        tracing::warn!(group = %self.id, error = %append_error, "group record was refused");
        self.replacement_failed(ctx, refused, group_state_error(append_error));
    }

    fn replacement_failed(
        &mut self,
        ctx: &mut Context<'_>,
        failed: StaticReplacement,
        error: ErrorCode,
    ) {
        let parked = self
            .members
            .get(&failed.new_member_id)
            .and_then(|m| m.awaiting_join);
        if parked == Some(failed.request) {
            self.take_join(&failed.new_member_id);
            let mut response = JoinGroupResponse::error("", error);
            response.generation_id = self.generation_id;
            response.protocol_type = self.protocol_type.clone();
            response.protocol_name = self.protocol_name.clone();
            response.leader = failed.old_leader;
            ctx.reply_join(failed.request, response);
        }
        // The protocols stay the new ones, as in Java, which saves them after the update.
        if let Some(member) = self.members.get_mut(&failed.new_member_id) {
            member.rebalance_timeout_ms = failed.old_rebalance_timeout_ms;
            member.session_timeout_ms = failed.old_session_timeout_ms;
        }
        let reverted = self.replace_static_member(
            ctx,
            &failed.group_instance_id,
            &failed.new_member_id,
            &failed.old_member_id,
        );
        if reverted {
            self.restart_session(ctx, &failed.old_member_id);
        }
        self.complete_join_if_all_joined(ctx);
    }
}
