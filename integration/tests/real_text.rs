//! Fifty megabytes of real text go in through two producers and come out through two consumers
//! unchanged, before and after a restart.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, command, tools};

const DEADLINE: Duration = Duration::from_secs(180);
const SIZE: usize = 50 << 20;

/// The package descriptions that apt keeps, without blank lines (kcat skips them); where apt keeps
/// too little, the sources of this repository's dependencies serve as well.
fn real_text() -> Vec<u8> {
    let mut files: Vec<PathBuf> = Vec::new();
    if let Ok(entries) = fs::read_dir("/var/lib/apt/lists") {
        files.extend(entries.flatten().map(|e| e.path()).filter(|p| {
            p.to_string_lossy().contains("_Packages")
                || p.to_string_lossy().contains("_Translation")
        }));
    }
    files.sort();
    let mut text = Vec::with_capacity(SIZE + 4096);
    for file in files {
        let file_text = read(&file);
        append(&mut text, &file_text);
        if text.len() >= SIZE {
            return text;
        }
    }
    let registry = PathBuf::from(
        std::env::var("CARGO_HOME")
            .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").expect("a home"))),
    )
    .join("registry/src");
    let mut folders = vec![registry];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let file_text = fs::read(&path).expect("a source file");
                append(&mut text, &file_text);
                if text.len() >= SIZE {
                    return text;
                }
            }
        }
    }
    panic!("only {} bytes of real text on this machine", text.len());
}

/// A file's text; apt keeps its lists compressed on some machines.
fn read(path: &PathBuf) -> Vec<u8> {
    if path.extension().is_some_and(|e| e == "lz4") {
        let helper = Command::new("/usr/lib/apt/apt-helper")
            .arg("cat-file")
            .arg(path)
            .output();
        return helper.map(|output| output.stdout).unwrap_or_default();
    }
    fs::read(path).unwrap_or_default()
}

fn append(text: &mut Vec<u8>, more: &[u8]) {
    for line in more.split(|b| *b == b'\n') {
        let printable = std::str::from_utf8(line).is_ok_and(|l| !l.contains('\r'));
        if text.len() < SIZE && !line.trim_ascii().is_empty() && printable {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
}

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
    let text = real_text();
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
