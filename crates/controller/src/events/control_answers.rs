//! What brokers answer to LeaderAndIsr, UpdateMetadata and StopReplica. No answer makes the
//! controller resign: that is decided through the coordination service only.

use ottla_model::control::{
    ControlRequest, ControlResponse, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
};
use ottla_model::{BrokerId, ErrorCode, TopicPartition};

use crate::core::Core;
use crate::failure::Failure;
use crate::states::PartitionAndReplica;

impl Core {
    pub(super) async fn process_control_answer(
        &mut self,
        broker: BrokerId,
        request: &ControlRequest,
        response: ControlResponse,
    ) -> Result<(), Failure> {
        match response {
            ControlResponse::LeaderAndIsr(response) => {
                self.process_leader_and_isr_response(broker, &response)
                    .await
            }
            ControlResponse::UpdateMetadata(error) => {
                if !error.is_none() {
                    tracing::error!(%broker, %error, "broker refused UpdateMetadata");
                }
                Ok(())
            }
            ControlResponse::StopReplica(response) => match request {
                ControlRequest::StopReplica(request) => {
                    self.process_stop_replica_response(broker, request, &response)
                        .await
                }
                ControlRequest::LeaderAndIsr(_) | ControlRequest::UpdateMetadata(_) => Ok(()),
            },
        }
    }

    /// Storage errors tell which replicas lie in failed log directories, successes that they do
    /// not (any more); other errors tell nothing.
    async fn process_leader_and_isr_response(
        &mut self,
        broker: BrokerId,
        response: &LeaderAndIsrResponse,
    ) -> Result<(), Failure> {
        if !response.error.is_none() {
            tracing::error!(%broker, error = %response.error, "broker refused LeaderAndIsr");
            return Ok(());
        }
        let offline = self.context.offline_dir_replicas.entry(broker).or_default();
        let before = offline.clone();
        for (partition, error) in &response.partitions {
            if error.is_none() {
                offline.remove(partition);
            }
        }
        for (partition, error) in &response.partitions {
            if *error == ErrorCode::KafkaStorageError {
                offline.insert(partition.clone());
            }
        }
        let newly_offline: Vec<_> = offline
            .difference(&before)
            .map(|partition| PartitionAndReplica::new(partition.clone(), broker))
            .collect();
        if newly_offline.is_empty() {
            return Ok(());
        }
        tracing::info!(%broker, replicas = ?newly_offline, "replicas are offline");
        self.on_replicas_become_offline(newly_offline).await
    }

    /// Counts only partitions that were to be deleted, of topics whose deletion has started.
    async fn process_stop_replica_response(
        &mut self,
        broker: BrokerId,
        request: &StopReplicaRequest,
        response: &StopReplicaResponse,
    ) -> Result<(), Failure> {
        let deleted = |partition: &TopicPartition| {
            let mut sent = request.partitions.iter();
            sent.any(|sent| sent.topic_partition == *partition && sent.delete)
        };
        let (mut failed, mut succeeded) = (Vec::new(), Vec::new());
        for (partition, error) in &response.partitions {
            if !self.context.is_deletion_started(&partition.topic) || !deleted(partition) {
                continue;
            }
            let replica = PartitionAndReplica::new(partition.clone(), broker);
            if response.error.is_none() && error.is_none() {
                succeeded.push(replica);
            } else {
                failed.push(replica);
            }
        }
        self.fail_replica_deletion(failed).await?;
        if succeeded.is_empty() {
            return Ok(());
        }
        self.complete_replica_deletion(succeeded).await
    }
}
