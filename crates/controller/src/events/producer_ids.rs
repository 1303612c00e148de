//! AllocateProducerIds.

use ottla_coordination::payloads::ProducerIdBlock;
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, ProducerId};

use crate::core::Core;
use crate::event::{Answer, Token};
use crate::failure::Failure;

impl Core {
    pub(super) async fn process_allocate_producer_ids(
        &mut self,
        token: Token,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<(), Failure> {
        let answer = match self.check_registered(broker, broker_epoch) {
            Err(error) => Err(error),
            Ok(()) => self.next_block(broker).await,
        };
        self.exchange
            .answer(token, Answer::AllocateProducerIds(answer));
        Ok(())
    }

    /// The epoch must be exactly the registered one.
    fn check_registered(
        &self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<(), ErrorCode> {
        if !self.is_active() {
            return Err(ErrorCode::NotController);
        }
        match self.context.broker_epoch(broker) {
            None => Err(ErrorCode::BrokerIdNotRegistered),
            Some(epoch) if epoch != broker_epoch => Err(ErrorCode::StaleBrokerEpoch),
            Some(_) => Ok(()),
        }
    }

    async fn next_block(&self, broker: BrokerId) -> Result<(ProducerId, i32), ErrorCode> {
        match self
            .exchange
            .allocate_producer_ids(&self.config, broker)
            .await
        {
            Ok(Some(block)) => Ok((block.first, ProducerIdBlock::SIZE as i32)),
            Ok(None) => {
                tracing::error!("all producer ids are used up");
                Err(ErrorCode::UnknownServerError)
            }
            Err(failure) => {
                tracing::error!(%failure, "cannot allocate producer ids");
                Err(ErrorCode::UnknownServerError)
            }
        }
    }
}
