//! The records of `__consumer_offsets` to the byte. Kafka 3.9 writes values of version 3 at most
//! and reads up to 4; keys tell the kind of record by their version.
//!
//! ```text
//! key 0, 1  OffsetCommitKey    group, topic, partition int32
//! key 2     GroupMetadataKey   group
//! key 3-8   consumer groups of KIP-848: not for the classic coordinator
//! ```

use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{DecodeError, FieldTooLong, Reader, Writer};
use ottla_model::{LeaderEpoch, Timestamp, TopicName, TopicPartition};

use crate::offsets::OffsetAndMetadata;

const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;

/// What a record is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordKey {
    /// A committed offset.
    OffsetCommit {
        /// The group.
        group_id: Arc<str>,
        /// The partition whose offset it is.
        topic_partition: TopicPartition,
    },
    /// A group's membership.
    GroupMetadata {
        /// The group.
        group_id: Arc<str>,
    },
    /// A kind of record that the classic coordinator ignores.
    Unknown(i16),
}

/// One member in a group record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberValue {
    /// Its id.
    pub member_id: String,
    /// Its instance id (v3).
    pub group_instance_id: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Its address in Java's form.
    pub client_host: String,
    /// Its rebalance timeout (v1); the session timeout in v0.
    pub rebalance_timeout_ms: i32,
    /// Its session timeout.
    pub session_timeout_ms: i32,
    /// Its metadata for the selected protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A group's membership as a record keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMetadataValue {
    /// The protocol type, empty for none.
    pub protocol_type: String,
    /// The generation.
    pub generation_id: i32,
    /// The selected protocol, null when nobody is left.
    pub protocol: Option<String>,
    /// The leader, null when nobody is left.
    pub leader: Option<String>,
    /// When the group came into its state (v2); [`Timestamp::NONE`] if not known.
    pub current_state_timestamp: Timestamp,
    /// The members.
    pub members: Vec<MemberValue>,
}

/// The key of a committed offset.
pub fn offset_commit_key(
    group_id: &str,
    partition: &TopicPartition,
) -> Result<Bytes, FieldTooLong> {
    let mut writer = Writer::versioned(OFFSET_COMMIT_KEY);
    writer.string(group_id)?;
    writer.string(partition.topic.as_str())?;
    writer.int32(partition.partition);
    Ok(writer.finish())
}

/// The key of a group's membership.
pub fn group_metadata_key(group_id: &str) -> Result<Bytes, FieldTooLong> {
    let mut writer = Writer::versioned(GROUP_METADATA_KEY);
    writer.string(group_id)?;
    Ok(writer.finish())
}

/// The value of a committed offset, in version 1 if it has an expiry of its own, else in `version`
/// (1, 2 or 3).
pub fn offset_commit_value(
    offset: &OffsetAndMetadata,
    version: i16,
) -> Result<Bytes, FieldTooLong> {
    let version = if offset.expire_timestamp.is_some() {
        1
    } else {
        version
    };
    let mut writer = Writer::versioned(version);
    writer.int64(offset.offset);
    if version >= 3 {
        writer.int32(offset.leader_epoch.0);
    }
    writer.string(&offset.metadata)?;
    writer.int64(offset.commit_timestamp.0);
    if version == 1 {
        writer.int64(offset.expire_timestamp.unwrap_or(Timestamp::NONE).0);
    }
    Ok(writer.finish())
}

/// The value of a group's membership in `version` (0 to 3).
pub fn group_metadata_value(
    group: &GroupMetadataValue,
    version: i16,
) -> Result<Bytes, FieldTooLong> {
    let mut writer = Writer::versioned(version);
    writer.string(&group.protocol_type)?;
    writer.int32(group.generation_id);
    writer.nullable_string(group.protocol.as_deref())?;
    writer.nullable_string(group.leader.as_deref())?;
    if version >= 2 {
        writer.int64(group.current_state_timestamp.0);
    }
    writer.count(group.members.len())?;
    for member in &group.members {
        writer.string(&member.member_id)?;
        if version >= 3 {
            writer.nullable_string(member.group_instance_id.as_deref())?;
        }
        writer.string(&member.client_id)?;
        writer.string(&member.client_host)?;
        if version >= 1 {
            writer.int32(member.rebalance_timeout_ms);
        }
        writer.int32(member.session_timeout_ms);
        writer.bytes(&member.subscription)?;
        writer.bytes(&member.assignment)?;
    }
    Ok(writer.finish())
}

/// Reads a key.
pub fn read_key(key: Bytes) -> Result<RecordKey, DecodeError> {
    let mut reader = Reader::new(key);
    match reader.int16()? {
        0 | OFFSET_COMMIT_KEY => Ok(RecordKey::OffsetCommit {
            group_id: reader.string()?.into(),
            topic_partition: TopicPartition {
                topic: TopicName::from(reader.string()?),
                partition: reader.int32()?,
            },
        }),
        GROUP_METADATA_KEY => Ok(RecordKey::GroupMetadata {
            group_id: reader.string()?.into(),
        }),
        version => Ok(RecordKey::Unknown(version)),
    }
}

/// Reads the value of a committed offset, versions 0 to 4.
pub fn read_offset_commit_value(value: Bytes) -> Result<OffsetAndMetadata, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return Err(DecodeError::UnknownVersion(version));
    }
    let offset = reader.int64()?;
    let leader_epoch = if version >= 3 {
        LeaderEpoch(reader.int32()?)
    } else {
        LeaderEpoch::NONE
    };
    let metadata = if version >= 4 {
        reader.compact_string()?
    } else {
        reader.string()?
    };
    let commit_timestamp = Timestamp(reader.int64()?);
    let expire_timestamp = match version {
        1 => Some(Timestamp(reader.int64()?)).filter(|expiry| *expiry != Timestamp::NONE),
        _ => None,
    };
    if version >= 4 {
        reader.skip_tagged_fields()?;
    }
    Ok(OffsetAndMetadata {
        offset,
        leader_epoch,
        metadata: metadata.into(),
        commit_timestamp,
        expire_timestamp,
    })
}

/// Reads the value of a group's membership, versions 0 to 4.
pub fn read_group_metadata_value(value: Bytes) -> Result<GroupMetadataValue, DecodeError> {
    /// Four strings, two timeouts and two byte arrays in their shortest flexible form.
    const LEAST_MEMBER_SIZE: usize = 14;
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return Err(DecodeError::UnknownVersion(version));
    }
    let flexible = version >= 4;
    let string = |reader: &mut Reader| {
        if flexible {
            reader.compact_string()
        } else {
            reader.string()
        }
    };
    let nullable_string = |reader: &mut Reader| {
        if flexible {
            reader.compact_nullable_string()
        } else {
            reader.nullable_string()
        }
    };
    let bytes = |reader: &mut Reader| {
        if flexible {
            reader.compact_bytes()
        } else {
            reader.bytes()
        }
    };

    let protocol_type = string(&mut reader)?;
    let generation_id = reader.int32()?;
    let protocol = nullable_string(&mut reader)?;
    let leader = nullable_string(&mut reader)?;
    let current_state_timestamp = if version >= 2 {
        Timestamp(reader.int64()?)
    } else {
        Timestamp::NONE
    };
    let count = if flexible {
        reader.compact_array_count(LEAST_MEMBER_SIZE)?
    } else {
        reader.array_count(LEAST_MEMBER_SIZE)?
    };
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let member_id = string(&mut reader)?;
        let group_instance_id = if version >= 3 {
            nullable_string(&mut reader)?
        } else {
            None
        };
        let client_id = string(&mut reader)?;
        let client_host = string(&mut reader)?;
        let stored_rebalance_timeout = if version >= 1 {
            Some(reader.int32()?)
        } else {
            None
        };
        let session_timeout_ms = reader.int32()?;
        let subscription = bytes(&mut reader)?;
        let assignment = bytes(&mut reader)?;
        if flexible {
            reader.skip_tagged_fields()?;
        }
        members.push(MemberValue {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: stored_rebalance_timeout.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        });
    }
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(GroupMetadataValue {
        protocol_type,
        generation_id,
        protocol,
        leader,
        current_state_timestamp,
        members,
    })
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

    fn commit(expire_timestamp: Option<i64>, leader_epoch: i32) -> OffsetAndMetadata {
        OffsetAndMetadata {
            offset: 7,
            leader_epoch: LeaderEpoch(leader_epoch),
            metadata: "m".into(),
            commit_timestamp: Timestamp(1000),
            expire_timestamp: expire_timestamp.map(Timestamp),
        }
    }

    fn group() -> GroupMetadataValue {
        GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation_id: 1,
            protocol: Some("range".into()),
            leader: Some("m1".into()),
            current_state_timestamp: Timestamp(1000),
            members: vec![MemberValue {
                member_id: "m1".into(),
                group_instance_id: Some("i".into()),
                client_id: "c".into(),
                client_host: "/h".into(),
                rebalance_timeout_ms: 300,
                session_timeout_ms: 10,
                subscription: Bytes::from_static(&[1]),
                assignment: Bytes::from_static(&[2]),
            }],
        }
    }

    #[test]
    fn keys_are_those_of_kafka() {
        let partition = TopicPartition::new("t", 3);
        let key = hex("0001 0001 67 0001 74 00000003");
        assert_eq!(offset_commit_key("g", &partition).unwrap(), key);
        let expected = RecordKey::OffsetCommit {
            group_id: "g".into(),
            topic_partition: partition,
        };
        assert_eq!(read_key(key).unwrap(), expected);
        assert_eq!(
            read_key(hex("0000 0001 67 0001 74 00000003")).unwrap(),
            expected
        );

        let key = hex("0002 0001 67");
        assert_eq!(group_metadata_key("g").unwrap(), key);
        assert_eq!(
            read_key(key).unwrap(),
            RecordKey::GroupMetadata {
                group_id: "g".into()
            }
        );
        assert_eq!(
            read_key(hex("0003 0001 67")).unwrap(),
            RecordKey::Unknown(3)
        );
        assert_eq!(read_key(hex("00")), Err(DecodeError::Truncated));
    }

    #[test]
    fn offset_values_are_those_of_kafka() {
        let v1 = hex("0001 0000000000000007 0001 6d 00000000000003e8 00000000000007d0");
        assert_eq!(offset_commit_value(&commit(Some(2000), 5), 3).unwrap(), v1);
        assert_eq!(
            read_offset_commit_value(v1).unwrap(),
            commit(Some(2000), -1)
        );

        let v2 = hex("0002 0000000000000007 0001 6d 00000000000003e8");
        assert_eq!(offset_commit_value(&commit(None, 5), 2).unwrap(), v2);
        assert_eq!(read_offset_commit_value(v2).unwrap(), commit(None, -1));

        let v3 = hex("0003 0000000000000007 00000005 0001 6d 00000000000003e8");
        assert_eq!(offset_commit_value(&commit(None, 5), 3).unwrap(), v3);
        assert_eq!(read_offset_commit_value(v3).unwrap(), commit(None, 5));

        let v4 = hex("0004 0000000000000007 00000005 02 6d 00000000000003e8 00");
        assert_eq!(read_offset_commit_value(v4).unwrap(), commit(None, 5));
        assert_eq!(
            read_offset_commit_value(hex("0005")),
            Err(DecodeError::UnknownVersion(5))
        );
    }

    #[test]
    fn an_old_value_without_expiry_has_none() {
        let v1 = hex("0001 0000000000000007 0001 6d 00000000000003e8 ffffffffffffffff");
        assert_eq!(
            read_offset_commit_value(v1.clone()).unwrap(),
            commit(None, -1)
        );
        assert_eq!(offset_commit_value(&commit(None, -1), 1).unwrap(), v1);
    }

    #[test]
    fn group_values_are_those_of_kafka() {
        let v3 = hex(
            "0003 0008 636f6e73756d6572 00000001 0005 72616e6765 0002 6d31 00000000000003e8 \
             00000001 0002 6d31 0001 69 0001 63 0002 2f68 0000012c 0000000a 00000001 01 00000001 02",
        );
        assert_eq!(group_metadata_value(&group(), 3).unwrap(), v3);
        assert_eq!(read_group_metadata_value(v3).unwrap(), group());

        let v4 = hex(
            "0004 09 636f6e73756d6572 00000001 06 72616e6765 03 6d31 00000000000003e8 \
             02 03 6d31 02 69 02 63 03 2f68 0000012c 0000000a 02 01 02 02 00 00",
        );
        assert_eq!(read_group_metadata_value(v4).unwrap(), group());
    }

    #[test]
    fn an_empty_group_has_null_protocol_and_leader() {
        let empty = GroupMetadataValue {
            generation_id: 2,
            protocol: None,
            leader: None,
            members: Vec::new(),
            ..group()
        };
        let v3 = hex("0003 0008 636f6e73756d6572 00000002 ffff ffff 00000000000003e8 00000000");
        assert_eq!(group_metadata_value(&empty, 3).unwrap(), v3);
        assert_eq!(read_group_metadata_value(v3).unwrap(), empty);
    }

    #[test]
    fn older_versions_lose_what_they_cannot_say() {
        let mut expected = group();
        expected.members[0].group_instance_id = None;
        let v2 = group_metadata_value(&group(), 2).unwrap();
        assert_eq!(read_group_metadata_value(v2).unwrap(), expected);
        expected.current_state_timestamp = Timestamp::NONE;
        let v1 = group_metadata_value(&group(), 1).unwrap();
        assert_eq!(read_group_metadata_value(v1).unwrap(), expected);
        expected.members[0].rebalance_timeout_ms = 10;
        let v0 = group_metadata_value(&group(), 0).unwrap();
        assert_eq!(read_group_metadata_value(v0).unwrap(), expected);
    }

    #[test]
    fn no_prefix_and_no_count_of_a_value_panics_the_reader() {
        for version in 0..=3 {
            let value = group_metadata_value(&group(), version).unwrap();
            for end in 0..value.len() {
                assert!(
                    read_group_metadata_value(value.slice(..end)).is_err(),
                    "{version} {end}"
                );
            }
        }
        let huge = hex("0003 0000 00000001 ffff ffff 00000000000003e8 7fffffff");
        assert_eq!(
            read_group_metadata_value(huge),
            Err(DecodeError::BadLength(i64::from(i32::MAX)))
        );
    }
}
