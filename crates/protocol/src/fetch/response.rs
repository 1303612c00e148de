//! The response: records or an error for each partition.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use ottla_model::{ErrorCode, TopicId};

use super::FIRST_FLEXIBLE;
use super::request::{decode_topic_key, put_topic_key};
use crate::api::keys;
use crate::header::{RequestHeader, decode_response_header};
use crate::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::{DecodeError, EncodeError, supported};
use crate::part::Part;
use crate::wire::{Reader, WireError, Writer};

/// The first version with node endpoints (KIP-951).
const FIRST_WITH_ENDPOINTS: i16 = 16;

/// An answer to Fetch. Fields that the request's version does not have are left out.
#[derive(Debug)]
pub struct FetchResponse {
    /// v1+: how long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// v7+: an error of the whole request; `None` (0) otherwise.
    pub error_code: ErrorCode,
    /// v7+: the fetch session, 0 for none.
    pub session_id: i32,
    /// The topics.
    pub topics: Vec<FetchTopicResponse>,
    /// v16+: endpoints of the leaders named in `topics`.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Default for FetchResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
    }
}

/// The partitions of one topic.
#[derive(Debug)]
pub struct FetchTopicResponse {
    /// The topic's name, sent up to v12.
    pub name: StrBytes,
    /// The topic's id, sent from v13.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// What was read from one partition.
#[derive(Debug)]
pub struct FetchPartitionResponse {
    /// The partition's index.
    pub partition: i32,
    /// The error, or `None` (0).
    pub error_code: ErrorCode,
    /// The high watermark; −1 on errors.
    pub high_watermark: i64,
    /// v4+: the last stable offset; −1 on errors.
    pub last_stable_offset: i64,
    /// v5+: the log's first offset; −1 on errors.
    pub log_start_offset: i64,
    /// v12+: where the reader's log and this one part.
    pub diverging_epoch: Option<DivergingEpoch>,
    /// v12+: the leader, on NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH.
    pub current_leader: LeaderIdAndEpoch,
    /// v4+: transactions aborted in what was read; null unless read_committed was asked for.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// v11+: the replica that the consumer had better read from; −1 for none.
    pub preferred_read_replica: i32,
    /// Record batches; no bytes where nothing was read. Null (`None`) only where records could not
    /// be converted for the client.
    pub records: Option<Part>,
}

/// The largest epoch both logs share at most, and where it ends here (KIP-595).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Its end offset, exclusive.
    pub end_offset: i64,
}

/// An aborted transaction whose records must be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The transaction's first offset.
    pub first_offset: i64,
}

impl FetchPartitionResponse {
    /// An error found before reading (`FetchResponse.partitionResponse`: unknown topic, not
    /// authorised), with the other fields as Kafka fills them then. Errors of the read itself
    /// (`OFFSET_OUT_OF_RANGE` and the like) have null aborted transactions instead of none.
    pub fn error(partition: i32, error_code: ErrorCode) -> Self {
        Self {
            partition,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: LeaderIdAndEpoch::default(),
            aborted_transactions: Some(Vec::new()),
            preferred_read_replica: -1,
            records: Some(Part::Bytes(Bytes::new())),
        }
    }
}

impl FetchResponse {
    /// Writes the response to a request, header included. Records become pieces of their own, in
    /// order; the length of all pieces is the size that quotas count.
    pub fn encode(self, request: &RequestHeader) -> Result<Vec<Part>, EncodeError> {
        let version = request.api_version;
        let mut parts = Vec::new();
        let mut out = BytesMut::with_capacity(256);
        request.encode_response_header(&mut out);
        let writer = &mut Writer {
            out: &mut out,
            flexible: version >= FIRST_FLEXIBLE,
        };
        if version >= 1 {
            writer.out.put_i32(self.throttle_time_ms);
        }
        if version >= 7 {
            writer.out.put_i16(self.error_code.code());
            writer.out.put_i32(self.session_id);
        }
        writer.length(Some(self.topics.len()))?;
        for topic in self.topics {
            put_topic_key(writer, version, &topic.name, topic.topic_id)?;
            writer.length(Some(topic.partitions.len()))?;
            for partition in topic.partitions {
                put_partition(writer, &mut parts, version, partition)?;
            }
            writer.no_tagged_fields();
        }
        if version >= FIRST_WITH_ENDPOINTS && !self.node_endpoints.is_empty() {
            writer.varint(1);
            writer.tagged_field(
                0,
                &NodeEndpoint::list_to_tagged_value(&self.node_endpoints)?,
            )?;
        } else {
            writer.no_tagged_fields();
        }
        if !out.is_empty() {
            parts.push(Part::Bytes(out.freeze()));
        }
        Ok(parts)
    }

    /// Reads a response frame (header and body) to a request sent with this correlation id.
    /// Records are slices of the frame.
    pub fn decode(version: i16, correlation_id: i32, frame: Bytes) -> Result<Self, DecodeError> {
        let api = supported(keys::FETCH, version)?;
        let mut body = frame;
        let received = decode_response_header(api, version, &mut body)?;
        if received != correlation_id {
            return Err(DecodeError::Correlation {
                expected: correlation_id,
                received,
            });
        }
        let flexible = version >= FIRST_FLEXIBLE;
        let reader = &mut Reader::new(body);
        let mut response = Self::default();
        if version >= 1 {
            response.throttle_time_ms = reader.int32()?;
        }
        if version >= 7 {
            response.error_code = ErrorCode::from_code(reader.int16()?);
            response.session_id = reader.int32()?;
        }
        let count = reader.count(flexible, if flexible { 3 } else { 6 })?;
        response.topics.reserve_exact(count);
        for _ in 0..count {
            response.topics.push(decode_topic(reader, version)?);
        }
        if flexible {
            reader.tagged_fields(|tag, value| match tag {
                0 if version >= FIRST_WITH_ENDPOINTS => {
                    response.node_endpoints = NodeEndpoint::decode_list(value)?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        Ok(response)
    }
}

fn put_partition(
    writer: &mut Writer<'_>,
    parts: &mut Vec<Part>,
    version: i16,
    partition: FetchPartitionResponse,
) -> Result<(), WireError> {
    writer.out.put_i32(partition.partition);
    writer.out.put_i16(partition.error_code.code());
    writer.out.put_i64(partition.high_watermark);
    if version >= 4 {
        writer.out.put_i64(partition.last_stable_offset);
    }
    if version >= 5 {
        writer.out.put_i64(partition.log_start_offset);
    }
    if version >= 4 {
        let aborted = partition.aborted_transactions.as_deref();
        writer.length(aborted.map(<[_]>::len))?;
        for transaction in aborted.unwrap_or_default() {
            writer.out.put_i64(transaction.producer_id);
            writer.out.put_i64(transaction.first_offset);
            writer.no_tagged_fields();
        }
    }
    if version >= 11 {
        writer.out.put_i32(partition.preferred_read_replica);
    }
    writer.length(partition.records.as_ref().map(Part::len))?;
    if let Some(records) = partition.records.filter(|records| !records.is_empty()) {
        parts.push(Part::Bytes(writer.out.split().freeze()));
        parts.push(records);
    }
    if writer.flexible {
        let has_leader = partition.current_leader != LeaderIdAndEpoch::default();
        writer.varint(u32::from(partition.diverging_epoch.is_some()) + u32::from(has_leader));
        if let Some(diverging) = partition.diverging_epoch {
            let mut value = BytesMut::with_capacity(13);
            value.put_i32(diverging.epoch);
            value.put_i64(diverging.end_offset);
            value.put_u8(0);
            writer.tagged_field(0, &value)?;
        }
        if has_leader {
            writer.tagged_field(1, &partition.current_leader.to_tagged_value())?;
        }
    }
    Ok(())
}

fn decode_topic(reader: &mut Reader, version: i16) -> Result<FetchTopicResponse, WireError> {
    let flexible = version >= FIRST_FLEXIBLE;
    let (name, topic_id) = decode_topic_key(reader, version)?;
    let count = reader.count(flexible, if flexible { 16 } else { 18 })?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(decode_partition(reader, version)?);
    }
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(FetchTopicResponse {
        name,
        topic_id,
        partitions,
    })
}

fn decode_partition(
    reader: &mut Reader,
    version: i16,
) -> Result<FetchPartitionResponse, WireError> {
    let flexible = version >= FIRST_FLEXIBLE;
    let mut partition = FetchPartitionResponse {
        partition: reader.int32()?,
        error_code: ErrorCode::from_code(reader.int16()?),
        high_watermark: reader.int64()?,
        last_stable_offset: if version >= 4 { reader.int64()? } else { -1 },
        log_start_offset: if version >= 5 { reader.int64()? } else { -1 },
        diverging_epoch: None,
        current_leader: LeaderIdAndEpoch::default(),
        aborted_transactions: match version {
            0..=3 => None,
            _ => decode_aborted(reader, flexible)?,
        },
        preferred_read_replica: if version >= 11 { reader.int32()? } else { -1 },
        records: reader.nullable_bytes(flexible)?.map(Part::Bytes),
    };
    if flexible {
        reader.tagged_fields(|tag, value| match tag {
            0 => {
                partition.diverging_epoch = Some(DivergingEpoch {
                    epoch: value.int32()?,
                    end_offset: value.int64()?,
                });
                value.skip_tagged_fields()?;
                Ok(true)
            }
            1 => {
                partition.current_leader = LeaderIdAndEpoch::decode(value)?;
                Ok(true)
            }
            _ => Ok(false),
        })?;
    }
    Ok(partition)
}

fn decode_aborted(
    reader: &mut Reader,
    flexible: bool,
) -> Result<Option<Vec<AbortedTransaction>>, WireError> {
    let least = if flexible { 17 } else { 16 };
    let Some(count) = reader.nullable_count(flexible, least)? else {
        return Ok(None);
    };
    let mut aborted = Vec::with_capacity(count);
    for _ in 0..count {
        aborted.push(AbortedTransaction {
            producer_id: reader.int64()?,
            first_offset: reader.int64()?,
        });
        if flexible {
            reader.skip_tagged_fields()?;
        }
    }
    Ok(Some(aborted))
}
