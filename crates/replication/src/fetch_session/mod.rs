//! Incremental fetch sessions (KIP-227): a client that fetches thousands of partitions names only
//! those that changed, and is told only of those that changed.
//!
//! A [`FetchSessionShard`] holds some of a broker's sessions. The driver keeps [`SHARD_COUNT`] of
//! them, each under its own lock: an id belongs to the shard of [`shard_of`], new sessions go to
//! the shards in turn. One request goes
//!
//! ```text
//!   kind_of(metadata) ──► Sessionless ──────────────────────────► read, answer all
//!                     ├─► Full ── remove the old session ───────► read, create(), answer all
//!                     └─► Incremental ── resume(), partitions() ► read, finish(): what changed
//! ```

#[cfg(test)]
mod scenarios;
mod session;
mod shard;

use ottla_model::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicName, TopicPartition};

pub use shard::{FetchSessionShard, Resumed};

/// "No session", on both sides of the wire.
pub const INVALID_SESSION_ID: i32 = 0;
/// The epoch of a request for a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants no session, or closes one.
pub const FINAL_EPOCH: i32 = -1;
/// How many shards a broker's sessions are spread over.
pub const SHARD_COUNT: usize = 8;
/// How many ids each shard owns.
const IDS_PER_SHARD: i32 = i32::MAX / SHARD_COUNT as i32;

/// Where in the life of which session a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchMetadata {
    /// The session, or [`INVALID_SESSION_ID`].
    pub session_id: i32,
    /// The number of the request in the session.
    pub epoch: i32,
}

/// What a request wants of the session cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchKind {
    /// All partitions are named and no session is wanted. One that is named is closed.
    Sessionless,
    /// All partitions are named and a new session is wanted. One that is named is closed.
    Full,
    /// Goes on in a session.
    Incremental,
}

impl FetchMetadata {
    /// What the request wants.
    pub fn kind(self) -> FetchKind {
        match self.epoch {
            FINAL_EPOCH => FetchKind::Sessionless,
            INITIAL_EPOCH => FetchKind::Full,
            _ => FetchKind::Incremental,
        }
    }
}

/// The epoch after this one: skips 0, which begins a session; −1 stays.
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        negative if negative < 0 => FINAL_EPOCH,
        _ => epoch + 1,
    }
}

/// The shard that owns an id; `None` for ids that no broker gives out.
pub fn shard_of(session_id: i32) -> Option<usize> {
    usize::try_from(session_id / IDS_PER_SHARD)
        .ok()
        .filter(|shard| *shard < SHARD_COUNT)
}

/// The partition that a fetch names: by id from version 13 on, where the name may be unknown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTarget {
    /// The topic's name, if known.
    pub topic: Option<TopicName>,
    /// The topic's id; zero below version 13.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: i32,
}

impl FetchTarget {
    /// The partition by name, if the name is known.
    pub fn topic_partition(&self) -> Option<TopicPartition> {
        let topic = self.topic.clone()?;
        Some(TopicPartition {
            topic,
            partition: self.partition,
        })
    }
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPartition {
    /// From where.
    pub fetch_offset: Offset,
    /// A follower's log start; −1 from consumers.
    pub log_start_offset: Offset,
    /// The most to return, bytes.
    pub max_bytes: i32,
    /// The leadership that the reader believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the reader holds.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// What matters of one partition's answer to the question whether it must be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerFacts {
    /// Bytes of records.
    pub records_size: u64,
    /// The high watermark; −1 with errors.
    pub high_watermark: Offset,
    /// The replica's log start; −1 with errors.
    pub log_start_offset: Offset,
    /// The error.
    pub error: ErrorCode,
    /// It sends the reader to another replica, or tells a diverging epoch.
    pub redirects_or_diverges: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_wrap_to_1() {
        for (epoch, next) in [(0, 1), (1, 2), (i32::MAX, 1), (-1, -1)] {
            assert_eq!(next_epoch(epoch), next);
        }
    }

    #[test]
    fn kinds() {
        for (session_id, epoch, kind) in [
            (0, -1, FetchKind::Sessionless),
            (5, -1, FetchKind::Sessionless),
            (0, 0, FetchKind::Full),
            (5, 0, FetchKind::Full),
            (5, 1, FetchKind::Incremental),
            (0, 1, FetchKind::Incremental),
        ] {
            assert_eq!(FetchMetadata { session_id, epoch }.kind(), kind);
        }
    }

    #[test]
    fn ids_are_split_evenly_and_strange_ones_belong_to_nobody() {
        for (id, shard) in [
            (0, Some(0)),
            (1, Some(0)),
            (268_435_454, Some(0)),
            (268_435_455, Some(1)),
            (2_147_483_639, Some(7)),
            (2_147_483_640, None),
            (i32::MAX, None),
            (-268_435_455, None),
            (i32::MIN, None),
        ] {
            assert_eq!(shard_of(id), shard, "{id}");
        }
    }
}
