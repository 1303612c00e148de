//! MirrorMaker 2 between our cluster and one of Apache Kafka, both ways: records, topic configs
//! and the positions of consumer groups.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::free_port::free_port;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Output, Process, Program, ToolServer, Zookeeper, command, tools};

const DEADLINE: Duration = Duration::from_secs(400);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const RECORDS: usize = 1000;
const READ: usize = 600;
const PROPERTIES: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "4"),
    ("offsets.topic.num.partitions", "4"),
];

/// A cluster and the topic that is mirrored to the other one.
struct Side {
    name: &'static str,
    cluster: Cluster,
}

impl Side {
    fn start(name: &'static str, program: Program) -> anyhow::Result<Self> {
        let cluster = Cluster::start_on(Zookeeper::start()?, &[program], PROPERTIES)?;
        Ok(Self { name, cluster })
    }

    fn topic(&self) -> String {
        format!("of-{}", self.name)
    }

    fn group(&self) -> String {
        format!("readers-of-{}", self.name)
    }
}

#[test]
fn mirror_maker_mirrors_between_our_cluster_and_a_java_one_both_ways() {
    let ours = Side::start("ours", Program::Ottla).expect("our cluster");
    let java = Side::start("java", Program::Java).expect("a Java cluster");
    if let Err(error) = show(&ours, &java) {
        panic!("{error:#}\n{}", ours.cluster.logs());
    }
}

fn show(ours: &Side, java: &Side) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut tools = ToolServer::start("kafka-3.9")?;
    for side in [ours, java] {
        prepare(&mut tools, side)?;
    }
    let directory = tempfile::tempdir()?;
    let mut mirror = start(ours, java, directory.path())?;
    for (from, to) in [(ours, java), (java, ours)] {
        let result = check(&mut tools, from, to, &mut mirror);
        result.with_context(|| {
            let (from, to) = (from.name, to.name);
            format!("{from} to {to}\n{}", tail(directory.path()))
        })?;
        eprintln!(
            "{:6.1} s: {RECORDS} records, configs and positions from {} to {}",
            started.elapsed().as_secs_f64(),
            from.name,
            to.name
        );
    }
    mirror.signal("TERM")?;
    mirror.wait(DEADLINE)?;
    Ok(())
}

/// A topic with settings and records, of which a group has read a part.
fn prepare(tools: &mut ToolServer, side: &Side) -> anyhow::Result<()> {
    let bootstrap = side.cluster.bootstrap();
    let (topic, group) = (side.topic(), side.group());
    let create = [
        "--bootstrap-server",
        &bootstrap,
        "--create",
        "--topic",
        &topic,
        "--partitions",
        "2",
        "--config",
        "retention.ms=123456789",
        "--config",
        "max.message.bytes=765432",
    ];
    tools.run(TOPICS, &create).and_then(Output::success)?;
    let lines: String = (0..RECORDS).map(|i| format!("k{i}:v{i}\n")).collect();
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &bootstrap, "-P", "-t", &topic, "-K:"]);
    command::run(&mut kcat, lines.as_bytes(), DEADLINE)?;
    let count = READ.to_string();
    let read = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        &topic,
        "--group",
        &group,
        "--from-beginning",
        "--max-messages",
        &count,
    ];
    let read = tools.run(CONSUMER, &read).and_then(Output::success)?;
    anyhow::ensure!(read.lines().count() == READ, "{read}");
    Ok(())
}

fn start(ours: &Side, java: &Side, directory: &Path) -> anyhow::Result<Process> {
    let mut text = format!(
        "clusters=ours,java\nreplication.factor=1\n\
         checkpoints.topic.replication.factor=1\nheartbeats.topic.replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\noffset.storage.replication.factor=1\n\
         status.storage.replication.factor=1\nconfig.storage.replication.factor=1\n\
         offset.storage.partitions=2\nstatus.storage.partitions=1\n\
         refresh.topics.interval.seconds=2\nrefresh.groups.interval.seconds=2\n\
         sync.topic.configs.interval.seconds=2\nemit.checkpoints.interval.seconds=1\n\
         sync.group.offsets.enabled=true\nsync.group.offsets.interval.seconds=1\n\
         offset.lag.max=0\noffset.flush.interval.ms=500\n\
         dedicated.mode.enable.internal.rest=true\nlisteners=http://127.0.0.1:{}\n",
        free_port()?
    );
    for (from, to) in [(ours, java), (java, ours)] {
        text += &format!(
            "{0}.bootstrap.servers={1}\n{0}.exactly.once.source.support=enabled\n\
             {0}->{2}.enabled=true\n{0}->{2}.topics={3}\n{0}->{2}.groups={4}\n",
            from.name,
            from.cluster.bootstrap(),
            to.name,
            from.topic(),
            from.group()
        );
    }
    let properties = directory.join("mirror-maker.properties");
    std::fs::write(&properties, text)?;
    let logging = tools::root().join("integration/java/log4j.properties");
    let mut java = Command::new("java");
    java.args(["-Xmx384M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j.configuration=file:{}", logging.display()))
        .args(["-cp", &tools::class_path("connect")])
        .arg("org.apache.kafka.connect.mirror.MirrorMaker")
        .arg(properties);
    Process::start(java, directory, "mirror-maker")
}

fn check(
    tools: &mut ToolServer,
    from: &Side,
    to: &Side,
    mirror: &mut Process,
) -> anyhow::Result<()> {
    let (source, target) = (from.cluster.bootstrap(), to.cluster.bootstrap());
    let mirrored = format!("{}.{}", from.name, from.topic());
    let all = records(&source, &from.topic(), None)?;
    anyhow::ensure!(all.len() == RECORDS, "{} records", all.len());
    let mut found = Vec::new();
    let complete = wait_for("all records", DEADLINE, || {
        found = records(&target, &mirrored, None).ok()?;
        (found.len() >= RECORDS || !mirror.is_running()).then_some(())
    });
    complete.with_context(|| format!("{} records", found.len()))?;
    anyhow::ensure!(sorted(&found) == sorted(&all), "other records");

    let mut described = String::new();
    wait_for("the settings", DEADLINE, || {
        let describe = ["--bootstrap-server", &target, "--describe", "--topic"];
        let output = tools.run(TOPICS, &[&describe[..], &[&mirrored]].concat());
        described = output.and_then(Output::success).ok()?;
        let all = [
            "PartitionCount: 2",
            "retention.ms=123456789",
            "max.message.bytes=765432",
        ];
        all.iter()
            .all(|word| described.contains(word))
            .then_some(())
    })
    .with_context(|| described)?;

    // The group may go on at the other side: it misses nothing, and need not begin again.
    let committed = positions(tools, &source, &from.group(), &from.topic())?;
    let read: i64 = committed.iter().map(|(_, offset)| offset).sum();
    anyhow::ensure!(read == READ as i64, "{committed:?}");
    let mut translated = Vec::new();
    wait_for("the group's positions", DEADLINE, || {
        translated = positions(tools, &target, &from.group(), &mirrored).ok()?;
        let both = committed.iter().all(|(partition, offset)| {
            let mut all = translated.iter();
            *offset == 0 || all.any(|(other, offset)| other == partition && *offset > 0)
        });
        both.then_some(())
    })
    .with_context(|| format!("{committed:?}, {translated:?}"))?;
    for (partition, offset) in committed {
        let unread = records(&source, &from.topic(), Some((partition, offset)))?;
        let place = translated.iter().find(|(other, _)| *other == partition);
        let place = place.map_or((partition, 0), |place| *place);
        let rest = records(&target, &mirrored, Some(place))?;
        let rest: BTreeSet<&String> = rest.iter().collect();
        let missed = unread.iter().find(|record| !rest.contains(record));
        anyhow::ensure!(missed.is_none(), "the group would miss {missed:?}");
    }
    Ok(())
}

/// `partition key value` of each committed record, of all partitions or from a place on.
fn records(bootstrap: &str, topic: &str, from: Option<(i32, i64)>) -> anyhow::Result<Vec<String>> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", bootstrap, "-C", "-t", topic, "-e", "-q"]);
    kcat.args(["-f", "%p %k %s\n", "-X", "isolation.level=read_committed"]);
    match from {
        Some((partition, offset)) => {
            kcat.args(["-p", &partition.to_string(), "-o", &offset.to_string()]);
        }
        None => {
            kcat.args(["-o", "beginning"]);
        }
    }
    let out = String::from_utf8(command::run(&mut kcat, b"", DEADLINE)?)?;
    Ok(out.lines().map(str::to_owned).collect())
}

fn sorted(records: &[String]) -> Vec<&String> {
    let mut all: Vec<_> = records.iter().collect();
    all.sort();
    all
}

/// Partitions of a topic and the offsets that a group has committed there.
fn positions(
    tools: &mut ToolServer,
    bootstrap: &str,
    group: &str,
    topic: &str,
) -> anyhow::Result<Vec<(i32, i64)>> {
    let describe = [
        "--bootstrap-server",
        bootstrap,
        "--describe",
        "--group",
        group,
    ];
    let text = tools.run(GROUPS, &describe).and_then(Output::success)?;
    let mut positions = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [of, named, partition, offset, ..] = words[..]
            && of == group
            && named == topic
            && offset != "-"
        {
            positions.push((partition.parse()?, offset.parse()?));
        }
    }
    Ok(positions)
}

fn tail(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("mirror-maker.err")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
