//! Reading a partition of `__consumer_offsets` back into a shard.

use bytes::Bytes;
use ottla_coordinator_runtime::{BatchInfo, TransactionOutcome};
use ottla_group_coordinator::Loader;
use ottla_record::{BatchView, ControlRecordType, records::DECOMPRESSED_SIZE_MAX};

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
        replay(partition, batch, loader)
    })
}

fn replay(partition: i32, batch: &BatchView<'_>, loader: &mut Loader) -> Result<(), LoadError> {
    let header = batch.header();
    let records = batch.records(DECOMPRESSED_SIZE_MAX)?;
    if header.is_control() {
        if let Some(record) = records.iter()?.next() {
            let outcome = match ControlRecordType::parse(record?.key)? {
                ControlRecordType::Commit => TransactionOutcome::Commit,
                ControlRecordType::Abort | ControlRecordType::Other(_) => TransactionOutcome::Abort,
            };
            loader.replay_marker(header.producer_id, outcome);
        }
        return Ok(());
    }
    let mut first_offset = None;
    for record in records.iter()? {
        let record = record?;
        let info = BatchInfo {
            base_offset: *first_offset.get_or_insert(record.offset),
            producer_id: header.producer_id,
            transactional: header.is_transactional(),
        };
        let replayed = loader.replay(
            info,
            // Copied: the loader keeps little of a chunk, and keeps it for long.
            Bytes::copy_from_slice(record.key.unwrap_or_default()),
            record.value.map(Bytes::copy_from_slice),
        );
        if let Err(error) = replayed {
            tracing::error!(
                partition, offset = record.offset, %error,
                "leaving out a record of the offsets topic that cannot be read"
            );
        }
    }
    Ok(())
}
