//! Fifty megabytes of real text go in through two producers and come out through two consumers
//! unchanged, before and after a restart.

use std::process::Command;
use std::time::Duration;

use ottla_integration::real_text::real_text;
use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, command, tools};

const DEADLINE: Duration = Duration::from_secs(600);
const SIZE: usize = 50 << 20;

fn sha256(bytes: &[u8]) -> String {
    let out = command::run(&mut Command::new("sha256sum"), bytes, DEADLINE).expect("sha256sum");
    String::from_utf8_lossy(&out)
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn java(class: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut java = Command::new("java");
    java.args(["-Xmx512M", "-cp", &tools::class_path("kafka-3.9"), class])
        .args(arguments);
    command::run(&mut java, input, DEADLINE).unwrap_or_else(|error| panic!("{class}: {error:#}"))
}

#[test]
fn real_text_comes_back_with_the_same_hash_before_and_after_a_restart() {
    let text = real_text(SIZE);
    let lines = text.iter().filter(|b| **b == b'\n').count().to_string();
    let expected = sha256(&text);
    let mut broker = Broker::start(&[("log.segment.bytes", "16777216")]).expect("a broker");
    let address = broker.address();
    for topic in ["kcat", "java"] {
        let mut create = Command::new("kcat");
        create.args(["-b", &address, "-L", "-t", topic]);
        command::run(&mut create, b"", DEADLINE).expect("kcat -L");
    }

    let mut kcat = Command::new("kcat");
    // One partition in order: no retries may overtake.
    kcat.args([
        "-b",
        &address,
        "-P",
        "-t",
        "kcat",
        "-p",
        "0",
        "-X",
        "enable.idempotence=true",
    ]);
    command::run(&mut kcat, &text, DEADLINE).expect("kcat -P");
    java(
        "kafka.tools.ConsoleProducer",
        &["--bootstrap-server", &address, "--topic", "java"],
        &text,
    );

    for round in ["before", "after"] {
        for topic in ["kcat", "java"] {
            let mut kcat = Command::new("kcat");
            kcat.args([
                "-b",
                &address,
                "-C",
                "-t",
                topic,
                "-e",
                "-q",
                "-o",
                "beginning",
            ]);
            let out = command::run(&mut kcat, b"", DEADLINE).expect("kcat -C");
            assert_eq!(sha256(&out), expected, "kcat, {topic}, {round} the restart");
            let arguments = [
                "--bootstrap-server",
                &address,
                "--topic",
                topic,
                "--from-beginning",
            ];
            let out = java(
                "org.apache.kafka.tools.consumer.ConsoleConsumer",
                &[&arguments[..], &["--max-messages", &lines]].concat(),
                b"",
            );
            assert_eq!(sha256(&out), expected, "java, {topic}, {round} the restart");
        }
        if round == "before" {
            broker.stop().expect("a clean stop");
            broker.restart().expect("a restart");
            // Its port opens before it leads its partitions.
            for topic in ["kcat", "java"] {
                wait_for("the leaders", DEADLINE, || {
                    let mut list = Command::new("kcat");
                    list.args(["-b", &address, "-L", "-t", topic]);
                    let out = command::run(&mut list, b"", DEADLINE).ok()?;
                    String::from_utf8_lossy(&out)
                        .contains("leader 0")
                        .then_some(())
                })
                .expect("leaders");
            }
        }
    }
}
