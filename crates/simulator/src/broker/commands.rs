//! The controller's orders: LeaderAndIsr, StopReplica, UpdateMetadata.

use ottla_model::control::{
    ControlRequest, ControlResponse, LeaderAndIsrPartition, LeaderAndIsrRequest,
    LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
};
use ottla_model::{ErrorCode, TopicId, TopicPartition};
use ottla_replication::control::{
    Hosted, LeaderAndIsrStep, StopReplicaStep, leader_and_isr_step, stop_replica_step,
};
use ottla_replication::partition::{MakeFollower, MakeLeader, Surroundings};

use super::{Io, Process, Replica};
use crate::message::{CallId, Response};

impl Process {
    pub(super) fn on_control(&mut self, call: CallId, request: &ControlRequest, io: &mut Io<'_>) {
        let response = match request {
            ControlRequest::UpdateMetadata(request) => {
                let own = self.view().broker_epoch;
                let admitted = self.fence.admit(own, &request.header);
                if admitted.is_ok() {
                    self.metadata.update(request);
                }
                ControlResponse::UpdateMetadata(admitted.err().unwrap_or(ErrorCode::None))
            }
            ControlRequest::LeaderAndIsr(request) => {
                ControlResponse::LeaderAndIsr(self.on_leader_and_isr(request, io))
            }
            ControlRequest::StopReplica(request) => {
                ControlResponse::StopReplica(self.on_stop_replica(request))
            }
        };
        io.reply(call, Response::Control(response));
    }

    fn on_leader_and_isr(
        &mut self,
        request: &LeaderAndIsrRequest,
        io: &mut Io<'_>,
    ) -> LeaderAndIsrResponse {
        let own = self.view().broker_epoch;
        if let Err(error) = self.fence.admit(own, &request.header) {
            return LeaderAndIsrResponse {
                error,
                partitions: Vec::new(),
            };
        }
        let mut partitions = Vec::new();
        for command in &request.partitions {
            let tp = &command.topic_partition;
            let topic_id = request
                .topic_ids
                .iter()
                .find(|(topic, _)| *topic == tp.topic)
                .map_or(TopicId::ZERO, |(_, id)| *id);
            let error = self.lead_or_follow(command, topic_id, io);
            self.touched.insert(tp.clone());
            partitions.push((tp.clone(), error));
        }
        LeaderAndIsrResponse {
            error: ErrorCode::None,
            partitions,
        }
    }

    fn lead_or_follow(
        &mut self,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        io: &Io<'_>,
    ) -> ErrorCode {
        let tp = &command.topic_partition;
        let step = leader_and_isr_step(self.id, self.hosted(tp), topic_id, command);
        self.replicas
            .entry(tp.clone())
            .or_insert_with(|| Replica::new(tp.clone(), self.id, &self.settings));
        let done = match step {
            LeaderAndIsrStep::Answer(error) => return error,
            LeaderAndIsrStep::BecomeLeader => self.lead(command, topic_id, io),
            LeaderAndIsrStep::BecomeFollower => self.follow(command, topic_id, io),
            LeaderAndIsrStep::AssignTopicId { .. } => self.assign_topic_id(tp, topic_id),
            LeaderAndIsrStep::DropFetcherTopicId => {
                for follower in self.followers.values_mut() {
                    follower.fetcher.set_topic_id(tp, None);
                }
                Some(())
            }
        };
        match done {
            Some(()) => ErrorCode::None,
            None => ErrorCode::KafkaStorageError,
        }
    }

    fn lead(
        &mut self,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        io: &Io<'_>,
    ) -> Option<()> {
        let tp = &command.topic_partition;
        self.stop_following(tp);
        self.make_log(tp, topic_id, io)?;
        let replica = self.replicas.get_mut(tp)?;
        let log = replica.log.as_mut()?;
        let made = replica
            .partition
            .make_leader(command, log.log_end_offset(), io.now);
        if let MakeLeader::Leads {
            epoch_start: Some((epoch, start)),
            ..
        } = made
        {
            log.assign_epoch_start_offset(epoch, start).ok()?;
        }
        let around = Surroundings {
            now: io.now,
            min_insync_replicas: self.settings.min_insync_replicas,
            is_alive: &|id| self.metadata.is_alive(id),
        };
        replica.advance_high_watermark(&around);
        self.transactions.elected(tp, command.state.leader_epoch);
        self.groups.elected(tp, command.state.leader_epoch);
        Some(())
    }

    fn follow(
        &mut self,
        command: &LeaderAndIsrPartition,
        topic_id: TopicId,
        io: &Io<'_>,
    ) -> Option<()> {
        let tp = &command.topic_partition;
        self.make_log(tp, topic_id, io)?;
        let epoch = command.state.leader_epoch;
        self.transactions.resigned(tp, Some(epoch));
        self.groups.resigned(tp, Some(epoch));
        if !self.metadata.is_alive(command.state.leader) {
            return Some(());
        }
        let replica = self.replicas.get_mut(tp)?;
        let made = replica.partition.make_follower(command);
        if made
            == (MakeFollower::Follows {
                is_new_leader_epoch: true,
            })
        {
            self.stop_following(tp);
            self.start_following(tp, command.state.leader);
        }
        Some(())
    }

    fn make_log(&mut self, tp: &TopicPartition, topic_id: TopicId, io: &Io<'_>) -> Option<()> {
        if self.replicas.get(tp)?.log.is_none() {
            match self.disk.take_log(tp, topic_id, io.wall) {
                Ok(log) => self.replicas.get_mut(tp)?.log = Some(log),
                Err(error) => {
                    self.halted.get_or_insert(error.to_string());
                    return None;
                }
            }
        }
        if topic_id.is_zero() {
            return Some(());
        }
        self.assign_topic_id(tp, topic_id)
    }

    fn assign_topic_id(&mut self, tp: &TopicPartition, topic_id: TopicId) -> Option<()> {
        let log = self.replicas.get_mut(tp)?.log.as_mut()?;
        log.assign_topic_id(topic_id).ok()?;
        for follower in self.followers.values_mut() {
            follower.fetcher.set_topic_id(tp, Some(topic_id));
        }
        Some(())
    }

    fn on_stop_replica(&mut self, request: &StopReplicaRequest) -> StopReplicaResponse {
        let own = self.view().broker_epoch;
        if let Err(error) = self.fence.admit(own, &request.header) {
            return StopReplicaResponse {
                error,
                partitions: Vec::new(),
            };
        }
        let mut partitions = Vec::new();
        for command in &request.partitions {
            let tp = &command.topic_partition;
            let error = match stop_replica_step(self.hosted(tp), command) {
                StopReplicaStep::Answer(error) => error,
                StopReplicaStep::Stop { delete } => {
                    self.stop_following(tp);
                    self.transactions.resigned(tp, None);
                    self.groups.resigned(tp, None);
                    if delete {
                        let replica = self.replicas.get_mut(tp);
                        let log = replica.and_then(|replica| {
                            replica.partition.clear();
                            replica.log.take()
                        });
                        self.disk.delete_log(tp, log);
                    }
                    self.touched.insert(tp.clone());
                    ErrorCode::None
                }
            };
            partitions.push((tp.clone(), error));
        }
        StopReplicaResponse {
            error: ErrorCode::None,
            partitions,
        }
    }

    /// What the decision tables want to know of a partition here.
    pub(super) fn hosted(&self, tp: &TopicPartition) -> Hosted {
        match self.replicas.get(tp) {
            Some(replica) => Hosted::Online {
                leader_epoch: replica.partition.leader_epoch(),
                topic_id: replica.log.as_ref().and_then(ottla_storage::Log::topic_id),
            },
            None => Hosted::None,
        }
    }

    /// Forgets partitions whose replica was deleted, once those who waited for them are answered.
    pub(super) fn forget_deleted(&mut self) {
        self.replicas.retain(|_, replica| {
            replica.log.is_some()
                || !replica.producers.is_empty()
                || replica.partition.leader().is_some()
                || replica.partition.leader_epoch().0 < 0
        });
    }
}
