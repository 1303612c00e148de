//! Topics and what can be configured.

use crate::session::Session;

pub(crate) fn topics(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("topics");
    for create in [
        "--topic placed --replica-assignment 1:2:3,2:3:1,3:1:2 --config min.insync.replicas=2",
        "--topic pairs --replica-assignment 1:2,2:3 --config retention.ms=3600000",
        "--topic spread --partitions 6 --replication-factor 3",
        "--topic spread --partitions 6 --replication-factor 3",
        "--topic wide --partitions 1 --replication-factor 4",
        "--topic wrong --replica-assignment 1:1",
        "--topic wrong --replica-assignment 1:2,3",
        "--topic wrong --partitions 1 --replication-factor 2 --config min.insync.replicas=0",
    ] {
        s.note(&format!(
            "kafka-topics --bootstrap-server B --create {create}"
        ))?;
    }
    let describe = "kafka-topics --bootstrap-server B --describe";
    s.note_when(&format!("{describe} --topic placed"), |out| {
        out.matches("Isr: ").count() == 3 && !out.contains("Leader: none")
    })?;
    s.note(&format!("{describe} --topic pairs"))?;
    s.note(&format!("{describe} --topic nosuch"))?;
    s.note("kafka-topics --bootstrap-server B --alter --topic pairs --partitions 5")?;
    s.note_when(&format!("{describe} --topic pairs"), |out| {
        out.matches("Isr: ").count() == 5 && !out.contains("Leader: none")
    })?;
    s.note("kafka-topics --bootstrap-server B --alter --topic pairs --partitions 3")?;
    s.note(
        "kafka-topics --bootstrap-server B --alter --topic pairs --partitions 7 \
         --replica-assignment 1:2,2:3,2:3,1:2,2:3,3:1,1:3",
    )?;
    s.note_when(&format!("{describe} --topic pairs"), |out| {
        out.matches("Isr: ").count() == 7 && !out.contains("Leader: none")
    })?;
    for filter in [
        "--under-replicated-partitions",
        "--under-min-isr-partitions",
        "--at-min-isr-partitions",
        "--unavailable-partitions",
        "--topics-with-overrides --exclude-internal",
    ] {
        s.note(&format!("{describe} {filter}"))?;
    }
    s.note("kafka-topics --bootstrap-server B --list --exclude-internal")?;
    s.note("kafka-topics --bootstrap-server B --delete --topic spread")?;
    s.note_when(
        "kafka-topics --bootstrap-server B --list --exclude-internal",
        |out| !out.contains("spread"),
    )?;
    s.note("kafka-topics --bootstrap-server B --delete --topic spread")?;
    s.note("kafka-cluster cluster-id --bootstrap-server B")?;
    s.note("kafka-features --bootstrap-server B describe")?;
    Ok(())
}

pub(crate) fn configs(s: &mut Session) -> anyhow::Result<()> {
    s.chapter("configs");
    let b = "kafka-configs --bootstrap-server B";
    for (entity, key, value) in [
        (
            "topics --entity-name placed",
            "max.message.bytes",
            "2000000",
        ),
        ("brokers --entity-name 1", "log.cleaner.threads", "2"),
        (
            "brokers --entity-name 3",
            "leader.replication.throttled.rate",
            "1000000",
        ),
        ("brokers --entity-default", "log.retention.ms", "86400000"),
        ("clients --entity-name c", "producer_byte_rate", "1048576"),
        ("clients --entity-default", "consumer_byte_rate", "1048576"),
        ("users --entity-name u", "request_percentage", "50"),
        ("users --entity-default", "controller_mutation_rate", "10"),
        (
            "users --entity-name 'a b' --entity-type clients --entity-name c@1",
            "consumer_byte_rate",
            "5",
        ),
        (
            "ips --entity-name 127.0.0.9",
            "connection_creation_rate",
            "7",
        ),
        ("ips --entity-default", "connection_creation_rate", "1000"),
    ] {
        let describe = describer(b, entity);
        s.note(&format!(
            "{b} --alter --entity-type {entity} --add-config {key}={value}"
        ))?;
        // A broker shows what it has stored before what it has applied.
        let applied = if entity.starts_with("brokers") {
            " sensitive"
        } else {
            ""
        };
        let shown = format!("{key}={value}{applied}");
        s.note_when(&describe, |out| out.contains(&shown))?;
        s.note(&format!(
            "{b} --alter --entity-type {entity} --delete-config {key}"
        ))?;
        s.note_when(&describe, |out| !out.contains(key))?;
    }
    for wrong in [
        "topics --entity-name placed --add-config nosuch=1",
        "topics --entity-name nosuch --add-config retention.ms=1",
        "topics --entity-name placed --add-config min.insync.replicas=x",
        "brokers --entity-name 1 --add-config broker.id=7",
        "brokers --entity-name 1 --add-config log.cleaner.threads=0",
        "brokers --entity-name 9 --add-config log.cleaner.threads=2",
        "clients --entity-name c --add-config nosuch=1",
        "ips --entity-name nosuch.invalid --add-config connection_creation_rate=1",
        "topics --entity-name placed --delete-config retention.ms",
    ] {
        s.note(&format!("{b} --alter --entity-type {wrong}"))?;
    }
    s.note(&format!("{b} --describe --entity-type topics"))?;
    s.note(&format!(
        "{b} --describe --entity-type topics --entity-name placed --all"
    ))?;
    // The other loggers have names of the broker's own.
    let logger = "--entity-type broker-loggers --entity-name 2";
    for change in [
        "--add-config root=DEBUG",
        "--add-config root=nosuch",
        "--add-config nosuch.logger=INFO",
        "--delete-config root",
        "--add-config root=INFO",
    ] {
        s.note(&format!("{b} --alter {logger} {change}"))?;
    }
    Ok(())
}

/// What describes an entity: users the tool of old, which shows the znode as it is.
pub(crate) fn describer(today: &str, entity: &str) -> String {
    let tool = if entity.starts_with("users") && !entity.contains("clients") {
        "old:kafka-configs --zookeeper Z"
    } else {
        today
    };
    format!("{tool} --describe --entity-type {entity}")
}
