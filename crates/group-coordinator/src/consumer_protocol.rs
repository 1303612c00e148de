//! The one part of a consumer's metadata that the coordinator reads: the subscribed topics.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_coordinator_runtime::{DecodeError, Reader};
use ottla_model::TopicName;

/// The protocol type of consumers.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription, read as version 0, which begins every version
/// (`ConsumerProtocolSubscription`).
pub(crate) fn subscribed_topics(metadata: &Bytes) -> Result<BTreeSet<TopicName>, DecodeError> {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.int16()?;
    if version < 0 {
        return Err(DecodeError::UnknownVersion(version));
    }
    let count = reader.array_count(2)?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(TopicName::from(reader.string()?));
    }
    // The user data is not wanted, but a subscription that ends before it is malformed.
    match reader.int32()? {
        -1 => {}
        length => {
            let needed =
                usize::try_from(length).map_err(|_| DecodeError::BadLength(length.into()))?;
            if needed > reader.remaining() {
                return Err(DecodeError::Truncated);
            }
        }
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &'static [u8], expected: Option<&[&str]>) {
        let topics = subscribed_topics(&Bytes::from_static(bytes)).ok();
        let expected =
            expected.map(|names| names.iter().map(|name| TopicName::from(*name)).collect());
        assert_eq!(topics, expected, "{bytes:?}");
    }

    #[test]
    fn topics_are_read_from_every_version_and_malformed_subscriptions_are_refused() {
        check(
            b"\0\0\0\0\0\x02\0\x01a\0\x01b\xff\xff\xff\xff",
            Some(&["a", "b"]),
        );
        check(
            b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x01x\0\0\0\0\xff\xff\xff\xff",
            Some(&["a"]),
        );
        check(b"\0\0\0\0\0\0\xff\xff\xff\xff", Some(&[]));
        check(b"\0\0\0\0\0\x01\0\x01a", None);
        check(b"\0\0\0\0\0\x01\0\x01a\0\0\0\x05x", None);
        check(b"\0\0\x7f\xff\xff\xff\0\x01a", None);
        check(b"\xff\xff\0\0\0\0\xff\xff\xff\xff", None);
        check(b"", None);
        check(b"\x01", None);
    }
}
