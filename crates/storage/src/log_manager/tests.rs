use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ottla_model::{BrokerId, ErrorCode, LeaderEpoch};
use ottla_record::{AppendOrigin, RecordBatchBuilder};

use super::load::CLEAN_SHUTDOWN_FILE;
use super::*;
use crate::checkpoint::{
    HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    read_partition_offsets,
};
use crate::directory::{Fault, FaultyDirectory, MemoryDirectory, OpenMode, read_file};
use crate::producer::VerificationGuard;
use crate::{FetchIsolation, meta_properties};

mod damage;
mod faults;
mod moves;

const NOW: Timestamp = Timestamp(1_000_000);

fn files() -> FaultyDirectory {
    FaultyDirectory::new(MemoryDirectory::new())
}

fn config(_topic: &TopicName) -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 500,
        segment_index_bytes: 1024,
        ..LogConfig::default()
    })
}

fn start(files: &FaultyDirectory, paths: &[&str]) -> Result<LogManager, StartError> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let mut dirs = LogDirs::open(Arc::new(files.clone()), &paths)?;
    dirs.verify("cluster", None)?;
    dirs.write_identity("cluster", BrokerId(0), NOW);
    LogManager::load(dirs, LogManagerSettings::default(), &config, NOW)
}

fn create(manager: &LogManager, partition: i32) -> Result<LogHandle, CreateError> {
    let partition = TopicPartition::new("t", partition);
    let config = config(&partition.topic);
    manager.get_or_create_log(&partition, true, None, config, NOW)
}

fn batch(value: &str) -> Bytes {
    let mut builder = RecordBatchBuilder::new(0);
    builder
        .append(Timestamp(1000), Some(b"k"), Some(value.as_bytes()))
        .unwrap();
    builder.build().unwrap()
}

fn append(log: &LogHandle, value: &str) -> Result<(), crate::AppendError> {
    let none = VerificationGuard::NONE;
    let origin = AppendOrigin::Client;
    log.lock()
        .append_as_leader(batch(value), LeaderEpoch(0), origin, none, NOW)
        .map(drop)
}

fn checkpoint(files: &FaultyDirectory, name: &str) -> BTreeMap<String, Offset> {
    let offsets = read_partition_offsets(files, &Path::new("/a").join(name)).unwrap();
    offsets
        .into_iter()
        .map(|(partition, offset)| (partition.to_string(), offset))
        .collect()
}

#[test]
fn an_orderly_stop_writes_all_that_the_next_start_needs() {
    let files = files();
    let manager = start(&files, &["/a"]).unwrap();
    for partition in 0..3 {
        let log = create(&manager, partition).unwrap();
        for _ in 0..=partition {
            append(&log, &"x".repeat(200)).unwrap();
        }
        log.lock().update_high_watermark(i64::from(partition));
    }
    manager
        .get_log(&TopicPartition::new("t", 2))
        .unwrap()
        .lock()
        .maybe_increment_log_start_offset(1)
        .unwrap();
    manager.shutdown(NOW);
    drop(manager);

    let mark = read_file(&files, Path::new("/a/.kafka_cleanshutdown"), 100).unwrap();
    assert_eq!(mark, br#"{"version":0,"brokerEpoch":-1}"#);
    let ends = BTreeMap::from([("t-0".into(), 1), ("t-1".into(), 2), ("t-2".into(), 3)]);
    assert_eq!(checkpoint(&files, RECOVERY_POINT_CHECKPOINT), ends);
    assert_eq!(
        checkpoint(&files, LOG_START_CHECKPOINT),
        BTreeMap::from([("t-2".into(), 1)])
    );

    let manager = start(&files, &["/a"]).unwrap();
    assert!(
        !files
            .exists(&Path::new("/a").join(CLEAN_SHUTDOWN_FILE))
            .unwrap()
    );
    assert_eq!(manager.logs().len(), 3);
    let log = manager.get_log(&TopicPartition::new("t", 2)).unwrap();
    let log = log.lock();
    assert_eq!(
        (
            log.log_start_offset(),
            log.high_watermark(),
            log.log_end_offset()
        ),
        (1, 2, 3)
    );
    assert_eq!(log.recovery_point(), 3);
}

#[test]
fn a_directory_in_use_or_of_another_broker_ends_the_start() {
    let files = files();
    let manager = start(&files, &["/a", "/b"]).unwrap();
    assert!(
        matches!(start(&files, &["/c", "/b"]), Err(StartError::Locked(path)) if path == Path::new("/b"))
    );
    manager.shutdown(NOW);
    let open = || LogDirs::open(Arc::new(files.clone()), &["/a".into()]).unwrap();
    let dirs = open();
    assert_eq!(
        (dirs.broker_id(), dirs.cluster_id()),
        (Some(BrokerId(0)), Some("cluster".to_owned()))
    );
    assert!(matches!(
        dirs.verify("another", None),
        Err(StartError::Identity(_))
    ));
    assert!(matches!(
        dirs.verify("cluster", Some(BrokerId(5))),
        Err(StartError::Identity(_))
    ));
    dirs.verify("cluster", Some(BrokerId(0))).unwrap();
    drop(dirs);
    assert!(matches!(
        start(&files, &["/a", "/a"]),
        Err(StartError::Duplicate(_) | StartError::Locked(_))
    ));
    files.create_directory(Path::new("/a/lost+found")).unwrap();
    assert!(matches!(
        start(&files, &["/a"]),
        Err(StartError::UnexpectedDirectory(_))
    ));
    files.remove_directory(Path::new("/a/lost+found")).unwrap();
    files.create_directory(Path::new("/a/t-0")).unwrap();
    files.create_directory(Path::new("/b/t-0")).unwrap();
    assert!(matches!(
        start(&files, &["/a", "/b"]),
        Err(StartError::DuplicatePartition { .. })
    ));
}

#[test]
fn identity_is_not_rewritten_when_it_is_right() {
    let files = files();
    drop(start(&files, &["/a"]).unwrap());
    let path = Path::new("/a").join(meta_properties::META_PROPERTIES);
    let before = read_file(&files, &path, 1000).unwrap();
    let mut dirs = LogDirs::open(Arc::new(files.clone()), &["/a".into()]).unwrap();
    dirs.write_identity("cluster", BrokerId(0), Timestamp(5));
    assert_eq!(read_file(&files, &path, 1000).unwrap(), before);
}

#[test]
fn new_logs_go_where_fewest_are_or_where_somebody_wants_them() {
    let files = files();
    let manager = start(&files, &["/a", "/b"]).unwrap();
    let wanted = TopicPartition::new("t", 9);
    manager.prefer_directory(&wanted, "/a");
    manager.prefer_directory(&wanted, "/elsewhere");
    let place = |partition| {
        create(&manager, partition)
            .unwrap()
            .lock()
            .log_dir()
            .path()
            .to_owned()
    };
    let places: Vec<PathBuf> = [0, 1, 2, 9, 3].into_iter().map(place).collect();
    let expected = ["/a", "/b", "/a", "/a", "/b"].map(PathBuf::from);
    assert_eq!(places, expected);
    let described = manager.describe_log_dirs();
    assert_eq!(described[0].logs.len(), 3);
    assert_eq!(
        described[1].logs[0].topic_partition,
        TopicPartition::new("t", 1)
    );
}

#[test]
fn a_deleted_log_is_renamed_at_once_and_removed_later() {
    let files = files();
    let manager = start(&files, &["/a"]).unwrap();
    let log = create(&manager, 0).unwrap();
    append(&log, "v").unwrap();
    let reader = log.lock().reader();
    manager.checkpoint_recovery_points();
    assert_eq!(checkpoint(&files, RECOVERY_POINT_CHECKPOINT).len(), 1);
    assert!(
        manager
            .delete_logs(&[TopicPartition::new("t", 0)])
            .is_empty()
    );
    assert!(manager.get_log(&TopicPartition::new("t", 0)).is_none());
    assert!(checkpoint(&files, RECOVERY_POINT_CHECKPOINT).is_empty());
    assert!(
        reader
            .read(0, 100, FetchIsolation::LogEnd, true)
            .unwrap()
            .slice
            .is_some()
    );
    let directories = || -> Vec<String> {
        let entries = files.list(Path::new("/a")).unwrap();
        entries
            .into_iter()
            .filter(|entry| entry.is_directory)
            .map(|entry| entry.name)
            .collect()
    };
    assert!(directories()[0].starts_with("t-0.") && directories()[0].ends_with("-delete"));
    assert!(matches!(
        append(&log, "late"),
        Err(crate::AppendError::Offline(_))
    ));
    // The topic comes back before the old log is gone.
    let again = create(&manager, 0).unwrap();
    assert_eq!(again.lock().log_end_offset(), 0);
    manager.run_background(Instant::from_millis(0), NOW);
    manager.run_background(Instant::from_millis(59_999), NOW);
    assert_eq!(directories().len(), 2);
    manager.run_background(Instant::from_millis(60_000), NOW);
    assert_eq!(directories(), ["t-0"]);
}

#[test]
fn rolled_segments_are_flushed_and_retired_files_removed_in_the_background() {
    let files = files();
    let manager = start(&files, &["/a"]).unwrap();
    let log = create(&manager, 0).unwrap();
    for _ in 0..10 {
        append(&log, &"x".repeat(200)).unwrap();
    }
    let base = log.lock().active_base_offset();
    assert!(base > 0);
    assert_eq!(log.lock().recovery_point(), 0);
    manager.run_background(Instant::ZERO, NOW);
    assert_eq!(log.lock().recovery_point(), base);
    log.lock().update_high_watermark(10);
    assert!(manager.run_retention(Timestamp(1000 + 604_800_001)) > 0);
    let deleted = || {
        let entries = files.list(Path::new("/a/t-0")).unwrap();
        entries
            .into_iter()
            .filter(|entry| entry.name.ends_with(".deleted"))
            .count()
    };
    assert!(deleted() > 0);
    manager.run_background(Instant::ZERO, NOW);
    manager.run_background(Instant::from_millis(60_000), NOW);
    assert_eq!(deleted(), 0);
}

#[test]
fn one_failed_directory_goes_and_the_others_serve() {
    let files = files();
    let manager = start(&files, &["/a", "/b"]).unwrap();
    let (lost, kept) = (create(&manager, 0).unwrap(), create(&manager, 1).unwrap());
    append(&lost, "v").unwrap();
    append(&kept, "v").unwrap();
    let woken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&woken);
    manager.set_waker(Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    files.fail_from(files.calls(), Fault::InputOutput);
    assert_eq!(
        append(&lost, "v").unwrap_err().code(),
        ErrorCode::KafkaStorageError
    );
    files.heal();
    assert_eq!(
        append(&lost, "v").unwrap_err().code(),
        ErrorCode::KafkaStorageError
    );
    assert_eq!(woken.load(Ordering::Relaxed), 1, "reported once");
    manager.run_background(Instant::ZERO, NOW);
    let failed = manager.take_failed_directories();
    let partitions = vec![TopicPartition::new("t", 0)];
    assert_eq!(
        failed,
        [FailedDirectory {
            path: "/a".into(),
            partitions,
            moving_here: Vec::new(),
        }]
    );
    assert!(manager.take_failed_directories().is_empty());
    assert!(manager.get_log(&TopicPartition::new("t", 0)).is_none());
    append(&kept, "v").unwrap();
    let described = manager.describe_log_dirs();
    assert_eq!(
        (described[0].is_offline, described[0].logs.len()),
        (true, 0)
    );
    // What may be on the lost disk is not made again; what is new is.
    let known = TopicPartition::new("t", 0);
    let error = manager.get_or_create_log(&known, false, None, config(&known.topic), NOW);
    assert_eq!(error.unwrap_err().code(), ErrorCode::KafkaStorageError);
    assert_eq!(
        create(&manager, 5).unwrap().lock().log_dir().path(),
        Path::new("/b")
    );
    // Its lock is released: the operator may look at it with another process.
    assert!(files.try_lock(Path::new("/a/.lock")).unwrap().is_some());
    manager.shutdown(NOW);
    assert!(!files.exists(Path::new("/a/.kafka_cleanshutdown")).unwrap());
    assert!(files.exists(Path::new("/b/.kafka_cleanshutdown")).unwrap());
}

#[test]
fn a_damaged_partition_is_offline_alone_and_its_files_and_offsets_are_kept() {
    let files = files();
    let manager = start(&files, &["/a"]).unwrap();
    for partition in 0..2 {
        let log = create(&manager, partition).unwrap();
        append(&log, "first").unwrap();
        append(&log, "second").unwrap();
        log.lock().update_high_watermark(2);
        log.lock().flush(NOW).unwrap();
    }
    manager.checkpoint_recovery_points();
    manager.checkpoint_high_watermarks();
    drop(manager); // kill -9
    let path = Path::new("/a/t-0/00000000000000000000.log");
    let file = files.open(path, OpenMode::Existing).unwrap();
    file.write_all_at(&mut [std::io::IoSlice::new(&[0xff; 9])], 70)
        .unwrap();
    let length = files.length(path).unwrap();
    for _ in 0..2 {
        let manager = start(&files, &["/a"]).unwrap();
        let damaged = TopicPartition::new("t", 0);
        assert!(manager.get_log(&damaged).is_none());
        assert!(
            manager
                .damage(&damaged)
                .unwrap()
                .contains("below its recovery point 2")
        );
        assert_eq!(
            create(&manager, 0).unwrap_err().code(),
            ErrorCode::KafkaStorageError
        );
        append(
            &manager.get_log(&TopicPartition::new("t", 1)).unwrap(),
            "third",
        )
        .unwrap();
        manager.shutdown(NOW);
        assert_eq!(files.length(path).unwrap(), length, "nothing is cut");
        // Marked clean, the next start would not look at the damage again.
        assert!(!files.exists(Path::new("/a/.kafka_cleanshutdown")).unwrap());
        assert_eq!(checkpoint(&files, RECOVERY_POINT_CHECKPOINT)["t-0"], 2);
        assert_eq!(checkpoint(&files, HIGH_WATERMARK_CHECKPOINT)["t-0"], 2);
    }
}

#[test]
fn after_a_crash_the_checkpoints_bound_what_is_scanned() {
    for seed in 0..40 {
        let files = files();
        let manager = start(&files, &["/a", "/b"]).unwrap();
        let logs: Vec<LogHandle> = (0..4)
            .map(|partition| create(&manager, partition).unwrap())
            .collect();
        for round in 0..6 {
            for log in &logs {
                append(log, &"x".repeat(100)).unwrap();
            }
            if round == 3 {
                logs.iter().for_each(|log| log.lock().flush(NOW).unwrap());
                manager.checkpoint_recovery_points();
            }
        }
        drop(logs);
        drop(manager);
        files.crash(seed);
        let manager = start(&files, &["/a", "/b"]).unwrap();
        assert_eq!(manager.logs().len(), 4, "seed {seed}");
        for (partition, log) in manager.logs() {
            let end = log.lock().log_end_offset();
            assert!(
                (4..=6).contains(&end),
                "seed {seed}: {partition} ends at {end}"
            );
        }
    }
}

#[test]
fn the_real_file_system_keeps_the_same_promises() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [directory.path().join("a"), directory.path().join("b")];
    let real = || -> Arc<dyn Directory> { Arc::new(crate::directory::RealDirectory) };
    let start = || {
        let mut dirs = LogDirs::open(real(), &paths).unwrap();
        dirs.verify("cluster", Some(BrokerId(1))).unwrap();
        dirs.write_identity("cluster", BrokerId(1), NOW);
        LogManager::load(dirs, LogManagerSettings::default(), &config, NOW).unwrap()
    };
    let manager = start();
    let log = create(&manager, 0).unwrap();
    for number in 0..50 {
        append(&log, &format!("{number:0100}")).unwrap();
    }
    let reader = log.lock().reader();
    let fetched = reader.read(17, 1, FetchIsolation::LogEnd, true).unwrap();
    let slice = fetched.slice.unwrap();
    assert!(slice.descriptor().is_some(), "sendfile needs one");
    let batch = slice.read().unwrap();
    assert_eq!(
        ottla_record::BatchView::parse(&batch)
            .unwrap()
            .base_offset(),
        17
    );
    assert!(manager.truncate_to(&log, 31, NOW).unwrap());
    append(&log, "after").unwrap();
    manager.run_background(Instant::ZERO, NOW);
    manager.shutdown(NOW);
    drop((manager, log));

    let manager = start();
    let log = manager.get_log(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(log.lock().log_end_offset(), 32);
    assert_eq!(log.lock().recovery_point(), 32);
    append(&log, "again").unwrap();
    drop((manager, log)); // kill -9: indexes stay preallocated, nothing is marked clean
    let manager = start();
    let log = manager.get_log(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(log.lock().log_end_offset(), 33);
    for offset in 0..33 {
        let reader = log.lock().reader();
        let fetched = reader
            .read(offset, 1, FetchIsolation::LogEnd, true)
            .unwrap();
        let batch = fetched.slice.unwrap().read().unwrap();
        assert_eq!(
            ottla_record::BatchView::parse(&batch)
                .unwrap()
                .base_offset(),
            offset
        );
    }
    let space = manager.describe_log_dirs()[0].space.unwrap();
    assert!(space.total_bytes >= space.usable_bytes && space.usable_bytes > 0);
}

#[test]
fn checkpoints_written_at_the_same_time_do_not_fail_the_directory() {
    let files = files();
    let manager = start(&files, &["/a"]).unwrap();
    let log = create(&manager, 0).unwrap();
    append(&log, "x").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    manager.checkpoint_recovery_points();
                    manager.checkpoint_high_watermarks();
                }
            });
        }
    });
    assert_eq!(manager.take_failed_directories(), []);
    assert_eq!(
        checkpoint(&files, RECOVERY_POINT_CHECKPOINT),
        BTreeMap::from([("t-0".into(), 0)])
    );
}
