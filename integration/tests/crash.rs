//! A broker killed under load keeps what it acknowledged: records, committed offsets, groups; and
//! an idempotent producer leaves nothing twice.
//!
//! `OTTLA_TEST_SEED` repeats a run, `OTTLA_TEST_ROUNDS` makes it longer.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Process, Random, command, tools};

const DEADLINE: Duration = Duration::from_secs(120);
const TOPIC: &str = "load";

/// The lines that were written whole.
fn lines(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// `partition offset` lines as the highest offset of each partition.
fn highest<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeMap<i32, i64> {
    let mut highest = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let mut next = || words.next().and_then(|w| w.parse::<i64>().ok());
        let (Some(partition), Some(offset)) = (next(), next()) else {
            panic!("not a position: {line}");
        };
        let partition = i32::try_from(partition).expect("a partition");
        let known = highest.entry(partition).or_insert(offset);
        *known = offset.max(*known);
    }
    highest
}

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
    let address = broker.address();
    let directory = broker.directory().to_owned();
    let load = |what: &str| {
        let out = directory.join(format!("{what}d"));
        let mut python = tools::python("under_load.py");
        python.args([what, &address, TOPIC]).arg(&out);
        let process = Process::start(python, &directory, what).expect("python");
        (process, out)
    };
    let (mut producer, acknowledged) = load("produce");
    let (mut consumer, commits) = load("consume");
    let ask = |what: &str| {
        let mut python = tools::python("under_load.py");
        python.args([what, &address, TOPIC]);
        let out = command::run(&mut python, b"", DEADLINE).expect(what);
        String::from_utf8(out).expect("text")
    };

    for round in 0..rounds {
        let before = (lines(&acknowledged).len(), lines(&commits).len());
        wait_for("progress of producer and consumer", DEADLINE, || {
            let now = (lines(&acknowledged).len(), lines(&commits).len());
            (now.0 > before.0 && now.1 > before.1).then_some(())
        })
        .unwrap_or_else(|error| panic!("round {round}: {error}\n{}", broker.log()));
        // The moment of the crash is meant to be random.
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        let promised = highest(lines(&commits).iter().map(String::as_str));
        broker.kill().expect("a kill");
        broker.restart().expect("a restart");
        let found = highest(ask("committed").lines());
        for (partition, offset) in promised {
            assert!(
                found.get(&partition).is_some_and(|found| *found >= offset),
                "round {round}: {offset} was committed in partition {partition}, found {found:?}"
            );
        }
    }

    for (name, process) in [("producer", &mut producer), ("consumer", &mut consumer)] {
        process.signal("TERM").expect("a signal");
        let status = process.wait(DEADLINE).expect(name);
        assert!(status.success(), "the {name} ended with {status}");
    }
    let acknowledged = lines(&acknowledged);
    let refused: Vec<_> = acknowledged
        .iter()
        .filter(|l| l.starts_with("error"))
        .collect();
    assert!(refused.is_empty(), "refused: {:?}", refused.first());
    let mut found: Vec<String> = ask("read").lines().map(str::to_owned).collect();
    let mut expected = acknowledged;
    // Everything was acknowledged in the end, so that the log holds exactly that, once.
    found.sort_unstable();
    expected.sort_unstable();
    let difference = found.iter().zip(&expected).find(|(a, b)| a != b);
    assert!(
        difference.is_none() && found.len() == expected.len(),
        "{} records found, {} acknowledged; first difference (found, acknowledged): {difference:?}",
        found.len(),
        expected.len(),
    );
    eprintln!("{} records in {rounds} rounds", found.len());
    broker.stop().expect("a clean stop");
}
