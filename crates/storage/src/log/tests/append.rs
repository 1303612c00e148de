use ottla_model::ErrorCode;
use ottla_record::{BatchIterator, RecordBatchBuilder};

use super::*;
use crate::directory::{Fault, read_file};
use crate::offset_index::OffsetPosition;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_batch_on_disk_has_the_bytes_that_kafka_writes() {
    let disk = Disk::new(LogConfig::default());
    let mut log = disk.open();
    log.truncate_fully_and_start_at(10, None, NOW).unwrap();
    let mut builder = RecordBatchBuilder::new(0);
    builder
        .append(Timestamp(1000), Some(b"k"), Some(b"v"))
        .unwrap();
    builder.append(Timestamp(1001), None, Some(b"w")).unwrap();
    let info = lead_at(&mut log, builder.build().unwrap(), -1).unwrap();
    assert_eq!((info.first_offset, info.last_offset), (10, 11));
    let path = std::path::Path::new("/data/t-0/00000000000000000010.log");
    let bytes = read_file(&disk.files, path, 1000).unwrap();
    let golden = "000000000000000a00000042ffffffff02bc867e5e0000000000010000000000\
                  0003e800000000000003e9ffffffffffffffffffffffffffff00000002\
                  10000000026b027600\
                  0e00020201027700";
    assert_eq!(hex(&bytes), golden);
}

#[test]
fn offsets_follow_each_other_and_reads_are_bounded_by_isolation() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    for (number, value) in ["a", "b", "c"].iter().enumerate() {
        let info = lead(&mut log, batch(1000, &[value, value])).unwrap();
        assert_eq!(info.first_offset, number as i64 * 2);
    }
    let reader = log.reader();
    let read = |from, isolation| reader.read(from, 10_000, isolation, true).unwrap();
    assert!(read(0, FetchIsolation::HighWatermark).slice.is_none());
    assert_eq!(log.update_high_watermark(4), 4);
    let fetched = read(0, FetchIsolation::HighWatermark);
    let bytes = fetched.slice.unwrap().read().unwrap();
    let last = BatchIterator::new(&bytes).last().unwrap().unwrap();
    assert_eq!(last.last_offset(), 3);
    assert_eq!(fetched.offsets.high_watermark.offset, 4);
    // In the middle of a batch: the batch is sent whole.
    let bytes = read(3, FetchIsolation::LogEnd)
        .slice
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(
        BatchIterator::new(&bytes)
            .next()
            .unwrap()
            .unwrap()
            .base_offset(),
        2
    );
    // Beyond the bound but in the log: nothing, and no error. Beyond the log: an error.
    assert!(read(5, FetchIsolation::HighWatermark).slice.is_none());
    assert!(read(6, FetchIsolation::LogEnd).slice.is_none());
    let error = reader
        .read(7, 100, FetchIsolation::LogEnd, true)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    assert_eq!(contents(&log).len(), 6);
}

#[test]
fn a_small_limit_cuts_unless_one_batch_is_asked_for() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    lead(&mut log, batch(1000, &["a"])).unwrap();
    let reader = log.reader();
    let fetched = reader.read(0, 10, FetchIsolation::LogEnd, false).unwrap();
    assert_eq!(fetched.size_in_bytes(), 10);
    assert!(fetched.first_batch_incomplete);
    let fetched = reader.read(0, 10, FetchIsolation::LogEnd, true).unwrap();
    assert_eq!(fetched.size_in_bytes() as u64, log.size_in_bytes());
    assert!(!fetched.first_batch_incomplete);
    let fetched = reader.read(0, 0, FetchIsolation::LogEnd, false).unwrap();
    assert!(fetched.slice.is_none());
}

#[test]
fn an_index_entry_follows_more_than_an_interval_of_bytes_and_stands_for_the_append() {
    let disk = Disk::new(LogConfig {
        index_interval_bytes: 70,
        ..LogConfig::default()
    });
    let mut log = disk.open();
    // One record of one byte key and value makes a batch of 70 bytes.
    let size = lead(&mut log, batch(1000, &["v"])).unwrap().size_in_bytes;
    assert_eq!(size, 70);
    lead(&mut log, batch(1001, &["v"])).unwrap();
    assert!(
        log.active.offset_index.entries().unwrap().is_empty(),
        "70 is not more than 70"
    );
    lead(&mut log, batch(1002, &["v", "v"])).unwrap();
    let entries = log.active.offset_index.entries().unwrap();
    assert_eq!(
        entries,
        [OffsetPosition {
            offset: 3,
            position: 140
        }]
    );
    let times = log.active.time_index.entries().unwrap();
    assert_eq!((times[0].timestamp, times[0].offset), (Timestamp(1002), 3));
}

#[test]
fn segments_roll_by_size_and_by_the_time_of_their_batches() {
    let disk = Disk::new(LogConfig {
        segment_ms: 1000,
        ..small()
    });
    let mut log = disk.open();
    lead(&mut log, batch(5000, &["a"])).unwrap();
    lead(&mut log, batch(6000, &["a"])).unwrap();
    assert_eq!(log.segment_count(), 1, "exactly the limit does not roll");
    lead(&mut log, batch(6001, &["a"])).unwrap();
    assert_eq!(log.segment_count(), 2);
    assert_eq!(log.active_base_offset(), 2);
    lead(&mut log, batch(0, &["a"])).unwrap();
    assert_eq!(log.segment_count(), 2, "an old timestamp never rolls");
    let big = "x".repeat(900);
    lead(&mut log, batch(6001, &[&big])).unwrap();
    assert_eq!(log.segment_count(), 3);
    let error = lead(&mut log, batch(6001, &[&"x".repeat(1000)])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RecordListTooLarge);
    // Two appends of 70 bytes: no index entry, but the closing time entry.
    assert_eq!(disk.length("00000000000000000000.index"), 0);
    assert_eq!(disk.length("00000000000000000000.timeindex"), 12);
    assert!(
        disk.names()
            .contains(&"00000000000000000002.snapshot".to_owned())
    );
}

#[test]
fn what_is_wrong_is_refused_whole_and_said_in_kafkas_codes() {
    let disk = Disk::new(LogConfig {
        max_message_bytes: 200,
        ..small()
    });
    let mut log = disk.open();
    let mut corrupt = batch(1000, &["a"]).to_vec();
    let last = corrupt.len() - 2;
    corrupt[last] ^= 1;
    let error = lead(&mut log, corrupt.into()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CorruptMessage);
    let error = lead(&mut log, batch(1000, &[&"x".repeat(200)])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
    let partial = batch(1000, &["a"]).slice(..50);
    assert_eq!(lead(&mut log, partial).unwrap().last_offset, -1);
    assert_eq!(log.log_end_offset(), 0);
    assert_eq!(log.size_in_bytes(), 0);
}

#[test]
fn a_follower_takes_gaps_but_neither_disorder_nor_the_past() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    let at = |offset, epoch: i32| {
        let builder = RecordBatchBuilder::new(offset).leader_epoch(LeaderEpoch(epoch));
        build(builder, 1000, &["a", "b"])
    };
    log.append_as_follower(at(5, 1), NOW).unwrap();
    assert_eq!(log.log_end_offset(), 7);
    let set = [at(9, 2), at(11, 3)].concat();
    log.append_as_follower(set.into(), NOW).unwrap();
    assert_eq!(
        log.epochs().entries(),
        [
            (LeaderEpoch(1), 5),
            (LeaderEpoch(2), 9),
            (LeaderEpoch(3), 11)
        ]
    );
    let error = log.append_as_follower(at(12, 3), NOW).unwrap_err();
    assert!(matches!(error, AppendError::UnexpectedAppendOffset { .. }));
    let set = [at(20, 3), at(18, 3)].concat();
    let error = log.append_as_follower(set.into(), NOW).unwrap_err();
    assert!(matches!(error, AppendError::OffsetsOutOfOrder(_)));
    let offsets: Vec<i64> = contents(&log)
        .into_iter()
        .map(|(offset, _)| offset)
        .collect();
    assert_eq!(offsets, [5, 6, 9, 10, 11, 12]);
}

#[test]
fn a_failing_disk_takes_the_directory_offline_once_and_for_all() {
    for fault in [Fault::InputOutput, Fault::NoSpace] {
        let disk = Disk::new(small());
        let mut log = disk.open();
        lead(&mut log, batch(1000, &["a"])).unwrap();
        disk.files.fail_from(disk.files.calls(), fault);
        let error = lead(&mut log, batch(1000, &["b"])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::KafkaStorageError);
        disk.files.heal();
        let error = lead(&mut log, batch(1000, &["b"])).unwrap_err();
        assert!(matches!(error, AppendError::Offline(_)));
        let error = log
            .reader()
            .read(0, 100, FetchIsolation::LogEnd, true)
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::KafkaStorageError);
        assert_eq!(log.log_end_offset(), 1);
    }
}

#[test]
fn a_produce_of_one_batch_is_one_write() {
    let disk = Disk::new(LogConfig::default());
    let mut log = disk.open();
    lead(&mut log, batch(1000, &["a"])).unwrap();
    let before = disk.files.calls();
    lead(&mut log, batch(1000, &["b"])).unwrap();
    assert_eq!(disk.files.calls(), before + 1);
}
