//! Proposing changes of the ISR and taking over the controller's answer.

use ottla_model::{BrokerId, ErrorCode, Instant, LeaderAndIsr, Offset};

use super::{Partition, Surroundings};
use crate::isr::{IsrProposal, IsrState};
use crate::offsets::LogOffsets;

/// What came of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsrOutcome {
    /// The answer is about a state that a newer command has replaced: ignored.
    Outdated,
    /// The controller agreed. Re-evaluate the high watermark.
    Committed {
        /// It was an expansion, otherwise a shrink.
        expanded: bool,
    },
    /// The controller's answer is for another epoch than ours; still pending (FailedIsrUpdates).
    Ignored,
    /// Certainly not applied: back to the committed state.
    RolledBack,
    /// Given up; the change stays pending until the next LeaderAndIsr tells what is true.
    AwaitsMetadata,
    /// Submit the same proposal again.
    Resubmit,
}

impl Partition {
    /// Whether a follower that has just fetched should join the ISR, which it may once it has all
    /// that is committed and all that was there when our leadership began. The change is pending
    /// from here on.
    pub(super) fn propose_expansion(
        &mut self,
        follower: BrokerId,
        log: &LogOffsets,
        around: &Surroundings<'_>,
    ) -> Option<IsrProposal> {
        let log_end_offset = self.remote(follower)?.log_end_offset;
        let joins = self.is_leader()
            && !self.isr.is_in_flight()
            && !self.isr.isr().contains(&follower)
            && log_end_offset >= log.high_watermark
            && self
                .leader_epoch_start_offset
                .is_some_and(|start| log_end_offset >= start)
            && (around.is_alive)(follower);
        if !joins {
            return None;
        }
        let committed = self.isr.isr().to_vec();
        let mut isr = committed.clone();
        isr.push(follower);
        let proposal = self.proposal(isr);
        self.isr = IsrState::PendingExpand {
            proposal: proposal.clone(),
            joining: follower,
            committed,
            recovery: proposal.recovery,
        };
        Some(proposal)
    }

    /// The members of the ISR that are not caught up; none while a change is in flight.
    pub fn out_of_sync_replicas(&self, log_end_offset: Offset, now: Instant) -> Vec<BrokerId> {
        if !self.is_leader() || self.isr.is_in_flight() {
            return Vec::new();
        }
        let lags = |id: BrokerId| {
            self.remote(id)
                .is_none_or(|r| !r.is_caught_up(log_end_offset, now, self.lag_max))
        };
        self.isr
            .isr()
            .iter()
            .copied()
            .filter(|id| *id != self.local && lags(*id))
            .collect()
    }

    /// Proposes to drop the members that are not caught up; run every half `replica.lag.time.max.ms`.
    pub fn propose_shrink(&mut self, log_end_offset: Offset, now: Instant) -> Option<IsrProposal> {
        let out = self.out_of_sync_replicas(log_end_offset, now);
        if out.is_empty() {
            return None;
        }
        let committed = self.isr.isr().to_vec();
        let proposal = self.proposal(
            committed
                .iter()
                .copied()
                .filter(|id| !out.contains(id))
                .collect(),
        );
        self.isr = IsrState::PendingShrink {
            proposal: proposal.clone(),
            committed,
            recovery: proposal.recovery,
        };
        Some(proposal)
    }

    /// Takes over the controller's answer to a proposal.
    pub fn complete_isr_change(
        &mut self,
        proposal: &IsrProposal,
        answer: &Result<LeaderAndIsr, ErrorCode>,
    ) -> IsrOutcome {
        if self.isr.proposal() != Some(proposal) {
            return IsrOutcome::Outdated;
        }
        match answer {
            Ok(state)
                if state.leader_epoch != self.leader_epoch
                    || state.partition_epoch < self.partition_epoch =>
            {
                IsrOutcome::Ignored
            }
            Ok(state) => {
                let expanded = matches!(self.isr, IsrState::PendingExpand { .. });
                self.isr = IsrState::Committed {
                    isr: state.isr.clone(),
                    recovery: state.recovery,
                };
                self.partition_epoch = state.partition_epoch;
                IsrOutcome::Committed { expanded }
            }
            // The controller says that our partition epoch is right and the change was not made.
            Err(ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica) => {
                self.isr = self.isr.rolled_back();
                IsrOutcome::RolledBack
            }
            // The change may have been made by an earlier attempt or by a former controller, so
            // the committed state is not known: only a new command tells.
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => IsrOutcome::AwaitsMetadata,
            Err(_) => IsrOutcome::Resubmit,
        }
    }

    fn proposal(&self, isr: Vec<BrokerId>) -> IsrProposal {
        IsrProposal {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr,
            recovery: self.isr.recovery(),
        }
    }
}
