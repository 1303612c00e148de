//! Moves replicas between their states. Source: `ReplicaStateMachine.scala`.

use std::collections::BTreeMap;

use ottla_model::{BrokerId, LeaderAndIsr, ReplicaAssignment, TopicPartition};

use crate::core::Core;
use crate::election::new_leader;
use crate::failure::Failure;
use crate::request_batch::RequestBatch;
use crate::states::{PartitionAndReplica, ReplicaState};

impl Core {
    /// Gives every known replica its first state, then tells the online ones what they host and
    /// takes the others out of the ISRs.
    pub(crate) async fn start_replica_states(&mut self) -> Result<(), Failure> {
        let (online, offline) = self.context.online_and_offline_replicas();
        for replica in &online {
            self.context
                .set_replica_state(replica, ReplicaState::Online);
        }
        for replica in &offline {
            // On the safer side for topics that are being deleted; the others leave it at once.
            self.context
                .set_replica_state(replica, ReplicaState::DeletionIneligible);
        }
        self.move_replicas(online, ReplicaState::Online).await?;
        self.move_replicas(offline, ReplicaState::Offline).await
    }

    /// Moves replicas to a state, broker by broker, and sends what follows from it in one batch.
    /// Illegal moves and other failures are logged; only the loss of the controllership is one.
    pub(crate) async fn move_replicas(
        &mut self,
        replicas: Vec<PartitionAndReplica>,
        target: ReplicaState,
    ) -> Result<(), Failure> {
        if replicas.is_empty() {
            return Ok(());
        }
        let mut by_broker: BTreeMap<BrokerId, Vec<PartitionAndReplica>> = BTreeMap::new();
        for replica in replicas {
            by_broker.entry(replica.replica).or_default().push(replica);
        }
        let mut batch = RequestBatch::default();
        for (broker, replicas) in by_broker {
            match self
                .move_replicas_of(broker, replicas, target, &mut batch)
                .await
            {
                Ok(()) => {}
                Err(failure) if failure.is_moved() => return Err(failure),
                Err(failure) => {
                    tracing::error!(%failure, ?target, "error while moving some replicas");
                    return Ok(());
                }
            }
        }
        self.send(batch);
        Ok(())
    }

    async fn move_replicas_of(
        &mut self,
        broker: BrokerId,
        replicas: Vec<PartitionAndReplica>,
        target: ReplicaState,
        batch: &mut RequestBatch,
    ) -> Result<(), Failure> {
        let (valid, invalid): (Vec<_>, Vec<_>) = replicas.into_iter().partition(|replica| {
            target
                .valid_previous()
                .contains(&self.context.replica_state(replica))
        });
        for replica in &invalid {
            self.log_failed_replica(replica, target, &"illegal transition");
        }
        match target {
            ReplicaState::New => self.start_new_replicas(valid, batch),
            ReplicaState::Online => self.start_replicas(valid, batch),
            ReplicaState::Offline => return self.stop_replicas(broker, valid, batch).await,
            ReplicaState::DeletionStarted => {
                for replica in valid {
                    batch.add_stop_replica(&self.context, broker, &replica.partition, true);
                    self.set_replica_state(replica, target);
                }
            }
            ReplicaState::DeletionIneligible | ReplicaState::DeletionSuccessful => {
                for replica in valid {
                    self.set_replica_state(replica, target);
                }
            }
            ReplicaState::NonExistent => {
                for replica in valid {
                    self.drop_replica(&replica);
                }
            }
        }
        Ok(())
    }

    fn start_new_replicas(&mut self, replicas: Vec<PartitionAndReplica>, batch: &mut RequestBatch) {
        for replica in replicas {
            if let Some(leadership) = self.context.leadership(&replica.partition) {
                if leadership.leader == replica.replica {
                    let reason = "it is being requested to become leader";
                    self.log_failed_replica(&replica, ReplicaState::New, &reason);
                    continue;
                }
                self.add_leadership(&replica, leadership, true, batch);
            }
            self.set_replica_state(replica, ReplicaState::New);
        }
    }

    fn start_replicas(&mut self, replicas: Vec<PartitionAndReplica>, batch: &mut RequestBatch) {
        for replica in replicas {
            if self.context.replica_state(&replica) == ReplicaState::New {
                let mut assignment = self.context.assignment(&replica.partition);
                if !assignment.replicas.contains(&replica.replica) {
                    tracing::error!(%replica, "adding a replica that is not part of the assignment");
                    assignment.replicas.push(replica.replica);
                    self.context.set_assignment(&replica.partition, assignment);
                }
            } else if let Some(leadership) = self.context.leadership(&replica.partition) {
                self.add_leadership(&replica, leadership, false, batch);
            }
            self.set_replica_state(replica, ReplicaState::Online);
        }
    }

    fn add_leadership(
        &self,
        replica: &PartitionAndReplica,
        leadership: &LeaderAndIsr,
        is_new: bool,
        batch: &mut RequestBatch,
    ) {
        let unknown = ReplicaAssignment::default();
        let assignment = self.context.assignment_ref(&replica.partition);
        batch.add_leader_and_isr(
            &self.context,
            &[replica.replica],
            &replica.partition,
            leadership,
            assignment.unwrap_or(&unknown),
            is_new,
        );
    }

    /// Stops replicas and takes them out of the ISRs.
    async fn stop_replicas(
        &mut self,
        broker: BrokerId,
        replicas: Vec<PartitionAndReplica>,
        batch: &mut RequestBatch,
    ) -> Result<(), Failure> {
        for replica in &replicas {
            batch.add_stop_replica(&self.context, broker, &replica.partition, false);
        }
        let (led, never_led): (Vec<_>, Vec<_>) = replicas
            .into_iter()
            .partition(|replica| self.context.leadership(&replica.partition).is_some());
        let partitions = led.into_iter().map(|replica| replica.partition).collect();
        for (partition, state) in self.remove_from_isrs(broker, partitions).await? {
            if !self.context.is_queued_for_deletion(&partition.topic) {
                let assignment = self.context.assignment(&partition);
                let others: Vec<BrokerId> = assignment
                    .replicas
                    .iter()
                    .copied()
                    .filter(|id| *id != broker)
                    .collect();
                batch.add_leader_and_isr(
                    &self.context,
                    &others,
                    &partition,
                    &state,
                    &assignment,
                    false,
                );
            }
            let replica = PartitionAndReplica::new(partition, broker);
            self.set_replica_state(replica, ReplicaState::Offline);
        }
        for replica in never_led {
            let all = self.context.registered_ids();
            batch.add_update_metadata(&self.context, all, [&replica.partition]);
            self.set_replica_state(replica, ReplicaState::Offline);
        }
        Ok(())
    }

    /// Takes a broker out of ISRs, again until no write meets a conflict. Gives the states that
    /// hold now, also of partitions in whose ISR the broker was not.
    async fn remove_from_isrs(
        &mut self,
        broker: BrokerId,
        partitions: Vec<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, LeaderAndIsr>, Failure> {
        let mut results = BTreeMap::new();
        let mut remaining = partitions;
        while !remaining.is_empty() {
            remaining = self
                .remove_from_isrs_once(broker, &remaining, &mut results)
                .await?;
        }
        Ok(results)
    }

    async fn remove_from_isrs_once(
        &mut self,
        broker: BrokerId,
        partitions: &[TopicPartition],
        results: &mut BTreeMap<TopicPartition, LeaderAndIsr>,
    ) -> Result<Vec<TopicPartition>, Failure> {
        let epoch = self.context.controller_epoch();
        let (mut unchanged, mut writes) = (Vec::new(), Vec::new());
        for (partition, state) in self.exchange.partition_states(partitions).await {
            if matches!(state, Ok(None)) && self.context.is_queued_for_deletion(&partition.topic) {
                continue;
            }
            match self.own_state(&partition, state) {
                Ok(state) if state.isr.contains(&broker) => {
                    writes.push((partition, without_replica(&state, broker)));
                }
                Ok(state) => {
                    unchanged.push((
                        partition,
                        LeaderAndIsr {
                            controller_epoch: epoch,
                            ..state
                        },
                    ));
                }
                Err(failure) => {
                    let replica = PartitionAndReplica::new(partition, broker);
                    self.log_failed_replica(&replica, ReplicaState::Offline, &failure);
                }
            }
        }
        let updates = self
            .exchange
            .update_partition_states(self.fence(), epoch, writes)
            .await?;
        for (partition, written) in updates.finished {
            match written {
                Ok(state) => unchanged.push((partition, state)),
                Err(failure) => {
                    let replica = PartitionAndReplica::new(partition, broker);
                    self.log_failed_replica(&replica, ReplicaState::Offline, &failure);
                }
            }
        }
        for (partition, state) in unchanged {
            self.context.put_leadership(&partition, state.clone());
            results.insert(partition, state);
        }
        Ok(updates.conflicts)
    }

    fn drop_replica(&mut self, replica: &PartitionAndReplica) {
        let mut assignment = self.context.assignment(&replica.partition);
        for list in [
            &mut assignment.replicas,
            &mut assignment.adding,
            &mut assignment.removing,
        ] {
            list.retain(|id| *id != replica.replica);
        }
        self.context.set_assignment(&replica.partition, assignment);
        self.log_replica_state(replica, ReplicaState::NonExistent);
        self.context.remove_replica_state(replica);
    }

    fn set_replica_state(&mut self, replica: PartitionAndReplica, target: ReplicaState) {
        self.log_replica_state(&replica, target);
        self.context.set_replica_state(&replica, target);
    }

    fn log_replica_state(&self, replica: &PartitionAndReplica, target: ReplicaState) {
        tracing::trace!(
            target: "state_change",
            partition = %replica.partition,
            replica = %replica.replica,
            controller_epoch = self.context.epoch,
            from = ?self.context.replica_state(replica),
            to = ?target,
            "changed replica state"
        );
    }

    fn log_failed_replica(
        &self,
        replica: &PartitionAndReplica,
        target: ReplicaState,
        reason: &dyn std::fmt::Display,
    ) {
        tracing::warn!(
            target: "state_change",
            partition = %replica.partition,
            replica = %replica.replica,
            controller_epoch = self.context.epoch,
            from = ?self.context.replica_state(replica),
            to = ?target,
            %reason,
            "failed to change replica state"
        );
    }
}

/// A leader that goes leaves nobody in its place, and the last member of an ISR stays in it.
fn without_replica(state: &LeaderAndIsr, replica: BrokerId) -> LeaderAndIsr {
    let leader = if state.leader == replica {
        BrokerId::NONE
    } else {
        state.leader
    };
    let isr = if state.isr.len() == 1 {
        state.isr.clone()
    } else {
        state
            .isr
            .iter()
            .copied()
            .filter(|id| *id != replica)
            .collect()
    };
    new_leader(state, leader, isr)
}
