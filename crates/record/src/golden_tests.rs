//! Bytes that the Java classes of Kafka 3.9.1 wrote, read and written again here.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};

use crate::*;

/// `name hex` lines: three records k0, k1, k2 at offsets 20 to 22 and timestamps 1000 to 1002,
/// the second with two headers in magic 2.
const JAVA_BATCHES: &str = include_str!("../testdata/java_batches.txt");

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).unwrap())
        .collect()
}

/// The batches alone.
pub(crate) fn java_batches() -> Vec<Vec<u8>> {
    JAVA_BATCHES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, data)| hex(data))
        .collect()
}

fn value(index: usize, size: usize) -> Vec<u8> {
    (0..size)
        .map(|j| b'a' + ((j / 7 + index) % 13) as u8)
        .collect()
}

const V2: &str = "000000000000000a 00000042 ffffffff 02 bc867e5e 0000 00000001 00000000000003e8
    00000000000003e9 ffffffffffffffff ffff ffffffff 00000002
    10 00 00 00 02 6b 02 76 00  0e 00 02 02 01 02 77 00";
const V1: &str =
    "000000000000000a 00000018 e4e321bc 01 00 00000000000003e8 00000001 6b 00000001 76";
const V0: &str = "000000000000000a 00000010 1fecd70a 00 00 00000001 6b 00000001 76";
const ABORT_MARKER: &str = "0000000000000000 00000042 00000003 02 9768d255 0030 00000000
    00000000000004d2 00000000000004d2 0000000000000007 0003 ffffffff 00000001
    20 00 00 00 08 0000 0000 0c 0000 00000005 00";

#[test]
fn a_batch_is_built_as_java_builds_it() {
    let mut builder = RecordBatchBuilder::new(10);
    builder
        .append(Timestamp(1000), Some(b"k"), Some(b"v"))
        .unwrap();
    builder.append(Timestamp(1001), None, Some(b"w")).unwrap();
    assert_eq!(builder.build().unwrap(), hex(V2));
}

#[test]
fn a_batch_is_read_as_java_wrote_it() {
    let bytes = hex(V2);
    let batch = BatchView::parse(&bytes).unwrap();
    batch.ensure_valid().unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset()), (10, 11));
    assert_eq!(batch.record_count, Some(2));
    assert_eq!(batch.max_timestamp, Timestamp(1001));
    assert_eq!(batch.last_sequence(), NO_SEQUENCE);
    let records = batch.records(0).unwrap();
    let records: Vec<_> = records.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!((records[0].offset, records[0].key), (10, Some(&b"k"[..])));
    assert_eq!((records[1].offset, records[1].key), (11, None));
    assert_eq!(records[1].timestamp, Timestamp(1001));
    assert_eq!(records[0].size_in_bytes, 9);
}

#[test]
fn messages_of_magic_0_and_1_are_built_as_java_builds_them() {
    for (magic, expected) in [(Magic::V0, V0), (Magic::V1, V1)] {
        let mut builder =
            MessageSetBuilder::new(magic, Compression::None, TimestampType::CreateTime, 10);
        builder
            .append(10, Timestamp(1000), Some(b"k"), Some(b"v"))
            .unwrap();
        let bytes = builder.build().unwrap();
        assert_eq!(bytes, hex(expected));
        BatchView::parse(&bytes).unwrap().ensure_valid().unwrap();
    }
}

#[test]
fn an_abort_marker_is_built_and_read_as_in_java() {
    let marker = EndTransactionMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 5,
    };
    let bytes = end_transaction_marker(
        0,
        Timestamp(1234),
        LeaderEpoch(3),
        ProducerId(7),
        ProducerEpoch(3),
        marker,
    )
    .unwrap();
    assert_eq!(bytes, hex(ABORT_MARKER));
    let batch = BatchView::parse(&bytes).unwrap();
    assert!(batch.is_control() && batch.is_transactional());
    let records = batch.records(0).unwrap();
    let record = records.iter().unwrap().next().unwrap().unwrap();
    assert_eq!(EndTransactionMarker::parse(&record).unwrap(), Some(marker));
}

#[test]
fn every_codec_and_format_of_java_is_read() {
    let mut seen = 0;
    for line in JAVA_BATCHES.lines() {
        let (name, data) = line.split_once(' ').unwrap();
        let bytes = hex(data);
        let mut batches = BatchIterator::new(&bytes);
        let mut index = 0;
        for batch in &mut batches {
            let batch = batch.unwrap();
            batch.ensure_valid().unwrap();
            let append_time = name.ends_with("LogAppendTime");
            for record in batch.records(1 << 20).unwrap().iter().unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset, 20 + index as i64, "{name}");
                assert_eq!(record.key, Some(format!("k{index}").as_bytes()), "{name}");
                assert_eq!(record.value, Some(&value(index, 40)[..]), "{name}");
                let timestamp = match batch.magic {
                    Magic::V0 => -1,
                    _ if append_time => 5000,
                    _ => 1000 + index as i64,
                };
                assert_eq!(record.timestamp, Timestamp(timestamp), "{name}");
                if batch.magic == Magic::V2 && index == 1 {
                    let headers: Vec<_> = record.headers.iter().collect();
                    assert_eq!(
                        headers,
                        [(&b"h"[..], Some(&b"x"[..])), (&b"n"[..], None)],
                        "{name}"
                    );
                }
                index += 1;
            }
        }
        assert_eq!((index, batches.trailing_bytes()), (3, 0), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn uncompressed_batches_are_written_byte_for_byte() {
    for line in JAVA_BATCHES.lines() {
        let (name, data) = line.split_once(' ').unwrap();
        if let Some(bytes) = written_here(name, 40)
            && name.contains("-none-")
        {
            assert_eq!(bytes, hex(data), "{name}");
        }
    }
}

#[test]
fn every_codec_and_format_survives_a_round_trip() {
    for line in JAVA_BATCHES.lines() {
        let (name, _) = line.split_once(' ').unwrap();
        for size in [0, 40, 50_000] {
            let bytes = written_here(name, size).unwrap();
            let mut index = 0;
            for batch in BatchIterator::new(&bytes) {
                let batch = batch.unwrap();
                batch.ensure_valid().unwrap();
                for record in batch.records(1 << 20).unwrap().iter().unwrap() {
                    assert_eq!(record.unwrap().value, Some(&value(index, size)[..]));
                    index += 1;
                }
            }
            assert_eq!(index, 3, "{name}");
        }
    }
}

/// The batch of this name as this crate builds it, with values of `size` bytes.
fn written_here(name: &str, size: usize) -> Option<Bytes> {
    let mut parts = name.split('-');
    let magic = parts.next()?;
    let compression = Compression::with_default_level(parts.next()?.parse().ok()?);
    let append_time = parts.next()? == "LogAppendTime";
    let rows = (0..3).map(|i| {
        let timestamp = Timestamp(1000 + i as i64);
        (20 + i as i64, timestamp, format!("k{i}"), value(i, size))
    });
    if magic == "v2" {
        let mut builder = RecordBatchBuilder::new(20)
            .compression(compression)
            .leader_epoch(LeaderEpoch(4));
        if append_time {
            builder = builder.log_append_time(Timestamp(5000));
        }
        for (offset, timestamp, key, value) in rows {
            let headers: &[(&str, Option<&[u8]>)] = match offset {
                21 => &[("h", Some(b"x")), ("n", None)],
                _ => &[],
            };
            builder
                .append_with_headers(timestamp, Some(key.as_bytes()), Some(&value), headers)
                .ok()?;
        }
        return builder.build().ok();
    }
    let magic = if magic == "v0" { Magic::V0 } else { Magic::V1 };
    let timestamp_type = if append_time {
        TimestampType::LogAppendTime
    } else {
        TimestampType::CreateTime
    };
    let mut builder = MessageSetBuilder::new(magic, compression, timestamp_type, 20);
    for (offset, timestamp, key, value) in rows {
        let timestamp = if append_time {
            Timestamp(5000)
        } else {
            timestamp
        };
        builder
            .append(offset, timestamp, Some(key.as_bytes()), Some(&value))
            .ok()?;
    }
    builder.build().ok().map(Bytes::from)
}
