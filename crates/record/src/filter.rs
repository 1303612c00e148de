//! The cleaner's rewrite of batches: some records go, offsets stay (`MemoryRecords.filterTo`).

use ottla_model::{Offset, Timestamp};

use crate::batch::{BatchHeader, BatchView, Magic, RECORD_BATCH_OVERHEAD, TimestampType};
use crate::batch::{COMPRESSION_MASK, DELETE_HORIZON_MASK};
use crate::batches::BatchIterator;
use crate::builder::{RecordBatchBuilder, seal};
use crate::compression::Compression;
use crate::down_convert::{ConvertError, message_set};
use crate::record::Record;

/// What becomes of a batch as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchRetention {
    /// It goes, whatever its records.
    Delete,
    /// Its header stays even if all records go: it holds the last sequence of a live producer.
    RetainEmpty,
    /// It goes if all records go.
    DeleteEmpty,
}

/// Decides what stays.
pub trait RecordFilter {
    /// What becomes of the batch, and whether it holds the marker of a transaction of which
    /// nothing is left, so that its delete horizon is to be set.
    fn check_batch(&mut self, batch: &BatchView<'_>) -> (BatchRetention, bool);

    /// Whether a record stays; not asked for deleted batches.
    fn retains(&mut self, batch: &BatchView<'_>, record: &Record<'_>) -> bool;
}

/// What a rewrite did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterResult {
    /// Records read.
    pub messages_read: usize,
    /// Bytes of the batches read.
    pub bytes_read: usize,
    /// Records kept.
    pub messages_retained: usize,
    /// Bytes written.
    pub bytes_retained: usize,
    /// The largest offset kept; −1 for none.
    pub max_offset: Offset,
    /// The largest timestamp kept; −1 for none.
    pub max_timestamp: Timestamp,
    /// The last offset of the first batch that has it; −1 for none.
    pub shallow_offset_of_max_timestamp: Offset,
    /// The size of the largest batch that grew by the rewrite, 0 if none did. One above
    /// `max.message.bytes` is legal and deserves a warning.
    pub largest_grown_batch: usize,
}

impl FilterResult {
    fn new() -> Self {
        Self {
            messages_read: 0,
            bytes_read: 0,
            messages_retained: 0,
            bytes_retained: 0,
            max_offset: -1,
            max_timestamp: Timestamp::NONE,
            shallow_offset_of_max_timestamp: -1,
            largest_grown_batch: 0,
        }
    }

    fn retained(&mut self, kept: Kept) {
        if kept.max_timestamp > self.max_timestamp {
            self.max_timestamp = kept.max_timestamp;
            self.shallow_offset_of_max_timestamp = kept.last_offset;
        }
        self.max_offset = self.max_offset.max(kept.max_offset);
        self.messages_retained += kept.messages;
        self.bytes_retained += kept.bytes;
    }
}

/// A batch that was written.
struct Kept {
    max_timestamp: Timestamp,
    last_offset: Offset,
    max_offset: Offset,
    messages: usize,
    bytes: usize,
}

/// Appends to `out` what `filter` keeps of the complete batches of `records`. Batches that stay
/// whole are copied; others are rebuilt in their codec with offsets, producer, leader epoch and
/// flags kept. A magic-2 batch with a tombstone or an expired marker gets `delete_horizon` (now +
/// `delete.retention.ms`) unless it has one. `limit` bounds what one batch may decompress to.
///
/// # Errors
/// A batch cannot be read or rebuilt; `out` then ends with the batches before it.
pub fn filter_to(
    records: &[u8],
    filter: &mut impl RecordFilter,
    delete_horizon: Timestamp,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<FilterResult, ConvertError> {
    let mut result = FilterResult::new();
    for batch in BatchIterator::new(records) {
        let batch = batch?;
        let (retention, expired_marker) = filter.check_batch(&batch);
        result.bytes_read += batch.size_in_bytes;
        if retention == BatchRetention::Delete {
            continue;
        }
        let source = batch.records(limit)?;
        let mut retained = Vec::new();
        let mut whole = true;
        let mut tombstones = false;
        for record in source.iter()? {
            let record = record?;
            result.messages_read += 1;
            if filter.retains(&batch, &record) {
                tombstones |= record.value.is_none();
                retained.push(record);
            } else {
                whole = false;
            }
        }
        // Wrappers whose inner messages are of another format are rewritten (KAFKA-4298).
        whole &= source.has_matching_magic(&batch);
        let sets_horizon = batch.magic == Magic::V2
            && (tombstones || expired_marker)
            && batch.delete_horizon().is_none();
        if retained.is_empty() {
            if retention == BatchRetention::RetainEmpty && batch.magic == Magic::V2 {
                write_empty(&batch, out);
                result.retained(Kept::whole(&batch, 0, RECORD_BATCH_OVERHEAD));
            }
        } else if whole && !sets_horizon {
            out.extend_from_slice(batch.bytes());
            result.retained(Kept::whole(&batch, retained.len(), batch.size_in_bytes));
        } else {
            let horizon = match batch.delete_horizon() {
                None => sets_horizon.then_some(delete_horizon),
                set => set,
            };
            let kept = rebuild(&batch, &retained, horizon, out)?;
            if kept.bytes > batch.size_in_bytes {
                result.largest_grown_batch = result.largest_grown_batch.max(kept.bytes);
            }
            result.retained(kept);
        }
    }
    Ok(result)
}

impl Kept {
    fn whole(batch: &BatchView<'_>, messages: usize, bytes: usize) -> Self {
        Self {
            max_timestamp: batch.max_timestamp,
            last_offset: batch.last_offset(),
            max_offset: batch.last_offset(),
            messages,
            bytes,
        }
    }
}

fn rebuild(
    batch: &BatchView<'_>,
    records: &[Record<'_>],
    horizon: Option<Timestamp>,
    out: &mut Vec<u8>,
) -> Result<Kept, ConvertError> {
    let max_offset = records.iter().map(|record| record.offset).max();
    let max_offset = max_offset.unwrap_or(-1);
    let appended = batch.timestamp_type() == Some(TimestampType::LogAppendTime);
    let newest = records.iter().map(|record| record.timestamp).max();
    let max_timestamp = match newest {
        _ if appended => batch.max_timestamp,
        Some(newest) => newest.max(Timestamp::NONE),
        None => Timestamp::NONE,
    };
    let (bytes, last_offset) = if batch.magic == Magic::V2 {
        let mut builder = RecordBatchBuilder::new(batch.base_offset())
            .compression(Compression::with_default_level(batch.compression_type()?))
            .leader_epoch(batch.partition_leader_epoch)
            .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence)
            .transactional(batch.is_transactional())
            .control(batch.is_control());
        if appended {
            builder = builder.log_append_time(batch.max_timestamp);
        }
        if let Some(horizon) = horizon {
            builder = builder.delete_horizon(horizon);
        }
        for record in records {
            builder.append_record(record.offset, record)?;
        }
        builder.override_last_offset(batch.last_offset());
        let bytes = builder.build()?;
        out.extend_from_slice(&bytes);
        (bytes.len(), batch.last_offset())
    } else {
        let set = message_set(batch, batch.magic, records)?;
        out.extend_from_slice(&set);
        (set.len(), max_offset)
    };
    Ok(Kept {
        max_timestamp,
        last_offset,
        max_offset,
        messages: records.len(),
        bytes,
    })
}

/// A batch of no records that keeps everything else of its header (DefaultRecordBatch.writeEmptyHeader).
fn write_empty(batch: &BatchView<'_>, out: &mut Vec<u8>) {
    let header = BatchHeader {
        attributes: batch.attributes & 0x7f & !COMPRESSION_MASK & !DELETE_HORIZON_MASK,
        base_timestamp: Timestamp::NONE,
        record_count: Some(0),
        ..*batch.header()
    };
    let start = out.len();
    out.resize(start + RECORD_BATCH_OVERHEAD, 0);
    seal(&header, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use ottla_model::{LeaderEpoch, ProducerEpoch, ProducerId};

    use super::*;
    use crate::{CompressionType, MessageSetBuilder};

    const HORIZON: Timestamp = Timestamp(9000);

    /// Keeps records with these keys.
    struct Keep(&'static [&'static str], BatchRetention);

    impl RecordFilter for Keep {
        fn check_batch(&mut self, _: &BatchView<'_>) -> (BatchRetention, bool) {
            (self.1, false)
        }
        fn retains(&mut self, _: &BatchView<'_>, record: &Record<'_>) -> bool {
            self.0.iter().any(|key| record.key == Some(key.as_bytes()))
        }
    }

    fn batch(codec: CompressionType, values: [Option<&[u8]>; 3]) -> Vec<u8> {
        let mut builder = RecordBatchBuilder::new(10)
            .compression(Compression::with_default_level(codec))
            .leader_epoch(LeaderEpoch(4))
            .producer(ProducerId(7), ProducerEpoch(1), 5);
        for (i, value) in values.into_iter().enumerate() {
            let key = ["a", "b", "c"][i];
            builder
                .append(Timestamp(100 + i as i64), Some(key.as_bytes()), value)
                .unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    const VALUES: [Option<&[u8]>; 3] = [Some(b"x"), Some(b"y"), Some(b"z")];

    fn run(input: &[u8], filter: Keep) -> (Vec<u8>, FilterResult) {
        let mut out = Vec::new();
        let mut filter = filter;
        let result = filter_to(input, &mut filter, HORIZON, 1 << 20, &mut out).unwrap();
        assert_eq!(result.bytes_retained, out.len());
        assert_eq!(result.bytes_read, input.len());
        (out, result)
    }

    fn offsets(batch: &BatchView<'_>) -> Vec<(Offset, i64)> {
        batch.ensure_valid().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let rows = records.iter().unwrap().map(|record| {
            let record = record.unwrap();
            (record.offset, record.timestamp.0)
        });
        rows.collect()
    }

    #[test]
    fn a_batch_that_stays_whole_is_copied() {
        for codec in [CompressionType::None, CompressionType::Zstd] {
            let input = batch(codec, VALUES);
            let (out, result) = run(&input, Keep(&["a", "b", "c"], BatchRetention::DeleteEmpty));
            assert_eq!(out, input);
            assert_eq!((result.messages_retained, result.max_offset), (3, 12));
        }
    }

    #[test]
    fn a_thinned_batch_keeps_its_offsets_and_producer() {
        for codec in [CompressionType::None, CompressionType::Lz4] {
            let input = batch(codec, VALUES);
            let (out, result) = run(&input, Keep(&["b"], BatchRetention::DeleteEmpty));
            let batch = BatchView::parse(&out).unwrap();
            assert_eq!(offsets(&batch), [(11, 101)]);
            assert_eq!((batch.base_offset(), batch.last_offset()), (10, 12));
            assert_eq!((batch.base_sequence, batch.last_sequence()), (5, 7));
            assert_eq!(batch.partition_leader_epoch, LeaderEpoch(4));
            assert_eq!(batch.compression_type(), Ok(codec));
            assert_eq!(batch.max_timestamp, Timestamp(101));
            assert_eq!(result.max_offset, 11);
            assert_eq!(result.shallow_offset_of_max_timestamp, 12);
        }
    }

    #[test]
    fn a_tombstone_gets_its_horizon_once() {
        let input = batch(CompressionType::None, [Some(b"x"), None, Some(b"z")]);
        let all = || Keep(&["a", "b", "c"], BatchRetention::DeleteEmpty);
        let (out, _) = run(&input, all());
        let batch = BatchView::parse(&out).unwrap();
        assert_eq!(batch.delete_horizon(), Some(HORIZON));
        assert_eq!(offsets(&batch), [(10, 100), (11, 101), (12, 102)]);
        let (again, _) = run(&out, all());
        assert_eq!(again, out);
        let (thinned, _) = run(&out, Keep(&["b"], BatchRetention::DeleteEmpty));
        let batch = BatchView::parse(&thinned).unwrap();
        assert_eq!(batch.delete_horizon(), Some(HORIZON));
        assert_eq!(offsets(&batch), [(11, 101)]);
    }

    #[test]
    fn an_empty_batch_stays_for_its_producer_only() {
        let input = batch(CompressionType::Gzip, VALUES);
        let (out, result) = run(&input, Keep(&[], BatchRetention::RetainEmpty));
        let batch = BatchView::parse(&out).unwrap();
        assert_eq!(offsets(&batch), []);
        assert_eq!(out.len(), RECORD_BATCH_OVERHEAD);
        assert_eq!((batch.base_offset(), batch.last_offset()), (10, 12));
        assert_eq!(batch.last_sequence(), 7);
        assert!(!batch.is_compressed());
        assert_eq!(batch.base_timestamp, Timestamp::NONE);
        assert_eq!(batch.max_timestamp, Timestamp(102));
        assert_eq!(result.messages_retained, 0);
        for retention in [BatchRetention::DeleteEmpty, BatchRetention::Delete] {
            assert!(run(&input, Keep(&[], retention)).0.is_empty());
        }
    }

    #[test]
    fn message_sets_are_thinned_in_their_format() {
        for magic in [Magic::V0, Magic::V1] {
            let compression = Compression::Gzip { level: -1 };
            let mut set = MessageSetBuilder::new(magic, compression, TimestampType::CreateTime, 10);
            for (offset, key) in [(10, "a"), (11, "b"), (12, "c")] {
                set.append(offset, Timestamp(offset), Some(key.as_bytes()), Some(b"v"))
                    .unwrap();
            }
            let input = set.build().unwrap();
            let (out, result) = run(&input, Keep(&["a", "b"], BatchRetention::DeleteEmpty));
            let batch = BatchView::parse(&out).unwrap();
            let timestamps = match magic {
                Magic::V0 => [(10, -1), (11, -1)],
                Magic::V1 | Magic::V2 => [(10, 10), (11, 11)],
            };
            assert_eq!(offsets(&batch), timestamps);
            assert_eq!(batch.magic, magic);
            assert_eq!(result.max_offset, 11);
        }
    }
}
