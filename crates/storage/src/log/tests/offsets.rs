use super::*;
use crate::log::TimestampTarget;

fn find(log: &Log, target: TimestampTarget) -> Option<(i64, i64, Option<i32>)> {
    let found = log.fetch_offset_by_timestamp(target).unwrap()?;
    Some((
        found.offset,
        found.timestamp.0,
        found.leader_epoch.map(|epoch| epoch.0),
    ))
}

#[test]
fn offsets_are_found_by_time() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    assert_eq!(find(&log, TimestampTarget::MaxTimestamp), None);
    assert_eq!(find(&log, TimestampTarget::Latest), Some((0, -1, None)));
    for number in 0..20 {
        // Two records with one timestamp; the largest is not the last one's.
        let timestamp = if number == 15 {
            9000
        } else {
            1000 + number * 10
        };
        lead_at(&mut log, batch(timestamp, &[&"x".repeat(60), "y"]), 4).unwrap();
    }
    assert!(log.segment_count() > 2);
    for (target, expected) in [
        (0, Some((0, 1000))),
        (1000, Some((0, 1000))),
        (1001, Some((2, 1010))),
        (1149, Some((30, 9000))),
        (1150, Some((30, 9000))),
        (9001, None),
    ] {
        let expected = expected.map(|(offset, timestamp)| (offset, timestamp, Some(4)));
        assert_eq!(
            find(&log, TimestampTarget::At(Timestamp(target))),
            expected,
            "{target}"
        );
    }
    assert_eq!(
        find(&log, TimestampTarget::MaxTimestamp),
        Some((30, 9000, Some(4)))
    );
    assert_eq!(
        find(&log, TimestampTarget::Earliest),
        Some((0, -1, Some(4)))
    );
    assert_eq!(find(&log, TimestampTarget::Latest), Some((40, -1, Some(4))));
    assert_eq!(
        find(&log, TimestampTarget::LatestTiered),
        Some((-1, -1, Some(-1)))
    );
    log.update_high_watermark(40);
    log.maybe_increment_log_start_offset(5).unwrap();
    assert_eq!(
        find(&log, TimestampTarget::At(Timestamp(0))),
        Some((5, 1020, Some(4)))
    );
}

#[test]
fn version_0_lists_bases_of_segments_newest_first() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    for number in 0..12 {
        disk.files.memory().set_clock(Timestamp(number * 100));
        lead(&mut log, batch(1, &[&"x".repeat(130)])).unwrap();
    }
    let bases: Vec<i64> = log
        .shared
        .segments
        .load()
        .iter()
        .map(|segment| segment.base_offset)
        .collect();
    assert_eq!(bases, [0, 4, 8]);
    let list = |target, count| {
        log.reader()
            .legacy_offsets_before(target, count, NOW)
            .unwrap()
    };
    assert_eq!(list(TimestampTarget::Latest, 10), [12, 8, 4, 0]);
    assert_eq!(list(TimestampTarget::Latest, 1), [12]);
    assert_eq!(list(TimestampTarget::Earliest, 10), [0]);
    assert_eq!(list(TimestampTarget::At(Timestamp(700)), 10), [4, 0]);
    assert_eq!(
        list(TimestampTarget::At(Timestamp(-9)), 10),
        Vec::<i64>::new()
    );
}
