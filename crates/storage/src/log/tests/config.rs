//! A changed key counts from the next operation on.

use ottla_model::ErrorCode;
use ottla_record::{Compression, TimestampType};

use super::*;
use crate::log_dir::Task;

/// A log with three records, whose configuration changes then.
fn changed(change: impl Fn(&mut LogConfig)) -> (Disk, Log) {
    let disk = Disk::new(small());
    let mut log = disk.open();
    for _ in 0..3 {
        lead(&mut log, batch(1000, &["value"])).unwrap();
    }
    let end = log.log_end_offset();
    log.update_high_watermark(end);
    let mut config = small();
    change(&mut config);
    log.update_config(Arc::new(config));
    (disk, log)
}

fn last_batch(log: &Log) -> Bytes {
    let last = log.log_end_offset() - 1;
    let fetched = log
        .reader()
        .read(last, 10_000, FetchIsolation::LogEnd, true);
    fetched.unwrap().slice.unwrap().read().unwrap()
}

#[test]
fn keys_of_segments_count_from_the_next_append_or_roll_on() {
    let (_, mut log) = changed(|config| config.segment_bytes = 250);
    lead(&mut log, batch(1000, &["value"])).unwrap();
    assert_eq!(log.segment_count(), 2, "segment.bytes");

    let (_, mut log) = changed(|config| config.segment_ms = 10);
    lead(&mut log, batch(1011, &["value"])).unwrap();
    assert_eq!(log.segment_count(), 2, "segment.ms");

    let (_, mut log) = changed(|config| config.segment_jitter_ms = 1 << 40);
    log.roll(NOW).unwrap();
    assert!(log.active_state.jitter_ms > 0, "segment.jitter.ms");

    let (_, mut log) = changed(|config| config.index_interval_bytes = 10_000);
    let entries = |log: &Log| log.active.offset_index.entries().unwrap().len();
    let before = entries(&log);
    assert!(before > 0);
    for _ in 0..4 {
        lead(&mut log, batch(1000, &["value"])).unwrap();
    }
    assert_eq!(entries(&log), before, "index.interval.bytes");

    let (disk, mut log) = changed(|config| config.segment_index_bytes = 80);
    log.roll(NOW).unwrap();
    lead(&mut log, batch(1000, &["value"])).unwrap();
    assert_eq!(
        disk.length("00000000000000000003.index"),
        80,
        "segment.index.bytes"
    );

    let (disk, mut log) = changed(|config| config.preallocate = true);
    log.roll(NOW).unwrap();
    assert_eq!(disk.length("00000000000000000003.log"), 1000, "preallocate");

    let (_, mut log) = changed(|config| config.flush_messages = 1);
    assert_eq!(log.recovery_point(), 0);
    lead(&mut log, batch(1000, &["value"])).unwrap();
    assert_eq!(log.recovery_point(), 4, "flush.messages");
}

#[test]
fn keys_of_records_count_from_the_next_append_on() {
    let refused = |change: &dyn Fn(&mut LogConfig), records: Bytes| {
        let (_, mut log) = changed(change);
        lead(&mut log, records).unwrap_err().code()
    };
    assert_eq!(
        refused(
            &|config| config.max_message_bytes = 50,
            batch(1000, &["value"])
        ),
        ErrorCode::MessageTooLarge
    );
    assert_eq!(
        refused(
            &|config| config.timestamp_before_max_ms = 10,
            batch(1000, &["value"])
        ),
        ErrorCode::InvalidTimestamp
    );
    assert_eq!(
        refused(
            &|config| config.timestamp_after_max_ms = 10,
            batch(NOW.0 + 1000, &["value"])
        ),
        ErrorCode::InvalidTimestamp
    );
    let mut keyless = RecordBatchBuilder::new(0);
    keyless
        .append(Timestamp(1000), None, Some(b"value"))
        .unwrap();
    assert_eq!(
        refused(&|config| config.compact = true, keyless.build().unwrap()),
        ErrorCode::InvalidRecord
    );

    let (_, mut log) = changed(|config| config.compression = Some(Compression::Gzip { level: -1 }));
    lead(&mut log, batch(1000, &["value"])).unwrap();
    let bytes = last_batch(&log);
    let stored = ottla_record::BatchView::parse(&bytes).unwrap();
    assert!(stored.is_compressed(), "compression.type");

    let (_, mut log) = changed(|config| config.timestamp_type = TimestampType::LogAppendTime);
    lead(&mut log, batch(1000, &["value"])).unwrap();
    let bytes = last_batch(&log);
    let stored = ottla_record::BatchView::parse(&bytes).unwrap();
    assert_eq!(stored.max_timestamp, NOW, "message.timestamp.type");
}

#[test]
fn keys_of_retention_count_from_the_next_look_on() {
    for (name, change) in [
        (
            "retention.ms",
            (|config: &mut LogConfig| config.retention_ms = 1) as fn(&mut LogConfig),
        ),
        ("retention.bytes", |config| config.retention_bytes = 1),
    ] {
        let (_, mut log) = changed(|config| {
            change(config);
            config.file_delete_delay_ms = 7;
        });
        log.roll(NOW).unwrap();
        lead(&mut log, batch(NOW.0, &["value"])).unwrap();
        assert_eq!(log.delete_old_segments(NOW).unwrap(), 1, "{name}");
        let log_dir = log.log_dir();
        let delays: Vec<i64> = log_dir
            .background()
            .take()
            .into_iter()
            .filter_map(|task| match task {
                Task::DeleteFiles { delay_ms, .. } => Some(delay_ms),
                _ => None,
            })
            .collect();
        assert_eq!(delays, [7], "file.delete.delay.ms");
    }
    let (_, mut log) = changed(|config| {
        config.retention_ms = 1;
        config.delete = false;
    });
    log.roll(NOW).unwrap();
    lead(&mut log, batch(NOW.0, &["value"])).unwrap();
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 0, "cleanup.policy");
}
