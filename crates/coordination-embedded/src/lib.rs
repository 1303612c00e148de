//! The coordination contract as a persistent tree, for a broker that is alone: an
//! [`ottla_coordination::Tree`] on a thread of its own, with a transaction log and snapshots.
//!
//! What belongs here: files, the thread, group commit. What does not: what a request means (that
//! is the tree's) and what to write (that is the controller's).
//!
//! Read in this order: [`service`], `store`, `frames`.
//!
//! Invariants: nobody hears of a write before it is on disk; opening the directory ends the
//! sessions of the process before; a write that was cut short by a crash is dropped, any other
//! damage is an error and nothing is dropped; one process at a time.

mod frames;
pub mod service;
mod store;

pub use service::{EmbeddedService, EmbeddedSession};
pub use store::StoreError;
