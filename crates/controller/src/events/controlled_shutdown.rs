//! A broker wants to go: its partitions are led elsewhere first (`doControlledShutdown`).

use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, TopicPartition};

use crate::core::Core;
use crate::election::ElectionStrategy;
use crate::event::{Answer, Token};
use crate::failure::Failure;
use crate::request_batch::RequestBatch;
use crate::states::{PartitionAndReplica, ReplicaState};

impl Core {
    pub(super) async fn process_controlled_shutdown(
        &mut self,
        token: Token,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<(), Failure> {
        let answer = match self.check_controlled_shutdown(broker, broker_epoch) {
            Err(error) => Err(error),
            Ok(()) => match self.move_leaders_away(broker).await {
                Ok(()) => Ok(self.context.partitions_led_by(broker)),
                // Kafka tells the caller and goes on; who is controller shows with the next event.
                Err(failure) if failure.is_moved() => Err(ErrorCode::StaleControllerEpoch),
                Err(_) => Err(ErrorCode::UnknownServerError),
            },
        };
        self.exchange
            .answer(token, Answer::ControlledShutdown(answer));
        Ok(())
    }

    fn check_controlled_shutdown(
        &self,
        broker: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<(), ErrorCode> {
        if !self.is_active() {
            return Err(ErrorCode::StaleControllerEpoch);
        }
        let registered = self.context.broker_epoch(broker);
        match registered {
            None if broker_epoch != BrokerEpoch::NONE => Err(ErrorCode::UnknownServerError),
            None => Err(ErrorCode::BrokerNotAvailable),
            Some(epoch) if broker_epoch != BrokerEpoch::NONE && broker_epoch < epoch => {
                tracing::info!(%broker, %broker_epoch, %epoch, "controlled shutdown of an old incarnation");
                Err(ErrorCode::StaleBrokerEpoch)
            }
            Some(_) => Ok(()),
        }
    }

    async fn move_leaders_away(&mut self, broker: BrokerId) -> Result<(), Failure> {
        tracing::info!(%broker, "shutting down broker");
        self.context.shutting_down.insert(broker);
        let mut partitions = self.context.partitions_on_broker(broker);
        partitions.retain(|partition| {
            self.context.replicas(partition).len() > 1
                && self.context.leadership(partition).is_some()
                && !self.context.is_queued_for_deletion(&partition.topic)
        });
        let (led, followed): (Vec<TopicPartition>, Vec<TopicPartition>) = partitions
            .into_iter()
            .partition(|p| self.context.leader(p) == broker);
        self.move_partitions_online(&led, ElectionStrategy::ControlledShutdown)
            .await?;
        let mut batch = RequestBatch::default();
        for partition in &followed {
            batch.add_stop_replica(&self.context, broker, partition, false);
        }
        self.send(batch);
        let replicas = followed
            .into_iter()
            .map(|p| PartitionAndReplica::new(p, broker))
            .collect();
        self.move_replicas(replicas, ReplicaState::Offline).await
    }
}
