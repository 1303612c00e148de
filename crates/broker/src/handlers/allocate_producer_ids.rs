//! AllocateProducerIds (key 67, version 0), from brokers to the active controller.

use kafka_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode};

use crate::broker::Broker;

/// Gives the broker its next block.
pub(crate) async fn handle(
    broker: &Broker,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let asked = ApiRequest::AllocateProducerIds {
        broker: BrokerId(request.broker_id.0),
        broker_epoch: BrokerEpoch(request.broker_epoch),
    };
    let error = match broker.controller.ask(asked).await {
        Answer::AllocateProducerIds(Ok((first, length))) => {
            return AllocateProducerIdsResponse::default()
                .with_producer_id_start(first.0.into())
                .with_producer_id_len(length);
        }
        Answer::AllocateProducerIds(Err(error)) => error,
        // Pre-empted: the broker asks the next controller.
        _ => ErrorCode::NotController,
    };
    AllocateProducerIdsResponse::default().with_error_code(error.code())
}
