//! What handlers ask of the coordinator.

use std::sync::Arc;

use ottla_group_coordinator::{
    FetchedOffset, Gauges, GroupDescription, GroupFilter, GroupOverview, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, Request,
    Response, Stats, Status, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
};
use ottla_model::{ErrorCode, TopicPartition};
use ottla_storage::VerificationGuard;

use super::GroupCoordinator;

/// Told when an answer will never come: the coordinator went away before it.
const GONE: ErrorCode = ErrorCode::CoordinatorNotAvailable;

impl GroupCoordinator {
    /// JoinGroup; may take as long as a rebalance.
    pub(crate) async fn join_group(&self, request: JoinGroupRequest) -> JoinGroupResponse {
        let (group_id, member_id) = (
            Arc::clone(&request.group_id),
            Arc::clone(&request.member_id),
        );
        match self.request(&group_id, Request::JoinGroup(request)).await {
            Some(Response::JoinGroup(response)) => response,
            _ => JoinGroupResponse::error(member_id, GONE),
        }
    }

    /// SyncGroup; may take until the leader has sent the assignment.
    pub(crate) async fn sync_group(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let group_id = Arc::clone(&request.group_id);
        match self.request(&group_id, Request::SyncGroup(request)).await {
            Some(Response::SyncGroup(response)) => response,
            _ => SyncGroupResponse::error(GONE),
        }
    }

    /// Heartbeat.
    pub(crate) async fn heartbeat(
        &self,
        group_id: Arc<str>,
        member_id: Arc<str>,
        group_instance_id: Option<Arc<str>>,
        generation_id: i32,
    ) -> ErrorCode {
        let group = Arc::clone(&group_id);
        let request = Request::Heartbeat {
            group_id,
            member_id,
            group_instance_id,
            generation_id,
        };
        match self.request(&group, request).await {
            Some(Response::Heartbeat(error)) => error,
            _ => GONE,
        }
    }

    /// LeaveGroup.
    pub(crate) async fn leave_group(&self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let group_id = Arc::clone(&request.group_id);
        match self.request(&group_id, Request::LeaveGroup(request)).await {
            Some(Response::LeaveGroup(response)) => response,
            _ => LeaveGroupResponse {
                error: GONE,
                members: Vec::new(),
            },
        }
    }

    /// OffsetCommit; answered when it is replicated.
    pub(crate) async fn commit_offsets(
        &self,
        request: OffsetCommitRequest,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let group_id = Arc::clone(&request.group_id);
        let partitions: Vec<TopicPartition> = request
            .offsets
            .iter()
            .map(|(partition, _)| partition.clone())
            .collect();
        match self
            .request(&group_id, Request::OffsetCommit(request))
            .await
        {
            Some(Response::OffsetCommit(answers)) => answers,
            _ => partitions
                .into_iter()
                .map(|partition| (partition, GONE))
                .collect(),
        }
    }

    /// TxnOffsetCommit, after its transaction was verified; answered when it is replicated.
    pub(crate) async fn commit_transactional_offsets(
        &self,
        request: TxnOffsetCommitRequest,
        guard: VerificationGuard,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let group_id = Arc::clone(&request.commit.group_id);
        let offsets = &request.commit.offsets;
        let partitions: Vec<TopicPartition> = offsets
            .iter()
            .map(|(partition, _)| partition.clone())
            .collect();
        match self
            .verified_request(&group_id, Request::TxnOffsetCommit(request), guard)
            .await
        {
            Some(Response::OffsetCommit(answers)) => answers,
            _ => partitions
                .into_iter()
                .map(|partition| (partition, GONE))
                .collect(),
        }
    }

    /// OffsetDelete.
    pub(crate) async fn delete_offsets(
        &self,
        group_id: Arc<str>,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode> {
        let group = Arc::clone(&group_id);
        match self
            .request(
                &group,
                Request::OffsetDelete {
                    group_id,
                    partitions,
                },
            )
            .await
        {
            Some(Response::OffsetDelete(result)) => result,
            _ => Err(GONE),
        }
    }

    /// DeleteGroups, one group.
    pub(crate) async fn delete_group(&self, group_id: Arc<str>) -> ErrorCode {
        let group = Arc::clone(&group_id);
        match self
            .request(&group, Request::DeleteGroup { group_id })
            .await
        {
            Some(Response::DeleteGroup(error)) => error,
            _ => GONE,
        }
    }

    /// OffsetFetch, one group: some partitions, or all that have an offset.
    pub(crate) fn fetch_offsets(
        &self,
        group_id: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<Vec<FetchedOffset>, ErrorCode> {
        self.look(self.partition_for(group_id), |shard| {
            shard.fetch_offsets(group_id, partitions, require_stable)
        })
        .unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// DescribeGroups, one group.
    pub(crate) fn describe_group(&self, group_id: &str) -> Result<GroupDescription, ErrorCode> {
        self.look(self.partition_for(group_id), |shard| {
            shard.describe_group(group_id)
        })
        .unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// ListGroups: all groups of this broker, with COORDINATOR_LOAD_IN_PROGRESS beside those that
    /// are there already while some partition is being loaded.
    pub(crate) fn list_groups(&self, filter: &GroupFilter) -> (ErrorCode, Vec<GroupOverview>) {
        let (mut error, mut groups) = (ErrorCode::None, Vec::new());
        for partition in self.partitions() {
            let listed = self.look(partition, |shard| (shard.status(), shard.list_groups()));
            match listed {
                Some((Status::ShutDown, _)) => {
                    return (ErrorCode::CoordinatorNotAvailable, Vec::new());
                }
                Some((Status::Loading, _)) => error = ErrorCode::CoordinatorLoadInProgress,
                Some((Status::Active | Status::NotOwned, listed)) => {
                    groups.extend(listed.into_iter().filter(|group| filter.matches(group)));
                }
                None => {}
            }
        }
        (error, groups)
    }

    /// What all shards counted, and how many groups and offsets there are.
    pub fn metrics(&self) -> (Stats, Gauges) {
        let (mut stats, mut gauges) = (Stats::default(), Gauges::default());
        for partition in self.partitions() {
            if let Some(shard) = self.look(partition, |shard| (shard.stats(), shard.gauges())) {
                stats += shard.0;
                gauges += shard.1;
            }
        }
        (stats, gauges)
    }
}
