//! News for the coordinator that must not wait for it.

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{LeaderEpoch, ProducerId, TopicPartition};

/// What others tell the coordinator, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// This broker leads a partition of the offsets topic.
    Elected(i32, LeaderEpoch),
    /// It no longer does; without an epoch when the replica is deleted.
    Resigned(i32, Option<LeaderEpoch>),
    /// These partitions, of any topic, are being deleted.
    PartitionsDeleted(Vec<TopicPartition>),
    /// A transaction's marker was written to these partitions of the offsets topic.
    TransactionCompleted(ProducerId, Vec<i32>, TransactionOutcome),
}
