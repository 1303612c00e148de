//! The states of partitions and replicas, with the legal predecessors beside each.
//! Sources: `PartitionStateMachine.scala`, `ReplicaStateMachine.scala`.

use std::fmt;

use ottla_model::{BrokerId, TopicPartition};

/// Where a partition is in its life.
///
/// ```text
/// NonExistent ─► New ─► Online ◄─► Offline ─► NonExistent
///                 └────────────────►┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum PartitionState {
    /// Replicas are assigned; nobody has led it yet and it has no state znode.
    New,
    /// A leader has been elected.
    Online,
    /// The leader has died, or could not be replaced.
    Offline,
    /// Never created, or deleted.
    NonExistent,
}

impl PartitionState {
    /// Kafka's number of the state.
    pub fn code(self) -> i8 {
        match self {
            Self::New => 0,
            Self::Online => 1,
            Self::Offline => 2,
            Self::NonExistent => 3,
        }
    }

    /// The states from which a partition may come here.
    pub fn valid_previous(self) -> &'static [Self] {
        match self {
            Self::New => &[Self::NonExistent],
            Self::Online | Self::Offline => &[Self::New, Self::Online, Self::Offline],
            Self::NonExistent => &[Self::Offline],
        }
    }
}

/// Where one replica of a partition is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum ReplicaState {
    /// Being created, by a new topic or a reassignment.
    New,
    /// Started and part of the assignment.
    Online,
    /// Its broker or its log directory is gone.
    Offline,
    /// StopReplica with delete=true is on its way.
    DeletionStarted,
    /// The broker has answered that the log is gone.
    DeletionSuccessful,
    /// The deletion failed or cannot be tried now.
    DeletionIneligible,
    /// Not there: not created yet, or dropped.
    NonExistent,
}

impl ReplicaState {
    /// Kafka's number of the state.
    pub fn code(self) -> i8 {
        match self {
            Self::New => 1,
            Self::Online => 2,
            Self::Offline => 3,
            Self::DeletionStarted => 4,
            Self::DeletionSuccessful => 5,
            Self::DeletionIneligible => 6,
            Self::NonExistent => 7,
        }
    }

    /// The states from which a replica may come here.
    pub fn valid_previous(self) -> &'static [Self] {
        match self {
            Self::New => &[Self::NonExistent],
            Self::Online | Self::Offline => &[
                Self::New,
                Self::Online,
                Self::Offline,
                Self::DeletionIneligible,
            ],
            Self::DeletionStarted => &[Self::Offline],
            Self::DeletionSuccessful => &[Self::DeletionStarted],
            Self::DeletionIneligible => &[Self::Offline, Self::DeletionStarted],
            Self::NonExistent => &[Self::DeletionSuccessful],
        }
    }
}

/// One replica of one partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PartitionAndReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// The broker that hosts the replica.
    pub replica: BrokerId,
}

impl PartitionAndReplica {
    /// Names a replica.
    pub fn new(partition: TopicPartition, replica: BrokerId) -> Self {
        Self { partition, replica }
    }
}

impl fmt::Display for PartitionAndReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[Topic={},Partition={},Replica={}]",
            self.partition.topic, self.partition.partition, self.replica
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_transitions_of_partitions_are_those_of_kafka() {
        use PartitionState::{New, NonExistent, Offline, Online};
        // Rows: from; columns: to New, Online, Offline, NonExistent.
        let table = [
            (New, [false, true, true, false]),
            (Online, [false, true, true, false]),
            (Offline, [false, true, true, true]),
            (NonExistent, [true, false, false, false]),
        ];
        for (from, legal) in table {
            for (to, expected) in [New, Online, Offline, NonExistent].into_iter().zip(legal) {
                assert_eq!(
                    to.valid_previous().contains(&from),
                    expected,
                    "{from:?} -> {to:?}"
                );
            }
        }
    }

    #[test]
    fn legal_transitions_of_replicas_are_those_of_kafka() {
        use ReplicaState::{
            DeletionIneligible as Ineligible, DeletionStarted as Started,
            DeletionSuccessful as Successful, New, NonExistent, Offline, Online,
        };
        let all = [
            New,
            Online,
            Offline,
            Started,
            Successful,
            Ineligible,
            NonExistent,
        ];
        // Rows: from; columns: to, in the order of `all`.
        let table = [
            (New, [false, true, true, false, false, false, false]),
            (Online, [false, true, true, false, false, false, false]),
            (Offline, [false, true, true, true, false, true, false]),
            (Started, [false, false, false, false, true, true, false]),
            (Successful, [false, false, false, false, false, false, true]),
            (Ineligible, [false, true, true, false, false, false, false]),
            (
                NonExistent,
                [true, false, false, false, false, false, false],
            ),
        ];
        for (from, legal) in table {
            for (to, expected) in all.into_iter().zip(legal) {
                assert_eq!(
                    to.valid_previous().contains(&from),
                    expected,
                    "{from:?} -> {to:?}"
                );
            }
        }
    }
}
