//! InitProducerId (key 22, versions 0–5): a producer's id and epoch. Any broker serves idempotent
//! producers; a transactional id is for its coordinator.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_network::RequestContext;
use ottla_transaction_coordinator::ExpectedProducer;

use super::transaction_wire::{fenced_for, producer};
use crate::broker::Broker;

/// From this version on there is PRODUCER_FENCED.
const FIRST_WITH_FENCED: i16 = 4;

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let none = producer(ProducerId::NONE.0.into(), ProducerEpoch::NONE.0);
    let (error, given) = match init(broker, &request).await {
        Ok(given) => (ErrorCode::None, given),
        Err(error) => {
            let version = context.header.api_version;
            (fenced_for(version, FIRST_WITH_FENCED, error), none)
        }
    };
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(given.producer_id.0.into())
        .with_producer_epoch(given.producer_epoch.0)
}

async fn init(
    broker: &Broker,
    request: &InitProducerIdRequest,
) -> Result<ExpectedProducer, ErrorCode> {
    let known = producer(request.producer_id, request.producer_epoch);
    let has_id = known.producer_id != ProducerId::NONE;
    let has_epoch = known.producer_epoch != ProducerEpoch::NONE;
    if has_id != has_epoch {
        return Err(ErrorCode::InvalidRequest);
    }
    let Some(transactional_id) = &request.transactional_id else {
        let producer_id = broker.producer_ids.next().await?;
        return Ok(ExpectedProducer {
            producer_id,
            producer_epoch: ProducerEpoch(0),
        });
    };
    let expected = has_id.then_some(known);
    broker
        .transaction_coordinator
        .init_producer_id(
            Arc::from(transactional_id.as_str()),
            request.transaction_timeout_ms,
            expected,
        )
        .await
}
