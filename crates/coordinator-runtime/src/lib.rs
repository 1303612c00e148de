//! The shape that Kafka's two coordinators share: events in; records to append, replies and
//! deadlines out; and the log replayed to come back.
//!
//! One machine per partition of an internal topic (`__consumer_offsets`, later
//! `__transaction_state`) decides; a driver in the broker performs its [`Action`]s in order,
//! appends under the machine's lock so that the log has the order of the decisions, waits for
//! the high watermark outside of it, and returns each result by its [`AppendToken`].
//!
//! What belongs here: tokens, records, the deadline queue and the encoding that both record
//! formats use. What does not: any rule about groups or transactions, and any I/O or clock.
//!
//! Read in this order: [`action`], [`replay`], [`deadline_queue`], [`codec`], [`uuid_text`].
//!
//! Invariants: a token is handed out once per machine; a key has at most one deadline; decoding
//! never panics and never reserves more memory than the bytes at hand justify.

pub mod action;
pub mod codec;
pub mod deadline_queue;
pub mod replay;
pub mod uuid_text;

pub use action::{
    Action, Append, AppendResult, AppendToken, CoordinatorRecord, Durability, Now, RequestId,
};
pub use codec::{DecodeError, FieldTooLong, Reader, Writer};
pub use deadline_queue::DeadlineQueue;
pub use replay::{BatchInfo, TransactionOutcome};
pub use uuid_text::random_uuid_text;
