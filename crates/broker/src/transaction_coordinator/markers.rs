//! WriteTxnMarkers on the side of the partitions: control batches, appended as their leader.

use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::ids::GROUP_METADATA_TOPIC;
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};
use ottla_record::{AppendOrigin, EndTransactionMarker, TransactionResult, end_transaction_marker};
use ottla_replication::partition::Required;
use ottla_storage::VerificationGuard;
use ottla_transaction_coordinator::Answers;

use crate::clock::Clock;
use crate::group_coordinator::GroupCoordinator;
use crate::replica_manager::{AppendEntry, ReplicaManager};

/// One marker for some partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    /// Whose transaction ends.
    pub(crate) producer_id: ProducerId,
    /// The producer's epoch as its coordinator knows it.
    pub(crate) producer_epoch: ProducerEpoch,
    /// The epoch of the coordinator.
    pub(crate) coordinator_epoch: LeaderEpoch,
    /// How it ends.
    pub(crate) outcome: TransactionOutcome,
    /// Where.
    pub(crate) partitions: Vec<TopicPartition>,
}

/// Appends markers to the partitions that this broker leads.
pub(crate) struct MarkerWriter {
    /// The partitions.
    pub(crate) replica_manager: Arc<ReplicaManager>,
    /// Told of the transactions whose offsets are settled.
    pub(crate) group_coordinator: Arc<GroupCoordinator>,
    /// Time.
    pub(crate) clock: Clock,
    /// `request.timeout.ms`.
    pub(crate) timeout: Duration,
}

impl MarkerWriter {
    /// Writes the markers and answers when all of them are replicated or have failed.
    pub(crate) async fn write(&self, markers: &[Marker]) -> Answers {
        let mut answers = Answers::new();
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for marker in markers {
            for partition in &marker.partitions {
                match self.entry(marker, partition) {
                    Ok(entry) => {
                        entries.push(entry);
                        places.push((marker, partition));
                    }
                    Err(error) => {
                        answers.insert((marker.producer_id, partition.clone()), error);
                    }
                }
            }
        }
        let origin = AppendOrigin::Coordinator;
        let outcomes = self
            .replica_manager
            .append(self.timeout, Required::InSyncReplicas, origin, entries)
            .await;
        for ((marker, partition), outcome) in places.into_iter().zip(outcomes) {
            if outcome.error.is_none() && partition.topic.as_str() == GROUP_METADATA_TOPIC {
                self.group_coordinator.on_transaction_completed(
                    marker.producer_id,
                    vec![partition.partition],
                    marker.outcome,
                );
            }
            answers.insert((marker.producer_id, partition.clone()), outcome.error);
        }
        answers
    }

    fn entry(&self, marker: &Marker, partition: &TopicPartition) -> Result<AppendEntry, ErrorCode> {
        let hosted = self
            .replica_manager
            .find_online(partition.topic.as_str(), partition.partition)
            .map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        let records = end_transaction_marker(
            0,
            self.clock.wall(),
            LeaderEpoch::NONE,
            marker.producer_id,
            marker.producer_epoch,
            EndTransactionMarker {
                result: match marker.outcome {
                    TransactionOutcome::Commit => TransactionResult::Commit,
                    TransactionOutcome::Abort => TransactionResult::Abort,
                },
                coordinator_epoch: marker.coordinator_epoch.0,
            },
        )
        .map_err(|error| {
            tracing::error!(%error, "a marker cannot be built");
            ErrorCode::UnknownServerError
        })?;
        Ok(AppendEntry {
            hosted: Ok(hosted),
            records,
            guard: VerificationGuard::NONE,
        })
    }
}
