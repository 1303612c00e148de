//! Adding partitions to topics.

use std::collections::{BTreeMap, BTreeSet};

use ottla_controller::ApiError;
use ottla_controller::assignment::{BrokerMetadata, Start, assign_replicas_to_brokers};
use ottla_coordination::payloads::TopicAssignment;
use ottla_coordination::{ANY_VERSION, paths};
use ottla_model::{BrokerId, ErrorCode, ReplicaAssignment, TopicName};

use super::create::{check_partition_count, has_leaders};
use super::{
    TopicAdmin, assignment_error, coordination_error, deadline, joined, timed_out,
    unknown_server_error,
};
use crate::metadata_cache::MetadataSnapshot;

/// A topic that is to have more partitions.
#[derive(Clone, Debug)]
pub struct NewPartitions {
    /// Which.
    pub topic: TopicName,
    /// How many it is to have.
    pub count: i32,
    /// Replicas of the new ones, if the caller places them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

impl TopicAdmin<'_> {
    /// Adds partitions to topics (their names must be distinct) and waits until all partitions have
    /// leaders.
    pub async fn create_partitions(
        &self,
        timeout_ms: i32,
        validate_only: bool,
        topics: Vec<NewPartitions>,
    ) -> BTreeMap<TopicName, ApiError> {
        let deadline = deadline(timeout_ms);
        let brokers = self.brokers().await;
        let mut counts = BTreeMap::new();
        for topic in topics {
            let result = match &brokers {
                Ok(brokers) => self.expand(&topic, brokers, validate_only).await,
                Err(error) => Err(error.clone()),
            };
            counts.insert(topic.topic, result);
        }
        if !validate_only && timeout_ms > 0 {
            let all_led = |snapshot: &MetadataSnapshot| {
                counts.iter().all(|(name, count)| match count {
                    Ok(count) => has_leaders(snapshot, name, 0..*count),
                    Err(_) => true,
                })
            };
            self.metadata_cache.wait_until(deadline, all_led).await;
        }
        let snapshot = self.metadata_cache.snapshot();
        let result = |name: &TopicName, count| match count {
            Err(error) => error,
            Ok(_) if validate_only => ApiError::NONE,
            Ok(count) if timeout_ms > 0 && has_leaders(&snapshot, name, 0..count) => ApiError::NONE,
            Ok(_) => timed_out(),
        };
        counts
            .into_iter()
            .map(|(name, count)| {
                let result = result(&name, count);
                (name, result)
            })
            .collect()
    }

    /// All registered brokers; either all or none must have a rack.
    async fn brokers(&self) -> Result<Vec<BrokerMetadata>, ApiError> {
        let registered = self.coordination.registered_brokers().await;
        let registered = registered.map_err(|error| unknown_server_error(&error))?;
        let with_rack = registered
            .iter()
            .filter(|broker| broker.rack.is_some())
            .count();
        if with_rack != 0 && with_rack != registered.len() {
            return Err(unknown_server_error(
                &"Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.",
            ));
        }
        let metadata = |broker: ottla_model::LiveBroker| BrokerMetadata {
            id: broker.id,
            rack: broker.rack,
        };
        Ok(registered.into_iter().map(metadata).collect())
    }

    /// How many partitions the topic has then.
    async fn expand(
        &self,
        wanted: &NewPartitions,
        brokers: &[BrokerMetadata],
        validate_only: bool,
    ) -> Result<i32, ApiError> {
        let existing = self.existing(&wanted.topic).await?;
        let added = plan(wanted, &existing, brokers)?;
        let increment = added.len();
        let path = paths::topic(wanted.topic.as_str());
        let mut combined = existing;
        combined.partitions.extend(added);
        let count = i32::try_from(combined.partitions.len()).unwrap_or(i32::MAX);
        if !validate_only {
            self.record(increment)?;
            let data = Some(combined.encode());
            let set = self.coordination.set_data(path, data, ANY_VERSION).await;
            set.map_err(coordination_error)?;
        }
        Ok(count)
    }

    async fn existing(&self, topic: &TopicName) -> Result<TopicAssignment, ApiError> {
        let path = paths::topic(topic.as_str());
        let found = self
            .coordination
            .find_data(path, false)
            .await
            .map_err(coordination_error)?;
        let existing = match found {
            Some((Some(data), _)) => {
                TopicAssignment::decode(&data).map_err(|error| unknown_server_error(&error))?
            }
            Some((None, _)) | None => TopicAssignment::default(),
        };
        if existing
            .partitions
            .values()
            .any(ReplicaAssignment::is_being_reassigned)
        {
            let message =
                format!("A partition reassignment is in progress for the topic '{topic}'.");
            return Err(ApiError::with(ErrorCode::ReassignmentInProgress, message));
        }
        if existing.partitions.is_empty() {
            let message = format!("The topic '{topic}' does not exist.");
            return Err(ApiError::with(ErrorCode::UnknownTopicOrPartition, message));
        }
        Ok(existing)
    }
}

/// The assignments of the new partitions.
fn plan(
    wanted: &NewPartitions,
    existing: &TopicAssignment,
    brokers: &[BrokerMetadata],
) -> Result<BTreeMap<i32, ReplicaAssignment>, ApiError> {
    let old = i32::try_from(existing.partitions.len()).unwrap_or(i32::MAX);
    let new = wanted.count;
    let refuse = |message| Err(ApiError::with(ErrorCode::InvalidPartitions, message));
    if new < old {
        return refuse(format!(
            "Topic currently has {old} partitions, which is higher than the requested {new}."
        ));
    }
    if new == old {
        return refuse(format!("Topic already has {old} partitions."));
    }
    check_partition_count(new)?;
    let increment = new - old;
    let placed = match &wanted.assignments {
        Some(assignments) => Some(check_placed(assignments, increment, brokers)?),
        None => None,
    };
    let Some(first) = existing
        .partitions
        .get(&0)
        .map(|assignment| &assignment.replicas)
    else {
        return Err(unknown_server_error(&format!(
            "Unexpected existing replica assignment for topic '{}', partition id 0 is missing.",
            wanted.topic
        )));
    };
    let added: BTreeMap<i32, Vec<BrokerId>> = match placed {
        Some(assignments) => {
            let added: BTreeMap<_, _> = (old..).zip(assignments.iter().cloned()).collect();
            check_replication_factors(&added, first.len())?;
            added
        }
        None => {
            let leader = first.first().copied().unwrap_or(BrokerId::NONE);
            let index = brokers
                .iter()
                .position(|broker| broker.id >= leader)
                .unwrap_or(0);
            let factor = i32::try_from(first.len()).unwrap_or(i32::MAX);
            let start = Start {
                index,
                shift: index,
            };
            assign_replicas_to_brokers(brokers, increment, factor, start, old)
                .map_err(|error| assignment_error(&error))?
        }
    };
    Ok(added
        .into_iter()
        .map(|(index, ids)| (index, ReplicaAssignment::of(ids)))
        .collect())
}

fn check_placed<'a>(
    assignments: &'a [Vec<BrokerId>],
    increment: i32,
    brokers: &[BrokerMetadata],
) -> Result<&'a [Vec<BrokerId>], ApiError> {
    let refuse = |message| Err(ApiError::with(ErrorCode::InvalidReplicaAssignment, message));
    let known: BTreeSet<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
    let named: BTreeSet<BrokerId> = assignments.iter().flatten().copied().collect();
    let unknown: Vec<BrokerId> = named.difference(&known).copied().collect();
    if !unknown.is_empty() {
        return refuse(format!(
            "Unknown broker(s) in replica assignment: {}.",
            joined(unknown)
        ));
    }
    if i32::try_from(assignments.len()) != Ok(increment) {
        return refuse(format!(
            "Increasing the number of partitions by {increment} but {} assignments provided.",
            assignments.len()
        ));
    }
    Ok(assignments)
}

fn check_replication_factors(
    added: &BTreeMap<i32, Vec<BrokerId>>,
    expected: usize,
) -> Result<(), ApiError> {
    let refuse = |message| Err(ApiError::with(ErrorCode::InvalidReplicaAssignment, message));
    for (index, replicas) in added {
        if replicas.is_empty() {
            return refuse(format!(
                "Cannot have replication factor of 0 for partition id {index}."
            ));
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return refuse(format!(
                "Duplicate brokers not allowed in replica assignment: {} for partition id {index}.",
                joined(replicas.clone())
            ));
        }
    }
    let bad: Vec<(&i32, usize)> = added
        .iter()
        .map(|(index, replicas)| (index, replicas.len()))
        .filter(|(_, factor)| *factor != expected)
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let list = |items: Vec<String>| items.join(", ");
    refuse(format!(
        "Inconsistent replication factor between partitions, partition 0 has {expected} while partitions [{}] have replication factors [{}], respectively.",
        list(bad.iter().map(|(index, _)| index.to_string()).collect()),
        list(bad.iter().map(|(_, factor)| factor.to_string()).collect())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    fn existing(partitions: &[&[i32]]) -> TopicAssignment {
        let replicas = partitions
            .iter()
            .map(|list| ReplicaAssignment::of(ids(list)));
        TopicAssignment {
            topic_id: None,
            partitions: (0..).zip(replicas).collect(),
        }
    }

    fn plan_for(
        count: i32,
        assignments: Option<&[&[i32]]>,
    ) -> Result<BTreeMap<i32, ReplicaAssignment>, String> {
        let brokers: Vec<_> = (0..3)
            .map(|id| BrokerMetadata {
                id: BrokerId(id),
                rack: None,
            })
            .collect();
        let wanted = NewPartitions {
            topic: "t".into(),
            count,
            assignments: assignments.map(|lists| lists.iter().map(|list| ids(list)).collect()),
        };
        let existing = existing(&[&[1, 2], &[2, 0]]);
        plan(&wanted, &existing, &brokers).map_err(|error| error.message.unwrap_or_default())
    }

    #[test]
    fn impossible_expansions_are_refused_in_kafkas_words() {
        for (count, assignments, message) in [
            (
                1,
                None,
                "Topic currently has 2 partitions, which is higher than the requested 1.",
            ),
            (2, None, "Topic already has 2 partitions."),
            (
                3,
                Some(&[&[7, 0][..]][..]),
                "Unknown broker(s) in replica assignment: 7.",
            ),
            (
                4,
                Some(&[&[1, 0]]),
                "Increasing the number of partitions by 2 but 1 assignments provided.",
            ),
            (
                3,
                Some(&[&[]]),
                "Cannot have replication factor of 0 for partition id 2.",
            ),
            (
                3,
                Some(&[&[1, 1]]),
                "Duplicate brokers not allowed in replica assignment: 1, 1 for partition id 2.",
            ),
            (
                4,
                Some(&[&[1, 0], &[1]]),
                "Inconsistent replication factor between partitions, partition 0 has 2 while partitions [3] have replication factors [1], respectively.",
            ),
        ] {
            assert_eq!(plan_for(count, assignments).unwrap_err(), message);
        }
    }

    #[test]
    fn new_partitions_go_on_behind_the_leader_of_partition_0() {
        let added = plan_for(4, None).unwrap();
        // Start index 1: partition 2 is led by broker (2 + 1) % 3, partition 3 by (3 + 1) % 3.
        assert_eq!(added[&2].replicas, ids(&[0, 2]));
        assert_eq!(added[&3].replicas[0], BrokerId(1));
        assert_eq!(
            plan_for(3, Some(&[&[2, 1]])).unwrap()[&2].replicas,
            ids(&[2, 1])
        );
    }
}
