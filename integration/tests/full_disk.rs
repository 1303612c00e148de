//! A disk that is full takes its log directory offline; the other directories go on, and nothing
//! acknowledged is lost. Needs to be root, for a small file system of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, command, tools};
use regex::Regex;

const DEADLINE: Duration = Duration::from_secs(300);

/// A tmpfs; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, megabytes: u32) -> Self {
        fs::create_dir_all(&at).expect("a directory");
        let disk = Self(at);
        disk.run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"],
        );
        disk
    }

    fn grow(&self, megabytes: u32) {
        self.run("mount", &["-o", &format!("remount,size={megabytes}m")]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.0);
        command::run(&mut command, b"", DEADLINE).expect(program);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing else can be done about a failure here.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout == b"0\n"
}

/// A partition's directory below one of the log directories.
fn holds(log_directory: &Path, partition: i32) -> bool {
    log_directory.join(format!("filling-{partition}")).is_dir()
}

/// Fills a partition until the broker refuses or the records are sent; returns the numbers that were
/// acknowledged.
fn fill(address: &str, partition: i32, records: u32) -> BTreeSet<String> {
    send("produce", address, partition, records)
}

/// Appends so many records where there is room; returns the numbers that were acknowledged.
fn append(address: &str, partition: i32, records: u32) -> BTreeSet<String> {
    send("append", address, partition, records)
}

fn send(how: &str, address: &str, partition: i32, records: u32) -> BTreeSet<String> {
    let mut python = tools::python("fill.py");
    python.args([
        how,
        address,
        "filling",
        &partition.to_string(),
        &records.to_string(),
    ]);
    let out = command::run(&mut python, b"", DEADLINE).expect("the filling");
    let text = String::from_utf8(out).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn read(address: &str, partition: i32) -> BTreeSet<String> {
    let mut python = tools::python("fill.py");
    python.args(["read", address, "filling", &partition.to_string()]);
    let out = command::run(&mut python, b"", DEADLINE).expect("the reading");
    let text = String::from_utf8(out).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_full_disk_takes_its_directory_offline_and_loses_nothing() {
    if !is_root() {
        eprintln!("SKIPPED: only root can mount a small file system");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let small = SmallDisk::mount(place.path().join("small"), 24);
    let small_logs = small.0.join("logs");
    let wide_logs = place.path().join("wide");
    let mut broker = Broker::start(&[
        (
            "log.dirs",
            &format!("{},{}", small_logs.display(), wide_logs.display()),
        ),
        ("log.segment.bytes", "4000000"),
        ("log.index.size.max.bytes", "65536"),
        ("offsets.topic.num.partitions", "1"),
        ("num.partitions", "2"),
    ])
    .expect("a broker");
    let address = broker.address();
    let mut create = Command::new("kcat");
    create.args(["-b", &address, "-P", "-t", "filling", "-p", "0"]);
    command::run(&mut create, b"0\n", DEADLINE).expect("kcat -P");
    let partitions = [0, 1];
    let on_small = wait_for("a partition on the small disk", DEADLINE, || {
        partitions.into_iter().find(|p| holds(&small_logs, *p))
    });
    let on_small = on_small.expect("directories are filled evenly");
    let on_wide = 1 - on_small;
    wait_for("the other one on the wide disk", DEADLINE, || {
        holds(&wide_logs, on_wide).then_some(())
    })
    .expect("directories are filled evenly");

    // 40 MB into 24 MB.
    let acknowledged = fill(&address, on_small, 4000);
    assert!(
        !acknowledged.is_empty() && acknowledged.len() < 4000,
        "{}",
        acknowledged.len()
    );
    let directory = small_logs.display().to_string();
    let says_offline = Regex::new("Stopping serving logs in dir|log directory goes offline");
    let says_offline = says_offline.expect("a pattern");
    wait_for("the log to say so", DEADLINE, || {
        broker
            .log()
            .lines()
            .any(|l| says_offline.is_match(l) && l.contains(&directory))
            .then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", broker.log()));
    assert!(
        broker.process().expect("a process").is_running(),
        "{}",
        broker.log()
    );
    // The other directory goes on.
    assert_eq!(append(&address, on_wide, 10).len(), 10);
    assert!(read(&address, on_wide).len() >= 10);

    broker.kill().expect("an end");
    small.grow(200);
    broker.restart().expect("a restart");
    let found = read(&address, on_small);
    let lost: Vec<&String> = acknowledged.difference(&found).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged records are lost: {:?}",
        lost.len(),
        lost.first()
    );
    assert_eq!(
        append(&address, on_small, 10).len(),
        10,
        "it takes records again"
    );
}

#[test]
fn a_broker_whose_last_directory_fails_ends() {
    if !is_root() {
        eprintln!("SKIPPED: only root can mount a small file system");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let small = SmallDisk::mount(place.path().join("small"), 24);
    let logs = small.0.join("logs");
    let mut broker = Broker::start(&[
        ("log.dirs", &logs.display().to_string()),
        ("log.segment.bytes", "4000000"),
        ("log.index.size.max.bytes", "65536"),
        ("offsets.topic.num.partitions", "1"),
    ])
    .expect("a broker");
    let address = broker.address();
    let acknowledged = fill(&address, 0, 4000);
    assert!(
        !acknowledged.is_empty() && acknowledged.len() < 4000,
        "{}",
        acknowledged.len()
    );
    let status = broker.process().expect("a process").wait(DEADLINE);
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", broker.log()));
    assert_eq!(status.code(), Some(1), "{}", broker.log());
    assert!(broker.log().contains("have failed"), "{}", broker.log());
    broker.kill().expect("an end");
    small.grow(200);
    broker.restart().expect("a restart");
    let found = read(&address, 0);
    let lost: Vec<&String> = acknowledged.difference(&found).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged records are lost: {:?}",
        lost.len(),
        lost.first()
    );
}
