//! `kafka-transactions` of release 3.9.1 prints against three brokers, whatever their transactions
//! are at, what it prints against three brokers of Apache Kafka 3.9.1 in the same state.
//!
//! To record anew: `OTTLA_RECORD=1 cargo test -p ottla-integration --test transaction_tools`; the
//! brokers are then those of Apache Kafka.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProducerId, TopicName, TransactionalId,
};
use ottla_integration::direct::produce_error;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Output, Program, ToolServer, Zookeeper, command, tools};
use ottla_model::{ProducerEpoch, Timestamp};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use ottla_record::RecordBatchBuilder;
use regex::Regex;

const TRANSCRIPT: &str = "transaction-tools.txt";
const PROPERTIES: &[(&str, &str)] = &[
    ("auto.leader.rebalance.enable", "false"),
    ("auto.create.topics.enable", "false"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("offsets.topic.num.partitions", "1"),
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "500",
    ),
    // As in the releases that let transactions hang.
    ("transaction.partition.verification.enable", "false"),
];
const PATIENCE: Duration = Duration::from_secs(180);
const DEADLINE: Duration = Duration::from_secs(180);
const STATE: &str = "__transaction_state";
const TOPIC: &str = "ledger";
/// A topic whose only replica is on the last broker.
const SOLO: &str = "solo";
/// The broker that is stopped for a while.
const LAST: u32 = 3;
/// Records seem to be an hour old, so that the tool takes their transactions for candidates.
const AGE_MS: i64 = 3_600_000;

#[test]
fn kafka_transactions_prints_what_it_prints_against_kafka() {
    let mut session = Session::start().expect("a cluster");
    let chapters: [fn(&mut Session) -> anyhow::Result<()>; 6] =
        [nothing, all_states, prepared, hanging, aborted, expired];
    for chapter in chapters {
        if let Err(error) = chapter(&mut session) {
            panic!("{error:#}\n{}\n{}", session.text, session.cluster.logs());
        }
    }
    let cluster = session.finish().unwrap_or_else(|error| panic!("{error:#}"));
    drop(cluster);
}

/// No transactional id was ever used.
fn nothing(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("nothing");
    session.note("kafka-transactions list")?;
    session.note("kafka-transactions list --duration-filter 0")?;
    session.note("kafka-transactions describe --transactional-id nobody")?;
    session.note("kafka-transactions describe-producers --topic ledger --partition 0")?;
    for id in 1..=3 {
        session.note(&format!(
            "kafka-transactions describe-producers --topic solo --partition 0 --broker-id {id}"
        ))?;
    }
    session
        .note("kafka-transactions describe-producers --topic nosuch --partition 0 --broker-id 1")?;
    session.note("kafka-transactions find-hanging --broker-id 1")?;
    session.note("kafka-transactions find-hanging --topic ledger")?;
    session.note("kafka-transactions find-hanging --topic ledger --partition 1")?;
    session.note("kafka-transactions find-hanging --topic nosuch")?;
    session.note("kafka-transactions find-hanging")?;
    session.note("kafka-transactions find-hanging --partition 1 --broker-id 1")?;
    session.note("kafka-transactions abort --topic ledger --partition 0")?;
    session.note("kafka-transactions abort --topic ledger --partition 0 --start-offset 0")?;
    session.note("kafka-transactions abort --topic ledger --partition 0 --producer-id 1")?;
    session.note(
        "kafka-transactions abort --topic ledger --partition 0 --producer-id 1 --producer-epoch 0",
    )?;
    Ok(())
}

/// One transactional id in each state that lasts, two of them with fenced epochs.
fn all_states(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("states");
    session.begin("empty", 60_000)?;

    let mut ongoing = session.begin("ongoing", 600_000)?;
    for partition in 0..2 {
        session.add(&ongoing, TOPIC, partition)?;
        session.write(&mut ongoing, TOPIC, partition, 3)?;
    }
    session.keep(ongoing);

    for (id, commit) in [("committed", true), ("aborted", false)] {
        let mut writer = session.begin(id, 60_000)?;
        for partition in 0..3 {
            session.add(&writer, TOPIC, partition)?;
            session.write(&mut writer, TOPIC, partition, 2)?;
        }
        session.end(&writer, commit)?;
        let complete = if commit {
            "CompleteCommit"
        } else {
            "CompleteAbort"
        };
        session.note_when(&describe(id), |out| out.contains(complete))?;
        session.keep(writer);
    }

    let mut fenced = session.begin("fenced", 60_000)?;
    session.add(&fenced, TOPIC, 2)?;
    session.write(&mut fenced, TOPIC, 2, 1)?;
    session.begin("fenced", 30_000)?;

    // Its time runs when its coordinator knows of it.
    let mut late = session.begin("timed-out", 1000)?;
    session.write(&mut late, TOPIC, 2, 1)?;
    session.add(&late, TOPIC, 2)?;
    session.note_when(&describe("timed-out"), |out| out.contains("CompleteAbort"))?;

    session.note("kafka-transactions list")?;
    session.note("kafka-transactions list --duration-filter -1")?;
    session.note("kafka-transactions list --duration-filter 0")?;
    session.note("kafka-transactions list --duration-filter 3000000")?;
    for id in ["empty", "ongoing", "fenced"] {
        session.note(&describe(id))?;
    }
    session.describe_producers()?;
    // What its coordinator knows of does not hang, however long it takes.
    session.find_hanging()
}

/// Markers cannot be written while a leader is away.
fn prepared(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("prepared");
    let mut writers = Vec::new();
    for (id, commit) in [("commits", true), ("aborts", false)] {
        let mut writer = session.begin(id, 600_000)?;
        session.add(&writer, SOLO, 0)?;
        session.write(&mut writer, SOLO, 0, 2)?;
        session.add(&writer, TOPIC, 0)?;
        session.write(&mut writer, TOPIC, 0, 1)?;
        writers.push((writer, commit));
    }
    session.cluster.broker(LAST).stop()?;
    for partition in 0..3 {
        session.cluster.wait_for_isr(STATE, partition, &[1, 2])?;
        session.cluster.wait_for_isr(TOPIC, partition, &[1, 2])?;
    }
    for (writer, commit) in &writers {
        session.end(writer, *commit)?;
        let id = &writer.transactional_id;
        // The partition whose leader is there has its marker.
        session.note_when(&describe(id), |out| {
            out.contains("solo-0") && !out.contains("ledger-0")
        })?;
    }
    session.note("kafka-transactions list")?;
    session.note("kafka-transactions describe-producers --topic ledger --partition 0")?;
    session.cluster.broker(LAST).restart()?;
    session.cluster.wait_until_all_are_registered()?;
    for partition in 0..3 {
        session.cluster.wait_for_isr(STATE, partition, &[1, 2, 3])?;
        session.cluster.wait_for_isr(TOPIC, partition, &[1, 2, 3])?;
    }
    for (writer, commit) in &writers {
        let complete = if *commit {
            "CompleteCommit"
        } else {
            "CompleteAbort"
        };
        session.note_when(&describe(&writer.transactional_id), |out| {
            out.contains(complete)
        })?;
    }
    session.note("kafka-transactions list")?;
    session.note("kafka-transactions describe-producers --topic solo --partition 0")?;
    // The coordinator that was away has lost what only memory had.
    session.note(&describe("fenced"))?;
    session.note(&describe("ongoing"))?;
    session.describe_producers()
}

/// Records come late, or from nobody: no coordinator is going to end their transactions.
fn hanging(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("hanging");
    // After its transaction was committed, with the same epoch.
    let mut late = session.kept("committed")?;
    session.write(&mut late, TOPIC, 0, 1)?;
    session.keep(late);
    // To a partition that is no part of the transaction.
    let mut ongoing = session.kept("ongoing")?;
    session.write(&mut ongoing, TOPIC, 2, 1)?;
    session.keep(ongoing);
    // By a producer that no coordinator has ever heard of.
    let mut stranger = Writer::new("stranger", 4242, 3);
    session.write(&mut stranger, TOPIC, 1, 2)?;
    session.keep(stranger);

    session.describe_producers()?;
    session.find_hanging()?;
    session.note("kafka-transactions find-hanging --topic ledger --partition 1")?;
    session
        .note("kafka-transactions find-hanging --topic ledger --max-transaction-timeout 1000")?;
    session.note("kafka-transactions find-hanging --topic ledger --max-transaction-timeout 0")?;
    session.read_committed()
}

/// An operator ends the transactions that hang.
fn aborted(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("abort");
    // By its start: what came after a commit.
    let offset = session.kept_offset("committed", 0)?;
    for offset in [offset + 1, offset] {
        session.note(&format!(
            "kafka-transactions abort --topic ledger --partition 0 --start-offset {offset}"
        ))?;
    }
    // By its producer, with epochs of the past first.
    let ongoing = session.kept("ongoing")?;
    let (id, epoch) = (ongoing.id, ongoing.epoch);
    session.keep(ongoing);
    for (id, epoch, coordinator) in [
        (4242, 2, 0),
        (4242, 3, -1),
        (4242, 3, -1),
        (4242, 2, 0),
        (id, epoch, 7),
        (id, epoch, 6),
    ] {
        let partition = if id == 4242 { 1 } else { 2 };
        session.note(&format!(
            "kafka-transactions abort --topic ledger --partition {partition} \
             --producer-id {id} --producer-epoch {epoch} --coordinator-epoch {coordinator}"
        ))?;
    }
    session.describe_producers()?;
    session.find_hanging()?;
    session.note(&describe("ongoing"))?;
    session.read_committed()?;

    // The partitions that its coordinator knows of have waited for it.
    let ongoing = session.kept("ongoing")?;
    session.end(&ongoing, true)?;
    session.note_when(&describe("ongoing"), |out| out.contains("CompleteCommit"))?;
    session.read_committed()?;
    session.describe_producers()
}

/// Transactional ids are forgotten; what comes from them then is nobody's.
fn expired(session: &mut Session) -> anyhow::Result<()> {
    session.chapter("expired");
    let mut held = session.begin("held", 600_000)?;
    session.add(&held, TOPIC, 0)?;
    session.write(&mut held, TOPIC, 0, 1)?;
    for id in session.cluster.ids() {
        let broker = session.cluster.broker(id);
        broker.stop()?;
        for (key, value) in [
            ("transactional.id.expiration.ms", "1000"),
            (
                "transaction.remove.expired.transaction.cleanup.interval.ms",
                "500",
            ),
            ("transaction.partition.verification.enable", "true"),
        ] {
            broker.set_property(key, value);
        }
        broker.restart()?;
        session.cluster.wait_until_all_are_registered()?;
        for partition in 0..3 {
            session.cluster.wait_for_isr(STATE, partition, &[1, 2, 3])?;
            session.cluster.wait_for_isr(TOPIC, partition, &[1, 2, 3])?;
        }
    }
    session.note_when("kafka-transactions list", |out| out.lines().count() == 2)?;
    session.note(&describe("committed"))?;
    session.note(&describe("held"))?;
    session.find_hanging()?;
    // Partitions are verified now: who is no part of a transaction cannot write.
    let mut late = session.kept("committed")?;
    session.write(&mut late, TOPIC, 0, 1)?;
    session.write(&mut held, TOPIC, 1, 1)?;
    session.add(&held, TOPIC, 1)?;
    session.write(&mut held, TOPIC, 1, 1)?;
    session.end(&held, false)?;
    session.note_when("kafka-transactions list", |out| out.lines().count() == 1)?;
    session.read_committed()?;
    session.find_hanging()
}

fn describe(id: &str) -> String {
    format!("kafka-transactions describe --transactional-id {id}")
}

/// A producer that sends what it is told to.
struct Writer {
    transactional_id: String,
    id: i64,
    epoch: i16,
    /// By topic and partition: the next sequence number, and the offset of the last batch.
    written: BTreeMap<(String, i32), (i32, i64)>,
}

impl Writer {
    fn new(transactional_id: &str, id: i64, epoch: i16) -> Self {
        Self {
            transactional_id: transactional_id.to_owned(),
            id,
            epoch,
            written: BTreeMap::new(),
        }
    }
}

/// Commands and requests to a cluster, written down with their answers.
struct Session {
    cluster: Cluster,
    tools: ToolServer,
    bootstrap: String,
    /// Settings of a client that does not wait for what never comes.
    impatient: tempfile::NamedTempFile,
    kept: BTreeMap<String, Writer>,
    text: String,
    noise: Vec<(Regex, &'static str)>,
}

impl Session {
    fn start() -> anyhow::Result<Self> {
        let program = if is_recording() {
            Program::Java
        } else {
            Program::Ottla
        };
        let cluster = Cluster::start_on(Zookeeper::start()?, &[program; 3], PROPERTIES)?;
        let noise = [
            (r"\b\d{13}\b", "MILLIS"),
            // How long transactions have taken: so far, and since their last record.
            (r"(MILLIS +\t)\d+", "${1}DURATION"),
            (r"(MILLIS\t)[6-9][0-9]\b", "${1}HOUR"),
            (r"127\.0\.0\.1:\d+", "BROKER"),
            (r"(?m)^\[?\d{4}-\d\d-\d\d[T ].*(ERROR|WARN|INFO).*\n", ""),
            // Columns are as wide as the longest entry.
            (r" {2,}", "  "),
        ];
        let noise = noise
            .into_iter()
            .map(|(pattern, with)| Ok((Regex::new(pattern)?, with)))
            .collect::<Result<_, regex::Error>>()?;
        // The epochs of coordinators tell how often the controller changed while brokers were away.
        while cluster.controller()? != 1 {
            cluster.znodes().delete("/controller")?;
        }
        let bootstrap = cluster.bootstrap();
        let mut impatient = tempfile::NamedTempFile::new()?;
        impatient.write_all(b"default.api.timeout.ms=5000\nrequest.timeout.ms=5000\n")?;
        let mut session = Self {
            cluster,
            tools: ToolServer::start("kafka-3.9")?,
            bootstrap,
            impatient,
            kept: BTreeMap::new(),
            text: String::new(),
            noise,
        };
        let spread = "1:2:3,2:3:1,3:1:2";
        for (topic, assignment, configs) in [
            (STATE, spread, "cleanup.policy=compact"),
            (TOPIC, spread, "min.insync.replicas=2"),
            (SOLO, "3", "min.insync.replicas=1"),
        ] {
            let created = session.run(&format!(
                "kafka-topics --create --topic {topic} --replica-assignment {assignment} \
                 --config {configs}"
            ))?;
            created.success()?;
        }
        for partition in 0..3 {
            session.cluster.wait_for_isr(STATE, partition, &[1, 2, 3])?;
            session.cluster.wait_for_isr(TOPIC, partition, &[1, 2, 3])?;
        }
        Ok(session)
    }

    fn chapter(&mut self, title: &str) {
        eprintln!("{title}");
        self.text += &format!("\n# {title}\n");
    }

    /// Runs a command line and writes down what it prints; lines come in the order of hash tables
    /// and of brokers' answers, and are sorted.
    fn note(&mut self, line: &str) -> anyhow::Result<()> {
        let output = self.run(line)?;
        self.write_down(line, &output)
    }

    /// The same, with the first output that passes a test.
    fn note_when(&mut self, line: &str, passes: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let output = self.run(line)?;
            if passes(&output.out) || Instant::now() > end {
                return self.write_down(line, &output);
            }
        }
    }

    fn write_down(&mut self, line: &str, output: &Output) -> anyhow::Result<()> {
        writeln!(self.text, "$ {line}")?;
        for text in [&output.out, &output.err] {
            let mut text = text.replace('\r', "");
            for (pattern, with) in &self.noise {
                text = pattern.replace_all(&text, *with).into_owned();
            }
            let stack = |line: &&str| line.starts_with("\tat ") || line.starts_with("\t... ");
            let mut lines: Vec<&str> = text
                .lines()
                .map(str::trim_end)
                .filter(|line| !line.is_empty() && !stack(line))
                .collect();
            // The heading stays in front.
            if let Some((_, rows)) = lines.split_first_mut() {
                rows.sort_unstable();
            }
            for line in lines {
                writeln!(self.text, "{line}")?;
            }
        }
        writeln!(self.text, "-> {}", output.code)?;
        Ok(())
    }

    fn run(&mut self, line: &str) -> anyhow::Result<Output> {
        let mut words = line.split_whitespace();
        let class = match words.next().context("an empty line")? {
            "kafka-transactions" => "org.apache.kafka.tools.TransactionsCommand",
            "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
            script => anyhow::bail!("no such script: {script}"),
        };
        // A tool may ask any of them.
        self.cluster.wait_until_brokers_agree()?;
        let impatient = self.impatient.path().display().to_string();
        let mut arguments = vec!["--bootstrap-server", &self.bootstrap];
        arguments.extend(words.map(|word| match word {
            "@impatient" => impatient.as_str(),
            word => word,
        }));
        self.tools.run(class, &arguments)
    }

    /// Writes down what read_committed shows of each partition.
    fn read_committed(&mut self) -> anyhow::Result<()> {
        let mut python = tools::python("transactions.py");
        python.args(["read", &self.bootstrap, TOPIC, "read_committed"]);
        let read = String::from_utf8(command::run(&mut python, b"", DEADLINE)?)?;
        let mut lines: Vec<&str> = read.lines().collect();
        // The order within each partition stays.
        lines.sort_by_key(|line| line.split(' ').next());
        writeln!(self.text, "> read_committed\n{}", lines.join("\n"))?;
        Ok(())
    }

    /// What each replica, and the leader, knows of the producers of each partition.
    fn describe_producers(&mut self) -> anyhow::Result<()> {
        for partition in 0..3 {
            let line = format!(
                "kafka-transactions describe-producers --topic ledger --partition {partition}"
            );
            self.note(&line)?;
            self.note(&format!("{line} --broker-id {}", 1 + (partition + 1) % 3))?;
        }
        Ok(())
    }

    fn find_hanging(&mut self) -> anyhow::Result<()> {
        for id in 1..=3 {
            self.note(&format!("kafka-transactions find-hanging --broker-id {id}"))?;
        }
        self.note("kafka-transactions find-hanging --topic ledger")
    }

    /// The coordinator of a transactional id.
    fn coordinator(&self, id: &str) -> anyhow::Result<Direct> {
        let request = FindCoordinatorRequest::default()
            .with_key(id.to_owned().into())
            .with_key_type(1);
        let broker = Direct::connect(&self.cluster.address(1))?;
        let found = until_done("a coordinator", || {
            let response = broker.send(&request, 3)?;
            Ok((response.error_code, response))
        })?;
        Direct::connect(&format!("{}:{}", found.host.as_str(), found.port))
    }

    /// Gives a transactional id a producer with a new epoch.
    fn begin(&mut self, id: &str, timeout_ms: i32) -> anyhow::Result<Writer> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional(id)))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = until_done("a producer id", || {
            let response = self.coordinator(id)?.send(&request, 4)?;
            Ok((response.error_code, response))
        })?;
        Ok(Writer::new(
            id,
            response.producer_id.0,
            response.producer_epoch,
        ))
    }

    /// Makes a partition part of the transaction.
    fn add(&self, writer: &Writer, topic: &str, partition: i32) -> anyhow::Result<()> {
        let topics = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(topic.to_owned().into()))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional(&writer.transactional_id))
            .with_v3_and_below_producer_id(ProducerId(writer.id))
            .with_v3_and_below_producer_epoch(writer.epoch)
            .with_v3_and_below_topics(vec![topics]);
        until_done("a partition in a transaction", || {
            let coordinator = self.coordinator(&writer.transactional_id)?;
            let response = coordinator.send(&request, 3)?;
            let results = &response.results_by_topic_v3_and_below;
            Ok((results[0].results_by_partition[0].partition_error_code, ()))
        })
    }

    /// Sends a batch as part of a transaction, whatever coordinators think, and writes down the
    /// answer.
    fn write(
        &mut self,
        writer: &mut Writer,
        topic: &str,
        partition: i32,
        records: i32,
    ) -> anyhow::Result<()> {
        let key = (topic.to_owned(), partition);
        let (sequence, _) = writer.written.get(&key).copied().unwrap_or((0, 0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let time = Timestamp(i64::try_from(now)? - AGE_MS);
        let mut builder = RecordBatchBuilder::new(0)
            .producer(
                ottla_model::ProducerId(writer.id),
                ProducerEpoch(writer.epoch),
                sequence,
            )
            .transactional(true);
        for index in 0..records {
            let value = format!("{}-{}", writer.transactional_id, sequence + index);
            builder.append(time, None, Some(value.as_bytes()))?;
        }
        let request = ProduceRequest {
            transactional_id: Some(writer.transactional_id.clone().into()),
            acks: -1,
            timeout_ms: 30_000,
            topics: vec![ProduceTopic {
                name: topic.to_owned().into(),
                partitions: vec![ProducePartition {
                    index: partition,
                    records: Some(builder.build()?),
                }],
            }],
        };
        let mut last = (-1, -1);
        wait_for("an answer of the leader", DEADLINE, || {
            let leader = self.cluster.leader(topic, u32::try_from(partition).ok()?);
            let broker = Direct::connect(&self.cluster.address(leader.ok()?)).ok()?;
            let response = broker.produce_as(&request).ok()?;
            let answer = &response.responses.first()?.partition_responses.first()?;
            last = (produce_error(&response).ok()?, answer.base_offset);
            (!PASSING.contains(&last.0)).then_some(())
        })
        .with_context(|| format!("the last answer: {last:?}"))?;
        let (error, offset) = last;
        writeln!(
            self.text,
            "> {} writes to {topic}-{partition} at {offset}, error {error}",
            writer.transactional_id
        )?;
        if error == NONE {
            writer.written.insert(key, (sequence + records, offset));
        }
        Ok(())
    }

    fn end(&self, writer: &Writer, commit: bool) -> anyhow::Result<()> {
        let id = &writer.transactional_id;
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(ProducerId(writer.id))
            .with_producer_epoch(writer.epoch)
            .with_committed(commit);
        until_done("the end of a transaction", || {
            Ok((self.coordinator(id)?.send(&request, 3)?.error_code, ()))
        })
    }

    /// Keeps a producer for later chapters.
    fn keep(&mut self, writer: Writer) {
        self.kept.insert(writer.transactional_id.clone(), writer);
    }

    fn kept(&mut self, id: &str) -> anyhow::Result<Writer> {
        self.kept.remove(id).with_context(|| format!("no {id}"))
    }

    /// Where the last batch of a kept producer begins.
    fn kept_offset(&self, id: &str, partition: i32) -> anyhow::Result<i64> {
        let writer = self.kept.get(id).with_context(|| format!("no {id}"))?;
        let written = writer.written.get(&(TOPIC.to_owned(), partition));
        Ok(written.context("nothing written")?.1)
    }

    /// Compares the session with the recorded one, or records it.
    fn finish(self) -> anyhow::Result<Cluster> {
        let golden = tools::root().join("integration/golden").join(TRANSCRIPT);
        if is_recording() {
            std::fs::write(golden, self.text)?;
            return Ok(self.cluster);
        }
        let file = tools::root().join("target").join(TRANSCRIPT);
        std::fs::write(&file, &self.text)?;
        let expected = std::fs::read_to_string(golden)?;
        let lines: Vec<&str> = self.text.lines().collect();
        let mut command = "";
        for (index, line) in expected.lines().enumerate() {
            if line.starts_with("$ ") {
                command = line;
            }
            anyhow::ensure!(
                lines.get(index) == Some(&line),
                "line {}, {command}\nKafka: {line:?}\nottla: {:?}\nwhole: {}\n{}",
                index + 1,
                lines.get(index),
                file.display(),
                self.cluster.logs()
            );
        }
        anyhow::ensure!(expected == self.text, "more: {}", file.display());
        Ok(self.cluster)
    }
}

fn is_recording() -> bool {
    std::env::var_os("OTTLA_RECORD").is_some()
}

const NONE: i16 = 0;
/// Unknown topic, no leader, not the leader, coordinator errors, no broker known yet, a
/// transaction that ends.
const PASSING: [i16; 8] = [3, 5, 6, 14, 15, 16, 38, 51];

/// Repeats what fails with an error that passes, such as a leader that is not there yet.
fn until_done<T>(
    what: &str,
    mut attempt: impl FnMut() -> anyhow::Result<(i16, T)>,
) -> anyhow::Result<T> {
    let mut last = None;
    let done = wait_for(what, DEADLINE, || match attempt() {
        Ok((NONE, value)) => Some(Ok(value)),
        Ok((error, _)) if PASSING.contains(&error) => {
            last = Some(error);
            None
        }
        Ok((error, _)) => Some(Err(anyhow::anyhow!("error {error}"))),
        Err(error) => Some(Err(error)),
    });
    done.with_context(|| format!("{what}: last error {last:?}"))?
        .with_context(|| what.to_owned())
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(id.to_owned().into())
}
