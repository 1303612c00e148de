//! AddPartitionsToTxn: partitions join the transaction, or are found to be in it (KIP-890).

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator_runtime::{Now, RequestId};
use ottla_model::{ErrorCode, ProducerEpoch, TopicPartition};

use crate::messages::{ExpectedProducer, Response, TransactionAction};
use crate::shard::{Purpose, TransactionCoordinatorShard};
use crate::state::TransactionState;
use crate::transaction::{Transaction, Transition};

impl TransactionCoordinatorShard {
    /// AddPartitionsToTxn with VerifyOnly: each partition is answered NONE or TRANSACTION_ABORTABLE,
    /// or all with the same error. A transition under way does not matter: the leader of the
    /// partition looks again when it appends.
    pub fn verify_partitions(
        &self,
        transactional_id: &str,
        producer: ExpectedProducer,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let verified = self.transaction_to_verify(transactional_id, producer);
        let answer = |partition: &TopicPartition| match verified {
            Err(error) => error,
            Ok(transaction) if transaction.partitions.contains(partition) => ErrorCode::None,
            Ok(_) => ErrorCode::TransactionAbortable,
        };
        partitions
            .iter()
            .map(|partition| (partition.clone(), answer(partition)))
            .collect()
    }

    fn transaction_to_verify(
        &self,
        transactional_id: &str,
        producer: ExpectedProducer,
    ) -> Result<&Transaction, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.gate()?;
        let transaction = self
            .transactions
            .get(transactional_id)
            .ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_producer(transaction, producer)?;
        if transaction.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        Ok(transaction)
    }

    pub(crate) fn add_partitions(
        &mut self,
        now: Now,
        request: RequestId,
        transactional_id: &Arc<str>,
        producer: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
        actions: &mut Vec<TransactionAction>,
    ) {
        match self.decide_add(now, transactional_id, producer, partitions) {
            Ok(transition) => {
                let purpose = Purpose::AddPartitions { request };
                let transactional_id = Arc::clone(transactional_id);
                self.append_transition(now, transactional_id, transition, purpose, actions);
            }
            Err(answer) => {
                let response = Response::AddPartitions(answer);
                actions.push(TransactionAction::Reply { request, response });
            }
        }
    }

    /// The transition, or the answer, NONE included, that needs none.
    fn decide_add(
        &mut self,
        now: Now,
        transactional_id: &str,
        producer: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<Transition, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.gate()?;
        let transaction = self
            .transactions
            .get_mut(transactional_id)
            .ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_producer(transaction, producer)?;
        if transaction.pending.is_some() || transaction.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if transaction.state == TransactionState::Ongoing
            && partitions.is_subset(&transaction.partitions)
        {
            return Err(ErrorCode::None);
        }
        if transaction.producer_epoch == ProducerEpoch::NONE {
            // The record of the id's first epoch was refused; Kafka throws.
            return Err(ErrorCode::UnknownServerError);
        }
        Ok(transaction.prepare_add_partitions(partitions, now.timestamp))
    }
}

/// Whether the client is the id's producer of now.
fn check_producer(transaction: &Transaction, producer: ExpectedProducer) -> Result<(), ErrorCode> {
    if transaction.producer_id != producer.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if transaction.producer_epoch != producer.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}
