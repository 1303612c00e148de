//! `/brokers/topics/<topic>` and its partitions' states.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::{
    BrokerId, ControllerEpoch, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState, PartitionEpoch,
    ReplicaAssignment, TopicId,
};
use serde::Serialize;

use super::DecodeError;
use super::cluster::malformed;
use super::json::{Object, as_array, as_i32, encode, object, parse};

/// `/brokers/topics/<topic>`: which replicas each partition has (`TopicZNode`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicAssignment {
    /// The topic's id; `None` if a broker older than 2.8 created it.
    pub topic_id: Option<TopicId>,
    /// By partition index.
    pub partitions: BTreeMap<i32, ReplicaAssignment>,
}

impl TopicAssignment {
    /// The znode's value, always in version 3.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json {
            partitions: BTreeMap<i32, Vec<i32>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            topic_id: Option<String>,
            adding_replicas: BTreeMap<i32, Vec<i32>>,
            removing_replicas: BTreeMap<i32, Vec<i32>>,
            version: i32,
        }
        encode(&Json {
            partitions: self.lists(|assignment| Some(&assignment.replicas)),
            topic_id: self.topic_id.map(|id| id.to_string()),
            adding_replicas: self.lists(|assignment| non_empty(&assignment.adding)),
            removing_replicas: self.lists(|assignment| non_empty(&assignment.removing)),
            version: 3,
        })
    }

    /// Reads the znode's value, versions 1 to 3; the version itself is not looked at.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let topic_id = match json.get("topic_id") {
            None => None,
            Some(_) => {
                let text = json.str("topic_id")?;
                Some(text.parse().map_err(|_| malformed("topic_id", text))?)
            }
        };
        let adding = json.optional_object("adding_replicas")?;
        let removing = json.optional_object("removing_replicas")?;
        let mut partitions = BTreeMap::new();
        if let Some(entries) = json.optional_object("partitions")? {
            for (partition, replicas) in entries.entries() {
                let index: i32 = partition
                    .parse()
                    .map_err(|_| malformed("partitions", partition))?;
                let assignment = ReplicaAssignment {
                    replicas: brokers(replicas, "partitions")?,
                    adding: replicas_of(adding, partition)?,
                    removing: replicas_of(removing, partition)?,
                };
                partitions.insert(index, assignment);
            }
        }
        Ok(Self {
            topic_id,
            partitions,
        })
    }

    fn lists(
        &self,
        list: impl Fn(&ReplicaAssignment) -> Option<&Vec<BrokerId>>,
    ) -> BTreeMap<i32, Vec<i32>> {
        let ids = |list: &Vec<BrokerId>| list.iter().map(|id| id.0).collect();
        self.partitions
            .iter()
            .filter_map(|(&index, assignment)| Some((index, ids(list(assignment)?))))
            .collect()
    }
}

fn non_empty(list: &Vec<BrokerId>) -> Option<&Vec<BrokerId>> {
    (!list.is_empty()).then_some(list)
}

/// The value of a partition's state znode (`TopicPartitionStateZNode`). The partition epoch is not
/// in it: it is the znode's version.
pub fn encode_partition_state(state: &LeaderAndIsr) -> Bytes {
    #[derive(Serialize)]
    struct Json {
        controller_epoch: i32,
        leader: i32,
        version: i32,
        leader_epoch: i32,
        isr: Vec<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        leader_recovery_state: Option<i8>,
    }
    encode(&Json {
        controller_epoch: state.controller_epoch.0,
        leader: state.leader.0,
        version: 1,
        leader_epoch: state.leader_epoch.0,
        isr: state.isr.iter().map(|id| id.0).collect(),
        leader_recovery_state: match state.recovery {
            LeaderRecoveryState::Recovered => None,
            LeaderRecoveryState::Recovering => Some(state.recovery.code()),
        },
    })
}

/// Reads a partition's state; `version` is that of its znode.
pub fn decode_partition_state(data: &[u8], version: i32) -> Result<LeaderAndIsr, DecodeError> {
    let value = parse(data)?;
    let json = object(&value)?;
    let recovery = match json.get("leader_recovery_state") {
        None => LeaderRecoveryState::Recovered,
        Some(_) => {
            let code = json.i32("leader_recovery_state")?;
            let state = i8::try_from(code)
                .ok()
                .and_then(LeaderRecoveryState::from_code);
            state.ok_or_else(|| malformed("leader_recovery_state", code))?
        }
    };
    Ok(LeaderAndIsr {
        leader: BrokerId(json.i32("leader")?),
        leader_epoch: LeaderEpoch(json.i32("leader_epoch")?),
        isr: brokers(json.need("isr")?, "isr")?,
        recovery,
        partition_epoch: PartitionEpoch(version),
        controller_epoch: ControllerEpoch(json.i32("controller_epoch")?),
    })
}

pub(super) fn brokers(list: &serde_json::Value, key: &str) -> Result<Vec<BrokerId>, DecodeError> {
    as_array(list, key)?
        .iter()
        .map(|id| as_i32(id, key).map(BrokerId))
        .collect()
}

fn replicas_of(lists: Option<Object<'_>>, partition: &str) -> Result<Vec<BrokerId>, DecodeError> {
    match lists.and_then(|lists| lists.get(partition)) {
        None => Ok(Vec::new()),
        Some(list) => brokers(list, partition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn the_assignment_is_that_of_a_real_broker_during_a_reassignment() {
        let golden = r#"{"partitions":{"0":[1,2,0],"1":[1,0]},"topic_id":"3xIKwx30R6O09LdM88asTw","adding_replicas":{"0":[2]},"removing_replicas":{"0":[0]},"version":3}"#;
        let assignment = TopicAssignment::decode(golden.as_bytes()).unwrap();
        assert_eq!(assignment.encode(), golden);
        assert_eq!(assignment.partitions[&0].replicas, ids(&[1, 2, 0]));
        assert_eq!(assignment.partitions[&0].adding, ids(&[2]));
        assert_eq!(assignment.partitions[&0].removing, ids(&[0]));
        assert_eq!(
            assignment.partitions[&1],
            ReplicaAssignment::of(ids(&[1, 0]))
        );
    }

    #[test]
    fn partitions_are_ordered_as_numbers() {
        let mut assignment = TopicAssignment::default();
        for index in [10, 9, 0] {
            assignment
                .partitions
                .insert(index, ReplicaAssignment::of(ids(&[1])));
        }
        let json = r#"{"partitions":{"0":[1],"9":[1],"10":[1]},"adding_replicas":{},"removing_replicas":{},"version":3}"#;
        assert_eq!(assignment.encode(), json);
        assert_eq!(TopicAssignment::decode(json.as_bytes()), Ok(assignment));
    }

    #[test]
    fn older_assignments_are_read() {
        let one = TopicAssignment::decode(br#"{"version":1,"partitions":{"0":[1]}}"#).unwrap();
        assert_eq!(one.topic_id, None);
        assert_eq!(one.partitions[&0], ReplicaAssignment::of(ids(&[1])));
        assert_eq!(
            TopicAssignment::decode(b"{}"),
            Ok(TopicAssignment::default())
        );
    }

    #[test]
    fn malformed_assignments_are_errors() {
        for json in [
            "",
            "[]",
            r#"{"partitions":{"x":[1]}}"#,
            r#"{"partitions":{"0":["1"]}}"#,
            r#"{"partitions":{"0":1}}"#,
            r#"{"partitions":null}"#,
            r#"{"partitions":{},"topic_id":"short"}"#,
            r#"{"partitions":{},"topic_id":null}"#,
            r#"{"partitions":{"0":[99999999999]}}"#,
        ] {
            assert!(TopicAssignment::decode(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn the_partition_state_is_that_of_a_real_controller() {
        let golden =
            r#"{"controller_epoch":1,"leader":0,"version":1,"leader_epoch":0,"isr":[0,1,2]}"#;
        let state = decode_partition_state(golden.as_bytes(), 7).unwrap();
        assert_eq!(encode_partition_state(&state), golden);
        assert_eq!(state.partition_epoch, PartitionEpoch(7));
        assert_eq!(state.isr, ids(&[0, 1, 2]));
        let unclean = LeaderAndIsr {
            recovery: LeaderRecoveryState::Recovering,
            ..state
        };
        let json = encode_partition_state(&unclean);
        assert!(json.ends_with(br#""leader_recovery_state":1}"#));
        assert_eq!(decode_partition_state(&json, 7), Ok(unclean));
    }

    #[test]
    fn malformed_states_are_errors() {
        for json in [
            "{}",
            "7",
            r#"{"controller_epoch":1,"leader":0,"leader_epoch":0}"#,
            r#"{"controller_epoch":1,"leader":0,"leader_epoch":0,"isr":[0.5]}"#,
            r#"{"controller_epoch":1,"leader":0,"leader_epoch":0,"isr":[],"leader_recovery_state":2}"#,
            r#"{"controller_epoch":1,"leader":0,"leader_epoch":0,"isr":[],"leader_recovery_state":256}"#,
        ] {
            assert!(
                decode_partition_state(json.as_bytes(), 0).is_err(),
                "{json}"
            );
        }
    }
}
