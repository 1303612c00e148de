//! Decides how a partition is replicated: who is in sync, what is committed, whom a controller's
//! command makes leader or follower, when a waiting request is ready, and what a follower does
//! with a leader's answer.
//!
//! It sees offsets and epochs, never record bytes; it has no clock, no socket and no file, and
//! knows nothing of API versions. A driver holds a [`Partition`] and its log under one lock, passes
//! the log's offsets in, and carries out what comes back.
//!
//! Read in this order: [`offsets`], [`replica`], [`isr`], [`partition`], then [`control`] (the
//! three commands of a controller), [`delayed`] (readiness of waiting requests), [`isr_manager`]
//! (AlterPartition), [`isr_notifications`] (what came before it), [`fetch_session`] (KIP-227),
//! [`fetcher`] (the follower's side), [`preferred_replica`] (KIP-392) and [`quota`] (replication
//! throttles).
//!
//! What holds at every moment:
//! - a leader's high watermark is never above the log end offset of any member of the *maximal*
//!   ISR (a pending expansion counts, a pending shrink does not), see [`isr::IsrState`];
//! - it does not move while the committed ISR is smaller than the effective minimum;
//! - leader and partition epochs of a [`Partition`] never fall;
//! - at most one ISR change of a partition is proposed at a time.

pub mod control;
pub mod delayed;
pub mod fetch_session;
pub mod fetcher;
pub mod isr;
pub mod isr_manager;
pub mod isr_notifications;
pub mod log_dirs;
pub mod offsets;
pub mod partition;
pub mod preferred_replica;
pub mod quota;
pub mod replica;

pub use isr::{IsrProposal, IsrState};
pub use offsets::{LogOffsetMetadata, LogOffsets};
pub use partition::Partition;
