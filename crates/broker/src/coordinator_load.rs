//! Reading a partition of an internal topic back, batch by batch, for its coordinator.

use ottla_model::Offset;
use ottla_record::{BatchIterator, BatchView, CorruptBatch, InvalidRecords};

use crate::coordinator_log::{CoordinatorLog, ReadBackError};

/// Why a partition was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadBackError),
    /// A batch's header.
    #[error(transparent)]
    Batch(#[from] CorruptBatch),
    /// A batch's records.
    #[error(transparent)]
    Records(#[from] InvalidRecords),
}

/// Gives `replay` each batch of the partition's whole log, to its end and not only to the high
/// watermark. Blocks.
///
/// # Errors
/// What stopped it; `replay` has had what came before.
pub(crate) fn for_each_batch(
    log: &dyn CoordinatorLog,
    partition: i32,
    buffer_size: usize,
    mut replay: impl FnMut(&BatchView<'_>) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut next: Option<Offset> = None;
    loop {
        let chunk = log.read(partition, next, buffer_size)?;
        let before = next;
        for batch in BatchIterator::new(&chunk) {
            let batch = batch?;
            replay(&batch)?;
            next = Some(batch.header().next_offset());
        }
        // Nothing was read, or nothing whole: the end, for this is a log whose last batch is whole.
        if next == before {
            return Ok(());
        }
    }
}
