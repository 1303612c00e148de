//! Drives the group coordinator: one shard per partition of `__consumer_offsets`, each behind its
//! own lock.
//!
//! An event is given to its shard under the shard's lock, and what the shard asks for is done
//! before the lock is released: appends reach the log in the order of the decisions, and replies
//! leave through channels. Only waiting for replicas happens outside of the lock; its outcome is
//! another event. News of leadership is queued and handled one at a time by one task, as by
//! Kafka's one `group-metadata-manager` thread, so that whoever brings it never waits for a shard.
//!
//! Read in this order: `requests` (what handlers call), `driver`, [`leadership`], [`loading`],
//! `coordinator_log`, [`settings`].

mod driver;
pub(crate) mod leadership;
pub(crate) mod loading;
mod requests;
pub(crate) mod settings;

#[cfg(test)]
mod tests;

pub use driver::GroupCoordinator;
