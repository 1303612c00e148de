//! A broker killed under load keeps what it acknowledged: records, committed offsets, groups; and
//! an idempotent producer leaves nothing twice.
//!
//! `OTTLA_TEST_SEED` repeats a run, `OTTLA_TEST_ROUNDS` makes it longer.

use std::time::Duration;

use ottla_integration::{Broker, Load, Random};

#[test]
fn what_was_acknowledged_survives_kill_9_under_load() {
    let mut random = Random::from_environment();
    let rounds: u32 = std::env::var("OTTLA_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5);
    let mut broker = Broker::start(&[
        ("num.partitions", "3"),
        // Rolls, so that crashes meet segments of every age.
        ("log.segment.bytes", "2000000"),
        ("log.index.interval.bytes", "512"),
    ])
    .expect("a broker");
    let load = Load::start(&broker.address(), "load").expect("a load");
    for round in 0..rounds {
        load.wait_for_progress()
            .unwrap_or_else(|error| panic!("round {round}: {error:#}\n{}", broker.log()));
        // The moment of the crash is meant to be random.
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        broker.kill().expect("a kill");
        broker.restart().expect("a restart");
    }
    let records = load
        .finish(&[broker.log_directory()])
        .unwrap_or_else(|error| panic!("{error:#}\n{}", broker.log()));
    eprintln!("{records} records in {rounds} rounds");
    broker.stop().expect("a clean stop");
}
