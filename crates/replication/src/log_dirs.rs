//! Moving a replica between the log directories of its broker: what AlterReplicaLogDirs comes to
//! (`ReplicaManager.alterReplicaLogDirs`), and to where a future log is cut before it is filled from
//! the current one (`ReplicaAlterLogDirsThread`).

use ottla_model::{ErrorCode, LeaderEpoch, Offset};

use crate::fetcher::truncation::{OwnLog, Truncation, decide};
use crate::partition::EpochEndOffset;

/// The directory that a replica is to move to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// It is not in `log.dirs`.
    Unknown,
    /// It failed.
    Offline,
    /// It serves.
    Online,
}

/// Where a log is, seen from the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the destination.
    There,
    /// In another directory.
    Elsewhere,
}

/// The replica of this broker that is to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replica {
    /// Its directory failed.
    Offline,
    /// There is none.
    None {
        /// The topic has this partition, on other brokers.
        is_known: bool,
    },
    /// It is served, or will be.
    Online {
        /// Its log, if there is one yet.
        current: Option<Place>,
        /// The log of a move that is under way.
        future: Option<Place>,
    },
}

/// What to do, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    /// End the move that is under way.
    pub cancel: bool,
    /// Remember the destination for when the log is made.
    pub prefer: bool,
    /// Make a future log in the destination and fill it; it may fail.
    pub begin: bool,
    /// The answer if nothing fails.
    pub answer: ErrorCode,
}

impl Steps {
    fn refuse(answer: ErrorCode) -> Self {
        Self {
            cancel: false,
            prefer: false,
            begin: false,
            answer,
        }
    }
}

/// Decides over one partition of AlterReplicaLogDirs.
pub fn alter_replica_log_dir(
    name_is_too_long: bool,
    destination: Destination,
    replica: Replica,
) -> Steps {
    if name_is_too_long {
        return Steps::refuse(ErrorCode::InvalidTopicException);
    }
    match destination {
        Destination::Unknown => return Steps::refuse(ErrorCode::LogDirNotFound),
        Destination::Offline => return Steps::refuse(ErrorCode::KafkaStorageError),
        Destination::Online => {}
    }
    let prefer_and_answer = |answer| Steps {
        prefer: true,
        ..Steps::refuse(answer)
    };
    match replica {
        Replica::Offline => Steps::refuse(ErrorCode::KafkaStorageError),
        Replica::None { is_known: false } => prefer_and_answer(ErrorCode::UnknownTopicOrPartition),
        // Not NOT_LEADER_OR_FOLLOWER, which old clients do not expect here.
        Replica::None { is_known: true } => prefer_and_answer(ErrorCode::ReplicaNotAvailable),
        Replica::Online { current, future } => Steps {
            cancel: future == Some(Place::Elsewhere),
            prefer: true,
            begin: current == Some(Place::Elsewhere) && future != Some(Place::There),
            answer: match current {
                None => ErrorCode::ReplicaNotAvailable,
                Some(_) => ErrorCode::None,
            },
        },
    }
}

/// A log as its leader epochs tell it.
pub trait History {
    /// The offset after the last record.
    fn log_end_offset(&self) -> Offset;
    /// The last epoch.
    fn latest_epoch(&self) -> Option<LeaderEpoch>;
    /// The largest epoch that is not above this one, and where it ends.
    fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset>;
}

/// The next cut of a future log so that it agrees with its current log. `fetch_offset` is where it
/// is cut if no epoch can tell: its high watermark, or where the current log was cut. After a cut
/// that is not complete it is asked again.
pub fn cut_of_future_log(
    current: &impl History,
    future: &impl History,
    fetch_offset: Offset,
) -> Truncation {
    let Some(latest) = future.latest_epoch() else {
        return Truncation {
            offset: fetch_offset.min(future.log_end_offset()),
            is_complete: true,
        };
    };
    let leader = current
        .end_of_epoch(latest)
        .unwrap_or(EpochEndOffset::UNDEFINED);
    let own = OwnLog {
        log_end_offset: future.log_end_offset(),
        end_of_leaders_epoch: future.end_of_epoch(leader.leader_epoch),
    };
    decide(leader, fetch_offset, &own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_alter_replica_log_dirs() {
        use Destination::{Offline, Online, Unknown};
        use Place::{Elsewhere, There};
        let online = |current, future| Replica::Online { current, future };
        let here = online(Some(Elsewhere), None);
        for (too_long, destination, replica, expected) in [
            (
                true,
                Unknown,
                here,
                (false, false, false, ErrorCode::InvalidTopicException),
            ),
            (
                false,
                Unknown,
                here,
                (false, false, false, ErrorCode::LogDirNotFound),
            ),
            (
                false,
                Offline,
                here,
                (false, false, false, ErrorCode::KafkaStorageError),
            ),
            (
                false,
                Online,
                Replica::Offline,
                (false, false, false, ErrorCode::KafkaStorageError),
            ),
            (
                false,
                Online,
                Replica::None { is_known: true },
                (false, true, false, ErrorCode::ReplicaNotAvailable),
            ),
            (
                false,
                Online,
                Replica::None { is_known: false },
                (false, true, false, ErrorCode::UnknownTopicOrPartition),
            ),
            (
                false,
                Online,
                online(None, None),
                (false, true, false, ErrorCode::ReplicaNotAvailable),
            ),
            (false, Online, here, (false, true, true, ErrorCode::None)),
            (
                false,
                Online,
                online(Some(There), None),
                (false, true, false, ErrorCode::None),
            ),
            (
                false,
                Online,
                online(Some(There), Some(Elsewhere)),
                (true, true, false, ErrorCode::None),
            ),
            (
                false,
                Online,
                online(Some(Elsewhere), Some(There)),
                (false, true, false, ErrorCode::None),
            ),
            (
                false,
                Online,
                online(Some(Elsewhere), Some(Elsewhere)),
                (true, true, true, ErrorCode::None),
            ),
        ] {
            let steps = alter_replica_log_dir(too_long, destination, replica);
            assert_eq!(
                (steps.cancel, steps.prefer, steps.begin, steps.answer),
                expected,
                "{destination:?} {replica:?}"
            );
        }
    }

    /// Epochs with their starts, and the end.
    struct Epochs(Vec<(i32, Offset)>, Offset);

    impl History for Epochs {
        fn log_end_offset(&self) -> Offset {
            self.1
        }

        fn latest_epoch(&self) -> Option<LeaderEpoch> {
            self.0.last().map(|(epoch, _)| LeaderEpoch(*epoch))
        }

        fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset> {
            let at = self.0.iter().rposition(|(known, _)| *known <= epoch.0)?;
            let end_offset = self.0.get(at + 1).map_or(self.1, |(_, start)| *start);
            Some(EpochEndOffset {
                leader_epoch: LeaderEpoch(self.0[at].0),
                end_offset,
            })
        }
    }

    #[test]
    fn a_future_log_is_cut_to_the_history_it_shares_with_the_current_one() {
        for (current, future, expected) in [
            // Nothing was cut: go on.
            (
                Epochs(vec![(0, 0), (2, 50)], 90),
                Epochs(vec![(0, 0)], 30),
                30,
            ),
            // The current log was cut within an epoch, and wrote on in another one.
            (
                Epochs(vec![(0, 0), (2, 20)], 90),
                Epochs(vec![(0, 0)], 30),
                20,
            ),
            // Two histories: back to what is common, in two steps.
            (
                Epochs(vec![(0, 0), (3, 20)], 90),
                Epochs(vec![(0, 0), (1, 25), (2, 28)], 30),
                20,
            ),
            // Old formats know no epochs: back to what is known to be the same.
            (Epochs(vec![], 90), Epochs(vec![], 30), 7),
            (Epochs(vec![(4, 80)], 90), Epochs(vec![(1, 0)], 30), 7),
        ] {
            let mut future = future;
            for _ in 0..5 {
                let cut = cut_of_future_log(&current, &future, 7);
                assert!(cut.offset <= future.1);
                future.0.retain(|(_, start)| *start < cut.offset);
                future.1 = cut.offset;
                if cut.is_complete {
                    break;
                }
            }
            assert_eq!(future.1, expected);
        }
    }
}
