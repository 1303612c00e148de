//! `/brokers/topics/<topic>/partitions/<partition>/state`: leader and ISR.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::payloads::{decode_partition_state, encode_partition_state};
use ottla_coordination::{Error, Op, OpResult, paths};
use ottla_model::{ControllerEpoch, LeaderAndIsr, PartitionEpoch, TopicPartition};

use super::{Fence, create, data_or_none};
use crate::config::ControllerConfig;
use crate::exchange::Exchange;
use crate::failure::Failure;

/// What became of conditional writes of states.
#[derive(Debug, Default)]
pub(crate) struct StateUpdates {
    /// Written, with the new partition epoch, or failed.
    pub(crate) finished: BTreeMap<TopicPartition, Result<LeaderAndIsr, Error>>,
    /// Somebody else has written meanwhile.
    pub(crate) conflicts: Vec<TopicPartition>,
}

impl Exchange {
    /// Reads states, each with its own outcome; `None` for one that is absent or unreadable.
    pub(crate) async fn partition_states(
        &self,
        partitions: &[TopicPartition],
    ) -> Vec<(TopicPartition, Result<Option<LeaderAndIsr>, Failure>)> {
        let reads = partitions
            .iter()
            .map(|p| self.get_data(paths::partition_state(p)));
        let outcomes = self.batch(reads.collect()).await;
        partitions
            .iter()
            .zip(outcomes)
            .map(|(partition, outcome)| {
                let state = data_or_none(outcome).map(|found| {
                    let (data, stat) = found?;
                    decode(partition, &data?, stat.version)
                });
                (partition.clone(), state)
            })
            .collect()
    }

    /// The states that are there; any other outcome fails the whole.
    pub(crate) async fn known_partition_states(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, LeaderAndIsr)>, Failure> {
        let mut known = Vec::with_capacity(partitions.len());
        for (partition, state) in self.partition_states(partitions).await {
            known.extend(state?.map(|state| (partition, state)));
        }
        Ok(known)
    }

    /// Creates the znodes of new partitions with their first states, in three rounds: the parent of
    /// all, the partition's, the state. Outcomes in the order of `states`.
    pub(crate) async fn create_partition_states(
        &self,
        fence: Fence,
        config: &ControllerConfig,
        states: &[(TopicPartition, LeaderAndIsr)],
    ) -> Result<Vec<Result<(), Error>>, Failure> {
        let acl = |path: &str| paths::acl_policy(path, config.zookeeper_set_acl);
        let empty = |path: String| {
            let acl = acl(&path);
            create(path, None, acl)
        };
        let topics: BTreeSet<_> = states
            .iter()
            .map(|(partition, _)| &partition.topic)
            .collect();
        let parents = topics
            .into_iter()
            .map(|t| empty(paths::topic_partitions(t.as_str())));
        self.fenced(fence, parents.collect()).await?;
        let own = states
            .iter()
            .map(|(partition, _)| empty(paths::topic_partition(partition)));
        self.fenced(fence, own.collect()).await?;
        let leaves = states.iter().map(|(partition, state)| {
            let path = paths::partition_state(partition);
            let acl = acl(&path);
            create(path, Some(encode_partition_state(state)), acl)
        });
        let outcomes = self.fenced(fence, leaves.collect()).await?;
        let mut outcomes: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.map(drop))
            .collect();
        self.forgive_own_states(states, &mut outcomes).await;
        Ok(outcomes)
    }

    /// A creation whose answer was lost is sent again and finds its own znode, which only this
    /// controller can have written: its epoch is in there and was checked by every write. Kafka
    /// takes that for a failure and leaves the partition without a leader until something else
    /// happens to it.
    async fn forgive_own_states(
        &self,
        states: &[(TopicPartition, LeaderAndIsr)],
        outcomes: &mut [Result<(), Error>],
    ) {
        let existing: Vec<usize> = (0..outcomes.len())
            .filter(|index| outcomes[*index] == Err(Error::NodeExists))
            .collect();
        if existing.is_empty() {
            return;
        }
        let partitions: Vec<_> = existing
            .iter()
            .map(|index| states[*index].0.clone())
            .collect();
        let found = self.partition_states(&partitions).await;
        for (index, (_, found)) in existing.into_iter().zip(found) {
            if found.is_ok_and(|found| found.as_ref() == Some(&states[index].1)) {
                outcomes[index] = Ok(());
            }
        }
    }

    /// Writes states as decisions of this controller, each only if its partition epoch is still
    /// that of the state.
    pub(crate) async fn update_partition_states(
        &self,
        fence: Fence,
        controller_epoch: ControllerEpoch,
        states: Vec<(TopicPartition, LeaderAndIsr)>,
    ) -> Result<StateUpdates, Failure> {
        let states: Vec<_> = states
            .into_iter()
            .map(|(partition, state)| {
                (
                    partition,
                    LeaderAndIsr {
                        controller_epoch,
                        ..state
                    },
                )
            })
            .collect();
        let writes = states.iter().map(|(partition, state)| Op::SetData {
            path: paths::partition_state(partition),
            data: Some(encode_partition_state(state)),
            version: state.partition_epoch.0,
        });
        let mut updates = StateUpdates::default();
        let outcomes = match self.fenced(fence, writes.collect()).await {
            Ok(outcomes) => outcomes,
            Err(Failure::Coordination(error)) => {
                let failed = states
                    .into_iter()
                    .map(|(partition, _)| (partition, Err(error)));
                updates.finished.extend(failed);
                return Ok(updates);
            }
            Err(failure) => return Err(failure),
        };
        for ((partition, state), outcome) in states.into_iter().zip(outcomes) {
            let result = match outcome {
                Ok(OpResult::Set(stat)) => Ok(LeaderAndIsr {
                    partition_epoch: PartitionEpoch(stat.version),
                    ..state
                }),
                Ok(_) => Err(Error::SystemError),
                Err(Error::BadVersion) => {
                    updates.conflicts.push(partition);
                    continue;
                }
                Err(error) => Err(error),
            };
            updates.finished.insert(partition, result);
        }
        Ok(updates)
    }
}

fn decode(partition: &TopicPartition, data: &[u8], version: i32) -> Option<LeaderAndIsr> {
    match decode_partition_state(data, version) {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::warn!(%partition, %error, "partition state znode is unreadable");
            None
        }
    }
}
