//! Logs that move between directories.

use super::*;
use crate::checkpoint::CLEANER_CHECKPOINT;

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// The directories of the partition's logs, of all kinds.
fn directories(files: &FaultyDirectory) -> Vec<String> {
    let list = |path: &str| {
        let entries = files.list(Path::new(path)).unwrap();
        let partitions = entries.into_iter().filter(|entry| entry.is_directory);
        let kind = |name: &str| match name.rsplit_once('-') {
            Some((_, kind @ ("future" | "delete"))) => kind.to_owned(),
            _ => name.to_owned(),
        };
        partitions
            .map(|entry| format!("{path}/{}", kind(&entry.name)))
            .collect::<Vec<_>>()
    };
    [list("/a"), list("/b")].concat()
}

fn begin(manager: &LogManager) -> Result<LogHandle, CreateError> {
    let config = config(&partition().topic);
    manager.create_future_log(&partition(), "/b", None, &config, NOW)
}

/// Copies what is missing, as the owner of the logs does.
fn fill(current: &LogHandle, future: &LogHandle) -> Result<(), crate::AppendError> {
    let reader = current.lock().reader();
    loop {
        let from = future.lock().log_end_offset();
        let fetched = reader.read(from, 300, FetchIsolation::LogEnd, true);
        let Some(slice) = fetched.unwrap().slice else {
            return Ok(());
        };
        let records = slice.read().unwrap();
        future.lock().append_as_follower(records, NOW)?;
    }
}

fn records(log: &LogHandle) -> Offset {
    let reader = log.lock().reader();
    let end = reader.log_end_offset();
    for offset in reader.log_start_offset()..end {
        let fetched = reader.read(offset, 1, FetchIsolation::LogEnd, true);
        let bytes = fetched.unwrap().slice.unwrap().read().unwrap();
        let batch = ottla_record::BatchView::parse(&bytes).unwrap();
        batch.ensure_valid().unwrap();
        assert_eq!(batch.base_offset(), offset);
    }
    end
}

/// A log of 10 records in `/a`, the first 6 flushed.
fn world() -> (FaultyDirectory, LogManager, LogHandle) {
    let files = files();
    let manager = start(&files, &["/a", "/b"]).unwrap();
    let log = create(&manager, 0).unwrap();
    for number in 0..10 {
        append(&log, &"x".repeat(100)).unwrap();
        if number == 5 {
            manager.flush_log(&log, NOW);
        }
    }
    log.lock().update_high_watermark(8);
    manager.checkpoint_recovery_points();
    (files, manager, log)
}

#[test]
fn a_future_log_takes_the_place_of_the_current_one_with_its_checkpoints() {
    let (files, manager, current) = world();
    let old_reader = current.lock().reader();
    let path = Path::new("/a").join(CLEANER_CHECKPOINT);
    let cleaned = BTreeMap::from([(partition(), 4)]);
    crate::checkpoint::write_partition_offsets(&files, &path, &cleaned).unwrap();
    let future = begin(&manager).unwrap();
    assert_eq!(directories(&files), ["/a/t-0", "/b/future"]);
    assert!(
        !manager.cleaning.begin(&partition()),
        "a log that moves is not cleaned"
    );
    assert!(begin(&manager).is_err(), "one move at a time");
    fill(&current, &future).unwrap();
    manager.flush_log(&future, NOW);
    let moved = manager.replace_current_with_future(&partition()).unwrap();
    assert!(Arc::ptr_eq(&moved.log, &future));
    manager.finish_move(moved);

    assert_eq!(directories(&files), ["/a/delete", "/b/t-0"]);
    assert_eq!(future.lock().high_watermark(), 8);
    assert!(Arc::ptr_eq(
        &manager.get_log(&partition()).unwrap(),
        &future
    ));
    assert!(manager.get_future_log(&partition()).is_none());
    let at = |directory: &str, name: &str| {
        let path = Path::new(directory).join(name);
        let offsets = read_partition_offsets(&files, &path).unwrap();
        offsets.get(&partition()).copied()
    };
    assert_eq!(at("/a", CLEANER_CHECKPOINT), None);
    assert_eq!(at("/b", CLEANER_CHECKPOINT), Some(4));
    assert_eq!(at("/a", RECOVERY_POINT_CHECKPOINT), None);
    assert_eq!(at("/b", RECOVERY_POINT_CHECKPOINT), Some(10));
    assert!(
        manager.cleaning.begin(&partition()),
        "it may be cleaned again"
    );
    manager.cleaning.end(&partition());
    assert!(
        append(&current, "late").is_err(),
        "the old log takes nothing"
    );
    append(&future, "next").unwrap();
    // Who reads from the old files goes on until they are removed.
    assert!(
        old_reader
            .read(0, 100, FetchIsolation::LogEnd, true)
            .is_ok()
    );
    manager.run_background(Instant::ZERO, NOW);
    manager.run_background(Instant::from_millis(60_000), NOW);
    assert_eq!(directories(&files), ["/b/t-0"]);
    assert_eq!(
        create(&manager, 1).unwrap().lock().log_dir().path(),
        Path::new("/a")
    );
    manager.shutdown(NOW);
    drop(manager);
    let manager = start(&files, &["/a", "/b"]).unwrap();
    assert_eq!(records(&manager.get_log(&partition()).unwrap()), 11);
}

#[test]
fn a_move_goes_on_after_a_restart_and_ends_when_it_is_given_up() {
    let (files, manager, current) = world();
    let future = begin(&manager).unwrap();
    let first = current
        .lock()
        .reader()
        .read(0, 300, FetchIsolation::LogEnd, true);
    let first = first.unwrap().slice.unwrap().read().unwrap();
    let copied = future
        .lock()
        .append_as_follower(first, NOW)
        .unwrap()
        .last_offset
        + 1;
    drop((manager, current, future)); // kill -9
    let manager = start(&files, &["/a", "/b"]).unwrap();
    let future = manager.get_future_log(&partition()).unwrap();
    assert_eq!(records(&future), copied);
    assert!(future.lock().is_future());
    assert!(!manager.cleaning.begin(&partition()));
    let described = manager.describe_log_dirs();
    assert_eq!(
        (
            described[1].logs[0].is_future,
            described[1].logs[0].offset_lag
        ),
        (true, 10 - copied)
    );
    assert!(manager.delete_future_log(&partition()));
    assert!(!manager.delete_future_log(&partition()));
    assert_eq!(directories(&files), ["/a/t-0", "/b/delete"]);
    assert!(manager.cleaning.begin(&partition()));
    manager.cleaning.end(&partition());
    begin(&manager).unwrap();
    assert!(manager.delete_logs(&[partition()]).is_empty());
    assert_eq!(directories(&files), ["/a/delete", "/b/delete", "/b/delete"]);
    assert!(
        manager.cleaning.begin(&partition()),
        "nothing is left of the move"
    );
}

#[test]
fn a_directory_that_fails_ends_the_moves_into_it_only() {
    let (files, manager, current) = world();
    let future = begin(&manager).unwrap();
    files.fail_from(files.calls(), Fault::NoSpace);
    assert!(fill(&current, &future).is_err());
    files.heal();
    let failed = manager.take_failed_directories();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].partitions.len(), &failed[0].moving_here[..]),
        (0, &[partition()][..])
    );
    assert!(manager.get_future_log(&partition()).is_none());
    assert!(matches!(
        manager.replace_current_with_future(&partition()),
        Err(ReplaceError::Gone(_))
    ));
    append(&current, "on").unwrap();
    assert!(manager.cleaning.begin(&partition()));
    manager.cleaning.end(&partition());
    assert!(matches!(begin(&manager), Err(CreateError::Offline(_))));
    assert!(
        manager.cleaning.begin(&partition()),
        "a refused move holds nothing"
    );
}

/// The whole move, as far as it gets.
fn move_all(manager: &LogManager, current: &LogHandle) {
    let Ok(future) = begin(manager) else { return };
    if fill(current, &future).is_err() {
        return;
    }
    manager.flush_log(&future, NOW);
    if future.lock().recovery_point() < current.lock().recovery_point() {
        return;
    }
    if let Ok(moved) = manager.replace_current_with_future(&partition()) {
        manager.finish_move(moved);
    }
}

#[test]
fn whatever_fails_in_a_move_what_was_flushed_is_there_at_the_next_start() {
    let calls = {
        let (files, manager, current) = world();
        let before = files.calls();
        move_all(&manager, &current);
        files.calls() - before
    };
    assert!(calls > 20, "{calls}");
    let mut refused = 0;
    for call in 0..=calls {
        for seed in 0..4 {
            let (files, manager, current) = world();
            files.fail_from(files.calls() + call, Fault::InputOutput);
            move_all(&manager, &current);
            drop((manager, current));
            if seed == 0 {
                files.heal();
            } else {
                files.crash(seed);
            }
            match start(&files, &["/a", "/b"]) {
                Ok(manager) => {
                    let log = manager.get_log(&partition());
                    let log = log.unwrap_or_else(|| panic!("call {call}, seed {seed}"));
                    let end = records(&log);
                    assert!((6..=10).contains(&end), "call {call}, seed {seed}: {end}");
                }
                // As in Kafka: both have their plain names.
                Err(StartError::DuplicatePartition { .. }) => refused += 1,
                Err(error) => panic!("call {call}, seed {seed}: {error}"),
            }
        }
    }
    assert!(
        refused > 0,
        "the moment between the two names is among them"
    );
}
