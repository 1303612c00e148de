//! Produce (key 0, versions 0–11), decoded and encoded without copying record bytes.

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{ProducePartition, ProduceRequest, ProduceTopic};
pub use response::{ProducePartitionResponse, ProduceResponse, ProduceTopicResponse, RecordError};

/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 9;
