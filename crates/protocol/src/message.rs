//! Decoding requests and encoding responses with kafka-protocol's types, behind the bounds guard.
//!
//! # For authors of handlers
//! kafka-protocol 0.15.1 has the shape of 3.9's schemas in every version (`guard::tests` prove it),
//! and `Default` gives Kafka's own defaults. A field that a version does not have is left out
//! silently if the schema calls it ignorable (throttle times, error messages, topic ids, racks …).
//! The others must hold their default there, or encoding fails and the connection is closed, as
//! Java's classes throw. In responses these are, with the versions that have them:
//!
//! | Response | Only there |
//! |---|---|
//! | AddPartitionsToTxn | `results_by_topic_v3_and_below` ≤ 3, `results_by_transaction` ≥ 4 |
//! | CreateDelegationToken, DescribeDelegationToken | `token_requester_*` ≥ 3 |
//! | DescribeAcls, DeleteAcls | `pattern_type` other than LITERAL (3) ≥ 1 |
//! | DescribeCluster | `endpoint_type` other than 1 ≥ 1 |
//! | DescribeConfigs | `is_default` = 0 |
//! | DescribeGroups | `authorized_operations` ≥ 3 |
//! | ElectLeaders | `error_code` ≥ 1 |
//! | FindCoordinator | `error_code`, `node_id`, `host`, `port` ≤ 3, `coordinators` ≥ 4 |
//! | JoinGroup | `skip_assignment` ≥ 9 |
//! | LeaderAndIsr | `partition_errors` ≤ 4, `topics` ≥ 5 |
//! | LeaveGroup | `members` ≥ 3 |
//! | ListOffsets | `old_style_offsets` = 0, `timestamp` and `offset` ≥ 1, `leader_epoch` ≥ 4 |
//! | Metadata | `cluster_authorized_operations` 8–10, `topic_authorized_operations` ≥ 8 |
//! | OffsetFetch | `topics` ≤ 7, `groups` ≥ 8 |
//!
//! Tagged fields are written when they differ from the default: ApiVersions' finalized features
//! epoch of 0 does. Text that is not UTF-8 is refused here where Java would replace it.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind};
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use crate::api::Api;
use crate::guard::{self, GuardError};
use crate::header::{RequestHeader, decode_response_header};
use crate::wire::WireError;

/// Why a body was refused. Kafka closes the connection in each case.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// 3.9 has no such API or version of it.
    #[error("The version is not supported: api key {api_key}, version {version}")]
    UnsupportedVersion {
        /// The API's number.
        api_key: i16,
        /// The version that was asked for.
        version: i16,
    },
    /// A length or count in the body cannot be true.
    #[error("{0}")]
    Guard(#[from] GuardError),
    /// A value cannot be read.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// A value cannot be what it says (text that is not UTF-8, for instance).
    #[error("{0}")]
    Message(String),
    /// A response answers another request than the one in work.
    #[error("response with correlation id {received} where {expected} was expected")]
    Correlation {
        /// The id of the request in work.
        expected: i32,
        /// The id that came.
        received: i32,
    },
}

/// Why a message cannot be written in a version.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that the version does not have, or a value is too long.
    #[error("{message} {version}: {reason}")]
    Message {
        /// The Rust type of the message.
        message: &'static str,
        /// The version it was to be written in.
        version: i16,
        /// What kafka-protocol says.
        reason: String,
    },
    /// A value is too long for its length field.
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// Decodes the body of any request.
pub fn decode_request(
    api_key: i16,
    version: i16,
    mut body: Bytes,
) -> Result<RequestKind, DecodeError> {
    let unsupported = DecodeError::UnsupportedVersion { api_key, version };
    supported(api_key, version)?;
    guard::check_request(api_key, version, &body)?;
    let key = ApiKey::try_from(api_key).map_err(|()| unsupported)?;
    RequestKind::decode(key, &mut body, version)
        .map_err(|error| DecodeError::Message(format!("{error:#}")))
}

/// Decodes the body of a request whose type is known.
pub fn decode_request_as<R: Request>(version: i16, mut body: Bytes) -> Result<R, DecodeError> {
    supported(R::KEY, version)?;
    guard::check_request(R::KEY, version, &body)?;
    R::decode(&mut body, version).map_err(|error| DecodeError::Message(format!("{error:#}")))
}

/// Encodes a response with its header, without the frame's length (the connection writes that).
///
/// Fails when a field is set that the version does not have and that Kafka would not silently
/// leave out; see the crate's documentation on version-gated fields.
pub fn encode_response<M: Encodable>(
    request: &RequestHeader,
    response: &M,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(256);
    request.encode_response_header(&mut out);
    put_message(&mut out, response, request.api_version)?;
    Ok(out.freeze())
}

/// Encodes a request with its header, without the frame's length.
pub fn encode_request<R: Request>(
    header: &RequestHeader,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(256);
    header.encode(&mut out)?;
    put_message(&mut out, request, header.api_version)?;
    Ok(out.freeze())
}

/// Decodes a response frame (header and body) to a request of type `R` sent with this correlation
/// id and version.
pub fn decode_response<R: Request>(
    version: i16,
    correlation_id: i32,
    mut frame: Bytes,
) -> Result<R::Response, DecodeError> {
    let api = supported(R::KEY, version)?;
    let received = decode_response_header(api, version, &mut frame)?;
    if received != correlation_id {
        return Err(DecodeError::Correlation {
            expected: correlation_id,
            received,
        });
    }
    guard::check_response(R::KEY, version, &frame)?;
    R::Response::decode(&mut frame, version)
        .map_err(|error| DecodeError::Message(format!("{error:#}")))
}

pub(crate) fn supported(api_key: i16, version: i16) -> Result<&'static Api, DecodeError> {
    Api::find(api_key)
        .filter(|api| api.has_version(version))
        .ok_or(DecodeError::UnsupportedVersion { api_key, version })
}

fn put_message<M: Encodable>(
    out: &mut BytesMut,
    message: &M,
    version: i16,
) -> Result<(), EncodeError> {
    message
        .encode(out, version)
        .map_err(|error| EncodeError::Message {
            message: std::any::type_name::<M>(),
            version,
            reason: format!("{error:#}"),
        })
}
