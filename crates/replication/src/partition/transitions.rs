//! Becoming leader, becoming follower.

use ottla_model::control::LeaderAndIsrPartition;
use ottla_model::{BrokerId, Instant, LeaderEpoch, LeaderRecoveryState, Offset};

use super::Partition;
use crate::isr::IsrState;
use crate::replica::RemoteReplica;

/// What came of a command to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MakeLeader {
    /// A newer state is already known: nothing changed.
    Skipped,
    /// This broker leads. The driver records `epoch_start` in the log's epoch cache, even though
    /// nothing is written yet (followers truncate by it), and re-evaluates the high watermark.
    Leads {
        /// It did not lead before: those who wait for elections are told.
        is_new_leader: bool,
        /// The leadership that begins and where.
        epoch_start: Option<(LeaderEpoch, Offset)>,
    },
}

/// What came of a command to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MakeFollower {
    /// A newer state is already known: nothing changed.
    Skipped,
    /// This broker follows.
    Follows {
        /// The leadership changed: the fetcher restarts and waiting requests are answered.
        is_new_leader_epoch: bool,
    },
}

impl Partition {
    /// Takes over a command that names this broker as leader. The caller has checked the leader
    /// epoch ([`crate::control`]) and has created the log, whose end is given.
    pub fn make_leader(
        &mut self,
        command: &LeaderAndIsrPartition,
        log_end_offset: Offset,
        now: Instant,
    ) -> MakeLeader {
        let state = &command.state;
        assert_eq!(
            state.leader, self.local,
            "only the leader that is named leads"
        );
        if state.partition_epoch < self.partition_epoch {
            return MakeLeader::Skipped;
        }
        self.controller_epoch = state.controller_epoch;
        let is_new_leader = !self.is_leader();
        let is_new_leader_epoch = state.leader_epoch > self.leader_epoch;

        self.assignment = command.assignment.clone();
        self.keep_remote_replicas();
        // An unclean leader's recovery is not implemented by Kafka: it counts as done at once.
        self.isr = IsrState::Committed {
            isr: state.isr.clone(),
            recovery: LeaderRecoveryState::Recovered,
        };
        let epoch_start = is_new_leader_epoch.then_some((state.leader_epoch, log_end_offset));
        if is_new_leader_epoch {
            // A leader that was told of another one while that was not alive still takes itself for
            // the leader. Followers may have cut their logs for the other: what is known of these
            // is void, or the high watermark would pass what they have. Kafka keeps it.
            let led_before = self.is_leader() && follows(self.leader_epoch, state.leader_epoch);
            for replica in &mut self.remote {
                let in_sync = state.isr.contains(&replica.id);
                replica.reset(now, log_end_offset, !led_before, in_sync);
            }
            self.leader_epoch = state.leader_epoch;
            self.leader_epoch_start_offset = Some(log_end_offset);
        }
        self.partition_epoch = state.partition_epoch;
        self.leader = Some(self.local);
        MakeLeader::Leads {
            is_new_leader,
            epoch_start,
        }
    }

    /// Takes over a command that names another leader, which the caller knows to be alive.
    pub fn make_follower(&mut self, command: &LeaderAndIsrPartition) -> MakeFollower {
        let state = &command.state;
        assert_ne!(
            state.leader, self.local,
            "the leader that is named does not follow"
        );
        if state.partition_epoch < self.partition_epoch {
            return MakeFollower::Skipped;
        }
        let is_new_leader_epoch = state.leader_epoch > self.leader_epoch;
        self.controller_epoch = state.controller_epoch;
        self.leader = Some(state.leader);
        self.leader_epoch = state.leader_epoch.max(self.leader_epoch);
        self.leader_epoch_start_offset = None;
        self.partition_epoch = state.partition_epoch;
        self.assignment = command.assignment.clone();
        self.isr = IsrState::Committed {
            isr: Vec::new(),
            recovery: state.recovery,
        };
        self.remote.clear();
        MakeFollower::Follows {
            is_new_leader_epoch,
        }
    }

    /// Makes the remote replicas those of the assignment and keeps what is known of them.
    fn keep_remote_replicas(&mut self) {
        let known = std::mem::take(&mut self.remote);
        let followers = self
            .assignment
            .replicas
            .iter()
            .filter(|id| **id != self.local);
        let mut remote: Vec<RemoteReplica> = Vec::new();
        for &id in followers {
            if remote.iter().any(|replica| replica.id == id) {
                continue;
            }
            remote.push(find_or_unknown(&known, id));
        }
        self.remote = remote;
    }
}

/// Whether nobody can have led between two epochs.
fn follows(before: LeaderEpoch, now: LeaderEpoch) -> bool {
    before.0.checked_add(1) == Some(now.0)
}

fn find_or_unknown(known: &[RemoteReplica], id: BrokerId) -> RemoteReplica {
    known
        .iter()
        .find(|replica| replica.id == id)
        .cloned()
        .unwrap_or_else(|| RemoteReplica::unknown(id))
}
