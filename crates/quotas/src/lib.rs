//! Quotas of clients: how much a client may do, how much it has done, and for how long it is
//! throttled (KIP-13, 124, 257, 546, 599, 612).
//!
//! What belongs here: which quota holds for a client ([`limits`]), what has been measured
//! ([`rate`], [`token_bucket`]), and the throttle times that follow ([`clients`],
//! [`connections`]). What does not: where quotas are stored, answers, connections, clocks. Time
//! is an argument.
//!
//! Read in this order: [`limits`], [`rate`], [`token_bucket`], [`clients`], [`connections`].
//!
//! Invariants: what is kept of clients is bounded, in number and in age; an entity that has no
//! quota costs no more than a look at one flag of the caller's.

pub mod clients;
pub mod connections;
pub mod limits;
pub mod rate;
mod sensors;
pub mod token_bucket;

pub use clients::{ClientQuota, Mutations, QuotaRate};
pub use connections::{ConnectionRates, IpLimit};
pub use limits::{Entity, Limits, Name, Tags};
pub use rate::{Average, Rate, Windows};
pub use token_bucket::TokenBucket;
