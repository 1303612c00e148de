//! Requests at the shard: the gate, the group, and what is said when there is none.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator_runtime::{Now, RequestId};
use ottla_model::{ErrorCode, TopicPartition};

use crate::commit::same_for_all;
use crate::context::CleanupCause;
use crate::group::Group;
use crate::messages::{
    GroupAction, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, Request, Response, SyncGroupRequest, SyncGroupResponse,
    TxnOffsetCommitRequest,
};
use crate::shard::{EmptyGroupId, GroupCoordinatorShard};
use crate::state::GroupState;

impl GroupCoordinatorShard {
    pub(crate) fn on_request(
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
}
