//! Orders and notifications: `/admin`, `/isr_change_notification`, `/log_dir_event_notification`;
//! and the text of version-0 offsets.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_model::{BrokerId, TopicPartition};
use serde::Serialize;

use super::DecodeError;
use super::cluster::parse_number;
use super::json::{as_object, encode, object, parse};
use super::topic::brokers;

/// `/admin/reassign_partitions`: target replicas by partition, ordered by an old tool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReassignPartitions(pub BTreeMap<TopicPartition, Vec<BrokerId>>);

impl ReassignPartitions {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Entry<'a> {
            topic: &'a str,
            partition: i32,
            replicas: Vec<i32>,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            version: i32,
            partitions: Vec<Entry<'a>>,
        }
        let partitions = self.0.iter().map(|(partition, replicas)| Entry {
            topic: partition.topic.as_str(),
            partition: partition.partition,
            replicas: replicas.iter().map(|id| id.0).collect(),
        });
        encode(&Json {
            version: 1,
            partitions: partitions.collect(),
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let mut targets = BTreeMap::new();
        for entry in object(&value)?.array("partitions")? {
            let json = as_object(entry, "partitions")?;
            let replicas = brokers(json.need("replicas")?, "replicas")?;
            targets.insert(topic_partition(json)?, replicas);
        }
        Ok(Self(targets))
    }
}

/// `/admin/preferred_replica_election`: partitions whose preferred leader is to be elected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PreferredReplicaElection(pub BTreeSet<TopicPartition>);

impl PreferredReplicaElection {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        encode_partitions(&self.0)
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        decode_partitions(data).map(Self)
    }
}

/// `/isr_change_notification/isr_change_N`: partitions whose ISR an old leader has changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IsrChange(pub BTreeSet<TopicPartition>);

impl IsrChange {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        encode_partitions(&self.0)
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        decode_partitions(data).map(Self)
    }
}

/// `/log_dir_event_notification/log_dir_event_N`: a log directory of this broker has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogDirEvent {
    /// The broker.
    pub broker_id: BrokerId,
}

impl LogDirEvent {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json {
            version: i32,
            broker: i32,
            event: i32,
        }
        encode(&Json {
            version: 1,
            broker: self.broker_id.0,
            event: 1,
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        Ok(Self {
            broker_id: BrokerId(object(&value)?.i32("broker")?),
        })
    }
}

/// The value of `/consumers/<group>/offsets/<topic>/<partition>`: decimal text.
pub fn encode_consumer_offset(offset: i64) -> Bytes {
    Bytes::from(offset.to_string())
}

/// Reads the value of `/consumers/<group>/offsets/<topic>/<partition>`.
pub fn decode_consumer_offset(data: &[u8]) -> Result<i64, DecodeError> {
    parse_number("offset", data)
}

#[derive(Serialize)]
struct PartitionJson<'a> {
    topic: &'a str,
    partition: i32,
}

fn encode_partitions(partitions: &BTreeSet<TopicPartition>) -> Bytes {
    #[derive(Serialize)]
    struct Json<'a> {
        version: i32,
        partitions: Vec<PartitionJson<'a>>,
    }
    let partitions = partitions.iter().map(|partition| PartitionJson {
        topic: partition.topic.as_str(),
        partition: partition.partition,
    });
    encode(&Json {
        version: 1,
        partitions: partitions.collect(),
    })
}

fn decode_partitions(data: &[u8]) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    let value = parse(data)?;
    object(&value)?
        .array("partitions")?
        .iter()
        .map(|entry| topic_partition(as_object(entry, "partitions")?))
        .collect()
}

fn topic_partition(json: super::json::Object<'_>) -> Result<TopicPartition, DecodeError> {
    Ok(TopicPartition::new(
        json.str("topic")?,
        json.i32("partition")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reassignment_is_that_of_a_real_tool() {
        let golden =
            r#"{"version":1,"partitions":[{"topic":"t3","partition":1,"replicas":[0,1]}]}"#;
        let order = ReassignPartitions::decode(golden.as_bytes()).unwrap();
        assert_eq!(order.encode(), golden);
        assert_eq!(
            order.0[&TopicPartition::new("t3", 1)],
            [BrokerId(0), BrokerId(1)]
        );
    }

    #[test]
    fn sets_of_partitions_are_those_of_a_real_cluster() {
        let golden = r#"{"version":1,"partitions":[{"topic":"t3","partition":0}]}"#;
        assert_eq!(
            PreferredReplicaElection::decode(golden.as_bytes())
                .unwrap()
                .encode(),
            golden
        );
        let change = IsrChange::decode(golden.as_bytes()).unwrap();
        assert_eq!(change.encode(), golden);
        assert!(change.0.contains(&TopicPartition::new("t3", 0)));
    }

    #[test]
    fn a_log_dir_failure_is_that_of_a_real_broker() {
        let golden = r#"{"version":1,"broker":1,"event":1}"#;
        let event = LogDirEvent {
            broker_id: BrokerId(1),
        };
        assert_eq!(event.encode(), golden);
        assert_eq!(LogDirEvent::decode(golden.as_bytes()), Ok(event));
    }

    #[test]
    fn an_offset_is_text() {
        assert_eq!(encode_consumer_offset(42), "42");
        assert_eq!(decode_consumer_offset(b"42"), Ok(42));
        assert!(decode_consumer_offset(b"").is_err());
        assert!(decode_consumer_offset(b"4 2").is_err());
    }

    #[test]
    fn malformed_orders_are_errors() {
        for json in [
            "",
            "{",
            "{}",
            r#"{"partitions":{}}"#,
            r#"{"partitions":[1]}"#,
            r#"{"partitions":[{"topic":"t"}]}"#,
            r#"{"partitions":[{"topic":1,"partition":0}]}"#,
        ] {
            assert!(
                ReassignPartitions::decode(json.as_bytes()).is_err(),
                "{json}"
            );
            assert!(IsrChange::decode(json.as_bytes()).is_err(), "{json}");
            assert!(LogDirEvent::decode(json.as_bytes()).is_err(), "{json}");
        }
    }
}
