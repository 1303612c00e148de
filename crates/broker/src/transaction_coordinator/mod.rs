//! Drives the transaction coordinator: one shard per partition of `__transaction_state`, each
//! behind its own lock, and one marker sender.
//!
//! An event is given to its shard under the shard's lock, and what the shard asks for is done
//! before the lock is released: appends reach the log in the order of the decisions, replies leave
//! through channels, markers go to the sender's queue in order. Only waiting happens outside of the
//! lock; its outcome is another event. Unlike groups, an elected partition counts as being loaded
//! from the moment of the election.
//!
//! Read in this order: `requests` (what handlers call), `driver`, [`markers`], `marker_task`,
//! [`verification`], `loading`, [`settings`], [`inter_broker`].

mod assembly;
mod driver;
pub(crate) mod inter_broker;
mod loading;
mod marker_task;
pub(crate) mod markers;
mod requests;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod verification;

pub(crate) use assembly::{Coordinators, start};
pub use driver::TransactionCoordinator;
