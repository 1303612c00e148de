//! What a new controller does, in Kafka's order (`onControllerFailover`).

use std::collections::BTreeSet;

use ottla_coordination::paths;
use ottla_coordination::payloads::{Feature, FeatureStatus};
use ottla_model::{TopicName, TopicPartition};

use crate::config::FIRST_REBALANCE_DELAY;
use crate::core::Core;
use crate::event::{Action, ElectionType};
use crate::failure::Failure;
use crate::work::{ChildHandler, DataHandler};

use super::elections::Trigger;

impl Core {
    pub(super) async fn fail_over(&mut self) -> Result<(), Failure> {
        self.set_up_features().await?;
        self.register_handlers().await?;
        let fence = self.fence();
        self.exchange
            .delete_all_children(fence, paths::LOG_DIR_EVENT_NOTIFICATION)
            .await?;
        self.exchange
            .delete_all_children(fence, paths::ISR_CHANGE_NOTIFICATION)
            .await?;
        self.load_context().await?;
        self.load_topic_deletions().await?;
        // Brokers need the list of live brokers before they can take in a LeaderAndIsr.
        self.send_update_metadata_to_all([]);
        self.start_replica_states().await?;
        self.start_partition_states().await?;
        tracing::info!(
            epoch = self.context.epoch,
            "ready to serve as the new controller"
        );
        self.resume_reassignments_after_failover().await?;
        self.try_topic_deletion().await?;
        let pending = self.pending_preferred_elections().await?;
        self.elect_replicas(pending, ElectionType::Preferred, Trigger::Znode)
            .await?;
        if self.config.auto_leader_rebalance_enable {
            let now = self.exchange.now().monotonic;
            self.exchange
                .set_deadline(Some(now + FIRST_REBALANCE_DELAY));
        }
        Ok(())
    }

    /// Brings `/feature` to what the inter-broker protocol version allows. Kafka also waits here
    /// until its own feature cache has seen the write; nothing of ours depends on that.
    async fn set_up_features(&mut self) -> Result<(), Failure> {
        let capabilities = self.config.capabilities;
        let existing = self.exchange.feature().await?;
        let version = if capabilities.feature_znode_version_2 {
            2
        } else {
            1
        };
        let kept = existing.as_ref().filter(|feature| {
            capabilities.feature_versioning && feature.status == FeatureStatus::Enabled
        });
        let wanted = Feature {
            version,
            status: if capabilities.feature_versioning {
                FeatureStatus::Enabled
            } else {
                FeatureStatus::Disabled
            },
            features: kept
                .map(|feature| feature.features.clone())
                .unwrap_or_default(),
        };
        match &existing {
            None => self.exchange.create_feature(&self.config, &wanted).await?,
            Some(existing) if *existing != wanted => self.exchange.set_feature(&wanted).await?,
            Some(_) => {}
        }
        self.finalized_features = wanted.features;
        Ok(())
    }

    async fn register_handlers(&mut self) -> Result<(), Failure> {
        for (path, handler) in [
            (paths::BROKER_IDS, ChildHandler::BrokerIds),
            (paths::TOPICS, ChildHandler::Topics),
            (paths::DELETE_TOPICS, ChildHandler::DeleteTopics),
            (
                paths::LOG_DIR_EVENT_NOTIFICATION,
                ChildHandler::LogDirEvents,
            ),
            (paths::ISR_CHANGE_NOTIFICATION, ChildHandler::IsrChanges),
        ] {
            self.exchange
                .register_child_handler(path.to_owned(), handler);
        }
        for (path, handler) in [
            (
                paths::PREFERRED_REPLICA_ELECTION,
                DataHandler::PreferredReplicaElection,
            ),
            (paths::REASSIGN_PARTITIONS, DataHandler::Reassignment),
        ] {
            self.exchange
                .register_data_handler(path.to_owned(), handler);
            self.exchange.is_there(path).await?;
        }
        Ok(())
    }

    async fn load_context(&mut self) -> Result<(), Failure> {
        let brokers = self.exchange.brokers(|_| None).await?;
        let brokers = self.compatible_brokers(brokers);
        self.context.set_brokers(brokers);
        self.context.all_topics = self.exchange.topics().await?;
        let topics = self.context.all_topics.clone();
        self.watch_topics(&topics);
        let mut assignments = self.exchange.topic_assignments(&topics).await?;
        self.process_topic_ids(&mut assignments).await?;
        for (topic, assignment) in assignments {
            for (index, assignment) in assignment.partitions {
                let partition = TopicPartition::new(topic.clone(), index);
                if assignment.is_being_reassigned() {
                    self.context.being_reassigned.insert(partition.clone());
                }
                self.context.set_assignment(&partition, assignment);
            }
        }
        self.context.clear_leaderships();
        self.context.shutting_down.clear();
        self.watch_brokers(&self.context.registered_ids()).await?;
        let partitions: Vec<_> = self.context.all_partitions().collect();
        self.refresh_leaderships(&partitions).await?;
        for broker in self.context.registered() {
            self.exchange
                .act(Action::BrokerAdded(broker.to_live_broker()));
        }
        Ok(())
    }

    /// Reads the states of partitions anew; those without one keep what is known.
    pub(super) async fn refresh_leaderships(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<(), Failure> {
        for (partition, state) in self.exchange.known_partition_states(partitions).await? {
            self.context.put_leadership(&partition, state);
        }
        Ok(())
    }

    async fn load_topic_deletions(&mut self) -> Result<(), Failure> {
        let ordered = self.exchange.topic_deletions().await?;
        if !self.config.delete_topic_enable {
            return self
                .exchange
                .delete_topic_deletions(self.fence(), &ordered)
                .await;
        }
        let offline = |topic: &&TopicName| {
            let replicas = self.context.replicas_of_topic(topic);
            replicas
                .iter()
                .any(|r| !self.context.is_replica_online(r.replica, &r.partition))
        };
        let mut ineligible: BTreeSet<TopicName> = self
            .context
            .all_topics
            .iter()
            .filter(offline)
            .cloned()
            .collect();
        ineligible.extend(
            self.context
                .being_reassigned
                .iter()
                .map(|p| p.topic.clone()),
        );
        self.context.queue_topic_deletion(&ordered);
        self.publish_deletions();
        let ineligible = ineligible.intersection(&self.context.topics_to_be_deleted);
        self.context.topics_ineligible_for_deletion = ineligible.cloned().collect();
        Ok(())
    }

    /// Partitions of the znode that are there, are not being deleted, and are not led by their
    /// first replica yet.
    async fn pending_preferred_elections(&mut self) -> Result<BTreeSet<TopicPartition>, Failure> {
        let mut pending = self.exchange.ordered_preferred_elections().await?;
        pending.retain(|partition| {
            let preferred = self.context.replicas(partition).first();
            preferred.is_some_and(|preferred| self.context.leader(partition) != *preferred)
                && !self.context.is_queued_for_deletion(&partition.topic)
        });
        Ok(pending)
    }
}
