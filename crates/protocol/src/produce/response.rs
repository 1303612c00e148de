//! The response: an offset or an error for each partition.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use ottla_model::ErrorCode;

use super::FIRST_FLEXIBLE;
use crate::header::RequestHeader;
use crate::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::EncodeError;
use crate::wire::Writer;

/// The first version with current leaders and node endpoints (KIP-951).
const FIRST_WITH_LEADERS: i16 = 10;

/// An answer to Produce. Fields that the request's version does not have are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceResponse {
    /// The topics.
    pub topics: Vec<ProduceTopicResponse>,
    /// v1+: how long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// v10+: endpoints of the leaders named in `topics`.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceTopicResponse {
    /// The topic's name.
    pub name: StrBytes,
    /// Its partitions.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    /// The partition's index.
    pub index: i32,
    /// The error, or `None` (0).
    pub error_code: ErrorCode,
    /// The offset of the first record; −1 on errors.
    pub base_offset: i64,
    /// v2+: the broker's time of the append in milliseconds if the topic uses LogAppendTime,
    /// else −1.
    pub log_append_time_ms: i64,
    /// v5+: the log's first offset; −1 on errors.
    pub log_start_offset: i64,
    /// v8+: which records were at fault.
    pub record_errors: Vec<RecordError>,
    /// v8+: what was wrong with the batch.
    pub error_message: Option<StrBytes>,
    /// v10+: the leader, on NOT_LEADER_OR_FOLLOWER.
    pub current_leader: LeaderIdAndEpoch,
}

impl ProducePartitionResponse {
    /// An error, with the other fields as Kafka fills them then.
    pub fn error(index: i32, error_code: ErrorCode) -> Self {
        Self {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
        }
    }
}

/// A record that made its batch be refused (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in the batch.
    pub batch_index: i32,
    /// What was wrong with it.
    pub message: Option<StrBytes>,
}

impl ProduceResponse {
    /// Writes the response to a request, header included.
    pub fn encode(&self, request: &RequestHeader) -> Result<Bytes, EncodeError> {
        let version = request.api_version;
        let mut out = BytesMut::with_capacity(128);
        request.encode_response_header(&mut out);
        let mut writer = Writer {
            out: &mut out,
            flexible: version >= FIRST_FLEXIBLE,
        };
        writer.length(Some(self.topics.len()))?;
        for topic in &self.topics {
            writer.string(&topic.name)?;
            writer.length(Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                put_partition(&mut writer, version, partition)?;
            }
            writer.no_tagged_fields();
        }
        if version >= 1 {
            writer.out.put_i32(self.throttle_time_ms);
        }
        if version >= FIRST_WITH_LEADERS && !self.node_endpoints.is_empty() {
            writer.varint(1);
            writer.tagged_field(
                0,
                &NodeEndpoint::list_to_tagged_value(&self.node_endpoints)?,
            )?;
        } else {
            writer.no_tagged_fields();
        }
        Ok(out.freeze())
    }
}

fn put_partition(
    writer: &mut Writer<'_>,
    version: i16,
    partition: &ProducePartitionResponse,
) -> Result<(), EncodeError> {
    writer.out.put_i32(partition.index);
    writer.out.put_i16(partition.error_code.code());
    writer.out.put_i64(partition.base_offset);
    if version >= 2 {
        writer.out.put_i64(partition.log_append_time_ms);
    }
    if version >= 5 {
        writer.out.put_i64(partition.log_start_offset);
    }
    if version >= 8 {
        writer.length(Some(partition.record_errors.len()))?;
        for error in &partition.record_errors {
            writer.out.put_i32(error.batch_index);
            writer.nullable_string(error.message.as_deref())?;
            writer.no_tagged_fields();
        }
        writer.nullable_string(partition.error_message.as_deref())?;
    }
    if version >= FIRST_WITH_LEADERS && partition.current_leader != LeaderIdAndEpoch::default() {
        writer.varint(1);
        writer.tagged_field(0, &partition.current_leader.to_tagged_value())?;
    } else {
        writer.no_tagged_fields();
    }
    Ok(())
}
