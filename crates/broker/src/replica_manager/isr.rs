//! Changes of in-sync replicas on their way to the controller.

use ottla_model::ErrorCode;
use ottla_model::TopicId;
use ottla_replication::IsrProposal;
use ottla_replication::isr_manager::IsrChange;

use super::ReplicaManager;
use super::hosted::HostedPartition;

impl ReplicaManager {
    /// Drops followers from the ISR that have not kept up; to be run every half
    /// `replica.lag.time.max.ms`.
    pub fn shrink_isrs(&self) {
        let now = self.clock.now();
        for hosted in self.table.load().online() {
            if hosted.view().partition().assignment().replicas.len() <= 1 {
                continue;
            }
            let proposal = {
                let mut inner = hosted.lock();
                let log_end_offset = inner.offsets().log_end_offset;
                inner.partition.propose_shrink(log_end_offset, now)
            };
            if let Some(proposal) = proposal {
                self.submit_isr_change(hosted, proposal);
            }
        }
    }

    /// Queues a proposal for the controller. If another one of the partition is still queued, the
    /// partition goes back to its committed ISR and tries again with the next fetch.
    pub(super) fn submit_isr_change(&self, hosted: &HostedPartition, proposal: IsrProposal) {
        let change = {
            let inner = hosted.lock();
            IsrChange {
                topic_id: hosted.view().topic_id().unwrap_or(TopicId::ZERO),
                proposal: proposal.clone(),
                controller_epoch: inner.partition.controller_epoch(),
            }
        };
        tracing::info!(
            partition = %hosted.topic_partition(),
            isr = ?proposal.isr,
            leader_epoch = proposal.leader_epoch.0,
            partition_epoch = proposal.partition_epoch.0,
            "proposing in-sync replicas"
        );
        let tp = hosted.topic_partition().clone();
        let queued = self.isr_manager.lock().submit(tp, change);
        if let Err(error @ ErrorCode::OperationNotAttempted) = queued {
            hosted
                .lock()
                .partition
                .complete_isr_change(&proposal, &Err(error));
        }
    }
}
