//! Other people's clients: records go in with every codec and come back through a group that
//! rebalances.

use std::process::Command;
use std::time::Duration;

use ottla_integration::{Broker, command, tools};

const DEADLINE: Duration = Duration::from_secs(300);
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn clients_of_all_makes_produce_consume_and_rebalance() {
    let broker = Broker::start(&[]).expect("a broker");
    let address = broker.address();
    let records = "500";

    let mut franz = Command::new(tools::tools().join("franz"));
    franz.args([&address, "franz", records]);
    check("franz-go", &mut franz);

    for client in ["confluent", "kafka-python"] {
        let mut python = Command::new(tools::tools().join("python/bin/python"));
        python
            .arg(tools::root().join("integration/clients/python/round_trip.py"))
            .args([client, &address, client, records]);
        check(client, &mut python);
    }

    let mut kafkajs = Command::new("node");
    kafkajs
        .env("OTTLA_NODE_MODULES", tools::tools().join("node"))
        .arg(tools::root().join("integration/clients/kafkajs/round_trip.js"))
        .args([&address, "kafkajs", records]);
    check("kafkajs", &mut kafkajs);
}

fn check(name: &str, client: &mut Command) {
    let out =
        command::run(client, b"", DEADLINE).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    assert_eq!(
        String::from_utf8_lossy(&out).trim(),
        "2500 records",
        "{name}"
    );
}

#[test]
fn kcat_produces_and_consumes_with_every_codec() {
    let broker = Broker::start(&[]).expect("a broker");
    let address = broker.address();
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let lines: String = (0..1000).map(|i| format!("{codec} {i}\n")).collect();
        let mut produce = Command::new("kcat");
        produce.args(["-b", &address, "-P", "-t", &topic, "-z", codec]);
        // In order, though a request be sent again.
        produce.args(["-X", "enable.idempotence=true"]);
        command::run(&mut produce, lines.as_bytes(), DEADLINE).expect("kcat -P");
        let mut consume = Command::new("kcat");
        consume.args([
            "-b",
            &address,
            "-C",
            "-t",
            &topic,
            "-e",
            "-q",
            "-o",
            "beginning",
        ]);
        let out = command::run(&mut consume, b"", DEADLINE).expect("kcat -C");
        assert_eq!(String::from_utf8_lossy(&out), lines, "{codec}");
        let mut group = Command::new("kcat");
        group.args(["-b", &address, "-G", &topic, "-c", "1000", "-q", "-X"]);
        group.args(["auto.offset.reset=earliest", &topic]);
        let out = command::run(&mut group, b"", DEADLINE).expect("kcat -G");
        assert_eq!(String::from_utf8_lossy(&out), lines, "{codec}");
    }
}

/// A consumer of 1.0 and a producer of 0.10 speak protocols of their time.
#[test]
fn java_clients_of_0_10_and_1_0_work() {
    let broker = Broker::start(&[]).expect("a broker");
    let java = |jars: &str, arguments: &[&str]| {
        let mut java = Command::new("java");
        java.args([
            "-Xmx256M",
            "-XX:+UseSerialGC",
            "-cp",
            &tools::class_path(jars),
        ])
        .arg(tools::root().join("integration/java/OldClient.java"))
        .args(arguments);
        command::run(&mut java, b"", DEADLINE).unwrap_or_else(|error| panic!("{jars}: {error:#}"))
    };
    let address = broker.address();
    java("clients-0.10", &["produce", &address, "old", "1000"]);
    let out = java("clients-1.0", &["consume", &address, "old", "1000"]);
    let expected: String = (0..1000).map(|i| format!("value {i}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&out), expected);
}
