use super::*;

/// Segments of five batches of 181 bytes; timestamps 0, 10, 20…
fn filled(config: LogConfig) -> (Disk, Log) {
    let disk = Disk::new(config);
    let mut log = disk.open();
    for number in 0..22 {
        lead(&mut log, batch(number * 10, &[&"x".repeat(110)])).unwrap();
    }
    log.update_high_watermark(22);
    (disk, log)
}

fn bases(log: &Log) -> Vec<i64> {
    log.shared
        .segments
        .load()
        .iter()
        .map(|segment| segment.base_offset)
        .collect()
}

#[test]
fn segments_go_by_time_by_size_and_never_above_the_high_watermark() {
    let forever = LogConfig {
        retention_ms: -1,
        ..small()
    };
    let (_disk, mut log) = filled(forever.clone());
    let all = bases(&log);
    assert_eq!(all, [0, 5, 10, 15, 20]);
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 0);

    // The largest timestamp of the first segment is 40, of the second 90.
    let by_time = LogConfig {
        retention_ms: 100,
        ..small()
    };
    let (disk, mut log) = filled(by_time.clone());
    assert_eq!(log.delete_old_segments(Timestamp(190)).unwrap(), 1);
    assert_eq!(
        (bases(&log), log.log_start_offset()),
        (vec![5, 10, 15, 20], 5)
    );
    assert!(
        disk.names()
            .contains(&"00000000000000000000.log.deleted".to_owned())
    );
    assert_eq!(contents(&log).len(), 17);

    let (_disk, mut log) = filled(by_time);
    log.offsets.high_watermark = LogPosition::offset_only(9);
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 1);

    let size = log_size() as i64;
    let by_size = LogConfig {
        retention_bytes: size * 2 / 5,
        ..forever.clone()
    };
    let (_disk, mut log) = filled(by_size);
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 2);

    let (_disk, mut log) = filled(LogConfig {
        delete: false,
        compact: true,
        ..small()
    });
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 0);
    log.maybe_increment_log_start_offset(12).unwrap();
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 2);
    assert_eq!(
        (bases(&log), log.log_start_offset()),
        (vec![10, 15, 20], 12)
    );
}

fn log_size() -> u64 {
    filled(LogConfig {
        retention_ms: -1,
        ..small()
    })
    .1
    .size_in_bytes()
}

#[test]
fn when_all_is_old_a_new_segment_is_made_and_then_all_goes() {
    let (disk, mut log) = filled(LogConfig {
        retention_ms: 0,
        ..small()
    });
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 5);
    assert_eq!(
        (bases(&log), log.log_start_offset(), log.log_end_offset()),
        (vec![22], 22, 22)
    );
    assert_eq!(
        log.delete_old_segments(NOW).unwrap(),
        0,
        "an empty log is left alone"
    );
    lead(&mut log, batch(1, &["a"])).unwrap();
    log.close(NOW).unwrap();
    let log = disk.open();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (22, 23));
}

#[test]
fn delete_records_raises_the_start_up_to_the_high_watermark() {
    let (_disk, mut log) = filled(small());
    log.assign_epoch_start_offset(LeaderEpoch(3), 22).unwrap();
    assert!(log.maybe_increment_log_start_offset(23).is_err());
    assert!(log.maybe_increment_log_start_offset(7).unwrap());
    assert!(!log.maybe_increment_log_start_offset(7).unwrap());
    assert_eq!(log.log_start_offset(), 7);
    assert_eq!(
        log.epochs().entries(),
        [(LeaderEpoch(0), 7), (LeaderEpoch(3), 22)]
    );
    assert!(
        log.reader()
            .read(6, 100, FetchIsolation::LogEnd, true)
            .is_err()
    );
    assert_eq!(contents(&log).first().unwrap().0, 7);
}

use crate::published::LogPosition;
