//! The steps of moving one partition's replicas (`onPartitionReassignment`), named as in Kafka:
//! U the new assignment is written; A the new replicas are started; B, once they are in sync, the
//! old ones are removed. A new controller can take over after each write.

use ottla_coordination::payloads::TopicAssignment;
use ottla_coordination::{Error, paths};
use ottla_model::{BrokerId, LeaderAndIsr, ReplicaAssignment, TopicPartition};

use crate::core::Core;
use crate::election::{ElectionStrategy, new_leader};
use crate::failure::Failure;
use crate::request_batch::RequestBatch;
use crate::states::{PartitionAndReplica, ReplicaState};
use crate::work::DataHandler;

impl Core {
    pub(super) async fn on_reassignment(
        &mut self,
        partition: &TopicPartition,
        reassignment: ReplicaAssignment,
    ) -> Result<(), Failure> {
        let topic = std::collections::BTreeSet::from([partition.topic.clone()]);
        self.mark_ineligible_for_deletion(&topic, "topic reassignment in progress");
        self.update_reassignment(partition, &reassignment).await?;
        if !self
            .is_reassignment_complete(partition, &reassignment)
            .await?
        {
            // A1: all replicas learn of the move.
            self.raise_leader_epoch_and_send(partition, &reassignment)
                .await?;
            // A2
            for replica in reassignment.adding {
                let replica = PartitionAndReplica::new(partition.clone(), replica);
                self.move_replicas(vec![replica], ReplicaState::New).await?;
            }
            return Ok(());
        }
        // B1
        let adding = reassignment.adding.iter();
        let adding = adding
            .map(|id| PartitionAndReplica::new(partition.clone(), *id))
            .collect();
        self.move_replicas(adding, ReplicaState::Online).await?;
        // B2
        let completed = ReplicaAssignment::of(reassignment.target_replicas());
        self.context.set_assignment(partition, completed.clone());
        // B3
        self.move_leader_if_required(partition, &completed).await?;
        // B4, B5
        self.remove_replicas(partition, &reassignment.removing)
            .await?;
        // B6: last, as only this znode tells what the move began with.
        self.write_assignment(partition, &completed).await?;
        // B7
        self.forget_reassignment(partition, &completed).await?;
        // B8
        self.send_update_metadata_to_all([partition]);
        self.resume_deletion_of(&topic).await
    }

    /// The move may be able to end now that the ISR has changed.
    pub(super) async fn maybe_complete_reassignment(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<(), Failure> {
        let reassignment = self.context.assignment(partition);
        if self
            .is_reassignment_complete(partition, &reassignment)
            .await?
        {
            tracing::info!(%partition, "target replicas have caught up with the leader");
            self.on_reassignment(partition, reassignment).await?;
        }
        Ok(())
    }

    /// Phase U: the znode, then memory; replicas that another move was adding and this one does not
    /// want are dropped at once.
    async fn update_reassignment(
        &mut self,
        partition: &TopicPartition,
        reassignment: &ReplicaAssignment,
    ) -> Result<(), Failure> {
        let current = self.context.assignment(partition);
        if current != *reassignment {
            self.write_assignment(partition, reassignment).await?;
            self.context.set_assignment(partition, reassignment.clone());
            let unneeded = current.replicas.iter().copied();
            let unneeded: Vec<BrokerId> = unneeded
                .filter(|id| !reassignment.replicas.contains(id))
                .collect();
            self.remove_replicas(partition, &unneeded).await?;
        }
        if !self.config.capabilities.alter_partition {
            let handler = DataHandler::PartitionState(partition.clone());
            self.exchange
                .register_data_handler(paths::partition_state(partition), handler);
        }
        self.context.being_reassigned.insert(partition.clone());
        Ok(())
    }

    /// Whether all target replicas are in sync, as the coordination service has it.
    async fn is_reassignment_complete(
        &self,
        partition: &TopicPartition,
        reassignment: &ReplicaAssignment,
    ) -> Result<bool, Failure> {
        if !reassignment.is_being_reassigned() {
            return Ok(true);
        }
        let states = self
            .exchange
            .known_partition_states(std::slice::from_ref(partition))
            .await?;
        Ok(states.first().is_some_and(|(_, state)| {
            reassignment
                .target_replicas()
                .iter()
                .all(|replica| state.isr.contains(replica))
        }))
    }

    async fn write_assignment(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> Result<(), Failure> {
        let topic = &partition.topic;
        let mut partitions = self.context.topic_assignment(topic);
        partitions.insert(partition.partition, assignment.clone());
        let znode = TopicAssignment {
            topic_id: self.context.topic_id(topic),
            partitions,
        };
        match self
            .exchange
            .set_topic_assignment(self.fence(), topic, &znode)
            .await
        {
            Err(Failure::Coordination(Error::NoNode)) => Err(Failure::IllegalState(format!(
                "Failed to update assignment for {partition} since the topic has no current assignment"
            ))),
            outcome => outcome,
        }
    }

    /// Out of the ISR, stopped, deleted, forgotten, all at once: nobody waits for the answers.
    async fn remove_replicas(
        &mut self,
        partition: &TopicPartition,
        replicas: &[BrokerId],
    ) -> Result<(), Failure> {
        let replicas: Vec<_> = replicas
            .iter()
            .map(|id| PartitionAndReplica::new(partition.clone(), *id))
            .collect();
        for target in [
            ReplicaState::Offline,
            ReplicaState::DeletionStarted,
            ReplicaState::DeletionSuccessful,
            ReplicaState::NonExistent,
        ] {
            self.move_replicas(replicas.clone(), target).await?;
        }
        Ok(())
    }

    /// B3: a leader among the target replicas, or the same leader with the new replicas.
    async fn move_leader_if_required(
        &mut self,
        partition: &TopicPartition,
        completed: &ReplicaAssignment,
    ) -> Result<(), Failure> {
        let leader = self.context.leader(partition);
        if completed.replicas.contains(&leader) && self.context.is_replica_online(leader, partition)
        {
            return self.raise_leader_epoch_and_send(partition, completed).await;
        }
        let partitions = std::slice::from_ref(partition);
        self.move_partitions_online(partitions, ElectionStrategy::Reassign)
            .await
            .map(drop)
    }

    /// A1 and B3: the epoch grows though leader and ISR stay, so that the leader takes in the new
    /// list of replicas.
    async fn raise_leader_epoch_and_send(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> Result<(), Failure> {
        let state = self.raise_leader_epoch(partition).await?;
        let mut batch = RequestBatch::default();
        // Only the added replicas may be created in another directory if one is offline.
        for (brokers, is_new) in [
            (assignment.origin_replicas(), false),
            (assignment.adding.clone(), true),
        ] {
            batch.add_leader_and_isr(
                &self.context,
                &brokers,
                partition,
                &state,
                assignment,
                is_new,
            );
        }
        self.send(batch);
        Ok(())
    }

    async fn raise_leader_epoch(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<LeaderAndIsr, Failure> {
        loop {
            let mut read = self
                .exchange
                .partition_states(std::slice::from_ref(partition))
                .await;
            let read = read.pop().map_or(Ok(None), |(_, state)| state);
            let state = self.own_state(partition, read)?;
            let raised = new_leader(&state, state.leader, state.isr.clone());
            let epoch = self.context.controller_epoch();
            let writes = vec![(partition.clone(), raised)];
            let updates = self
                .exchange
                .update_partition_states(self.fence(), epoch, writes)
                .await?;
            if let Some((partition, written)) = updates.finished.into_iter().next() {
                let state = written?;
                self.context.put_leadership(&partition, state.clone());
                return Ok(state);
            }
        }
    }

    /// B7
    async fn forget_reassignment(
        &mut self,
        partition: &TopicPartition,
        completed: &ReplicaAssignment,
    ) -> Result<(), Failure> {
        if !self.config.capabilities.alter_partition {
            self.exchange
                .unregister_data_handler(&paths::partition_state(partition));
        }
        self.remove_ordered_reassignments(|ordered, target| {
            ordered == partition && *target == completed.replicas
        })
        .await?;
        self.context.being_reassigned.remove(partition);
        Ok(())
    }
}
