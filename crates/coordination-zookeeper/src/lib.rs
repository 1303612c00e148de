//! The coordination contract over a real ZooKeeper ensemble, by a client of ZooKeeper's protocol
//! made for it.
//!
//! What belongs here: one session, its requests in order, its watches, what happens when the
//! connection breaks, and how it is protected. What does not: opening the next session after an
//! expiry, and what to ask.
//!
//! Read in this order: [`session`], `machine` (the session as a pure machine), `driver` (which
//! feeds it), `connection`, `wire`, [`security`].
//!
//! Invariants: every request is answered once, in the order of submission; at most
//! `zookeeper.max.in.flight.requests` are under way; a request that was under way when the
//! connection broke is sent again when it is back (and may thus meet its own effect); every other
//! outcome goes to the caller; expiry is terminal, and told only when a server has said so. No data
//! is written as null, an empty value as an empty one: Java brokers tell them apart.

mod chroot;
mod connect_string;
mod connection;
mod driver;
mod jute;
mod machine;
pub mod security;
mod servers;
pub mod session;
mod watches;
mod wire;

pub use security::{DigestCredentials, SystemProperties, ZookeeperSecurity};
pub use session::{ZookeeperOptions, ZookeeperSession};
