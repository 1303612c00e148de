//! Deleting topics. Source: `TopicDeletionManager.scala`.

use std::collections::BTreeSet;

use ottla_coordination::paths;
use ottla_model::TopicName;

use crate::core::Core;
use crate::failure::Failure;
use crate::states::{PartitionAndReplica, PartitionState, ReplicaState};

impl Core {
    pub(super) async fn process_topic_deletion(&mut self) -> Result<(), Failure> {
        let ordered = self.exchange.topic_deletions().await?;
        let (known, unknown): (BTreeSet<_>, BTreeSet<_>) = ordered
            .into_iter()
            .partition(|topic| self.context.all_topics.contains(topic));
        if !unknown.is_empty() {
            tracing::warn!(topics = ?unknown, "ignoring orders to delete topics that do not exist");
            self.exchange
                .delete_topic_deletions(self.fence(), &unknown)
                .await?;
        }
        if !self.config.delete_topic_enable {
            tracing::info!(topics = ?known, "deletion of topics is disabled, removing the orders");
            return self
                .exchange
                .delete_topic_deletions(self.fence(), &known)
                .await;
        }
        if known.is_empty() {
            return Ok(());
        }
        tracing::info!(topics = ?known, "starting topic deletion");
        let moving = self
            .context
            .being_reassigned
            .iter()
            .map(|p| p.topic.clone());
        let moving: BTreeSet<TopicName> = moving.filter(|topic| known.contains(topic)).collect();
        // As in Kafka this has an effect only for topics that were queued before.
        self.mark_ineligible_for_deletion(&moving, "topic reassignment in progress");
        self.context.queue_topic_deletion(&known);
        self.publish_deletions();
        self.deletion_pass().await
    }

    pub(super) async fn try_topic_deletion(&mut self) -> Result<(), Failure> {
        if self.config.delete_topic_enable {
            self.deletion_pass().await
        } else {
            Ok(())
        }
    }

    /// What stood in the way of these topics' deletion is gone.
    pub(super) async fn resume_deletion_of(
        &mut self,
        topics: &BTreeSet<TopicName>,
    ) -> Result<(), Failure> {
        let queued: Vec<TopicName> = topics
            .intersection(&self.context.topics_to_be_deleted)
            .cloned()
            .collect();
        if queued.is_empty() {
            return Ok(());
        }
        for topic in queued {
            self.context.topics_ineligible_for_deletion.remove(&topic);
        }
        self.deletion_pass().await
    }

    /// These replicas cannot be deleted for now.
    pub(super) async fn fail_replica_deletion(
        &mut self,
        mut replicas: Vec<PartitionAndReplica>,
    ) -> Result<(), Failure> {
        replicas.retain(|replica| {
            self.context
                .is_queued_for_deletion(&replica.partition.topic)
        });
        if replicas.is_empty() {
            return Ok(());
        }
        let topics = replicas
            .iter()
            .map(|replica| replica.partition.topic.clone())
            .collect();
        self.move_replicas(replicas, ReplicaState::DeletionIneligible)
            .await?;
        self.mark_ineligible_for_deletion(&topics, "replica deletion failure");
        self.deletion_pass().await
    }

    /// These replicas are deleted.
    pub(super) async fn complete_replica_deletion(
        &mut self,
        mut replicas: Vec<PartitionAndReplica>,
    ) -> Result<(), Failure> {
        replicas.retain(|replica| {
            self.context
                .is_queued_for_deletion(&replica.partition.topic)
        });
        self.move_replicas(replicas, ReplicaState::DeletionSuccessful)
            .await?;
        self.deletion_pass().await
    }

    pub(super) fn mark_ineligible_for_deletion(
        &mut self,
        topics: &BTreeSet<TopicName>,
        reason: &str,
    ) {
        for topic in topics.intersection(&self.context.topics_to_be_deleted) {
            tracing::info!(%topic, reason, "halted topic deletion");
            self.context
                .topics_ineligible_for_deletion
                .insert(topic.clone());
        }
    }

    /// Goes through all queued topics: finishes, tries again, or begins.
    async fn deletion_pass(&mut self) -> Result<(), Failure> {
        let mut retry = Vec::new();
        let mut begin = BTreeSet::new();
        for topic in self.context.topics_to_be_deleted.clone() {
            let context = &self.context;
            let under_way = context.is_any_replica_in_state(&topic, ReplicaState::DeletionStarted);
            if context.are_all_replicas_in_state(&topic, ReplicaState::DeletionSuccessful) {
                self.complete_topic_deletion(&topic).await?;
            } else if !under_way {
                retry.extend(context.replicas_in_state(&topic, ReplicaState::DeletionIneligible));
            }
            // Asked anew: the topic may just have been forgotten.
            if self.context.is_queued_for_deletion(&topic)
                && !under_way
                && !self.context.topics_ineligible_for_deletion.contains(&topic)
            {
                tracing::info!(%topic, "topic deletion (re)started");
                begin.insert(topic);
            }
        }
        self.move_replicas(retry, ReplicaState::Offline).await?;
        if begin.is_empty() {
            Ok(())
        } else {
            self.begin_topic_deletion(&begin).await
        }
    }

    async fn complete_topic_deletion(&mut self, topic: &TopicName) -> Result<(), Failure> {
        // A topic of the same name that appears later is new, not modified.
        self.exchange
            .unregister_data_handler(&paths::topic(topic.as_str()));
        let replicas = self
            .context
            .replicas_in_state(topic, ReplicaState::DeletionSuccessful);
        self.move_replicas(replicas, ReplicaState::NonExistent)
            .await?;
        self.exchange.delete_topic(self.fence(), topic).await?;
        self.context.remove_topic(topic);
        self.publish_deletions();
        tracing::info!(%topic, "topic deletion completed");
        Ok(())
    }

    async fn begin_topic_deletion(&mut self, topics: &BTreeSet<TopicName>) -> Result<(), Failure> {
        let unseen: Vec<TopicName> = topics
            .difference(&self.context.topics_with_deletion_started)
            .cloned()
            .collect();
        let partitions: Vec<_> = unseen
            .iter()
            .flat_map(|topic| self.context.partitions_of(topic))
            .collect();
        self.move_partitions(&partitions, PartitionState::Offline);
        self.move_partitions(&partitions, PartitionState::NonExistent);
        // Only now, so that the partitions no longer count as offline.
        self.context.topics_with_deletion_started.extend(unseen);

        let partitions: Vec<_> = topics
            .iter()
            .flat_map(|topic| self.context.partitions_of(topic))
            .collect();
        self.send_update_metadata_to_all(&partitions);
        self.delete_replicas(topics).await
    }

    async fn delete_replicas(&mut self, topics: &BTreeSet<TopicName>) -> Result<(), Failure> {
        let (mut dead, mut to_delete) = (Vec::new(), Vec::new());
        let mut ineligible = BTreeSet::new();
        for topic in topics {
            for replica in self.context.replicas_of_topic(topic) {
                if !self
                    .context
                    .is_replica_online(replica.replica, &replica.partition)
                {
                    dead.push(replica);
                    ineligible.insert(topic.clone());
                } else if self.context.replica_state(&replica) != ReplicaState::DeletionSuccessful {
                    to_delete.push(replica);
                }
            }
        }
        self.move_replicas(dead, ReplicaState::DeletionIneligible)
            .await?;
        // Followers must stop fetching before the leader's log goes.
        self.move_replicas(to_delete.clone(), ReplicaState::Offline)
            .await?;
        self.move_replicas(to_delete, ReplicaState::DeletionStarted)
            .await?;
        self.mark_ineligible_for_deletion(&ineligible, "offline replicas");
        Ok(())
    }
}
