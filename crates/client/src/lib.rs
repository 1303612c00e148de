//! The one Kafka client that we write: a connection with requests in order, for what brokers say to
//! each other, for tools and for tests; and on top of it a small client that finds leaders.
//!
//! What does not belong here: batching, retries and group membership of a full client. Whoever sends
//! decides what to do with an error.
//!
//! Read in this order: [`connection`], [`client`], [`error`].
//!
//! # Invariants
//! - Responses go through protocol's bounds guard, like requests on the other side.
//! - After a timeout or a malformed response a connection is closed: nothing later on it can be
//!   told apart.

pub mod client;
pub mod connection;
pub mod error;
#[cfg(test)]
mod tests;

pub use client::{Client, Fetched};
pub use connection::{Connection, ConnectionConfig, VersionRanges};
pub use error::ClientError;
