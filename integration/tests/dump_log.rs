//! Kafka's own kafka-dump-log reads the files of this broker without complaint, and `ottla log dump`
//! prints the same of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Output, ToolServer, command, tools};

const DUMP: &str = "kafka.tools.DumpLogSegments";
const DEADLINE: Duration = Duration::from_secs(180);
const RECORDS: usize = 2000;

fn kcat(arguments: &[&str], input: &str) -> String {
    let mut kcat = Command::new("kcat");
    kcat.args(arguments);
    let out = command::run(&mut kcat, input.as_bytes(), DEADLINE).expect("kcat");
    String::from_utf8(out).expect("text")
}

/// The files of every partition of a topic with this ending.
fn files(logs: &Path, topic: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for partition in fs::read_dir(logs).expect("the log directory") {
        let partition = partition.expect("an entry").path();
        let name = partition.file_name().expect("a name").to_string_lossy();
        if !name.starts_with(&format!("{topic}-")) {
            continue;
        }
        for file in fs::read_dir(&partition).expect("a partition") {
            let file = file.expect("an entry").path();
            if file.to_string_lossy().ends_with(ending) {
                found.push(file);
            }
        }
    }
    found.sort();
    found
}

/// What `ottla log dump` prints.
fn ours(arguments: &[&str]) -> String {
    let mut ottla = Command::new(tools::ottla());
    ottla.args(["log", "dump"]).args(arguments);
    let out = command::run(&mut ottla, b"", DEADLINE).expect("ottla log dump");
    String::from_utf8(out).expect("text")
}

#[test]
fn kafka_dump_log_reads_every_file() {
    let mut broker = Broker::start(&[
        ("log.segment.bytes", "40000"),
        ("log.index.interval.bytes", "256"),
        ("log.index.size.max.bytes", "4096"),
    ])
    .expect("a broker");
    let address = broker.address();
    let input: String = (0..RECORDS)
        .map(|i| format!("key {i}:value {i} {}\n", "x".repeat(i % 50)))
        .collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut arguments = vec!["-b", &address, "-P", "-t", "dumped", "-K:", "-z", codec];
        // Small batches make indexes with entries.
        arguments.extend(["-X", "batch.size=2000", "-X", "enable.idempotence=true"]);
        kcat(&arguments, &input);
    }
    let count = (5 * RECORDS).to_string();
    let mut group = vec!["-b", &address, "-G", "dumpers", "-c", &count, "-q"];
    group.extend(["-X", "auto.offset.reset=earliest", "dumped"]);
    assert_eq!(kcat(&group, "").lines().count(), 5 * RECORDS);
    let mut java = ToolServer::start("kafka-3.9").expect("java");
    let bootstrap = format!("bootstrap.servers={address}");
    let mut transactions = vec!["--topic", "dumped", "--num-records", "300"];
    transactions.extend(["--record-size", "50", "--throughput", "-1"]);
    transactions.extend([
        "--transactional-id",
        "dumper",
        "--transaction-duration-ms",
        "1000",
        "--producer-props",
        &bootstrap,
    ]);
    java.run("org.apache.kafka.tools.ProducerPerformance", &transactions)
        .and_then(Output::success)
        .expect("transactions");
    let mut describe = vec!["--bootstrap-server", &address, "describe"];
    describe.extend(["--transactional-id", "dumper"]);
    // The producer is told once the outcome is sure; the markers come right after.
    wait_for("the end of the last transaction", DEADLINE, || {
        let described = java.run("org.apache.kafka.tools.TransactionsCommand", &describe);
        described.ok()?.out.contains("CompleteCommit").then_some(())
    })
    .expect("a completed transaction");
    broker.stop().expect("a clean stop");
    let logs = broker.log_directory();

    let mut dump = |file: &Path, options: &[&str]| {
        let path = file.display().to_string();
        let arguments = [&["--files", path.as_str()], options].concat();
        let output = java.run(DUMP, &arguments).expect("a dump");
        let complaints: String = output
            .err
            .lines()
            .filter(|line| !line.contains("WARN"))
            .collect();
        assert!(complaints.is_empty(), "{path} {options:?}: {}", output.err);
        let text = output.success().expect("a dump that succeeds");
        for complaint in [
            "isvalid: false",
            "Mismatch",
            "Non-consecutive",
            "Found timestamp mismatch",
            "Found out of order",
            "non increasing",
        ] {
            assert!(!text.contains(complaint), "{path} {options:?}:\n{text}");
        }
        if !tools::is_reference() {
            assert_eq!(ours(&arguments), text, "{path} {options:?}");
        }
        text
    };

    let segments = files(&logs, "dumped", ".log");
    assert!(segments.len() > 3, "{segments:?}");
    let (mut records, mut markers) = (0, 0);
    for segment in &segments {
        let text = dump(segment, &["--deep-iteration", "--print-data-log"]);
        records += text.matches("| offset: ").count();
        markers += text.matches("endTxnMarker: COMMIT").count();
    }
    assert_eq!(records, 5 * RECORDS + 300 + markers);
    assert!(markers > 0, "transactions end with markers");
    let mut entries = 0;
    for index in files(&logs, "dumped", ".index") {
        let text = dump(&index, &["--index-sanity-check"]);
        assert!(text.contains("passed sanity check"), "{text}");
        dump(&index, &["--verify-index-only"]);
        entries += dump(&index, &[]).matches("position: ").count();
    }
    assert!(
        entries > segments.len(),
        "{entries} entries of offset indexes"
    );
    for index in files(&logs, "dumped", ".timeindex") {
        let text = dump(&index, &["--index-sanity-check"]);
        assert!(text.contains("passed sanity check"), "{text}");
        dump(&index, &["--verify-index-only"]);
        assert!(dump(&index, &[]).contains("timestamp: "));
    }
    let snapshots = files(&logs, "dumped", ".snapshot");
    let producers: usize = snapshots
        .iter()
        .map(|snapshot| dump(snapshot, &[]).matches("producerId: ").count())
        .sum();
    assert!(producers >= 5, "{producers} producers in {snapshots:?}");

    let mut offsets = String::new();
    for segment in files(&logs, "__consumer_offsets", ".log") {
        offsets += &dump(&segment, &["--offsets-decoder", "--deep-iteration"]);
    }
    // A commit by key and value, and the group with its member.
    assert!(
        offsets.contains(r#""group":"dumpers","topic":"dumped""#),
        "{offsets}"
    );
    assert!(
        offsets.contains(&format!(r#""offset":{count}"#)),
        "{offsets}"
    );
    assert!(
        offsets.contains(r#""protocolType":"consumer""#),
        "{offsets}"
    );
    let mut transactions = String::new();
    for segment in files(&logs, "__transaction_state", ".log") {
        transactions += &dump(&segment, &["--transaction-log-decoder"]);
    }
    for expected in ["transactionalId=dumper", "state=CompleteCommit"] {
        assert!(transactions.contains(expected), "{transactions}");
    }
    if tools::is_reference() {
        return;
    }
    let verify = || {
        let mut ottla = Command::new(tools::ottla());
        ottla.args(["log", "verify"]).arg(&logs);
        command::run(&mut ottla, b"", DEADLINE)
    };
    verify().expect("a sound directory");
    let damaged = &segments[0];
    let mut bytes = fs::read(damaged).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged, bytes).expect("a damaged segment");
    let error = verify().expect_err("a damaged directory");
    assert!(format!("{error:#}").contains("exit status: 1"), "{error:#}");
}
