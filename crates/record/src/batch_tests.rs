use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::*;

fn batch(base_offset: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(base_offset);
    for value in values {
        builder
            .append(Timestamp(base_offset), None, Some(value.as_bytes()))
            .unwrap();
    }
    builder.build().unwrap().to_vec()
}

#[test]
fn complete_batches_come_in_order_and_a_partial_one_is_left() {
    let mut bytes = [batch(0, &["a", "b"]), batch(2, &["c"])].concat();
    let complete = bytes.len();
    let third = batch(3, &["d"]);
    for cut in 0..third.len() {
        bytes.truncate(complete);
        bytes.extend_from_slice(&third[..cut]);
        let mut batches = BatchIterator::new(&bytes);
        let offsets: Vec<_> = (&mut batches)
            .map(|batch| batch.unwrap().base_offset())
            .collect();
        assert_eq!(offsets, [0, 2]);
        assert_eq!(batches.position(), complete);
        assert_eq!(batches.trailing_bytes(), cut);
    }
}

#[test]
fn sizes_and_magics_that_cannot_be_are_corrupt() {
    let good = batch(0, &["a"]);
    let with = |at: usize, bytes: &[u8]| {
        let mut copy = good.clone();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        copy
    };
    let cases = [
        (
            with(8, &[0, 0, 0, 13]),
            CorruptBatch::SizeTooSmall { size: 13 },
        ),
        (with(8, &[0xff; 4]), CorruptBatch::SizeTooSmall { size: -1 }),
        (
            with(8, &[0, 0, 0, 48]),
            CorruptBatch::BatchTooSmall { size: 60 },
        ),
        (with(16, &[3]), CorruptBatch::InvalidMagic(3)),
        (with(16, &[0xff]), CorruptBatch::InvalidMagic(-1)),
    ];
    for (bytes, error) in cases {
        let mut batches = BatchIterator::new(&bytes);
        assert_eq!(batches.next(), Some(Err(error)));
        assert_eq!(batches.next(), None);
        assert_eq!(batches.position(), 0);
    }
    let size = good.len() - LOG_OVERHEAD;
    let mut batches = BatchIterator::with_size_max(&good, size - 1);
    assert!(matches!(
        batches.next(),
        Some(Err(CorruptBatch::SizeTooLarge { .. }))
    ));
    assert!(BatchIterator::with_size_max(&good, size).all(|b| b.is_ok()));
}

#[test]
fn a_header_is_read_from_its_prefix() {
    let bytes = batch(7, &["a", "b"]);
    let prefix = BatchPrefix::parse(&bytes[..HEADER_SIZE_UP_TO_MAGIC]).unwrap();
    assert_eq!(prefix.size_in_bytes, bytes.len());
    assert_eq!(prefix.header_size(), RECORD_BATCH_OVERHEAD);
    let header = BatchHeader::parse(&bytes[..RECORD_BATCH_OVERHEAD]).unwrap();
    assert_eq!((header.base_offset(), header.last_offset()), (7, 8));
    assert!(matches!(
        BatchHeader::parse(&bytes[..60]),
        Err(CorruptBatch::Truncated { .. })
    ));
    assert!(BatchPrefix::parse(&bytes[..16]).is_err());
}

#[test]
fn sequences_wrap_after_the_largest() {
    for (base, increment, expected) in [
        (0, 0, 0),
        (i32::MAX, 0, i32::MAX),
        (i32::MAX, 1, 0),
        (i32::MAX - 1, 3, 1),
    ] {
        assert_eq!(increment_sequence(base, increment), expected);
        assert_eq!(decrement_sequence(expected, increment), base);
    }
    let mut builder =
        RecordBatchBuilder::new(0).producer(ProducerId(1), ProducerEpoch(0), i32::MAX);
    for _ in 0..3 {
        builder.append(Timestamp(0), None, None).unwrap();
    }
    let bytes = builder.build().unwrap();
    let batch = BatchView::parse(&bytes).unwrap();
    assert_eq!(batch.last_sequence(), 1);
    let records = batch.records(0).unwrap();
    let sequences: Vec<_> = records
        .iter()
        .unwrap()
        .map(|r| r.unwrap().sequence)
        .collect();
    assert_eq!(sequences, [i32::MAX, 0, 1]);
}

#[test]
fn a_delete_horizon_is_the_base_of_the_timestamps() {
    let mut builder = RecordBatchBuilder::new(0).delete_horizon(Timestamp(9000));
    builder.append(Timestamp(100), Some(b"k"), None).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchView::parse(&bytes).unwrap();
    assert_eq!(batch.delete_horizon(), Some(Timestamp(9000)));
    let records = batch.records(0).unwrap();
    let record = records.iter().unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, Timestamp(100));
}

#[test]
fn a_builder_refuses_what_no_batch_can_hold() {
    let mut builder = RecordBatchBuilder::new(10);
    builder.append(Timestamp(0), None, None).unwrap();
    assert_eq!(
        builder.append(Timestamp(-2), None, None),
        Err(BuildError::NegativeTimestamp(Timestamp(-2)))
    );
    let bytes = batch(0, &["a"]);
    let view = BatchView::parse(&bytes).unwrap();
    let records = view.records(0).unwrap();
    let record = records.iter().unwrap().next().unwrap().unwrap();
    assert!(matches!(
        builder.append_record(10, &record),
        Err(BuildError::OffsetNotIncreasing { .. })
    ));
    assert!(matches!(
        builder.append_record(i64::from(i32::MAX) + 11, &record),
        Err(BuildError::OffsetDelta { .. })
    ));
    assert_eq!(builder.record_count(), 1);
    assert!(RecordBatchBuilder::new(0).build().unwrap().is_empty());
}

#[test]
fn room_is_counted_to_the_byte() {
    let mut builder = RecordBatchBuilder::new(0);
    let (key, value) = (Some(&b"key"[..]), Some(&b"value"[..]));
    assert!(builder.has_room_for(Timestamp(5), key, value, 0));
    builder.append(Timestamp(5), key, value).unwrap();
    let mut next = builder.clone();
    next.append(Timestamp(500), key, value).unwrap();
    let size = next.uncompressed_size();
    assert!(builder.has_room_for(Timestamp(500), key, value, size));
    assert!(!builder.has_room_for(Timestamp(500), key, value, size - 1));
}

#[test]
fn analysis_sums_up_the_batches() {
    let partition = TopicPartition::new("t", 3);
    let mut bytes = [batch(5, &["a", "b"]), batch(9, &["c"])].concat();
    let complete = bytes.len();
    bytes.extend_from_slice(&[0; 5]);
    let info = analyze(&bytes, &partition, AppendOrigin::Replication, None).unwrap();
    assert_eq!(info.first_offset, Some(5));
    assert_eq!((info.last_offset_of_first_batch, info.last_offset), (6, 9));
    assert_eq!(info.max_timestamp, Timestamp(9));
    assert_eq!(info.shallow_offset_of_max_timestamp, 9);
    assert_eq!((info.valid_bytes, info.batch_count), (complete, 2));
    assert!(info.offsets_rise);

    let refused = |origin, size_max| {
        let error = analyze(&bytes, &partition, origin, size_max).unwrap_err();
        (error.error_code(), error.to_string())
    };
    assert_eq!(
        refused(AppendOrigin::Client, None),
        (
            ErrorCode::InvalidRecord,
            "The baseOffset of the record batch in the append to t-3 should be 0, but it is 5"
                .to_owned()
        )
    );
    assert_eq!(
        refused(AppendOrigin::Coordinator, Some(70)),
        (
            ErrorCode::MessageTooLarge,
            "The record batch size in the append to t-3 is 77 bytes which exceeds the maximum \
             configured value of 70."
                .to_owned()
        )
    );
    bytes[70] ^= 1;
    let error = analyze(&bytes, &partition, AppendOrigin::Replication, None).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::CorruptMessage);
}

#[test]
fn an_empty_batch_left_by_compaction_is_read() {
    let mut bytes = batch(4, &["a"]);
    bytes.truncate(RECORD_BATCH_OVERHEAD);
    bytes[8..12].copy_from_slice(&49u32.to_be_bytes());
    bytes[57..61].copy_from_slice(&[0; 4]);
    let batch = BatchView::parse(&bytes).unwrap();
    assert_eq!(batch.records(0).unwrap().iter().unwrap().count(), 0);
    assert_eq!(batch.deep_base_offset(0), Ok(4));
}
