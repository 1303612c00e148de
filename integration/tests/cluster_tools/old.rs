//! The `--zookeeper` forms of the 2.3.1 tools, which write znodes that the controller obeys.

use crate::operate::produce;
use crate::reassign::{same_segments, wait_until_gone};
use crate::session::Session;
use crate::topics::describer;

const DESCRIBE: &str = "kafka-topics --bootstrap-server B --describe --topic ancient";

pub(crate) fn zookeeper_forms(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("tools of 2.3.1 with --zookeeper");
    topics(s)?;
    configs(s)?;
    elections(s)?;
    expansion(s)?;
    reassignments(s)?;
    let topics = "old:kafka-topics --zookeeper Z";
    s.note(&format!("{topics} --delete --topic ancient"))?;
    s.note_when(&format!("{topics} --list"), |out| !out.contains("ancient"))?;
    wait_until_gone(s, &[(1, "ancient-0"), (2, "ancient-0"), (3, "ancient-0")])?;
    s.note(DESCRIBE)?;
    s.zookeeper_shell(&["ls /admin", "ls /admin/delete_topics", "ls /config/topics"])
}

fn topics(s: &mut Session) -> anyhow::Result<()> {
    let topics = "old:kafka-topics --zookeeper Z";
    for create in [
        "--topic ancient --replica-assignment 1:2,2:3 --config retention.ms=7200000",
        "--topic ancient --partitions 1 --replication-factor 1",
        "--topic ancient-wide --partitions 1 --replication-factor 4",
    ] {
        s.note(&format!("{topics} --create {create}"))?;
    }
    s.note_when(DESCRIBE, has_leaders(2))?;
    s.note(&format!("{topics} --describe --topic ancient"))?;
    s.zookeeper_shell(&["get /brokers/topics/ancient", "get /config/topics/ancient"])?;
    s.note(&format!(
        "{topics} --alter --topic ancient --config max.message.bytes=500000"
    ))?;
    s.note_when(DESCRIBE, |out| out.contains("max.message.bytes=500000"))?;
    s.note(&format!(
        "{topics} --alter --topic ancient --delete-config max.message.bytes"
    ))?;
    s.note_when(DESCRIBE, |out| !out.contains("max.message.bytes"))?;
    s.note(&format!(
        "{topics} --describe --under-replicated-partitions"
    ))?;
    s.note(&format!("{topics} --describe --unavailable-partitions"))?;
    s.note(&format!("{topics} --list --exclude-internal"))?;
    produce(s, "ancient", 100)?;
    Ok(())
}

fn configs(s: &mut Session) -> anyhow::Result<()> {
    let configs = "old:kafka-configs --zookeeper Z";
    let today = "kafka-configs --bootstrap-server B";
    for (entity, key, value) in [
        (
            "topics --entity-name ancient",
            "max.message.bytes",
            "400000",
        ),
        (
            "brokers --entity-name 2",
            "leader.replication.throttled.rate",
            "1000",
        ),
        ("clients --entity-name c", "producer_byte_rate", "1048576"),
        ("clients --entity-default", "consumer_byte_rate", "1048576"),
        ("users --entity-name 'a b'", "request_percentage", "50"),
        (
            "users --entity-name u --entity-type clients --entity-name c@1",
            "consumer_byte_rate",
            "5",
        ),
    ] {
        s.note(&format!(
            "{configs} --alter --entity-type {entity} --add-config {key}={value}"
        ))?;
        s.note(&format!("{configs} --describe --entity-type {entity}"))?;
        s.note_when(&describer(today, entity), |out| {
            out.contains(&format!("{key}={value}"))
        })?;
        s.note(&format!(
            "{configs} --alter --entity-type {entity} --delete-config {key}"
        ))?;
        s.note_when(&describer(today, entity), |out| !out.contains(key))?;
    }
    Ok(())
}

fn elections(s: &mut Session) -> anyhow::Result<()> {
    s.cluster.broker(2).stop()?;
    s.cluster.wait_until_all_are_registered()?;
    s.cluster.broker(2).restart()?;
    s.cluster.wait_until_all_are_registered()?;
    s.cluster.wait_for_isr("ancient", 0, &[1, 2])?;
    s.cluster.wait_for_isr("ancient", 1, &[2, 3])?;
    s.note("old:kafka-topics --zookeeper Z --describe --topic ancient")?;
    s.file(
        "old-elect.json",
        r#"{"partitions":[{"topic":"ancient","partition":1}]}"#,
    )?;
    let elect = "old:kafka-preferred-replica-election --zookeeper Z --path-to-json-file";
    s.note(&format!("{elect} @old-elect.json"))?;
    s.note_when(
        "old:kafka-topics --zookeeper Z --describe --topic ancient",
        |out| out.contains("Partition: 1\tLeader: 2"),
    )?;
    s.zookeeper_shell(&["ls /admin"])
}

/// The old tool loses the topic's id in its znode, and a controller that begins then makes up
/// another; so nothing fails before the reassignment, which writes the id back.
fn expansion(s: &mut Session) -> anyhow::Result<()> {
    s.note("old:kafka-topics --zookeeper Z --alter --topic ancient --partitions 4")?;
    s.note_when(DESCRIBE, has_leaders(4))?;
    s.zookeeper_shell(&["get /brokers/topics/ancient"])
}

fn has_leaders(partitions: usize) -> impl Fn(&str) -> bool {
    move |out| out.matches("Isr: ").count() == partitions && !out.contains("Leader: none")
}

fn reassignments(s: &mut Session) -> anyhow::Result<()> {
    let tool = "old:kafka-reassign-partitions --zookeeper Z";
    s.file(
        "old-topics.json",
        r#"{"topics":[{"topic":"ancient"}],"version":1}"#,
    )?;
    s.note_sorted_replicas(&format!(
        "{tool} --generate --topics-to-move-json-file @old-topics.json --broker-list 1,3"
    ))?;
    s.file(
        "old-move.json",
        r#"{"version":1,"partitions":[
            {"topic":"ancient","partition":0,"replicas":[3,1]},
            {"topic":"ancient","partition":1,"replicas":[1,3]}]}"#,
    )?;
    let file = "--reassignment-json-file @old-move.json";
    s.note(&format!("{tool} --execute {file} --throttle 10000000"))?;
    s.note_when(&format!("{tool} --verify {file}"), |out| {
        out.matches("completed successfully").count() == 2
    })?;
    s.note_when(DESCRIBE, |out| !out.contains("Adding Replicas"))?;
    for id in 1..=3 {
        s.note(&format!(
            "kafka-configs --bootstrap-server B --describe --entity-type brokers --entity-name {id}"
        ))?;
    }
    wait_until_gone(s, &[(2, "ancient-0"), (2, "ancient-1")])?;
    s.cluster.wait_for_isr("ancient", 0, &[1, 3])?;
    same_segments(s, "ancient-0", &[1, 3])?;
    s.zookeeper_shell(&["ls /admin", "get /brokers/topics/ancient"])
}
