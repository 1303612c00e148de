//! Deleting topics: an order for the controller.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::{Error, paths};
use ottla_model::{ErrorCode, TopicName};

use super::{TopicAdmin, deadline};
use crate::metadata_cache::MetadataSnapshot;

impl TopicAdmin<'_> {
    /// Orders deletions and waits until the topics have left the metadata cache; their data may
    /// still be there.
    pub async fn delete_topics(
        &self,
        timeout_ms: i32,
        topics: BTreeSet<TopicName>,
    ) -> BTreeMap<TopicName, ErrorCode> {
        let deadline = deadline(timeout_ms);
        let mut results = BTreeMap::new();
        for topic in topics {
            let error = self.order_deletion(&topic).await;
            results.insert(topic, error);
        }
        let is_waited_for = |snapshot: &MetadataSnapshot, name: &TopicName, error: ErrorCode| {
            error.is_none() && snapshot.topic(name.as_str()).is_some()
        };
        if timeout_ms > 0 {
            let all_gone = |snapshot: &MetadataSnapshot| {
                !results
                    .iter()
                    .any(|(name, error)| is_waited_for(snapshot, name, *error))
            };
            self.metadata_cache.wait_until(deadline, all_gone).await;
        }
        let snapshot = self.metadata_cache.snapshot();
        for (name, error) in &mut results {
            let without_waiting = timeout_ms <= 0 && error.is_none();
            if without_waiting || is_waited_for(&snapshot, name, *error) {
                *error = ErrorCode::RequestTimedOut;
            }
        }
        results
    }

    /// A topic whose deletion was ordered before is waited for like the others.
    async fn order_deletion(&self, topic: &TopicName) -> ErrorCode {
        let snapshot = self.metadata_cache.snapshot();
        let known = snapshot.topic(topic.as_str());
        if let Err(error) = self.record(known.map_or(0, |topic| topic.partitions.len())) {
            return error.error;
        }
        let failed = |error: Error| {
            tracing::error!(%topic, %error, "cannot order the deletion of a topic");
            ErrorCode::UnknownServerError
        };
        match self
            .coordination
            .exists(paths::topic(topic.as_str()), false)
            .await
        {
            Ok(Some(_)) => {}
            Ok(None) => return ErrorCode::UnknownTopicOrPartition,
            Err(error) => return failed(error),
        }
        let order = paths::delete_topic(topic.as_str());
        match self.coordination.create_recursive(&order, None).await {
            Ok(()) | Err(Error::NodeExists) => ErrorCode::None,
            Err(error) => failed(error),
        }
    }
}
