//! What is cleaned, when, and what ends it.

use super::*;

fn two_dirty_segments(config: LogConfig) -> Bench {
    let bench = Bench::new(config);
    for _ in 0..2 {
        bench.put("a", Some("1"));
        bench.roll();
    }
    bench
}

#[test]
fn lags_and_the_dirty_ratio_decide() {
    // Records are of 1000, the clock is at 1,000,000.
    for (ratio, min_lag, max_lag, is_cleaned) in [
        (0.5, 0, i64::MAX, true),
        (1.0, 0, i64::MAX, false),
        (1.0, 0, 998_999, true),
        (1.0, 0, 999_000, false),
        (0.5, 999_000, i64::MAX, true),
        (0.5, 999_001, i64::MAX, false),
    ] {
        let bench = two_dirty_segments(LogConfig {
            min_cleanable_dirty_ratio: ratio,
            min_compaction_lag_ms: min_lag,
            max_compaction_lag_ms: max_lag,
            ..compacted()
        });
        let cleaned = matches!(bench.clean(), CleanRound::Cleaned(_));
        assert_eq!(cleaned, is_cleaned, "{ratio} {min_lag} {max_lag}");
        let kept = if is_cleaned { "1:a" } else { "0:a 1:a" };
        assert_eq!(bench.kept(), kept, "{ratio} {min_lag} {max_lag}");
    }
}

#[test]
fn small_segments_become_one_that_is_as_old_as_the_last() {
    let bench = Bench::new(compacted());
    for time in 1..=3 {
        bench.set_time(time * 100);
        bench.put(&time.to_string(), Some("1"));
        bench.roll();
    }
    bench.set_time(NOW.0);
    bench.clean();
    assert_eq!(bench.kept(), "0:1 1:2 2:3");
    let view = bench.log.lock().cleaning_view();
    let bases: Vec<Offset> = view
        .segments
        .iter()
        .map(|segment| segment.base_offset)
        .collect();
    assert_eq!(bases, [0, 3]);
    assert_eq!(view.segments[0].modified().unwrap(), Timestamp(300));
    let snapshots: Vec<String> = bench.names();
    assert!(snapshots.contains(&"00000000000000000001.log.deleted".to_owned()));
    assert!(
        !snapshots
            .iter()
            .any(|name| name.ends_with(".cleaned") || name.ends_with(".swap"))
    );
}

#[test]
fn a_map_that_is_full_cleans_what_it_holds_and_goes_on_next_time() {
    let bench = Bench::new(compacted());
    for round in 0..2 {
        for key in 0..20 {
            bench.put(&format!("key-{key}"), Some(&round.to_string()));
        }
    }
    bench.roll();
    let settings = CleanerSettings {
        dedupe_buffer_size: 24 * 10,
        ..CleanerSettings::default()
    };
    let mut rounds = 0;
    while matches!(bench.clean_with(settings.clone()), CleanRound::Cleaned(_)) {
        rounds += 1;
        assert!(rounds < 20, "each round gets further");
    }
    assert!(rounds >= 4, "{rounds}");
    assert_eq!(bench.rows().len(), 20);
    assert!(bench.rows().iter().all(|(offset, ..)| *offset >= 20));
}

#[test]
fn a_batch_larger_than_the_buffers_is_read_whole() {
    let bench = Bench::new(LogConfig {
        segment_bytes: 100_000,
        ..compacted()
    });
    let large = "x".repeat(10_000);
    bench.put("a", Some(&large));
    bench.put("a", Some(&large));
    bench.roll();
    bench.clean();
    assert_eq!(bench.kept(), "1:a");
}

#[test]
fn a_log_that_cannot_be_read_is_left_alone_and_the_directory_serves_on() {
    let bench = two_dirty_segments(compacted());
    // The length of the second batch's body is nonsense.
    let path = Path::new("/a/t-0/00000000000000000001.log");
    let file = bench
        .files
        .open(path, crate::directory::OpenMode::Existing)
        .unwrap();
    file.write_all_at(&mut [io::IoSlice::new(&[0x7f])], 8)
        .unwrap();
    assert_eq!(bench.clean(), CleanRound::Nothing);
    assert_eq!(bench.manager.uncleanable_partitions(), [partition()]);
    assert!(!bench.manager.has_offline_directories());
    assert!(!bench.names().iter().any(|name| name.ends_with(".cleaned")));
    bench.manager.delete_logs(&[partition()]);
    assert!(bench.manager.uncleanable_partitions().is_empty());
}

#[test]
fn a_truncation_lowers_the_checkpoint_and_a_deletion_removes_it() {
    let bench = two_dirty_segments(compacted());
    bench.clean();
    bench.put("b", Some("1"));
    bench.roll();
    bench.clean();
    assert_eq!(bench.checkpoint(), Some(3));
    bench.manager.truncate_to(&bench.log, 2, NOW).unwrap();
    assert_eq!(
        bench.checkpoint(),
        Some(bench.log.lock().active_base_offset())
    );
    bench.manager.delete_logs(&[partition()]);
    assert_eq!(bench.checkpoint(), None);
}

#[test]
fn a_checkpoint_outside_of_the_log_is_reset() {
    for checkpoint in [100, 0] {
        let bench = two_dirty_segments(compacted());
        bench
            .log
            .lock()
            .maybe_increment_log_start_offset(1)
            .unwrap();
        let dir = bench.log.lock().log_dir();
        bench
            .manager
            .set_cleaner_checkpoint(&dir, &partition(), checkpoint);
        bench.log.lock().update_config(Arc::new(LogConfig {
            min_cleanable_dirty_ratio: 1.0,
            ..compacted()
        }));
        bench.clean();
        assert_eq!(bench.checkpoint(), Some(1), "{checkpoint}");
    }
}

#[test]
fn a_swap_is_refused_when_the_log_changed_meanwhile() {
    let bench = two_dirty_segments(compacted());
    let view = bench.log.lock().cleaning_view();
    let sources: Vec<_> = view.segments[..2]
        .iter()
        .map(|segment| (Arc::clone(segment), segment.size()))
        .collect();
    bench.log.lock().truncate_to(1, NOW).unwrap();
    assert!(!bench.log.lock().replace_segments(&sources, 10).unwrap());
}

#[test]
fn compact_and_delete_deletes_too() {
    let bench = two_dirty_segments(LogConfig {
        delete: true,
        retention_ms: 500,
        min_cleanable_dirty_ratio: 1.0,
        ..compacted()
    });
    assert_eq!(
        bench.manager.run_retention(NOW),
        0,
        "that is left to the cleaner"
    );
    assert_eq!(bench.clean(), CleanRound::Nothing);
    assert_eq!(bench.kept(), "");
    assert_eq!(bench.log.lock().log_start_offset(), 2);
}

#[test]
fn cleaning_ends_with_the_broker() {
    let bench = two_dirty_segments(compacted());
    bench.manager.shutdown(NOW);
    assert_eq!(bench.clean(), CleanRound::Stopped);
    assert_eq!(bench.kept(), "0:a 1:a");
}

#[test]
fn the_throttle_slows_reads_and_writes_down() {
    let bench = two_dirty_segments(compacted());
    let settings = CleanerSettings {
        io_max_bytes_per_second: 100.0,
        ..CleanerSettings::default()
    };
    *bench.clock.paused.lock() = Duration::from_millis(400);
    bench.clean_with(settings);
    assert_eq!(bench.kept(), "1:a");
    assert!(*bench.clock.paused.lock() > Duration::from_millis(400));
}

#[test]
fn keys_of_the_cleaner_count_from_its_next_look_on() {
    let far = 1 << 40;
    let forbidden: [fn(&mut LogConfig); 3] = [
        |config| config.min_cleanable_dirty_ratio = 1.0,
        |config| config.min_compaction_lag_ms = 1 << 40,
        |config| {
            config.compact = false;
            config.delete = true;
        },
    ];
    for forbid in forbidden {
        let mut config = compacted();
        forbid(&mut config);
        let bench = Bench::new(config);
        for value in ["1", "2"] {
            bench.put("a", Some(value));
        }
        bench.roll();
        assert_eq!(bench.clean(), CleanRound::Nothing);
        bench.log.lock().update_config(Arc::new(compacted()));
        assert!(matches!(bench.clean(), CleanRound::Cleaned(_)));
        assert_eq!(bench.kept(), "1:a");
    }
    // Not dirty enough, but late.
    let late = |lag| LogConfig {
        min_cleanable_dirty_ratio: 1.0,
        max_compaction_lag_ms: lag,
        ..compacted()
    };
    let bench = Bench::new(late(far));
    for value in ["1", "2"] {
        bench.put("a", Some(value));
    }
    bench.roll();
    assert_eq!(bench.clean(), CleanRound::Nothing);
    bench.log.lock().update_config(Arc::new(late(10)));
    let CleanRound::Cleaned(stats) = bench.clean() else {
        panic!("the log is late");
    };
    assert_eq!(stats.compaction_delay_ms, NOW.0 - 10 - 1000);
    assert!(stats.map_utilization > 0.0);
    assert_eq!(bench.manager.dirtiest_ratio(), 1.0);
}
