//! Reading a partition back: the last record of each id.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::Offset;

use crate::records::{self, RecordError, TransactionLogValue};

/// Collects what a partition's log says, from its start to its end and not only to the high
/// watermark; belongs to one load of one shard
/// ([`crate::TransactionCoordinatorShard::begin_load`]) and needs no lock of it.
#[derive(Debug)]
pub struct Loader {
    pub(crate) ticket: u64,
    pub(crate) transactions: BTreeMap<Arc<str>, TransactionLogValue>,
    pub(crate) end_offset: Offset,
}

/// What became of a load when its log was read.
#[derive(Debug)]
pub enum LoadOutcome {
    /// The shard serves.
    Serving,
    /// The partition was lost, or is being loaded anew.
    Overtaken,
    /// The log was read further than it is replicated: the shard goes on loading, and the loader is
    /// to be given again when the high watermark has reached [`Loader::end_offset`].
    NotReplicated(Loader),
}

impl Loader {
    pub(crate) fn new(ticket: u64) -> Self {
        Self {
            ticket,
            transactions: BTreeMap::new(),
            end_offset: 0,
        }
    }

    /// All records before this offset were given to [`Self::replay`].
    pub fn read_to(&mut self, offset: Offset) {
        self.end_offset = offset;
    }

    /// The end of what was read; 0 if nothing was.
    pub fn end_offset(&self) -> Offset {
        self.end_offset
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
