//! Blocks of producer ids for this broker's own producers, from the controller.

use std::sync::Arc;

use ottla_controller::{Answer, ApiRequest};
use ottla_model::{BrokerId, ErrorCode};

use super::ControllerHandle;
use crate::producer_ids::{AllocateBlock, ProducerIdBlock};

/// Asks the controller of this broker; while another broker is the controller the answer is
/// NOT_CONTROLLER.
#[derive(Debug, Clone)]
pub struct ControllerBlocks {
    broker: BrokerId,
    controller: Arc<ControllerHandle>,
}

impl ControllerBlocks {
    /// Blocks for this broker.
    pub fn new(broker: BrokerId, controller: Arc<ControllerHandle>) -> Self {
        Self { broker, controller }
    }
}

impl AllocateBlock for ControllerBlocks {
    async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
        let (broker, broker_epoch) = (self.broker, self.controller.broker_epoch());
        let asked = ApiRequest::AllocateProducerIds {
            broker,
            broker_epoch,
        };
        match self.controller.ask(asked).await {
            Answer::AllocateProducerIds(Ok((first, length))) => Ok(ProducerIdBlock {
                start: first.0,
                length,
            }),
            Answer::AllocateProducerIds(Err(error)) => Err(error),
            // Pre-empted, or this broker shuts down.
            _ => Err(ErrorCode::NotController),
        }
    }
}
