//! A follower's side of replication: which partitions one connection to a leader fetches, from
//! where, and what to do with each answer (`AbstractFetcherThread`).
//!
//! One round of a [`Fetcher`]:
//!
//! ```text
//!   truncation_plan() ──► ask the leader where epochs end, or truncate ──► on_epoch_end(), truncated()
//!          │
//!          ▼
//!   fetch_plan() ──► Fetch ──► on_answer() per partition ──► append ──► appended(), append_failed()
//!                                         ├──► truncate, then truncated()
//!                                         └──► find the leader's offsets ──► out_of_range(), reset()
//! ```
//!
//! The driver owns the connection and the logs. A partition is in one of two states:
//! *Truncating* (its log may hold what the leader's does not) and *Fetching*; besides, it may be
//! delayed after an error, or failed, which only a new LeaderAndIsr ends.

mod partitions;
#[cfg(test)]
mod scenarios;
mod state;
pub mod truncation;

use ottla_model::java_hash::{java_hash_code, kafka_abs};
use ottla_model::{BrokerId, TopicPartition};

pub use partitions::{
    AnswerStep, AppendFailure, Appended, EpochQuery, FetchAnswer, Fetcher, FetcherSettings,
    OutOfRange, PlannedFetch, TruncationPlan, truncation_after_out_of_range,
};
pub use state::{FetchState, InitialFetch, ReplicaState};
pub use truncation::Truncation;

/// Which of the fetchers of a leader serves a partition (`AbstractFetcherManager`);
/// `fetcher_count` is `num.replica.fetchers`, at least 1.
pub fn fetcher_id(partition: &TopicPartition, fetcher_count: i32) -> i32 {
    assert!(fetcher_count > 0, "there is at least one fetcher");
    let hash = java_hash_code(partition.topic.as_str());
    kafka_abs(hash.wrapping_mul(31).wrapping_add(partition.partition)) % fetcher_count
}

/// The name of a fetcher's thread in logs and metrics.
pub fn fetcher_name(fetcher_id: i32, leader: BrokerId) -> String {
    format!("ReplicaFetcherThread-{fetcher_id}-{leader}")
}

/// The client id that a fetcher sends.
pub fn fetcher_client_id(own: BrokerId, fetcher_id: i32) -> String {
    format!("broker-{own}-fetcher-{fetcher_id}")
}
