//! Kafka Streams counts the words of a real text, exactly once, while brokers are killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::real_text::real_text;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Operator, Process, command, tools};

const DEADLINE: Duration = Duration::from_secs(400);
const SIZE: usize = 400_000;
/// One run of a client that is made again if it does not end.
const RUN_DEADLINE: Duration = Duration::from_secs(90);
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("transaction.state.log.min.isr", "2"),
    ("transaction.state.log.num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
    ("replica.lag.time.max.ms", "4000"),
];

type Counts = BTreeMap<String, u64>;

#[test]
fn streams_counts_every_word_exactly_once_while_brokers_are_killed() {
    let mut cluster = Cluster::start(3, PROPERTIES).expect("a cluster");
    if let Err(error) = show(&mut cluster) {
        panic!("{error:#}\n{}", cluster.logs());
    }
}

fn show(cluster: &mut Cluster) -> anyhow::Result<()> {
    let started = Instant::now();
    let bootstrap = cluster.bootstrap();
    let mut operator = Operator::new(&bootstrap)?;
    for topic in ["lines", "counts"] {
        operator.create_topic(topic, "1:2:3,2:3:1,3:1:2", &["min.insync.replicas=2"])?;
    }
    drop(operator);
    let text = String::from_utf8(real_text(SIZE))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut expected = Counts::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        if !word.is_empty() {
            *expected.entry(word.to_owned()).or_default() += 1;
        }
    }
    let words: u64 = expected.values().sum();

    let directory = tempfile::tempdir()?;
    let mut streams = start(&bootstrap, directory.path())?;
    let output = directory.path().join("streams.out");
    // A part of the text before each kill, and one while the broker is away.
    let mut parts = lines.chunks(lines.len().div_ceil(7));
    for id in cluster.ids() {
        let before = size(&output);
        write(&bootstrap, parts.next().context("a part")?)?;
        let progress = wait_for("counted words", DEADLINE, || {
            (size(&output) > before || !streams.is_running()).then_some(())
        });
        progress.with_context(|| tail(directory.path()))?;
        cluster.broker(id).kill()?;
        // Dead before anybody knows, and then known to be.
        sleep(Duration::from_secs(1));
        cluster.end_session(id)?;
        write(&bootstrap, parts.next().context("a part")?)?;
        sleep(Duration::from_secs(1));
        cluster.broker(id).restart()?;
        let at = started.elapsed().as_secs_f64();
        eprintln!("{at:6.1} s: broker {id} was killed and is back");
    }
    for part in parts {
        write(&bootstrap, part)?;
    }

    let mut counted = Counts::new();
    let mut last = anyhow::Ok(());
    let complete = wait_for("all counts", DEADLINE, || {
        let text = read(&bootstrap).ok()?;
        last = counts(&text).map(|counts| counted = counts);
        let over = last.is_err() || over(&counted, &expected).is_some();
        (over || counted == expected || !streams.is_running()).then_some(())
    });
    last?;
    let difference = || {
        let lack = expected
            .iter()
            .find(|(word, count)| counted.get(*word) != Some(count))
            .map(|(word, count)| (word, count, counted.get(word)));
        let over = over(&counted, &expected);
        format!(
            "first that differs {lack:?}, first that is too high {over:?}\n{}",
            tail(directory.path())
        )
    };
    complete.with_context(difference)?;
    anyhow::ensure!(counted == expected, difference());
    // Its last commit brings nothing more.
    streams.signal("TERM")?;
    streams.wait(DEADLINE)?;
    let text = wait_for("all counts again", DEADLINE, || read(&bootstrap).ok())?;
    anyhow::ensure!(counts(&text)? == expected, "counts changed at the end");
    eprintln!(
        "{:6.1} s: {words} words, {} different, counted exactly once",
        started.elapsed().as_secs_f64(),
        expected.len()
    );
    cluster.wait_until_all_are_registered()?;
    for id in cluster.ids() {
        cluster.broker(id).stop()?;
    }
    Ok(())
}

fn start(bootstrap: &str, directory: &Path) -> anyhow::Result<Process> {
    let java = tools::root().join("integration/java");
    let mut command = Command::new("java");
    command
        .args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!(
            "-Dlog4j.configuration=file:{}",
            java.join("log4j.properties").display()
        ))
        .args(["-cp", &tools::class_path("streams")])
        .arg(java.join("WordCount.java"))
        .args([bootstrap, "lines", "counts"])
        .arg(directory.join("state"));
    Process::start(command, directory, "streams")
}

fn write(bootstrap: &str, lines: &[&str]) -> anyhow::Result<()> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", bootstrap, "-P", "-t", "lines"]);
    kcat.args(["-X", "enable.idempotence=true"]);
    let text = lines.join("\n") + "\n";
    command::run(&mut kcat, text.as_bytes(), DEADLINE).map(drop)
}

/// `word count` of each committed record.
fn read(bootstrap: &str) -> anyhow::Result<String> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", bootstrap, "-C", "-t", "counts", "-e", "-q"]);
    kcat.args(["-o", "beginning", "-f", "%k %s\n"]);
    kcat.args(["-X", "isolation.level=read_committed"]);
    Ok(String::from_utf8(command::run(
        &mut kcat,
        b"",
        RUN_DEADLINE,
    )?)?)
}

/// The last count of each word; counts only ever grow.
fn counts(text: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for line in text.lines() {
        let (word, count) = line.split_once(' ').context("not a count")?;
        let count = count.parse()?;
        let before = counts.insert(word.to_owned(), count);
        anyhow::ensure!(
            before.is_none_or(|before| before < count),
            "{word}: {before:?}, then {count}"
        );
    }
    Ok(counts)
}

/// A word that was counted more often than it comes.
fn over(counted: &Counts, expected: &Counts) -> Option<(String, u64)> {
    let mut over = counted
        .iter()
        .filter(|(word, count)| expected.get(*word).is_none_or(|most| *count > most));
    over.next().map(|(word, count)| (word.clone(), *count))
}

fn size(file: &Path) -> u64 {
    file.metadata().map_or(0, |file| file.len())
}

fn tail(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("streams.err")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
