//! Exactly once over a cluster whose brokers are killed, stopped and held: producers of librdkafka
//! and Java, zombies among them, and transactions that outlive their time.
//!
//! `OTTLA_TEST_SEED` repeats a run, `OTTLA_TEST_ROUNDS` makes the history longer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::replicas::wait_until_equal;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Operator, Process, Random, command, tools};

const DEADLINE: Duration = Duration::from_secs(400);
const STATE: &str = "__transaction_state";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const ROUNDS: u32 = 20;
const WRITERS: usize = 5;
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("transaction.state.log.min.isr", "2"),
    ("transaction.state.log.num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "500",
    ),
    ("zookeeper.session.timeout.ms", "2000"),
    ("replica.lag.time.max.ms", "4000"),
];
/// ZooKeeper ends sessions at its ticks.
const AFTER_EXPIRY: Duration = Duration::from_millis(3000);

struct Shaken {
    cluster: Cluster,
    random: Random,
    started: Instant,
}

impl Shaken {
    fn start() -> anyhow::Result<Self> {
        Ok(Self {
            cluster: Cluster::start(3, PROPERTIES)?,
            random: Random::from_environment(),
            started: Instant::now(),
        })
    }

    /// Ends a broker: any, the leader of a partition of the topic, a coordinator, or two brokers.
    /// It is killed, stopped or held, and back at once, soon, or after its session has ended.
    fn round(&mut self, topic: &str) -> anyhow::Result<()> {
        sleep(Duration::from_millis(self.random.below(700)));
        let partition = u32::try_from(self.random.below(4))?;
        let (what, id) = match self.random.below(3) {
            0 => ("any", 1 + u32::try_from(self.random.below(3))?),
            1 => ("leader", self.cluster.leader(topic, partition)?),
            _ => ("coordinator", self.cluster.leader(STATE, partition)?),
        };
        let away = match self.random.below(4) {
            0 | 1 => Duration::ZERO,
            2 => Duration::from_millis(self.random.below(2000)),
            _ => AFTER_EXPIRY,
        };
        let mut ids = vec![id];
        let how = match self.random.below(8) {
            0 => {
                self.cluster.broker(id).process()?.signal("STOP")?;
                sleep(AFTER_EXPIRY);
                self.cluster.broker(id).process()?.signal("CONT")?;
                self.tell(&format!("broker {id} ({what}) was held"));
                return self.cluster.wait_until_all_are_registered();
            }
            1 => {
                self.cluster.broker(id).stop()?;
                "stopped"
            }
            2 => {
                ids.push(1 + id % 3);
                for id in &ids {
                    self.cluster.broker(*id).kill()?;
                }
                "killed"
            }
            _ => {
                self.cluster.broker(id).kill()?;
                "killed"
            }
        };
        sleep(away);
        for id in &ids {
            self.cluster.broker(*id).launch()?;
        }
        for id in &ids {
            self.cluster.broker(*id).wait_until_open()?;
        }
        self.tell(&format!(
            "brokers {ids:?} ({what}) {how}, away for {away:?}"
        ));
        Ok(())
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.started.elapsed().as_secs_f64());
    }

    fn end(mut self, topics: &[&str]) -> anyhow::Result<()> {
        self.cluster.wait_until_all_are_registered()?;
        for topic in topics.iter().chain(&[STATE]) {
            self.cluster.wait_for_isrs(topic, 4, &[1, 2, 3])?;
        }
        wait_until_equal(&mut self.cluster, &["__consumer_offsets", STATE])?;
        for id in self.cluster.ids() {
            self.cluster.broker(id).stop()?;
        }
        Ok(())
    }
}

#[test]
fn every_committed_transaction_is_read_whole_and_once_over_kill_rounds() {
    let rounds = std::env::var("OTTLA_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let mut shaken = Shaken::start().expect("a cluster");
    let result = show_history(&mut shaken, rounds);
    let result = result.map_err(|error| format!("{error:#}\n{}", shaken.cluster.logs()));
    result.unwrap_or_else(|error| panic!("{error}"));
    shaken.end(&["history"]).expect("equal replicas");
}

fn show_history(shaken: &mut Shaken, rounds: u32) -> anyhow::Result<()> {
    let bootstrap = shaken.cluster.bootstrap();
    let topic = "history";
    let mut operator = create_topics(&bootstrap, &[topic])?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut python = tools::python("transaction_history.py");
    python.args(["write", &bootstrap, topic, &WRITERS.to_string()]);
    python.arg(path("history"));
    let mut writers = Process::start(python, directory.path(), "writers")?;
    let mut python = tools::python("transaction_history.py");
    python.args(["follow", &bootstrap, topic]);
    python.arg(path("followed"));
    let mut follower = Process::start(python, directory.path(), "follower")?;

    for round in 1..=rounds {
        wait_for_lines(&path("history"), 8, &mut writers, directory.path())
            .with_context(|| format!("round {round}"))?;
        shaken.round(topic)?;
    }
    wait_for_lines(&path("history"), 8, &mut writers, directory.path())?;
    end(&mut writers, directory.path())?;
    let mut python = tools::python("transaction_history.py");
    let read = command::run(python.args(["read", &bootstrap, topic]), b"", DEADLINE)?;
    let read = String::from_utf8(read)?;
    end(&mut follower, directory.path())?;
    wait_until_all_are_complete(&mut operator)?;

    let history = std::fs::read_to_string(path("history"))?;
    let told = check_history(&history, &read)?;
    let followed = std::fs::read_to_string(path("followed"))?;
    check_followed(&followed, &read)?;
    shaken.tell(&format!("{rounds} rounds, {told}"));
    Ok(())
}

/// No coordinator has left anything undone.
fn wait_until_all_are_complete(operator: &mut Operator) -> anyhow::Result<()> {
    let mut listed = String::new();
    wait_for("complete transactions", DEADLINE, || {
        listed = operator.run(TRANSACTIONS, &["list"]).ok()?;
        let writers = listed.lines().filter(|line| line.starts_with("writer-"));
        let ended = |line: &str| line.contains("Complete") || line.contains("Empty");
        let complete = writers.clone().all(ended);
        (complete && writers.count() == WRITERS).then_some(())
    })
    .with_context(|| listed)
}

/// Whole, once, in order, and nothing that is not committed.
fn check_history(history: &str, read: &str) -> anyhow::Result<String> {
    // (writer, transaction) → partition → indexes in the order in which they are read.
    type Transaction = (u32, u32);
    let mut found: BTreeMap<Transaction, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
    let mut last: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for line in read.lines() {
        let numbers: Vec<u32> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [partition, _, writer, number, index] = numbers[..] else {
            anyhow::bail!("not a record: {line}");
        };
        let before = last.insert((partition, writer), number);
        anyhow::ensure!(
            before.is_none_or(|before| before <= number),
            "{before:?}, then {line}"
        );
        let transaction = found.entry((writer, number)).or_default();
        transaction.entry(partition).or_default().push(index);
    }
    let (mut committed, mut aborted) = (0, 0);
    for line in history.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().context("a word is missing");
        let fate = next()?.to_owned();
        let transaction = (next()?.parse()?, next()?.parse()?);
        let got = found.remove(&transaction);
        if fate == "aborted" {
            aborted += 1;
            anyhow::ensure!(got.is_none(), "{line}: read {got:?}");
            continue;
        }
        anyhow::ensure!(fate == "committed", "{line}");
        committed += 1;
        let mut expected = BTreeMap::new();
        for part in words {
            let (partition, count) = part.split_once(':').context("not a count")?;
            let count: u32 = count.parse()?;
            expected.insert(partition.parse()?, (0..count).collect::<Vec<_>>());
        }
        anyhow::ensure!(
            got.as_ref() == Some(&expected),
            "{line}: read {got:?}, expected {expected:?}"
        );
    }
    anyhow::ensure!(found.is_empty(), "of nobody: {found:?}");
    anyhow::ensure!(
        committed > 0 && aborted > 0,
        "{committed} committed, {aborted} aborted"
    );
    Ok(format!(
        "{committed} transactions committed, {aborted} aborted, {} records read",
        read.lines().count()
    ))
}

/// Who reads while brokers are killed sees what is read in the end, each record once.
fn check_followed(followed: &str, read: &str) -> anyhow::Result<()> {
    let all: BTreeSet<&str> = read.lines().collect();
    let seen: BTreeSet<&str> = followed.lines().collect();
    let invented = seen.difference(&all).next();
    anyhow::ensure!(invented.is_none(), "shown too early: {invented:?}");
    anyhow::ensure!(
        seen.len() == followed.lines().count(),
        "{} records followed, {} distinct",
        followed.lines().count(),
        seen.len()
    );
    Ok(())
}

const COPIED: usize = 7000;
const PARTS: usize = 7;

#[test]
fn consumed_transformed_and_produced_exactly_once_while_brokers_are_killed() {
    let mut shaken = Shaken::start().expect("a cluster");
    let result = show_copies(&mut shaken);
    let result = result.map_err(|error| format!("{error:#}\n{}", shaken.cluster.logs()));
    result.unwrap_or_else(|error| panic!("{error}"));
    let topics = ["input", "copied-by-librdkafka", "copied-by-java"];
    shaken.end(&topics).expect("equal replicas");
}

fn show_copies(shaken: &mut Shaken) -> anyhow::Result<()> {
    let bootstrap = shaken.cluster.bootstrap();
    let targets = ["copied-by-librdkafka", "copied-by-java"];
    drop(create_topics(
        &bootstrap,
        &["input", targets[0], targets[1]],
    )?);
    let count = COPIED.to_string();
    let directory = tempfile::tempdir()?;
    let mut members = Vec::new();
    for name in ["librdkafka-1", "librdkafka-2"] {
        let mut python = tools::python("transaction_copy.py");
        python.args(["copy", &bootstrap, "input", targets[0], &count, name]);
        members.push((name, Process::start(python, directory.path(), name)?));
    }
    let mut java = Command::new("java");
    java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-cp", &tools::class_path("kafka-3.9")])
        .arg(tools::root().join("integration/java/ConsumeTransformProduce.java"))
        .args([&bootstrap, "input", targets[1], &count, "java-1"]);
    members.push(("java", Process::start(java, directory.path(), "java")?));

    // A part of the input before each kill, and one while the broker is away.
    let mut parts = (0..COPIED).step_by(COPIED / PARTS);
    let transactions = || {
        let count = |name: &str| lines(&directory.path().join(format!("{name}.out")));
        (count("librdkafka-1") + count("librdkafka-2"), count("java"))
    };
    for id in shaken.cluster.ids() {
        let before = transactions();
        fill(&bootstrap, parts.next())?;
        wait_for("a transaction of each", DEADLINE, || {
            let now = transactions();
            (now.0 > before.0 && now.1 > before.1).then_some(())
        })
        .with_context(|| errors(directory.path()))?;
        shaken.cluster.broker(id).kill()?;
        fill(&bootstrap, parts.next())?;
        shaken.cluster.end_session(id)?;
        sleep(Duration::from_secs(1));
        shaken.cluster.broker(id).restart()?;
        shaken.tell(&format!("broker {id} was killed and is back"));
    }
    for part in parts {
        fill(&bootstrap, Some(part))?;
    }
    for (name, member) in &mut members {
        let ended = member.wait(DEADLINE);
        let well = ended.as_ref().is_ok_and(std::process::ExitStatus::success);
        anyhow::ensure!(well, "{name}: {ended:?}\n{}", errors(directory.path()));
    }
    for target in targets {
        check_copies(&bootstrap, target)?;
        shaken.tell(&format!("{target}: each of {COPIED} records once"));
    }
    Ok(())
}

/// Writes a part of the input.
fn fill(bootstrap: &str, part: Option<usize>) -> anyhow::Result<()> {
    let first = part.context("a part")?;
    let end = (first + COPIED / PARTS).to_string();
    let mut python = tools::python("transaction_copy.py");
    python.args(["fill", bootstrap, "input", &first.to_string(), &end]);
    command::run(&mut python, b"", DEADLINE).map(drop)
}

fn check_copies(bootstrap: &str, target: &str) -> anyhow::Result<()> {
    let mut python = tools::python("transactions.py");
    python.args(["read", bootstrap, target, "read_committed"]);
    let read = String::from_utf8(command::run(&mut python, b"", DEADLINE)?)?;
    let mut numbers = BTreeSet::new();
    let mut last = BTreeMap::new();
    for line in read.lines() {
        // partition of the copy, number, partition and offset of the original
        let words: Vec<i64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [partition, number, from, offset] = words[..] else {
            anyhow::bail!("not a copy: {line}");
        };
        anyhow::ensure!(partition == from, "{target}: {line}");
        anyhow::ensure!(numbers.insert(number), "{target}: {number} comes twice");
        let before = last.insert(partition, offset).unwrap_or(-1);
        anyhow::ensure!(before < offset, "{target}: {line} after offset {before}");
    }
    let lost = (0..COPIED as i64).find(|number| !numbers.contains(number));
    anyhow::ensure!(
        lost.is_none() && numbers.len() == COPIED,
        "{target}: {} records, {lost:?} is lost",
        numbers.len()
    );
    Ok(())
}

fn create_topics(bootstrap: &str, topics: &[&str]) -> anyhow::Result<Operator> {
    let mut operator = Operator::new(bootstrap)?;
    for topic in topics {
        let assignment = "1:2:3,2:3:1,3:1:2,1:3:2";
        operator.create_topic(topic, assignment, &["min.insync.replicas=2"])?;
    }
    Ok(operator)
}

fn wait_for_lines(
    file: &Path,
    more: usize,
    process: &mut Process,
    directory: &Path,
) -> anyhow::Result<()> {
    let before = lines(file);
    let progress = wait_for("more transactions", DEADLINE, || {
        (lines(file) >= before + more || !process.is_running()).then_some(())
    });
    progress.with_context(|| errors(directory))?;
    anyhow::ensure!(process.is_running(), "it ended\n{}", errors(directory));
    Ok(())
}

fn end(process: &mut Process, directory: &Path) -> anyhow::Result<()> {
    process.signal("TERM")?;
    let status = process.wait(DEADLINE).with_context(|| errors(directory))?;
    anyhow::ensure!(status.success(), "{status}\n{}", errors(directory));
    Ok(())
}

fn lines(path: &Path) -> usize {
    let text = std::fs::read(path).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// The last of what the clients wrote.
fn errors(directory: &Path) -> String {
    let mut all = String::new();
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for file in files {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        all += &format!("== {}\n{tail}\n", file.file_name().display());
    }
    all
}

#[test]
fn the_check_of_a_history_finds_what_is_torn_doubled_aborted_or_swapped() {
    let history = "committed 0 0 0:2 1:1\naborted 0 1 0:1\ncommitted 0 2 1:1";
    let good = "0 0 0 0 0\n0 1 0 0 1\n1 0 0 0 0\n1 2 0 2 0";
    assert!(check_history(history, good).is_ok());
    let torn = "0 0 0 0 0\n0 1 0 0 1\n1 2 0 2 0";
    assert!(check_history(history, torn).is_err());
    let swapped = "0 0 0 0 0\n0 1 0 0 1\n1 0 0 2 0\n1 2 0 0 0";
    assert!(check_history(history, swapped).is_err());
    for more in ["1 3 0 2 0", "0 3 0 1 0", "0 3 3 1 0"] {
        assert!(check_history(history, &format!("{good}\n{more}")).is_err());
    }
    assert!(check_followed("0 0 0 0 0", good).is_ok());
    assert!(check_followed("0 0 0 0 0\n0 0 0 0 0", good).is_err());
    assert!(check_followed("0 3 0 1 0", good).is_err());
}
