//! Identifiers and epochs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A broker's id, `broker.id`; −1 on the wire means "no broker" and is [`BrokerId::NONE`].
    BrokerId(i32)
}
number! {
    /// The epoch of one leadership of a partition, raised by the controller at each election.
    /// −1 means unknown or not checked.
    LeaderEpoch(i32)
}
number! {
    /// The ZooKeeper version of a partition's state znode; −1 before it is known.
    PartitionEpoch(i32)
}
number! {
    /// The value of `/controller_epoch`: which controllership decided something.
    ControllerEpoch(i32)
}
number! {
    /// The creation zxid of `/brokers/ids/<id>`: which incarnation of a broker is meant; −1 unknown.
    BrokerEpoch(i64)
}
number! {
    /// A producer's id; −1 means none.
    ProducerId(i64)
}
number! {
    /// A producer's epoch; −1 means none.
    ProducerEpoch(i16)
}

impl BrokerId {
    /// "No broker": a partition without a leader.
    pub const NONE: Self = Self(-1);
    /// The leader written to brokers for a partition that is being deleted (`LeaderDuringDelete`).
    pub const LEADER_DURING_DELETE: Self = Self(-2);

    /// The broker, if there is one.
    pub fn some(self) -> Option<Self> {
        (self.0 >= 0).then_some(self)
    }
}

impl LeaderEpoch {
    /// Unknown, or not to be checked.
    pub const NONE: Self = Self(-1);
    /// In StopReplica: the topic is being deleted, skip the check (`EpochDuringDelete`).
    pub const DURING_DELETE: Self = Self(-2);
    /// The epoch of a new partition's first leader.
    pub const INITIAL: Self = Self(0);

    /// The next leadership. Wraps as Java's does: a state znode may hold any number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl PartitionEpoch {
    /// Not known yet.
    pub const NONE: Self = Self(-1);
    /// A state znode that has just been created.
    pub const INITIAL: Self = Self(0);
}

impl BrokerEpoch {
    /// Unknown, or not to be checked.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// No producer id: a batch of a producer that is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// No producer epoch.
    pub const NONE: Self = Self(-1);
}

/// A topic's name, cheap to clone. Whether it is a legal name is checked where topics are created
/// (`org.apache.kafka.common.internals.Topic`), not here: old clusters hold what they hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Kafka's internal topic of committed offsets and group metadata.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
/// Kafka's internal topic of transaction states.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";

impl TopicName {
    /// Wraps a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of Kafka's own two topics.
    pub fn is_internal(&self) -> bool {
        matches!(
            self.as_str(),
            GROUP_METADATA_TOPIC | TRANSACTION_STATE_TOPIC
        )
    }
}

impl From<&str> for TopicName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for TopicName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One partition of one topic, written `topic-partition` as Kafka does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<TopicName>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A topic's id (KIP-516): 16 bytes, in text 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is "no id".
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Makes an id of random bytes as Kafka does: a version-4 UUID; `None` for the ids that Kafka
    /// reserves and for those whose text would begin with a dash. The caller draws again.
    pub fn from_random(mut bytes: [u8; 16]) -> Option<Self> {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let id = Self(bytes);
        (!id.to_string().starts_with('-')).then_some(id)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a 22-character base64url id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed topic id: {0}")]
pub struct MalformedTopicId(pub String);

impl FromStr for TopicId {
    type Err = MalformedTopicId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) => Ok(Self(bytes)),
            _ => Err(MalformedTopicId(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_round_trip_as_22_characters() {
        let id: TopicId = "vpGdYTVQTK-RrrM6dJ1YPg".parse().unwrap();
        assert_eq!(id.to_string(), "vpGdYTVQTK-RrrM6dJ1YPg");
        assert!("vpGdYTVQTK-RrrM6dJ1YP".parse::<TopicId>().is_err());
        assert!("vpGdYTVQTK-RrrM6dJ1YPgg".parse::<TopicId>().is_err());
    }

    #[test]
    fn a_generated_id_never_begins_with_a_dash() {
        assert_eq!(TopicId::from_random([0xf8; 16]), None);
        assert!(TopicId::from_random([0x11; 16]).is_some());
    }
}
