//! The records of `__transaction_state`, byte for byte (`TransactionLogKey`, `TransactionLogValue`).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{DecodeError, FieldTooLong, Reader, Writer};
use ottla_model::{ProducerEpoch, ProducerId, Timestamp, TopicName, TopicPartition};

use crate::state::TransactionState;

const KEY_VERSION: i16 = 0;
/// The version that is written. Version 1 needs the feature `transaction.version`, which a cluster
/// with ZooKeeper never has; it is read all the same.
const VALUE_VERSION: i16 = 0;
const FLEXIBLE_VALUE_VERSION: i16 = 1;

/// A record says what no coordinator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not what their version says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A state that is never written, or not known.
    #[error("state {0} is not one of a stored transaction")]
    BadState(i8),
    /// A producer without an id or an epoch.
    #[error("producer {0} with epoch {1} is none")]
    BadProducer(i64, i16),
}

/// What the log keeps of a transactional id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionLogValue {
    /// The id's producer, never negative.
    pub producer_id: ProducerId,
    /// Its epoch, never negative.
    pub producer_epoch: ProducerEpoch,
    /// How long a transaction may last, in milliseconds.
    pub timeout_ms: i32,
    /// One of the first six states.
    pub state: TransactionState,
    /// What was added to the transaction; none in Empty and once it is complete.
    pub partitions: BTreeSet<TopicPartition>,
    /// When the last transition was decided.
    pub last_update_timestamp: Timestamp,
    /// When the transaction began; [`Timestamp::NONE`] in Empty.
    pub start_timestamp: Timestamp,
}

/// The key of an id's records.
///
/// # Errors
/// The id has more bytes than an int16 can say.
pub fn key(transactional_id: &str) -> Result<Bytes, FieldTooLong> {
    let mut writer = Writer::versioned(KEY_VERSION);
    writer.string(transactional_id)?;
    Ok(writer.finish())
}

/// The value of an id's record.
///
/// # Errors
/// A topic's name has more bytes than an int16 can say.
pub fn value(value: &TransactionLogValue) -> Result<Bytes, FieldTooLong> {
    let mut writer = Writer::versioned(VALUE_VERSION);
    writer.int64(value.producer_id.0);
    writer.int16(value.producer_epoch.0);
    writer.int32(value.timeout_ms);
    writer.int8(value.state.id());
    if value.state == TransactionState::Empty {
        writer.int32(-1);
    } else {
        let topics = by_topic(&value.partitions);
        writer.count(topics.len())?;
        for (topic, partitions) in topics {
            writer.string(topic.as_str())?;
            writer.count(partitions.len())?;
            for partition in partitions {
                writer.int32(partition);
            }
        }
    }
    writer.int64(value.last_update_timestamp.0);
    writer.int64(value.start_timestamp.0);
    Ok(writer.finish())
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<(&TopicName, Vec<i32>)> {
    let mut topics: Vec<(&TopicName, Vec<i32>)> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.last_mut() {
            Some((last, list)) if *last == topic => list.push(*partition),
            _ => topics.push((topic, vec![*partition])),
        }
    }
    topics
}

/// The transactional id that a key names; `None` for a version that 3.9 does not know.
///
/// # Errors
/// The key is broken.
pub fn read_key(key: Bytes) -> Result<Option<Arc<str>>, DecodeError> {
    let mut reader = Reader::new(key);
    if reader.int16()? != KEY_VERSION {
        return Ok(None);
    }
    Ok(Some(reader.string()?.into()))
}

/// Reads a value, versions 0 and 1.
///
/// # Errors
/// The value is broken, or says what no coordinator writes.
pub fn read_value(value: Bytes) -> Result<TransactionLogValue, RecordError> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    let flexible = match version {
        VALUE_VERSION => false,
        FLEXIBLE_VALUE_VERSION => true,
        _ => return Err(DecodeError::UnknownVersion(version).into()),
    };
    let producer_id = reader.int64()?;
    let producer_epoch = reader.int16()?;
    if producer_id < 0 || producer_epoch < 0 {
        return Err(RecordError::BadProducer(producer_id, producer_epoch));
    }
    let timeout_ms = reader.int32()?;
    let status = reader.int8()?;
    let state = match TransactionState::from_id(status) {
        None | Some(TransactionState::Dead | TransactionState::PrepareEpochFence) => {
            return Err(RecordError::BadState(status));
        }
        Some(state) => state,
    };
    let partitions = match read_topic_count(&mut reader, flexible)? {
        None if state == TransactionState::Empty => BTreeSet::new(),
        None => return Err(DecodeError::Null.into()),
        Some(count) => {
            let partitions = read_partitions(&mut reader, flexible, count)?;
            // What an Empty record lists does not count, as in Kafka.
            if state == TransactionState::Empty {
                BTreeSet::new()
            } else {
                partitions
            }
        }
    };
    let last_update_timestamp = Timestamp(reader.int64()?);
    let start_timestamp = Timestamp(reader.int64()?);
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(TransactionLogValue {
        producer_id: ProducerId(producer_id),
        producer_epoch: ProducerEpoch(producer_epoch),
        timeout_ms,
        state,
        partitions,
        last_update_timestamp,
        start_timestamp,
    })
}

fn read_topic_count(reader: &mut Reader, flexible: bool) -> Result<Option<usize>, DecodeError> {
    /// An empty compact string, an empty compact array and no tagged fields.
    const LEAST_TOPIC_SIZE: usize = 3;
    let mut ahead = reader.clone();
    let is_null = if flexible {
        ahead.unsigned_varint()? == 0
    } else {
        ahead.int32()? == -1
    };
    if is_null {
        *reader = ahead;
        return Ok(None);
    }
    let count = if flexible {
        reader.compact_array_count(LEAST_TOPIC_SIZE)?
    } else {
        reader.array_count(LEAST_TOPIC_SIZE)?
    };
    Ok(Some(count))
}

fn read_partitions(
    reader: &mut Reader,
    flexible: bool,
    topics: usize,
) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    let mut partitions = BTreeSet::new();
    for _ in 0..topics {
        let topic = if flexible {
            reader.compact_string()?
        } else {
            reader.string()?
        };
        let topic = TopicName::from(topic);
        let count = if flexible {
            reader.compact_array_count(4)?
        } else {
            reader.array_count(4)?
        };
        for _ in 0..count {
            partitions.insert(TopicPartition::new(topic.clone(), reader.int32()?));
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect::<Vec<u8>>()
            .into()
    }

    fn ongoing() -> TransactionLogValue {
        TransactionLogValue {
            producer_id: ProducerId(3),
            producer_epoch: ProducerEpoch(1),
            timeout_ms: 60_000,
            state: TransactionState::Ongoing,
            partitions: [TopicPartition::new("t", 2), TopicPartition::new("t", 0)].into(),
            last_update_timestamp: Timestamp(1000),
            start_timestamp: Timestamp(900),
        }
    }

    const V0_ONGOING: &str = "0000 0000000000000003 0001 0000ea60 01 00000001 0001 74 00000002 \
                              00000000 00000002 00000000000003e8 0000000000000384";
    const V1_ONGOING: &str = "0001 0000000000000003 0001 0000ea60 01 02 02 74 03 00000000 \
                              00000002 00 00000000000003e8 0000000000000384 00";

    #[test]
    fn keys_are_those_of_kafka() {
        let bytes = hex("0000 0002 7478");
        assert_eq!(key("tx").unwrap(), bytes);
        assert_eq!(read_key(bytes).unwrap().as_deref(), Some("tx"));
        assert_eq!(read_key(hex("0001 0002 7478")), Ok(None));
        assert_eq!(read_key(hex("0000 0003 7478")), Err(DecodeError::Truncated));
        assert!(key(&"x".repeat(32768)).is_err());
    }

    #[test]
    fn values_are_those_of_kafka() {
        assert_eq!(value(&ongoing()).unwrap(), hex(V0_ONGOING));
        assert_eq!(read_value(hex(V0_ONGOING)).unwrap(), ongoing());
        assert_eq!(read_value(hex(V1_ONGOING)).unwrap(), ongoing());
    }

    #[test]
    fn an_empty_record_has_null_partitions_and_no_start() {
        let empty = TransactionLogValue {
            producer_epoch: ProducerEpoch(0),
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp: Timestamp::NONE,
            ..ongoing()
        };
        let v0 = hex(
            "0000 0000000000000003 0000 0000ea60 00 ffffffff 00000000000003e8 \
                      ffffffffffffffff",
        );
        assert_eq!(value(&empty).unwrap(), v0);
        assert_eq!(read_value(v0).unwrap(), empty);
        let v1 = hex(
            "0001 0000000000000003 0000 0000ea60 00 00 00000000000003e8 \
                      ffffffffffffffff 00",
        );
        assert_eq!(read_value(v1).unwrap(), empty);
    }

    #[test]
    fn a_complete_record_has_an_empty_list_and_keeps_the_start() {
        let complete = TransactionLogValue {
            state: TransactionState::CompleteCommit,
            partitions: BTreeSet::new(),
            ..ongoing()
        };
        let v0 = hex(
            "0000 0000000000000003 0001 0000ea60 04 00000000 00000000000003e8 \
                      0000000000000384",
        );
        assert_eq!(value(&complete).unwrap(), v0);
        assert_eq!(read_value(v0).unwrap(), complete);
    }

    #[test]
    fn topics_are_grouped() {
        let many = TransactionLogValue {
            partitions: [
                TopicPartition::new("b", 1),
                TopicPartition::new("a", 7),
                TopicPartition::new("b", 0),
            ]
            .into(),
            ..ongoing()
        };
        let v0 = hex(
            "0000 0000000000000003 0001 0000ea60 01 00000002 0001 61 00000001 00000007 \
                      0001 62 00000002 00000000 00000001 00000000000003e8 0000000000000384",
        );
        assert_eq!(value(&many).unwrap(), v0);
        assert_eq!(read_value(v0).unwrap(), many);
    }

    #[test]
    fn what_no_coordinator_writes_is_refused() {
        let with = |state: &str, rest: &str| {
            read_value(hex(&format!(
                "0000 0000000000000003 0001 0000ea60 {state} {rest} 00000000000003e8 \
                 0000000000000384"
            )))
        };
        assert_eq!(with("06", "00000000"), Err(RecordError::BadState(6)));
        assert_eq!(with("07", "00000000"), Err(RecordError::BadState(7)));
        assert_eq!(with("08", "00000000"), Err(RecordError::BadState(8)));
        assert_eq!(with("01", "ffffffff"), Err(DecodeError::Null.into()));
        assert_eq!(
            with("01", "7fffffff"),
            Err(DecodeError::BadLength(i64::from(i32::MAX)).into())
        );
        assert_eq!(
            read_value(hex("0000 ffffffffffffffff 0001")),
            Err(RecordError::BadProducer(-1, 1))
        );
        assert_eq!(
            read_value(hex("0002")),
            Err(DecodeError::UnknownVersion(2).into())
        );
    }

    #[test]
    fn no_prefix_of_a_value_panics_the_reader() {
        for whole in [hex(V0_ONGOING), hex(V1_ONGOING)] {
            for end in 0..whole.len() {
                assert!(read_value(whole.slice(..end)).is_err(), "{end}");
            }
        }
    }
}
