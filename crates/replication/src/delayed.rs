//! When a waiting request is ready. The purgatory asks; these functions answer from offsets alone.

use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use crate::offsets::{LogOffsetMetadata, LogOffsets};
use crate::partition::{EpochEndOffset, Partition, ReadRequirement, check_last_fetched_epoch};

/// Which end of the log bounds a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchIsolation {
    /// The log end: followers.
    LogEnd,
    /// The high watermark: `read_uncommitted`.
    HighWatermark,
    /// The last stable offset: `read_committed`.
    TxnCommitted,
}

impl FetchIsolation {
    /// The bound among a log's offsets.
    pub fn bound(self, log: &LogOffsets) -> Offset {
        match self {
            Self::LogEnd => log.log_end_offset,
            Self::HighWatermark => log.high_watermark,
            Self::TxnCommitted => log.last_stable_offset,
        }
    }
}

/// What one partition means to a fetch that waits for `min_bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchReadiness {
    /// Answer the whole request now.
    Complete,
    /// This many bytes can be read; answer when they add up to the minimum.
    Bytes(u64),
}

/// One partition of a waiting fetch.
#[derive(Clone, Copy, Debug)]
pub struct WaitingFetch {
    /// Where the reader stands, from the first read.
    pub position: LogOffsetMetadata,
    /// The epoch that the reader believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that it holds.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// The most that it takes of this partition, bytes.
    pub partition_max_bytes: u64,
    /// Who may answer it.
    pub from: ReadRequirement,
    /// It is a follower's fetch whose bytes are withheld by the replication quota.
    pub throttled: bool,
}

/// Whether a waiting fetch should be answered (`DelayedFetch.tryComplete`), given where the bound
/// of its isolation lies now and what the log says of its last fetched epoch.
pub fn fetch_readiness(
    waiting: &WaitingFetch,
    partition: &Partition,
    bound: &LogOffsetMetadata,
    end_of_last_fetched: Option<EpochEndOffset>,
    log: &LogOffsets,
) -> FetchReadiness {
    if partition
        .may_read(waiting.current_leader_epoch, waiting.from)
        .is_err()
    {
        return FetchReadiness::Complete;
    }
    let position = &waiting.position;
    if position.message_offset > bound.message_offset {
        return FetchReadiness::Complete;
    }
    let mut bytes = 0;
    // Equal offsets may lie on two segments just after a roll; nothing can be read then.
    if position.message_offset < bound.message_offset && !waiting.throttled {
        match position.bytes_until(bound) {
            Some(available) => bytes = available.min(waiting.partition_max_bytes),
            None => return FetchReadiness::Complete,
        }
    }
    if let (Some(epoch), Some(end)) = (waiting.last_fetched_epoch, end_of_last_fetched) {
        match check_last_fetched_epoch(epoch, position.message_offset, end, log) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return FetchReadiness::Complete,
        }
    }
    FetchReadiness::Bytes(bytes)
}

/// Whether a waiting DeleteRecords is done for a partition that is online here: `None` while it
/// waits, else the error and the low watermark to answer.
pub fn delete_records_is_ready(
    partition: &Partition,
    required_offset: Offset,
    log: &LogOffsets,
    is_alive: &dyn Fn(BrokerId) -> bool,
) -> Option<(ErrorCode, Offset)> {
    if !partition.is_leader() {
        return Some((ErrorCode::NotLeaderOrFollower, -1));
    }
    let low_watermark = partition.low_watermark(log, None, is_alive);
    (low_watermark >= required_offset).then_some((ErrorCode::None, low_watermark))
}

/// To which offset a DeleteRecords raises the log start: `requested` −1 means the high watermark.
/// The topic's `cleanup.policy` is the caller's to check first.
pub fn delete_records_offset(
    requested: Offset,
    high_watermark: Offset,
) -> Result<Offset, ErrorCode> {
    let offset = if requested == -1 {
        high_watermark
    } else {
        requested
    };
    if offset < 0 || offset > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::scenarios_support::leader;

    fn at(offset: Offset, segment: Offset, position: u64) -> LogOffsetMetadata {
        LogOffsetMetadata {
            message_offset: offset,
            segment_base_offset: segment,
            position_in_segment: position,
        }
    }

    fn waiting(position: LogOffsetMetadata) -> WaitingFetch {
        WaitingFetch {
            position,
            current_leader_epoch: None,
            last_fetched_epoch: None,
            partition_max_bytes: 1000,
            from: ReadRequirement::Leader,
            throttled: false,
        }
    }

    #[test]
    fn a_fetch_counts_bytes_of_its_segment_and_completes_across_segments() {
        let (partition, log) = leader(&[1], 20);
        let ready =
            |fetch: WaitingFetch, bound| fetch_readiness(&fetch, &partition, &bound, None, &log);
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(5, 0, 500)),
            FetchReadiness::Bytes(0)
        );
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(6, 0, 580)),
            FetchReadiness::Bytes(80)
        );
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(9, 0, 9000)),
            FetchReadiness::Bytes(1000)
        );
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(5, 5, 0)),
            FetchReadiness::Bytes(0),
            "rolled"
        );
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(6, 5, 80)),
            FetchReadiness::Complete
        );
        assert_eq!(
            ready(waiting(at(5, 0, 500)), at(4, 0, 400)),
            FetchReadiness::Complete,
            "truncated"
        );
        let throttled = WaitingFetch {
            throttled: true,
            ..waiting(at(5, 0, 500))
        };
        assert_eq!(ready(throttled, at(6, 5, 80)), FetchReadiness::Bytes(0));
    }

    #[test]
    fn a_fetch_completes_when_epochs_or_leadership_change() {
        let (mut partition, log) = leader(&[1], 20);
        let bound = at(5, 0, 500);
        let stale = WaitingFetch {
            current_leader_epoch: Some(LeaderEpoch(0)),
            ..waiting(bound)
        };
        assert_eq!(
            fetch_readiness(&stale, &partition, &bound, None, &log),
            FetchReadiness::Complete
        );
        let diverged = WaitingFetch {
            last_fetched_epoch: Some(LeaderEpoch(1)),
            ..waiting(bound)
        };
        let end = EpochEndOffset {
            leader_epoch: LeaderEpoch(1),
            end_offset: 4,
        };
        assert_eq!(
            fetch_readiness(&diverged, &partition, &bound, Some(end), &log),
            FetchReadiness::Complete
        );
        partition.clear();
        assert_eq!(
            fetch_readiness(&waiting(bound), &partition, &bound, None, &log),
            FetchReadiness::Complete
        );
    }

    #[test]
    fn delete_records_offsets() {
        assert_eq!(delete_records_offset(-1, 7), Ok(7));
        assert_eq!(delete_records_offset(7, 7), Ok(7));
        assert_eq!(
            delete_records_offset(8, 7),
            Err(ErrorCode::OffsetOutOfRange)
        );
        assert_eq!(
            delete_records_offset(-2, 7),
            Err(ErrorCode::OffsetOutOfRange)
        );
    }

    #[test]
    fn delete_records_waits_for_live_followers() {
        let (mut partition, mut log) = leader(&[1, 2], 20);
        log.log_start_offset = 10;
        let alive = |_| true;
        assert_eq!(delete_records_is_ready(&partition, 10, &log, &alive), None);
        assert_eq!(
            delete_records_is_ready(&partition, 10, &log, &|id| id != BrokerId(2)),
            Some((ErrorCode::None, 10))
        );
        partition.clear();
        assert_eq!(
            delete_records_is_ready(&partition, 10, &log, &alive),
            Some((ErrorCode::NotLeaderOrFollower, -1))
        );
    }
}
