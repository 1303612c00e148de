//! Creating topics.

use std::collections::{BTreeMap, BTreeSet};

use ottla_config::{DescribedEntry, TopicConfig, describe_topic};
use ottla_controller::ApiError;
use ottla_controller::assignment::{BrokerMetadata, Start, assign_replicas_to_brokers};
use ottla_coordination::Error;
use ottla_coordination::paths::{self, ConfigEntity};
use ottla_coordination::payloads::{EntityConfig, TopicAssignment};
use ottla_model::{BrokerId, ErrorCode, ReplicaAssignment, TopicId, TopicName, topic_names};

use super::{
    PARTITIONS_MAX, TopicAdmin, assignment_error, config_error, coordination_error, deadline,
    joined, timed_out, unknown_server_error,
};
use crate::clock::{random_bytes, random_u64};
use crate::controller::settings::at_least;
use crate::metadata_cache::MetadataSnapshot;

/// "Not given" for the number of partitions and the replication factor.
pub const NOT_GIVEN: i32 = -1;

/// A topic that somebody wants.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name, legal or not.
    pub name: TopicName,
    /// −1 for the broker's default.
    pub num_partitions: i32,
    /// −1 for the broker's default.
    pub replication_factor: i16,
    /// Replicas by partition, if the caller places them.
    pub assignments: Vec<(i32, Vec<BrokerId>)>,
    /// Overrides; an absent value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was made, or would be.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    /// Its id; zero if it was only validated or ids are not in use.
    pub id: TopicId,
    /// How many partitions.
    pub num_partitions: i32,
    /// Replicas of partition 0.
    pub replication_factor: i16,
    /// Its configuration with sources.
    pub configs: Vec<DescribedEntry>,
}

/// Per topic what was made, or why not.
pub type Creations = BTreeMap<TopicName, Result<CreatedTopic, ApiError>>;

/// A topic that passed all checks.
struct Plan {
    partitions: BTreeMap<i32, Vec<BrokerId>>,
    overrides: BTreeMap<String, String>,
}

impl TopicAdmin<'_> {
    /// Creates topics (their names must be distinct) and waits until all partitions have leaders.
    pub async fn create_topics(
        &self,
        timeout_ms: i32,
        validate_only: bool,
        topics: Vec<NewTopic>,
    ) -> Creations {
        let deadline = deadline(timeout_ms);
        let mut results = Creations::new();
        for topic in topics {
            let result = self.create_topic(&topic, validate_only).await;
            if let Err(error) = &result {
                tracing::info!(topic = %topic.name, ?error, "topic is not created");
            }
            results.insert(topic.name, result);
        }
        if validate_only {
            return results;
        }
        if timeout_ms > 0 {
            let all_led = |snapshot: &MetadataSnapshot| {
                results.iter().all(|(name, result)| match result {
                    Ok(created) => has_leaders(snapshot, name, 0..created.num_partitions),
                    Err(_) => true,
                })
            };
            self.metadata_cache.wait_until(deadline, all_led).await;
        }
        let snapshot = self.metadata_cache.snapshot();
        for (name, result) in &mut results {
            if let Ok(created) = result
                && (timeout_ms <= 0 || !has_leaders(&snapshot, name, 0..created.num_partitions))
            {
                *result = Err(timed_out());
            }
        }
        results
    }

    async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, ApiError> {
        let plan = self.plan(topic).await?;
        let broker = self.configs.broker();
        let configs = describe_topic(&broker, &self.dynamic_values, &plan.overrides)
            .map_err(|error| config_error(&error))?;
        let mut created = CreatedTopic {
            id: TopicId::ZERO,
            num_partitions: i32::try_from(plan.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: plan.partitions.get(&0).map_or(0, |replicas| {
                i16::try_from(replicas.len()).unwrap_or(i16::MAX)
            }),
            configs,
        };
        if !validate_only {
            self.record(plan.partitions.len())?;
            if at_least(broker.inter_broker_protocol_version(), "2.8-IV0") {
                created.id = random_topic_id();
            }
            self.write_topic(&topic.name, created.id, plan).await?;
        }
        Ok(created)
    }

    /// All checks, in Kafka's order.
    async fn plan(&self, topic: &NewTopic) -> Result<Plan, ApiError> {
        let snapshot = self.metadata_cache.snapshot();
        if snapshot.topic(topic.name.as_str()).is_some() {
            return Err(topic_exists(&topic.name));
        }
        let nulls: Vec<&str> = topic
            .configs
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !nulls.is_empty() {
            let nulls = nulls.join(",");
            let message = format!("Null value not supported for topic configs: {nulls}");
            return Err(ApiError::with(ErrorCode::InvalidConfig, message));
        }
        let partitions = self.replicas(&snapshot, topic)?;
        let overrides: BTreeMap<String, String> = topic
            .configs
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        self.check_name(&topic.name).await?;
        check_replicas(&partitions)?;
        TopicConfig::validate(&self.configs.broker(), &BTreeMap::new(), &overrides)
            .map_err(|error| config_error(&error))?;
        Ok(Plan {
            partitions,
            overrides,
        })
    }

    fn replicas(
        &self,
        snapshot: &MetadataSnapshot,
        topic: &NewTopic,
    ) -> Result<BTreeMap<i32, Vec<BrokerId>>, ApiError> {
        let given =
            topic.num_partitions != NOT_GIVEN || i32::from(topic.replication_factor) != NOT_GIVEN;
        if !topic.assignments.is_empty() {
            if given {
                let message = "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.";
                return Err(ApiError::with(ErrorCode::InvalidRequest, message));
            }
            return Ok(topic.assignments.iter().cloned().collect());
        }
        let config = self.configs.broker();
        let num_partitions = match topic.num_partitions {
            NOT_GIVEN => config.num_partitions,
            number => number,
        };
        let replication_factor = match i32::from(topic.replication_factor) {
            NOT_GIVEN => config.default_replication_factor,
            factor => factor,
        };
        check_partition_count(num_partitions)?;
        let brokers: Vec<BrokerMetadata> = snapshot
            .brokers
            .values()
            .map(|broker| BrokerMetadata {
                id: broker.id,
                rack: broker.rack.clone(),
            })
            .collect();
        let start = Start {
            index: draw(brokers.len()),
            shift: draw(brokers.len()),
        };
        assign_replicas_to_brokers(&brokers, num_partitions, replication_factor, start, 0)
            .map_err(|error| assignment_error(&error))
    }

    async fn check_name(&self, name: &TopicName) -> Result<(), ApiError> {
        topic_names::validate(name.as_str())
            .map_err(|error| ApiError::with(ErrorCode::InvalidTopicException, error.to_string()))?;
        let is_there = async |path| match self.coordination.exists(path, false).await {
            Ok(stat) => Ok(stat.is_some()),
            Err(error) => Err(coordination_error(error)),
        };
        if is_there(paths::delete_topic(name.as_str())).await? {
            let message = format!("Topic '{name}' is marked for deletion.");
            return Err(ApiError::with(ErrorCode::TopicAlreadyExists, message));
        }
        if is_there(paths::topic(name.as_str())).await? {
            return Err(topic_exists(name));
        }
        if !topic_names::has_collision_chars(name.as_str()) {
            return Ok(());
        }
        let all = self.coordination.get_children(paths::TOPICS, false).await;
        let all = all.map_err(coordination_error)?;
        // Made meanwhile, it would collide with itself.
        if all.iter().any(|other| other == name.as_str()) {
            return Err(topic_exists(name));
        }
        let colliding: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|other| topic_names::collide(name.as_str(), other))
            .collect();
        if colliding.is_empty() {
            return Ok(());
        }
        let colliding = colliding.join(", ");
        let message = format!("Topic '{name}' collides with existing topics: {colliding}");
        Err(ApiError::with(ErrorCode::InvalidTopicException, message))
    }

    /// The configuration first, then the znode that the controller watches. A crash in between
    /// leaves a configuration without a topic, as in Kafka.
    async fn write_topic(&self, name: &TopicName, id: TopicId, plan: Plan) -> Result<(), ApiError> {
        let entity = ConfigEntity::Topic(name.clone());
        let config = EntityConfig(plan.overrides);
        self.coordination
            .set_or_create_entity_config(&entity, &config)
            .await
            .map_err(|error| unknown_server_error(&error))?;
        let assignment = TopicAssignment {
            topic_id: (!id.is_zero()).then_some(id),
            partitions: plan
                .partitions
                .into_iter()
                .map(|(index, replicas)| (index, ReplicaAssignment::of(replicas)))
                .collect(),
        };
        let path = paths::topic(name.as_str());
        match self
            .coordination
            .create_recursive(&path, Some(assignment.encode()))
            .await
        {
            Ok(()) => Ok(()),
            Err(Error::NodeExists) => Err(topic_exists(name)),
            Err(error) => Err(coordination_error(error)),
        }
    }
}

/// Bounds what a request can make us allocate; Kafka fails later, on the size of the znode.
pub(super) fn check_partition_count(count: i32) -> Result<(), ApiError> {
    if count <= PARTITIONS_MAX {
        return Ok(());
    }
    let message = format!("Number of partitions must not be larger than {PARTITIONS_MAX}.");
    Err(ApiError::with(ErrorCode::InvalidPartitions, message))
}

fn check_replicas(partitions: &BTreeMap<i32, Vec<BrokerId>>) -> Result<(), ApiError> {
    let refuse = |message: &str| ApiError::with(ErrorCode::InvalidReplicaAssignment, message);
    let sizes: BTreeSet<usize> = partitions.values().map(Vec::len).collect();
    if sizes.len() != 1 {
        return Err(refuse(
            "All partitions should have the same number of replicas",
        ));
    }
    let is_distinct = |ids: &Vec<BrokerId>| ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    if !partitions.values().all(is_distinct) {
        let partitions: Vec<String> = partitions
            .iter()
            .map(|(index, ids)| format!("{index} -> ArrayBuffer({})", joined(ids.clone())))
            .collect();
        let partitions = partitions.join(", ");
        return Err(refuse(&format!(
            "Duplicate replica assignment found: HashMap({partitions})"
        )));
    }
    if !partitions
        .keys()
        .copied()
        .eq(0..i32::try_from(partitions.len()).unwrap_or(i32::MAX))
    {
        return Err(refuse(
            "partitions should be a consecutive 0-based integer sequence",
        ));
    }
    Ok(())
}

/// Whether the metadata cache shows a leader for all of a topic's partitions.
pub(super) fn has_leaders(
    snapshot: &MetadataSnapshot,
    topic: &TopicName,
    mut partitions: impl Iterator<Item = i32>,
) -> bool {
    let Some(known) = snapshot.topic(topic.as_str()) else {
        return false;
    };
    partitions.all(|index| {
        let partition = known.partitions.get(&index);
        partition.is_some_and(|partition| partition.state.leader != BrokerId::NONE)
    })
}

fn topic_exists(name: &TopicName) -> ApiError {
    ApiError::with(
        ErrorCode::TopicAlreadyExists,
        format!("Topic '{name}' already exists."),
    )
}

fn random_topic_id() -> TopicId {
    loop {
        if let Some(id) = TopicId::from_random(random_bytes()) {
            return id;
        }
    }
}

/// A random position among `count`; 0 if there is none.
fn draw(count: usize) -> usize {
    let count = count.max(1) as u64;
    (random_u64() % count) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn placed_replicas_are_checked_in_kafkas_order_and_words() {
        let check = |partitions: &[(i32, &[i32])]| {
            let map = partitions
                .iter()
                .map(|(index, list)| (*index, ids(list)))
                .collect();
            check_replicas(&map).map_err(|error| error.message.unwrap_or_default())
        };
        assert_eq!(check(&[(0, &[1, 2]), (1, &[2, 1])]), Ok(()));
        assert_eq!(
            check(&[(0, &[1, 2]), (1, &[2])]).unwrap_err(),
            "All partitions should have the same number of replicas"
        );
        assert_eq!(
            check(&[(0, &[1, 1])]).unwrap_err(),
            "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(1, 1))"
        );
        for gap in [
            &[(1, &[1][..])][..],
            &[(0, &[1]), (2, &[1])],
            &[(-1, &[1]), (0, &[1])],
        ] {
            assert_eq!(
                check(gap).unwrap_err(),
                "partitions should be a consecutive 0-based integer sequence"
            );
        }
    }

    #[test]
    fn a_request_cannot_size_an_allocation() {
        assert!(check_partition_count(PARTITIONS_MAX).is_ok());
        assert_eq!(
            check_partition_count(i32::MAX).unwrap_err().error,
            ErrorCode::InvalidPartitions
        );
    }
}
