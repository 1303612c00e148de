//! Power failures in the middle of everything, by seed.

use super::*;
use crate::directory::Fault;
use crate::random::Random;

/// Whatever is lost, it is lost from the end, and nothing below the recovery point.
#[test]
fn after_a_crash_there_is_a_prefix_of_what_was_written_with_all_that_was_flushed() {
    let mut losses = 0;
    for seed in 0..2000 {
        losses += usize::from(play(seed, None));
    }
    assert!(losses > 200, "the crashes do lose something ({losses})");
}

#[test]
fn a_disk_that_fails_and_then_loses_power_is_no_different() {
    for seed in 0..1200 {
        let fault = if seed % 2 == 0 {
            Fault::InputOutput
        } else {
            Fault::NoSpace
        };
        play(seed, Some(fault));
    }
}

fn play(seed: u64, fault: Option<Fault>) -> bool {
    let mut random = Random::new(seed);
    let disk = Disk::new(LogConfig {
        segment_bytes: 600 + random.below(3000),
        flush_messages: if random.below(4) == 0 { 1 } else { i64::MAX },
        ..small()
    });
    let mut log = disk.open();
    log.set_transaction_verification(false);
    let mut written: Vec<(i64, String)> = Vec::new();
    // What a checkpoint on the disk may say: never more than the log's own recovery point.
    let mut checkpoint = 0;
    let mut sequence = 0;
    if let Some(fault) = fault {
        disk.files
            .fail_from(disk.files.calls() + random.below(120), fault);
    }
    for _ in 0..random.below(60) {
        let next = log.log_end_offset();
        let value = format!("{next:0width$}", width = 1 + random.below(300) as usize);
        let result = match random.below(10) {
            0 => log.flush(NOW).is_ok(),
            1 => log.roll(NOW).is_ok(),
            2 => {
                let appended = lead(&mut log, produced(5, 0, sequence, 1, false)).is_ok();
                if appended {
                    sequence += 1;
                    written.push((next, "v".to_owned()));
                }
                appended
            }
            _ => {
                let appended = lead(&mut log, batch(next, &[&value])).is_ok();
                if appended {
                    written.push((next, value));
                }
                appended
            }
        };
        if random.below(3) == 0 {
            checkpoint = log.recovery_point();
        }
        if !result {
            break;
        }
    }
    let flushed = log.recovery_point();
    drop(log);
    disk.files.crash(seed);
    let mut log = match disk.recover(checkpoint) {
        Ok(log) => log,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    log.set_transaction_verification(false);
    let found = contents(&log);
    let end = log.log_end_offset();
    assert!(
        end >= flushed.min(written.len() as i64),
        "seed {seed}: {end} < {flushed}"
    );
    assert_eq!(found.len() as i64, end, "seed {seed}: no gap");
    let known = found.len().min(written.len());
    assert_eq!(found[..known], written[..known], "seed {seed}");
    // A batch whose write failed may be there all the same, but only that one.
    assert!(
        found.len() <= written.len() + usize::from(fault.is_some()),
        "seed {seed}"
    );
    assert!(
        log.epochs()
            .entries()
            .iter()
            .all(|(_, start)| *start < end.max(1)),
        "seed {seed}"
    );
    let known = log
        .describe_producers()
        .first()
        .map(|producer| producer.last_sequence);
    let expected = found.iter().filter(|(_, value)| value == "v").count() as i32 - 1;
    assert_eq!(
        known.unwrap_or(-1),
        expected,
        "seed {seed}: producer state is that of the log"
    );
    lead(&mut log, batch(1, &["after"])).unwrap();
    assert_eq!(
        contents(&log).last().unwrap(),
        &(end, "after".to_owned()),
        "seed {seed}"
    );
    found.len() < written.len()
}
