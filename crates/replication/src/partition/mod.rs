//! One partition on one broker, as leader or as follower (`kafka.cluster.Partition`), without its
//! log: whoever owns both passes [`LogOffsets`] in and applies what comes back to the log.

mod isr_changes;
#[cfg(test)]
mod properties;
mod reads;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
pub(crate) mod scenarios_support;
mod transitions;
mod writes;

use std::time::Duration;

use ottla_model::{
    BrokerId, ControllerEpoch, Instant, LeaderEpoch, Offset, PartitionEpoch, ReplicaAssignment,
    TopicPartition,
};

use crate::isr::IsrState;
use crate::offsets::LogOffsets;
use crate::replica::RemoteReplica;

pub use isr_changes::IsrOutcome;
pub use reads::{EpochEndOffset, ReadRequirement, check_last_fetched_epoch};
pub use transitions::{MakeFollower, MakeLeader};
pub use writes::{FollowerFetchOutcome, Required};

/// What decisions about a led partition depend on besides its own state and its log.
pub struct Surroundings<'a> {
    /// The moment.
    pub now: Instant,
    /// The topic's `min.insync.replicas` now.
    pub min_insync_replicas: i32,
    /// Whether a broker is alive as far as the controller has told us.
    pub is_alive: &'a dyn Fn(BrokerId) -> bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Partition {
    topic_partition: TopicPartition,
    local: BrokerId,
    /// `replica.lag.time.max.ms`.
    lag_max: Duration,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    /// The log end when this leadership of ours began; only on a leader.
    leader_epoch_start_offset: Option<Offset>,
    partition_epoch: PartitionEpoch,
    controller_epoch: ControllerEpoch,
    assignment: ReplicaAssignment,
    isr: IsrState,
    /// The other assigned replicas, in the order of the assignment; empty on a follower.
    remote: Vec<RemoteReplica>,
}

impl Partition {
    /// A partition that no command has reached yet: neither led nor followed.
    pub fn new(topic_partition: TopicPartition, local: BrokerId, lag_max: Duration) -> Self {
        Self {
            topic_partition,
            local,
            lag_max,
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            leader_epoch_start_offset: None,
            partition_epoch: PartitionEpoch::INITIAL,
            controller_epoch: ControllerEpoch(0),
            assignment: ReplicaAssignment::default(),
            isr: IsrState::committed(Vec::new()),
            remote: Vec::new(),
        }
    }

    /// Which partition this is.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Whether this broker leads it.
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.local)
    }

    /// The leader, if a command has told one; −1 is possible, where none is alive.
    pub fn leader(&self) -> Option<BrokerId> {
        self.leader
    }

    /// The current leadership; −1 before the first command.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The log end when this broker's current leadership began.
    pub fn leader_epoch_start_offset(&self) -> Option<Offset> {
        self.leader_epoch_start_offset
    }

    /// The version of the state that was last taken over.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// The controller that made the last decision about it.
    pub fn controller_epoch(&self) -> ControllerEpoch {
        self.controller_epoch
    }

    /// The assigned replicas.
    pub fn assignment(&self) -> &ReplicaAssignment {
        &self.assignment
    }

    /// The in-sync replicas; empty on a follower.
    pub fn isr(&self) -> &IsrState {
        &self.isr
    }

    /// What is known of the other replicas; empty on a follower.
    pub fn remote_replicas(&self) -> &[RemoteReplica] {
        &self.remote
    }

    /// Whether a running reassignment adds this replica.
    pub fn is_adding_replica(&self, replica: BrokerId) -> bool {
        self.assignment.adding.contains(&replica)
    }

    /// Fewer replicas are in sync than are assigned, those that a reassignment adds left out.
    pub fn is_under_replicated(&self) -> bool {
        let wanted = self.assignment.replicas.len() - self.assignment.adding.len();
        self.is_leader() && self.isr.isr().len() < wanted
    }

    /// Fewer replicas are in sync than writes with acks=all need.
    pub fn is_under_min_isr(&self, min_insync_replicas: i32) -> bool {
        self.is_leader() && self.isr.isr().len() < self.effective_min_isr(min_insync_replicas)
    }

    /// The minimum that can be asked for: not more than there are replicas.
    pub fn effective_min_isr(&self, min_insync_replicas: i32) -> usize {
        let asked = usize::try_from(min_insync_replicas).unwrap_or(0);
        asked.min(self.remote.len() + 1)
    }

    /// Leaves all roles: the replica was deleted, or its directory failed. Epochs stay.
    pub fn clear(&mut self) {
        self.leader = None;
        self.leader_epoch_start_offset = None;
        self.assignment = ReplicaAssignment::default();
        self.isr = IsrState::committed(Vec::new());
        self.remote.clear();
    }

    fn remote(&self, id: BrokerId) -> Option<&RemoteReplica> {
        self.remote.iter().find(|replica| replica.id == id)
    }

    fn remote_mut(&mut self, id: BrokerId) -> Option<&mut RemoteReplica> {
        self.remote.iter_mut().find(|replica| replica.id == id)
    }

    /// The high watermark that a leader should have now, if it is above the present one.
    ///
    /// It is the least log end of the maximal ISR, and of replicas that are about to join it:
    /// a follower that is caught up by time must not be outrun, or it could never join. It stays
    /// while the committed ISR is below the minimum (KIP-966).
    pub fn next_high_watermark(
        &self,
        log: &LogOffsets,
        around: &Surroundings<'_>,
    ) -> Option<Offset> {
        if !self.is_leader() || self.is_under_min_isr(around.min_insync_replicas) {
            return None;
        }
        let mut candidate = log.log_end_offset;
        for replica in &self.remote {
            if replica.log_end_offset < candidate
                && (self.isr.is_in_maximal_isr(replica.id)
                    || (replica.is_caught_up(log.log_end_offset, around.now, self.lag_max)
                        && (around.is_alive)(replica.id)))
            {
                candidate = replica.log_end_offset;
            }
        }
        (candidate > log.high_watermark).then_some(candidate)
    }

    /// What a follower's high watermark becomes after a fetch response: the leader's, but not
    /// beyond its own log nor before its start. `None` if it is unchanged or the leader told none.
    pub fn follower_high_watermark(
        leader_high_watermark: Offset,
        log: &LogOffsets,
    ) -> Option<Offset> {
        if leader_high_watermark < 0 {
            return None;
        }
        let bounded = leader_high_watermark
            .min(log.log_end_offset)
            .max(log.log_start_offset);
        (bounded != log.high_watermark).then_some(bounded)
    }

    /// The least log start of all live replicas: what DeleteRecords waits for. `future_log_start`
    /// is that of a copy in another directory of this broker, if one is being made.
    pub fn low_watermark(
        &self,
        log: &LogOffsets,
        future_log_start: Option<Offset>,
        is_alive: &dyn Fn(BrokerId) -> bool,
    ) -> Offset {
        self.remote
            .iter()
            .filter(|replica| is_alive(replica.id))
            .map(|replica| replica.log_start_offset)
            .chain(future_log_start)
            .fold(log.log_start_offset, Offset::min)
    }
}
