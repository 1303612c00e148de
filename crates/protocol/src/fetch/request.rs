//! The request: from where to read, by topic and partition.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use ottla_model::TopicId;

use super::{FIRST_FLEXIBLE, FIRST_WITH_TOPIC_IDS};
use crate::api::keys;
use crate::header::RequestHeader;
use crate::message::{DecodeError, EncodeError, supported};
use crate::wire::{Reader, WireError, Writer};

/// The first version where a follower names itself in a tagged structure (KIP-903).
const FIRST_WITH_REPLICA_STATE: i16 = 15;

/// Where to read. Fields that the version does not have hold Kafka's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// v12+: the cluster's id, if the sender knows it.
    pub cluster_id: Option<StrBytes>,
    /// The follower's broker id; −1 for a consumer. From the tagged structure in v15+.
    pub replica_id: i32,
    /// v15+: the follower's broker epoch; −1 when it is not told.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// The least number of bytes worth answering with.
    pub min_bytes: i32,
    /// v3+: the most bytes over all partitions; the first batch may exceed it.
    pub max_bytes: i32,
    /// v4+: 0 = read_uncommitted, 1 = read_committed. Not checked here.
    pub isolation_level: i8,
    /// v7+: the fetch session's id, 0 for none (KIP-227).
    pub session_id: i32,
    /// v7+: the request's number in the session; 0 opens one, −1 goes without.
    pub session_epoch: i32,
    /// The partitions to read, by topic, in the order of the request.
    pub topics: Vec<FetchTopic>,
    /// v7+: the partitions to take out of the session.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// v11+: the consumer's rack.
    pub rack_id: StrBytes,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics: Vec::new(),
            rack_id: StrBytes::default(),
        }
    }
}

/// The partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic's name up to v12, empty later.
    pub name: StrBytes,
    /// The topic's id from v13, zero before.
    pub topic_id: TopicId,
    /// Its partitions, in the order of the request.
    pub partitions: Vec<FetchPartition>,
}

/// Where to read one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition's index.
    pub partition: i32,
    /// v9+: the leader epoch that the reader believes in; −1 for none (KIP-320).
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// v12+: the epoch of the last record the reader has; −1 for none (KIP-595).
    pub last_fetched_epoch: i32,
    /// v5+: the follower's log start offset; −1 from consumers.
    pub log_start_offset: i64,
    /// The most bytes of this partition; the first batch may exceed it.
    pub max_bytes: i32,
}

/// Partitions to take out of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The topic's name up to v12, empty later.
    pub name: StrBytes,
    /// The topic's id from v13, zero before.
    pub topic_id: TopicId,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// Reads a request's body. Bytes after it are ignored, as in Kafka.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, DecodeError> {
        supported(keys::FETCH, version)?;
        let flexible = version >= FIRST_FLEXIBLE;
        let reader = &mut Reader::new(body);
        let mut request = Self::default();
        if version < FIRST_WITH_REPLICA_STATE {
            request.replica_id = reader.int32()?;
        }
        request.max_wait_ms = reader.int32()?;
        request.min_bytes = reader.int32()?;
        if version >= 3 {
            request.max_bytes = reader.int32()?;
        }
        if version >= 4 {
            request.isolation_level = reader.int8()?;
        }
        if version >= 7 {
            request.session_id = reader.int32()?;
            request.session_epoch = reader.int32()?;
        }
        request.topics = decode_topics(reader, version)?;
        if version >= 7 {
            request.forgotten_topics = decode_forgotten(reader, version)?;
        }
        if version >= 11 {
            request.rack_id = reader.string(flexible)?;
        }
        if flexible {
            reader.tagged_fields(|tag, value| match tag {
                0 => {
                    request.cluster_id = value.nullable_string(true)?;
                    Ok(true)
                }
                1 if version >= FIRST_WITH_REPLICA_STATE => {
                    request.replica_id = value.int32()?;
                    request.replica_epoch = value.int64()?;
                    value.skip_tagged_fields()?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        Ok(request)
    }

    /// Writes a request with its header.
    pub fn encode(&self, header: &RequestHeader) -> Result<Bytes, EncodeError> {
        let version = header.api_version;
        let mut out = BytesMut::with_capacity(256);
        header.encode(&mut out)?;
        let writer = &mut Writer {
            out: &mut out,
            flexible: version >= FIRST_FLEXIBLE,
        };
        if version < FIRST_WITH_REPLICA_STATE {
            writer.out.put_i32(self.replica_id);
        }
        writer.out.put_i32(self.max_wait_ms);
        writer.out.put_i32(self.min_bytes);
        if version >= 3 {
            writer.out.put_i32(self.max_bytes);
        }
        if version >= 4 {
            writer.out.put_i8(self.isolation_level);
        }
        if version >= 7 {
            writer.out.put_i32(self.session_id);
            writer.out.put_i32(self.session_epoch);
        }
        self.put_topics(writer, version)?;
        if version >= 7 {
            self.put_forgotten(writer, version)?;
        }
        if version >= 11 {
            writer.string(&self.rack_id)?;
        }
        if writer.flexible {
            self.put_tagged_fields(writer, version)?;
        }
        Ok(out.freeze())
    }

    fn put_topics(&self, writer: &mut Writer<'_>, version: i16) -> Result<(), WireError> {
        writer.length(Some(self.topics.len()))?;
        for topic in &self.topics {
            put_topic_key(writer, version, &topic.name, topic.topic_id)?;
            writer.length(Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                writer.out.put_i32(partition.partition);
                if version >= 9 {
                    writer.out.put_i32(partition.current_leader_epoch);
                }
                writer.out.put_i64(partition.fetch_offset);
                if version >= 12 {
                    writer.out.put_i32(partition.last_fetched_epoch);
                }
                if version >= 5 {
                    writer.out.put_i64(partition.log_start_offset);
                }
                writer.out.put_i32(partition.max_bytes);
                writer.no_tagged_fields();
            }
            writer.no_tagged_fields();
        }
        Ok(())
    }

    fn put_forgotten(&self, writer: &mut Writer<'_>, version: i16) -> Result<(), WireError> {
        writer.length(Some(self.forgotten_topics.len()))?;
        for topic in &self.forgotten_topics {
            put_topic_key(writer, version, &topic.name, topic.topic_id)?;
            writer.length(Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                writer.out.put_i32(*partition);
            }
            writer.no_tagged_fields();
        }
        Ok(())
    }

    fn put_tagged_fields(&self, writer: &mut Writer<'_>, version: i16) -> Result<(), WireError> {
        let has_state = version >= FIRST_WITH_REPLICA_STATE
            && (self.replica_id != -1 || self.replica_epoch != -1);
        writer.varint(u32::from(self.cluster_id.is_some()) + u32::from(has_state));
        if let Some(cluster_id) = &self.cluster_id {
            let mut value = BytesMut::new();
            Writer {
                out: &mut value,
                flexible: true,
            }
            .string(cluster_id)?;
            writer.tagged_field(0, &value)?;
        }
        if has_state {
            let mut value = BytesMut::new();
            value.put_i32(self.replica_id);
            value.put_i64(self.replica_epoch);
            value.put_u8(0);
            writer.tagged_field(1, &value)?;
        }
        Ok(())
    }
}

fn decode_topics(reader: &mut Reader, version: i16) -> Result<Vec<FetchTopic>, WireError> {
    let flexible = version >= FIRST_FLEXIBLE;
    let count = reader.count(flexible, if flexible { 3 } else { 6 })?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, topic_id) = decode_topic_key(reader, version)?;
        let count = reader.count(flexible, 16)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(decode_partition(reader, version)?);
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
        topics.push(FetchTopic {
            name,
            topic_id,
            partitions,
        });
    }
    Ok(topics)
}

fn decode_partition(reader: &mut Reader, version: i16) -> Result<FetchPartition, WireError> {
    let partition = FetchPartition {
        partition: reader.int32()?,
        current_leader_epoch: if version >= 9 { reader.int32()? } else { -1 },
        fetch_offset: reader.int64()?,
        last_fetched_epoch: if version >= 12 { reader.int32()? } else { -1 },
        log_start_offset: if version >= 5 { reader.int64()? } else { -1 },
        max_bytes: reader.int32()?,
    };
    if version >= FIRST_FLEXIBLE {
        // v17 may carry the follower's directory id, which a ZooKeeper-mode broker ignores.
        reader.skip_tagged_fields()?;
    }
    Ok(partition)
}

fn decode_forgotten(reader: &mut Reader, version: i16) -> Result<Vec<ForgottenTopic>, WireError> {
    let flexible = version >= FIRST_FLEXIBLE;
    let count = reader.count(flexible, if flexible { 3 } else { 6 })?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, topic_id) = decode_topic_key(reader, version)?;
        let count = reader.count(flexible, 4)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(reader.int32()?);
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
        topics.push(ForgottenTopic {
            name,
            topic_id,
            partitions,
        });
    }
    Ok(topics)
}

/// Reads what names a topic in a version: its name or its id.
pub(super) fn decode_topic_key(
    reader: &mut Reader,
    version: i16,
) -> Result<(StrBytes, TopicId), WireError> {
    if version >= FIRST_WITH_TOPIC_IDS {
        Ok((StrBytes::default(), TopicId(reader.uuid()?)))
    } else {
        Ok((reader.string(version >= FIRST_FLEXIBLE)?, TopicId::ZERO))
    }
}

/// Writes what names a topic in a version.
pub(super) fn put_topic_key(
    writer: &mut Writer<'_>,
    version: i16,
    name: &str,
    topic_id: TopicId,
) -> Result<(), WireError> {
    if version >= FIRST_WITH_TOPIC_IDS {
        writer.out.put_slice(&topic_id.0);
        Ok(())
    } else {
        writer.string(name)
    }
}
