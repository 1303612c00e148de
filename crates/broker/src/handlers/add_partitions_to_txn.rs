//! AddPartitionsToTxn (key 24, versions 0–5). Up to version 3 a client adds partitions to its
//! transaction; from 4 on brokers ask about many transactions at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use ottla_model::{ErrorCode, TopicPartition};
use ottla_network::RequestContext;

use super::transaction_wire::{FIRST_WITH_FENCED, fenced_for, producer};
use super::wire;
use crate::broker::Broker;

/// From this version on the request is one of brokers.
const FIRST_BATCHED: i16 = 4;

/// Answers the request: per transaction all partitions are added, or none.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let version = context.header.api_version;
    if version < FIRST_BATCHED {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        let results = results(broker, version, &transaction).await;
        return AddPartitionsToTxnResponse::default()
            .with_results_by_topic_v3_and_below(encode(results));
    }
    let mut by_transaction = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let results = results(broker, version, &transaction).await;
        by_transaction.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id)
                .with_topic_results(encode(results)),
        );
    }
    AddPartitionsToTxnResponse::default().with_results_by_transaction(by_transaction)
}

async fn results(
    broker: &Broker,
    version: i16,
    transaction: &AddPartitionsToTxnTransaction,
) -> BTreeMap<TopicPartition, ErrorCode> {
    let partitions = partitions(&transaction.topics);
    if let Some(refused) = refused(broker, version, &partitions) {
        return refused;
    }
    let transactional_id: Arc<str> = Arc::from(transaction.transactional_id.as_str());
    let who = producer(transaction.producer_id, transaction.producer_epoch);
    let coordinator = &broker.transaction_coordinator;
    if transaction.verify_only {
        return coordinator
            .verify_partitions(&transactional_id, who, &partitions)
            .into_iter()
            .collect();
    }
    let error = coordinator
        .add_partitions(transactional_id, who, partitions.clone())
        .await;
    let error = fenced_for(version, FIRST_WITH_FENCED, error);
    partitions
        .into_iter()
        .map(|partition| (partition, error))
        .collect()
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> BTreeSet<TopicPartition> {
    let mut partitions = BTreeSet::new();
    for topic in topics {
        let name = wire::topic_name(&topic.name);
        for &partition in &topic.partitions {
            partitions.insert(TopicPartition {
                topic: name.clone(),
                partition,
            });
        }
    }
    partitions
}

/// What is wrong with single partitions; the others are then not attempted. Clients have no right
/// to internal topics.
fn refused(
    broker: &Broker,
    version: i16,
    partitions: &BTreeSet<TopicPartition>,
) -> Option<BTreeMap<TopicPartition, ErrorCode>> {
    let snapshot = broker.metadata_cache.snapshot();
    let error_of = |partition: &TopicPartition| {
        if version < FIRST_BATCHED && partition.topic.is_internal() {
            ErrorCode::TopicAuthorizationFailed
        } else if !snapshot.contains(partition) {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::OperationNotAttempted
        }
    };
    let errors: BTreeMap<TopicPartition, ErrorCode> = partitions
        .iter()
        .map(|partition| (partition.clone(), error_of(partition)))
        .collect();
    let is_fine = errors
        .values()
        .all(|error| *error == ErrorCode::OperationNotAttempted);
    (!is_fine).then_some(errors)
}

fn encode(results: BTreeMap<TopicPartition, ErrorCode>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    for (TopicPartition { topic, partition }, error) in results {
        let result = AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(partition)
            .with_partition_error_code(error.code());
        match topics.last_mut() {
            Some(last) if last.name.as_str() == topic.as_str() => {
                last.results_by_partition.push(result);
            }
            _ => topics.push(
                AddPartitionsToTxnTopicResult::default()
                    .with_name(wire::name(&topic))
                    .with_results_by_partition(vec![result]),
            ),
        }
    }
    topics
}
