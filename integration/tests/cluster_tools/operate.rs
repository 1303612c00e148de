//! Records, groups, leaders, and brokers that are down.

use crate::session::{Order, Session};

/// Sends records whose keys spread them over the partitions of a topic.
pub(crate) fn produce(s: &mut Session, topic: &str, count: usize) -> anyhow::Result<()> {
    let keyed: String = (0..count).map(|i| format!("key {i}:value {i}\n")).collect();
    s.note_with(
        &keyed,
        &format!(
            "kafka-console-producer --bootstrap-server B --topic {topic} \
             --request-required-acks all --property parse.key=true --property key.separator=:"
        ),
        Order::Kept,
    )?;
    Ok(())
}

pub(crate) fn records(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("records");
    let b = "--bootstrap-server B";
    produce(s, "placed", 90)?;
    s.note(&format!("kafka-get-offsets {b} --topic placed"))?;
    s.note(&format!(
        "kafka-get-offsets {b} --topic placed --time earliest"
    ))?;
    s.note(&format!(
        "kafka-get-offsets {b} --topic-partitions 'p.*:0-1' --exclude-internal-topics"
    ))?;
    s.note_unordered(&format!(
        "kafka-console-consumer {b} --topic placed --from-beginning --max-messages 90 --group g \
         --property print.key=true --property print.partition=true --property print.offset=true"
    ))?;
    for how in ["", " --members --verbose", " --state"] {
        let line = format!("kafka-consumer-groups {b} --describe --group g{how}");
        // Any broker may be its coordinator.
        if how == " --state" {
            s.run(&line)?.success()?;
        } else {
            s.note_unordered(&line)?;
        }
    }
    s.note_unordered(&format!("kafka-consumer-groups {b} --list"))?;
    s.note_unordered(&format!(
        "kafka-consumer-groups {b} --group g --topic placed --reset-offsets --shift-by -3 --execute"
    ))?;
    s.note_unordered(&format!(
        "kafka-consumer-groups {b} --describe --group g --offsets"
    ))?;
    s.file(
        "delete.json",
        r#"{"partitions":[{"topic":"placed","partition":0,"offset":5},
            {"topic":"placed","partition":1,"offset":-1},
            {"topic":"placed","partition":2,"offset":1000}],"version":1}"#,
    )?;
    s.note_unordered(&format!(
        "kafka-delete-records {b} --offset-json-file @delete.json"
    ))?;
    s.note(&format!(
        "kafka-get-offsets {b} --topic placed --time earliest"
    ))?;
    let log_dirs = s.run(&format!(
        "kafka-log-dirs {b} --describe --topic-list placed"
    ))?;
    let json = log_dirs.success()?;
    for id in 1..=3 {
        anyhow::ensure!(json.contains(&format!("{{\"broker\":{id},")), "{json}");
    }
    anyhow::ensure!(
        json.matches("\"partition\":\"placed-").count() == 9,
        "{json}"
    );
    s.note(&format!("kafka-log-dirs {b} --describe --broker-list 1,5"))?;
    s.note_unordered(&format!("kafka-broker-api-versions {b}"))?;
    replicas_agree(s, "placed")
}

/// The verification tool reads every replica and finds no lag.
fn replicas_agree(s: &mut Session, topic: &str) -> anyhow::Result<()> {
    s.run_until(
        &format!(
            "kafka-replica-verification --broker-list B --topics-include {topic} \
             --report-interval-ms 500"
        ),
        "a report without a lag",
        |out, _| out.contains("max lag is 0 for partition"),
    )?;
    Ok(())
}

/// A consumer reads from the replica in its own rack.
pub(crate) fn rack_aware_fetches(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("rack-aware fetches");
    let b = "--bootstrap-server B";
    s.note(&format!(
        "kafka-topics {b} --create --topic racks --replica-assignment 1:2:3"
    ))?;
    s.note(&format!(
        "kafka-topics {b} --describe --topic racks --under-replicated-partitions"
    ))?;
    s.run(
        "kafka-producer-perf-test --topic racks --num-records 3000 --record-size 1000 \
         --throughput -1 --producer-props acks=all bootstrap.servers=B",
    )?
    .success()?;
    s.cluster.wait_for_isr("racks", 0, &[1, 2, 3])?;
    for id in 2..=3 {
        s.file("rack.properties", &format!("client.rack=rack-{id}\n"))?;
        // It says so itself, if it is asked to say much.
        let choice = format!("Updating preferred read replica for partition racks-0 to {id},");
        s.run_until(
            "kafka-console-consumer --bootstrap-server B --topic racks --from-beginning \
             --max-messages 3000 --consumer.config @rack.properties",
            "3000 records from the replica in the same rack",
            |out, log| log.contains(&choice) && out.lines().count() == 3000,
        )?;
    }
    s.file("rack.properties", "client.rack=rack-3\n")?;
    s.note(&format!(
        "kafka-console-consumer {b} --topic placed --partition 0 --offset 5 --max-messages 3 \
         --consumer.config @rack.properties"
    ))?;
    Ok(())
}

pub(crate) fn stopped_brokers(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("stopped brokers");
    let b = "--bootstrap-server B";
    let describe = &format!("kafka-topics {b} --describe");
    for create in [
        "--topic fragile --replica-assignment 3:2,2:3 --config min.insync.replicas=2",
        "--topic alone --replica-assignment 3",
    ] {
        s.note(&format!("kafka-topics {b} --create {create}"))?;
    }
    s.cluster.wait_for_isr("fragile", 0, &[2, 3])?;
    s.cluster.wait_for_isr("alone", 0, &[3])?;
    s.cluster.broker(3).stop()?;
    s.note_when(&format!("{describe} --unavailable-partitions"), |out| {
        out.contains("alone")
    })?;
    s.note(&format!("{describe} --topic fragile"))?;
    s.note(&format!("{describe} --topic placed"))?;
    for filter in [
        "--under-replicated-partitions --exclude-internal",
        "--under-min-isr-partitions --exclude-internal",
        "--at-min-isr-partitions --exclude-internal",
    ] {
        s.note(&format!("{describe} {filter}"))?;
    }
    s.note(&format!(
        "kafka-topics {b} --create --topic late --partitions 1 --replication-factor 3"
    ))?;
    s.note(&format!(
        "kafka-topics {b} --create --topic late --replica-assignment 3:1"
    ))?;
    s.note_when(&format!("{describe} --topic late"), |out| {
        out.contains("Leader: 1")
    })?;
    s.file(
        "dead.json",
        r#"{"version":1,"partitions":[{"topic":"late","partition":0,"replicas":[2,3]},
            {"topic":"placed","partition":0,"replicas":[1,3]}]}"#,
    )?;
    s.note(&format!(
        "kafka-reassign-partitions {b} --execute --reassignment-json-file @dead.json"
    ))?;
    let elect = &format!("kafka-leader-election {b} --election-type");
    s.note(&format!("{elect} preferred --topic fragile --partition 0"))?;
    s.note(&format!("{elect} unclean --topic alone --partition 0"))?;
    s.note(&format!("{elect} unclean --topic fragile --partition 0"))?;
    s.note(&format!("{elect} preferred --topic nosuch --partition 0"))?;

    // The last replica in sync goes without a word, the one that lags comes back.
    s.cluster.kill(2)?;
    s.cluster.wait_until_all_are_registered()?;
    s.cluster.broker(3).restart()?;
    s.cluster.wait_until_all_are_registered()?;
    s.cluster.wait_for_isr("alone", 0, &[3])?;
    s.note_when(&format!("{describe} --topic fragile"), |out| {
        out.matches("Leader: none").count() == 2
    })?;
    s.note_when(&format!("{describe} --unavailable-partitions"), |out| {
        !out.contains("alone")
    })?;
    s.note(&format!("{elect} preferred --topic fragile --partition 0"))?;
    s.note(&format!("{elect} unclean --topic fragile --partition 0"))?;
    s.file(
        "elect.json",
        r#"{"partitions":[{"topic":"fragile","partition":0},{"topic":"fragile","partition":1}]}"#,
    )?;
    s.note_unordered(&format!("{elect} unclean --path-to-json-file @elect.json"))?;
    s.note_when(&format!("{describe} --topic fragile"), |out| {
        out.matches("Leader: 3").count() == 2
    })?;

    s.cluster.broker(2).restart()?;
    s.cluster.wait_until_all_are_registered()?;
    s.note_when(
        &format!("{describe} --under-replicated-partitions"),
        str::is_empty,
    )?;
    s.note(&format!("{describe} --topic fragile"))?;
    s.note(&format!("{describe} --topic placed"))?;
    s.note_unordered(&format!(
        "{elect} preferred --path-to-json-file @elect.json"
    ))?;
    s.note_unordered(&format!(
        "{elect} preferred --path-to-json-file @elect.json"
    ))?;
    s.run(&format!("{elect} preferred --all-topic-partitions"))?
        .success()?;
    s.note(&format!("{elect} preferred --all-topic-partitions"))?;
    for topic in ["fragile", "placed", "pairs", "late", "moving"] {
        s.note_when(&format!("{describe} --topic {topic}"), leads_first)?;
    }
    Ok(())
}

/// Whether the first replica of each partition leads it.
fn leads_first(described: &str) -> bool {
    described
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once("Leader: ")?;
            let (leader, rest) = rest.split_once('\t')?;
            let (_, replicas) = rest.split_once("Replicas: ")?;
            let first = replicas.split([',', '\t']).next()?;
            Some(leader == first)
        })
        .all(|leads| leads)
}

pub(crate) fn znodes(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("znodes");
    s.zookeeper_shell(&[
        "ls /",
        "get /controller",
        "ls /brokers",
        "ls /brokers/ids",
        "get /brokers/ids/1",
        "get /brokers/ids/2",
        "ls /brokers/topics",
        "get /brokers/topics/placed",
        "get /brokers/topics/pairs",
        "get /brokers/topics/moving",
        "ls /brokers/topics/pairs/partitions",
        "get /brokers/topics/placed/partitions/0/state",
        "get /brokers/topics/placed/partitions/1/state",
        "get /brokers/topics/placed/partitions/2/state",
        "get /brokers/topics/fragile/partitions/0/state",
        "get /brokers/topics/fragile/partitions/1/state",
        "get /brokers/topics/alone/partitions/0/state",
        "get /brokers/topics/moving/partitions/0/state",
        "get /brokers/topics/moving/partitions/1/state",
        "ls /config",
        "ls /config/topics",
        "ls /config/brokers",
        "get /config/brokers/1",
        "get /config/topics/placed",
        "get /config/topics/moving",
        "ls /config/clients",
        "ls /config/users",
        "ls /config/ips",
        "ls /admin",
        "ls /admin/delete_topics",
        "get /feature",
        "ls /isr_change_notification",
        "ls /log_dir_event_notification",
    ])
}
