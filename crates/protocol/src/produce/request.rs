//! The request: records to append, by topic and partition.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::FIRST_FLEXIBLE;
use crate::api::keys;
use crate::header::RequestHeader;
use crate::message::{DecodeError, EncodeError, supported};
use crate::part::Part;
use crate::wire::{Reader, Writer};

/// Records to append. Byte values are slices of the frame: the frame lives as long as they do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceRequest {
    /// The transaction's id, v3+; null when the producer is not transactional.
    pub transactional_id: Option<StrBytes>,
    /// 0: no response; 1: the leader has it; −1: all in-sync replicas have it. Not checked here.
    pub acks: i16,
    /// How long to wait for replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The topics, in the order of the request.
    pub topics: Vec<ProduceTopic>,
}

/// The partitions of one topic. A topic may come twice; Kafka merges by topic and partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceTopic {
    /// The topic's name.
    pub name: StrBytes,
    /// Its partitions, in the order of the request.
    pub partitions: Vec<ProducePartition>,
}

/// The records for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducePartition {
    /// The partition's index.
    pub index: i32,
    /// Record batches as they came; not looked into here.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads a request's body. Bytes after it are ignored, as in Kafka.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, DecodeError> {
        supported(keys::PRODUCE, version)?;
        let flexible = version >= FIRST_FLEXIBLE;
        let mut reader = Reader::new(body);
        let mut request = Self {
            transactional_id: match version {
                0..=2 => None,
                _ => reader.nullable_string(flexible)?,
            },
            acks: reader.int16()?,
            timeout_ms: reader.int32()?,
            topics: Vec::new(),
        };
        let count = reader.count(flexible, if flexible { 3 } else { 6 })?;
        request.topics.reserve_exact(count);
        for _ in 0..count {
            request.topics.push(topic(&mut reader, flexible)?);
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(request)
    }

    /// Writes a request with its header, the records as pieces of their own.
    pub fn encode(&self, header: &RequestHeader) -> Result<Vec<Part>, EncodeError> {
        let version = header.api_version;
        let flexible = version >= FIRST_FLEXIBLE;
        let mut parts = Vec::new();
        let mut out = BytesMut::with_capacity(128);
        header.encode(&mut out)?;
        let mut writer = Writer {
            out: &mut out,
            flexible,
        };
        if version >= 3 {
            writer.nullable_string(self.transactional_id.as_deref())?;
        }
        writer.out.put_i16(self.acks);
        writer.out.put_i32(self.timeout_ms);
        writer.length(Some(self.topics.len()))?;
        for topic in &self.topics {
            writer.string(&topic.name)?;
            writer.length(Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                writer.out.put_i32(partition.index);
                writer.length(partition.records.as_ref().map(Bytes::len))?;
                if let Some(records) = &partition.records {
                    parts.push(Part::Bytes(writer.out.split().freeze()));
                    parts.push(Part::Bytes(records.clone()));
                }
                writer.no_tagged_fields();
            }
            writer.no_tagged_fields();
        }
        writer.no_tagged_fields();
        parts.push(Part::Bytes(out.freeze()));
        Ok(parts)
    }
}

fn topic(reader: &mut Reader, flexible: bool) -> Result<ProduceTopic, DecodeError> {
    let name = reader.string(flexible)?;
    let count = reader.count(flexible, if flexible { 6 } else { 8 })?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(ProducePartition {
            index: reader.int32()?,
            records: reader.nullable_bytes(flexible)?,
        });
        if flexible {
            reader.skip_tagged_fields()?;
        }
    }
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(ProduceTopic { name, partitions })
}
