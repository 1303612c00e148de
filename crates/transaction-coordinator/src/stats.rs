//! What the coordinator counts; the broker exports it.

use std::ops::AddAssign;

/// Counters since the shard was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Transactions whose completion with commit markers is durable.
    pub commits: u64,
    /// Transactions whose completion with abort markers is durable.
    pub aborts: u64,
    /// Aborts begun because a transaction's time was up.
    pub timeouts: u64,
    /// Aborts begun because a new producer took over an ongoing transaction.
    pub fences: u64,
    /// Transactional ids forgotten because they were idle.
    pub expirations: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.timeouts += other.timeouts;
        self.fences += other.fences;
        self.expirations += other.expirations;
    }
}

/// Numbers of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// Ids in memory.
    pub transactional_ids: usize,
    /// Of them in Ongoing.
    pub ongoing: usize,
    /// Of them in PrepareCommit or PrepareAbort.
    pub prepared: usize,
    /// `LogAppendRetryQueueSize` of `TransactionMarkerChannelManager`: completions whose record is
    /// to be appended again.
    pub log_append_retries: usize,
}

impl AddAssign for Gauges {
    fn add_assign(&mut self, other: Self) {
        self.transactional_ids += other.transactional_ids;
        self.ongoing += other.ongoing;
        self.prepared += other.prepared;
        self.log_append_retries += other.log_append_retries;
    }
}
