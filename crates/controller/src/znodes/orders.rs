//! `/admin`: what administrators and their tools order.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::payloads::{PreferredReplicaElection, ReassignPartitions};
use ottla_coordination::{ANY_VERSION, Error, Op, paths};
use ottla_model::{BrokerId, TopicName, TopicPartition};

use super::{Fence, create, data_or_none};
use crate::config::ControllerConfig;
use crate::exchange::Exchange;
use crate::failure::Failure;

impl Exchange {
    /// The topics that are to be deleted.
    pub(crate) async fn topic_deletions(&self) -> Result<BTreeSet<TopicName>, Failure> {
        let names = self.children(paths::DELETE_TOPICS).await?;
        Ok(names.into_iter().map(TopicName::from).collect())
    }

    /// Takes orders to delete topics back; as in Kafka only the fence matters.
    pub(crate) async fn delete_topic_deletions(
        &self,
        fence: Fence,
        topics: &BTreeSet<TopicName>,
    ) -> Result<(), Failure> {
        let deletes = topics.iter().map(|topic| Op::Delete {
            path: paths::delete_topic(topic.as_str()),
            version: ANY_VERSION,
        });
        self.fenced(fence, deletes.collect()).await?;
        Ok(())
    }

    /// Target replicas ordered by `/admin/reassign_partitions`; none if it is absent or unreadable.
    pub(crate) async fn ordered_reassignments(
        &self,
    ) -> Result<BTreeMap<TopicPartition, Vec<BrokerId>>, Failure> {
        let outcome = self
            .request(self.get_data(paths::REASSIGN_PARTITIONS.to_owned()))
            .await;
        let Some((data, _)) = data_or_none(outcome)? else {
            return Ok(BTreeMap::new());
        };
        match ReassignPartitions::decode(&data.unwrap_or_default()) {
            Ok(orders) => Ok(orders.0),
            Err(error) => {
                tracing::warn!(%error, "ignoring partition reassignment due to invalid json");
                Ok(BTreeMap::new())
            }
        }
    }

    /// Replaces `/admin/reassign_partitions`.
    pub(crate) async fn set_ordered_reassignments(
        &self,
        fence: Fence,
        config: &ControllerConfig,
        orders: BTreeMap<TopicPartition, Vec<BrokerId>>,
    ) -> Result<(), Failure> {
        let path = paths::REASSIGN_PARTITIONS.to_owned();
        let data = Some(ReassignPartitions(orders).encode());
        let set = Op::SetData {
            path: path.clone(),
            data: data.clone(),
            version: ANY_VERSION,
        };
        match self.fenced_one(fence, set).await {
            Err(Failure::Coordination(Error::NoNode)) => {
                let acl = paths::acl_policy(&path, config.zookeeper_set_acl);
                self.fenced_one(fence, create(path, data, acl))
                    .await
                    .map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    /// The partitions of `/admin/preferred_replica_election`; none if it is absent or unreadable.
    pub(crate) async fn ordered_preferred_elections(
        &self,
    ) -> Result<BTreeSet<TopicPartition>, Failure> {
        let path = paths::PREFERRED_REPLICA_ELECTION.to_owned();
        let outcome = self.request(self.get_data(path)).await;
        let Some((data, _)) = data_or_none(outcome)? else {
            return Ok(BTreeSet::new());
        };
        match PreferredReplicaElection::decode(&data.unwrap_or_default()) {
            Ok(orders) => Ok(orders.0),
            Err(error) => {
                tracing::warn!(%error, "ignoring preferred replica election due to invalid json");
                Ok(BTreeSet::new())
            }
        }
    }

    /// Takes the order for preferred elections back; as in Kafka only the fence matters.
    pub(crate) async fn delete_preferred_election_order(
        &self,
        fence: Fence,
    ) -> Result<(), Failure> {
        let path = paths::PREFERRED_REPLICA_ELECTION.to_owned();
        self.fenced(
            fence,
            vec![Op::Delete {
                path,
                version: ANY_VERSION,
            }],
        )
        .await?;
        Ok(())
    }
}
