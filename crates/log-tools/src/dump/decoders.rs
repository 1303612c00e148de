//! What keys and values hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ottla_coordinator_runtime::{DecodeError, Reader};
use ottla_group_coordinator::records::{self as group_records, GroupMetadataValue, RecordKey};
use ottla_record::Record;
use ottla_transaction_coordinator::records as transaction_records;

/// How a key or a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// UTF-8 (`StringDecoder`).
    String,
    /// A big-endian int32 (`IntegerDecoder`).
    Integer,
    /// A big-endian int64 (`LongDecoder`).
    Long,
}

/// How records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// Key and value for themselves.
    Plain {
        /// The keys.
        key: Text,
        /// The values.
        value: Text,
    },
    /// `--offsets-decoder`: records of `__consumer_offsets`.
    Offsets,
    /// `--transaction-log-decoder`: records of `__transaction_state`.
    Transactions,
}

type KeyAndPayload = (Option<String>, Option<String>);

impl Decoder {
    /// The texts behind `key:` and `payload:`, or why the tool would end.
    pub(super) fn decode(&self, record: &Record<'_>) -> Result<KeyAndPayload, String> {
        match self {
            Self::Plain { key, value } => Ok((
                record.key.map(|bytes| key.of(bytes)).transpose()?,
                record.value.map(|bytes| value.of(bytes)).transpose()?,
            )),
            Self::Offsets => {
                let Some(key) = record.key else {
                    return Err(format!(
                        "Failed to decode message at offset {} using offset topic decoder \
                         (message had a missing key)",
                        record.offset
                    ));
                };
                Ok(offsets(key, record))
            }
            Self::Transactions => Ok(transactions(record)),
        }
    }
}

impl Text {
    /// The decoder of a class name of Kafka's tools.
    pub fn of_class(class: &str) -> Option<Self> {
        let (package, name) = class.rsplit_once('.')?;
        let is_kafkas = ["org.apache.kafka.tools.api", "kafka.serializer"].contains(&package);
        match name {
            "StringDecoder" if is_kafkas => Some(Self::String),
            "IntegerDecoder" if is_kafkas => Some(Self::Integer),
            "LongDecoder" if is_kafkas => Some(Self::Long),
            _ => None,
        }
    }

    fn of(self, bytes: &[u8]) -> Result<String, String> {
        let wrong = || format!("{} bytes are no {self:?}", bytes.len());
        match self {
            Self::String => Ok(String::from_utf8_lossy(bytes).into_owned()),
            Self::Integer => bytes
                .try_into()
                .map(|bytes| i32::from_be_bytes(bytes).to_string())
                .map_err(|_| wrong()),
            Self::Long => bytes
                .try_into()
                .map(|bytes| i64::from_be_bytes(bytes).to_string())
                .map_err(|_| wrong()),
        }
    }
}

fn offsets(key: &[u8], record: &Record<'_>) -> KeyAndPayload {
    let failed = |error: DecodeError| {
        let text = format!("Error at offset {}, skipping. {error}", record.offset);
        (Some(text), None)
    };
    let version = key
        .first_chunk()
        .map_or(-1, |bytes| i16::from_be_bytes(*bytes));
    let parsed = match group_records::read_key(Bytes::copy_from_slice(key)) {
        Ok(parsed) => parsed,
        Err(error) => return failed(error),
    };
    let value = record.value.map(Bytes::copy_from_slice);
    let value_version = value
        .as_deref()
        .and_then(<[u8]>::first_chunk)
        .map_or(-1, |bytes| i16::from_be_bytes(*bytes));
    let (key, value) = match parsed {
        RecordKey::OffsetCommit {
            group_id,
            topic_partition,
        } => {
            let key = format!(
                "{{\"group\":{},\"topic\":{},\"partition\":{}}}",
                json(&group_id),
                json(topic_partition.topic.as_str()),
                topic_partition.partition
            );
            let value = value.map(|value| {
                group_records::read_offset_commit_value(value)
                    .map(|value| offset_commit(&value, value_version))
            });
            (key, value)
        }
        RecordKey::GroupMetadata { group_id } => {
            let key = format!("{{\"group\":{}}}", json(&group_id));
            let value = value.map(|value| {
                group_records::read_group_metadata_value(value)
                    .map(|value| group_metadata(&value, value_version))
            });
            (key, value)
        }
        RecordKey::Unknown(kind) => {
            let text = format!(
                "Unknown record type {kind} at offset {}, skipping.",
                record.offset
            );
            return (Some(text), None);
        }
    };
    let payload = match value.transpose() {
        Ok(Some(data)) => format!("{{\"version\":\"{value_version}\",\"data\":{data}}}"),
        Ok(None) => "<DELETE>".to_owned(),
        Err(error) => return failed(error),
    };
    let key = format!("{{\"type\":\"{version}\",\"data\":{key}}}");
    (Some(key), Some(payload))
}

fn offset_commit(value: &ottla_group_coordinator::OffsetAndMetadata, version: i16) -> String {
    let mut fields = vec![format!("\"offset\":{}", value.offset)];
    if version >= 3 {
        fields.push(format!("\"leaderEpoch\":{}", value.leader_epoch.0));
    }
    fields.push(format!("\"metadata\":{}", json(&value.metadata)));
    fields.push(format!("\"commitTimestamp\":{}", value.commit_timestamp.0));
    if version == 1 {
        let expire = value.expire_timestamp.map_or(-1, |at| at.0);
        fields.push(format!("\"expireTimestamp\":{expire}"));
    }
    object(&fields)
}

fn group_metadata(value: &GroupMetadataValue, version: i16) -> String {
    let members: Vec<String> = value
        .members
        .iter()
        .map(|member| {
            let mut fields = vec![format!("\"memberId\":{}", json(&member.member_id))];
            if version >= 3 {
                fields.push(format!(
                    "\"groupInstanceId\":{}",
                    json_or_null(member.group_instance_id.as_deref())
                ));
            }
            fields.push(format!("\"clientId\":{}", json(&member.client_id)));
            fields.push(format!("\"clientHost\":{}", json(&member.client_host)));
            if version >= 1 {
                fields.push(format!(
                    "\"rebalanceTimeout\":{}",
                    member.rebalance_timeout_ms
                ));
            }
            fields.push(format!("\"sessionTimeout\":{}", member.session_timeout_ms));
            let is_consumer = value.protocol_type == "consumer";
            let show = |bytes: &Bytes, read: fn(&mut Reader) -> Result<String, DecodeError>| {
                // As Kafka: what does not read as a consumer's stays as bytes.
                let parsed = is_consumer.then(|| read(&mut Reader::new(bytes.clone())));
                match parsed {
                    Some(Ok(text)) => text,
                    _ => format!("\"{}\"", BASE64.encode(bytes)),
                }
            };
            fields.push(format!(
                "\"subscription\":{}",
                show(&member.subscription, subscription)
            ));
            fields.push(format!(
                "\"assignment\":{}",
                show(&member.assignment, assignment)
            ));
            object(&fields)
        })
        .collect();
    let mut fields = vec![
        format!("\"protocolType\":{}", json(&value.protocol_type)),
        format!("\"generation\":{}", value.generation_id),
        format!("\"protocol\":{}", json_or_null(value.protocol.as_deref())),
        format!("\"leader\":{}", json_or_null(value.leader.as_deref())),
    ];
    if version >= 2 {
        fields.push(format!(
            "\"currentStateTimestamp\":{}",
            value.current_state_timestamp.0
        ));
    }
    fields.push(format!("\"members\":[{}]", members.join(",")));
    object(&fields)
}

/// `ConsumerProtocolSubscription`, versions 0 to 3; later ones are read as the last known.
fn subscription(reader: &mut Reader) -> Result<String, DecodeError> {
    let version = reader.int16()?;
    if version < 0 {
        return Err(DecodeError::UnknownVersion(version));
    }
    let mut topics = Vec::new();
    for _ in 0..reader.array_count(2)? {
        topics.push(json(&reader.string()?));
    }
    let mut fields = vec![
        format!("\"topics\":[{}]", topics.join(",")),
        format!("\"userData\":{}", nullable_bytes(reader)?),
    ];
    if version >= 1 {
        fields.push(format!(
            "\"ownedPartitions\":[{}]",
            topic_partitions(reader)?
        ));
    }
    if version >= 2 {
        fields.push(format!("\"generationId\":{}", reader.int32()?));
    }
    if version >= 3 {
        let rack = reader.nullable_string()?;
        fields.push(format!("\"rackId\":{}", json_or_null(rack.as_deref())));
    }
    Ok(object(&fields))
}

/// `ConsumerProtocolAssignment`.
fn assignment(reader: &mut Reader) -> Result<String, DecodeError> {
    let version = reader.int16()?;
    if version < 0 {
        return Err(DecodeError::UnknownVersion(version));
    }
    let partitions = topic_partitions(reader)?;
    Ok(object(&[
        format!("\"assignedPartitions\":[{partitions}]"),
        format!("\"userData\":{}", nullable_bytes(reader)?),
    ]))
}

fn topic_partitions(reader: &mut Reader) -> Result<String, DecodeError> {
    let mut topics = Vec::new();
    for _ in 0..reader.array_count(6)? {
        let topic = reader.string()?;
        let mut partitions = Vec::new();
        for _ in 0..reader.array_count(4)? {
            partitions.push(reader.int32()?.to_string());
        }
        topics.push(format!(
            "{{\"topic\":{},\"partitions\":[{}]}}",
            json(&topic),
            partitions.join(",")
        ));
    }
    Ok(topics.join(","))
}

fn nullable_bytes(reader: &mut Reader) -> Result<String, DecodeError> {
    let length = reader.int32()?;
    if length == -1 {
        return Ok("null".to_owned());
    }
    let length = usize::try_from(length).map_err(|_| DecodeError::BadLength(length.into()))?;
    if length > reader.remaining() {
        return Err(DecodeError::Truncated);
    }
    let mut bytes = Vec::new();
    for _ in 0..length {
        bytes.extend(reader.int8()?.to_be_bytes());
    }
    Ok(format!("\"{}\"", BASE64.encode(bytes)))
}

fn transactions(record: &Record<'_>) -> KeyAndPayload {
    let key = record.key.unwrap_or_default();
    let version = key
        .first_chunk()
        .map_or(-1, |bytes| i16::from_be_bytes(*bytes));
    let id = match transaction_records::read_key(Bytes::copy_from_slice(key)) {
        Ok(Some(id)) => id,
        Ok(None) => return (Some(format!("unknown::version={version}")), None),
        Err(error) => {
            let text = format!("Error at offset {}, skipping. {error}", record.offset);
            return (Some(text), None);
        }
    };
    let payload = match record.value.map(Bytes::copy_from_slice) {
        None => "<DELETE>".to_owned(),
        Some(value) => match transaction_records::read_value(value) {
            Ok(value) => {
                let partitions: Vec<String> =
                    value.partitions.iter().map(ToString::to_string).collect();
                format!(
                    "producerId:{},producerEpoch:{},state={},partitions=[{}],\
                     txnLastUpdateTimestamp={},txnTimeoutMs={}",
                    value.producer_id.0,
                    value.producer_epoch.0,
                    value.state.name(),
                    partitions.join(","),
                    value.last_update_timestamp.0,
                    value.timeout_ms
                )
            }
            Err(error) => format!("Error at offset {}, skipping. {error}", record.offset),
        },
    };
    let key = format!("transaction_metadata::transactionalId={id}");
    (Some(key), Some(payload))
}

fn object(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(","))
}

fn json_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), json)
}

/// A JSON string with the escapes that Java's writer (Jackson) chooses.
fn json(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if (control as u32) < 0x20 => {
                quoted.push_str(&format!("\\u{:04X}", control as u32));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_jackson_does() {
        assert_eq!(json("a\"b\\c\n\u{1}é"), "\"a\\\"b\\\\c\\n\\u0001é\"");
    }

    #[test]
    fn a_consumers_subscription_is_read() {
        let bytes = b"\0\x03\0\0\0\x01\0\x01a\xff\xff\xff\xff\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\x02\0\0\0\x05\xff\xff";
        let mut reader = Reader::new(Bytes::from_static(bytes));
        assert_eq!(
            subscription(&mut reader).unwrap(),
            "{\"topics\":[\"a\"],\"userData\":null,\"ownedPartitions\":[{\"topic\":\"a\",\
             \"partitions\":[2]}],\"generationId\":5,\"rackId\":null}"
        );
    }

    #[test]
    fn classes_of_the_tool_have_decoders() {
        assert_eq!(
            Text::of_class("org.apache.kafka.tools.api.LongDecoder"),
            Some(Text::Long)
        );
        assert_eq!(
            Text::of_class("kafka.serializer.StringDecoder"),
            Some(Text::String)
        );
        assert_eq!(Text::of_class("com.example.Mine"), None);
        assert_eq!(Text::Integer.of(&[0, 0, 1, 0]).unwrap(), "256");
        assert!(Text::Long.of(&[1]).is_err());
    }
}
