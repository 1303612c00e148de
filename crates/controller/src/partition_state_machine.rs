//! Moves partitions between their states. Source: `PartitionStateMachine.scala`.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{
    BrokerId, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState, PartitionEpoch, TopicName,
    TopicPartition,
};

use crate::core::Core;
use crate::election::{self, ElectionResult, ElectionStrategy};
use crate::failure::Failure;
use crate::request_batch::RequestBatch;
use crate::states::PartitionState;

/// Per partition the elected state, or why there is none.
pub(crate) type Elections = BTreeMap<TopicPartition, Result<LeaderAndIsr, Failure>>;

impl Core {
    /// Gives every known partition its first state, then tries to bring those online that are not.
    pub(crate) async fn start_partition_states(&mut self) -> Result<(), Failure> {
        let partitions: Vec<_> = self.context.all_partitions().collect();
        for partition in partitions {
            let state = match self.context.leadership(&partition) {
                None => PartitionState::New,
                Some(l) if self.context.is_replica_online(l.leader, &partition) => {
                    PartitionState::Online
                }
                Some(_) => PartitionState::Offline,
            };
            self.context.set_partition_state(&partition, state);
        }
        self.trigger_online_partitions().await.map(drop)
    }

    /// Tries to find leaders for all new and offline partitions.
    pub(crate) async fn trigger_online_partitions(&mut self) -> Result<Elections, Failure> {
        let partitions = self.context.partitions_to_bring_online();
        let strategy = ElectionStrategy::Offline {
            allow_unclean: false,
        };
        self.move_partitions_online(&partitions, strategy).await
    }

    /// As [`Self::trigger_online_partitions`], for one topic.
    pub(crate) async fn trigger_online_partitions_of(
        &mut self,
        topic: &TopicName,
    ) -> Result<(), Failure> {
        let mut partitions = self.context.partitions_to_bring_online();
        partitions.retain(|partition| partition.topic == *topic);
        let strategy = ElectionStrategy::Offline {
            allow_unclean: false,
        };
        self.move_partitions_online(&partitions, strategy)
            .await
            .map(drop)
    }

    /// Moves partitions to a state other than online, which writes and sends nothing. Illegal moves
    /// are logged and left out.
    pub(crate) fn move_partitions(
        &mut self,
        partitions: &[TopicPartition],
        target: PartitionState,
    ) {
        assert!(
            target != PartitionState::Online,
            "leaders are found by move_partitions_online"
        );
        for partition in self.valid_partitions(partitions, target) {
            self.log_partition_state(&partition, target);
            self.context.set_partition_state(&partition, target);
        }
    }

    /// Gives new partitions their first leader and elects one for the others; sends the outcome.
    /// Fails only if the controllership is lost.
    pub(crate) async fn move_partitions_online(
        &mut self,
        partitions: &[TopicPartition],
        strategy: ElectionStrategy,
    ) -> Result<Elections, Failure> {
        if partitions.is_empty() {
            return Ok(Elections::new());
        }
        let mut batch = RequestBatch::default();
        match self.bring_online(partitions, strategy, &mut batch).await {
            Ok(elections) => {
                self.send(batch);
                Ok(elections)
            }
            Err(failure) if failure.is_moved() => Err(failure),
            Err(failure) => {
                tracing::error!(%failure, "error while moving some partitions online");
                let failed = partitions.iter().map(|p| (p.clone(), Err(failure.clone())));
                Ok(failed.collect())
            }
        }
    }

    async fn bring_online(
        &mut self,
        partitions: &[TopicPartition],
        strategy: ElectionStrategy,
        batch: &mut RequestBatch,
    ) -> Result<Elections, Failure> {
        let valid = self.valid_partitions(partitions, PartitionState::Online);
        let (new, led_before): (Vec<_>, Vec<_>) = valid
            .into_iter()
            .partition(|p| self.context.partition_state(p) == PartitionState::New);
        self.initialize_leaders(new, batch).await?;
        let elections = self.elect_leaders(led_before, strategy, batch).await?;
        for (partition, election) in &elections {
            if election.is_ok() {
                self.log_partition_state(partition, PartitionState::Online);
                self.context
                    .set_partition_state(partition, PartitionState::Online);
            }
        }
        Ok(elections)
    }

    fn valid_partitions(
        &mut self,
        partitions: &[TopicPartition],
        target: PartitionState,
    ) -> Vec<TopicPartition> {
        let mut valid = Vec::new();
        for partition in partitions {
            let state = self.context.partition_state(partition);
            if target.valid_previous().contains(&state) {
                valid.push(partition.clone());
            } else {
                self.log_failed_partition(partition, target, &"illegal transition");
            }
        }
        valid
    }

    /// The first live replica leads and all live ones are in sync.
    async fn initialize_leaders(
        &mut self,
        partitions: Vec<TopicPartition>,
        batch: &mut RequestBatch,
    ) -> Result<(), Failure> {
        let mut states = Vec::new();
        for partition in partitions {
            let assigned = self.context.replicas(&partition).iter().copied();
            let isr: Vec<BrokerId> = assigned
                .filter(|id| self.context.is_replica_online(*id, &partition))
                .collect();
            let Some(&leader) = isr.first() else {
                let reason = "no assigned replica is alive";
                self.log_failed_partition(&partition, PartitionState::Online, &reason);
                continue;
            };
            let state = LeaderAndIsr {
                leader,
                leader_epoch: LeaderEpoch::INITIAL,
                isr,
                recovery: LeaderRecoveryState::Recovered,
                partition_epoch: PartitionEpoch::INITIAL,
                controller_epoch: self.context.controller_epoch(),
            };
            states.push((partition, state));
        }
        let created = self
            .exchange
            .create_partition_states(self.fence(), &self.config, &states)
            .await;
        let outcomes = match created {
            Ok(outcomes) => outcomes,
            Err(failure) if failure.is_moved() => return Err(failure),
            Err(failure) => {
                for (partition, _) in &states {
                    self.log_failed_partition(partition, PartitionState::Online, &failure);
                }
                return Ok(());
            }
        };
        for ((partition, state), outcome) in states.into_iter().zip(outcomes) {
            if let Err(error) = outcome {
                self.log_failed_partition(&partition, PartitionState::Online, &error);
                continue;
            }
            self.context.put_leadership(&partition, state.clone());
            let assignment = self.context.assignment(&partition);
            let recipients = &state.isr;
            batch.add_leader_and_isr(
                &self.context,
                recipients,
                &partition,
                &state,
                &assignment,
                true,
            );
            self.log_partition_state(&partition, PartitionState::Online);
            self.context
                .set_partition_state(&partition, PartitionState::Online);
        }
        Ok(())
    }

    /// Elects until no write meets a conflict.
    async fn elect_leaders(
        &mut self,
        partitions: Vec<TopicPartition>,
        strategy: ElectionStrategy,
        batch: &mut RequestBatch,
    ) -> Result<Elections, Failure> {
        let mut finished = Elections::new();
        let mut remaining = partitions;
        while !remaining.is_empty() {
            remaining = self
                .elect_once(&remaining, strategy, batch, &mut finished)
                .await?;
        }
        for (partition, election) in &finished {
            if let Err(failure) = election {
                self.log_failed_partition(partition, PartitionState::Online, failure);
            }
        }
        Ok(finished)
    }

    /// One round; gives back the partitions whose state was changed by somebody else meanwhile.
    async fn elect_once(
        &mut self,
        partitions: &[TopicPartition],
        strategy: ElectionStrategy,
        batch: &mut RequestBatch,
        finished: &mut Elections,
    ) -> Result<Vec<TopicPartition>, Failure> {
        let mut current = Vec::new();
        for (partition, state) in self.exchange.partition_states(partitions).await {
            match self.own_state(&partition, state) {
                Ok(state) => current.push((partition, state)),
                Err(failure) => drop(finished.insert(partition, Err(failure))),
            }
        }
        let mut writes = Vec::new();
        let mut recipients = BTreeMap::new();
        for (partition, result) in self.run_elections(current, strategy, finished).await {
            match result.leader_and_isr {
                Some(state) => {
                    writes.push((partition.clone(), state));
                    recipients.insert(partition, result.recipients);
                }
                None => {
                    let reason = format!(
                        "Failed to elect leader for partition {partition} under strategy {}",
                        strategy_name(strategy)
                    );
                    finished.insert(partition, Err(Failure::StateChangeFailed(reason)));
                }
            }
        }
        let epoch = self.context.controller_epoch();
        let updates = self
            .exchange
            .update_partition_states(self.fence(), epoch, writes)
            .await?;
        for (partition, written) in updates.finished {
            if let Ok(state) = &written {
                self.context.put_leadership(&partition, state.clone());
                let assignment = self.context.assignment(&partition);
                let recipients = recipients.get(&partition).map_or(&[][..], Vec::as_slice);
                batch.add_leader_and_isr(
                    &self.context,
                    recipients,
                    &partition,
                    state,
                    &assignment,
                    false,
                );
            }
            finished.insert(partition, written.map_err(Failure::from));
        }
        Ok(updates.conflicts)
    }

    /// A state that this controller may change: it is there, and no later controller wrote it.
    pub(crate) fn own_state(
        &self,
        partition: &TopicPartition,
        state: Result<Option<LeaderAndIsr>, Failure>,
    ) -> Result<LeaderAndIsr, Failure> {
        let Some(state) = state? else {
            return Err(Failure::StateChangeFailed(format!(
                "LeaderAndIsr information doesn't exist for partition {partition} in {:?}Partition state",
                self.context.partition_state(partition)
            )));
        };
        if state.controller_epoch > self.context.controller_epoch() {
            return Err(Failure::StateChangeFailed(format!(
                "Aborted leader election for partition {partition} since the LeaderAndIsr path was already written by another controller. This probably means that the current controller {} went through a soft failure and another controller was elected with epoch {}.",
                self.config.broker_id(),
                state.controller_epoch
            )));
        }
        Ok(state)
    }

    async fn run_elections(
        &mut self,
        current: Vec<(TopicPartition, LeaderAndIsr)>,
        strategy: ElectionStrategy,
        finished: &mut Elections,
    ) -> Vec<(TopicPartition, ElectionResult)> {
        let unclean = match strategy {
            ElectionStrategy::Offline { allow_unclean } => {
                self.unclean_allowed(&current, allow_unclean).await
            }
            ElectionStrategy::Reassign
            | ElectionStrategy::Preferred
            | ElectionStrategy::ControlledShutdown => BTreeMap::new(),
        };
        let mut results = Vec::new();
        for (partition, state) in current {
            let unclean = match unclean.get(&partition) {
                None => false,
                Some(Ok(allowed)) => *allowed,
                Some(Err(failure)) => {
                    finished.insert(partition, Err(failure.clone()));
                    continue;
                }
            };
            let result = self.elect_one(&partition, &state, strategy, unclean);
            if result.unclean {
                self.exchange
                    .update_view(|view| view.unclean_leader_elections += 1);
            }
            results.push((partition, result));
        }
        results
    }

    fn elect_one(
        &self,
        partition: &TopicPartition,
        state: &LeaderAndIsr,
        strategy: ElectionStrategy,
        unclean: bool,
    ) -> ElectionResult {
        let context = &self.context;
        let assignment = context.replicas(partition);
        let online = |id| context.is_replica_online(id, partition);
        match strategy {
            ElectionStrategy::Offline { .. } => {
                let recovery = self.config.capabilities.leader_recovery;
                election::elect_offline(state, assignment, online, unclean, recovery)
            }
            ElectionStrategy::Reassign => {
                let target = context.assignment(partition).target_replicas();
                election::elect_for_reassignment(state, &target, online)
            }
            ElectionStrategy::Preferred => election::elect_preferred(state, assignment, online),
            ElectionStrategy::ControlledShutdown => election::elect_for_controlled_shutdown(
                state,
                assignment,
                |id| context.is_replica_registered(id, partition),
                |id| context.shutting_down.contains(&id),
            ),
        }
    }

    /// For each partition without a live replica in sync, whether another may lead: by order, or as
    /// the topic's configuration says at this moment.
    async fn unclean_allowed(
        &self,
        current: &[(TopicPartition, LeaderAndIsr)],
        allow_unclean: bool,
    ) -> BTreeMap<TopicPartition, Result<bool, Failure>> {
        let without_isr: Vec<&TopicPartition> = current
            .iter()
            .filter(|(partition, state)| {
                !state
                    .isr
                    .iter()
                    .any(|id| self.context.is_replica_online(*id, partition))
            })
            .map(|(partition, _)| partition)
            .collect();
        let enabled = if allow_unclean {
            BTreeMap::new()
        } else {
            let topics: BTreeSet<_> = without_isr.iter().map(|p| p.topic.clone()).collect();
            let default = self.config.unclean_leader_election_enable;
            self.exchange
                .unclean_election_enabled(&topics, default)
                .await
        };
        let allowed = |p: &TopicPartition| enabled.get(&p.topic).cloned().unwrap_or(Ok(true));
        without_isr
            .into_iter()
            .map(|partition| (partition.clone(), allowed(partition)))
            .collect()
    }

    fn log_partition_state(&self, partition: &TopicPartition, target: PartitionState) {
        tracing::debug!(
            target: "state_change",
            %partition,
            controller_epoch = self.context.epoch,
            from = ?self.context.partition_state(partition),
            to = ?target,
            "changed partition state"
        );
    }

    fn log_failed_partition(
        &self,
        partition: &TopicPartition,
        target: PartitionState,
        reason: &dyn std::fmt::Display,
    ) {
        tracing::warn!(
            target: "state_change",
            %partition,
            controller_epoch = self.context.epoch,
            from = ?self.context.partition_state(partition),
            to = ?target,
            %reason,
            "failed to change partition state"
        );
    }
}

/// As Kafka prints it in the message of a failed election.
fn strategy_name(strategy: ElectionStrategy) -> &'static str {
    match strategy {
        ElectionStrategy::Offline {
            allow_unclean: false,
        } => "OfflinePartitionLeaderElectionStrategy(false)",
        ElectionStrategy::Offline {
            allow_unclean: true,
        } => "OfflinePartitionLeaderElectionStrategy(true)",
        ElectionStrategy::Reassign => "ReassignPartitionLeaderElectionStrategy",
        ElectionStrategy::Preferred => "PreferredReplicaPartitionLeaderElectionStrategy",
        ElectionStrategy::ControlledShutdown => "ControlledShutdownPartitionLeaderElectionStrategy",
    }
}
