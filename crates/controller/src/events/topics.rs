//! Topics and partitions that appear or vanish.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::paths;
use ottla_coordination::payloads::TopicAssignment;
use ottla_model::{TopicName, TopicPartition};

use crate::core::Core;
use crate::election::ElectionStrategy;
use crate::failure::Failure;
use crate::states::{PartitionState, ReplicaState};
use crate::work::DataHandler;

impl Core {
    pub(super) async fn process_topic_change(&mut self) -> Result<(), Failure> {
        let topics = self.exchange.topics().await?;
        let known = std::mem::replace(&mut self.context.all_topics, topics.clone());
        let new: BTreeSet<TopicName> = topics.difference(&known).cloned().collect();
        self.watch_topics(&new);
        let mut assignments = self.exchange.topic_assignments(&new).await?;
        for topic in known.difference(&topics) {
            self.context.remove_topic(topic);
        }
        self.publish_deletions();
        self.process_topic_ids(&mut assignments).await?;
        let mut partitions = Vec::new();
        for (topic, assignment) in assignments {
            for (index, assignment) in assignment.partitions {
                let partition = TopicPartition::new(topic.clone(), index);
                self.context.set_assignment(&partition, assignment);
                partitions.push(partition);
            }
        }
        tracing::info!(?new, "topics changed");
        self.on_new_partitions(&partitions).await
    }

    pub(super) async fn process_partition_modifications(
        &mut self,
        topic: &TopicName,
    ) -> Result<(), Failure> {
        let mut found = self
            .exchange
            .topic_assignments(&BTreeSet::from([topic.clone()]))
            .await?;
        if self.context.topic_id(topic).is_none() {
            // The znode was unreadable when the topic appeared.
            self.process_topic_ids(&mut found).await?;
        }
        let Some(found) = found.remove(topic) else {
            return Ok(());
        };
        let added: BTreeMap<_, _> = found
            .partitions
            .iter()
            .map(|(index, assignment)| (TopicPartition::new(topic.clone(), *index), assignment))
            .filter(|(partition, _)| self.context.replicas(partition).is_empty())
            .collect();
        if self.context.is_queued_for_deletion(topic) {
            if added.is_empty() {
                tracing::info!(%topic, "ignoring a partition change during topic deletion");
                return Ok(());
            }
            tracing::warn!(%topic, "not adding partitions to a topic that is being deleted");
            return self.restore_assignment(topic, &found).await;
        }
        if added.is_empty() {
            return Ok(());
        }
        for (partition, assignment) in &added {
            self.context
                .set_assignment(partition, (*assignment).clone());
        }
        let partitions: Vec<_> = added.into_keys().collect();
        tracing::info!(?partitions, "partitions added");
        self.on_new_partitions(&partitions).await
    }

    /// Writes back the assignment of those partitions that were really made.
    async fn restore_assignment(
        &mut self,
        topic: &TopicName,
        found: &TopicAssignment,
    ) -> Result<(), Failure> {
        let made = self.exchange.partitions_with_znodes(topic).await?;
        let kept = found
            .partitions
            .keys()
            .filter(|index| made.contains(&index.to_string()));
        let assignment = |index: &i32| {
            let partition = TopicPartition::new(topic.clone(), *index);
            (*index, self.context.assignment(&partition))
        };
        let restored = TopicAssignment {
            topic_id: self.context.topic_id(topic),
            partitions: kept.map(assignment).collect(),
        };
        self.exchange
            .set_topic_assignment(self.fence(), topic, &restored)
            .await
    }

    /// Brings partitions to life that have an assignment and nothing else.
    async fn on_new_partitions(&mut self, partitions: &[TopicPartition]) -> Result<(), Failure> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.move_partitions(partitions, PartitionState::New);
        let replicas = self.context.replicas_of_partitions(partitions);
        self.move_replicas(replicas.clone(), ReplicaState::New)
            .await?;
        let strategy = ElectionStrategy::Offline {
            allow_unclean: false,
        };
        self.move_partitions_online(partitions, strategy).await?;
        self.move_replicas(replicas, ReplicaState::Online).await
    }

    /// Remembers the ids of topics, after giving one to those without.
    pub(super) async fn process_topic_ids(
        &mut self,
        assignments: &mut BTreeMap<TopicName, TopicAssignment>,
    ) -> Result<(), Failure> {
        if self.config.capabilities.topic_ids {
            self.exchange
                .give_topic_ids(self.fence(), assignments)
                .await?;
        }
        for (topic, assignment) in assignments {
            if let Some(id) = assignment.topic_id {
                self.context.add_topic_id(topic, id)?;
            }
        }
        Ok(())
    }

    pub(super) fn watch_topics(&self, topics: &BTreeSet<TopicName>) {
        for topic in topics {
            let handler = DataHandler::Topic(topic.clone());
            self.exchange
                .register_data_handler(paths::topic(topic.as_str()), handler);
        }
    }
}
