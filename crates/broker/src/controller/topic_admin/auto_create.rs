//! Topics that are made because somebody asked for them (`AutoTopicCreationManager`). Any broker
//! does it, not only the controller.

use std::collections::BTreeSet;

use ottla_config::BrokerConfig;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_model::{ErrorCode, TopicName, topic_names};
use parking_lot::Mutex;

use super::TopicAdmin;
use super::create::NewTopic;

/// Topics that are being made at this moment; asked for again, they are not made twice.
#[derive(Debug, Default)]
pub struct TopicsInCreation(Mutex<BTreeSet<TopicName>>);

impl TopicAdmin<'_> {
    /// Makes topics with the broker's defaults (internal ones with theirs) and tells what Metadata
    /// answers for each: LEADER_NOT_AVAILABLE if it is there now.
    pub async fn auto_create_topics(
        &self,
        in_creation: &TopicsInCreation,
        topics: impl IntoIterator<Item = TopicName>,
    ) -> Vec<(TopicName, ErrorCode)> {
        let mut results = Vec::new();
        let mut creatable = Vec::new();
        for topic in topics {
            if topic_names::validate(topic.as_str()).is_err() {
                results.push((topic, ErrorCode::InvalidTopicException));
            } else if in_creation.0.lock().insert(topic.clone()) {
                creatable.push(topic);
            } else {
                results.push((topic, ErrorCode::UnknownTopicOrPartition));
            }
        }
        let _release = Release {
            in_creation,
            topics: &creatable,
        };
        let config = self.configs.broker();
        let wanted = creatable
            .iter()
            .map(|topic| new_topic(&config, topic.clone()))
            .collect();
        // The caller comes again: nobody waits for leaders here.
        for (topic, result) in self.create_topics(0, false, wanted).await {
            let error = match result.map_or_else(|error| error.error, |_| ErrorCode::None) {
                ErrorCode::TopicAlreadyExists | ErrorCode::RequestTimedOut => {
                    ErrorCode::LeaderNotAvailable
                }
                error => error,
            };
            results.push((topic, error));
        }
        results
    }
}

/// Ends the creation, also of a caller that goes away.
struct Release<'a> {
    in_creation: &'a TopicsInCreation,
    topics: &'a [TopicName],
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let mut in_creation = self.in_creation.0.lock();
        for topic in self.topics {
            in_creation.remove(topic);
        }
    }
}

fn new_topic(config: &BrokerConfig, name: TopicName) -> NewTopic {
    let overrides = |pairs: &[(&str, String)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Some(value.clone())))
            .collect()
    };
    let (num_partitions, replication_factor, configs) = match name.as_str() {
        GROUP_METADATA_TOPIC => (
            config.offsets_topic_num_partitions,
            config.offsets_topic_replication_factor,
            overrides(&[
                ("cleanup.policy", "compact".into()),
                (
                    "segment.bytes",
                    config.offsets_topic_segment_bytes.to_string(),
                ),
                ("compression.type", "producer".into()),
            ]),
        ),
        TRANSACTION_STATE_TOPIC => (
            config.transaction_state_log_num_partitions,
            config.transaction_state_log_replication_factor,
            overrides(&[
                ("unclean.leader.election.enable", "false".into()),
                ("compression.type", "uncompressed".into()),
                ("cleanup.policy", "compact".into()),
                (
                    "min.insync.replicas",
                    config.transaction_state_log_min_isr.to_string(),
                ),
                (
                    "segment.bytes",
                    config.transaction_state_log_segment_bytes.to_string(),
                ),
            ]),
        ),
        _ => {
            let factor = i16::try_from(config.default_replication_factor).unwrap_or(i16::MAX);
            (config.num_partitions, factor, Vec::new())
        }
    };
    NewTopic {
        name,
        num_partitions,
        replication_factor,
        assignments: Vec::new(),
        configs,
    }
}
