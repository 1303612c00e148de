//! AddOffsetsToTxn (key 25, versions 0–4): a group's offsets join a transaction.

use std::sync::Arc;

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use ottla_model::TopicPartition;
use ottla_model::ids::GROUP_METADATA_TOPIC;
use ottla_network::RequestContext;

use super::transaction_wire::{FIRST_WITH_FENCED, fenced_for, producer};
use crate::broker::Broker;

/// Adds the group's partition of the offsets topic, whether that exists or not.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let partition = broker.group_coordinator.partition_for(&request.group_id);
    let partitions = [TopicPartition::new(GROUP_METADATA_TOPIC, partition)].into();
    let error = broker
        .transaction_coordinator
        .add_partitions(
            Arc::from(request.transactional_id.as_str()),
            producer(request.producer_id, request.producer_epoch),
            partitions,
        )
        .await;
    let error = fenced_for(context.header.api_version, FIRST_WITH_FENCED, error);
    AddOffsetsToTxnResponse::default().with_error_code(error.code())
}
