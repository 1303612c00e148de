//! Reading a partition back: the last record of each id.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::records::{self, RecordError, TransactionLogValue};

/// Collects what a partition's log says, from its start to its end and not only to the high
/// watermark; belongs to one load of one shard
/// ([`crate::TransactionCoordinatorShard::begin_load`]) and needs no lock of it.
#[derive(Debug)]
pub struct Loader {
    pub(crate) ticket: u64,
    pub(crate) transactions: BTreeMap<Arc<str>, TransactionLogValue>,
}

impl Loader {
    pub(crate) fn new(ticket: u64) -> Self {
        Self {
            ticket,
            transactions: BTreeMap::new(),
        }
    }

    /// How many ids the log has so far.
    pub fn transactional_ids(&self) -> usize {
        self.transactions.len()
    }

    /// Takes one record.
    ///
    /// # Errors
    /// The record cannot be read; it counts for nothing, and the load may go on.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), RecordError> {
        let Some(transactional_id) = records::read_key(key)? else {
            tracing::warn!(
                "ignoring a record with an unknown key version; it could be left over from an \
                 aborted upgrade"
            );
            return Ok(());
        };
        match value.map(records::read_value).transpose()? {
            Some(value) => {
                self.transactions.insert(transactional_id, value);
            }
            None => {
                self.transactions.remove(&transactional_id);
            }
        }
        Ok(())
    }
}
