//! InitProducerId: who came before is fenced, and the next epoch begins.

use std::sync::Arc;

use ottla_coordinator_runtime::{Now, RequestId};
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId};

use crate::end::EndedBy;
use crate::messages::{ExpectedProducer, Response, TransactionAction};
use crate::shard::{Purpose, TransactionCoordinatorShard};
use crate::state::TransactionState;
use crate::transaction::{Transaction, Transition, is_epoch_exhausted};

/// The request, kept while it waits for a producer id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InitProducerId {
    pub(crate) transactional_id: Arc<str>,
    pub(crate) timeout_ms: i32,
    pub(crate) expected: Option<ExpectedProducer>,
}

/// What the request leads to.
enum Decision {
    /// A producer id has to be asked for first.
    NeedsProducerId,
    /// A transaction is open: it is to be aborted, and the client to come again.
    Fence,
    /// The epoch begins when this is durable.
    Begin(Transition),
}

impl TransactionCoordinatorShard {
    /// Decides the request, with the producer id that was asked for on its behalf, if one was.
    pub(crate) fn init_producer_id(
        &mut self,
        now: Now,
        request: RequestId,
        init: InitProducerId,
        allocated: Option<ProducerId>,
        actions: &mut Vec<TransactionAction>,
    ) {
        match self.decide_init(now, &init, allocated) {
            Ok(Decision::NeedsProducerId) => {
                self.awaiting_producer_id.insert(request, init);
                actions.push(TransactionAction::AllocateProducerId { request });
            }
            Ok(Decision::Begin(transition)) => {
                let purpose = Purpose::Init { request };
                self.append_transition(now, init.transactional_id, transition, purpose, actions);
            }
            Ok(Decision::Fence) => {
                self.stats.fences += 1;
                self.abort_fenced(now, &init.transactional_id, EndedBy::Init(request), actions);
            }
            Err(error) => {
                let response = Response::InitProducerId(Err(error));
                actions.push(TransactionAction::Reply { request, response });
            }
        }
    }

    /// The producer id that a request waits for has come, or will not. The request is decided
    /// anew: the shard may have changed meanwhile.
    pub(crate) fn on_producer_id(
        &mut self,
        now: Now,
        request: RequestId,
        result: Result<ProducerId, ErrorCode>,
        actions: &mut Vec<TransactionAction>,
    ) {
        let Some(init) = self.awaiting_producer_id.remove(&request) else {
            return;
        };
        match result {
            Ok(producer_id) => {
                self.init_producer_id(now, request, init, Some(producer_id), actions);
            }
            Err(error) => {
                let response = Response::InitProducerId(Err(error));
                actions.push(TransactionAction::Reply { request, response });
            }
        }
    }

    fn decide_init(
        &mut self,
        now: Now,
        init: &InitProducerId,
        allocated: Option<ProducerId>,
    ) -> Result<Decision, ErrorCode> {
        if init.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if !(1..=self.config.transaction_max_timeout_ms).contains(&init.timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        self.gate()?;
        if !self.transactions.contains_key(&init.transactional_id) {
            let Some(producer_id) = allocated else {
                return Ok(Decision::NeedsProducerId);
            };
            // It stays even if its first record is refused.
            let created = Transaction::new(producer_id, init.timeout_ms, now.timestamp);
            self.transactions
                .insert(Arc::clone(&init.transactional_id), created);
        }
        match self.transactions.get_mut(&init.transactional_id) {
            Some(transaction) => decide(transaction, now, init, allocated),
            None => Err(ErrorCode::NotCoordinator),
        }
    }
}

fn decide(
    transaction: &mut Transaction,
    now: Now,
    init: &InitProducerId,
    allocated: Option<ProducerId>,
) -> Result<Decision, ErrorCode> {
    if transaction.pending.is_some() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if init
        .expected
        .is_some_and(|expected| !may_be(transaction, expected))
    {
        return Err(ErrorCode::ProducerFenced);
    }
    match transaction.state {
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
            Err(ErrorCode::ConcurrentTransactions)
        }
        TransactionState::Ongoing => Ok(Decision::Fence),
        TransactionState::Empty
        | TransactionState::CompleteCommit
        | TransactionState::CompleteAbort => {
            let expected = init.expected.map(|expected| expected.producer_epoch);
            let is_current = expected.is_none_or(|epoch| epoch == transaction.producer_epoch);
            if !is_epoch_exhausted(transaction.producer_epoch) || !is_current {
                return transaction
                    .prepare_increment_producer_epoch(init.timeout_ms, expected, now.timestamp)
                    .map(Decision::Begin);
            }
            let Some(producer_id) = allocated else {
                return Ok(Decision::NeedsProducerId);
            };
            Ok(Decision::Begin(transaction.prepare_producer_id_rotation(
                producer_id,
                init.timeout_ms,
                expected.is_some(),
                now.timestamp,
            )))
        }
        // Neither is ever a state in memory; Kafka throws.
        TransactionState::Dead | TransactionState::PrepareEpochFence => {
            Err(ErrorCode::UnknownServerError)
        }
    }
}

/// Whether the client may be the id's producer, as far as the producer id tells (KIP-360): the id
/// is new, or it is the client's, or it was until its epochs were exhausted and the client did not
/// hear of it.
fn may_be(transaction: &Transaction, expected: ExpectedProducer) -> bool {
    transaction.producer_epoch == ProducerEpoch::NONE
        || expected.producer_id == transaction.producer_id
        || (expected.producer_id == transaction.last_producer_id
            && is_epoch_exhausted(expected.producer_epoch))
}
