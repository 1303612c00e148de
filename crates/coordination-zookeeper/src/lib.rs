//! The coordination contract over a real ZooKeeper ensemble, with the `zookeeper-client` crate,
//! which is named here only.
//!
//! What belongs here: one session, its requests in order, its watches, what happens when the
//! connection breaks. What does not: opening the next session after an expiry, and what to ask.
//!
//! Read in this order: [`session`], `driver`, `requests`, `watches`.
//!
//! Invariants: every request is answered once, in the order of submission; at most
//! `zookeeper.max.in.flight.requests` are under way; a request that was under way when the
//! connection broke is sent again when it is back (and may thus meet its own effect); every other
//! outcome goes to the caller; expiry is terminal, and told only when no server has the session any
//! more.

mod connect_string;
mod driver;
mod requests;
pub mod session;
mod watches;

pub use session::{ZookeeperOptions, ZookeeperSession};
