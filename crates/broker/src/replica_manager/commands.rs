//! What a controller commands: LeaderAndIsr, StopReplica, UpdateMetadata. All three run one at a
//! time under the replica state lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::control::{
    LeaderAndIsrPartition, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest,
    StopReplicaResponse, UpdateMetadataRequest,
};
use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, TopicId, TopicPartition};
use ottla_replication::control::{
    Hosted as HostedFacts, LeaderAndIsrStep, StopReplicaStep, leader_and_isr_step,
    stop_replica_step,
};
use ottla_replication::fetcher::InitialFetch;
use ottla_replication::partition::{MakeFollower, MakeLeader};

use super::hosted::{Effects, Fetches, Hosted, HostedPartition, HostedTable, Inner};
use super::{LeadershipListener, ReplicaManager};
use crate::fetcher::manager::Follow;

/// A partition whose role changed: who is told, once all commands of a request are carried out.
enum RoleChange {
    Elected(TopicPartition, LeaderEpoch),
    Resigned(TopicPartition, Option<LeaderEpoch>),
}

impl ReplicaManager {
    /// Carries out LeaderAndIsr. Logs are created and epochs written, so it is done aside.
    pub async fn become_leader_or_follower(
        self: &Arc<Self>,
        request: LeaderAndIsrRequest,
    ) -> LeaderAndIsrResponse {
        if let Err(error) = self.load_configs_of_new_topics(&request).await {
            tracing::error!(%error, "state changes are skipped: no configuration of new topics");
            let error = ErrorCode::UnknownServerError;
            let partitions = request
                .partitions
                .iter()
                .map(|p| (p.topic_partition.clone(), error));
            return LeaderAndIsrResponse {
                error: ErrorCode::None,
                partitions: partitions.collect(),
            };
        }
        let this = Arc::clone(self);
        self.run_aside(move || this.become_leader_or_follower_blocking(&request))
            .await
    }

    /// Carries out StopReplica, aside.
    pub async fn stop_replicas(
        self: &Arc<Self>,
        request: StopReplicaRequest,
    ) -> StopReplicaResponse {
        let this = Arc::clone(self);
        self.run_aside(move || this.stop_replicas_blocking(&request))
            .await
    }

    /// Takes over UpdateMetadata. Blocks for no longer than another command does.
    pub fn update_metadata(&self, request: &UpdateMetadataRequest) -> ErrorCode {
        let deleted = {
            let mut fence = self.control.lock();
            if let Err(error) = fence.admit(self.broker_epoch(), &request.header) {
                return error;
            }
            self.metadata_cache.update(request)
        };
        self.forget_configs_of_deleted(deleted.iter().map(|tp| tp.topic.clone()));
        if !deleted.is_empty()
            && let Some(listener) = self.listener()
        {
            listener.on_partitions_deleted(&deleted);
        }
        ErrorCode::None
    }

    /// [`become_leader_or_follower`](Self::become_leader_or_follower) on the caller's thread.
    pub fn become_leader_or_follower_blocking(
        &self,
        request: &LeaderAndIsrRequest,
    ) -> LeaderAndIsrResponse {
        let mut fence = self.control.lock();
        if let Err(error) = fence.admit(self.broker_epoch(), &request.header) {
            let partitions = request
                .partitions
                .iter()
                .map(|p| (p.topic_partition.clone(), error));
            return LeaderAndIsrResponse {
                error,
                partitions: partitions.collect(),
            };
        }
        self.host_all(&request.partitions);
        let topic_ids: BTreeMap<_, _> = request
            .topic_ids
            .iter()
            .map(|(topic, id)| (topic, *id))
            .collect();
        let mut partitions = Vec::with_capacity(request.partitions.len());
        let mut changes = Vec::new();
        let mut follows = Vec::new();
        for command in &request.partitions {
            let tp = &command.topic_partition;
            let topic_id = topic_ids.get(&tp.topic).copied().unwrap_or(TopicId::ZERO);
            let error = self.lead_or_follow(command, topic_id, &mut changes, &mut follows);
            partitions.push((tp.clone(), error));
        }
        self.start_high_watermark_checkpoints();
        self.resume_moves(request.partitions.iter().map(|p| &p.topic_partition));
        if let Some(fetchers) = self.fetchers() {
            fetchers.follow(follows);
        }
        self.tell(changes);
        drop(fence);
        LeaderAndIsrResponse {
            error: ErrorCode::None,
            partitions,
        }
    }

    /// Gives every named partition that is not hosted yet a place in the table.
    fn host_all(&self, commands: &[LeaderAndIsrPartition]) {
        let table = self.table.load();
        let missing: Vec<_> = commands
            .iter()
            .map(|command| &command.topic_partition)
            .filter(|tp| table.get(tp.topic.as_str(), tp.partition).is_none())
            .collect();
        if missing.is_empty() {
            return;
        }
        let mut next = HostedTable::clone(&table);
        for tp in missing {
            let config = self.configs.topic(tp.topic.as_str());
            self.throttle_topic(&tp.topic, &config);
            let counts = next.topic_counts(tp.topic.as_str());
            let hosted =
                HostedPartition::new(tp.clone(), self.local, self.lag_max(), config, counts);
            next.insert(tp, Hosted::Online(hosted));
        }
        self.table.store(Arc::new(next));
    }

    fn lead_or_follow(
        &self,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        changes: &mut Vec<RoleChange>,
        follows: &mut Vec<Follow>,
    ) -> ErrorCode {
        let tp = &command.topic_partition;
        let table = self.table.load();
        let hosted = match table.get(tp.topic.as_str(), tp.partition) {
            Some(Hosted::Online(hosted)) => Arc::clone(hosted),
            Some(Hosted::Offline) | None => return ErrorCode::KafkaStorageError,
        };
        let facts = facts_of(&hosted);
        let step = leader_and_isr_step(self.local, facts, topic_id, command);
        tracing::debug!(
            target: "state_change",
            partition = %tp,
            leader = command.state.leader.0,
            leader_epoch = command.state.leader_epoch.0,
            partition_epoch = command.state.partition_epoch.0,
            controller_epoch = command.state.controller_epoch.0,
            ?step,
            "LeaderAndIsr"
        );
        let result = match step {
            LeaderAndIsrStep::Answer(error) => return error,
            LeaderAndIsrStep::BecomeLeader => self.lead(&hosted, command, topic_id, changes),
            LeaderAndIsrStep::BecomeFollower => {
                self.follow(&hosted, command, topic_id, changes, follows)
            }
            LeaderAndIsrStep::AssignTopicId { refresh_fetcher } => {
                let assigned = assign_topic_id(&hosted, topic_id);
                if refresh_fetcher && let Some(fetchers) = self.fetchers() {
                    fetchers.set_topic_id(tp, Some(topic_id));
                }
                assigned
            }
            LeaderAndIsrStep::DropFetcherTopicId => {
                if let Some(fetchers) = self.fetchers() {
                    fetchers.set_topic_id(tp, None);
                }
                Ok(())
            }
        };
        match result {
            Ok(()) => ErrorCode::None,
            Err(ErrorCode::KafkaStorageError) => {
                self.mark_offline(tp);
                ErrorCode::KafkaStorageError
            }
            Err(error) => error,
        }
    }

    fn lead(
        &self,
        hosted: &HostedPartition,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        changes: &mut Vec<RoleChange>,
    ) -> Result<(), ErrorCode> {
        let tp = hosted.topic_partition();
        let mut effects = Effects {
            fetches: Fetches::Changed,
            ..Effects::default()
        };
        self.stop_fetching(std::slice::from_ref(tp));
        let mut inner = hosted.lock();
        if command.state.partition_epoch < inner.partition.partition_epoch() {
            return Ok(());
        }
        let handle = self.log_of(tp, command.is_new, topic_id)?;
        inner.log = Some(Arc::clone(&handle));
        let log_end_offset = handle.lock().log_end_offset();
        let made = inner
            .partition
            .make_leader(command, log_end_offset, self.clock.now());
        let MakeLeader::Leads {
            is_new_leader,
            epoch_start,
        } = made
        else {
            return Ok(());
        };
        if let Some((epoch, start)) = epoch_start {
            let assigned = handle.lock().assign_epoch_start_offset(epoch, start);
            assigned.map_err(|error| error.code())?;
        }
        inner.advance_high_watermark(self.clock.now(), &self.metadata_cache);
        inner.take_produced(&mut effects);
        inner.take_deleted(&self.metadata_cache, &mut effects);
        hosted.publish(&inner);
        tracing::info!(
            target: "state_change",
            partition = %tp,
            leader_epoch = command.state.leader_epoch.0,
            partition_epoch = command.state.partition_epoch.0,
            isr = ?command.state.isr,
            log_end_offset,
            high_watermark = inner.offsets().high_watermark,
            "became leader"
        );
        if is_new_leader {
            changes.push(RoleChange::Elected(tp.clone(), command.state.leader_epoch));
        }
        drop(inner);
        hosted.carry_out(effects);
        Ok(())
    }

    fn follow(
        &self,
        hosted: &HostedPartition,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        changes: &mut Vec<RoleChange>,
        follows: &mut Vec<Follow>,
    ) -> Result<(), ErrorCode> {
        let tp = hosted.topic_partition();
        let leader_is_alive = self
            .metadata_cache
            .snapshot()
            .is_alive(command.state.leader);
        let mut effects = Effects {
            fetches: Fetches::Changed,
            ..Effects::default()
        };
        let mut inner = hosted.lock();
        if leader_is_alive && command.state.partition_epoch < inner.partition.partition_epoch() {
            return Ok(());
        }
        inner.log = Some(self.log_of(tp, command.is_new, topic_id)?);
        if !leader_is_alive {
            tracing::error!(
                target: "state_change",
                partition = %tp,
                leader = command.state.leader.0,
                "cannot become follower since the leader is not available"
            );
            hosted.publish(&inner);
            return Ok(());
        }
        let made = inner.partition.make_follower(command);
        hosted.publish(&inner);
        if made
            == (MakeFollower::Follows {
                is_new_leader_epoch: true,
            })
        {
            inner.take_produced(&mut effects);
            inner.take_deleted(&self.metadata_cache, &mut effects);
            changes.push(RoleChange::Resigned(
                tp.clone(),
                Some(inner.partition.leader_epoch()),
            ));
            let initial = self.initial_fetch(&inner, topic_id);
            drop(inner);
            self.stop_fetching(std::slice::from_ref(tp));
            follows.extend(initial.map(|initial| Follow {
                partition: tp.clone(),
                leader: command.state.leader,
                initial,
            }));
            hosted.carry_out(effects);
        }
        Ok(())
    }

    /// [`stop_replicas`](Self::stop_replicas) on the caller's thread.
    pub fn stop_replicas_blocking(&self, request: &StopReplicaRequest) -> StopReplicaResponse {
        let mut fence = self.control.lock();
        if let Err(error) = fence.admit(self.broker_epoch(), &request.header) {
            return StopReplicaResponse {
                error,
                partitions: Vec::new(),
            };
        }
        let table = self.table.load();
        let mut partitions = Vec::with_capacity(request.partitions.len());
        let mut changes = Vec::new();
        let mut stopped = Vec::new();
        let mut deleted = Vec::new();
        for command in &request.partitions {
            let tp = &command.topic_partition;
            let hosted = table.get(tp.topic.as_str(), tp.partition);
            let facts = match hosted {
                None => HostedFacts::None,
                Some(Hosted::Offline) => HostedFacts::Offline,
                Some(Hosted::Online(hosted)) => facts_of(hosted),
            };
            let step = stop_replica_step(facts, command);
            tracing::debug!(target: "state_change", partition = %tp, ?step, "StopReplica");
            let error = match step {
                StopReplicaStep::Answer(error) => error,
                StopReplicaStep::Stop { delete } => {
                    if let Some(Hosted::Online(hosted)) = hosted {
                        stopped.push((Arc::clone(hosted), delete));
                    }
                    if delete {
                        deleted.push(tp.clone());
                        let epoch = Some(command.leader_epoch).filter(|epoch| epoch.0 >= 0);
                        changes.push(RoleChange::Resigned(tp.clone(), epoch));
                    }
                    ErrorCode::None
                }
            };
            partitions.push((tp.clone(), error));
        }
        let no_fetching: Vec<_> = stopped
            .iter()
            .map(|(hosted, _)| hosted.topic_partition().clone())
            .collect();
        self.stop_fetching(&no_fetching);
        self.forget(&deleted);
        for (hosted, delete) in &stopped {
            stop(hosted, *delete);
        }
        for (tp, error) in self.log_manager.delete_logs(&deleted) {
            tracing::error!(target: "state_change", partition = %tp, %error, "log not deleted");
            if let Some(answer) = partitions.iter_mut().find(|(answered, _)| *answered == tp) {
                answer.1 = ErrorCode::KafkaStorageError;
            }
        }
        self.tell(changes);
        drop(fence);
        StopReplicaResponse {
            error: ErrorCode::None,
            partitions,
        }
    }

    /// Ends replication to these partitions; not with a partition locked.
    pub(super) fn stop_fetching(&self, partitions: &[TopicPartition]) {
        if let Some(fetchers) = self.fetchers() {
            fetchers.stop(partitions);
        }
    }

    /// Shares the followed partitions among another number of fetchers per leader
    /// (`num.replica.fetchers`).
    pub(super) fn resize_fetchers(&self, count: i32) {
        let Some(fetchers) = self.fetchers() else {
            return;
        };
        if fetchers.fetcher_count() == count.max(1) {
            return;
        }
        // No command changes who follows whom meanwhile.
        let _fence = self.control.lock();
        let table = self.table.load();
        let followed: Vec<_> = table
            .online()
            .filter(|hosted| !hosted.view().partition().is_leader())
            .collect();
        let names: Vec<_> = followed
            .iter()
            .map(|hosted| hosted.topic_partition().clone())
            .collect();
        // First, for a fetcher that still appends would move the end from under the next.
        fetchers.stop(&names);
        fetchers.set_fetcher_count(count);
        tracing::info!(
            count,
            partitions = names.len(),
            "another number of fetchers per leader"
        );
        let follows = followed.iter().filter_map(|hosted| {
            let inner = hosted.lock();
            let leader = inner
                .partition
                .leader()
                .filter(|id| *id != BrokerId::NONE)?;
            let topic_id = hosted.view().topic_id().unwrap_or(TopicId::ZERO);
            Some(Follow {
                partition: hosted.topic_partition().clone(),
                leader,
                initial: self.initial_fetch(&inner, topic_id)?,
            })
        });
        fetchers.follow(follows.collect());
    }

    /// From where a new follower fetches.
    fn initial_fetch(&self, inner: &Inner, topic_id: TopicId) -> Option<InitialFetch> {
        let fetchers = self.fetchers()?;
        let log = inner.log.as_ref()?.lock();
        let latest_epoch = log.latest_epoch();
        Some(InitialFetch {
            topic_id: Some(topic_id).filter(|id| !id.is_zero()),
            current_leader_epoch: inner.partition.leader_epoch(),
            fetch_offset: InitialFetch::offset(
                fetchers.truncates_on_fetch(),
                latest_epoch,
                log.log_end_offset(),
                log.high_watermark(),
            ),
            latest_epoch,
        })
    }

    /// Takes deleted partitions out of the table, so that nobody finds them any more.
    fn forget(&self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let mut next = HostedTable::clone(&self.table.load());
        for tp in partitions {
            next.remove(tp);
        }
        self.table.store(Arc::new(next));
    }

    fn tell(&self, changes: Vec<RoleChange>) {
        let Some(listener) = self.listener() else {
            return;
        };
        let internal = |change: &RoleChange| match change {
            RoleChange::Elected(tp, _) | RoleChange::Resigned(tp, _) => tp.topic.is_internal(),
        };
        for change in changes.iter().filter(|change| internal(change)) {
            match change {
                RoleChange::Elected(tp, epoch) => listener.on_election(tp, *epoch),
                RoleChange::Resigned(tp, epoch) => listener.on_resignation(tp, *epoch),
            }
        }
    }

    pub(super) fn listener(&self) -> Option<Arc<dyn LeadershipListener>> {
        self.listener.get().cloned()
    }
}

/// Answers all that wait for a partition. With `delete` it has neither role nor log from here on.
fn stop(hosted: &HostedPartition, delete: bool) {
    let mut inner = hosted.lock();
    let mut effects = Effects {
        fetches: Fetches::Changed,
        ..Effects::default()
    };
    inner.future = None;
    if delete {
        effects = inner.end(ErrorCode::NotLeaderOrFollower);
        inner.log = None;
        hosted.publish(&inner);
    }
    drop(inner);
    hosted.carry_out(effects);
}

fn facts_of(hosted: &HostedPartition) -> HostedFacts {
    let view = hosted.view();
    HostedFacts::Online {
        leader_epoch: view.partition().leader_epoch(),
        topic_id: view.topic_id(),
    }
}

fn assign_topic_id(hosted: &HostedPartition, topic_id: TopicId) -> Result<(), ErrorCode> {
    let inner = hosted.lock();
    let log = inner.log.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)?;
    log.lock()
        .assign_topic_id(topic_id)
        .map_err(|error| error.code())?;
    hosted.publish(&inner);
    Ok(())
}
