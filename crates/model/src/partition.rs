//! What a controller decides about a partition.

use crate::ids::{BrokerId, ControllerEpoch, LeaderEpoch, PartitionEpoch};

/// A position in a partition: the number of a record, from 0. `high_watermark`, `log_end_offset`
/// and `last_stable_offset` are exclusive ends; `log_start_offset` is the first readable record.
pub type Offset = i64;

/// Whether a leader that was elected uncleanly has caught up (KIP-704).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum LeaderRecoveryState {
    /// The log is whole: the normal case.
    #[default]
    Recovered,
    /// Elected uncleanly; the leader's next ISR change clears it.
    Recovering,
}

impl LeaderRecoveryState {
    /// Kafka's number of the state: 0 or 1.
    pub fn code(self) -> i8 {
        match self {
            Self::Recovered => 0,
            Self::Recovering => 1,
        }
    }

    /// The state of a number, `None` for numbers that Kafka does not know.
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Recovered),
            1 => Some(Self::Recovering),
            _ => None,
        }
    }
}

/// The content of a partition's state znode: who leads and who is in sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAndIsr {
    /// The leader, or [`BrokerId::NONE`].
    pub leader: BrokerId,
    /// The leadership.
    pub leader_epoch: LeaderEpoch,
    /// In-sync replicas, in the order in which they were written. Never empty.
    pub isr: Vec<BrokerId>,
    /// See [`LeaderRecoveryState`].
    pub recovery: LeaderRecoveryState,
    /// The version of the state znode that holds this.
    pub partition_epoch: PartitionEpoch,
    /// The controller that wrote it.
    pub controller_epoch: ControllerEpoch,
}

/// A partition's replicas as its topic znode lists them (KIP-455).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaAssignment {
    /// All replicas, the preferred leader first, including those of the next two lists.
    pub replicas: Vec<BrokerId>,
    /// Replicas that a running reassignment adds.
    pub adding: Vec<BrokerId>,
    /// Replicas that a running reassignment removes.
    pub removing: Vec<BrokerId>,
}

impl ReplicaAssignment {
    /// An assignment that is not being changed.
    pub fn of(replicas: impl IntoIterator<Item = BrokerId>) -> Self {
        Self {
            replicas: replicas.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether a reassignment runs.
    pub fn is_being_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas before the reassignment.
    pub fn origin_replicas(&self) -> Vec<BrokerId> {
        self.replicas
            .iter()
            .copied()
            .filter(|r| !self.adding.contains(r))
            .collect()
    }

    /// The replicas after the reassignment.
    pub fn target_replicas(&self) -> Vec<BrokerId> {
        self.replicas
            .iter()
            .copied()
            .filter(|r| !self.removing.contains(r))
            .collect()
    }

    /// The assignment while moving to `target`: the target, then the origin replicas that it lacks.
    #[must_use]
    pub fn reassign_to(&self, target: &[BrokerId]) -> Self {
        let origin = self.origin_replicas();
        let mut replicas = target.to_vec();
        replicas.extend(origin.iter().filter(|r| !target.contains(r)));
        Self {
            adding: replicas
                .iter()
                .copied()
                .filter(|r| !origin.contains(r))
                .collect(),
            removing: replicas
                .iter()
                .copied()
                .filter(|r| !target.contains(r))
                .collect(),
            replicas,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn reassign_to_puts_the_target_first_and_cancel_returns_to_the_origin() {
        let start = ReplicaAssignment::of(ids(&[1, 2]));
        let moving = start.reassign_to(&ids(&[0, 2]));
        assert_eq!(moving.replicas, ids(&[0, 2, 1]));
        assert_eq!(moving.adding, ids(&[0]));
        assert_eq!(moving.removing, ids(&[1]));
        let cancelled = moving.reassign_to(&moving.origin_replicas());
        assert_eq!(cancelled.target_replicas(), ids(&[2, 1]));
    }
}
