use bytes::Bytes;
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::validator::*;
use crate::*;

const NOW: Timestamp = Timestamp(1_000_000);
const CODECS: [CompressionType; 5] = [
    CompressionType::None,
    CompressionType::Gzip,
    CompressionType::Snappy,
    CompressionType::Lz4,
    CompressionType::Zstd,
];

fn config() -> ValidationConfig {
    ValidationConfig::with_defaults(TopicPartition::new("topic", 0))
}

fn compressing(codec: CompressionType) -> ValidationConfig {
    ValidationConfig {
        compression: Some(Compression::with_default_level(codec)),
        ..config()
    }
}

fn append_time() -> ValidationConfig {
    ValidationConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..config()
    }
}

fn builder(codec: CompressionType) -> RecordBatchBuilder {
    RecordBatchBuilder::new(0)
        .compression(Compression::with_default_level(codec))
        .producer(ProducerId(7), ProducerEpoch(1), 5)
        .transactional(true)
}

fn three(codec: CompressionType) -> Bytes {
    let mut builder = builder(codec);
    for (timestamp, key) in [(100, "a"), (300, "b"), (200, "c")] {
        builder
            .append(Timestamp(timestamp), Some(key.as_bytes()), Some(b"value"))
            .unwrap();
    }
    builder.build().unwrap()
}

fn keyless(codec: CompressionType) -> Bytes {
    let mut builder = builder(codec);
    for key in [None, Some(&b"k"[..]), None] {
        builder.append(Timestamp(1), key, Some(b"v")).unwrap();
    }
    builder.build().unwrap()
}

fn legacy(magic: Magic, codec: CompressionType) -> Bytes {
    let mut builder = MessageSetBuilder::new(
        magic,
        Compression::with_default_level(codec),
        TimestampType::CreateTime,
        0,
    );
    for (offset, timestamp, key) in [(0, 100, "a"), (1, 300, "b"), (2, 200, "c")] {
        builder
            .append(offset, Timestamp(timestamp), Some(key.as_bytes()), None)
            .unwrap();
    }
    builder.build().unwrap().into()
}

fn validate(
    input: &Bytes,
    config: &ValidationConfig,
    origin: AppendOrigin,
) -> Result<ValidatedRecords, ValidationError> {
    validate_and_assign(input.clone(), config, 50, NOW, origin, LeaderEpoch(9))
}

fn accept(input: &Bytes, config: &ValidationConfig) -> ValidatedRecords {
    validate(input, config, AppendOrigin::Client).unwrap()
}

fn refuse(input: &Bytes, config: &ValidationConfig) -> ValidationError {
    validate(input, config, AppendOrigin::Client).unwrap_err()
}

/// A copy with some bytes changed and the checksum made right.
fn patched(input: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut copy = input.to_vec();
    copy[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&copy[21..]).to_be_bytes();
    copy[17..21].copy_from_slice(&crc);
    copy.into()
}

fn rows(batch: &[u8]) -> Vec<(i64, i64, Option<Vec<u8>>)> {
    let batch = BatchView::parse(batch).unwrap();
    batch.ensure_valid().unwrap();
    let records = batch.records(1 << 20).unwrap();
    let rows = records.iter().unwrap().map(|record| {
        let record = record.unwrap();
        (record.offset, record.timestamp.0, record.key.map(Vec::from))
    });
    rows.collect()
}

fn key(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn expected_rows(timestamps: [i64; 3]) -> Vec<(i64, i64, Option<Vec<u8>>)> {
    let [a, b, c] = timestamps;
    vec![(50, a, key("a")), (51, b, key("b")), (52, c, key("c"))]
}

#[test]
fn the_same_codec_leaves_the_records_untouched() {
    for codec in CODECS {
        for config in [config(), compressing(codec)] {
            let input = three(codec);
            let validated = accept(&input, &config);
            let AppendBytes::Patched { rest, .. } = &validated.batch else {
                panic!("{codec:?} was rebuilt");
            };
            assert_eq!(rest.as_ptr(), input[RECORD_BATCH_OVERHEAD..].as_ptr());
            assert_eq!((validated.first_offset, validated.last_offset), (50, 52));
            assert_eq!(validated.max_timestamp, Timestamp(300));
            assert_eq!(validated.shallow_offset_of_max_timestamp, 52);
            assert_eq!(validated.log_append_time, Timestamp::NONE);
            let bytes = validated.batch.to_bytes();
            assert_eq!(rows(&bytes), expected_rows([100, 300, 200]));
            let batch = BatchView::parse(&bytes).unwrap();
            assert_eq!(batch.partition_leader_epoch, LeaderEpoch(9));
            assert_eq!((batch.base_sequence, batch.last_sequence()), (5, 7));
            assert!(batch.is_transactional());
        }
    }
}

#[test]
fn another_codec_rebuilds_the_batch_and_keeps_the_producer() {
    for source in CODECS {
        for target in CODECS.into_iter().filter(|target| *target != source) {
            let validated = accept(&three(source), &compressing(target));
            let AppendBytes::Rebuilt(bytes) = &validated.batch else {
                panic!("{source:?} to {target:?} was not rebuilt");
            };
            assert_eq!(rows(bytes), expected_rows([100, 300, 200]));
            let batch = BatchView::parse(bytes).unwrap();
            assert_eq!(batch.compression_type(), Ok(target));
            assert_eq!(batch.producer_id, ProducerId(7));
            assert_eq!(batch.base_sequence, 5);
            assert!(batch.is_transactional());
            assert_eq!(validated.converted_records, 3);
            assert!(validated.size_may_have_changed);
        }
    }
}

#[test]
fn old_formats_become_one_batch() {
    for (magic, timestamps) in [(Magic::V0, [-1; 3]), (Magic::V1, [100, 300, 200])] {
        for codec in [
            CompressionType::None,
            CompressionType::Gzip,
            CompressionType::Snappy,
            CompressionType::Lz4,
        ] {
            for target in [None, Some(Compression::Zstd { level: 3 })] {
                let config = ValidationConfig {
                    compression: target,
                    ..config()
                };
                let validated = accept(&legacy(magic, codec), &config);
                let bytes = validated.batch.to_bytes();
                assert_eq!(rows(&bytes), expected_rows(timestamps));
                let batch = BatchView::parse(&bytes).unwrap();
                assert_eq!(
                    batch.compression_type(),
                    Ok(target.map_or(codec, Compression::codec))
                );
                assert_eq!(batch.producer_id, ProducerId::NONE);
                assert_eq!(validated.converted_records, 3);
                let shallow = validated.shallow_offset_of_max_timestamp;
                assert_eq!(shallow, if magic == Magic::V0 { -1 } else { 52 });
            }
        }
    }
}

#[test]
fn log_append_time_sets_the_header_only() {
    for codec in CODECS {
        let validated = accept(&three(codec), &append_time());
        assert!(matches!(validated.batch, AppendBytes::Patched { .. }));
        assert_eq!(validated.log_append_time, NOW);
        assert_eq!(validated.max_timestamp, NOW);
        let bytes = validated.batch.to_bytes();
        assert_eq!(rows(&bytes), expected_rows([NOW.0; 3]));
        let batch = BatchView::parse(&bytes).unwrap();
        assert_eq!(batch.timestamp_type(), Some(TimestampType::LogAppendTime));
        assert_eq!(batch.base_timestamp, Timestamp(100));
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let input = patched(&three(CompressionType::Gzip), 35, &77i64.to_be_bytes());
    let validated = accept(&input, &config());
    let bytes = validated.batch.to_bytes();
    assert_eq!(
        BatchView::parse(&bytes).unwrap().max_timestamp,
        Timestamp(300)
    );
    assert_eq!(rows(&bytes).len(), 3);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut input = three(CompressionType::None).to_vec();
    input[17] ^= 1;
    let validated = accept(&input.into(), &append_time());
    let bytes = validated.batch.to_bytes();
    assert!(BatchView::parse(&bytes).unwrap().ensure_valid().is_err());
}

#[test]
fn a_producer_that_claims_log_append_time_is_refused_or_corrected() {
    let input = patched(&three(CompressionType::None), 21, &[0, 0x18]);
    // The record timestamps read as the max timestamp, which is in range: the bit is cleared.
    let validated = accept(&input, &config());
    assert_eq!(
        rows(&validated.batch.to_bytes()),
        expected_rows([100, 300, 200])
    );
    let error = refuse(&input, &append_time());
    assert_eq!(error.error_code(), ErrorCode::InvalidTimestamp);
    assert_eq!(error.record_errors().len(), 3);
    assert_eq!(
        error.record_errors()[1].message,
        "Invalid timestamp type in message DefaultRecord(offset=1, timestamp=300, key=1 bytes, \
         value=5 bytes). Producer should not set timestamp type to LogAppendTime."
    );
}

#[test]
fn timestamps_out_of_range_are_all_named() {
    let config = ValidationConfig {
        timestamp_before_max_ms: 999_800,
        timestamp_after_max_ms: 1000,
        ..config()
    };
    for codec in CODECS {
        let error = refuse(&three(codec), &config);
        assert_eq!(error.error_code(), ErrorCode::InvalidTimestamp);
        assert_eq!(
            error.custom_message(),
            Some("One or more records have been rejected due to invalid timestamp")
        );
        assert_eq!(
            error.record_errors(),
            [RecordError {
                batch_index: 0,
                message: "Timestamp 100 of message with offset 0 is out of range. The timestamp \
                          should be within [200, 1001000]"
                    .to_owned()
            }]
        );
    }
}

#[test]
fn a_compacted_topic_needs_keys() {
    let config = ValidationConfig {
        compacted: true,
        ..config()
    };
    for codec in CODECS {
        let error = refuse(&keyless(codec), &config);
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
        let indexes: Vec<_> = error
            .record_errors()
            .iter()
            .map(|e| e.batch_index)
            .collect();
        assert_eq!(indexes, [0, 2]);
        assert_eq!(error.counts().no_key_compacted_topic, 2);
        let text = "Compacted topic cannot accept message without key in topic partition topic-0";
        assert_eq!(
            error.custom_message().unwrap(),
            format!(
                "One or more records have been rejected due to 2 record errors in total, and only \
                 showing the first three errors at most: [RecordError(batchIndex=0, \
                 message='{text}'), RecordError(batchIndex=2, message='{text}')]"
            )
        );
        accept(&three(codec), &config);
    }
}

#[test]
fn a_batch_that_contradicts_itself_is_refused_whole() {
    let three = three(CompressionType::None);
    let cases: [(&str, Bytes, &str); 5] = [
        (
            "negative offset range",
            patched(&three, 23, &(-2i32).to_be_bytes()),
            "Batch has an invalid offset range: [0, -2] in topic partition topic-0",
        ),
        (
            "no records",
            patched(&three, 57, &[0; 4]),
            "Invalid reported count for record batch: 0 in topic partition topic-0",
        ),
        (
            "count and offsets differ",
            patched(&three, 57, &4i32.to_be_bytes()),
            "Inconsistent batch offset range [0, 2] and count of records 4 in topic partition topic-0",
        ),
        (
            "control",
            patched(&three, 21, &[0, 0x30]),
            "Clients are not allowed to write control records in topic partition topic-0",
        ),
        (
            "no sequence",
            patched(&three, 53, &(-1i32).to_be_bytes()),
            "Invalid sequence number -1 in record batch with producerId 7 in topic partition topic-0",
        ),
    ];
    for (name, input, message) in cases {
        let error = refuse(&input, &config());
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord, "{name}");
        assert_eq!(error.to_string(), message, "{name}");
        assert_eq!(error.custom_message(), None, "{name}");
        assert_eq!(error.counts().invalid_offset_or_sequence, 1, "{name}");
    }
}

#[test]
fn too_few_and_too_many_records_are_refused() {
    for codec in CODECS {
        for count in [2i32, 4] {
            let input = patched(&three(codec), 57, &count.to_be_bytes());
            let input = patched(&input, 23, &(count - 1).to_be_bytes());
            let error = refuse(&input, &config());
            assert_eq!(error.error_code(), ErrorCode::InvalidRecord, "{codec:?}");
        }
    }
}

#[test]
fn only_one_batch_may_be_produced() {
    for codec in CODECS {
        let input: Bytes = [three(codec), three(codec)].concat().into();
        assert_eq!(
            refuse(&input, &config()).error_code(),
            ErrorCode::InvalidRecord
        );
    }
    let mixed: Bytes = [
        legacy(Magic::V0, CompressionType::None),
        legacy(Magic::V1, CompressionType::None),
    ]
    .concat()
    .into();
    let error = refuse(&mixed, &config());
    assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    assert_eq!(error.counts().invalid_magic, 1);
}

#[test]
fn data_that_does_not_decompress_is_refused() {
    for codec in CODECS.into_iter().skip(1) {
        let input = three(codec);
        let cut = input.slice(..input.len() - 3);
        let size = (cut.len() - LOG_OVERHEAD) as u32;
        let cut = patched(&cut, 8, &size.to_be_bytes());
        let error = refuse(&cut, &config());
        assert!(
            matches!(
                error.error_code(),
                ErrorCode::UnknownServerError | ErrorCode::InvalidRecord
            ),
            "{codec:?}: {error}"
        );
    }
}

#[test]
fn a_wrong_inner_checksum_is_corrupt() {
    let mut set =
        MessageSetBuilder::new(Magic::V1, Compression::None, TimestampType::CreateTime, 0);
    set.append(0, Timestamp(1), Some(b"k"), Some(b"v")).unwrap();
    let mut inner = set.build().unwrap();
    inner[12] ^= 1;
    let mut value = Vec::new();
    Compression::Snappy
        .compress(Magic::V1, &inner, &mut value)
        .unwrap();
    // A message with the damaged set as its value, made a wrapper by its attributes.
    let mut wrapper =
        MessageSetBuilder::new(Magic::V1, Compression::None, TimestampType::CreateTime, 0);
    wrapper.append(0, Timestamp(1), None, Some(&value)).unwrap();
    let mut wrapper = wrapper.build().unwrap();
    wrapper[17] = 2;
    let error = refuse(&wrapper.into(), &config());
    assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
    assert_eq!(error.counts().invalid_message_crc, 1);
}

#[test]
fn coordinators_may_write_markers_and_need_no_sequence() {
    let marker = EndTransactionMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 2,
    };
    let input = end_transaction_marker(
        0,
        NOW,
        LeaderEpoch(0),
        ProducerId(7),
        ProducerEpoch(1),
        marker,
    )
    .unwrap();
    // Markers stay uncompressed on a compressed topic.
    for config in [config(), compressing(CompressionType::Zstd)] {
        let validated = validate(&input, &config, AppendOrigin::Coordinator).unwrap();
        let bytes = validated.batch.to_bytes();
        let batch = BatchView::parse(&bytes).unwrap();
        batch.ensure_valid().unwrap();
        assert!(batch.is_control() && !batch.is_compressed());
        assert_eq!((batch.base_offset(), batch.last_offset()), (50, 50));
    }
    let sequence = patched(&three(CompressionType::None), 53, &(-1i32).to_be_bytes());
    validate(&sequence, &config(), AppendOrigin::Coordinator).unwrap();
}

#[test]
fn a_batch_without_timestamps_has_no_offset_of_the_largest() {
    let mut builder = RecordBatchBuilder::new(0);
    builder.append(Timestamp::NONE, None, Some(b"v")).unwrap();
    let validated = accept(&builder.build().unwrap(), &config());
    assert_eq!(validated.max_timestamp, Timestamp::NONE);
    assert_eq!(validated.shallow_offset_of_max_timestamp, -1);
}

#[test]
fn decompression_for_a_rebuild_is_bounded() {
    let mut builder = builder(CompressionType::Zstd);
    builder
        .append(NOW, Some(b"k"), Some(&vec![0; 1 << 20]))
        .unwrap();
    let input = builder.build().unwrap();
    let config = ValidationConfig {
        decompressed_size_max: 1 << 16,
        ..compressing(CompressionType::Lz4)
    };
    let error = refuse(&input, &config);
    assert!(matches!(
        error,
        ValidationError::InvalidRecords(InvalidRecords::Decompression(DecompressError::TooLarge {
            limit: 65536
        }))
    ));
}
