//! The states of a group.

use std::fmt;

/// Where a group stands. The names are what DescribeGroups and ListGroups say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupState {
    /// No members; it lingers until its offsets have expired.
    Empty,
    /// Members are joining the next generation.
    PreparingRebalance,
    /// The generation is settled, the leader's assignment is awaited.
    CompletingRebalance,
    /// The members have their assignment.
    Stable,
    /// Removed.
    Dead,
}

impl GroupState {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Stable,
        Self::Dead,
    ];

    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// Whether a group may come into this state from another.
    pub fn may_follow(self, previous: Self) -> bool {
        match self {
            Self::Empty | Self::CompletingRebalance => previous == Self::PreparingRebalance,
            Self::PreparingRebalance => {
                matches!(
                    previous,
                    Self::Empty | Self::CompletingRebalance | Self::Stable
                )
            }
            Self::Stable => previous == Self::CompletingRebalance,
            Self::Dead => true,
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
