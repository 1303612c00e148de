//! Kafka's transaction coordinator as pure machines: producer ids, transaction states, markers.
//!
//! A [`TransactionCoordinatorShard`] holds the transactional ids of one partition of
//! `__transaction_state`. It takes an event and a moment, and emits records to append, replies to
//! send, producer ids to ask for and markers to be written. One [`MarkerSender`] per broker takes
//! the markers of all shards to the leaders of the partitions, and does not rest before each of
//! them is written. Both follow `kafka.coordinator.transaction` of 3.9, as a cluster with ZooKeeper
//! runs it, in answers, epochs and bytes.
//!
//! What does not belong here: versions of requests (handlers turn PRODUCER_FENCED into what old
//! clients know), authorization, whether partitions exist, sockets, logs and clocks.
//!
//! ```text
//!               partitions are added            EndTxn                     all markers are written
//!      Empty ───────────────────────► Ongoing ─────────► PrepareCommit ─────────────────────────► CompleteCommit
//!        ▲ ▲                           ▲  │  └─────────► PrepareAbort ──────────────────────────► CompleteAbort
//!        │ │                           │  │ EndTxn, timeout, InitProducerId (with a new epoch)      │
//!        │ │                           └──┼──────────── partitions are added ◄──────────────────────┤
//!        │ └───────────────────────────── InitProducerId ◄──────────────────────────────────────────┘
//!        └─ a transactional id is used for the first time
//!      Dead: an expired id whose tombstone is on its way. PrepareEpochFence: only a name.
//! ```
//!
//! Read in this order: [`messages`], [`state`], `transaction`, [`shard`], `init_producer_id`,
//! `partitions`, `end`, `cleanup`, [`load`], [`records`], [`marker_sender`].
//!
//! Invariants: memory changes only after the record of the change is durable, except that an epoch
//! which fences stays raised when its record was refused; a new leader serves and marks only what is
//! replicated, its predecessor's last records included; one transition of an id at a time; a
//! request is answered exactly once; an epoch never falls under one producer id, and 32767 is given
//! to nobody, so that fencing is always possible; the completion of a transaction is written after
//! all its markers, and never without them.

pub mod config;
pub mod load;
pub mod marker_sender;
pub mod messages;
pub mod records;
pub mod shard;
pub mod state;
pub mod stats;

mod append_error;
mod cleanup;
mod end;
mod init_producer_id;
mod partitions;
mod transaction;

#[cfg(test)]
mod tests;

pub use config::TransactionConfig;
pub use load::{LoadOutcome, Loader};
pub use marker_sender::{
    Answers, MarkerDestination, MarkerSender, SendToken, SenderAction, SenderEvent,
};
pub use messages::{
    Event, ExpectedProducer, ListFilter, MarkerKey, Request, Response, TransactionAction,
    TransactionDescription, TransactionListing, TransactionMarkers,
};
pub use records::TransactionLogValue;
pub use shard::{Status, TransactionCoordinatorShard};
pub use state::TransactionState;
pub use stats::{Gauges, Stats};
