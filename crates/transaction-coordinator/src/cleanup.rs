//! What time ends: transactions that last too long, ids that nobody uses.

use std::sync::Arc;

use ottla_coordinator_runtime::{CoordinatorRecord, Now};
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, Timestamp};

use crate::end::EndedBy;
use crate::messages::TransactionAction;
use crate::records;
use crate::shard::{InFlight, TransactionCoordinatorShard};
use crate::state::TransactionState;
use crate::transaction::Transaction;

impl TransactionCoordinatorShard {
    pub(crate) fn abort_timed_out(&mut self, now: Now, actions: &mut Vec<TransactionAction>) {
        let due: Vec<Arc<str>> = self
            .transactions
            .iter()
            .filter(|(_, transaction)| is_timed_out(transaction, now.timestamp))
            .map(|(transactional_id, _)| Arc::clone(transactional_id))
            .collect();
        for transactional_id in due {
            self.stats.timeouts += 1;
            self.abort_fenced(now, &transactional_id, EndedBy::Timeout, actions);
        }
    }

    /// Writes tombstones of idle ids, in batches of at most this many bytes but of at least one
    /// record.
    pub(crate) fn expire_ids(
        &mut self,
        now: Now,
        batch_size_max: usize,
        actions: &mut Vec<TransactionAction>,
    ) {
        let Ok(coordinator_epoch) = self.gate() else {
            return;
        };
        let oldest = now
            .timestamp
            .0
            .saturating_sub(self.config.transactional_id_expiration_ms);
        let mut batches: Vec<Batch> = Vec::new();
        for (transactional_id, transaction) in &mut self.transactions {
            let is_idle = transaction.pending.is_none()
                && transaction.state.is_expiration_allowed()
                && transaction.last_update_timestamp.0 <= oldest;
            if !is_idle {
                continue;
            }
            // An id whose key cannot be written has never been written.
            let Ok(key) = records::key(transactional_id) else {
                continue;
            };
            transaction.prepare_dead();
            let record = CoordinatorRecord::tombstone(key);
            let expired = (Arc::clone(transactional_id), transaction.producer_epoch);
            match batches.last_mut() {
                Some(batch) if batch.has_room_for(&record, batch_size_max) => {
                    batch.push(record, expired);
                }
                _ => {
                    let mut batch = Batch::default();
                    batch.push(record, expired);
                    batches.push(batch);
                }
            }
        }
        let timeout_ms = self.config.request_timeout_ms;
        for Batch {
            records, expired, ..
        } in batches
        {
            let in_flight = InFlight::Tombstones {
                coordinator_epoch,
                expired,
            };
            self.append(now, records, timeout_ms, in_flight, actions);
        }
    }

    /// The tombstones are durable, or were refused.
    pub(crate) fn tombstones_appended(
        &mut self,
        coordinator_epoch: LeaderEpoch,
        expired: Vec<(Arc<str>, ProducerEpoch)>,
        result: Result<(), ErrorCode>,
    ) {
        if let Err(error) = result {
            tracing::warn!(%error, ids = expired.len(), "tombstones of idle ids were refused");
        }
        for (transactional_id, producer_epoch) in expired {
            let Ok(transaction) = self.owned(coordinator_epoch, &transactional_id) else {
                continue;
            };
            transaction.pending = None;
            if result.is_ok() && transaction.producer_epoch == producer_epoch {
                self.transactions.remove(&transactional_id);
                self.stats.expirations += 1;
            }
        }
    }
}

fn is_timed_out(transaction: &Transaction, now: Timestamp) -> bool {
    let end = transaction
        .start_timestamp
        .0
        .saturating_add(i64::from(transaction.timeout_ms));
    transaction.state == TransactionState::Ongoing && transaction.pending.is_none() && end < now.0
}

/// A batch of tombstones that grows.
#[derive(Default)]
struct Batch {
    records: Vec<CoordinatorRecord>,
    expired: Vec<(Arc<str>, ProducerEpoch)>,
    /// The bytes of the records in a batch of format 2.
    size: usize,
}

impl Batch {
    /// The bytes before the records.
    const HEADER_SIZE: usize = 61;

    fn has_room_for(&self, record: &CoordinatorRecord, batch_size_max: usize) -> bool {
        Self::HEADER_SIZE + self.size + self.size_of(record) <= batch_size_max
    }

    fn push(&mut self, record: CoordinatorRecord, expired: (Arc<str>, ProducerEpoch)) {
        self.size += self.size_of(&record);
        self.records.push(record);
        self.expired.push(expired);
    }

    /// The size of the next record: length, attributes, timestamp delta 0, offset delta, key, null
    /// value, no headers.
    fn size_of(&self, record: &CoordinatorRecord) -> usize {
        let key = record.key.len();
        let body = 1 + 1 + size_of_varint(self.records.len()) + size_of_varint(key) + key + 1 + 1;
        size_of_varint(body) + body
    }
}

/// How many bytes a zigzag varint of a value that is not negative takes.
fn size_of_varint(value: usize) -> usize {
    let bits = usize::BITS - (value << 1).leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_the_sizes_of_kafka() {
        for (value, size) in [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3)] {
            assert_eq!(size_of_varint(value), size, "{value}");
        }
    }
}
