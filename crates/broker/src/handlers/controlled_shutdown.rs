//! ControlledShutdown (key 7, versions 0–3), from brokers to the active controller.

use kafka_protocol::messages::controlled_shutdown_response::RemainingPartition;
use kafka_protocol::messages::{ControlledShutdownRequest, ControlledShutdownResponse};
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode};

use super::wire;
use crate::broker::Broker;

/// Moves leaders away from the broker; answers which it still leads.
pub(crate) async fn handle(
    broker: &Broker,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    let asked = ApiRequest::ControlledShutdown {
        broker: BrokerId(request.broker_id.0),
        broker_epoch: BrokerEpoch(request.broker_epoch),
    };
    let error = match broker.controller.ask(asked).await {
        Answer::ControlledShutdown(Ok(remaining)) => {
            let remaining = remaining.iter().map(|partition| {
                RemainingPartition::default()
                    .with_topic_name(wire::name(&partition.topic))
                    .with_partition_index(partition.partition)
            });
            return ControlledShutdownResponse::default()
                .with_remaining_partitions(remaining.collect());
        }
        Answer::ControlledShutdown(Err(error)) => error,
        // As for every broker that is not the controller.
        _ => ErrorCode::StaleControllerEpoch,
    };
    ControlledShutdownResponse::default().with_error_code(error.code())
}
