//! Partitions move between brokers, as fast as they may.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ottla_integration::wait;

use crate::operate::produce;
use crate::session::Session;

const DEADLINE: Duration = Duration::from_secs(180);
const TOOL: &str = "kafka-reassign-partitions --bootstrap-server B";

pub(crate) fn reassignments(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("reassignments");
    let b = "--bootstrap-server B";
    s.note(&format!(
        "kafka-topics {b} --create --topic moving --replica-assignment 1:2,2:1,1:2,2:1"
    ))?;
    produce(s, "moving", 400)?;
    s.file(
        "topics.json",
        r#"{"topics":[{"topic":"moving"}],"version":1}"#,
    )?;
    s.file(
        "nosuch.json",
        r#"{"topics":[{"topic":"nosuch"}],"version":1}"#,
    )?;
    for generate in [
        "topics.json --broker-list 2,3",
        "topics.json --broker-list 1,2,9",
        "topics.json --broker-list 1,1",
        "topics.json --broker-list 1",
        "nosuch.json --broker-list 1,2",
    ] {
        s.note_sorted_replicas(&format!(
            "{TOOL} --generate --topics-to-move-json-file @{generate}"
        ))?;
    }
    s.file(
        "move.json",
        r#"{"version":1,"partitions":[
            {"topic":"moving","partition":0,"replicas":[2,3],"log_dirs":["any","any"]},
            {"topic":"moving","partition":1,"replicas":[3,1],"log_dirs":["any","any"]},
            {"topic":"moving","partition":2,"replicas":[2,1]},
            {"topic":"moving","partition":3,"replicas":[2,1,3]}]}"#,
    )?;
    s.note_unordered(&format!(
        "{TOOL} --verify --reassignment-json-file @move.json"
    ))?;
    s.note(&format!(
        "{TOOL} --execute --reassignment-json-file @move.json"
    ))?;
    s.note_when(
        &format!("{TOOL} --verify --reassignment-json-file @move.json"),
        |out| out.matches("is completed").count() == 4,
    )?;
    s.note(&format!("{TOOL} --list"))?;
    s.note(&format!(
        "{TOOL} --cancel --reassignment-json-file @move.json"
    ))?;
    s.note_when(
        &format!("kafka-topics {b} --describe --topic moving"),
        |out| out.matches("Isr: ").count() == 4,
    )?;
    for (file, partitions) in [
        (
            "unknown-broker",
            r#"{"topic":"moving","partition":0,"replicas":[2,9]}"#,
        ),
        (
            "unknown-partition",
            r#"{"topic":"moving","partition":7,"replicas":[2,3]}"#,
        ),
        (
            "unknown-topic",
            r#"{"topic":"nosuch","partition":0,"replicas":[2,3]}"#,
        ),
        (
            "twice",
            r#"{"topic":"moving","partition":0,"replicas":[2,2]}"#,
        ),
        ("empty", r#"{"topic":"moving","partition":0,"replicas":[]}"#),
    ] {
        let json = format!(r#"{{"version":1,"partitions":[{partitions}]}}"#);
        s.file(&format!("{file}.json"), &json)?;
        for action in ["--execute", "--verify"] {
            s.note(&format!(
                "{TOOL} {action} --reassignment-json-file @{file}.json"
            ))?;
        }
    }
    wait_until_gone(s, &[(1, "moving-0"), (2, "moving-1")])?;
    for (partition, replicas) in [
        (0, &[2, 3][..]),
        (1, &[3, 1]),
        (2, &[2, 1]),
        (3, &[2, 1, 3]),
    ] {
        s.cluster.wait_for_isr("moving", partition, replicas)?;
        same_segments(s, &format!("moving-{partition}"), replicas)?;
    }
    Ok(())
}

/// Bytes per second.
const RATE: u32 = 1_200_000;
const HEAVY_0: &str = "heavy-0/00000000000000000000.log";

pub(crate) fn throttled(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("throttled reassignments");
    let b = "--bootstrap-server B";
    s.note(&format!(
        "kafka-topics {b} --create --topic heavy --replica-assignment 1:2,1:2"
    ))?;
    s.run(
        "kafka-producer-perf-test --topic heavy --num-records 18000 --record-size 1000 \
         --throughput -1 --producer-props acks=all bootstrap.servers=B",
    )?
    .success()?;

    let move_0 = |s: &Session, replicas: &[u32]| move_file(s, "heavy.json", 0, replicas);
    let heavy = "--reassignment-json-file @heavy.json";
    move_0(s, &[3, 1])?;
    let bytes = size_on(s, 1) as f64;
    let begin = Instant::now();
    s.note(&format!("{TOOL} --execute {heavy} --throttle {RATE}"))?;
    s.cluster.wait_for_isr("heavy", 0, &[3, 1])?;
    let took = begin.elapsed().as_secs_f64();
    let expected = bytes / f64::from(RATE);
    eprintln!("{bytes} bytes moved in {took:.1} s, expected {expected:.1} s");
    // A busy machine makes it longer, and nothing may make it shorter.
    anyhow::ensure!(
        (expected * 0.5..expected * 2.0 + 60.0).contains(&took),
        "{bytes} bytes moved in {took:.1} s, expected {expected:.1} s"
    );
    s.note_when(&format!("{TOOL} --verify {heavy}"), |out| {
        out.contains("is completed")
    })?;
    configs(s, None)?;
    describe_heavy(s, false)?;
    wait_until_gone(s, &[(2, "heavy-0")])?;
    same_segments(s, "heavy-0", &[1, 3])?;

    cancelled(s)?;

    // Each side limits by itself: a fetch or two, and then nothing for ten seconds.
    let alter = format!("kafka-configs {b} --alter");
    let topic = "--entity-type topics --entity-name heavy";
    let brokers = "--entity-type brokers --entity-default";
    for (side, replicas, new) in [("leader", [3, 2], 2), ("follower", [3, 1], 1)] {
        move_0(s, &replicas)?;
        let rate = format!("{side}.replication.throttled.rate");
        let throttled = format!("{side}.replication.throttled.replicas");
        s.note(&format!("{alter} {topic} --add-config {throttled}=*"))?;
        s.note(&format!("{alter} {brokers} --add-config {rate}=1000"))?;
        s.note_when(&format!("kafka-configs {b} --describe {brokers}"), |out| {
            out.contains(&rate)
        })?;
        applied(s, &format!("DYNAMIC_DEFAULT_BROKER_CONFIG:{rate}=1000"))?;
        s.note(&format!("{TOOL} --execute {heavy}"))?;
        std::thread::sleep(MEASURED);
        let moved = size_on(s, new) as f64;
        anyhow::ensure!(
            moved < bytes / 2.0,
            "{moved} of {bytes} bytes moved, although the {side} is throttled"
        );
        s.note(&format!("{alter} {brokers} --delete-config {rate}"))?;
        s.cluster.wait_for_isr("heavy", 0, &replicas)?;
        s.note(&format!("{alter} {topic} --delete-config {throttled}"))?;
        same_segments(s, "heavy-0", &replicas)?;
    }
    Ok(())
}

/// Waits until each broker has applied a setting.
fn applied(s: &mut Session, setting: &str) -> anyhow::Result<()> {
    for id in 1..=3 {
        let describe = format!(
            "kafka-configs --bootstrap-server B --describe --entity-type brokers \
             --entity-name {id} --all"
        );
        wait::wait_for("a setting of each broker", DEADLINE, || {
            let out = s.run(&describe).ok()?.out;
            out.contains(setting).then_some(())
        })?;
    }
    Ok(())
}

/// How long a throttled partition is watched.
const MEASURED: Duration = Duration::from_secs(4);

/// Reassignments so slow that they go on until they are cancelled.
fn cancelled(s: &mut Session) -> anyhow::Result<()> {
    let b = "--bootstrap-server B";
    move_file(s, "heavy.json", 0, &[3, 2])?;
    move_file(s, "other.json", 1, &[2, 3])?;
    let heavy = "--reassignment-json-file @heavy.json";
    let other = "--reassignment-json-file @other.json";
    s.note(&format!("{TOOL} --execute {heavy} --throttle 1000"))?;
    s.note(&format!("{TOOL} --list"))?;
    s.note(&format!("{TOOL} --verify {heavy}"))?;
    configs(s, Some("1000"))?;
    describe_heavy(s, true)?;
    s.note(&format!(
        "kafka-topics {b} --describe --under-replicated-partitions"
    ))?;
    s.note(&format!("{TOOL} --execute {other} --throttle 1000"))?;
    s.note(&format!(
        "{TOOL} --execute {other} --additional --throttle 2000"
    ))?;
    s.note(&format!("{TOOL} --execute {heavy} --additional"))?;
    configs(s, Some("2000"))?;
    s.zookeeper_shell(&["get /brokers/topics/heavy", "ls /admin"])?;
    s.note(&format!(
        "kafka-topics {b} --alter --topic heavy --partitions 3"
    ))?;
    s.note(&format!("{TOOL} --cancel {heavy} --preserve-throttles"))?;
    s.note_when(&format!("{TOOL} --list"), |out| !out.contains("heavy-0"))?;
    s.note(&format!("{TOOL} --verify {other} --preserve-throttles"))?;
    s.note(&format!("{TOOL} --cancel {other}"))?;
    configs(s, None)?;
    describe_heavy(s, false)?;
    wait_until_gone(s, &[(2, "heavy-0"), (3, "heavy-1")])
}

fn move_file(s: &Session, name: &str, partition: u32, replicas: &[u32]) -> anyhow::Result<()> {
    let json = format!(
        r#"{{"version":1,"partitions":[{{"topic":"heavy","partition":{partition},"replicas":{replicas:?}}}]}}"#
    );
    s.file(name, &json)
}

/// Writes down what is throttled, once every broker has the rate, or none.
fn configs(s: &mut Session, rate: Option<&str>) -> anyhow::Result<()> {
    let describe = "kafka-configs --bootstrap-server B --describe --entity-type";
    for id in 1..=3 {
        s.note_when(
            &format!("{describe} brokers --entity-name {id}"),
            |out| match rate {
                Some(rate) => out.matches(&format!("rate={rate} sensitive")).count() == 2,
                None => !out.contains("rate="),
            },
        )?;
    }
    s.note(&format!("{describe} topics --entity-name heavy"))?;
    Ok(())
}

fn describe_heavy(s: &mut Session, is_moving: bool) -> anyhow::Result<()> {
    s.note_when(
        "kafka-topics --bootstrap-server B --describe --topic heavy",
        |out| out.contains("Adding Replicas") == is_moving,
    )?;
    Ok(())
}

/// How much of the partition that moves a broker has.
fn size_on(s: &mut Session, id: u32) -> u64 {
    let file = s.cluster.broker(id).log_directory().join(HEAVY_0);
    std::fs::metadata(file).map_or(0, |found| found.len())
}

/// Waits until brokers have deleted their replicas.
pub(crate) fn wait_until_gone(s: &mut Session, replicas: &[(u32, &str)]) -> anyhow::Result<()> {
    for (id, partition) in replicas {
        let directory = s.cluster.broker(*id).log_directory().join(partition);
        wait::wait_for("the end of a replica", DEADLINE, || {
            (!directory.exists()).then_some(())
        })?;
    }
    Ok(())
}

/// The segments of a partition are the same bytes on every replica.
pub(crate) fn same_segments(
    s: &mut Session,
    partition: &str,
    replicas: &[u32],
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for id in replicas {
        let directory = s.cluster.broker(*id).log_directory().join(partition);
        let mut segments: Vec<PathBuf> = std::fs::read_dir(&directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        segments.retain(|file| file.extension().is_some_and(|ending| ending == "log"));
        segments.sort();
        let mut bytes = Vec::new();
        for segment in segments {
            bytes.extend(std::fs::read(segment)?);
        }
        anyhow::ensure!(!bytes.is_empty(), "{partition} of {id} is empty");
        all.push(bytes);
    }
    anyhow::ensure!(
        all.windows(2).all(|pair| pair[0] == pair[1]),
        "the replicas {replicas:?} of {partition} differ"
    );
    Ok(())
}
