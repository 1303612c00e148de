//! What a log remembers of one producer.

use ottla_model::{Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::{BatchHeader, NO_SEQUENCE, decrement_sequence};

/// Batches that are remembered per producer to recognise duplicates; clients have at most as many
/// requests in flight.
pub const BATCHES_RETAINED: usize = 5;

/// One of a producer's last batches.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BatchMetadata {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Last minus first offset.
    pub offset_delta: i32,
    /// Largest timestamp, in milliseconds.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// Of a data batch whose offsets are assigned.
    pub(crate) fn of(batch: &BatchHeader) -> Self {
        Self {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp.0,
        }
    }

    /// Sequence number of the first record.
    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> Offset {
        self.last_offset
            .saturating_sub(Offset::from(self.offset_delta))
    }
}

/// What a log remembers of one producer (`ProducerStateEntry`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch; −1 before anything is known.
    pub producer_epoch: ProducerEpoch,
    /// The epoch of the transaction coordinator that wrote its last marker; −1 for none.
    pub coordinator_epoch: i32,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins.
    pub current_transaction_first_offset: Option<Offset>,
    batches: [BatchMetadata; BATCHES_RETAINED],
    batch_count: u8,
}

impl ProducerEntry {
    /// A producer of which nothing is known.
    pub fn unknown(producer_id: ProducerId) -> Self {
        Self {
            producer_id,
            producer_epoch: ProducerEpoch::NONE,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            current_transaction_first_offset: None,
            batches: [BatchMetadata::default(); BATCHES_RETAINED],
            batch_count: 0,
        }
    }

    /// Its last batches in this epoch, oldest first; at most [`BATCHES_RETAINED`].
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count)]
    }

    /// Sequence number of the last record, −1 without a data batch.
    pub fn last_sequence(&self) -> i32 {
        self.batches()
            .last()
            .map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// Offset of the last data record, −1 without a data batch.
    pub fn last_data_offset(&self) -> Offset {
        self.batches().last().map_or(-1, |batch| batch.last_offset)
    }

    /// The remembered batch with exactly these sequence numbers in this epoch.
    pub fn find_duplicate(
        &self,
        epoch: ProducerEpoch,
        first_sequence: i32,
        last_sequence: i32,
    ) -> Option<BatchMetadata> {
        if epoch != self.producer_epoch {
            return None;
        }
        let is_same = |batch: &&BatchMetadata| {
            batch.first_sequence() == first_sequence && batch.last_sequence == last_sequence
        };
        self.batches().iter().find(is_same).copied()
    }

    /// Remembers a batch of an epoch; those of another one are forgotten.
    pub(crate) fn remember(&mut self, epoch: ProducerEpoch, batch: BatchMetadata) {
        self.set_epoch(epoch);
        self.push(batch);
    }

    /// Takes over the batches of another entry if they end with the one batch that is known here.
    pub(super) fn recall(&mut self, other: &Self) {
        if let ([known], Some(last)) = (self.batches(), other.batches().last())
            && self.producer_epoch == other.producer_epoch
            && (known.last_offset, known.offset_delta) == (last.last_offset, last.offset_delta)
            && known.last_sequence == last.last_sequence
        {
            self.batches = other.batches;
            self.batch_count = other.batch_count;
        }
    }

    /// Takes over an epoch; another one forgets the batches.
    pub(super) fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.producer_epoch != epoch {
            self.batch_count = 0;
            self.producer_epoch = epoch;
        }
    }

    /// Remembers a batch, forgetting the oldest of too many.
    pub(super) fn push(&mut self, batch: BatchMetadata) {
        if usize::from(self.batch_count) == BATCHES_RETAINED {
            self.batches.rotate_left(1);
        } else {
            self.batch_count += 1;
        }
        self.batches[usize::from(self.batch_count) - 1] = batch;
    }
}
