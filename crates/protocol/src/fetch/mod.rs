//! Fetch (key 1, versions 0–17), decoded and encoded without copying record bytes.

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
pub use response::{
    AbortedTransaction, DivergingEpoch, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
};

/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 12;
/// The first version that names topics by id (KIP-516).
const FIRST_WITH_TOPIC_IDS: i16 = 13;
