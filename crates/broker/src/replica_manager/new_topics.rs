//! The configuration of topics whose logs are about to be made. A creation announces nothing below
//! `/config/changes`, so whoever makes the first log of a topic reads what is stored
//! (`ZkConfigRepository`).

use std::collections::BTreeSet;

use ottla_model::TopicName;
use ottla_model::control::LeaderAndIsrRequest;

use super::ReplicaManager;
use crate::coordination::startup::StartupError;

impl ReplicaManager {
    /// Reads the stored configuration of the request's topics that have a partition without a log
    /// here.
    pub(super) async fn load_configs_of_new_topics(
        &self,
        request: &LeaderAndIsrRequest,
    ) -> Result<(), StartupError> {
        let Some(dynamic_config) = self.dynamic_config.get() else {
            return Ok(());
        };
        let topics: BTreeSet<&TopicName> = request
            .partitions
            .iter()
            .map(|partition| &partition.topic_partition)
            .filter(|tp| self.reader(tp).is_none())
            .map(|tp| &tp.topic)
            .collect();
        for topic in topics {
            dynamic_config.load_topic(topic).await?;
        }
        Ok(())
    }

    /// Forgets the configuration of topics that are gone from the cluster.
    pub(super) fn forget_configs_of_deleted(&self, topics: impl Iterator<Item = TopicName>) {
        let cluster = self.metadata_cache.snapshot();
        for topic in topics {
            if cluster.topic(topic.as_str()).is_none() {
                self.configs.remove_topic(topic.as_str());
            }
        }
    }
}
