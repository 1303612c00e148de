use super::*;
use crate::checkpoint::LEADER_EPOCH_CHECKPOINT;
use crate::directory::read_file;

fn filled(disk: &Disk) -> Vec<(i64, String)> {
    let mut log = disk.open();
    for number in 0..12 {
        lead(&mut log, batch(number, &[&format!("{number:0130}")])).unwrap();
    }
    let records = contents(&log);
    log.close(NOW).unwrap();
    records
}

#[test]
fn a_clean_stop_leaves_exact_files_and_is_opened_without_a_scan() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    assert_eq!(disk.length("00000000000000000008.index") % 8, 0);
    assert!(disk.length("00000000000000000008.index") < 1024);
    assert!(
        disk.names()
            .contains(&"00000000000000000012.snapshot".to_owned())
    );
    let before = disk.files.calls();
    let mut log = disk.open();
    assert_eq!(contents(&log), records);
    assert_eq!((log.recovery_point(), log.log_end_offset()), (12, 12));
    assert!(disk.files.calls() - before <= 3, "nothing is rewritten");
    let epochs = std::path::Path::new("/data/t-0").join(LEADER_EPOCH_CHECKPOINT);
    assert_eq!(
        read_file(&disk.files, &epochs, 100).unwrap(),
        b"0\n1\n0 0\n"
    );
    lead(&mut log, batch(99, &["more"])).unwrap();
    assert_eq!(contents(&log).len(), 13);
    assert_eq!(
        disk.length("00000000000000000008.index"),
        1024,
        "full size once written to"
    );
}

#[test]
fn a_torn_tail_is_cut_and_damage_to_flushed_bytes_is_left_alone() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    let size = disk.length("00000000000000000008.log");
    // The last batch loses its end.
    disk.overwrite("00000000000000000008.log", size - 5, &[0xff]);
    let untouched: Vec<(String, u64)> = disk
        .names()
        .into_iter()
        .map(|name| (name.clone(), disk.length(&name)))
        .collect();
    for recovery_point in [12, 100] {
        let error = disk.recover(recovery_point).unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::Damaged {
                    segment: 8,
                    offset: 11,
                    ..
                }
            ),
            "{recovery_point}: {error}"
        );
    }
    let after: Vec<(String, u64)> = disk
        .names()
        .into_iter()
        .map(|name| (name.clone(), disk.length(&name)))
        .collect();
    assert_eq!(after, untouched);
    let log = disk.recover(11).unwrap();
    assert_eq!(log.log_end_offset(), 11);
    assert_eq!(contents(&log), records[..11]);
}

#[test]
fn segments_after_a_damaged_one_go_with_its_tail() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    disk.overwrite("00000000000000000004.log", 250, &[0xff; 30]);
    let log = disk.recover(4).unwrap();
    assert_eq!(log.log_end_offset(), 5);
    assert_eq!(contents(&log), records[..5]);
    assert!(
        !disk
            .names()
            .iter()
            .any(|name| name.starts_with("00000000000000000008.log"))
    );
}

#[test]
fn a_segment_that_is_missing_its_tail_at_a_batch_does_not_leave_a_gap() {
    let disk = Disk::new(small());
    filled(&disk);
    let path = std::path::Path::new("/data/t-0/00000000000000000004.log");
    let file = disk
        .files
        .open(path, crate::directory::OpenMode::Existing)
        .unwrap();
    let batch = file.length().unwrap() / 4;
    file.set_length(batch * 3).unwrap();
    let log = disk.recover(4).unwrap();
    assert_eq!((log.log_end_offset(), contents(&log).len()), (7, 7));
}

#[test]
fn a_missing_index_is_rebuilt_and_an_orphan_is_removed() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    let directory = std::path::Path::new("/data/t-0");
    let index = directory.join("00000000000000000004.index");
    let before = read_file(&disk.files, &index, 10_000).unwrap();
    disk.files.remove_file(&index).unwrap();
    disk.overwrite("00000000000000000777.timeindex", 0, &[0; 12]);
    let log = disk.open();
    assert_eq!(contents(&log), records);
    assert_eq!(read_file(&disk.files, &index, 10_000).unwrap(), before);
    assert!(
        !disk
            .names()
            .contains(&"00000000000000000777.timeindex".to_owned())
    );
}

#[test]
fn swaps_are_finished_and_uncommitted_ones_undone() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    let path = |name: &str| std::path::Path::new("/data/t-0").join(name);
    // Segments 0 and 4 were cleaned into one that bears the base of the first; the process ended
    // before the old ones were removed.
    let first = read_file(&disk.files, &path("00000000000000000000.log"), 10_000).unwrap();
    let second = read_file(&disk.files, &path("00000000000000000004.log"), 10_000).unwrap();
    disk.overwrite(
        "00000000000000000000.log.swap",
        0,
        &[first, second].concat(),
    );
    disk.overwrite("00000000000000000008.log.cleaned", 0, b"half");
    disk.overwrite("00000000000000000008.log.swap", 0, b"not committed");
    disk.overwrite("00000000000000000002.log.deleted", 0, b"old");
    let log = disk.open();
    assert_eq!(contents(&log), records);
    let logs: Vec<String> = disk
        .names()
        .into_iter()
        .filter(|name| name.contains(".log"))
        .collect();
    assert_eq!(
        logs,
        ["00000000000000000000.log", "00000000000000000008.log"]
    );
}

#[test]
fn a_log_that_ends_below_its_start_begins_anew() {
    let disk = Disk::new(small());
    filled(&disk);
    let mut request = disk.open_request(true, 0);
    request.log_start_offset = 50;
    let log = Log::open(request).unwrap();
    assert_eq!(
        (
            log.log_start_offset(),
            log.log_end_offset(),
            log.segment_count()
        ),
        (50, 50, 1)
    );
    assert_eq!(log.latest_epoch(), None);
}

#[test]
fn a_topic_id_is_written_before_data_and_checked() {
    let disk = Disk::new(small());
    let id = ottla_model::TopicId([7; 16]);
    let mut log = disk.open();
    log.assign_topic_id(id).unwrap();
    assert!(!disk.names().contains(&"partition.metadata".to_owned()));
    lead(&mut log, batch(1, &["a"])).unwrap();
    assert!(disk.names().contains(&"partition.metadata".to_owned()));
    assert!(log.assign_topic_id(ottla_model::TopicId([8; 16])).is_err());
    log.close(NOW).unwrap();
    assert_eq!(disk.open().topic_id(), Some(id));
    let mut request = disk.open_request(true, 0);
    request.topic_id = Some(ottla_model::TopicId([8; 16]));
    assert!(matches!(
        Log::open(request),
        Err(LoadError::InconsistentTopicId { .. })
    ));
}

#[test]
fn a_batch_that_was_cut_off_and_came_back_does_not_pass_for_a_later_leaders() {
    let disk = Disk::new(LogConfig::default());
    let mut log = disk.open();
    for number in 0..6 {
        lead(&mut log, batch(number, &[&format!("old {number}")])).unwrap();
    }
    log.flush(NOW).unwrap();
    // Another leader did not have the last two; its own are written but not synced.
    log.truncate_to(4, NOW).unwrap();
    log.assign_epoch_start_offset(LeaderEpoch(1), 4).unwrap();
    drop(log);
    let log = disk.recover(4).unwrap();
    assert_eq!(log.log_end_offset(), 4, "what was cut off stays cut off");

    let disk = Disk::new(LogConfig::default());
    let mut log = disk.open();
    for number in 0..6 {
        lead(&mut log, batch(number, &[&format!("old {number}")])).unwrap();
    }
    log.assign_epoch_start_offset(LeaderEpoch(1), 4).unwrap();
    drop(log);
    // The disk still holds the batches of epoch 0 where epoch 1 begins.
    let log = disk.recover(4).unwrap();
    assert_eq!(log.log_end_offset(), 4);
    assert_eq!(contents(&log).len(), 4);
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(0)),
        Some((LeaderEpoch(0), 4))
    );
}

#[test]
fn a_batch_that_came_back_does_not_pass_for_an_earlier_leaders() {
    let name = "00000000000000000000.log";
    let path = std::path::Path::new("/data/t-0").join(name);
    let disk = Disk::new(LogConfig::default());
    let mut log = disk.open();
    for number in 0..4 {
        lead(&mut log, batch(number, &[&format!("old {number}")])).unwrap();
    }
    let position = disk.length(name);
    for number in 4..6 {
        lead_at(&mut log, batch(number, &[&format!("cut {number}")]), 1).unwrap();
    }
    log.flush(NOW).unwrap();
    let with_epoch_1 = read_file(&disk.files, &path, 1 << 20).unwrap();
    // Only this replica had epoch 1. The leader of epoch 2 has more of epoch 0.
    log.truncate_to(4, NOW).unwrap();
    for number in 4..6 {
        lead(&mut log, batch(number, &[&format!("new {number}")])).unwrap();
    }
    lead_at(&mut log, batch(6, &["new 6"]), 2).unwrap();
    let whole = contents(&log);
    drop(log);
    let log = disk.recover(4).unwrap();
    assert_eq!(contents(&log), whole, "what was written last is kept");
    drop(log);

    // Some of what was cut off comes back.
    disk.overwrite(name, position, &with_epoch_1[position as usize..]);
    let index = std::path::Path::new("/data/t-0/00000000000000000000.index");
    disk.files.remove_file(index).unwrap();
    let log = Log::open(disk.open_request(true, 4)).unwrap();
    let end = log.log_end_offset();
    assert_eq!(end, 7, "after an orderly end it is left alone");
    drop(log);
    let log = disk.recover(4).unwrap();
    assert_eq!(log.log_end_offset(), 4);
    assert_eq!(contents(&log), whole[..4]);
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(0)),
        Some((LeaderEpoch(0), 4))
    );
}

#[test]
fn indexes_that_a_power_failure_left_full_of_zeros_are_rebuilt() {
    let disk = Disk::new(small());
    let records = filled(&disk);
    for suffix in ["index", "timeindex"] {
        let name = format!("00000000000000000004.{suffix}");
        let length = disk.length(&name);
        disk.overwrite(&name, length, &vec![0; 1020 - length as usize]);
    }
    let log = disk.recover(12).unwrap();
    assert_eq!(contents(&log), records);
    assert!(disk.length("00000000000000000004.timeindex") < 100);
    assert!(disk.length("00000000000000000004.index") < 100);
}
