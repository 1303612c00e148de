//! EIO and ENOSPC at each call that a directory's life takes, from its first start to its orderly
//! stop, and what the next start finds.

use super::*;
use crate::cleaner::{Cleaner, CleanerClock, CleanerSettings, Throttle};

const T: &str = "t";
const COMPACTED: &str = "c";

fn config_of(topic: &TopicName) -> Arc<LogConfig> {
    let is_compacted = topic.as_str() == COMPACTED;
    Arc::new(LogConfig {
        compact: is_compacted,
        delete: !is_compacted,
        segment_bytes: 400,
        segment_index_bytes: 48,
        index_interval_bytes: 60,
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    })
}

fn load(files: &FaultyDirectory) -> Result<LogManager, StartError> {
    let mut dirs = LogDirs::open(Arc::new(files.clone()), &[PathBuf::from("/a")])?;
    dirs.verify("cluster", Some(BrokerId(0)))?;
    dirs.write_identity("cluster", BrokerId(0), NOW);
    let settings = LogManagerSettings {
        delete_delay_ms: 0,
        ..LogManagerSettings::default()
    };
    LogManager::load(dirs, settings, &config_of, NOW)
}

struct NoTime(Mutex<Throttle>);

impl CleanerClock for NoTime {
    fn now(&self) -> Instant {
        Instant(std::time::Duration::ZERO)
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
    fn pause(&self, _: std::time::Duration) {}
    fn throttle(&self) -> &Mutex<Throttle> {
        &self.0
    }
}

/// What was promised of the log of topic `t` when its life ended.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Promised {
    /// Everything below was flushed, if it is not below the start.
    flushed: Offset,
    /// Nothing at or above was ever written.
    written: Offset,
    /// Retention and DeleteRecords went no further.
    start: Offset,
    stopped_in_order: bool,
}

/// The life of a directory, until something fails. Afterwards all duties run on, as they do in a
/// broker that does not know yet.
fn live(files: &FaultyDirectory) -> Promised {
    let mut promised = Promised::default();
    let Ok(manager) = load(files) else {
        return promised;
    };
    promised.stopped_in_order = live_until_failure(&manager, &mut promised).is_some();
    duties(&manager);
    manager.shutdown(NOW);
    promised
}

fn live_until_failure(manager: &LogManager, promised: &mut Promised) -> Option<()> {
    let create = |topic: &str| {
        let partition = TopicPartition::new(topic, 0);
        let id = Some(TopicId([7; 16]));
        let config = config_of(&partition.topic);
        let log = manager.get_or_create_log(&partition, true, id, config, NOW);
        log.ok()
    };
    let log = create(T)?;
    let compacted = create(COMPACTED)?;
    let doomed = create("doomed")?;
    for round in 0..4 {
        for _ in 0..3 {
            let end = log.lock().log_end_offset();
            // A write may have reached the disk although it failed.
            promised.written = end + 1;
            append(&log, &end.to_string()).ok()?;
            append(&compacted, "again").ok()?;
        }
        append(&doomed, "gone").ok()?;
        for log in [&log, &compacted] {
            let mut log = log.lock();
            let end = log.log_end_offset();
            log.update_high_watermark(end);
            log.roll(NOW).ok()?;
        }
        match round {
            1 => {
                manager.flush_log(&log, NOW);
                promised.flushed = promised.flushed.max(log.lock().recovery_point());
                manager.checkpoint_recovery_points();
            }
            2 => {
                promised.start = 4;
                log.lock().maybe_increment_log_start_offset(4).ok()?;
                manager.checkpoint_log_start_offsets();
            }
            _ => duties(manager),
        }
        promised.flushed = promised.flushed.max(log.lock().recovery_point());
    }
    promised.flushed = promised.flushed.min(10);
    manager.truncate_to(&log, 10, NOW).ok()?;
    let failed = manager.delete_logs(&[TopicPartition::new("doomed", 0)]);
    failed.is_empty().then_some(())
}

fn duties(manager: &LogManager) {
    let settings = CleanerSettings {
        dedupe_buffer_size: 10_000,
        io_buffer_size: 256,
        ..CleanerSettings::default()
    };
    let clock = NoTime(Mutex::new(Throttle::new(Instant(
        std::time::Duration::ZERO,
    ))));
    manager.run_retention(NOW);
    manager.run_flush(NOW);
    manager.clean(&mut Cleaner::new(settings), &clock);
    manager.checkpoint_high_watermarks();
    for seconds in [1, 2] {
        manager.run_background(Instant(std::time::Duration::from_secs(seconds)), NOW);
    }
    manager.take_failed_directories();
}

/// Starts again on what a life left and compares with what it had promised.
fn check(files: &FaultyDirectory, promised: Promised, context: &str) {
    let manager = load(files).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(!manager.has_offline_directories(), "{context}");
    let Some(log) = manager.get_log(&TopicPartition::new(T, 0)) else {
        let damage = manager.damage(&TopicPartition::new(T, 0));
        assert_eq!((promised.flushed, damage), (0, None), "{context}");
        return;
    };
    let reader = log.lock().reader();
    let (start, end) = (reader.log_start_offset(), reader.log_end_offset());
    assert!(
        start <= promised.start && (promised.flushed..=promised.written).contains(&end),
        "{context}: {start} to {end} after {promised:?}"
    );
    for offset in start..end {
        let fetched = reader.read(offset, 1, FetchIsolation::LogEnd, true);
        let bytes = fetched.unwrap().slice.unwrap().read().unwrap();
        let batch = ottla_record::BatchView::parse(&bytes).unwrap();
        batch.ensure_valid().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let record = records.iter().unwrap().next().unwrap().unwrap();
        let value = String::from_utf8_lossy(record.value.unwrap()).into_owned();
        assert_eq!(
            (record.offset, value),
            (offset, offset.to_string()),
            "{context}"
        );
    }
    append(&log, &end.to_string()).unwrap();
    manager.shutdown(NOW);
}

/// Runs a life with a fault that `plan` sets, and the next start after a stop of the process and
/// after power failures.
fn play(context: &str, plan: impl Fn(&FaultyDirectory)) -> usize {
    let files = files();
    plan(&files);
    let promised = live(&files);
    files.heal();
    let stopped = FaultyDirectory::new(files.memory().duplicate());
    check(&stopped, promised, &format!("{context}, stopped"));
    // Only what this one has seen counts as written.
    files.crash(files.calls());
    check(&files, promised, &format!("{context}, without power"));
    2
}

#[test]
fn whatever_call_fails_what_was_flushed_is_there_and_nothing_else() {
    let files = files();
    let promised = live(&files);
    assert!(
        promised.stopped_in_order && promised.flushed > 5,
        "{promised:?}"
    );
    let (calls, looks) = (files.calls(), files.looks());
    let mut cases = 0;
    for call in 0..calls {
        let context = format!("a broken disk at changing call {call}");
        cases += play(&context, |files| {
            files.fail_once(call, Fault::InputOutput);
        });
        let context = format!("no space from changing call {call} on");
        cases += play(&context, |files| files.fail_from(call, Fault::NoSpace));
    }
    for look in 0..looks {
        let context = format!("a look fails at call {look}");
        cases += play(&context, |files| {
            files.fail_look_once(look, Fault::InputOutput)
        });
    }
    eprintln!("{calls} changing and {looks} looking calls, {cases} cases");
    assert!(calls > 150 && looks > 100, "{calls} {looks}");
}
