//! What Kafka keeps in its znodes: the JSON (and text) values, as typed structs.
//!
//! Writers produce the bytes that a 3.9 broker produces (no whitespace, its order of keys).
//! Readers accept what a 3.9 broker accepts: unknown keys are ignored, a number is not accepted
//! for a string nor the reverse, and nothing panics whatever the bytes are.

mod acl;
mod admin;
mod broker;
mod cluster;
mod config;
mod json;
mod topic;

pub use acl::{AclBinding, Acls, DelegationToken, ExtendedAclChange};
pub use admin::{
    IsrChange, LogDirEvent, PreferredReplicaElection, ReassignPartitions, decode_consumer_offset,
    encode_consumer_offset,
};
pub use broker::BrokerRegistration;
pub use cluster::{
    ClusterId, Controller, Feature, FeatureStatus, ProducerIdBlock, decode_controller_epoch,
    encode_controller_epoch,
};
pub use config::{ConfigChange, EntityConfig};
pub use topic::{TopicAssignment, decode_partition_state, encode_partition_state};

/// Why a znode's value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not JSON at all. Several readers of Kafka treat this as "no value".
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The value or a part of it has another type than the one expected.
    #[error("{key} is not {expected}")]
    WrongType {
        /// Which part; empty names the whole value.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A key that readers need is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A version that Kafka 3.9 does not read.
    #[error("unsupported version {0}")]
    UnsupportedVersion(i64),
    /// A value of the right type that makes no sense.
    #[error("{key} has the malformed value {value}")]
    Malformed {
        /// Which part.
        key: &'static str,
        /// The value.
        value: String,
    },
}
