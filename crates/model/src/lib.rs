//! The words that every other crate speaks: identifiers, offsets, epochs, replica sets, and the
//! control messages between a controller and a broker, as values without a wire format.
//!
//! What belongs here: small types with Kafka's own names and the arithmetic that makes sense for
//! them. What does not: anything that reads a socket, a file, a clock or a configuration.
//!
//! Read in this order: [`ids`], [`time`], [`partition`], [`broker`], [`control`], [`error_code`].

pub mod broker;
pub mod control;
pub mod error_code;
pub mod ids;
pub mod java_hash;
pub mod partition;
pub mod time;
pub mod topic_names;

pub use broker::{Endpoint, LiveBroker, SecurityProtocol};
pub use error_code::ErrorCode;
pub use ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, PartitionEpoch, ProducerEpoch, ProducerId,
    TopicId, TopicName, TopicPartition,
};
pub use partition::{LeaderAndIsr, LeaderRecoveryState, Offset, ReplicaAssignment};
pub use time::{Instant, Timestamp};
