//! Kafka's own tools, releases 3.9.1 and 4.1.0, print against this broker what they print against
//! Apache Kafka 3.9.1.

use std::io::Write as _;

use ottla_integration::{Broker, Transcript, transcript};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const VERIFIABLE_PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const VERIFIABLE_CONSUMER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const PRODUCER_PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMER_PERFORMANCE: &str = "org.apache.kafka.tools.ConsumerPerformance";
const LEADER_ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const E2E_LATENCY: &str = "org.apache.kafka.tools.EndToEndLatency";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

struct Release {
    jars: &'static str,
    producer: &'static str,
    api_versions: &'static str,
}

#[test]
fn tools_of_3_9_print_what_they_print_against_kafka() {
    run(&Release {
        jars: "kafka-3.9",
        producer: "kafka.tools.ConsoleProducer",
        api_versions: "kafka.admin.BrokerApiVersionsCommand",
    });
}

#[test]
fn tools_of_4_1_print_what_they_print_against_kafka() {
    run(&Release {
        jars: "kafka-4.1",
        producer: "org.apache.kafka.tools.ConsoleProducer",
        api_versions: "org.apache.kafka.tools.BrokerApiVersionsCommand",
    });
}

fn run(release: &Release) {
    let broker;
    let bootstrap = match transcript::record_from() {
        Some(address) => address,
        None => {
            broker = Broker::start(&[]).expect("a broker");
            broker.address()
        }
    };
    session(release, &bootstrap).expect("a session");
}

fn session(release: &Release, bootstrap: &str) -> anyhow::Result<()> {
    let mut t = Transcript::new(release.jars, bootstrap)?;
    // Names differ by release so that both can be recorded from one broker.
    let name = |suffix: &str| format!("{}-{suffix}", release.jars.replace('.', "-"));
    topics(&mut t, &name("topic"))?;
    configs(&mut t, &name("topic"))?;
    credentials(&mut t, &name("user"))?;
    records(&mut t, release, &name("records"))?;
    groups(&mut t, &name("records"), &name("group"))?;
    offsets_and_logs(&mut t, &name("records"))?;
    verifiable(&mut t, &name("verifiable"))?;
    performance(&mut t, &name("performance"))?;
    cluster(&mut t, &name("topic"))?;
    t.note(
        TOPICS,
        &[
            "--bootstrap-server",
            "B",
            "--delete",
            "--topic",
            &name("topic"),
        ],
    )?;
    t.note(
        TOPICS,
        &[
            "--bootstrap-server",
            "B",
            "--describe",
            "--topic",
            &name("topic"),
        ],
    )?;
    t.note(release.api_versions, &["--bootstrap-server", "B"])?;
    t.finish(&format!("{}.txt", release.jars))
}

fn topics(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    let mut run = |rest: &[&str]| t.note(TOPICS, &[&b, rest].concat());
    run(&[
        "--create",
        "--topic",
        topic,
        "--partitions",
        "3",
        "--config",
        "retention.ms=3600000",
    ])?;
    run(&["--create", "--topic", topic])?;
    run(&["--create", "--topic", topic, "--if-not-exists"])?;
    run(&["--create", "--topic", "bad name"])?;
    run(&["--create", "--topic", "t", "--replication-factor", "3"])?;
    run(&["--create", "--topic", "t", "--config", "nosuch=1"])?;
    run(&["--create", "--topic", "t", "--config", "retention.ms=x"])?;
    run(&["--describe", "--topic", topic])?;
    run(&["--alter", "--topic", topic, "--partitions", "4"])?;
    run(&["--alter", "--topic", topic, "--partitions", "2"])?;
    run(&["--alter", "--topic", topic, "--partitions", "4"])?;
    run(&["--describe", "--topic", topic])?;
    run(&["--describe", "--topic", "nosuch"])?;
    run(&["--describe", "--under-replicated-partitions"])?;
    run(&["--describe", "--unavailable-partitions"])?;
    run(&["--describe", "--under-min-isr-partitions"])?;
    run(&["--delete", "--topic", "nosuch"])?;
    run(&[
        "--create",
        "--topic",
        &format!("{topic}-by-hand"),
        "--replica-assignment",
        "0,0",
    ])?;
    run(&["--list", "--exclude-internal"])?;
    Ok(())
}

fn configs(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    let mut run = |rest: &[&str]| t.note(CONFIGS, &[&b, rest].concat());
    let of_topic = ["--entity-type", "topics", "--entity-name", topic];
    run(&[
        &["--alter"],
        &of_topic[..],
        &["--add-config", "max.message.bytes=2000000"],
    ]
    .concat())?;
    run(&[&["--describe"], &of_topic[..]].concat())?;
    run(&[&["--describe", "--all"], &of_topic[..]].concat())?;
    run(&[
        &["--alter"],
        &of_topic[..],
        &["--delete-config", "max.message.bytes"],
    ]
    .concat())?;
    run(&[&["--alter"], &of_topic[..], &["--add-config", "nosuch=1"]].concat())?;
    run(&[
        &["--alter"],
        &of_topic[..],
        &["--add-config", "cleanup.policy=nosuch"],
    ]
    .concat())?;
    run(&[&["--describe"], &of_topic[..]].concat())?;
    let of_broker = ["--entity-type", "brokers", "--entity-name", "0"];
    dynamic(t, &of_broker, "log.retention.ms", "100000000")?;
    let mut run = |rest: &[&str]| t.note(CONFIGS, &[&b, rest].concat());
    run(&[
        &["--alter"],
        &of_broker[..],
        &["--add-config", "broker.id=7"],
    ]
    .concat())?;
    let defaults = ["--entity-type", "brokers", "--entity-default"];
    dynamic(t, &defaults, "log.segment.bytes", "500000000")?;
    let mut run = |rest: &[&str]| t.note(CONFIGS, &[&b, rest].concat());
    let client = ["--entity-type", "clients", "--entity-name", "c"];
    run(&[
        &["--alter"],
        &client[..],
        &["--add-config", "producer_byte_rate=1024000"],
    ]
    .concat())?;
    run(&[&["--describe"], &client[..]].concat())?;
    run(&[
        &["--alter"],
        &client[..],
        &["--delete-config", "producer_byte_rate"],
    ]
    .concat())?;
    run(&[&["--describe"], &client[..]].concat())?;
    Ok(())
}

/// Sets a dynamic broker setting and takes it back; the broker follows a moment after the answer.
fn dynamic(t: &mut Transcript, entity: &[&str], key: &str, value: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    let set = format!("{key}={value}");
    let shown = format!("{set} sensitive");
    for (change, has) in [
        (["--add-config", &set], true),
        (["--delete-config", key], false),
    ] {
        t.note(
            CONFIGS,
            &[&b[..], &["--alter"], entity, &change[..]].concat(),
        )?;
        t.note_when(
            CONFIGS,
            &[&b[..], &["--describe"], entity].concat(),
            |out| out.contains(if has { &shown } else { key }) == has,
        )?;
    }
    Ok(())
}

/// SCRAM credentials of users, beside a quota.
fn credentials(t: &mut Transcript, user: &str) -> anyhow::Result<()> {
    const BOTH: &str = "SCRAM-SHA-256=[iterations=8192,password=x],SCRAM-SHA-512=[password=y]";
    let mut run = |user: &str, rest: &[&str]| {
        let b = ["--bootstrap-server", "B", "--entity-type", "users"];
        let name = ["--entity-name", user];
        let name = if user.is_empty() { &[][..] } else { &name };
        t.note(CONFIGS, &[&b, name, rest].concat())
    };
    let other = &format!("{user} & co");
    run(user, &["--describe"])?;
    run(user, &["--alter", "--add-config", BOTH])?;
    run(user, &["--describe"])?;
    run(
        user,
        &["--alter", "--add-config", "consumer_byte_rate=1024000"],
    )?;
    run(
        other,
        &[
            "--alter",
            "--add-config",
            "SCRAM-SHA-512=[iterations=16384,password=z]",
        ],
    )?;
    run("", &["--describe"])?;
    run(user, &["--alter", "--delete-config", "SCRAM-SHA-512"])?;
    run(user, &["--alter", "--delete-config", "SCRAM-SHA-512"])?;
    run(
        user,
        &[
            "--alter",
            "--add-config",
            "SCRAM-SHA-256=[iterations=100,password=x]",
        ],
    )?;
    run(
        user,
        &[
            "--alter",
            "--add-config",
            "SCRAM-SHA-256=[iterations=20000,password=x]",
        ],
    )?;
    run(
        user,
        &[
            "--alter",
            "--add-config",
            "SCRAM-SHA-256=[iterations=4096,password=]",
        ],
    )?;
    run(
        "",
        &["--alter", "--add-config", "SCRAM-SHA-256=[password=x]"],
    )?;
    run(user, &["--describe"])?;
    run(user, &["--alter", "--delete-config", "SCRAM-SHA-256"])?;
    run(user, &["--describe"])?;
    run(user, &["--alter", "--delete-config", "consumer_byte_rate"])?;
    run(other, &["--alter", "--delete-config", "SCRAM-SHA-512"])?;
    run("", &["--describe"])?;
    Ok(())
}

fn records(t: &mut Transcript, release: &Release, topic: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    t.note(
        TOPICS,
        &[&b[..], &["--create", "--topic", topic, "--partitions", "1"]].concat(),
    )?;
    let keyed = [
        "--topic",
        topic,
        "--property",
        "parse.key=true",
        "--property",
        "key.separator=:",
    ];
    t.note_with_input(
        release.producer,
        "k1:v1\nk2:v2\nk3:v3\n",
        &[&b[..], &keyed].concat(),
    )?;
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let arguments = ["--topic", topic, "--compression-codec", codec];
        let input = format!("{codec} one\n{codec} two\n");
        t.note_with_input(release.producer, &input, &[&b[..], &arguments].concat())?;
    }
    let show = [
        "--property",
        "print.key=true",
        "--property",
        "print.offset=true",
    ];
    let all = ["--topic", topic, "--from-beginning", "--max-messages", "11"];
    t.note(CONSUMER, &[&b[..], &all, &show].concat())?;
    let one = [
        "--topic",
        topic,
        "--partition",
        "0",
        "--offset",
        "5",
        "--max-messages",
        "1",
    ];
    t.note(CONSUMER, &[&b[..], &one, &show].concat())?;
    Ok(())
}

fn groups(t: &mut Transcript, topic: &str, group: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    let consume = [
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        "11",
        "--group",
        group,
    ];
    t.run(CONSUMER, &[&b[..], &consume].concat())?.success()?;
    let mut run = |rest: &[&str]| t.note(GROUPS, &[&b, rest].concat());
    let of_group = ["--group", group];
    run(&[&["--describe"], &of_group[..]].concat())?;
    run(&[&["--describe", "--members", "--verbose"], &of_group[..]].concat())?;
    run(&[&["--describe", "--state"], &of_group[..]].concat())?;
    run(&["--describe", "--group", "nosuch"])?;
    for how in [
        &["--to-earliest"][..],
        &["--to-offset", "4"],
        &["--shift-by", "2"],
        &["--to-latest"],
    ] {
        let reset = [
            &["--reset-offsets", "--topic", topic, "--execute"],
            &of_group[..],
            how,
        ];
        run(&reset.concat())?;
    }
    run(&[&["--describe"], &of_group[..]].concat())?;
    run(&[&["--delete-offsets", "--topic", topic], &of_group[..]].concat())?;
    run(&[&["--describe"], &of_group[..]].concat())?;
    run(&[&["--delete"], &of_group[..]].concat())?;
    run(&[&["--describe"], &of_group[..]].concat())?;
    run(&["--delete", "--group", "nosuch"])?;
    let whole = format!("{group}-whole");
    let consume = [&consume[..6], &[whole.as_str()]].concat();
    t.run(CONSUMER, &[&b[..], &consume].concat())?.success()?;
    let mut run = |rest: &[&str]| t.note(GROUPS, &[&b, rest].concat());
    run(&["--list"])?;
    run(&["--list", "--state"])?;
    run(&["--delete", "--group", &whole])?;
    run(&["--list"])?;
    Ok(())
}

fn offsets_and_logs(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    for time in ["latest", "earliest", "max-timestamp", "0", "9999999999999"] {
        t.note(
            GET_OFFSETS,
            &[&b[..], &["--topic", topic, "--time", time]].concat(),
        )?;
    }
    for offset in ["4", "100", "-1"] {
        let mut file = tempfile::NamedTempFile::new()?;
        write!(
            file,
            r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":{offset}}}],"version":1}}"#
        )?;
        let path = file.path().display().to_string();
        let output = t.run(
            DELETE_RECORDS,
            &[&b[..], &["--offset-json-file", &path]].concat(),
        )?;
        if offset == "4" {
            anyhow::ensure!(output.out.contains("low_watermark: 4"), "{}", output.out);
        } else if offset == "100" {
            anyhow::ensure!(
                output.out.contains("OffsetOutOfRangeException"),
                "{}",
                output.out
            );
        }
        t.note(
            GET_OFFSETS,
            &[&b[..], &["--topic", topic, "--time", "earliest"]].concat(),
        )?;
    }
    let output = t.run(
        LOG_DIRS,
        &[&b[..], &["--describe", "--topic-list", topic]].concat(),
    )?;
    anyhow::ensure!(
        output.out.contains(&format!("\"partition\":\"{topic}-0\"")),
        "{}",
        output.out
    );
    t.note(
        LOG_DIRS,
        &[&b[..], &["--describe", "--broker-list", "5"]].concat(),
    )?;
    Ok(())
}

fn verifiable(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let b = [
        "--bootstrap-server",
        "B",
        "--topic",
        topic,
        "--max-messages",
        "1000",
    ];
    let sent = t.run(VERIFIABLE_PRODUCER, &b)?.success()?;
    anyhow::ensure!(
        sent.matches("producer_send_success").count() == 1000,
        "{sent}"
    );
    let group = ["--group-id", topic, "--reset-policy", "earliest"];
    let got = t
        .run(VERIFIABLE_CONSUMER, &[&b[..], &group].concat())?
        .success()?;
    anyhow::ensure!(
        got.contains("offsets_committed") && got.contains("\"success\":true"),
        "{got}"
    );
    Ok(())
}

fn performance(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let bootstrap = format!("bootstrap.servers={}", t.bootstrap());
    let size = [
        "--num-records",
        "20000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ];
    let produce = ["--topic", topic, "--producer-props", &bootstrap, "acks=all"];
    let sent = t
        .run(PRODUCER_PERFORMANCE, &[&size[..], &produce].concat())?
        .success()?;
    anyhow::ensure!(sent.contains("20000 records sent"), "{sent}");
    let consume = [
        "--bootstrap-server",
        "B",
        "--topic",
        topic,
        "--messages",
        "20000",
        // Between two records.
        "--timeout",
        "180000",
    ];
    let got = t.run(CONSUMER_PERFORMANCE, &consume)?.success()?;
    anyhow::ensure!(got.contains(", 20000, "), "{got}");
    let address = t.bootstrap().to_owned();
    let e2e = t.run(
        E2E_LATENCY,
        &[&address, &format!("{topic}-e2e"), "100", "all", "100"],
    )?;
    anyhow::ensure!(e2e.success()?.contains("Percentiles"), "no percentiles");
    Ok(())
}

fn cluster(t: &mut Transcript, topic: &str) -> anyhow::Result<()> {
    let b = ["--bootstrap-server", "B"];
    let id = t
        .run(CLUSTER, &["cluster-id", "--bootstrap-server", "B"])?
        .success()?;
    anyhow::ensure!(id.starts_with("Cluster ID: "), "{id}");
    t.note(FEATURES, &[&b[..], &["describe"]].concat())?;
    let one = [
        "--election-type",
        "preferred",
        "--topic",
        topic,
        "--partition",
        "0",
    ];
    t.note(LEADER_ELECTION, &[&b[..], &one].concat())?;
    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    t.note(LEADER_ELECTION, &[&b[..], &all].concat())?;
    t.note(REASSIGN, &[&b[..], &["--list"]].concat())?;
    Ok(())
}
