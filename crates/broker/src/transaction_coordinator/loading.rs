//! Reading a partition of `__transaction_state` back into a shard.

use bytes::Bytes;
use ottla_record::BatchView;
use ottla_record::records::DECOMPRESSED_SIZE_MAX;
use ottla_transaction_coordinator::Loader;

use crate::coordinator_load::{LoadError, for_each_batch};
use crate::coordinator_log::CoordinatorLog;

/// Feeds the partition's whole log, to its end and not only to the high watermark, to the loader.
/// Records that cannot be read are logged and left out. Blocks.
///
/// # Errors
/// What stopped it; the loader has what came before.
pub(crate) fn load(
    log: &dyn CoordinatorLog,
    partition: i32,
    buffer_size: usize,
    loader: &mut Loader,
) -> Result<(), LoadError> {
    for_each_batch(log, partition, buffer_size, |batch| {
        replay(partition, batch, loader)?;
        loader.read_to(batch.header().next_offset());
        Ok(())
    })
}

fn replay(partition: i32, batch: &BatchView<'_>, loader: &mut Loader) -> Result<(), LoadError> {
    if batch.header().is_control() {
        return Ok(());
    }
    let records = batch.records(DECOMPRESSED_SIZE_MAX)?;
    for record in records.iter()? {
        let record = record?;
        let replayed = loader.replay(
            // Copied: the loader keeps little of a chunk, and keeps it for long.
            Bytes::copy_from_slice(record.key.unwrap_or_default()),
            record.value.map(Bytes::copy_from_slice),
        );
        if let Err(error) = replayed {
            tracing::error!(
                partition, offset = record.offset, %error,
                "leaving out a record of the transaction log that cannot be read"
            );
        }
    }
    Ok(())
}
