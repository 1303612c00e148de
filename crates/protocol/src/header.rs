//! Request and response headers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api::Api;
use crate::wire::{Reader, WireError, put_nullable_string};

/// What precedes every request: who asks for what, and the number its answer must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API is asked for.
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// The number that the response echoes.
    pub correlation_id: i32,
    /// The client's name for itself; quotas and metrics treat null as empty. A slice of the
    /// request's frame: copy it to keep it longer than the request.
    pub client_id: Option<StrBytes>,
}

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The API is unknown, so that the header's own layout is.
    #[error("Invalid api key: {0}")]
    UnknownApi(i16),
    /// The bytes end too early, or a length in them is wrong.
    #[error("Error parsing request header. {0}")]
    Malformed(#[from] WireError),
}

impl RequestHeader {
    /// Reads a header and leaves `frame` at the request's body. The layout follows from the API
    /// and version; a version that 3.9 does not have is read like the nearest one, so that the
    /// caller sees it (ApiVersions must be answered even then).
    pub fn decode(frame: &mut Bytes) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(frame.clone());
        let api_key = reader.int16()?;
        let api_version = reader.int16()?;
        let correlation_id = reader.int32()?;
        let api = Api::find(api_key).ok_or(HeaderError::UnknownApi(api_key))?;
        let version = api.request_header_version(api_version);
        let client_id = match version {
            0 => None,
            _ => reader.nullable_string_int16()?,
        };
        if version == 2 {
            reader.skip_tagged_fields()?;
        }
        frame.advance(frame.len() - reader.remaining());
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    /// Writes the header in the layout of its API and version; an API that 3.9 does not know gets
    /// the oldest layout with a client id.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let version =
            Api::find(self.api_key).map_or(1, |api| api.request_header_version(self.api_version));
        out.put_i16(self.api_key);
        out.put_i16(self.api_version);
        out.put_i32(self.correlation_id);
        if version >= 1 {
            put_nullable_string(out, self.client_id.as_deref())?;
        }
        if version >= 2 {
            out.put_u8(0);
        }
        Ok(())
    }

    /// Writes the header of the response to this request.
    pub fn encode_response_header(&self, out: &mut BytesMut) {
        let version =
            Api::find(self.api_key).map_or(0, |api| api.response_header_version(self.api_version));
        out.put_i32(self.correlation_id);
        if version >= 1 {
            out.put_u8(0);
        }
    }
}

/// Reads a response's header and leaves `frame` at the body; answers the correlation id.
pub fn decode_response_header(
    api: &Api,
    version: i16,
    frame: &mut Bytes,
) -> Result<i32, WireError> {
    let mut reader = Reader::new(frame.clone());
    let correlation_id = reader.int32()?;
    if api.response_header_version(version) >= 1 {
        reader.skip_tagged_fields()?;
    }
    frame.advance(frame.len() - reader.remaining());
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &'static [u8], expected: RequestHeader, body: &[u8]) {
        let mut frame = Bytes::from_static(bytes);
        assert_eq!(RequestHeader::decode(&mut frame), Ok(expected));
        assert_eq!(frame, body);
    }

    fn header(api_key: i16, api_version: i16, client_id: Option<&'static str>) -> RequestHeader {
        RequestHeader {
            api_key,
            api_version,
            correlation_id: 9,
            client_id: client_id.map(StrBytes::from_static_str),
        }
    }

    #[test]
    fn the_client_id_has_an_int16_length_in_every_version() {
        let metadata = header(3, 1, Some("ab"));
        check(b"\0\x03\0\x01\0\0\0\x09\0\x02abbody", metadata, b"body");
        let metadata = header(3, 12, Some("ab"));
        check(b"\0\x03\0\x0c\0\0\0\x09\0\x02ab\0body", metadata, b"body");
        let metadata = header(3, 12, None);
        check(
            b"\0\x03\0\x0c\0\0\0\x09\xff\xff\x01\x05\x02xybody",
            metadata,
            b"body",
        );
        let negative = header(3, 1, None);
        check(b"\0\x03\0\x01\0\0\0\x09\xff\xfbbody", negative, b"body");
    }

    #[test]
    fn controlled_shutdown_0_has_no_client_id() {
        check(b"\0\x07\0\0\0\0\0\x09body", header(7, 0, None), b"body");
    }

    #[test]
    fn api_versions_in_a_version_of_the_future_has_a_readable_header() {
        let future = header(18, 99, Some("ab"));
        check(b"\0\x12\0\x63\0\0\0\x09\0\x02ab\0\xff", future, b"\xff");
    }

    #[test]
    fn unknown_keys_and_short_headers_are_refused() {
        let decode = |bytes: &'static [u8]| RequestHeader::decode(&mut Bytes::from_static(bytes));
        assert_eq!(
            decode(b"\x03\xe7\0\0\0\0\0\x09\xff\xff"),
            Err(HeaderError::UnknownApi(999))
        );
        for length in 0..13 {
            let short = &b"\0\x03\0\x0c\0\0\0\x09\0\x02ab\0"[..length];
            assert!(matches!(decode(short), Err(HeaderError::Malformed(_))));
        }
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        for (key, version) in [(0, 8), (0, 9), (7, 0), (7, 3), (18, 0), (18, 4), (17, 1)] {
            let client_id = if (key, version) == (7, 0) {
                None
            } else {
                Some("me")
            };
            let expected = header(key, version, client_id);
            let mut out = BytesMut::new();
            expected.encode(&mut out).unwrap();
            let mut frame = out.freeze();
            assert_eq!(RequestHeader::decode(&mut frame), Ok(expected));
            assert!(frame.is_empty());
        }
    }
}
