//! Clients that know only the message formats of their time read what new ones wrote, and the
//! reverse: values, offsets and timestamps are kept, headers and markers are not seen.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use ottla_integration::{Broker, ToolServer, command, tools};

const DEADLINE: Duration = Duration::from_secs(120);
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
