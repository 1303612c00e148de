//! Segments with offsets further apart than an index can say, as old cleaners made them.

use super::*;
use crate::directory::Fault;

const FAR: Offset = i32::MAX as Offset;
const OFFSETS: [Offset; 6] = [3, 9, FAR + 10, FAR + 11, 3 * FAR, 3 * FAR + FAR];

fn at(offset: Offset) -> Vec<u8> {
    let builder = RecordBatchBuilder::new(offset).leader_epoch(LeaderEpoch(0));
    build(builder, 1000 + offset / FAR, &[&offset.to_string()]).to_vec()
}

/// A segment that reaches too far, and the next one.
fn too_long() -> Disk {
    // Only compaction makes them.
    let disk = Disk::new(LogConfig {
        compact: true,
        ..small()
    });
    let long: Vec<u8> = OFFSETS.into_iter().flat_map(at).collect();
    disk.overwrite("00000000000000000000.log", 0, &long);
    let next = format!("{:020}.log", 5 * FAR);
    disk.overwrite(&next, 0, &at(5 * FAR));
    disk.files.sync_directory("/data/t-0".as_ref()).unwrap();
    disk
}

fn expected() -> Vec<(Offset, String)> {
    let offsets = OFFSETS.into_iter().chain([5 * FAR]);
    offsets.map(|offset| (offset, offset.to_string())).collect()
}

fn logs(disk: &Disk) -> Vec<String> {
    let mut names = disk.names();
    names.retain(|name| name.contains(".log"));
    names
}

fn check(disk: &Disk, log: &Log) {
    assert_eq!(contents(log), expected());
    let pieces = [0, FAR + 10, 3 * FAR, 5 * FAR];
    assert_eq!(logs(disk), pieces.map(|base| format!("{base:020}.log")));
    for (offset, _) in expected() {
        let fetched = log.reader().read(offset, 1, FetchIsolation::LogEnd, true);
        assert!(fetched.unwrap().slice.is_some(), "{offset}");
    }
}

#[test]
fn a_segment_that_reaches_too_far_is_split_when_it_is_recovered() {
    for is_clean in [true, false] {
        let disk = too_long();
        // Its index is missing, so that it is looked at after an orderly stop as well.
        let log = Log::open(disk.open_request(is_clean, 0)).unwrap();
        check(&disk, &log);
    }
}

#[test]
fn a_split_that_fails_or_loses_power_is_done_again() {
    let disk = too_long();
    let before = disk.files.calls();
    drop(disk.recover(0).unwrap());
    let calls = disk.files.calls() - before;
    assert!(calls > 30, "{calls}");
    for call in 0..calls {
        for crash in [None, Some(call)] {
            let disk = too_long();
            let disk = Disk {
                files: FaultyDirectory::new(disk.files.memory().duplicate()),
                config: disk.config,
            };
            disk.files.fail_from(call, Fault::InputOutput);
            drop(disk.recover(0));
            match crash {
                None => disk.files.heal(),
                Some(seed) => disk.files.crash(seed),
            }
            let log = disk.recover(0);
            check(
                &disk,
                &log.unwrap_or_else(|error| panic!("call {call}: {error}")),
            );
        }
    }
}

#[test]
fn what_only_looks_like_it_is_damage() {
    // The last segment of a log is never such a one, and offsets that fall are none.
    let disk = Disk::new(small());
    let torn: Vec<u8> = [0, 1, FAR + 10].into_iter().flat_map(at).collect();
    disk.overwrite("00000000000000000000.log", 0, &torn);
    assert_eq!(disk.recover(0).unwrap().log_end_offset(), 2);
    let disk = too_long();
    let falling: Vec<u8> = [0, 1, FAR + 10, 2].into_iter().flat_map(at).collect();
    disk.overwrite("00000000000000000000.log", 0, &[0; 900]);
    disk.overwrite("00000000000000000000.log", 0, &falling);
    assert_eq!(disk.recover(0).unwrap().log_end_offset(), 2);
    let disk = too_long();
    disk.overwrite("00000000000000000000.log", 0, &falling);
    assert!(matches!(
        disk.recover(5 * FAR),
        Ok(_) | Err(LoadError::Damaged { .. })
    ));
}
