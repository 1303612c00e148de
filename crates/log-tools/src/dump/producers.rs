//! Producer snapshots and aborted transactions.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ottla_storage::directory::RealDirectory;
use ottla_storage::partition_directory::PartitionDirectory;
use ottla_storage::producer::snapshot;
use ottla_storage::transaction_index::TransactionIndex;

use super::{DumpError, base_offset, optional_long, unreadable};

pub(super) fn dump_snapshot(
    path: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), DumpError> {
    let bytes = std::fs::read(path).map_err(unreadable(path))?;
    let producers = match snapshot::decode(&bytes) {
        Ok(producers) => producers,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(());
        }
    };
    for producer in producers {
        write!(
            out,
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} \
             lastTimestamp: {} ",
            producer.producer_id.0,
            producer.producer_epoch.0,
            producer.coordinator_epoch,
            optional_long(producer.current_transaction_first_offset),
            producer.last_timestamp.0,
        )?;
        if let Some(batch) = producer.batches().first() {
            write!(
                out,
                "firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                batch.first_sequence(),
                batch.last_sequence,
                batch.last_offset,
                batch.offset_delta,
                batch.timestamp,
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn dump_transaction_index(path: &Path, out: &mut dyn Write) -> Result<(), DumpError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let directory = PartitionDirectory::new(Arc::new(RealDirectory), parent);
    let index = TransactionIndex::new(Arc::new(directory), base_offset(path)?);
    for aborted in index.entries().map_err(unreadable(path))? {
        writeln!(
            out,
            "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            aborted.producer_id.0,
            aborted.first_offset,
            aborted.last_offset,
            aborted.last_stable_offset,
        )?;
    }
    Ok(())
}
