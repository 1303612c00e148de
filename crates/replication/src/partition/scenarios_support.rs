//! Partitions in a known state, for the tests of this crate.

use std::time::Duration;

use ottla_model::control::LeaderAndIsrPartition;
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, Instant, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, Offset, PartitionEpoch, ReplicaAssignment, TopicPartition,
};

use super::{Partition, Surroundings};
use crate::offsets::LogOffsets;
use crate::replica::FollowerFetch;

pub(crate) const LAG_MAX: Duration = Duration::from_millis(30_000);

pub(crate) fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

pub(crate) fn command(
    leader: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    replicas: &[i32],
    isr: &[i32],
) -> LeaderAndIsrPartition {
    LeaderAndIsrPartition {
        topic_partition: TopicPartition::new("t", 0),
        state: LeaderAndIsr {
            leader: BrokerId(leader),
            leader_epoch: LeaderEpoch(leader_epoch),
            isr: ids(isr),
            recovery: LeaderRecoveryState::Recovered,
            partition_epoch: PartitionEpoch(partition_epoch),
            controller_epoch: ControllerEpoch(1),
        },
        assignment: ReplicaAssignment::of(ids(replicas)),
        is_new: false,
    }
}

pub(crate) fn unled() -> Partition {
    Partition::new(TopicPartition::new("t", 0), BrokerId(1), LAG_MAX)
}

/// Broker 1 leads at epoch 1 since time 0; all replicas are in sync; the log ends at `end`.
pub(crate) fn leader(replicas: &[i32], end: Offset) -> (Partition, LogOffsets) {
    let mut partition = unled();
    partition.make_leader(&command(1, 1, 1, replicas, replicas), 0, Instant::ZERO);
    (partition, log(end, 0))
}

pub(crate) fn log(end: Offset, high_watermark: Offset) -> LogOffsets {
    LogOffsets {
        log_start_offset: 0,
        high_watermark,
        last_stable_offset: high_watermark,
        log_end_offset: end,
    }
}

pub(crate) fn all_alive(millis: u64, min_insync_replicas: i32) -> Surroundings<'static> {
    Surroundings {
        now: Instant::from_millis(millis),
        min_insync_replicas,
        is_alive: &|_| true,
    }
}

pub(crate) fn fetch(offset: Offset, millis: u64, leader_end: Offset) -> FollowerFetch {
    FollowerFetch {
        fetch_offset: offset,
        log_start_offset: 0,
        broker_epoch: BrokerEpoch::NONE,
        now: Instant::from_millis(millis),
        leader_log_end_offset: leader_end,
    }
}
