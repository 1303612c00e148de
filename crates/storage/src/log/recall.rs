//! What a snapshot does not hold: a producer's batches before its last one.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ottla_model::{Offset, ProducerId};

use crate::log_reader::floor;
use crate::producer::{BatchMetadata, ProducerEntry, ProducerStateManager};
use crate::scanner::{PlacedBatch, ScanError};
use crate::segment::Segment;

/// How many bytes before a snapshot's offset are looked at. After a crash or a truncation: five
/// batches of the largest size that clients send by default, and some of others between them.
pub(super) const LOOK_BACK_BYTES: u64 = 8 << 20;
/// The same after an orderly stop, where a start shall cost next to nothing.
pub(super) const LOOK_BACK_BYTES_CLEAN: u64 = 64 << 10;

/// Finds again the batches that come before those of a snapshot. A producer may have several
/// requests on their way, and lose their answers with the broker that dies: it sends them all
/// again, and each has to be known as a duplicate. Kafka's snapshots hold one batch per producer;
/// there the older ones are out of order after a reload.
pub(super) fn recall_batches(
    producers: &mut ProducerStateManager,
    segments: &[Arc<Segment>],
    log_start_offset: Offset,
    bytes: u64,
) -> io::Result<()> {
    if !producers
        .producers()
        .any(|entry| !entry.batches().is_empty())
    {
        return Ok(());
    }
    let end = producers.map_end_offset();
    let found = match find_batches(segments, log_start_offset..end, bytes) {
        Ok(found) => found,
        Err(ScanError::Io(error)) => return Err(error),
        // Not what a reload is for to notice: without them the state is that of the snapshot.
        Err(error @ ScanError::Corrupt { .. }) => {
            tracing::warn!(%error, "batches before a producer snapshot cannot be read");
            return Ok(());
        }
    };
    for entry in found.values() {
        producers.recall(entry);
    }
    Ok(())
}

fn find_batches(
    segments: &[Arc<Segment>],
    range: Range<Offset>,
    bytes: u64,
) -> Result<BTreeMap<ProducerId, ProducerEntry>, ScanError> {
    let mut found: BTreeMap<ProducerId, ProducerEntry> = BTreeMap::new();
    for (segment, position) in last_bytes(segments, range.end, bytes)? {
        let mut scanner = segment.scan(position)?;
        while let Some(PlacedBatch { header, .. }) = scanner.next_batch()? {
            if header.last_offset() >= range.end {
                break;
            }
            if header.base_offset() < range.start
                || header.is_control()
                || !header.has_producer_id()
            {
                continue;
            }
            let entry = found
                .entry(header.producer_id)
                .or_insert_with(|| ProducerEntry::unknown(header.producer_id));
            entry.remember(header.producer_epoch, BatchMetadata::of(&header));
        }
    }
    Ok(found)
}

/// The segments that hold the last bytes before an offset, and where in each these begin.
fn last_bytes(
    segments: &[Arc<Segment>],
    end: Offset,
    bytes: u64,
) -> Result<Vec<(&Segment, u64)>, ScanError> {
    let mut places = Vec::new();
    let mut left = bytes;
    let with_end = segments.get(..=floor(segments, end)).unwrap_or_default();
    for segment in with_end.iter().rev().filter(|s| s.base_offset < end) {
        let length = match segment.find(end)? {
            Some(batch) => batch.position,
            None => segment.size(),
        };
        let wanted = length.saturating_sub(left);
        let start = if wanted == 0 {
            0
        } else {
            let index = &segment.offset_index;
            match index.first_at_or_after_position(wanted)? {
                Some(entry) => u64::from(entry.position),
                None => u64::from(index.last()?.position),
            }
        };
        places.push((&**segment, start.min(length)));
        left = left.saturating_sub(length);
        if left == 0 {
            break;
        }
    }
    places.reverse();
    Ok(places)
}
