//! Changes of in-sync replicas on their way to the controller.

use ottla_model::{ErrorCode, LeaderAndIsr, TopicId, TopicPartition};
use ottla_replication::IsrProposal;
use ottla_replication::isr_manager::{IsrAnswer, IsrChange};
use ottla_replication::partition::IsrOutcome;

use super::ReplicaManager;
use super::hosted::{Effects, Fetches, HostedPartition};

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
        self.isr_proposed.notify_one();
        if let Err(error @ ErrorCode::OperationNotAttempted) = queued {
            hosted
                .lock()
                .partition
                .complete_isr_change(&proposal, &Err(error));
            self.counts.failed_isr_updates.mark();
        }
    }

    /// All changes that wait for the controller, if they may be sent now; see
    /// [`ottla_replication::isr_manager`].
    /// [`Self::isr_changes_wait`] tells when to ask.
    pub fn next_isr_request(&self) -> Option<Vec<(TopicPartition, IsrChange)>> {
        self.isr_manager.lock().next_request(self.clock.now())
    }

    /// Waits until a change may have to be sent: one was proposed, or a failed request is to be
    /// repeated.
    pub async fn isr_changes_wait(&self) {
        let deadline = self.isr_manager.lock().next_deadline();
        match deadline {
            Some(deadline) => {
                let deadline = self.clock.tokio_deadline(deadline);
                // Either way it is time to ask.
                _ = tokio::time::timeout_at(deadline, self.isr_proposed.notified()).await;
            }
            None => self.isr_proposed.notified().await,
        }
    }

    /// Takes the controller's answer to a request: an error of the whole, or each partition's.
    pub fn complete_isr_request(
        &self,
        sent: &[(TopicPartition, IsrChange)],
        response: Result<Vec<IsrAnswer>, ErrorCode>,
    ) {
        let now = self.clock.now();
        let answered = self.isr_manager.lock().handle_response(now, sent, response);
        for (tp, change, answer) in answered {
            let Ok(hosted) = self.find_online(tp.topic.as_str(), tp.partition) else {
                continue;
            };
            self.complete_isr_change(&hosted, &change, &answer);
        }
        // What was proposed meanwhile has waited for this request.
        self.isr_proposed.notify_one();
    }

    fn complete_isr_change(
        &self,
        hosted: &HostedPartition,
        change: &IsrChange,
        answer: &Result<LeaderAndIsr, ErrorCode>,
    ) {
        let mut effects = Effects::default();
        let outcome = {
            let mut inner = hosted.lock();
            let outcome = inner
                .partition
                .complete_isr_change(&change.proposal, answer);
            if matches!(outcome, IsrOutcome::Committed { .. })
                && inner.advance_high_watermark(self.clock.now(), &self.metadata_cache)
            {
                inner.take_produced(&mut effects);
                inner.take_deleted(&self.metadata_cache, &mut effects);
                effects.fetches = Fetches::Committed;
            }
            outcome
        };
        hosted.carry_out(effects);
        match outcome {
            IsrOutcome::Committed { expanded: true } => self.counts.isr_expands.mark(),
            IsrOutcome::Committed { expanded: false } => self.counts.isr_shrinks.mark(),
            IsrOutcome::Outdated => {}
            IsrOutcome::Ignored
            | IsrOutcome::RolledBack
            | IsrOutcome::AwaitsMetadata
            | IsrOutcome::Resubmit => self.counts.failed_isr_updates.mark(),
        }
        let partition = hosted.topic_partition();
        tracing::info!(%partition, isr = ?change.proposal.isr, ?outcome, "in-sync replicas answered");
        if outcome == IsrOutcome::Resubmit {
            self.submit_isr_change(hosted, change.proposal.clone());
        }
    }
}
