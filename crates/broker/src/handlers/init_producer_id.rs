//! InitProducerId (key 22, versions 0–5) for idempotent producers. A transactional id is refused
//! until there is a transaction coordinator.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId};

use crate::broker::Broker;

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    match producer_id(broker, request).await {
        Ok(id) => response(ErrorCode::None, id, ProducerEpoch(0)),
        Err(error) => response(error, ProducerId::NONE, ProducerEpoch::NONE),
    }
}

async fn producer_id(
    broker: &Broker,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, ErrorCode> {
    let has_id = request.producer_id.0 != ProducerId::NONE.0;
    let has_epoch = request.producer_epoch != ProducerEpoch::NONE.0;
    if has_id != has_epoch {
        return Err(ErrorCode::InvalidRequest);
    }
    if request.transactional_id.is_some() {
        return Err(ErrorCode::UnsupportedVersion);
    }
    broker.producer_ids.next().await
}

fn response(error: ErrorCode, id: ProducerId, epoch: ProducerEpoch) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(id.0.into())
        .with_producer_epoch(epoch.0)
}
