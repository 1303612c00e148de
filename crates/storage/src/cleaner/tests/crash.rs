//! The process or the power ends at each step of a cleaning.

use super::*;
use crate::directory::Fault;

fn dirty(files: FaultyDirectory) -> Bench {
    let bench = Bench::on(files, compacted());
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            bench.put(key, Some(&round.to_string()));
        }
        bench.append(produced(7, round, true, &["aborted"]));
        bench.append_from(
            marker(7, TransactionResult::Abort),
            AppendOrigin::Coordinator,
        );
        bench.roll();
    }
    bench.log.lock().flush(NOW).unwrap();
    bench.manager.checkpoint_recovery_points();
    bench
}

/// What consumers see: the last value of each key.
fn latest(bench: &Bench) -> BTreeMap<String, Option<String>> {
    let rows = bench.rows().into_iter();
    let data = rows.filter(|(_, key, _)| key != "marker" && key != "aborted");
    data.map(|(_, key, value)| (key, value)).collect()
}

#[test]
fn whatever_call_fails_the_next_start_finds_all_that_must_stay() {
    let bench = dirty(FaultyDirectory::default());
    let start = bench.files.calls();
    let image = bench.files.memory().duplicate();
    let expected = latest(&bench);
    bench.clean();
    let calls = bench.files.calls() - start;
    let cleaned = bench.kept();
    assert!(calls > 15, "{calls}");
    let mut finished = 0;
    for call in 0..=calls {
        for crash in [None, Some(call)] {
            let files = FaultyDirectory::new(image.duplicate());
            let bench = Bench::on(files, compacted());
            bench.log.lock().update_high_watermark(15);
            bench
                .files
                .fail_from(bench.files.calls() + call, Fault::InputOutput);
            bench.clean();
            let bench = match crash {
                None => bench.reopened(),
                Some(seed) => {
                    let Bench { files, config, .. } = bench;
                    files.crash(seed);
                    Bench::on(FaultyDirectory::new(files.memory().duplicate()), config)
                }
            };
            assert_eq!(latest(&bench), expected, "call {call}");
            let log = bench.log.lock();
            assert_eq!(log.log_end_offset(), 15, "call {call}");
            drop(log);
            let names = bench.names();
            let is_left_over = |name: &String| name.ends_with("cleaned") || name.ends_with("swap");
            assert!(!names.iter().any(is_left_over), "call {call}: {names:?}");
            // And the cleaner gets on from there.
            bench.log.lock().update_high_watermark(15);
            bench.clean();
            assert_eq!(latest(&bench), expected, "call {call}");
            finished += usize::from(bench.kept() == cleaned);
        }
    }
    assert!(finished > 0);
}
