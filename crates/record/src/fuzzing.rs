//! Bodies of the fuzz targets in `fuzz/`, kept here so that bounded runs are ordinary tests. Each
//! must return for any bytes whatever; what it asserts holds for any bytes.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Timestamp, TopicPartition};

use crate::compression::decompress;
use crate::{
    AppendOrigin, BatchIterator, BatchRetention, BatchView, Compression, CompressionType, Magic,
    Record, RecordFilter, TimestampType, ValidationConfig, analyze, convert_down, filter_to,
    validate_and_assign,
};

/// Decompressed bytes allowed per batch: small, so that bombs show.
const LIMIT: usize = 1 << 20;

/// Reads every batch and every record, and rewrites them.
pub fn decode_batches(data: &[u8]) {
    let mut batches = BatchIterator::new(data);
    let mut complete = 0;
    for batch in &mut batches {
        let Ok(batch) = batch else { return };
        complete += batch.size_in_bytes;
        let _ = batch.ensure_valid();
        let _ = batch.last_sequence();
        let _ = batch.deep_base_offset(LIMIT);
        if let Ok(records) = batch.records(LIMIT)
            && let Ok(records) = records.iter()
        {
            for record in records.flatten() {
                assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
    }
    assert_eq!(batches.position(), complete);
    rewrite(&data[..complete]);
}

/// Converts and thins complete batches; what comes out must be readable again.
fn rewrite(data: &[u8]) {
    for target in [Magic::V0, Magic::V1] {
        if let Ok(converted) = convert_down(data, target, 0, LIMIT) {
            for batch in BatchIterator::new(&converted.records) {
                let batch = batch.expect("conversion writes complete batches");
                assert!(batch.magic <= target);
            }
        }
    }
    let mut thinned = Vec::new();
    let horizon = Timestamp(1_000_000);
    if let Ok(result) = filter_to(data, &mut EveryOther(false), horizon, LIMIT, &mut thinned) {
        assert_eq!(result.bytes_retained, thinned.len());
        for batch in BatchIterator::new(&thinned) {
            batch.expect("the filter writes complete batches");
        }
    }
}

/// Keeps every other record.
struct EveryOther(bool);

impl RecordFilter for EveryOther {
    fn check_batch(&mut self, _: &BatchView<'_>) -> (BatchRetention, bool) {
        (BatchRetention::RetainEmpty, false)
    }
    fn retains(&mut self, _: &BatchView<'_>, _: &Record<'_>) -> bool {
        self.0 = !self.0;
        self.0
    }
}

/// Decompresses with the codec and format that the first byte picks.
pub fn decompress_any(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let Ok(codec) = CompressionType::from_id(i16::from(choice % 5)) else {
        return;
    };
    let magic = if choice & 0x80 == 0 {
        Magic::V2
    } else {
        Magic::V0
    };
    if let Ok(plain) = decompress(codec, magic, data, LIMIT) {
        assert!(plain.len() <= LIMIT);
        assert!(plain.capacity() <= 2 * LIMIT);
        let mut again = Vec::new();
        let compressed = Compression::with_default_level(codec).compress(magic, &plain, &mut again);
        assert!(compressed.is_ok());
        assert_eq!(decompress(codec, magic, &again, LIMIT), Ok(plain));
    }
}

/// Validates with the configuration that the first byte picks; checksums are made right first, as
/// nothing would get past them.
pub fn validate(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let config = fuzz_config(choice);
    let origin = if choice & 0x40 == 0 {
        AppendOrigin::Client
    } else {
        AppendOrigin::Coordinator
    };
    let input = with_right_checksums(data);
    let Ok(info) = analyze(&input, &config.topic_partition, origin, None) else {
        return;
    };
    let input = input.slice(..info.valid_bytes);
    let now = Timestamp(1_000_000);
    let Ok(validated) = validate_and_assign(input, &config, 1 << 40, now, origin, LeaderEpoch(3))
    else {
        return;
    };
    let bytes = validated.batch.to_bytes();
    let batch = BatchView::parse(&bytes).expect("the validator answers complete batches");
    assert_eq!(batch.size_in_bytes, bytes.len());
    assert_eq!(batch.last_offset(), validated.last_offset);
    assert_eq!(batch.max_timestamp, validated.max_timestamp);
    assert!(batch.ensure_valid().is_ok(), "checksum after validation");
    let records = batch.records(usize::MAX >> 1).expect("records were read");
    let offsets: Vec<_> = records
        .iter()
        .expect("the count was checked")
        .map(|record| record.expect("records were read").offset)
        .collect();
    if origin == AppendOrigin::Client {
        assert_eq!(batch.base_offset(), 1 << 40);
        assert_eq!(
            offsets.len() as i64,
            validated.last_offset - batch.base_offset() + 1
        );
    }
}

fn fuzz_config(choice: u8) -> ValidationConfig {
    let compression = match choice & 0x07 {
        codec @ 0..=4 => CompressionType::from_id(i16::from(codec))
            .ok()
            .map(Compression::with_default_level),
        _ => None,
    };
    ValidationConfig {
        compacted: choice & 0x08 != 0,
        timestamp_type: if choice & 0x10 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        timestamp_after_max_ms: if choice & 0x20 == 0 { i64::MAX } else { 5000 },
        compression,
        decompressed_size_max: LIMIT,
        ..ValidationConfig::with_defaults(TopicPartition::new("topic", 0))
    }
}

fn with_right_checksums(data: &[u8]) -> Bytes {
    let mut copy = data.to_vec();
    let mut start = 0;
    for batch in BatchIterator::new(data) {
        let Ok(batch) = batch else { break };
        let crc = batch.compute_crc().to_be_bytes();
        let at = start
            + match batch.magic {
                Magic::V2 => crate::batch::CRC_OFFSET_V2,
                Magic::V0 | Magic::V1 => crate::batch::LEGACY_CRC_OFFSET,
            };
        copy[at..at + 4].copy_from_slice(&crc);
        start += batch.size_in_bytes;
    }
    copy.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Batches of every codec and format as producers send them, to be mutated.
    fn seeds() -> Vec<Vec<u8>> {
        let mut seeds = crate::golden_tests::java_batches();
        for seed in &mut seeds {
            if seed[16] == 2 {
                seed[..8].fill(0);
            }
        }
        seeds
    }

    /// Some bytes of a seed overwritten, inserted or removed.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let edits = prop::collection::vec((any::<u16>(), any::<u8>(), 0..5u8), 0..6);
        (0..seeds().len(), edits).prop_map(|(index, edits)| {
            let mut bytes = seeds().swap_remove(index);
            for (at, byte, kind) in edits {
                if bytes.is_empty() {
                    break;
                }
                let at = usize::from(at) % bytes.len();
                match kind {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, byte),
                    2 => bytes[at] = bytes[at].wrapping_add(1),
                    _ => bytes[at] = byte,
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode_batches(&bytes);
            decompress_any(&bytes);
            validate(&bytes);
        }

        #[test]
        fn damaged_batches_are_read_without_panic(bytes in mutated()) {
            decode_batches(&bytes);
        }

        #[test]
        fn damaged_batches_are_validated_without_panic(choice in any::<u8>(), bytes in mutated()) {
            let bytes: Vec<u8> = [&[choice], &bytes[..]].concat();
            validate(&bytes);
        }

        #[test]
        fn damaged_compressed_data_is_read_without_panic(
            choice in any::<u8>(),
            plain in prop::collection::vec(any::<u8>(), 0..2000),
            at in any::<u16>(),
            byte in any::<u8>(),
        ) {
            let codec = CompressionType::from_id(i16::from(choice % 5)).unwrap();
            let mut bytes = vec![choice];
            Compression::with_default_level(codec)
                .compress(Magic::V2, &plain, &mut bytes)
                .unwrap();
            decompress_any(&bytes);
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
            decompress_any(&bytes);
        }
    }
}
