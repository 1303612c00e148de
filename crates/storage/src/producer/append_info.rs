//! The effect of batches to append on one producer's state, with the checks of KIP-98 and KIP-447.

use ottla_model::{ErrorCode, Offset, ProducerEpoch, Timestamp, TopicPartition};
use ottla_record::{
    AppendOrigin, BatchHeader, EndTransactionMarker, NO_SEQUENCE, TransactionResult,
};

use super::entry::{BatchMetadata, ProducerEntry};

/// A batch that contradicts what the log knows of its producer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerError {
    /// The producer was fenced by a newer one with the same id.
    #[error(
        "Epoch of producer {producer_id} at offset {offset} in {topic_partition} is {epoch}, which is smaller than the last seen epoch {current_epoch}"
    )]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// Where the batch would have gone.
        offset: Offset,
        /// The log.
        topic_partition: TopicPartition,
        /// The batch's epoch.
        epoch: i16,
        /// The epoch that the log knows.
        current_epoch: i16,
    },
    /// Batches are missing before this one.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// A non-transactional batch in a transaction, or a transactional one that was not verified.
    #[error("{0}")]
    InvalidTransactionState(String),
    /// A marker of a transaction coordinator that lost its partition.
    #[error(
        "Invalid coordinator epoch for producerId {producer_id} at offset {offset} in partition {topic_partition}: {epoch} (zombie), {current_epoch} (current)"
    )]
    TransactionCoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// Where the marker would have gone.
        offset: Offset,
        /// The log.
        topic_partition: TopicPartition,
        /// The marker's coordinator epoch.
        epoch: i32,
        /// The coordinator epoch that the log knows.
        current_epoch: i32,
    },
}

impl ProducerError {
    /// What Kafka answers.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrderSequence(_) => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidTransactionState(_) => ErrorCode::InvalidTxnState,
            Self::TransactionCoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

/// A transaction that a marker closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletedTransaction {
    /// The producer.
    pub producer_id: ottla_model::ProducerId,
    /// Where it began.
    pub first_offset: Offset,
    /// The offset of the marker.
    pub last_offset: Offset,
    /// Whether it was aborted.
    pub is_aborted: bool,
}

/// The state of one producer as it will be once the batches are in the log (`ProducerAppendInfo`).
#[derive(Clone, Debug)]
pub struct ProducerAppendInfo {
    current: ProducerEntry,
    updated: ProducerEntry,
    origin: AppendOrigin,
    lowest_verified_sequence: Option<i32>,
    started_transaction: Option<Offset>,
}

impl ProducerAppendInfo {
    pub(super) fn new(
        current: ProducerEntry,
        origin: AppendOrigin,
        lowest_verified_sequence: Option<i32>,
    ) -> Self {
        Self {
            current,
            updated: current,
            origin,
            lowest_verified_sequence,
            started_transaction: None,
        }
    }

    /// Starts the effect of a further batch of the same append.
    #[must_use]
    pub(crate) fn continued(&self) -> Self {
        Self::new(self.updated, self.origin, self.lowest_verified_sequence)
    }

    /// The producer's state after the batches.
    pub fn entry(&self) -> &ProducerEntry {
        &self.updated
    }

    /// Where a transaction begins that one of the batches opened.
    pub fn started_transaction(&self) -> Option<Offset> {
        self.started_transaction
    }

    /// Takes in a data batch whose offsets are assigned.
    ///
    /// # Errors
    /// Never for [`AppendOrigin::Replication`] except a non-transactional batch in a transaction.
    pub fn append_data(
        &mut self,
        batch: &BatchHeader,
        topic_partition: &TopicPartition,
    ) -> Result<(), ProducerError> {
        let first_offset = batch.base_offset();
        self.check_epoch(batch.producer_epoch, first_offset, topic_partition)?;
        if self.origin == AppendOrigin::Client {
            self.check_sequence(batch, topic_partition)?;
        }
        let is_open = self.updated.current_transaction_first_offset.is_some();
        if is_open && !batch.is_transactional() {
            return Err(ProducerError::InvalidTransactionState(format!(
                "Expected transactional write from producer {} at offset {first_offset} in partition {topic_partition}",
                batch.producer_id
            )));
        }
        self.updated
            .remember(batch.producer_epoch, BatchMetadata::of(batch));
        self.updated.last_timestamp = batch.max_timestamp;
        if !is_open && batch.is_transactional() {
            self.updated.current_transaction_first_offset = Some(first_offset);
            self.started_transaction = Some(first_offset);
        }
        Ok(())
    }

    /// Takes in a marker; the transaction it closed, if one was open.
    ///
    /// # Errors
    /// An older producer or coordinator epoch, unless replicated.
    pub fn append_marker(
        &mut self,
        marker: EndTransactionMarker,
        epoch: ProducerEpoch,
        offset: Offset,
        timestamp: Timestamp,
        topic_partition: &TopicPartition,
    ) -> Result<Option<CompletedTransaction>, ProducerError> {
        self.check_epoch(epoch, offset, topic_partition)?;
        if self.updated.coordinator_epoch > marker.coordinator_epoch
            && self.origin != AppendOrigin::Replication
        {
            return Err(ProducerError::TransactionCoordinatorFenced {
                producer_id: self.updated.producer_id.0,
                offset,
                topic_partition: topic_partition.clone(),
                epoch: marker.coordinator_epoch,
                current_epoch: self.updated.coordinator_epoch,
            });
        }
        let completed = self
            .updated
            .current_transaction_first_offset
            .map(|first_offset| CompletedTransaction {
                producer_id: self.updated.producer_id,
                first_offset,
                last_offset: offset,
                is_aborted: marker.result == TransactionResult::Abort,
            });
        self.updated.set_epoch(epoch);
        self.updated.coordinator_epoch = marker.coordinator_epoch;
        self.updated.current_transaction_first_offset = None;
        self.updated.last_timestamp = timestamp;
        Ok(completed)
    }

    fn check_epoch(
        &self,
        epoch: ProducerEpoch,
        offset: Offset,
        topic_partition: &TopicPartition,
    ) -> Result<(), ProducerError> {
        if epoch >= self.updated.producer_epoch || self.origin == AppendOrigin::Replication {
            return Ok(());
        }
        Err(ProducerError::InvalidProducerEpoch {
            producer_id: self.updated.producer_id.0,
            offset,
            topic_partition: topic_partition.clone(),
            epoch: epoch.0,
            current_epoch: self.updated.producer_epoch.0,
        })
    }

    fn check_sequence(
        &self,
        batch: &BatchHeader,
        topic_partition: &TopicPartition,
    ) -> Result<(), ProducerError> {
        let (id, offset, first) = (batch.producer_id, batch.base_offset(), batch.base_sequence);
        if let Some(lowest) = self.lowest_verified_sequence
            && first > lowest
        {
            return Err(ProducerError::OutOfOrderSequence(format!(
                "Out of order sequence number for producer {id} at offset {offset} in partition \
                 {topic_partition}: {first} (incoming seq. number), {lowest} (earliest seen sequence)"
            )));
        }
        let known_epoch = self.updated.producer_epoch;
        if batch.producer_epoch != known_epoch {
            if first == 0 || known_epoch == ProducerEpoch::NONE {
                return Ok(());
            }
            return Err(ProducerError::OutOfOrderSequence(format!(
                "Invalid sequence number for new epoch of producer {id}at offset {offset} in partition \
                 {topic_partition}: {} (request epoch), {first} (seq. number), {known_epoch} \
                 (current producer epoch)",
                batch.producer_epoch
            )));
        }
        let last = self.updated.last_sequence();
        if self.current.producer_epoch == ProducerEpoch::NONE || follows(last, first) {
            return Ok(());
        }
        Err(ProducerError::OutOfOrderSequence(format!(
            "Out of order sequence number for producer {id} at offset {offset} in partition \
             {topic_partition}: {first} (incoming seq. number), {last} (current end sequence number)"
        )))
    }
}

/// Whether a sequence number is the one after another; −1 stands for "none yet".
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

const _: () = assert!(
    NO_SEQUENCE == -1,
    "the first sequence number follows \"none\""
);
