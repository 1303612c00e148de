//! Who may read what from a replica.

use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use super::Partition;
use crate::offsets::LogOffsets;

/// Which replicas may answer a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadRequirement {
    /// Only the leader: followers, consumers of old versions, most offset lookups.
    Leader,
    /// Any replica (KIP-392 consumers, debugging).
    AnyReplica,
}

/// The end of a leader epoch in a log: the largest epoch not above the one asked for, and where the
/// next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEndOffset {
    /// The epoch; −1 if the log knows none.
    pub leader_epoch: LeaderEpoch,
    /// Its end, exclusive; −1 if unknown.
    pub end_offset: Offset,
}

impl EpochEndOffset {
    /// The log does not know.
    pub const UNDEFINED: Self = Self {
        leader_epoch: LeaderEpoch::NONE,
        end_offset: -1,
    };

    /// Whether either half is unknown.
    pub fn is_undefined(&self) -> bool {
        self.leader_epoch == LeaderEpoch::NONE || self.end_offset < 0
    }
}

impl Partition {
    /// Compares the epoch that a client believes in with ours; `None` skips the check.
    pub fn check_leader_epoch(&self, claimed: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
        match claimed {
            Some(claimed) if claimed < self.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            Some(claimed) if claimed > self.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// The checks that come before every read: epoch, then leadership.
    pub fn may_read(
        &self,
        claimed: Option<LeaderEpoch>,
        from: ReadRequirement,
    ) -> Result<(), ErrorCode> {
        self.check_leader_epoch(claimed)?;
        if from == ReadRequirement::Leader && !self.is_leader() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(())
    }

    /// Whether a broker may fetch as a follower. One that claims the current epoch without being
    /// assigned has news that we lack, or the other way round: both retry.
    pub fn check_follower(
        &self,
        follower: BrokerId,
        claimed: Option<LeaderEpoch>,
    ) -> Result<(), ErrorCode> {
        if self.remote(follower).is_some() {
            Ok(())
        } else if claimed.is_some() {
            Err(ErrorCode::UnknownLeaderEpoch)
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        }
    }

    /// Whether *latest* must not be told to clients yet: a new leader's high watermark has not
    /// reached the start of its epoch, and consumers could see offsets go back.
    pub fn offset_is_not_available(&self, high_watermark: Offset) -> bool {
        self.leader_epoch_start_offset
            .is_some_and(|start| start > high_watermark)
    }
}

/// Compares the last epoch that a reader has fetched with the log's own history, before anything
/// is read (KIP-595, truncation on fetch). `end_of_epoch` is the log's answer for `last_fetched`.
/// `Ok(Some)` is the diverging epoch to answer instead of records.
pub fn check_last_fetched_epoch(
    last_fetched: LeaderEpoch,
    fetch_offset: Offset,
    end_of_epoch: EpochEndOffset,
    log: &LogOffsets,
) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if end_of_epoch.is_undefined() || fetch_offset < log.log_start_offset {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let diverges =
        end_of_epoch.leader_epoch < last_fetched || end_of_epoch.end_offset < fetch_offset;
    Ok(diverges.then_some(end_of_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_diverges_where_its_last_epoch_ended_earlier_here() {
        let log = LogOffsets {
            log_start_offset: 5,
            log_end_offset: 100,
            ..LogOffsets::default()
        };
        let end = |epoch, offset| EpochEndOffset {
            leader_epoch: LeaderEpoch(epoch),
            end_offset: offset,
        };
        let out_of_range = Err(ErrorCode::OffsetOutOfRange);
        for (last_fetched, offset, answer, expected) in [
            (3, 50, end(3, 60), Ok(None)),
            (3, 60, end(3, 60), Ok(None)),
            (3, 61, end(3, 60), Ok(Some(end(3, 60)))),
            (3, 50, end(2, 60), Ok(Some(end(2, 60)))),
            (3, 50, end(3, -1), out_of_range),
            (3, 50, EpochEndOffset::UNDEFINED, out_of_range),
            (3, 4, end(2, 60), out_of_range),
        ] {
            assert_eq!(
                check_last_fetched_epoch(LeaderEpoch(last_fetched), offset, answer, &log),
                expected,
                "{last_fetched} {offset} {answer:?}"
            );
        }
    }
}
