//! One partition as a fetcher keeps it.

use ottla_model::{Instant, LeaderEpoch, Offset, TopicId};

/// Whether a partition's log is known to agree with its leader's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplicaState {
    /// Not yet: it is compared first.
    Truncating,
    /// It may be extended.
    Fetching,
}

/// Where a partition's fetching stands (`PartitionFetchState`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchState {
    /// The topic's id, if it has one.
    pub topic_id: Option<TopicId>,
    /// From where to fetch next.
    pub fetch_offset: Offset,
    /// How far the log is behind the leader's high watermark; unknown before the first answer.
    pub lag: Option<i64>,
    /// The leadership under which we follow.
    pub current_leader_epoch: LeaderEpoch,
    /// Not before this moment, after an error.
    pub delayed_until: Option<Instant>,
    /// See [`ReplicaState`].
    pub state: ReplicaState,
    /// The epoch of the last record in the log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

impl FetchState {
    /// Whether an error was too recent.
    pub fn is_delayed(&self, now: Instant) -> bool {
        self.delayed_until.is_some_and(|until| now < until)
    }

    /// Whether it can be fetched now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.state == ReplicaState::Fetching && !self.is_delayed(now)
    }

    /// Whether its truncation goes on now.
    pub fn is_truncating(&self, now: Instant) -> bool {
        self.state == ReplicaState::Truncating && !self.is_delayed(now)
    }
}

/// How a partition begins to be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialFetch {
    /// The topic's id, if it has one.
    pub topic_id: Option<TopicId>,
    /// The leadership.
    pub current_leader_epoch: LeaderEpoch,
    /// The log end, if truncation on fetch is spoken and the log has epochs, else the high
    /// watermark; see [`InitialFetch::offset`].
    pub fetch_offset: Offset,
    /// The last epoch in the log.
    pub latest_epoch: Option<LeaderEpoch>,
}

impl InitialFetch {
    /// From where a new follower fetches first.
    pub fn offset(
        truncation_on_fetch: bool,
        latest_epoch: Option<LeaderEpoch>,
        log_end_offset: Offset,
        high_watermark: Offset,
    ) -> Offset {
        if truncation_on_fetch && latest_epoch.is_some() {
            log_end_offset
        } else {
            high_watermark
        }
    }
}
