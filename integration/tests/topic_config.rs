//! What a topic is created with holds for its very first record, and a change holds at once.

use std::process::Command;
use std::time::Duration;

use ottla_integration::{Broker, ToolServer, command, wait};

const DEADLINE: Duration = Duration::from_secs(180);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Whether a record of this many bytes is taken.
fn is_taken(address: &str, topic: &str, bytes: usize) -> bool {
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-b",
        address,
        "-P",
        "-t",
        topic,
        "-X",
        "message.max.bytes=2000000",
    ]);
    command::run(&mut kcat, "x".repeat(bytes).as_bytes(), DEADLINE).is_ok()
}

#[test]
fn a_topics_configuration_holds_from_its_creation_and_changes_at_once() {
    let broker = Broker::start(&[]).expect("a broker");
    let address = broker.address();
    let mut tools = ToolServer::start("kafka-3.9").expect("a JVM");
    let mut create = |topic: &str, config: &str| {
        let arguments = [
            "--bootstrap-server",
            &address,
            "--create",
            "--topic",
            topic,
            "--config",
            config,
        ];
        tools
            .run(TOPICS, &arguments)
            .and_then(|output| output.success())
            .expect("a topic");
    };
    create("small", "max.message.bytes=1000");
    assert!(is_taken(&address, "small", 500));
    assert!(
        !is_taken(&address, "small", 1500),
        "the limit of the creation holds"
    );

    create("stamped", "message.timestamp.type=LogAppendTime");
    assert!(is_taken(&address, "stamped", 10));
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &address, "-C", "-t", "stamped", "-e", "-q", "-J"]);
    let out = command::run(&mut kcat, b"", DEADLINE).expect("kcat -C");
    let out = String::from_utf8_lossy(&out);
    assert!(out.contains(r#""tstype":"logappend""#), "{out}");

    let alter = [
        "--bootstrap-server",
        &address,
        "--alter",
        "--topic",
        "small",
    ];
    let larger = ["--add-config", "max.message.bytes=2000"];
    let output = tools
        .run(CONFIGS, &[&alter[..], &larger].concat())
        .expect("kafka-configs");
    output.success().expect("a change");
    wait::wait_for("the larger limit", DEADLINE, || {
        is_taken(&address, "small", 1500).then_some(())
    })
    .expect("a change holds without a restart");
}
