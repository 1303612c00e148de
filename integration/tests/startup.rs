//! Starting and stopping: what a person sees and what scripts wait for.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ottla_integration::free_port::free_port;
use ottla_integration::wait::wait_for;
use ottla_integration::{Process, tools};
use regex::Regex;

const DEADLINE: Duration = Duration::from_secs(180);

fn start(directory: &Path, arguments: &[&str]) -> Process {
    let mut ottla = Command::new(tools::ottla());
    ottla.args(arguments).current_dir(directory);
    Process::start(ottla, directory, "ottla").expect("ottla")
}

fn text(directory: &Path, suffix: &str) -> String {
    fs::read_to_string(directory.join(format!("ottla.{suffix}"))).unwrap_or_default()
}

/// A run that must end by itself.
fn refused(directory: &Path, arguments: &[&str]) -> Output {
    let mut process = start(directory, arguments);
    let status = process.wait(DEADLINE).expect("the end of a refused start");
    Output {
        status,
        stdout: text(directory, "out").into_bytes(),
        stderr: text(directory, "err").into_bytes(),
    }
}

#[test]
fn a_first_start_without_a_file_says_where_everything_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let port = free_port().expect("a port");
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    let mut process = start(at, &["server", "--override", &listeners]);
    wait_for("the port", DEADLINE, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", text(at, "err")));
    // The stock system tests wait for this.
    let started = Regex::new(r"Kafka\s*Server.*started").expect("a pattern");
    wait_for("the started line", DEADLINE, || {
        started
            .is_match(&(text(at, "out") + &text(at, "err")))
            .then_some(())
    })
    .expect("the started line");
    let out = wait_for("three lines", DEADLINE, || {
        let out = text(at, "out");
        (out.lines().count() >= 3).then_some(out)
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", text(at, "out")));
    assert_eq!(out.lines().count(), 3, "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains(&format!("127.0.0.1:{port}")), "{out}");
    assert!(lines[1].contains("data"), "{out}");
    assert!(lines[2].contains(&format!("127.0.0.1:{port}")), "{out}");
    assert!(at.join("data/logs/meta.properties").exists());

    process.signal("TERM").expect("a signal");
    let status = process.wait(DEADLINE).expect("the end");
    assert!(status.success(), "{status}\n{}", text(at, "err"));
    for file in [
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        assert!(
            at.join("data/logs").join(file).exists(),
            "{file} is missing"
        );
    }
    assert_eq!(text(at, "out").lines().count(), 3, "{}", text(at, "out"));
}

#[test]
fn ctrl_c_is_a_clean_shutdown_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let port = free_port().expect("a port");
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    let mut process = start(at, &["server", "--override", &listeners]);
    wait_for("the port", DEADLINE, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", text(at, "err")));
    process.signal("INT").expect("a signal");
    let status = process.wait(DEADLINE).expect("the end");
    assert!(status.success(), "{status}\n{}", text(at, "err"));
    assert!(at.join("data/logs/.kafka_cleanshutdown").exists());
}

#[test]
fn an_invalid_value_ends_the_start_with_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["server", "--override", "num.partitions=zero"];
    let output = refused(directory.path(), &arguments);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(
        err.contains("num.partitions") && err.contains("zero"),
        "{err}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_unknown_key_warns_and_a_known_file_form_works() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let port = free_port().expect("a port");
    let toml = format!(
        "\"nosuch.key\" = \"1\"\nlisteners = \"PLAINTEXT://127.0.0.1:{port}\"\n\"log.dirs\" = \"{}\"\n",
        at.join("here").display()
    );
    fs::write(at.join("server.toml"), toml).expect("a file");
    let mut process = start(at, &["server", "server.toml"]);
    wait_for("the port", DEADLINE, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", text(at, "err")));
    assert!(at.join("here/meta.properties").exists());
    process.signal("TERM").expect("a signal");
    assert!(process.wait(DEADLINE).expect("the end").success());
    let err = text(at, "err");
    let warned = err
        .lines()
        .any(|line| line.contains("WARN") && line.contains("nosuch.key"));
    assert!(warned, "{err}");
}

/// `Ok` of a log directory's lock: a second broker must not share the data of a first.
#[test]
fn a_log_directory_belongs_to_one_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let port = free_port().expect("a port");
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    let _first = start(at, &["server", "--override", &listeners]);
    wait_for("the port", DEADLINE, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", text(at, "err")));
    let other = free_port().expect("a port");
    let mut second = Command::new(tools::ottla());
    second
        .args(["server", "--override"])
        .arg(format!("listeners=PLAINTEXT://127.0.0.1:{other}"))
        .args(["--override", "ottla.coordination.dir=other-coordination"])
        .current_dir(at);
    let mut second = Process::start(second, at, "second").expect("ottla");
    let status = second.wait(DEADLINE).expect("the end of a refused start");
    let err = fs::read_to_string(at.join("second.err")).expect("its errors");
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("lock"), "{err}");
}
