//! TxnOffsetCommit (key 28, versions 0–4): offsets that count once their transaction commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use ottla_group_coordinator::{self as group, OffsetAndMetadata, offset_commit_error};
use ottla_model::ids::GROUP_METADATA_TOPIC;
use ottla_model::{ErrorCode, LeaderEpoch, Timestamp, TopicName, TopicPartition};
use ottla_network::RequestContext;
use ottla_storage::VerificationGuard;

use super::group_wire::{shared, shared_option};
use super::transaction_wire::producer;
use super::wire;
use crate::broker::Broker;

/// Before this version producers take COORDINATOR_LOAD_IN_PROGRESS badly (KAFKA-7296).
const FIRST_WITH_LOADING: i16 = 2;
/// From this version on there is TRANSACTION_ABORTABLE.
const FIRST_WITH_ABORTABLE: i16 = 4;
/// A commit has no sequence number.
const NO_SEQUENCE: i32 = -1;

/// Answers what does not exist first, then what the coordinator says of the rest.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let version = context.header.api_version;
    let now = broker.clock.wall();
    let mut answers: Vec<(TopicPartition, ErrorCode)> = Vec::new();
    let mut known: Vec<(TopicPartition, OffsetAndMetadata)> = Vec::new();
    let snapshot = broker.metadata_cache.snapshot();
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for committed in &topic.partitions {
            let partition = TopicPartition {
                topic: name.clone(),
                partition: committed.partition_index,
            };
            if snapshot.contains(&partition) {
                known.push((partition, offset_and_metadata(committed, now)));
            } else {
                answers.push((partition, ErrorCode::UnknownTopicOrPartition));
            }
        }
    }
    if !known.is_empty() {
        answers.extend(commit(broker, version, &request, known).await);
    }
    if version < FIRST_WITH_LOADING {
        for (_, error) in &mut answers {
            if *error == ErrorCode::CoordinatorLoadInProgress {
                *error = ErrorCode::CoordinatorNotAvailable;
            }
        }
    }
    encode(answers)
}

async fn commit(
    broker: &Broker,
    version: i16,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
) -> Vec<(TopicPartition, ErrorCode)> {
    let group_id = shared(&request.group_id);
    let coordinator = &broker.group_coordinator;
    let verified = match coordinator.begin_transactional_commit(&group_id) {
        Ok(()) => verify(broker, version, request)
            .await
            .map_err(offset_commit_error),
        Err(error) => Err(error),
    };
    let guard = match verified {
        Ok(guard) => guard,
        Err(error) => {
            return offsets
                .into_iter()
                .map(|(partition, _)| (partition, error))
                .collect();
        }
    };
    let who = producer(request.producer_id, request.producer_epoch);
    let commit = group::OffsetCommitRequest {
        group_id,
        member_id: shared(&request.member_id),
        group_instance_id: shared_option(request.group_instance_id.as_ref()),
        generation_id: request.generation_id,
        offsets,
    };
    let commit = group::TxnOffsetCommitRequest {
        commit,
        producer_id: who.producer_id,
        producer_epoch: who.producer_epoch,
    };
    coordinator
        .commit_transactional_offsets(commit, guard)
        .await
}

/// Asks the transaction's coordinator whether the group's partition of the offsets topic is in it.
async fn verify(
    broker: &Broker,
    version: i16,
    request: &TxnOffsetCommitRequest,
) -> Result<VerificationGuard, ErrorCode> {
    if !broker
        .configs
        .broker()
        .transaction_partition_verification_enable
    {
        return Ok(VerificationGuard::NONE);
    }
    let partition = TopicPartition::new(
        GROUP_METADATA_TOPIC,
        broker.group_coordinator.partition_for(&request.group_id),
    );
    let who = producer(request.producer_id, request.producer_epoch);
    let replica_manager = &broker.replica_manager;
    let hosted = replica_manager.find_online(partition.topic.as_str(), partition.partition)?;
    let guard = replica_manager.start_verification(
        &hosted,
        who.producer_id,
        who.producer_epoch,
        NO_SEQUENCE,
    )?;
    if guard == VerificationGuard::NONE {
        return Ok(guard);
    }
    let transactional_id: Arc<str> = Arc::from(request.transactional_id.as_str());
    let knows_abortable = version >= FIRST_WITH_ABORTABLE;
    let refused = broker
        .transaction_verifier
        .verify(transactional_id, who, [partition].into(), knows_abortable)
        .await;
    match refused.into_values().next() {
        Some(error) => Err(error),
        None => Ok(guard),
    }
}

fn offset_and_metadata(
    committed: &TxnOffsetCommitRequestPartition,
    now: Timestamp,
) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: committed.committed_offset,
        leader_epoch: LeaderEpoch(committed.committed_leader_epoch),
        metadata: committed
            .committed_metadata
            .as_deref()
            .unwrap_or_default()
            .into(),
        commit_timestamp: now,
        expire_timestamp: None,
    }
}

fn encode(answers: Vec<(TopicPartition, ErrorCode)>) -> TxnOffsetCommitResponse {
    let mut topics: BTreeMap<TopicName, Vec<TxnOffsetCommitResponsePartition>> = BTreeMap::new();
    for (partition, error) in answers {
        topics.entry(partition.topic).or_default().push(
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition)
                .with_error_code(error.code()),
        );
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        TxnOffsetCommitResponseTopic::default()
            .with_name(wire::name(&name))
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
