//! The leader's side of produce and of follower fetches.

use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use super::{Partition, Surroundings};
use crate::isr::IsrProposal;
use crate::offsets::LogOffsets;
use crate::replica::FollowerFetch;

/// How many replicas must have a record before its producer is answered (`acks`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Required {
    /// 0: no answer at all.
    None,
    /// 1: the leader's log.
    Leader,
    /// −1: the maximal ISR, and not fewer than the minimum.
    InSyncReplicas,
}

impl Required {
    /// Reads `acks`; `None` is answered INVALID_REQUIRED_ACKS.
    pub fn from_acks(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::InSyncReplicas),
            _ => None,
        }
    }
}

/// What a follower's fetch changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FollowerFetchOutcome {
    /// The ISR change to submit.
    pub proposal: Option<IsrProposal>,
    /// The high watermark to give to the log; waiting requests may be ready then.
    pub high_watermark: Option<Offset>,
    /// The low watermark rose, so that a waiting DeleteRecords may be ready.
    pub low_watermark_rose: bool,
}

impl Partition {
    /// Whether a producer may append, and under which leader epoch.
    pub fn may_append(
        &self,
        required: Required,
        min_insync_replicas: i32,
    ) -> Result<LeaderEpoch, ErrorCode> {
        if !self.is_leader() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if required == Required::InSyncReplicas && self.is_under_min_isr(min_insync_replicas) {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        Ok(self.leader_epoch)
    }

    /// Whether an acks=all producer can be answered whose last record lies below `required_offset`:
    /// `None` while it must wait.
    pub fn produce_is_ready(
        &self,
        required_offset: Offset,
        high_watermark: Offset,
        min_insync_replicas: i32,
    ) -> Option<ErrorCode> {
        if !self.is_leader() {
            return Some(ErrorCode::NotLeaderOrFollower);
        }
        if high_watermark < required_offset {
            return None;
        }
        let enough = self.effective_min_isr(min_insync_replicas) <= self.isr.maximal_isr_size();
        Some(if enough {
            ErrorCode::None
        } else {
            ErrorCode::NotEnoughReplicasAfterAppend
        })
    }

    /// Takes a follower's fetch into account: its state, then the ISR, then the high watermark.
    /// Only the first read of a request counts, not the re-reads from the purgatory; and not one
    /// that was answered with a diverging epoch.
    pub fn record_follower_fetch(
        &mut self,
        follower: BrokerId,
        fetch: &FollowerFetch,
        log: &LogOffsets,
        around: &Surroundings<'_>,
    ) -> FollowerFetchOutcome {
        let low_watermark_before = self.low_watermark(log, None, around.is_alive);
        let Some(replica) = self.remote_mut(follower) else {
            return FollowerFetchOutcome::default();
        };
        let moved = replica.log_end_offset != fetch.fetch_offset;
        replica.record_fetch(fetch);
        let proposal = self.propose_expansion(follower, log, around);
        FollowerFetchOutcome {
            proposal,
            high_watermark: moved
                .then(|| self.next_high_watermark(log, around))
                .flatten(),
            low_watermark_rose: self.low_watermark(log, None, around.is_alive)
                > low_watermark_before,
        }
    }
}
