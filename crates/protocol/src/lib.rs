//! Kafka's wire protocol as a 3.9 broker in ZooKeeper mode speaks it: headers, the table of APIs and
//! their versions, kafka-protocol's message types behind a bounds guard, and codecs of our own for
//! Produce and Fetch that never copy record bytes.
//!
//! What does not belong here: sockets (see `ottla-network`), the meaning of any message (handlers),
//! and record batches (`ottla-record`; here they are opaque bytes).
//!
//! Read in this order: [`api`], [`header`], [`message`], [`guard`], [`produce`], [`fetch`],
//! [`part`].
//!
//! # Invariants
//! - Nothing read from a socket sizes an allocation before it is checked against the bytes there.
//! - Frames have no length prefix here: the connection reads and writes it.

pub mod api;
mod api_list;
pub mod fetch;
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
pub mod header;
pub mod leader;
pub mod message;
pub mod part;
pub mod produce;
mod wire;

pub use kafka_protocol;

pub use api::{Api, ApiTable, keys};
pub use header::{HeaderError, RequestHeader, decode_response_header};
pub use leader::{LeaderIdAndEpoch, NodeEndpoint};
pub use message::{
    DecodeError, EncodeError, decode_request, decode_request_as, decode_response, encode_request,
    encode_response,
};
pub use part::{LazyBytes, Part};
pub use wire::WireError;
