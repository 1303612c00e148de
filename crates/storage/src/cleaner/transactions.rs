//! What the cleaner knows of transactions while it reads a log from the front
//! (`CleanedTransactionMetadata`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{Offset, ProducerId};
use ottla_record::{BatchView, ControlRecordType, DECOMPRESSED_SIZE_MAX, InvalidRecords};

use crate::transaction_index::AbortedTransaction;

/// Transactions that are open at the place where the cleaner reads.
#[derive(Default, Debug)]
pub(super) struct Transactions {
    /// Aborted ones that begin further on.
    coming: BTreeMap<(Offset, Offset), AbortedTransaction>,
    aborted: BTreeMap<ProducerId, Aborted>,
    committed: BTreeSet<ProducerId>,
    /// Aborted ones of which something is left, in order of their markers: the index of what is
    /// being written.
    pub(super) kept: Vec<AbortedTransaction>,
}

#[derive(Debug)]
struct Aborted {
    transaction: AbortedTransaction,
    has_batches: bool,
}

impl Transactions {
    /// Tells of aborted transactions in what is read next; those known already count once.
    pub(super) fn expect(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        for transaction in aborted {
            let key = (transaction.first_offset, transaction.last_offset);
            self.coming.insert(key, transaction);
        }
    }

    /// A batch of data was read; whether it belongs to an aborted transaction.
    pub(super) fn on_batch(&mut self, batch: &BatchView<'_>) -> bool {
        self.begin_up_to(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&batch.producer_id) {
            Some(aborted) => {
                aborted.has_batches = true;
                true
            }
            None => {
                self.committed.insert(batch.producer_id);
                false
            }
        }
    }

    /// A control batch was read; whether nothing is left of its transaction.
    ///
    /// # Errors
    /// Its record is malformed.
    pub(super) fn on_control_batch(
        &mut self,
        batch: &BatchView<'_>,
    ) -> Result<bool, InvalidRecords> {
        self.begin_up_to(batch.last_offset());
        let records = batch.records(DECOMPRESSED_SIZE_MAX)?;
        let Some(record) = records.iter()?.next() else {
            // Emptied by an earlier pass.
            return Ok(true);
        };
        Ok(match ControlRecordType::parse(record?.key)? {
            ControlRecordType::Abort => match self.aborted.remove(&batch.producer_id) {
                Some(aborted) if aborted.has_batches => {
                    self.kept.push(aborted.transaction);
                    false
                }
                _ => true,
            },
            ControlRecordType::Commit => !self.committed.remove(&batch.producer_id),
            ControlRecordType::Other(_) => false,
        })
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(entry) = self.coming.first_entry() {
            if entry.key().0 > offset {
                return;
            }
            let transaction = entry.remove();
            self.aborted
                .entry(transaction.producer_id)
                .or_insert(Aborted {
                    transaction,
                    has_batches: false,
                });
        }
    }
}
