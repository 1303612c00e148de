//! Orders to move replicas, by the API or by `/admin/reassign_partitions`, and their checks.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::paths;
use ottla_model::{BrokerId, ErrorCode, ReplicaAssignment, TopicPartition};

use crate::core::Core;
use crate::event::{Answer, ApiError, Token};
use crate::failure::Failure;
use crate::work::Work;

type Results = BTreeMap<TopicPartition, ApiError>;

impl Core {
    pub(super) async fn process_api_reassignment(
        &mut self,
        token: Token,
        targets: BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> Result<(), Failure> {
        let answer = if self.is_active() {
            Ok(self.reassign_by_api(targets).await?)
        } else {
            Err(ApiError::of(ErrorCode::NotController))
        };
        self.exchange
            .answer(token, Answer::AlterPartitionReassignments(answer));
        Ok(())
    }

    async fn reassign_by_api(
        &mut self,
        targets: BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> Result<Results, Failure> {
        let mut results = Results::new();
        let mut reassignments = BTreeMap::new();
        for (partition, target) in targets {
            let checked = match &target {
                Some(target) => self.check_target(&partition, target),
                None => Ok(()),
            };
            match checked.and_then(|()| self.build_reassignment(&partition, target)) {
                Ok(reassignment) => drop(reassignments.insert(partition, reassignment)),
                Err(error) => drop(results.insert(partition, error)),
            }
        }
        // The latest order wins, wherever it comes from.
        self.remove_ordered_reassignments(|partition, _| reassignments.contains_key(partition))
            .await?;
        results.extend(self.trigger_reassignments(reassignments).await?);
        Ok(results)
    }

    fn check_target(
        &self,
        partition: &TopicPartition,
        target: &[BrokerId],
    ) -> Result<(), ApiError> {
        let refuse = |message| Err(ApiError::with(ErrorCode::InvalidReplicaAssignment, message));
        let distinct: BTreeSet<_> = target.iter().collect();
        if target.is_empty() {
            return refuse("Empty replica list specified in partition reassignment.".to_owned());
        }
        if distinct.len() != target.len() {
            return refuse(format!(
                "Duplicate replica ids in partition reassignment replica list: {}",
                scala("ArrayBuffer", target)
            ));
        }
        if target.iter().any(|id| id.0 < 0) {
            return refuse(format!(
                "Invalid broker id in replica list: {}",
                scala("ArrayBuffer", target)
            ));
        }
        let adding = self
            .context
            .assignment(partition)
            .reassign_to(target)
            .adding;
        if !adding.iter().all(|id| self.context.is_live(*id)) {
            let live: Vec<_> = self.context.live_ids().into_iter().collect();
            return refuse(format!(
                "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
                scala("ArrayBuffer", &adding),
                // Scala's name for a set of more than four elements.
                scala(if live.len() > 4 { "HashSet" } else { "Set" }, &live)
            ));
        }
        Ok(())
    }

    /// The assignment while moving; without a target the running move is cancelled.
    fn build_reassignment(
        &self,
        partition: &TopicPartition,
        target: Option<Vec<BrokerId>>,
    ) -> Result<ReplicaAssignment, ApiError> {
        let current = self.context.assignment(partition);
        match target {
            Some(target) => Ok(current.reassign_to(&distinct(target))),
            None if current.is_being_reassigned() => {
                Ok(current.reassign_to(&current.origin_replicas()))
            }
            None => Err(ApiError::of(ErrorCode::NoReassignmentInProgress)),
        }
    }

    async fn trigger_reassignments(
        &mut self,
        reassignments: BTreeMap<TopicPartition, ReplicaAssignment>,
    ) -> Result<Results, Failure> {
        let mut results = Results::new();
        for (partition, reassignment) in reassignments {
            let exists = !self.context.replicas(&partition).is_empty();
            let result = if !exists || self.context.is_queued_for_deletion(&partition.topic) {
                let message = "The partition does not exist.";
                ApiError::with(ErrorCode::UnknownTopicOrPartition, message)
            } else {
                match self.on_reassignment(&partition, reassignment).await {
                    Ok(()) => ApiError::NONE,
                    Err(failure) if failure.is_moved() => return Err(failure),
                    Err(failure) => {
                        tracing::error!(%partition, %failure, "error completing reassignment");
                        ApiError::of(ErrorCode::UnknownServerError)
                    }
                }
            };
            results.insert(partition, result);
        }
        Ok(results)
    }

    /// The partitions whose reassignment the znode has triggered. The read arms the watch.
    pub(super) async fn process_zk_reassignment(
        &mut self,
    ) -> Result<BTreeSet<TopicPartition>, Failure> {
        if !self.exchange.is_there(paths::REASSIGN_PARTITIONS).await? {
            return Ok(BTreeSet::new());
        }
        let mut reassignments = BTreeMap::new();
        for (partition, target) in self.exchange.ordered_reassignments().await? {
            // Unlike the API this path does not ask whether the target is alive.
            let current = self.context.assignment(&partition);
            reassignments.insert(partition, current.reassign_to(&distinct(target)));
        }
        let results = self.trigger_reassignments(reassignments).await?;
        let (done, failed): (BTreeMap<_, _>, BTreeMap<_, _>) = results
            .into_iter()
            .partition(|(_, result)| result.error.is_none());
        if !failed.is_empty() {
            tracing::warn!(?failed, "failed reassignment by znode");
            self.remove_ordered_reassignments(|partition, _| failed.contains_key(partition))
                .await?;
        }
        Ok(done.into_keys().collect())
    }

    /// Takes entries out of `/admin/reassign_partitions`, if it is there.
    pub(super) async fn remove_ordered_reassignments(
        &mut self,
        remove: impl Fn(&TopicPartition, &[BrokerId]) -> bool,
    ) -> Result<(), Failure> {
        if !self.exchange.is_there(paths::REASSIGN_PARTITIONS).await? {
            return Ok(());
        }
        let mut orders = self.exchange.ordered_reassignments().await?;
        orders.retain(|partition, target| !remove(partition, target));
        let fence = self.fence();
        if orders.is_empty() {
            let path = paths::REASSIGN_PARTITIONS.to_owned();
            self.exchange.delete_if_there(fence, path).await?;
            // The watch must be armed on the absent znode.
            self.exchange.put(Work::ZkPartitionReassignment);
            return Ok(());
        }
        self.exchange
            .set_ordered_reassignments(fence, &self.config, orders)
            .await
    }

    /// First what the znode orders, which supplants the rest, then the rest.
    pub(super) async fn resume_reassignments_after_failover(&mut self) -> Result<(), Failure> {
        let resumed = self.process_zk_reassignment().await?;
        self.resume_reassignments(|partition, _| !resumed.contains(partition))
            .await
    }

    pub(super) async fn resume_reassignments(
        &mut self,
        is_wanted: impl Fn(&TopicPartition, &ReplicaAssignment) -> bool,
    ) -> Result<(), Failure> {
        for partition in self.context.being_reassigned.clone() {
            let assignment = self.context.assignment(&partition);
            if is_wanted(&partition, &assignment) {
                self.on_reassignment(&partition, assignment).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn process_reassignment_isr_change(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<(), Failure> {
        if self.context.being_reassigned.contains(partition) {
            self.maybe_complete_reassignment(partition).await?;
        }
        Ok(())
    }

    pub(super) fn process_list_reassignments(
        &self,
        token: Token,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) {
        let answer = if self.is_active() {
            let partitions = partitions.unwrap_or_else(|| self.context.being_reassigned.clone());
            let moving = partitions
                .into_iter()
                .map(|partition| (partition.clone(), self.context.assignment(&partition)))
                .filter(|(_, assignment)| assignment.is_being_reassigned());
            Ok(moving.collect())
        } else {
            Err(ApiError::of(ErrorCode::NotController))
        };
        self.exchange
            .answer(token, Answer::ListPartitionReassignments(answer));
    }
}

/// Each id once, where it first stands.
fn distinct(ids: Vec<BrokerId>) -> Vec<BrokerId> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).collect()
}

/// As Kafka prints a Scala collection in its messages, by the name of its class.
fn scala(collection: &str, ids: &[BrokerId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("{collection}({})", ids.join(", "))
}
