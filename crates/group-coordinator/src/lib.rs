//! Kafka's classic group coordinator as a pure machine: membership, rebalances, committed offsets.
//!
//! A [`GroupCoordinatorShard`] holds the groups of one partition of `__consumer_offsets`. It takes
//! an event and a moment, and emits the records to append and the replies to send; the shape is
//! that of `ottla-coordinator-runtime`. It follows `kafka.coordinator.group.GroupCoordinator` of
//! 3.9, the coordinator of every ZooKeeper-mode broker, in its answers, its timers and its bytes.
//!
//! What does not belong here: versions of requests (the handlers pass what they imply as flags),
//! authorization, whether topics exist, sockets, logs, clocks and random numbers.
//!
//! ```text
//!                first member                    all joined, or time is up
//!        Empty ───────────────► PreparingRebalance ───────────────► CompletingRebalance
//!          ▲  nobody is left    │   ▲        ▲   a member joins,      │
//!          └────────────────────┘   │        └───leaves or fails──────┤
//!                                   │                                 │ leader's assignment
//!                                   └──── a member joins, ─── Stable ◄┘ is stored
//!                                         leaves or fails
//!        Dead: deleted, expired or moved away; such a group is no longer in the shard.
//! ```
//!
//! Read in this order: [`messages`], [`shard`], `requests`, `results`, `state`, `group`, `join`, `rebalance`, `sync`, `liveness`,
//! [`offsets`], `commit`, `cleanup`, [`records`], [`load`].
//!
//! Invariants: a generation never falls while a group lives; a group with members has one leader
//! among them; a parked request is answered exactly once; a deadline belongs to a member, pending
//! member or group that exists; only an acknowledged append moves a committed offset, and an older
//! one never replaces a newer.

pub mod config;
pub mod load;
pub mod messages;
pub mod offsets;
pub mod records;
pub mod shard;
pub mod stats;

mod append_error;
mod cleanup;
mod commit;
mod consumer_protocol;
mod context;
mod group;
mod join;
mod liveness;
mod member;
mod rebalance;
mod requests;
mod results;
mod state;
mod sync;

#[cfg(test)]
mod tests;

pub use append_error::offset_commit_error;
pub use config::{GroupConfig, RecordVersions};
pub use load::Loader;
pub use messages::{
    Event, FetchedOffset, GroupAction, GroupDescription, GroupFilter, GroupOverview,
    JoinGroupRequest, JoinGroupResponse, JoinedMember, LeaveGroupRequest, LeaveGroupResponse,
    LeavingMember, MemberDescription, OffsetCommitRequest, Protocol, Request, Response,
    SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
};
pub use offsets::OffsetAndMetadata;
pub use shard::{GroupCoordinatorShard, Status};
pub use state::GroupState;
pub use stats::{Gauges, Stats};
