//! One directory, opened by Apache Kafka and by us in turn: after clean stops and after kill -9,
//! whoever opens it serves the same bytes, offsets, epochs and producers.

mod files;
mod picture;
mod writer;

use std::time::{Duration, Instant};

use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Load, Program, Zookeeper};
use ottla_record::Compression;
use picture::Questions;
use writer::{Content, Producer};

/// Topics of one partition and their settings.
type Topics = &'static [(&'static str, &'static [(&'static str, &'static str)])];

/// Topics with what they are for.
const TOPICS: Topics = &[
    (
        "segments",
        &[
            ("segment.bytes", "10000"),
            ("index.interval.bytes", "256"),
            ("segment.index.bytes", "4096"),
        ],
    ),
    ("transactions", &[("segment.bytes", "5000")]),
    ("deleted", &[("segment.bytes", "4000")]),
    ("stamped", &[("message.timestamp.type", "LogAppendTime")]),
    (
        "table",
        &[
            ("cleanup.policy", "compact"),
            ("segment.bytes", "4000"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
    ),
];
/// Topics in old formats, where a broker can still write them.
const OLD_TOPICS: Topics = &[
    (
        "format-0",
        &[
            ("message.format.version", "0.9.0"),
            ("segment.bytes", "5000"),
        ],
    ),
    (
        "format-1",
        &[
            ("message.format.version", "0.10.0"),
            ("segment.bytes", "5000"),
        ],
    ),
];
const PROPERTIES: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "1"),
    ("log.flush.start.offset.checkpoint.interval.ms", "300"),
    ("log.initial.task.delay.ms", "500"),
    ("log.retention.check.interval.ms", "500"),
    ("log.cleaner.backoff.ms", "100"),
    ("log.cleaner.dedupe.buffer.size", "4000000"),
];
const GROUPS: &[&str] = &["readers", "others"];
const DEADLINE: Duration = Duration::from_secs(180);
/// A cleaner has begun by then, or has been missed.
const CLEANING_DEADLINE: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 60;
const UNCLEANED_FOR: &str = "min.compaction.lag.ms";
const BATCHES: usize = 12;
const BATCH_RECORDS: usize = 10;
const KEYS: usize = 25;

/// How a broker ends before the next one opens its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Kill,
    /// Killed while the cleaner has written a part of a segment.
    KillInCleaning,
}

#[test]
fn a_directory_that_kafka_wrote_is_the_same_for_both() {
    // Both that inherit, after both ends of both that wrote.
    show(
        Program::Java,
        OLD_TOPICS,
        &[
            (End::Clean, Program::Ottla),
            (End::Kill, Program::Java),
            (End::KillInCleaning, Program::Ottla),
            (End::Clean, Program::Java),
        ],
    );
}

#[test]
fn a_directory_that_we_wrote_is_the_same_for_both() {
    show(
        Program::Ottla,
        &[],
        &[
            (End::KillInCleaning, Program::Java),
            (End::Kill, Program::Ottla),
            (End::Clean, Program::Java),
        ],
    );
}

fn show(first: Program, old_topics: Topics, swaps: &[(End, Program)]) {
    let mut matrix = Matrix::start(first, old_topics).expect("a broker");
    if let Err(error) = matrix.show(swaps) {
        panic!("{error:#}\n{}", matrix.cluster.logs());
    }
}

/// One broker whose program changes.
struct Matrix {
    cluster: Cluster,
    old_topics: Topics,
    files: files::Checker,
    producer: Producer,
    committer: Producer,
    open: Producer,
    questions: Questions,
    /// The highest of any partition.
    leader_epoch: i32,
    rounds: usize,
    started: Instant,
}

impl Matrix {
    fn start(program: Program, old_topics: Topics) -> anyhow::Result<Self> {
        let started = Instant::now();
        let zookeeper = Zookeeper::start()?;
        let mut properties = PROPERTIES.to_vec();
        if !old_topics.is_empty() {
            properties.push(("inter.broker.protocol.version", "2.8"));
        }
        let cluster = Cluster::start_on(zookeeper, &[program], &properties)?;
        let address = cluster.address(1);
        let broker = Direct::connect(&address)?;
        let now = writer::now()?;
        for (topic, configs) in TOPICS.iter().chain(old_topics) {
            writer::create_topic(&broker, topic, configs)?;
        }
        writer::find_coordinator(&broker, "readers", 0)?;
        writer::find_coordinator(&broker, "committer", 1)?;
        let mut topics: Vec<(String, i32)> = TOPICS
            .iter()
            .chain(old_topics)
            .map(|(topic, _)| ((*topic).to_owned(), 1))
            .collect();
        topics.extend([("__consumer_offsets".to_owned(), 2)]);
        topics.extend([("__transaction_state".to_owned(), 1)]);
        let compacted = ["table", "__consumer_offsets", "__transaction_state"];
        Ok(Self {
            producer: Producer::start(&address, None)?,
            committer: Producer::start(&address, Some("committer"))?,
            open: Producer::start(&address, Some("open"))?,
            questions: Questions {
                topics,
                compacted: compacted.map(str::to_owned).into(),
                untimed: ["format-0".to_owned()].into(),
                leader_epochs: 0,
                groups: GROUPS.iter().map(|group| (*group).to_owned()).collect(),
                transactional_ids: ["committer", "open"].map(str::to_owned).into(),
                times: (now - 3_600_000, now),
            },
            cluster,
            old_topics,
            files: files::Checker::start()?,
            leader_epoch: 0,
            rounds: 0,
            started,
        })
    }

    fn show(&mut self, swaps: &[(End, Program)]) -> anyhow::Result<()> {
        self.write()?;
        self.tell("written");
        for (end, program) in swaps {
            let address = self.cluster.address(1);
            let before = self.end(*end)?;
            let broker = self.cluster.broker(1);
            let count = self
                .files
                .check(&broker.log_directory(), *end == End::Clean)?;
            eprintln!("{count} files are sound after a {end:?} end");
            broker.set_program(*program);
            // Old formats are written in the first round, and read for ever.
            broker.set_property("inter.broker.protocol.version", "3.9");
            broker.restart()?;
            self.cluster.wait_until_all_are_registered()?;
            let after = picture::take(&address, &self.questions)?;
            let context = format!("{program:?} after {end:?} end in round {}", self.rounds);
            picture::compare(&before, &after).map_err(|error| error.context(context.clone()))?;
            // An epoch is asked about when it is over: one without records gives way to the next.
            self.questions.leader_epochs = self.leader_epoch;
            self.tell(&format!("{context}: {} answers are equal", after.len()));
            let broker = Direct::connect(&address)?;
            self.producer.check_it_is_known(&broker)?;
            self.open.check_it_is_known(&broker)?;
            self.write()?;
        }
        self.end(End::Clean)?;
        let directory = self.cluster.broker(1).log_directory();
        let count = self.files.check(&directory, true)?;
        self.tell(&format!("{count} files are sound at last"));
        Ok(())
    }

    /// Ends the broker, and tells what it answered last; meanwhile its partitions had an election.
    fn end(&mut self, end: End) -> anyhow::Result<picture::Picture> {
        let address = self.cluster.address(1);
        if end != End::Clean {
            // Kafka does not promise that deleted records stay so before this is written.
            let logs = self.cluster.broker(1).log_directory();
            let line = format!("\ndeleted 0 {}\n", self.deleted());
            wait_for("a checkpoint of log starts", DEADLINE, || {
                let path = logs.join("log-start-offset-checkpoint");
                let text = std::fs::read_to_string(path).ok()?;
                text.contains(&line).then_some(())
            })?;
        }
        let before = match end {
            End::Clean | End::Kill => picture::take(&address, &self.questions)?,
            End::KillInCleaning => self.stop_in_cleaning()?,
        };
        if end == End::Clean {
            self.cluster.broker(1).stop()?;
        } else {
            self.cluster.broker(1).kill()?;
            // Kafka does not start beside its own dead session.
            self.cluster.end_session(1)?;
        }
        if end == End::KillInCleaning {
            let half_done = files::half_cleaned(&self.cluster.broker(1).log_directory())?;
            anyhow::ensure!(!half_done.is_empty(), "the cleaner was not at work");
            eprintln!("killed at {half_done:?}");
        }
        self.elect()?;
        Ok(before)
    }

    /// Freezes the broker with a segment half rewritten; what it answered shortly before.
    fn stop_in_cleaning(&mut self) -> anyhow::Result<picture::Picture> {
        let address = self.cluster.address(1);
        let logs = self.cluster.broker(1).log_directory();
        let is_cleaning = || files::is_half_cleaned(&logs.join("table-0")).unwrap_or(false);
        let checkpoint = || {
            let text = std::fs::read_to_string(logs.join("cleaner-offset-checkpoint")).ok()?;
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix("table 0 ").map(str::to_owned))
        };
        for attempt in 0..ATTEMPTS {
            // What is written now is cleaned when that is wanted, not before.
            let broker = Direct::connect(&address)?;
            writer::set_topic_config(&broker, "table", UNCLEANED_FOR, "3600000")?;
            for batch in 0..BATCHES {
                let records = contents(self.rounds, attempt * BATCHES + batch);
                let time = self.questions.times.1;
                let codec = Compression::None;
                self.producer
                    .write(&broker, "table", codec, &records, time)?;
            }
            let before = picture::take(&address, &self.questions)?;
            let clean = checkpoint();
            writer::set_topic_config(&broker, "table", UNCLEANED_FOR, "0")?;
            let process = self.cluster.broker(1).process()?;
            let end = Instant::now() + CLEANING_DEADLINE;
            // Without a pause: a small segment is rewritten within milliseconds.
            for look in 1.. {
                if is_cleaning() {
                    process.signal("STOP")?;
                    // It may have been just done.
                    if is_cleaning() {
                        return Ok(before);
                    }
                    process.signal("CONT")?;
                }
                // The cleaner tells that it has come to its end.
                let is_missed = look % 100 == 0 && checkpoint() != clean;
                if is_missed || Instant::now() > end {
                    break;
                }
            }
        }
        anyhow::bail!("the cleaner never was at work")
    }

    /// Gives every partition a new leader epoch while its broker is away.
    fn elect(&mut self) -> anyhow::Result<()> {
        for (topic, partitions) in &self.questions.topics {
            for partition in 0..*partitions {
                let path = format!("/brokers/topics/{topic}/partitions/{partition}/state");
                let epoch = self
                    .cluster
                    .leader_epoch(topic, u32::try_from(partition)?)?;
                let state = self.cluster.znodes().get(&path)?.unwrap_or_default();
                let next = state.replace(
                    &format!("\"leader_epoch\":{epoch}"),
                    &format!("\"leader_epoch\":{}", epoch + 1),
                );
                anyhow::ensure!(next != state, "{state}");
                self.cluster.znodes().set(&path, next)?;
                self.leader_epoch = self.leader_epoch.max(epoch + 1);
            }
        }
        Ok(())
    }

    /// One more round of everything.
    fn write(&mut self) -> anyhow::Result<()> {
        let broker = Direct::connect(&self.cluster.address(1))?;
        self.rounds += 1;
        let round = self.rounds;
        let codecs = [
            Compression::None,
            Compression::Gzip { level: -1 },
            Compression::Snappy,
            Compression::Lz4 { level: 9 },
            Compression::Zstd { level: 3 },
        ];
        let (from, to) = self.questions.times;
        let step = (to - from) / 10 / BATCHES as i64;
        for i in 0..BATCHES {
            let time = from + ((round * BATCHES + i) as i64) * step;
            let codec = codecs[i % codecs.len()];
            let records = contents(round, i);
            for topic in ["segments", "deleted", "stamped", "table"] {
                self.producer.write(&broker, topic, codec, &records, time)?;
            }
            for (topic, _) in self.old_topics {
                let old = match codec {
                    Compression::Zstd { .. } => Compression::None,
                    codec => codec,
                };
                writer::write_plain(&broker, topic, old, &records, time)?;
            }
            let topics = ["transactions", "table"];
            for topic in topics {
                self.committer
                    .write(&broker, topic, codec, &records[..3], time)?;
            }
            self.committer.end(&broker, i % 3 != 1)?;
            if i == 0 && round > 1 {
                self.open.end(&broker, round.is_multiple_of(2))?;
            }
            if i == BATCHES - 3 {
                // Stays open until the next round.
                self.open
                    .write(&broker, "transactions", codec, &records, time)?;
            }
            writer::commit(&broker, GROUPS[i % 2], "segments", (round * 100 + i) as i64)?;
        }
        writer::delete_records(&broker, "deleted", self.deleted())?;
        // A segment of deleted records hides later ones from a look-up by time until it is gone.
        let (directory, start) = (self.cluster.broker(1).log_directory(), self.deleted());
        wait_for("the end of deleted segments", DEADLINE, || {
            let bases = files::segments(&directory.join("deleted-0")).ok()?;
            bases.get(1).is_none_or(|base| *base > start).then_some(())
        })
    }

    /// Where the log with deleted records starts: within a batch.
    fn deleted(&self) -> i64 {
        ((self.rounds * BATCHES - BATCHES / 2) * BATCH_RECORDS - 3) as i64
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.started.elapsed().as_secs_f64());
    }
}

/// Keys that come again, some of them with tombstones.
fn contents(round: usize, batch: usize) -> Vec<Content> {
    (0..BATCH_RECORDS)
        .map(|i| {
            let number = batch * BATCH_RECORDS + i;
            let key = format!("key-{}", number * 7 % KEYS);
            let value = format!("round {round} number {number} {}", "x".repeat(number % 60));
            (Some(key), (number % 11 != 5).then_some(value))
        })
        .collect()
}

#[test]
fn five_swaps_under_an_idempotent_producer_lose_and_duplicate_nothing() {
    let started = Instant::now();
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    let properties = [PROPERTIES, &[("log.segment.bytes", "1000000")]].concat();
    let mut cluster =
        Cluster::start_on(zookeeper, &[Program::Java], &properties).expect("a Java broker");
    let files = files::Checker::start().expect("tools");
    let broker = Direct::connect(&cluster.address(1)).expect("a connection");
    writer::create_topic(&broker, "load", &[]).expect("a topic");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    // Consumers find their coordinator when they like: they are waited for at both ends only.
    let appended = || {
        let before = load.progress().acknowledged;
        wait_for("appended records", DEADLINE, || {
            (load.progress().acknowledged > before + 100).then_some(())
        })
    };
    load.wait_for_progress()
        .expect("a producer and a consumer at work");
    let mut swap = |program| -> anyhow::Result<()> {
        appended()?;
        let broker = cluster.broker(1);
        broker.stop()?;
        let count = files.check(&broker.log_directory(), true)?;
        broker.set_program(program);
        broker.restart()?;
        appended()?;
        let elapsed = started.elapsed().as_secs_f64();
        eprintln!("{elapsed:6.1} s: {program:?} after {count} sound files");
        Ok(())
    };
    for (i, program) in [Program::Ottla, Program::Java]
        .into_iter()
        .cycle()
        .take(5)
        .enumerate()
    {
        swap(program).unwrap_or_else(|error| panic!("swap {}: {error:#}", i + 1));
    }
    load.wait_for_progress()
        .expect("a producer and a consumer at work");
    let records = load
        .finish(&cluster.log_directories())
        .expect("nothing lost, nothing twice");
    eprintln!("{records} records in {:?}", started.elapsed());
    cluster.broker(1).stop().expect("a clean stop");
    let directory = cluster.broker(1).log_directory();
    files.check(&directory, true).expect("sound files");
}
