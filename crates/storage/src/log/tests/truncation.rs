use ottla_record::RecordBatchBuilder;

use super::*;

fn filled(disk: &Disk) -> Log {
    let mut log = disk.open();
    for number in 0..30 {
        let value = format!("{number:0100}");
        let builder =
            RecordBatchBuilder::new(number * 2).leader_epoch(LeaderEpoch(number as i32 / 10));
        log.append_as_follower(build(builder, 1000 + number, &[&value, &value]), NOW)
            .unwrap();
    }
    log
}

#[test]
fn the_log_ends_where_it_was_cut_and_goes_on_from_there() {
    for offset in [0, 1, 2, 7, 20, 21, 40, 58, 59] {
        let disk = Disk::new(small());
        let mut log = filled(&disk);
        assert!(log.segment_count() > 3);
        log.update_high_watermark(60);
        assert!(log.truncate_to(offset, NOW).unwrap());
        assert_eq!(log.log_end_offset(), offset);
        assert_eq!(log.high_watermark(), offset);
        assert!(log.recovery_point() <= offset);
        // A batch that straddles the offset went as a whole.
        let kept = contents(&log).len() as i64;
        assert_eq!(kept, offset - offset % 2, "cut at {offset}");
        assert!(
            log.epochs()
                .entries()
                .iter()
                .all(|(_, start)| *start < offset)
        );
        let builder = RecordBatchBuilder::new(offset).leader_epoch(LeaderEpoch(9));
        log.append_as_follower(build(builder, 1, &["new"]), NOW)
            .unwrap();
        assert_eq!(contents(&log).last().unwrap(), &(offset, "new".to_owned()));
        let before = contents(&log);
        log.close(NOW).unwrap();
        assert_eq!(contents(&disk.open()), before, "cut at {offset}");
    }
}

#[test]
fn cutting_at_or_above_the_end_only_drops_epochs_that_never_were() {
    let disk = Disk::new(small());
    let mut log = filled(&disk);
    log.assign_epoch_start_offset(LeaderEpoch(5), 60).unwrap();
    assert!(!log.truncate_to(60, NOW).unwrap());
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(2)));
    assert_eq!(log.log_end_offset(), 60);
    assert!(log.truncate_to(-1, NOW).is_err());
}

#[test]
fn starting_over_leaves_one_empty_segment() {
    let disk = Disk::new(small());
    let mut log = filled(&disk);
    log.truncate_fully_and_start_at(500, None, NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (500, 500));
    assert_eq!(log.high_watermark(), 500);
    assert_eq!(log.segment_count(), 1);
    assert_eq!(log.latest_epoch(), None);
    let logs = disk
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".log"));
    assert_eq!(logs.collect::<Vec<_>>(), ["00000000000000000500.log"]);
}
