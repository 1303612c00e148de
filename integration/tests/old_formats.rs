//! Clients that know only the message formats of their time read what new ones wrote, and the
//! reverse: values, offsets and timestamps are kept, headers and markers are not seen.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use ottla_integration::{Broker, ToolServer, command, tools};

const DEADLINE: Duration = Duration::from_secs(400);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const RECORDS: usize = 300;

/// Runs `OldFormats.java` on a set of jars; what it read, by topic.
fn java(jars: &str, broker: &Broker, steps: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut java = Command::new("java");
    java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-cp", &tools::class_path(jars)])
        .arg(tools::root().join("integration/java/OldFormats.java"))
        .arg(broker.address())
        .args(steps);
    let out =
        command::run(&mut java, b"", DEADLINE).unwrap_or_else(|error| panic!("{jars}: {error:#}"));
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&out).lines() {
        let (topic, record) = line.split_once(' ').expect("a record");
        topics
            .entry(topic.to_owned())
            .or_default()
            .push(record.to_owned());
    }
    topics
}

fn reads(topics: &[&str], count: usize) -> Vec<String> {
    let step = |topic| format!("read:{topic}:0:{count}");
    topics.iter().map(step).collect()
}

fn create(tools: &mut ToolServer, broker: &Broker, topic: &str, config: &str) {
    let address = broker.address();
    let mut arguments = vec!["--bootstrap-server", &address, "--create", "--topic", topic];
    arguments.extend(["--config", config]);
    tools
        .run(TOPICS, &arguments)
        .and_then(|output| output.success())
        .expect("a topic");
}

/// What kcat reads from an offset on in the protocol of an old broker. It is told how much there
/// is, for it takes a marker at the end for a record that is too large, with Kafka as well.
fn kcat(broker: &Broker, release: &str, topic: &str, offset: u64, count: usize) -> Vec<String> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &broker.address(), "-C", "-q", "-p", "0"])
        .args(["-c", &count.to_string()])
        .args(["-X", "api.version.request=false"])
        .args(["-X", &format!("broker.version.fallback={release}")])
        .args(["-X", "fetch.message.max.bytes=5000"])
        .args(["-o", &offset.to_string(), "-f", "%o %k %s\n", "-t", topic]);
    let out = command::run(&mut kcat, b"", DEADLINE)
        .unwrap_or_else(|error| panic!("{release}: {error:#}"));
    String::from_utf8_lossy(&out)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The same of what Java clients read.
fn without_timestamps(records: &[String]) -> Vec<String> {
    let short = |record: &String| {
        let mut fields = record.splitn(5, ' ');
        let offset = fields.next().unwrap_or_default();
        let rest = fields.skip(2).collect::<Vec<_>>().join(" ");
        let rest = rest.replacen("key ", "key_", 1);
        let (key, value) = rest.split_once(' ').unwrap_or_default();
        let text = |field: &str| match field {
            "null" => String::new(),
            field => field.replacen("key_", "key ", 1),
        };
        format!("{offset} {} {}", text(key), text(value))
            .trim_end()
            .to_owned()
    };
    records.iter().map(short).collect()
}

fn offset_of(record: &str) -> u64 {
    let offset = record.split(' ').next().and_then(|text| text.parse().ok());
    offset.unwrap_or_else(|| panic!("{record}"))
}

#[test]
fn old_consumers_read_new_records() {
    let broker = Broker::start(&[]).expect("a broker");
    let mut tools = ToolServer::start("kafka-3.9").expect("a JVM");
    create(
        &mut tools,
        &broker,
        "appended",
        "message.timestamp.type=LogAppendTime",
    );
    drop(tools);
    let topics = ["none", "gzip", "snappy", "lz4", "appended", "transactions"];
    let steps: Vec<_> = topics
        .iter()
        .map(|&topic| match topic {
            "appended" => format!("write:{topic}:gzip:{RECORDS}"),
            "transactions" => format!("transactions:{topic}:lz4:{RECORDS}"),
            codec => format!("write:{topic}:{codec}:{RECORDS}"),
        })
        .chain(reads(&topics, RECORDS))
        .collect();
    let new = java("kafka-3.9", &broker, &steps);
    let old = java("clients-0.10", &broker, &reads(&topics, RECORDS));
    for topic in topics {
        assert_eq!(new[topic].len(), RECORDS, "{topic}");
        assert_eq!(old[topic], new[topic], "{topic}");
        let expected = without_timestamps(&new[topic]);
        for release in ["0.8.2", "0.9.0"] {
            for offset in [0, 137] {
                let wanted: Vec<_> = expected
                    .iter()
                    .filter(|record| offset_of(record) >= offset)
                    .cloned()
                    .collect();
                let read = kcat(&broker, release, topic, offset, wanted.len());
                assert_eq!(read, wanted, "{topic} as of {release}");
            }
        }
    }
}

#[test]
fn new_consumers_read_what_old_producers_wrote() {
    let broker = Broker::start(&[]).expect("a broker");
    let topics = ["none", "gzip", "snappy", "lz4"];
    let steps: Vec<_> = topics
        .iter()
        .map(|codec| format!("write:{codec}:{codec}:{RECORDS}"))
        .chain(reads(&topics, RECORDS))
        .collect();
    let old = java("clients-0.10", &broker, &steps);
    let new = java("kafka-3.9", &broker, &reads(&topics, RECORDS));
    for topic in topics {
        assert_eq!(new[topic].len(), RECORDS, "{topic}");
        assert_eq!(new[topic], old[topic], "{topic}");
        for (offset, record) in new[topic].iter().enumerate() {
            assert!(
                record.starts_with(&format!("{offset} CreateTime ")),
                "{topic}: {record}"
            );
        }
    }
}

/// The body of an answer to Fetch in an old version, from the error code of the only partition on.
fn fetch(broker: &Broker, version: i16, topic: &str, offset: i64) -> Vec<u8> {
    let mut frame = Vec::new();
    for number in [1, version] {
        frame.extend(number.to_be_bytes());
    }
    frame.extend(7i32.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    for number in [-1i32, 100, 1] {
        frame.extend(number.to_be_bytes());
    }
    if version >= 3 {
        frame.extend(1_000_000i32.to_be_bytes());
    }
    if version >= 4 {
        frame.push(0);
    }
    frame.extend(1i32.to_be_bytes());
    frame.extend((topic.len() as i16).to_be_bytes());
    frame.extend(topic.as_bytes());
    for number in [1i32, 0] {
        frame.extend(number.to_be_bytes());
    }
    frame.extend(offset.to_be_bytes());
    frame.extend(1_000_000i32.to_be_bytes());

    let mut stream = TcpStream::connect(broker.address()).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let size = (frame.len() as i32).to_be_bytes();
    stream
        .write_all(&[&size[..], &frame].concat())
        .expect("a request");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("a size");
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    let throttle = if version >= 1 { 4 } else { 0 };
    answer.split_off(4 + throttle + 4 + 2 + topic.len() + 4 + 4)
}

/// Error code, size of the records, and their first bytes.
fn outcome(broker: &Broker, version: i16, topic: &str, offset: i64) -> (i16, i32, Vec<u8>) {
    let answer = fetch(broker, version, topic, offset);
    let error = i16::from_be_bytes([answer[0], answer[1]]);
    let records = if version >= 4 { 22 } else { 10 };
    let size = answer[records..records + 4].try_into().expect("a size");
    (
        error,
        i32::from_be_bytes(size),
        answer[records + 4..].to_vec(),
    )
}

#[test]
fn what_cannot_be_converted_is_refused() {
    const NONE: i16 = 0;
    const UNSUPPORTED_VERSION: i16 = 35;
    const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    const MAGIC: usize = 16;
    let broker = Broker::start(&[]).expect("a broker");
    let mut tools = ToolServer::start("kafka-3.9").expect("a JVM");
    let off = "message.downconversion.enable=false";
    create(&mut tools, &broker, "off", off);
    create(&mut tools, &broker, "zstd", "compression.type=zstd");
    drop(tools);
    for (topic, codec) in [("off", "none"), ("zstd", "none"), ("sent", "zstd")] {
        let mut kcat = Command::new("kcat");
        let address = broker.address();
        kcat.args(["-b", &address, "-P", "-t", topic, "-z", codec]);
        // One batch: a record alone would not be worth compressing.
        kcat.args(["-X", "linger.ms=60000", "-X", "batch.num.messages=100"]);
        command::run(&mut kcat, &b"record\n".repeat(100), DEADLINE).expect("kcat -P");
    }
    for version in 0..=4 {
        let (off, zstd, sent) = match version {
            4 => (NONE, UNSUPPORTED_COMPRESSION_TYPE, NONE),
            _ => (
                UNSUPPORTED_VERSION,
                UNSUPPORTED_COMPRESSION_TYPE,
                UNSUPPORTED_COMPRESSION_TYPE,
            ),
        };
        for (topic, expected) in [("off", off), ("zstd", zstd), ("sent", sent)] {
            let (error, size, records) = outcome(&broker, version, topic, 0);
            assert_eq!(error, expected, "{topic} in version {version}");
            if error == NONE {
                assert_eq!(records[MAGIC], 2);
            } else {
                assert_eq!(size, -1, "{topic} in version {version}");
            }
        }
    }
}
