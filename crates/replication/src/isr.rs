//! The in-sync replicas of a partition and their changes (KIP-497).
//!
//! ```text
//!               expand                        shrink
//!   Committed ─────────► PendingExpand   Committed ─────────► PendingShrink
//!       ▲                     │              ▲                     │
//!       └── answer, or LeaderAndIsr ─────────┴─────────────────────┘
//! ```

use ottla_model::{BrokerId, LeaderEpoch, LeaderRecoveryState, PartitionEpoch};

/// A change of the ISR as a leader proposes it to the controller (`AlterPartition`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IsrProposal {
    /// The epoch of the proposing leader.
    pub leader_epoch: LeaderEpoch,
    /// The version of the state on which the proposal rests.
    pub partition_epoch: PartitionEpoch,
    /// The proposed members.
    pub isr: Vec<BrokerId>,
    /// See [`LeaderRecoveryState`].
    pub recovery: LeaderRecoveryState,
}

/// The ISR as a leader knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IsrState {
    /// Nothing is proposed.
    Committed {
        /// The members.
        isr: Vec<BrokerId>,
        /// See [`LeaderRecoveryState`].
        recovery: LeaderRecoveryState,
    },
    /// A follower is proposed to join. It counts at once for the high watermark: if the controller
    /// has accepted it and we do not know yet, it could be elected.
    PendingExpand {
        /// What was proposed.
        proposal: IsrProposal,
        /// The joiner.
        joining: BrokerId,
        /// The members before.
        committed: Vec<BrokerId>,
        /// The recovery state before.
        recovery: LeaderRecoveryState,
    },
    /// Members are proposed to leave. They count until the controller has agreed.
    PendingShrink {
        /// What was proposed.
        proposal: IsrProposal,
        /// The members before.
        committed: Vec<BrokerId>,
        /// The recovery state before.
        recovery: LeaderRecoveryState,
    },
}

impl IsrState {
    /// A committed ISR of a recovered partition.
    pub fn committed(isr: Vec<BrokerId>) -> Self {
        Self::Committed {
            isr,
            recovery: LeaderRecoveryState::Recovered,
        }
    }

    /// The members that the controller has agreed to, as far as we know.
    pub fn isr(&self) -> &[BrokerId] {
        match self {
            Self::Committed { isr, .. } => isr,
            Self::PendingExpand { committed, .. } | Self::PendingShrink { committed, .. } => {
                committed
            }
        }
    }

    /// Whether a replica must have a record before it counts as committed.
    pub fn is_in_maximal_isr(&self, replica: BrokerId) -> bool {
        self.isr().contains(&replica)
            || matches!(self, Self::PendingExpand { joining, .. } if *joining == replica)
    }

    /// How many replicas [`is_in_maximal_isr`](Self::is_in_maximal_isr).
    pub fn maximal_isr_size(&self) -> usize {
        self.isr().len() + usize::from(matches!(self, Self::PendingExpand { .. }))
    }

    /// Whether a change is proposed and not answered.
    pub fn is_in_flight(&self) -> bool {
        !matches!(self, Self::Committed { .. })
    }

    /// What is proposed.
    pub fn proposal(&self) -> Option<&IsrProposal> {
        match self {
            Self::Committed { .. } => None,
            Self::PendingExpand { proposal, .. } | Self::PendingShrink { proposal, .. } => {
                Some(proposal)
            }
        }
    }

    /// See [`LeaderRecoveryState`]; a pending change reads as recovered, as in Kafka.
    pub fn recovery(&self) -> LeaderRecoveryState {
        match self {
            Self::Committed { recovery, .. } => *recovery,
            Self::PendingExpand { .. } | Self::PendingShrink { .. } => {
                LeaderRecoveryState::Recovered
            }
        }
    }

    /// The state before the change that is in flight; the same state if none is.
    #[must_use]
    pub(crate) fn rolled_back(&self) -> Self {
        match self {
            Self::Committed { .. } => self.clone(),
            Self::PendingExpand {
                committed,
                recovery,
                ..
            }
            | Self::PendingShrink {
                committed,
                recovery,
                ..
            } => Self::Committed {
                isr: committed.clone(),
                recovery: *recovery,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    fn proposal(isr: &[i32]) -> IsrProposal {
        IsrProposal {
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            isr: ids(isr),
            recovery: LeaderRecoveryState::Recovered,
        }
    }

    fn maximal(state: &IsrState) -> Vec<i32> {
        let members: Vec<i32> = (0..5)
            .filter(|id| state.is_in_maximal_isr(BrokerId(*id)))
            .collect();
        assert_eq!(members.len(), state.maximal_isr_size());
        members
    }

    #[test]
    fn the_maximal_isr_counts_joiners_at_once_and_leavers_until_they_are_gone() {
        let recovery = LeaderRecoveryState::Recovered;
        assert_eq!(maximal(&IsrState::committed(ids(&[1, 2]))), [1, 2]);
        let expand = IsrState::PendingExpand {
            proposal: proposal(&[1, 2, 3]),
            joining: BrokerId(3),
            committed: ids(&[1, 2]),
            recovery,
        };
        assert_eq!(maximal(&expand), [1, 2, 3]);
        assert_eq!(expand.isr(), ids(&[1, 2]));
        let shrink = IsrState::PendingShrink {
            proposal: proposal(&[1]),
            committed: ids(&[1, 2]),
            recovery,
        };
        assert_eq!(maximal(&shrink), [1, 2]);
        assert_eq!(shrink.rolled_back(), IsrState::committed(ids(&[1, 2])));
    }
}
