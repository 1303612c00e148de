//! The table and the descriptions against Apache Kafka 3.9.1: `tests/data/keys.tsv` was printed
//! from its classes, `describe-*.tsv` by its Admin client from a running broker.

use std::collections::BTreeMap;

use ottla_config::describe::{DescribedEntry, DynamicValues};
use ottla_config::dynamic::{DynamicLevel, usable_dynamic, validate_dynamic};
use ottla_config::key::{Importance, Key, UpdateMode};
use ottla_config::{
    BrokerConfig, ConfigSource, Properties, describe_broker, describe_broker_defaults,
    describe_topic, keys,
};

/// What the real broker was started with.
fn at_start() -> BrokerConfig {
    let file = "
broker.id=0
listeners=PLAINTEXT://127.0.0.1:23092
log.dirs=/var/lib/kafka
zookeeper.connect=127.0.0.1:23181
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
delete.topic.enable=true
log.retention.hours=48
log.roll.hours = 24\x20
some.unknown.key=abc
ssl.keystore.password=secret
listener.name.plaintext.max.connections=77
listener.name.plaintext.plain.sasl.jaas.config=x y z
inter.broker.protocol.version=3.9
log.initial.task.delay.ms=20000
log.cleaner.min.cleanable.ratio=0.25
log.cleanup.policy=delete , compact
";
    let properties = ottla_config::properties::parse(file.as_bytes()).unwrap();
    BrokerConfig::from_properties(properties).unwrap()
}

/// What was then set while it ran.
fn dynamic() -> DynamicValues {
    DynamicValues {
        broker: properties(&[
            ("log.cleaner.threads", "2"),
            ("log.retention.ms", "7777777"),
            ("leader.replication.throttled.rate", "1000"),
            ("custom.x", "1"),
        ]),
        default: properties(&[
            ("log.retention.ms", "5555555"),
            ("max.connections", "1000"),
            ("log.roll.ms", "123456"),
            ("background.threads", "15"),
        ]),
    }
}

fn properties(values: &[(&str, &str)]) -> Properties {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_table_says_what_kafkas_classes_say() {
    let mut ours: BTreeMap<String, &Key> = BTreeMap::new();
    ours.extend(keys::broker_keys().map(|key| (format!("broker {}", key.name), key)));
    ours.extend(keys::topic_keys().map(|key| (format!("topic {}", key.name), key)));
    for line in include_str!("data/keys.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [
            scope,
            name,
            kind,
            default,
            validator,
            importance,
            update,
            internal,
        ] = columns[..]
        else {
            panic!("not a row: {line}");
        };
        let key = ours
            .remove(&format!("{scope} {name}"))
            .unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(key.kind.name(), kind, "{name}");
        assert_eq!(key.default, default.strip_prefix("text:"), "{name}");
        if !validator.is_empty() {
            assert_eq!(key.validator.to_string(), validator, "{name}");
        }
        let rank = match key.importance {
            Importance::High => "HIGH",
            Importance::Medium => "MEDIUM",
            Importance::Low => "LOW",
        };
        assert_eq!(rank, importance, "{name}");
        let mode = match key.update_mode {
            _ if scope == "topic" => "-",
            UpdateMode::ReadOnly => "read-only",
            UpdateMode::PerBroker => "per-broker",
            UpdateMode::ClusterWide => "cluster-wide",
        };
        assert_eq!(mode, update, "{name}");
        assert_eq!(key.internal, internal == "internal", "{name}");
    }
    assert!(ours.is_empty(), "not in Kafka: {:?}", ours.keys());
}

#[test]
fn every_key_is_documented_in_one_sentence() {
    for key in keys::broker_keys().chain(keys::topic_keys()) {
        assert!(
            key.documentation.ends_with('.'),
            "{}: {:?}",
            key.name,
            key.documentation
        );
        assert!(
            key.documentation.len() > 15,
            "{}: {:?}",
            key.name,
            key.documentation
        );
    }
}

#[test]
fn a_broker_is_described_as_kafka_describes_it() {
    let start = at_start();
    let described = describe_broker(&start, &DynamicValues::default());
    compare(&described, include_str!("data/describe-broker-static.tsv"));
    let config = start.with_dynamic(&dynamic()).unwrap();
    let described = describe_broker(&config, &dynamic());
    compare(&described, include_str!("data/describe-broker-dynamic.tsv"));
    let described = describe_broker_defaults(&config, &dynamic());
    compare(
        &described,
        include_str!("data/describe-default-dynamic.tsv"),
    );
}

#[test]
fn a_topic_is_described_as_kafka_describes_it() {
    let start = at_start();
    let overrides = properties(&[("retention.ms", "3600000"), ("segment.bytes", " 1000000 ")]);
    let described = describe_topic(&start, &DynamicValues::default(), &overrides).unwrap();
    compare(&described, include_str!("data/describe-topic-static.tsv"));
    let config = start.with_dynamic(&dynamic()).unwrap();
    let overrides = properties(&[
        ("retention.ms", "3600000"),
        ("max.message.bytes", "2000000"),
        ("cleanup.policy", "delete,compact"),
    ]);
    let described = describe_topic(&config, &dynamic(), &overrides).unwrap();
    compare(&described, include_str!("data/describe-topic-dynamic.tsv"));
}

fn compare(described: &[DescribedEntry], expect: &str) {
    let ours: Vec<String> = described.iter().map(print).collect();
    for (ours, theirs) in ours.iter().zip(expect.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), expect.lines().count());
}

/// As the capture was printed.
fn print(entry: &DescribedEntry) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|synonym| {
            format!(
                "{}:{}={}",
                source(synonym.source),
                synonym.name,
                text(&synonym.value)
            )
        })
        .collect();
    let columns = [
        entry.name.clone(),
        text(&entry.value),
        source(entry.source).to_owned(),
        if entry.is_sensitive {
            "sensitive"
        } else {
            "plain"
        }
        .to_owned(),
        if entry.is_read_only {
            "read-only"
        } else {
            "dynamic"
        }
        .to_owned(),
        entry.kind.map_or("UNKNOWN", |kind| kind.name()).to_owned(),
        format!("{{{}}}", synonyms.join(", ")),
    ];
    let documented = if entry.documentation.is_some() {
        ""
    } else {
        "\tno-doc"
    };
    columns.join("\t") + documented
}

fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::TopicConfig => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBrokerConfig => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBrokerConfig => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBrokerConfig => "STATIC_BROKER_CONFIG",
        ConfigSource::DefaultConfig => "DEFAULT_CONFIG",
        ConfigSource::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
    }
}

#[test]
fn dynamic_changes_are_refused_in_kafkas_words() {
    let dynamic = dynamic();
    let current = at_start().with_dynamic(&dynamic).unwrap();
    let check = |level: DynamicLevel, set: &[(&str, &str)], expect: Option<&str>| {
        let mut proposed = match level {
            DynamicLevel::Broker => dynamic.broker.clone(),
            DynamicLevel::Default => dynamic.default.clone(),
        };
        proposed.extend(properties(set));
        let result = validate_dynamic(&current, &dynamic, level, &proposed);
        assert_eq!(
            result.err().map(|error| error.to_string()).as_deref(),
            expect,
            "{set:?}"
        );
    };
    let broker = DynamicLevel::Broker;
    let default = DynamicLevel::Default;
    check(broker, &[("custom.y", "2")], None);
    check(broker, &[("log.cleaner.io.buffer.load.factor", "-1")], None);
    check(
        broker,
        &[("broker.id", "1")],
        Some("Cannot update these configs dynamically: Set(broker.id)"),
    );
    check(
        broker,
        &[("zookeeper.connect", "x"), ("node.id", "3")],
        Some("Cannot update these configs dynamically: Set(node.id, zookeeper.connect)"),
    );
    check(
        broker,
        &[("ssl.keystore.password", "secret")],
        Some(
            "These security configs can be dynamically updated only per-listener using the \
             listener prefix: HashSet(ssl.keystore.password)",
        ),
    );
    check(
        broker,
        &[("log.cleaner.threads", "x")],
        Some("Invalid value x for configuration log.cleaner.threads: Not a number of type INT"),
    );
    check(
        broker,
        &[("log.cleaner.threads", "50")],
        Some(
            "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads \
             cannot be increased to more than double the current value 2 for configuration Invalid \
             dynamic configuration",
        ),
    );
    check(broker, &[("log.cleaner.threads", "0")], Some("/ by zero"));
    check(
        broker,
        &[("background.threads", "100")],
        Some(
            "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count \
             update validation failed for background.threads=100, value should not be greater than \
             double the current value 15 for configuration Invalid dynamic configuration",
        ),
    );
    check(
        broker,
        &[("log.retention.ms", "0")],
        Some(
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal \
             to 1",
        ),
    );
    check(
        default,
        &[("listeners", "PLAINTEXT://:1")],
        Some(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             Set(listeners)",
        ),
    );
    check(
        default,
        &[("listener.name.plaintext.ssl.keystore.location", "/x")],
        Some(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             Set(listener.name.plaintext.ssl.keystore.location)",
        ),
    );
    check(
        default,
        &[("leader.replication.throttled.rate", "-1")],
        Some(
            "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be \
             at least 0",
        ),
    );
    check(
        broker,
        &[("max.connections.per.ip.overrides", "1.1.1.1:x")],
        Some("For input string: \"x\""),
    );
}

#[test]
fn stored_values_that_cannot_be_used_are_left_out_and_named() {
    let stored = properties(&[
        ("log.retention.ms", "5"),
        ("log.segment.bytes", "x"),
        ("broker.id", "3"),
        ("listeners", "PLAINTEXT://:1"),
    ]);
    let (usable, ignored) = usable_dynamic(DynamicLevel::Default, &stored);
    assert_eq!(usable, properties(&[("log.retention.ms", "5")]));
    let names: Vec<&str> = ignored.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["broker.id", "listeners", "log.segment.bytes"]);
}
