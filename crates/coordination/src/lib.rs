//! The coordination contract: ZooKeeper's semantics as values, Kafka's znode paths and payloads,
//! and the pure in-memory tree that the embedded provider and the simulator share.
//!
//! What belongs here: what a request, a reply and a watch mean. What does not: sockets, files,
//! threads, clocks, and decisions about what to write (those are the controller's and the
//! broker's).
//!
//! Read in this order: [`request`], [`event`], [`session`], [`paths`], [`payloads`], [`tree`],
//! [`memory`], [`conformance`].
//!
//! Invariants: a znode's data is absent or non-empty; replies come in the order in which requests
//! were submitted; a watch fires at most once and before any reply that shows the change to the
//! session that armed it; expiry is terminal, a new session is a new handle.

pub mod conformance;
pub mod event;
pub mod memory;
pub mod paths;
pub mod payloads;
pub mod request;
pub mod session;
pub mod tree;

pub use event::{Event, RequestId, SessionEvent, WatchEvent, WatchKind};
pub use request::{AclPolicy, CreateMode, Error, Op, OpResult, Reply, Request, Stat, multi_error};
pub use session::{Coordination, EventSink, OpenError};
pub use tree::Tree;

/// The version that matches every version.
pub const ANY_VERSION: i32 = -1;
