//! What a coordinator learns about a batch when it reads its partition back.

use ottla_model::{Offset, ProducerId};

/// The header fields of a data batch that matter to a coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchInfo {
    /// The offset of the batch's first record: later batches have greater ones.
    pub base_offset: Offset,
    /// The batch's producer, −1 for none.
    pub producer_id: ProducerId,
    /// Whether the records wait for their transaction's marker.
    pub transactional: bool,
}

/// How a transaction ended: what its control record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionOutcome {
    /// Its records count.
    Commit,
    /// Its records do not.
    Abort,
}
