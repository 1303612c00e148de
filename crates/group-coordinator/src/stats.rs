//! What the coordinator counts; the broker exports it under Kafka's names.

use std::ops::AddAssign;

/// Counters since the shard was made (`kafka.server:type=group-coordinator-metrics`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// `offset-commit-count`: acknowledged commits, each one whatever the number of partitions.
    pub offset_commits: u64,
    /// `offset-expiration-count`: offsets removed because their time was up.
    pub offset_expirations: u64,
    /// `offset-deletion-count`: offsets removed on request (OffsetDelete).
    pub offset_deletions: u64,
    /// `group-completed-rebalance-count`: assignments received from leaders.
    pub completed_rebalances: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.offset_commits += other.offset_commits;
        self.offset_expirations += other.offset_expirations;
        self.offset_deletions += other.offset_deletions;
        self.completed_rebalances += other.completed_rebalances;
    }
}

/// Numbers of now (`kafka.coordinator.group:type=GroupMetadataManager`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// `NumGroups`.
    pub groups: usize,
    /// `NumGroupsPreparingRebalance`.
    pub preparing_rebalance: usize,
    /// `NumGroupsCompletingRebalance`.
    pub completing_rebalance: usize,
    /// `NumGroupsStable`.
    pub stable: usize,
    /// `NumGroupsEmpty`.
    pub empty: usize,
    /// `NumOffsets`.
    pub offsets: usize,
}

impl AddAssign for Gauges {
    fn add_assign(&mut self, other: Self) {
        self.groups += other.groups;
        self.preparing_rebalance += other.preparing_rebalance;
        self.completing_rebalance += other.completing_rebalance;
        self.stable += other.stable;
        self.empty += other.empty;
        self.offsets += other.offsets;
    }
}
