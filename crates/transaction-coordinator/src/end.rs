//! The end of a transaction: the decision, its markers, its completion.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator_runtime::{Now, RequestId, TransactionOutcome};
use ottla_model::{ErrorCode, LeaderEpoch, TopicPartition};

use crate::messages::{
    ExpectedProducer, MarkerKey, Response, TransactionAction, TransactionMarkers,
};
use crate::shard::{Purpose, TransactionCoordinatorShard};
use crate::state::TransactionState;
use crate::transaction::{Transaction, Transition};

/// After which time a refused completion is appended again. Kafka tries at its marker thread's next
/// turn.
const COMPLETION_RETRY: Duration = Duration::from_millis(100);

/// Who ends a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndedBy {
    /// Its producer.
    Client(RequestId),
    /// Another producer that takes over the id: it has to come again when the abort is complete.
    Init(RequestId),
    /// Its age.
    Timeout,
}

impl EndedBy {
    /// The two that take the transaction away from its producer do so with a higher epoch.
    fn is_fence(self) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Init(_) | Self::Timeout => true,
        }
    }
}

impl TransactionCoordinatorShard {
    pub(crate) fn end_transaction(
        &mut self,
        now: Now,
        request: RequestId,
        transactional_id: &Arc<str>,
        producer: ExpectedProducer,
        outcome: TransactionOutcome,
        actions: &mut Vec<TransactionAction>,
    ) {
        match self.decide_end(now, transactional_id, producer, outcome) {
            Ok(transition) => {
                let purpose = Purpose::End {
                    by: EndedBy::Client(request),
                };
                let transactional_id = Arc::clone(transactional_id);
                self.append_transition(now, transactional_id, transition, purpose, actions);
            }
            Err(answer) => {
                let response = Response::EndTransaction(answer);
                actions.push(TransactionAction::Reply { request, response });
            }
        }
    }

    /// Aborts an ongoing transaction under a higher epoch.
    pub(crate) fn abort_fenced(
        &mut self,
        now: Now,
        transactional_id: &Arc<str>,
        by: EndedBy,
        actions: &mut Vec<TransactionAction>,
    ) {
        if let Some(transaction) = self.transactions.get_mut(transactional_id) {
            let transition = transaction.prepare_fenced_abort(now.timestamp);
            let transactional_id = Arc::clone(transactional_id);
            let purpose = Purpose::End { by };
            self.append_transition(now, transactional_id, transition, purpose, actions);
        }
    }

    /// The decision is durable, or was refused: the client is answered before the markers are
    /// written.
    pub(crate) fn end_appended(
        &mut self,
        now: Now,
        (transactional_id, coordinator_epoch): (&Arc<str>, LeaderEpoch),
        by: EndedBy,
        result: Result<(), ErrorCode>,
        actions: &mut Vec<TransactionAction>,
    ) {
        if let Err(error) = result
            && by.is_fence()
            && let Ok(transaction) = self.owned(coordinator_epoch, transactional_id)
        {
            tracing::warn!(
                %transactional_id, %error, producer_epoch = %transaction.producer_epoch,
                "the record of an epoch fence was refused; the raised epoch was given to nobody"
            );
            transaction.has_failed_epoch_fence = true;
        }
        let reply = match by {
            EndedBy::Client(request) => {
                let answer = result.err().unwrap_or(ErrorCode::None);
                Some((request, Response::EndTransaction(answer)))
            }
            EndedBy::Init(request) => {
                let answer = result.err().unwrap_or(ErrorCode::ConcurrentTransactions);
                Some((request, Response::InitProducerId(Err(answer))))
            }
            EndedBy::Timeout => {
                match result {
                    Ok(()) => tracing::info!(%transactional_id, "aborting: its time was up"),
                    Err(error) => tracing::warn!(
                        %transactional_id, %error, "aborting a transaction whose time was up failed"
                    ),
                }
                None
            }
        };
        if let Some((request, response)) = reply {
            actions.push(TransactionAction::Reply { request, response });
        }
        if result.is_ok() {
            self.begin_completion(now, transactional_id, actions);
        }
    }

    /// Begins to write the markers of a transaction whose end is decided.
    pub(crate) fn begin_completion(
        &mut self,
        now: Now,
        transactional_id: &Arc<str>,
        actions: &mut Vec<TransactionAction>,
    ) {
        let Ok(coordinator_epoch) = self.gate() else {
            return;
        };
        let Some(transaction) = self.transactions.get_mut(transactional_id) else {
            return;
        };
        let outcome = match transaction.state {
            TransactionState::PrepareCommit => TransactionOutcome::Commit,
            _ => TransactionOutcome::Abort,
        };
        // The completion has the time of this moment, not that of its own record.
        let completion = transaction.prepare_complete(now.timestamp);
        transaction.completion = Some(completion);
        if transaction.partitions.is_empty() {
            self.complete_if_marked(now, transactional_id, actions);
            return;
        }
        actions.push(TransactionAction::SendMarkers(TransactionMarkers {
            key: MarkerKey {
                transactional_id: Arc::clone(transactional_id),
                coordinator_epoch,
                producer_id: transaction.producer_id,
                producer_epoch: transaction.producer_epoch,
            },
            outcome,
            partitions: transaction.partitions.clone(),
        }));
    }

    pub(crate) fn on_markers_written(
        &mut self,
        now: Now,
        key: &MarkerKey,
        partitions: &BTreeSet<TopicPartition>,
        actions: &mut Vec<TransactionAction>,
    ) {
        if let Some(transaction) = self.being_marked(key) {
            transaction
                .partitions
                .retain(|partition| !partitions.contains(partition));
            self.complete_if_marked(now, &key.transactional_id, actions);
        }
    }

    /// Somebody newer has taken over: the transaction stays as it is, closed to everything, until
    /// this broker loads the partition anew or loses it.
    pub(crate) fn on_markers_fenced(&mut self, key: &MarkerKey) {
        if let Some(transaction) = self.being_marked(key) {
            tracing::info!(
                ?key,
                "giving up a transaction's markers: another one has taken over"
            );
            transaction.completion = None;
        }
    }

    /// The completion's record is durable, or was refused.
    pub(crate) fn completion_appended(
        &mut self,
        now: Now,
        transactional_id: &Arc<str>,
        (coordinator_epoch, completion): (LeaderEpoch, Transition),
        result: Result<(), ErrorCode>,
    ) {
        match result {
            Ok(()) if completion.value.state == TransactionState::CompleteCommit => {
                self.stats.commits += 1;
            }
            Ok(()) => self.stats.aborts += 1,
            Err(error) => {
                let Ok(transaction) = self.owned(coordinator_epoch, transactional_id) else {
                    // Whoever loads the partition next repeats the markers.
                    return;
                };
                if error == ErrorCode::NotCoordinator {
                    transaction.pending = None;
                    return;
                }
                if error != ErrorCode::CoordinatorNotAvailable {
                    // Kafka ends the process here.
                    tracing::error!(%transactional_id, %error, "a completion was refused");
                }
                self.completion_retries
                    .insert(Arc::clone(transactional_id), completion);
                let at = now.instant + COMPLETION_RETRY;
                self.deadlines.schedule(Arc::clone(transactional_id), at);
            }
        }
    }

    pub(crate) fn retry_completions(&mut self, now: Now, actions: &mut Vec<TransactionAction>) {
        while let Some(transactional_id) = self.deadlines.pop_due(now.instant) {
            if let Some(completion) = self.completion_retries.remove(&transactional_id) {
                let purpose = Purpose::Complete;
                self.append_transition(now, transactional_id, completion, purpose, actions);
            }
        }
    }

    fn complete_if_marked(
        &mut self,
        now: Now,
        transactional_id: &Arc<str>,
        actions: &mut Vec<TransactionAction>,
    ) {
        let Some(transaction) = self.transactions.get_mut(transactional_id) else {
            return;
        };
        if !transaction.partitions.is_empty() {
            return;
        }
        if let Some(completion) = transaction.completion.take() {
            let transactional_id = Arc::clone(transactional_id);
            let purpose = Purpose::Complete;
            self.append_transition(now, transactional_id, completion, purpose, actions);
        }
    }

    /// The transaction that the markers belong to, unless it has moved on.
    fn being_marked(&mut self, key: &MarkerKey) -> Option<&mut Transaction> {
        self.owned(key.coordinator_epoch, &key.transactional_id)
            .ok()
            .filter(|transaction| {
                transaction.state.is_prepared()
                    && transaction.producer_id == key.producer_id
                    && transaction.producer_epoch == key.producer_epoch
            })
    }

    /// The transition, or the answer, NONE included, that needs none.
    fn decide_end(
        &mut self,
        now: Now,
        transactional_id: &str,
        producer: ExpectedProducer,
        outcome: TransactionOutcome,
    ) -> Result<Transition, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.gate()?;
        let transaction = self
            .transactions
            .get_mut(transactional_id)
            .ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if transaction.producer_id != producer.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if transaction.producer_epoch != producer.producer_epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if transaction.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        use TransactionOutcome::{Abort, Commit};
        match (transaction.state, outcome) {
            (TransactionState::Ongoing, outcome) => {
                let state = match outcome {
                    Commit => TransactionState::PrepareCommit,
                    Abort => TransactionState::PrepareAbort,
                };
                Ok(transaction.prepare_abort_or_commit(state, now.timestamp))
            }
            (TransactionState::CompleteCommit, Commit)
            | (TransactionState::CompleteAbort, Abort) => Err(ErrorCode::None),
            (TransactionState::PrepareCommit, Commit) | (TransactionState::PrepareAbort, Abort) => {
                Err(ErrorCode::ConcurrentTransactions)
            }
            (
                TransactionState::Empty
                | TransactionState::PrepareCommit
                | TransactionState::PrepareAbort
                | TransactionState::CompleteCommit
                | TransactionState::CompleteAbort,
                _,
            ) => Err(ErrorCode::InvalidTxnState),
            // Neither is ever a state in memory; Kafka throws.
            (TransactionState::Dead | TransactionState::PrepareEpochFence, _) => {
                Err(ErrorCode::UnknownServerError)
            }
        }
    }
}
