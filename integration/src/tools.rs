//! Where `scripts/test` puts the tools.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Jars, virtual environments and modules of the clients under test.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

/// Arguments that give a tool more patience than it has by default; none for most. The console
/// producer gives up a record whose broker is silent for four times one and a half seconds.
pub fn patience(class: &str) -> &'static [&'static str] {
    if class.ends_with(".ConsoleProducer") {
        &[
            "--request-timeout-ms",
            "60000",
            "--message-send-max-retries",
            "2147483647",
            "--producer-property",
            "delivery.timeout.ms=600000",
        ]
    } else {
        &[]
    }
}

/// The broker under test: `OTTLA_BIN`, or the release build.
pub fn ottla() -> PathBuf {
    match std::env::var_os("OTTLA_BIN") {
        Some(path) => path.into(),
        None => root().join("target/release/ottla"),
    }
}

/// Whether the broker under test is Apache Kafka itself (`OTTLA_BIN=scripts/kafka-server`).
pub fn is_reference() -> bool {
    ottla().ends_with("scripts/kafka-server")
}

/// A script below `clients/python`, with the Python clients at hand.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(tools().join("python/bin/python"));
    command.arg(root().join("integration/clients/python").join(script));
    command
}

/// The class path of a set of jars, for instance `kafka-3.9`.
pub fn class_path(name: &str) -> String {
    format!("{}/*", tools().join(name).display())
}

/// A broker of Apache Kafka 3.9, to be given its properties file; it joins a running ZooKeeper.
pub fn java_broker() -> Command {
    let logging = root().join("integration/java/log4j-server.properties");
    let mut java = Command::new("java");
    java.args(["-Xmx384M", "-Xms64M", "-XX:+UseSerialGC"])
        .arg(format!("-Dlog4j.configuration=file:{}", logging.display()))
        .args(["-cp", &class_path("kafka-3.9"), "kafka.Kafka"]);
    java
}
