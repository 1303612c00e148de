//! Which transactional records of a Produce request may be appended (KIP-890, part 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};
use ottla_record::BatchIterator;
use ottla_storage::VerificationGuard;
use ottla_transaction_coordinator::ExpectedProducer;

use crate::broker::Broker;
use crate::replica_manager::{AppendEntry, AppendOutcome};

/// From this version on there is TRANSACTION_ABORTABLE.
const FIRST_WITH_ABORTABLE: i16 = 11;

/// Verifies what begins a transaction in its partition and gives those entries their guards.
/// Returns, by their place, the entries that must not be appended.
pub(crate) async fn verify(
    broker: &Broker,
    version: i16,
    transactional_id: &str,
    entries: &mut [AppendEntry],
) -> BTreeMap<usize, AppendOutcome> {
    let mut producers = BTreeSet::new();
    let mut transactional: Vec<(usize, i32)> = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let mut first_sequence = None;
        for batch in BatchIterator::new(&entry.records).flatten() {
            first_sequence.get_or_insert(batch.base_sequence);
            if batch.is_transactional() && batch.has_producer_id() {
                producers.insert((batch.producer_id, batch.producer_epoch));
                if transactional.last().is_none_or(|(last, _)| *last != place) {
                    transactional.push((place, first_sequence.unwrap_or(-1)));
                }
            }
        }
    }
    let Some(&(producer_id, producer_epoch)) = producers.first() else {
        return BTreeMap::new();
    };
    if producers.len() > 1 {
        let message = "Transactional records contained more than one producer ID";
        let outcome = AppendOutcome::refused(
            ErrorCode::InvalidProducerIdMapping,
            Some(message.to_owned()),
        );
        return (0..entries.len())
            .map(|place| (place, outcome.clone()))
            .collect();
    }
    if !broker
        .configs
        .broker()
        .transaction_partition_verification_enable
    {
        return BTreeMap::new();
    }
    let mut asked: BTreeMap<TopicPartition, usize> = BTreeMap::new();
    for (place, base_sequence) in transactional {
        let entry = &mut entries[place];
        // What cannot be appended to is refused by the append.
        let Ok(hosted) = &entry.hosted else { continue };
        let guard = broker.replica_manager.start_verification(
            hosted,
            producer_id,
            producer_epoch,
            base_sequence,
        );
        if let Ok(guard) = guard
            && guard != VerificationGuard::NONE
        {
            asked.insert(hosted.topic_partition().clone(), place);
            entry.guard = guard;
        }
    }
    if asked.is_empty() {
        return BTreeMap::new();
    }
    ask(
        broker,
        version,
        transactional_id,
        (producer_id, producer_epoch),
        asked,
    )
    .await
}

async fn ask(
    broker: &Broker,
    version: i16,
    transactional_id: &str,
    (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
    asked: BTreeMap<TopicPartition, usize>,
) -> BTreeMap<usize, AppendOutcome> {
    let refused = broker
        .transaction_verifier
        .verify(
            Arc::from(transactional_id),
            ExpectedProducer {
                producer_id,
                producer_epoch,
            },
            asked.keys().cloned().collect(),
            version >= FIRST_WITH_ABORTABLE,
        )
        .await;
    refused
        .into_iter()
        .filter_map(|(partition, error)| Some((*asked.get(&partition)?, outcome(error))))
        .collect()
}

/// What a producer is told. Errors that some clients do not retry become one that all do, and that
/// does not make them look for new metadata.
fn outcome(error: ErrorCode) -> AppendOutcome {
    match error {
        ErrorCode::InvalidTxnState => {
            let message = "Partition was not added to the transaction";
            AppendOutcome::refused(error, Some(message.to_owned()))
        }
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => {
            let message = format!(
                "Unable to verify the partition has been added to the transaction. Underlying \
                 error: {}",
                error.name()
            );
            AppendOutcome::refused(ErrorCode::NotEnoughReplicas, Some(message))
        }
        error => AppendOutcome::refused(error, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_coordinators_become_what_producers_retry() {
        for (error, told) in [
            (ErrorCode::InvalidTxnState, ErrorCode::InvalidTxnState),
            (
                ErrorCode::TransactionAbortable,
                ErrorCode::TransactionAbortable,
            ),
            (
                ErrorCode::InvalidProducerEpoch,
                ErrorCode::InvalidProducerEpoch,
            ),
            (
                ErrorCode::InvalidProducerIdMapping,
                ErrorCode::InvalidProducerIdMapping,
            ),
            (
                ErrorCode::ConcurrentTransactions,
                ErrorCode::NotEnoughReplicas,
            ),
            (ErrorCode::NetworkException, ErrorCode::NotEnoughReplicas),
            (
                ErrorCode::CoordinatorLoadInProgress,
                ErrorCode::NotEnoughReplicas,
            ),
            (
                ErrorCode::CoordinatorNotAvailable,
                ErrorCode::NotEnoughReplicas,
            ),
            (ErrorCode::NotCoordinator, ErrorCode::NotEnoughReplicas),
        ] {
            assert_eq!(outcome(error).error, told, "{error}");
        }
        let message = outcome(ErrorCode::NotCoordinator).error_message.unwrap();
        assert_eq!(
            message,
            "Unable to verify the partition has been added to the transaction. Underlying error: \
             NOT_COORDINATOR"
        );
    }
}
