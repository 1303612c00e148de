//! The page of a whole broker: that Prometheus can read it, and that it keeps to the names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_config::{BrokerConfig, profile};
use ottla_storage::log_manager::RemainingRecovery;

use crate::dynamic_config::Loggers;
use crate::{RunningBroker, StartOptions};

/// Not beans that the exporter's rules for Kafka know: the name that it gives without any rule.
const BY_DEFAULT: [&str; 1] = ["kafka_server_socket_server_metrics_connection_count"];

/// A metric as it was read: its type and the labels and values of its series.
#[derive(Debug, Default)]
struct Read {
    kind: String,
    series: BTreeMap<BTreeMap<String, String>, f64>,
}

/// Reads a page, strictly: every metric has its HELP and TYPE once, before its samples, which stand
/// together; no series appears twice.
fn read(page: &str) -> Result<BTreeMap<String, Read>, String> {
    let mut metrics: BTreeMap<String, Read> = BTreeMap::new();
    let mut current = String::new();
    let mut helped = String::new();
    if !page.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    for line in page.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, text)) = help.split_once(' ') else {
                return wrong("no help");
            };
            if !is_name(name) || text.is_empty() || metrics.contains_key(name) {
                return wrong("bad help");
            }
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = kind.split_once(' ') else {
                return wrong("no type");
            };
            if name != helped || !["gauge", "counter"].contains(&kind) {
                return wrong("bad type");
            }
            current = name.to_owned();
            let metric = Read {
                kind: kind.to_owned(),
                ..Read::default()
            };
            if metrics.insert(current.clone(), metric).is_some() {
                return wrong("second type");
            }
        } else {
            let (name, labels, value) = sample(line).ok_or(format!("no sample: {line}"))?;
            let metric = metrics.get_mut(name).filter(|_| name == current);
            let Some(metric) = metric else {
                return wrong("not below its type");
            };
            if metric.series.insert(labels, value).is_some() {
                return wrong("second series");
            }
        }
    }
    Ok(metrics)
}

fn sample(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    let value: f64 = rest.strip_prefix(' ')?.parse().ok()?;
    (is_name(name) && value.is_finite()).then_some((name, labels, value))
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                letter @ ('\\' | '"') => letter,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(is_letter) && name.chars().all(|l| is_letter(l) || l.is_ascii_digit())
}

/// What a Java broker shows through the exporter: types and sets of labels by name.
fn kafkas() -> BTreeMap<&'static str, (&'static str, BTreeSet<Vec<&'static str>>)> {
    let list = include_str!("jmx_exporter_names.txt").lines();
    let mut names: BTreeMap<_, (&str, BTreeSet<Vec<&str>>)> = BTreeMap::new();
    for line in list.filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let kind = words.next().unwrap_or_default();
        let (known, labels) = names.entry(name).or_default();
        *known = kind;
        labels.insert(words.collect());
    }
    names
}

async fn start(directory: &std::path::Path) -> RunningBroker {
    let mut properties = profile::single_node();
    let logs = directory.join("logs").display().to_string();
    for (key, value) in [
        ("log.dirs", logs.as_str()),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ] {
        properties.insert(key.to_owned(), value.to_owned());
    }
    RunningBroker::start(StartOptions {
        config: BrokerConfig::from_properties(properties).unwrap(),
        coordination_directory: directory.join("coordination"),
        loggers: Arc::new(Loggers::new("info", Box::new(|_| Ok(())))),
        metrics: Some("127.0.0.1:0".parse().unwrap()),
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_read_and_keeps_to_the_exporters_names() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start(directory.path()).await;
    let (_, address) = &broker.addresses()[0];
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    // ApiVersions, version 0.
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255];
    let mut answer = [0; 8];
    tokio::io::AsyncWriteExt::write_all(&mut connection, &request)
        .await
        .unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut connection, &mut answer)
        .await
        .unwrap();
    let page = broker.metrics_page().unwrap();
    let metrics = read(&page).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let kafkas = kafkas();
    for (name, metric) in &metrics {
        if name.starts_with("process_") || BY_DEFAULT.contains(&name.as_str()) {
            continue;
        }
        let Some((kind, labels)) = kafkas.get(name.as_str()) else {
            panic!("Kafka has no {name}");
        };
        assert_eq!(metric.kind, *kind, "{name}");
        for series in metric.series.keys() {
            let names: Vec<&str> = series.keys().map(String::as_str).collect();
            assert!(labels.contains(&names), "{name} {series:?}, not {labels:?}");
        }
    }
    let value = |name: &str| metrics[name].series[&BTreeMap::new()];
    assert_eq!(value("kafka_server_kafkaserver_brokerstate"), 3.0);
    assert_eq!(
        value("kafka_controller_kafkacontroller_activecontrollercount"),
        1.0
    );
    let connections = &metrics["kafka_server_socket_server_metrics_connection_count"];
    assert_eq!(connections.series.values().sum::<f64>(), 1.0);
    let errors = &metrics["kafka_network_requestmetrics_errors_total"].series;
    let (labels, count) = errors.first_key_value().unwrap();
    assert_eq!(labels["request"], "ApiVersions");
    assert_eq!((labels["error"].as_str(), *count), ("NONE", 1.0));
    drop(connection);
    broker.shut_down().await;
}

#[test]
fn a_broker_that_loads_its_logs_shows_what_is_left() {
    let mut page = super::Page::default();
    let left = RemainingRecovery {
        path: "/a".into(),
        logs: 3,
        segments: vec![2, 0],
    };
    super::logs_page::loading(&mut page, &[left]);
    let metrics = read(&page.into_text()).unwrap();
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let logs = &metrics["kafka_log_logmanager_remaininglogstorecover"].series;
    assert_eq!(logs[&labels(&[("dir", "\"/a\"")])], 3.0);
    let segments = &metrics["kafka_log_logmanager_remainingsegmentstorecover"].series;
    let first = labels(&[("dir", "\"/a\""), ("threadNum", "0")]);
    assert_eq!((segments.len(), segments[&first]), (2, 2.0));
}

#[test]
fn the_reader_refuses_what_prometheus_would() {
    let head = "# HELP a Help.\n# TYPE a gauge\n";
    let refuses = |rest: &str| assert!(read(&format!("{head}{rest}")).is_err(), "{rest}");
    assert!(read(&format!("{head}a{{b=\"\\\"c\\\"\"}} 1\na 2\n")).is_ok());
    refuses("a 1\na 1\n");
    refuses("a{b=\"c\"} 1\na{b=\"c\"} 2\n");
    refuses("b 1\n");
    refuses("a\n");
    refuses("a one\n");
    refuses("a NaN\n");
    refuses("a{b=\"c} 1\n");
    refuses("a{b=\"c\",b=\"d\"} 1\n");
    refuses("a{1b=\"c\"} 1\n");
    refuses("a 1");
    refuses("# HELP a Help.\n# TYPE a gauge\na 1\n");
}
