//! Several log directories: replicas move between them under load, limited, through a crash and a
//! change of mind; a directory that fails takes nothing with it but itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_integration::small_disk::SmallDisk;
use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Load, Output, ToolServer, command};

const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const DUMP: &str = "kafka.tools.DumpLogSegments";
const DEADLINE: Duration = Duration::from_secs(180);
const BULK: &str = "bulk";
/// Records of the partition that takes long to move, and the bytes of each.
const RECORDS: usize = 1200;
const RECORD_BYTES: usize = 10_000;
/// Bytes per second: the move of that partition takes some seconds.
const LIMIT: &str = "3000000";

/// A broker with several directories, and Kafka's tools.
struct Node {
    broker: Broker,
    directories: Vec<PathBuf>,
    java: ToolServer,
    place: tempfile::TempDir,
}

impl Node {
    fn start(place: tempfile::TempDir, directories: Vec<PathBuf>) -> Self {
        let paths: Vec<String> = directories
            .iter()
            .map(|d| d.display().to_string())
            .collect();
        let broker = Broker::start(&[
            ("log.dirs", &paths.join(",")),
            ("log.segment.bytes", "2000000"),
            ("log.index.size.max.bytes", "65536"),
            ("offsets.topic.num.partitions", "1"),
            ("num.partitions", "3"),
        ])
        .expect("a broker");
        let node = Self {
            broker,
            directories,
            java: ToolServer::start("kafka-3.9").expect("java"),
            place,
        };
        let records: String = (0..RECORDS)
            .map(|i| format!("{i} {}\n", "x".repeat(RECORD_BYTES)))
            .collect();
        let address = node.broker.address();
        let mut produce = Command::new("kcat");
        produce.args(["-b", &address, "-P", "-t", BULK, "-p", "0"]);
        produce.args(["-X", "enable.idempotence=true"]);
        command::run(&mut produce, records.as_bytes(), DEADLINE).expect("kcat -P");
        node
    }

    /// The directory of a partition's current log.
    fn place_of(&self, partition: &str) -> usize {
        let at = self.directories.iter().enumerate();
        let found: Vec<usize> = at
            .filter(|(_, directory)| directory.join(partition).is_dir())
            .map(|(index, _)| index)
            .collect();
        assert_eq!(found.len(), 1, "{partition} is in {found:?}");
        found[0]
    }

    /// Directories of logs that a partition moves to.
    fn futures(&self, partition: &str) -> Vec<PathBuf> {
        let entries = self.directories.iter().flat_map(|directory| {
            // One that has failed cannot be listed.
            fs::read_dir(directory).into_iter().flatten()
        });
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{partition}.")) && name.ends_with("-future")
            })
            .collect()
    }

    /// How many bytes a partition that moves has at its new place.
    fn moved(&self, partition: &str) -> u64 {
        let files = self.futures(partition).into_iter().flat_map(|future| {
            let files = fs::read_dir(future).into_iter().flatten().flatten();
            files.filter(|file| file.path().extension().is_some_and(|e| e == "log"))
        });
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum()
    }

    /// A file of replicas and their directories, for kafka-reassign-partitions.
    fn plan(&self, moves: &[(&str, i32, &Path)]) -> String {
        let entries: Vec<String> = moves
            .iter()
            .map(|(topic, partition, directory)| {
                format!(
                    r#"{{"topic":"{topic}","partition":{partition},"replicas":[0],"log_dirs":["{}"]}}"#,
                    directory.display()
                )
            })
            .collect();
        let path = self.place.path().join("plan.json");
        let text = format!(r#"{{"version":1,"partitions":[{}]}}"#, entries.join(","));
        fs::write(&path, text).expect("a plan");
        path.display().to_string()
    }

    fn reassign(&mut self, plan: &str, arguments: &[&str]) -> Output {
        let address = self.broker.address();
        let common = [
            "--bootstrap-server",
            &address,
            "--reassignment-json-file",
            plan,
        ];
        let all = [&common[..], arguments].concat();
        let output = self.java.run(REASSIGN, &all).expect("a tool");
        eprintln!(
            "$ reassign {arguments:?}\n{}{}-> {}",
            output.out, output.err, output.code
        );
        output
    }

    fn describe(&mut self, topic: &str) -> String {
        let address = self.broker.address();
        let arguments = [
            "--bootstrap-server",
            &address,
            "--describe",
            "--topic-list",
            topic,
        ];
        let output = self.java.run(LOG_DIRS, &arguments).expect("a tool");
        let text = output.success().expect("a description");
        eprintln!("{text}");
        text
    }

    /// Executes a plan with a limit for moves between directories.
    fn execute(&mut self, plan: &str, limit: &str) -> String {
        let arguments = [
            "--execute",
            "--replica-alter-log-dirs-throttle",
            limit,
            "--additional",
        ];
        self.reassign(plan, &arguments).success().expect("a start")
    }

    fn verify_until_complete(&mut self, plan: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let text = self
                .reassign(plan, &["--verify"])
                .success()
                .expect("a look");
            if !text.contains("in progress") {
                return text;
            }
            assert!(Instant::now() < end, "{text}");
        }
    }

    fn read_bulk(&self) -> Vec<String> {
        let address = self.broker.address();
        let mut read = Command::new("kcat");
        read.args([
            "-b",
            &address,
            "-C",
            "-t",
            BULK,
            "-p",
            "0",
            "-o",
            "beginning",
            "-e",
            "-q",
        ]);
        let out = command::run(&mut read, b"", DEADLINE).expect("kcat -C");
        let text = String::from_utf8(out).expect("text");
        text.lines()
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect()
    }

    fn assert_bulk_is_whole(&self) {
        let expected: Vec<String> = (0..RECORDS).map(|i| i.to_string()).collect();
        assert!(
            self.read_bulk() == expected,
            "{BULK} is not what was written"
        );
    }

    /// Reads the files of a partition with kafka-dump-log.
    fn dump(&mut self, partition: &str) {
        let directory = self.directories[self.place_of(partition)].join(partition);
        let entries = fs::read_dir(&directory).expect("a partition");
        for entry in entries {
            let path = entry.expect("an entry").path().display().to_string();
            let options: &[&str] = match path.rsplit('.').next() {
                Some("log") => &["--deep-iteration"],
                // As in Kafka an entry names the last offset of what was copied at once, in which
                // --verify-index-only sees a mismatch with the first batch there.
                Some("index" | "timeindex") => &["--index-sanity-check"],
                _ => continue,
            };
            let arguments = [&["--files", path.as_str()], options].concat();
            let output = self.java.run(DUMP, &arguments).expect("a dump");
            let text = format!("{}{}", output.out, output.err);
            assert_eq!(output.code, 0, "{path}: {text}");
            if !path.ends_with(".log") {
                let is_sane = ["passed sanity check", "is empty."].map(|word| text.contains(word));
                assert!(is_sane.contains(&true), "{text}");
            }
            for complaint in ["isvalid: false", "Mismatch", "Non-consecutive", "Found"] {
                assert!(!text.contains(complaint), "{path}:\n{text}");
            }
        }
    }
}

#[test]
fn replicas_move_between_directories_under_load_through_a_crash_and_back() {
    let place = tempfile::tempdir().expect("a directory");
    let directories = ["a", "b", "c"].map(|name| place.path().join(name)).to_vec();
    let mut node = Node::start(place, directories);
    let load = Load::start(&node.broker.address(), "moved").expect("a load");
    load.wait_for_every_member().expect("progress");
    let next = |at: usize| (at + 1) % 3;
    let names = [
        "bulk-0",
        "moved-0",
        "moved-1",
        "moved-2",
        "__consumer_offsets-0",
    ];
    let before = names.map(|name| node.place_of(name));
    let targets: Vec<PathBuf> = before
        .iter()
        .map(|&at| node.directories[next(at)].clone())
        .collect();
    let topics = [
        (BULK, 0),
        ("moved", 0),
        ("moved", 1),
        ("moved", 2),
        ("__consumer_offsets", 0),
    ];
    let moves: Vec<(&str, i32, &Path)> = topics
        .iter()
        .zip(&targets)
        .map(|((topic, partition), target)| (*topic, *partition, target.as_path()))
        .collect();
    let plan = node.plan(&moves);

    // So slowly that it goes on whatever happens meanwhile.
    node.execute(&plan, "1000");
    let text = node
        .reassign(&plan, &["--verify"])
        .success()
        .expect("a look");
    assert!(text.contains("bulk-0-0 is still in progress"), "{text}");
    assert!(node.describe(BULK).contains(r#""isFuture":true"#));
    assert_eq!(node.futures("bulk-0").len(), 1);
    node.broker.kill().expect("a crash");
    assert_eq!(node.futures("bulk-0").len(), 1);
    node.broker.restart().expect("a restart");
    let text = node
        .reassign(&plan, &["--verify"])
        .success()
        .expect("a look");
    assert!(text.contains("bulk-0-0 is still in progress"), "{text}");
    let left = (RECORDS * RECORD_BYTES) as u64 - node.moved("bulk-0");
    let started = Instant::now();
    node.execute(&plan, LIMIT);
    let text = node.verify_until_complete(&plan);
    let took = started.elapsed();
    for (topic, partition) in topics {
        let done = format!("replica {topic}-{partition}-0 completed successfully");
        assert!(text.contains(&done), "{text}");
    }
    let least = left as f64 / LIMIT.parse::<f64>().expect("a number");
    assert!(
        took.as_secs_f64() > least / 2.0,
        "{left} bytes are not limited: {took:?}"
    );
    for (name, at) in names.iter().zip(before) {
        assert_eq!(node.place_of(name), next(at), "{name}");
        assert!(node.futures(name).is_empty(), "{name}");
    }
    assert!(!node.describe("bulk,moved").contains(r#""isFuture":true"#));
    load.wait_for_progress().expect("progress");

    // A change of mind: to the third directory, slowly, then elsewhere, then to where it is.
    let (here, third) = (next(before[0]), next(next(before[0])));
    let to = |index: usize, node: &Node| {
        let directory = node.directories[index].clone();
        node.plan(&[(BULK, 0, &directory)])
    };
    let plan = to(third, &node);
    node.execute(&plan, "1000");
    assert!(node.futures("bulk-0")[0].starts_with(&node.directories[third]));
    let plan = to(before[0], &node);
    node.execute(&plan, "1000");
    let futures = node.futures("bulk-0");
    assert_eq!(futures.len(), 1, "{futures:?}");
    assert!(futures[0].starts_with(&node.directories[before[0]]));
    let plan = to(here, &node);
    node.execute(&plan, "1000");
    assert!(node.futures("bulk-0").is_empty());
    assert_eq!(node.place_of("bulk-0"), here);
    let text = node.verify_until_complete(&plan);
    assert!(text.contains("bulk-0-0 completed successfully"), "{text}");

    // Nowhere.
    let plan = node.plan(&[(BULK, 0, Path::new("/no/such/directory"))]);
    let output = node.reassign(&plan, &["--execute", "--additional"]);
    let text = format!("{}{}", output.out, output.err);
    assert!(text.contains("LogDirNotFoundException"), "{text}");

    node.assert_bulk_is_whole();
    load.finish(&node.directories).expect("nothing is lost");
    node.broker.stop().expect("a clean stop");
    for name in names {
        node.dump(name);
    }
}

#[test]
fn a_move_to_a_directory_that_fails_ends_and_the_replica_stays() {
    let place = tempfile::tempdir().expect("a directory");
    let small = match SmallDisk::mount(place.path().join("small"), 8) {
        Ok(small) => small,
        Err(error) => {
            eprintln!("SKIPPED: only root can mount a small file system: {error}");
            return;
        }
    };
    let wide = [place.path().join("a"), place.path().join("b")];
    let mut node = Node::start(place, wide.to_vec());
    // Nothing of it is on the small disk when it starts to fill.
    node.broker.stop().expect("a stop");
    let target = small.path().join("logs");
    node.directories.push(target.clone());
    let paths: Vec<String> = node
        .directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    node.broker.set_property("log.dirs", &paths.join(","));
    node.broker.restart().expect("a restart");
    let at = node.place_of("bulk-0");
    let plan = node.plan(&[(BULK, 0, &target)]);
    node.execute(&plan, "100000000");
    wait_for("the directory to fail", DEADLINE, || {
        let text = node.broker.log();
        let says = text.contains("Stopping serving logs in dir")
            || text.contains("log directory goes offline");
        says.then_some(())
    })
    .expect("a failure");
    node.assert_bulk_is_whole();
    assert_eq!(node.place_of("bulk-0"), at);
    let text = node.describe(BULK);
    assert!(text.contains("KafkaStorageException"), "{text}");
    assert!(!text.contains(r#""isFuture":true"#), "{text}");
    // While a directory is offline nothing begins to move: it might be there already.
    let other = node.directories[1 - at].clone();
    let plan = node.plan(&[(BULK, 0, &other)]);
    let output = node.reassign(&plan, &["--execute", "--additional"]);
    let text = format!("{}{}", output.out, output.err);
    assert!(
        text.contains("KafkaStorageException") || text.contains("Disk error"),
        "{text}"
    );
    assert!(node.broker.process().expect("a process").is_running());
    node.broker.stop().expect("a stop");
    node.dump("bulk-0");
}
