//! Blocks of producer ids for this broker's own producers, from the active controller
//! (AllocateProducerIds).

use std::sync::Arc;

use kafka_protocol::messages;
use kafka_protocol::messages::AllocateProducerIdsRequest;
use ottla_controller::{Answer, ApiRequest};
use ottla_model::ErrorCode;

use super::to_controller::{Active, Attempt, ToController};
use crate::producer_ids::{AllocateBlock, ProducerIdBlock};

/// Asks the active controller, here or on another broker.
#[derive(Debug, Clone)]
pub struct ClusterBlocks(pub Arc<ToController>);

impl AllocateBlock for ClusterBlocks {
    async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
        let way = &self.0;
        way.until_answered(async |active| {
            let (broker, broker_epoch) = (way.own_id(), way.broker_epoch());
            let result = match active {
                Active::Here => {
                    let asked = ApiRequest::AllocateProducerIds {
                        broker,
                        broker_epoch,
                    };
                    match way.ask_here(asked).await {
                        Answer::AllocateProducerIds(Ok((first, length))) => Ok(ProducerIdBlock {
                            start: first.0,
                            length,
                        }),
                        Answer::AllocateProducerIds(Err(error)) => Err(error),
                        // Pre-empted, or this broker shuts down.
                        _ => Err(ErrorCode::NotController),
                    }
                }
                Active::There(remote) => {
                    let request = AllocateProducerIdsRequest::default()
                        .with_broker_id(messages::BrokerId(broker.0))
                        .with_broker_epoch(broker_epoch.0);
                    let version = remote.version::<AllocateProducerIdsRequest>()?;
                    let response = remote.send(&request, version).await?;
                    match ErrorCode::from_code(response.error_code) {
                        ErrorCode::None => Ok(ProducerIdBlock {
                            start: response.producer_id_start.0,
                            length: response.producer_id_len,
                        }),
                        error => Err(error),
                    }
                }
            };
            Ok(match result {
                Err(ErrorCode::NotController) => Attempt::LookAgain,
                result => Attempt::Answered(result),
            })
        })
        .await
    }
}
