//! What the coordinator counts; the broker exports it under Kafka's names.

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
