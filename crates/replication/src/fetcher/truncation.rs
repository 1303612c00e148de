//! To where a follower truncates before it trusts its log (KIP-101, KIP-279).

use ottla_model::{LeaderEpoch, Offset};

use crate::partition::EpochEndOffset;

/// Where to cut, and whether that is the end of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncation {
    /// The new log end.
    pub offset: Offset,
    /// If not, the leader is asked again about the epoch that is the last one then.
    pub is_complete: bool,
}

/// What the follower's own log says when its leader has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnLog {
    /// Its end.
    pub log_end_offset: Offset,
    /// Its own answer for the epoch that the leader named; `None` if its history does not reach
    /// back that far.
    pub end_of_leaders_epoch: Option<EpochEndOffset>,
}

/// Compares the leader's answer for our last epoch with our own log. `fetch_offset` is where the
/// partition would fetch next, which before the first truncation is the high watermark.
pub fn decide(leader: EpochEndOffset, fetch_offset: Offset, own: &OwnLog) -> Truncation {
    let done = |offset: Offset| Truncation {
        offset,
        is_complete: true,
    };
    if leader.end_offset < 0 {
        // The leader cannot tell: only what is committed is trusted.
        return done(fetch_offset);
    }
    if leader.leader_epoch == LeaderEpoch::NONE {
        return done(leader.end_offset.min(own.log_end_offset));
    }
    match own.end_of_leaders_epoch.filter(|end| !end.is_undefined()) {
        None => done(leader.end_offset.min(own.log_end_offset)),
        Some(end) if end.leader_epoch == leader.leader_epoch => done(
            end.end_offset
                .min(leader.end_offset)
                .min(own.log_end_offset),
        ),
        // We lack the epoch that the leader named: everything after our last one before it is
        // ours alone, and that one must be compared as well.
        Some(end) => Truncation {
            offset: end.end_offset.min(own.log_end_offset),
            is_complete: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_truncation() {
        let end = |epoch, offset| EpochEndOffset {
            leader_epoch: LeaderEpoch(epoch),
            end_offset: offset,
        };
        let complete = |offset| Truncation {
            offset,
            is_complete: true,
        };
        let again = |offset| Truncation {
            offset,
            is_complete: false,
        };
        for (leader, own_end, expected) in [
            (end(-1, -1), None, complete(7)),
            (end(3, -1), Some(end(3, 90)), complete(7)),
            (end(-1, 60), Some(end(3, 90)), complete(60)),
            (end(-1, 160), None, complete(100)),
            (end(3, 60), None, complete(60)),
            (end(3, 60), Some(EpochEndOffset::UNDEFINED), complete(60)),
            (end(3, 160), None, complete(100)),
            (end(3, 60), Some(end(3, 90)), complete(60)),
            (end(3, 95), Some(end(3, 90)), complete(90)),
            (end(3, 160), Some(end(3, 120)), complete(100)),
            (end(3, 60), Some(end(2, 50)), again(50)),
            (end(3, 60), Some(end(2, 150)), again(100)),
        ] {
            let own = OwnLog {
                log_end_offset: 100,
                end_of_leaders_epoch: own_end,
            };
            assert_eq!(decide(leader, 7, &own), expected, "{leader:?} {own_end:?}");
        }
    }
}
