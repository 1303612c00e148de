//! What idempotent producers wrote, as it lies on a replica's disk.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use ottla_model::{Offset, ProducerEpoch, ProducerId};
use ottla_record::BatchIterator;

/// A batch of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducedBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Who wrote it.
    pub producer_id: ProducerId,
    /// In which of its epochs.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of its first record.
    pub base_sequence: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
}

/// The batches of idempotent producers in the log of one partition, in order.
pub fn produced_batches(partition: &Path) -> anyhow::Result<Vec<ProducedBatch>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(partition)? {
        segments.push(entry?.path());
    }
    segments.retain(|path| path.extension().is_some_and(|suffix| suffix == "log"));
    segments.sort();
    let mut batches = Vec::new();
    for segment in segments {
        let bytes = std::fs::read(&segment)?;
        for batch in BatchIterator::new(&bytes) {
            let batch = batch.with_context(|| segment.display().to_string())?;
            if batch.has_producer_id() && !batch.is_control() {
                batches.push(ProducedBatch {
                    base_offset: batch.base_offset(),
                    last_offset: batch.last_offset(),
                    producer_id: batch.producer_id,
                    producer_epoch: batch.producer_epoch,
                    base_sequence: batch.base_sequence,
                    last_sequence: batch.last_sequence(),
                });
            }
        }
    }
    Ok(batches)
}

/// The promise to idempotent producers: in each of its epochs a producer's sequence numbers count
/// from 0, none comes twice, none is missing, and epochs do not fall. How many batches there are.
pub fn check_sequences(batches: &[ProducedBatch]) -> anyhow::Result<usize> {
    let mut last: BTreeMap<ProducerId, ProducedBatch> = BTreeMap::new();
    for batch in batches {
        let before = last.insert(batch.producer_id, *batch);
        let follows = match before {
            Some(before) if before.producer_epoch == batch.producer_epoch => {
                batch.base_sequence == before.last_sequence + 1
            }
            Some(before) if before.producer_epoch > batch.producer_epoch => false,
            Some(_) | None => batch.base_sequence == 0,
        };
        anyhow::ensure!(follows, "{batch:?} follows {before:?}");
    }
    Ok(batches.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, last_sequence: i32) -> ProducedBatch {
        ProducedBatch {
            base_offset: 0,
            last_offset: 0,
            producer_id: ProducerId(1),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence,
            last_sequence,
        }
    }

    #[test]
    fn a_batch_that_comes_twice_or_never_is_noticed() {
        let check = |batches: &[ProducedBatch]| check_sequences(batches).is_ok();
        assert!(check(&[batch(0, 0, 2), batch(0, 3, 3), batch(1, 0, 0)]));
        assert!(!check(&[batch(0, 0, 2), batch(0, 0, 2)]), "twice");
        assert!(!check(&[batch(0, 0, 2), batch(0, 4, 4)]), "a gap");
        assert!(!check(&[batch(1, 0, 2), batch(0, 3, 3)]), "an old epoch");
        assert!(!check(&[batch(0, 0, 2), batch(1, 3, 3)]), "not from 0");
    }
}
