//! How a broker answers its controller: LeaderAndIsr, StopReplica and UpdateMetadata.
//!
//! The driver runs the three under one lock. It first calls [`ControlFence::admit`]; then, per
//! partition, asks for a step and carries it out.

use ottla_model::control::{ControlHeader, LeaderAndIsrPartition, StopReplicaPartition};
use ottla_model::{BrokerEpoch, BrokerId, ControllerEpoch, ErrorCode, LeaderEpoch, TopicId};

/// The newest controller that this broker has heard of; kept in memory only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlFence {
    controller_epoch: ControllerEpoch,
}

impl Default for ControlFence {
    fn default() -> Self {
        Self {
            controller_epoch: ControllerEpoch(0),
        }
    }
}

impl ControlFence {
    /// The newest controller epoch seen.
    pub fn controller_epoch(&self) -> ControllerEpoch {
        self.controller_epoch
    }

    /// Checks who sends a command and whom it means, before anything else, and remembers the
    /// sender. A command for an earlier incarnation of this broker is refused; one for a later one
    /// is not: the controller may hear of a registration before its owner does.
    pub fn admit(
        &mut self,
        own_epoch: BrokerEpoch,
        header: &ControlHeader,
    ) -> Result<(), ErrorCode> {
        if header.broker_epoch != BrokerEpoch::NONE && header.broker_epoch < own_epoch {
            return Err(ErrorCode::StaleBrokerEpoch);
        }
        if header.controller_epoch < self.controller_epoch {
            return Err(ErrorCode::StaleControllerEpoch);
        }
        self.controller_epoch = header.controller_epoch;
        Ok(())
    }
}

/// What a broker holds of a partition when a command arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hosted {
    /// Nothing.
    None,
    /// A replica.
    Online {
        /// Its leader epoch; −1 before the first command.
        leader_epoch: LeaderEpoch,
        /// The topic id in its log, if it has a log and that has one.
        topic_id: Option<TopicId>,
    },
    /// A replica in a directory that has failed.
    Offline,
}

/// What to do about one partition of a LeaderAndIsr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaderAndIsrStep {
    /// Answer this and change nothing.
    Answer(ErrorCode),
    /// Create the log if need be, then [`make_leader`](crate::Partition::make_leader). A storage
    /// error takes the partition offline and is answered KAFKA_STORAGE_ERROR.
    BecomeLeader,
    /// If the leader is alive, create the log if need be and
    /// [`make_follower`](crate::Partition::make_follower). If it is not, only create the log (so
    /// that its high watermark is checkpointed) and leave the epoch, so that the same command is
    /// accepted later; that is not an error.
    BecomeFollower,
    /// Store the topic id in the log, answer NONE.
    AssignTopicId {
        /// The fetcher of this partition must use it as well.
        refresh_fetcher: bool,
    },
    /// Let the fetcher of this partition forget the topic id, answer NONE.
    DropFetcherTopicId,
}

/// Decides about one partition of a LeaderAndIsr. `request_topic_id` is zero where the command
/// names none. A partition that is not hosted becomes hosted whatever the step is.
pub fn leader_and_isr_step(
    local: BrokerId,
    hosted: Hosted,
    request_topic_id: TopicId,
    command: &LeaderAndIsrPartition,
) -> LeaderAndIsrStep {
    let (leader_epoch, log_topic_id) = match hosted {
        Hosted::Offline => return LeaderAndIsrStep::Answer(ErrorCode::KafkaStorageError),
        Hosted::None => (LeaderEpoch::NONE, None),
        Hosted::Online {
            leader_epoch,
            topic_id,
        } => (leader_epoch, topic_id),
    };
    let request_topic_id = Some(request_topic_id).filter(|id| !id.is_zero());
    if !is_consistent_topic_id(request_topic_id, log_topic_id) {
        return LeaderAndIsrStep::Answer(ErrorCode::InconsistentTopicId);
    }
    let leads = command.state.leader == local;
    if command.state.leader_epoch > leader_epoch {
        return if !command.assignment.replicas.contains(&local) {
            LeaderAndIsrStep::Answer(ErrorCode::UnknownTopicOrPartition)
        } else if leads {
            LeaderAndIsrStep::BecomeLeader
        } else {
            LeaderAndIsrStep::BecomeFollower
        };
    }
    if command.state.leader_epoch == leader_epoch && hosted != Hosted::None {
        match (request_topic_id, log_topic_id) {
            (Some(_), None) => {
                return LeaderAndIsrStep::AssignTopicId {
                    refresh_fetcher: !leads,
                };
            }
            (None, Some(_)) if !leads => return LeaderAndIsrStep::DropFetcherTopicId,
            _ => {}
        }
    }
    LeaderAndIsrStep::Answer(ErrorCode::StaleControllerEpoch)
}

/// Whether a topic id fits the one in the log; either may be unknown.
pub fn is_consistent_topic_id(requested: Option<TopicId>, known: Option<TopicId>) -> bool {
    requested.is_none() || known.is_none() || requested == known
}

/// What to do about one partition of a StopReplica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReplicaStep {
    /// Answer this and change nothing.
    Answer(ErrorCode),
    /// Stop fetching; with `delete`, forget the partition and delete its log, hosted or left over
    /// from an earlier life. Then answer those who wait for it. The answer is NONE unless deletion
    /// fails.
    Stop {
        /// Whether the log goes as well.
        delete: bool,
    },
}

/// Decides about one partition of a StopReplica. The epoch of a topic's deletion is not raised, so
/// a special value passes; so does a sender too old to know epochs.
pub fn stop_replica_step(hosted: Hosted, command: &StopReplicaPartition) -> StopReplicaStep {
    match hosted {
        Hosted::Offline => StopReplicaStep::Answer(ErrorCode::KafkaStorageError),
        Hosted::Online { leader_epoch, .. }
            if command.leader_epoch < leader_epoch
                && command.leader_epoch != LeaderEpoch::DURING_DELETE
                && command.leader_epoch != LeaderEpoch::NONE =>
        {
            StopReplicaStep::Answer(ErrorCode::FencedLeaderEpoch)
        }
        Hosted::None | Hosted::Online { .. } => StopReplicaStep::Stop {
            delete: command.delete,
        },
    }
}

/// Kafka's answer to a request about a partition that is not online here.
pub fn lookup_error(hosted: Hosted, in_metadata_cache: bool) -> ErrorCode {
    match hosted {
        Hosted::Online { .. } => ErrorCode::None,
        Hosted::Offline => ErrorCode::KafkaStorageError,
        // The topic exists elsewhere: the client refreshes its metadata and finds the new place.
        Hosted::None if in_metadata_cache => ErrorCode::NotLeaderOrFollower,
        Hosted::None => ErrorCode::UnknownTopicOrPartition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_model::{
        LeaderAndIsr, LeaderRecoveryState, PartitionEpoch, ReplicaAssignment, TopicPartition,
    };

    const ID: TopicId = TopicId([1; 16]);
    const OTHER_ID: TopicId = TopicId([2; 16]);

    #[test]
    fn broker_epoch_is_checked_before_controller_epoch_and_newer_ones_pass() {
        let own = BrokerEpoch(50);
        for (broker_epoch, controller_epoch, expected) in [
            (-1, 5, Ok(())),
            (50, 5, Ok(())),
            (51, 6, Ok(())),
            (49, 6, Err(ErrorCode::StaleBrokerEpoch)),
            (49, 4, Err(ErrorCode::StaleBrokerEpoch)),
            (50, 4, Err(ErrorCode::StaleControllerEpoch)),
        ] {
            let mut fence = ControlFence {
                controller_epoch: ControllerEpoch(5),
            };
            let header = ControlHeader {
                controller_id: BrokerId(0),
                controller_epoch: ControllerEpoch(controller_epoch),
                broker_epoch: BrokerEpoch(broker_epoch),
            };
            assert_eq!(
                fence.admit(own, &header),
                expected,
                "{broker_epoch} {controller_epoch}"
            );
            let newest = if expected.is_ok() {
                controller_epoch
            } else {
                5
            };
            assert_eq!(fence.controller_epoch(), ControllerEpoch(newest));
        }
    }

    fn command(leader: i32, leader_epoch: i32, replicas: &[i32]) -> LeaderAndIsrPartition {
        let replicas: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
        LeaderAndIsrPartition {
            topic_partition: TopicPartition::new("t", 0),
            state: LeaderAndIsr {
                leader: BrokerId(leader),
                leader_epoch: LeaderEpoch(leader_epoch),
                isr: replicas.clone(),
                recovery: LeaderRecoveryState::Recovered,
                partition_epoch: PartitionEpoch(0),
                controller_epoch: ControllerEpoch(1),
            },
            assignment: ReplicaAssignment::of(replicas),
            is_new: false,
        }
    }

    #[test]
    fn leader_and_isr_checks_in_kafkas_order() {
        use LeaderAndIsrStep::{
            Answer, AssignTopicId, BecomeFollower, BecomeLeader, DropFetcherTopicId,
        };
        let online = |epoch, topic_id| Hosted::Online {
            leader_epoch: LeaderEpoch(epoch),
            topic_id,
        };
        let stale = Answer(ErrorCode::StaleControllerEpoch);
        for (hosted, request_id, command, expected) in [
            (
                Hosted::Offline,
                ID,
                command(1, 9, &[1]),
                Answer(ErrorCode::KafkaStorageError),
            ),
            (Hosted::None, ID, command(1, 0, &[1]), BecomeLeader),
            (Hosted::None, ID, command(2, 0, &[1, 2]), BecomeFollower),
            (Hosted::None, ID, command(-1, 0, &[1, 2]), BecomeFollower),
            (
                Hosted::None,
                ID,
                command(2, 0, &[2, 3]),
                Answer(ErrorCode::UnknownTopicOrPartition),
            ),
            (
                online(4, Some(ID)),
                OTHER_ID,
                command(1, 5, &[1]),
                Answer(ErrorCode::InconsistentTopicId),
            ),
            (
                online(4, Some(ID)),
                TopicId::ZERO,
                command(1, 5, &[1]),
                BecomeLeader,
            ),
            (online(4, None), ID, command(1, 5, &[1]), BecomeLeader),
            (
                online(4, Some(ID)),
                ID,
                command(2, 5, &[3]),
                Answer(ErrorCode::UnknownTopicOrPartition),
            ),
            (online(4, Some(ID)), ID, command(1, 3, &[1]), stale),
            (online(4, Some(ID)), ID, command(1, 4, &[1]), stale),
            (online(4, None), ID, command(1, 3, &[1]), stale),
            (
                online(4, None),
                ID,
                command(1, 4, &[1]),
                AssignTopicId {
                    refresh_fetcher: false,
                },
            ),
            (
                online(4, None),
                ID,
                command(2, 4, &[1, 2]),
                AssignTopicId {
                    refresh_fetcher: true,
                },
            ),
            (
                online(4, Some(ID)),
                TopicId::ZERO,
                command(2, 4, &[1, 2]),
                DropFetcherTopicId,
            ),
            (
                online(4, Some(ID)),
                TopicId::ZERO,
                command(1, 4, &[1, 2]),
                stale,
            ),
            (
                online(4, None),
                TopicId::ZERO,
                command(1, 4, &[1, 2]),
                stale,
            ),
        ] {
            assert_eq!(
                leader_and_isr_step(BrokerId(1), hosted, request_id, &command),
                expected,
                "{hosted:?} {request_id} {command:?}"
            );
        }
    }

    #[test]
    fn stop_replica_is_fenced_by_leader_epoch_except_for_deletion_and_old_senders() {
        let online = Hosted::Online {
            leader_epoch: LeaderEpoch(4),
            topic_id: None,
        };
        let stop = StopReplicaStep::Stop { delete: true };
        for (hosted, epoch, expected) in [
            (
                Hosted::Offline,
                9,
                StopReplicaStep::Answer(ErrorCode::KafkaStorageError),
            ),
            (Hosted::None, 0, stop),
            (online, 4, stop),
            (online, 5, stop),
            (online, -1, stop),
            (online, -2, stop),
            (
                online,
                3,
                StopReplicaStep::Answer(ErrorCode::FencedLeaderEpoch),
            ),
        ] {
            let command = StopReplicaPartition {
                topic_partition: TopicPartition::new("t", 0),
                leader_epoch: LeaderEpoch(epoch),
                delete: true,
            };
            assert_eq!(
                stop_replica_step(hosted, &command),
                expected,
                "{hosted:?} {epoch}"
            );
        }
    }

    #[test]
    fn a_partition_that_is_known_but_elsewhere_is_not_unknown() {
        assert_eq!(
            lookup_error(Hosted::None, true),
            ErrorCode::NotLeaderOrFollower
        );
        assert_eq!(
            lookup_error(Hosted::None, false),
            ErrorCode::UnknownTopicOrPartition
        );
        assert_eq!(
            lookup_error(Hosted::Offline, true),
            ErrorCode::KafkaStorageError
        );
    }
}
