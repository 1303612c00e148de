//! Producers and transactions of a log, as its callers ask for them.

use ottla_model::{Offset, ProducerEpoch, ProducerId, Timestamp};

use super::Log;
use crate::producer::VerificationGuard;

/// One producer, for DescribeProducers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerDescription {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of its last record, −1 if unknown.
    pub last_sequence: i32,
    /// Timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// Epoch of the transaction coordinator that wrote its last marker, −1 if none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins, −1 if none is open.
    pub current_transaction_start_offset: Offset,
}

impl Log {
    /// The active producers by id.
    pub fn describe_producers(&self) -> Vec<ProducerDescription> {
        let describe = |entry: &crate::producer::ProducerEntry| ProducerDescription {
            producer_id: entry.producer_id,
            producer_epoch: entry.producer_epoch,
            last_sequence: entry.last_sequence(),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_transaction_start_offset: entry.current_transaction_first_offset.unwrap_or(-1),
        };
        self.producers.producers().map(describe).collect()
    }

    /// How many producers are remembered.
    pub fn producer_count(&self) -> usize {
        self.producers.producers().len()
    }

    /// Whether this producer's transaction is open here.
    pub fn has_open_transaction(&self, producer_id: ProducerId) -> bool {
        self.producers.has_open_transaction(producer_id)
    }

    /// Starts to verify a transaction (KIP-890): the guard that the append has to bear, or
    /// [`VerificationGuard::NONE`] if the transaction is open and nothing needs to be verified.
    pub fn maybe_start_transaction_verification(
        &mut self,
        producer_id: ProducerId,
        sequence: i32,
        epoch: ProducerEpoch,
        now: Timestamp,
    ) -> VerificationGuard {
        if self.producers.has_open_transaction(producer_id) {
            return VerificationGuard::NONE;
        }
        self.producers
            .start_verification(producer_id, sequence, epoch, now)
    }

    /// `transaction.partition.verification.enable`: whether transactional appends need a guard.
    pub fn set_transaction_verification(&mut self, enabled: bool) {
        self.verifies_transactions = enabled;
    }

    /// `producer.id.expiration.ms`.
    pub fn set_producer_expiration_ms(&mut self, expiration_ms: i64) {
        self.producer_expiration_ms = expiration_ms;
    }

    /// Forgets producers that have been silent for too long; how many.
    pub fn remove_expired_producers(&mut self, now: Timestamp) -> usize {
        self.producers
            .remove_expired(now, self.producer_expiration_ms)
    }

    /// Whether the oldest open transaction should have ended by now; the argument is
    /// `transaction.max.timeout.ms`.
    pub fn has_late_transaction(&self, now: Timestamp, transaction_timeout_ms_max: i64) -> bool {
        self.producers
            .has_late_transaction(now, transaction_timeout_ms_max)
    }
}
