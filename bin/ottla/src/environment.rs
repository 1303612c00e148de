//! The configuration of a container, by the rules of Apache Kafka's own image, so that its compose
//! files and deployments fit: `KAFKA_*` variables over a mounted `server.properties`, and the
//! image's default file where neither says anything.
//!
//! From `kafka.docker.KafkaDockerWrapper` and the image's scripts of Kafka 3.9. Left out is what
//! concerns the JVM, log4j's loggers and secrets for listeners that need TLS.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context, bail};
use ottla_config::{Properties, properties};

/// Where a user of the image mounts configuration.
const MOUNTED: &str = "/mnt/shared/config/server.properties";
/// What the image brings along.
const DEFAULT: &str = "/etc/kafka/docker/server.properties";

const PREFIX: &str = "KAFKA_";
const LISTENERS: &str = "KAFKA_LISTENERS";
const ADVERTISED_LISTENERS: &str = "KAFKA_ADVERTISED_LISTENERS";
const ROOT_LOG_LEVEL: &str = "KAFKA_LOG4J_ROOT_LOGLEVEL";
/// Only the preparation of a KRaft node's storage reads it.
const CLUSTER_ID: &str = "CLUSTER_ID";
/// Variables with the prefix that are no properties of the broker.
const NO_PROPERTIES: [&str; 11] = [
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    ROOT_LOG_LEVEL,
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
];
/// Variables that say nothing to a broker, and that nobody expects to.
const SILENT: [&str; 2] = ["KAFKA_VERSION", "KAFKA_TOOLS_LOG4J_LOGLEVEL"];

/// Environment variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// What a container was told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) properties: Properties,
    /// One line for each variable that has no effect here.
    pub(crate) ineffective: Vec<String>,
}

/// Reads this process's environment and the files of the container.
pub(crate) fn read(log_level_key: &str) -> anyhow::Result<Told> {
    let variables = variables()?;
    let mounted = match std::fs::read(MOUNTED) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("cannot read {MOUNTED}"))?),
    };
    let default = || std::fs::read(DEFAULT).with_context(|| format!("cannot read {DEFAULT}"));
    combine(&variables, mounted, default, log_level_key)
}

fn variables() -> anyhow::Result<Variables> {
    let mut variables = Variables::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue;
        };
        if !name.starts_with(PREFIX) && name != CLUSTER_ID {
            continue;
        }
        let Ok(value) = value.into_string() else {
            bail!("the value of {name} is not UTF-8");
        };
        variables.insert(name, value);
    }
    Ok(variables)
}

/// The variables follow the mounted file as lines of the same file: they win over it, and escapes
/// in their values are those of a properties file.
fn combine(
    variables: &Variables,
    mounted: Option<Vec<u8>>,
    default: impl FnOnce() -> anyhow::Result<Vec<u8>>,
    log_level_key: &str,
) -> anyhow::Result<Told> {
    let mut file = mounted.unwrap_or_default();
    for line in lines(variables) {
        file.push(b'\n');
        file.extend_from_slice(line.as_bytes());
    }
    if file.iter().all(|byte| *byte <= b' ') {
        file = default()?;
    }
    let mut properties = properties::parse(&file)?;
    if let Some(level) = log_level(variables)? {
        let key = log_level_key.to_owned();
        properties.entry(key).or_insert_with(|| level.to_owned());
    }
    Ok(Told {
        properties,
        ineffective: ineffective(variables),
    })
}

/// `name=value` for each variable that is a property of the broker.
fn lines(variables: &Variables) -> Vec<String> {
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let mut variables = variables.clone();
    if let (None, Some(advertised)) = (set(LISTENERS), set(ADVERTISED_LISTENERS)) {
        variables.insert(LISTENERS.to_owned(), on_every_address(advertised));
    }
    variables
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !NO_PROPERTIES.contains(&name.as_str()))
        .map(|(name, value)| format!("{}={value}", property_name(name)))
        .collect()
}

/// `KAFKA_A_B` is `a.b`, `KAFKA_A__B` is `a_b` and `KAFKA_A___B` is `a-b`.
fn property_name(variable: &str) -> String {
    variable
        .replace(PREFIX, "")
        .to_lowercase()
        .replace('_', ".")
        .replace("...", "-")
        .replace("..", "_")
}

/// The advertised listeners with the wildcard address in the place of each host.
fn on_every_address(advertised: &str) -> String {
    const SCHEME: &str = "://";
    let mut listeners = String::new();
    let mut rest = advertised;
    while let Some(at) = rest.find(SCHEME) {
        let (name, host) = rest.split_at(at + SCHEME.len());
        listeners.push_str(name);
        rest = host;
        // The host ends where the port starts; without a port there is nothing to replace.
        if let Some(end) = host.find(':') {
            listeners.push_str("0.0.0.0:");
            rest = &host[end + 1..];
        }
    }
    listeners.push_str(rest);
    listeners
}

/// log4j's root level in the names of `tracing`.
fn log_level(variables: &Variables) -> anyhow::Result<Option<&'static str>> {
    let Some(level) = variables.get(ROOT_LOG_LEVEL) else {
        return Ok(None);
    };
    Ok(Some(match level.trim().to_ascii_uppercase().as_str() {
        "" => return Ok(None),
        "ALL" | "TRACE" => "trace",
        "DEBUG" => "debug",
        "INFO" => "info",
        "WARN" => "warn",
        "ERROR" | "FATAL" => "error",
        "OFF" => "off",
        _ => bail!("{ROOT_LOG_LEVEL}: {level} is not a level of log4j"),
    }))
}

fn ineffective(variables: &Variables) -> Vec<String> {
    let mut lines: Vec<String> = NO_PROPERTIES
        .iter()
        .filter(|name| **name != ROOT_LOG_LEVEL && !SILENT.contains(name))
        .filter(|name| variables.get(**name).is_some_and(|value| !value.is_empty()))
        .map(|name| format!("{name} has no effect: it is for Kafka's JVM"))
        .collect();
    if variables.contains_key(CLUSTER_ID) {
        lines.push(format!(
            "{CLUSTER_ID} has no effect: in ZooKeeper mode the cluster makes its id itself"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ottla.log.level";

    fn told(variables: &[(&str, &str)], mounted: Option<&str>) -> anyhow::Result<Told> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mounted = mounted.map(|text| text.as_bytes().to_vec());
        combine(
            &variables,
            mounted,
            || Ok(b"default.config=default".to_vec()),
            KEY,
        )
    }

    fn properties_of(variables: &[(&str, &str)], mounted: Option<&str>) -> Vec<String> {
        let told = told(variables, mounted).unwrap();
        told.properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn underscores_spell_dots_underscores_and_hyphens() {
        for (variable, property) in [
            ("KAFKA_ABC_DEF", "abc.def"),
            ("KAFKA_ABC__DEF", "abc_def"),
            ("KAFKA_ABC___DEF", "abc-def"),
            (
                "KAFKA_VALID___PROPERTY__ALL_CASES",
                "valid-property_all.cases",
            ),
            ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper.connect"),
            (
                "KAFKA_LISTENER_NAME_INTERNAL_SSL_KEYSTORE_LOCATION",
                "listener.name.internal.ssl.keystore.location",
            ),
            ("KAFKA_BROKER_ID", "broker.id"),
        ] {
            assert_eq!(property_name(variable), property);
        }
    }

    #[test]
    fn variables_are_properties_but_for_those_of_the_jvm_and_log4j() {
        assert_eq!(
            properties_of(
                &[
                    ("KAFKA_BROKER_ID", "7"),
                    ("KAFKA_HEAP_OPTS", "-Xmx1G"),
                    ("KAFKA_LOG4J_LOGGERS", "kafka=INFO"),
                    ("KAFKA_LOG4J_ROOT_LOGLEVEL", "WARN"),
                    ("KAFKA_OPTS", "-Dx=y"),
                    ("KAFKA_TOOLS_LOG4J_LOGLEVEL", "TRACE"),
                    ("KAFKA_VERSION", "3.9.1"),
                    ("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw"),
                    ("OTHER", "1"),
                ],
                None
            ),
            ["broker.id=7", "ottla.log.level=warn"]
        );
    }

    #[test]
    fn variables_win_over_the_mounted_file_and_both_over_the_default() {
        let variable: &[(&str, &str)] = &[("KAFKA_ENV_CONFIG", "env value")];
        for (variables, mounted, expect) in [
            (
                variable,
                Some("env.config=mounted\nmounted.config=mounted value"),
                vec!["env.config=env value", "mounted.config=mounted value"],
            ),
            (variable, None, vec!["env.config=env value"]),
            (&[], Some("mounted.config=x"), vec!["mounted.config=x"]),
            (&[], Some(" \n \n "), vec!["default.config=default"]),
            // Something was written, even if it says nothing.
            (&[], Some("# nothing"), vec![]),
            (&[], None, vec!["default.config=default"]),
            (
                &[("KAFKA_LOG4J_ROOT_LOGLEVEL", "DEBUG")],
                None,
                vec!["default.config=default", "ottla.log.level=debug"],
            ),
        ] {
            assert_eq!(properties_of(variables, mounted), expect);
        }
    }

    #[test]
    fn listeners_follow_from_the_advertised_ones() {
        for (advertised, listeners) in [
            ("PLAINTEXT://kafka:9092", "PLAINTEXT://0.0.0.0:9092"),
            (
                "A://broker-1:19092,B://localhost:29092",
                "A://0.0.0.0:19092,B://0.0.0.0:29092",
            ),
            ("PLAINTEXT://:9092", "PLAINTEXT://0.0.0.0:9092"),
            ("PLAINTEXT", "PLAINTEXT"),
        ] {
            let variables = [("KAFKA_ADVERTISED_LISTENERS", advertised)];
            assert_eq!(
                properties_of(&variables, None),
                [
                    format!("advertised.listeners={advertised}"),
                    format!("listeners={listeners}"),
                ]
            );
        }
        assert_eq!(
            properties_of(
                &[
                    ("KAFKA_ADVERTISED_LISTENERS", "A://x:1"),
                    ("KAFKA_LISTENERS", "A://:2"),
                ],
                None
            ),
            ["advertised.listeners=A://x:1", "listeners=A://:2"]
        );
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let told = told(
            &[
                ("KAFKA_HEAP_OPTS", "-Xmx1G"),
                ("KAFKA_OPTS", ""),
                ("CLUSTER_ID", "x"),
            ],
            None,
        )
        .unwrap();
        assert_eq!(
            told.ineffective,
            [
                "KAFKA_HEAP_OPTS has no effect: it is for Kafka's JVM",
                "CLUSTER_ID has no effect: in ZooKeeper mode the cluster makes its id itself",
            ]
        );
    }

    #[test]
    fn levels_of_log4j_are_levels_of_logging() {
        let level = |text: &str| {
            told(&[(ROOT_LOG_LEVEL, text)], Some("a=b"))
                .map(|told| told.properties.get(KEY).cloned())
                .map_err(|error| error.to_string())
        };
        assert_eq!(level("ALL"), Ok(Some("trace".to_owned())));
        assert_eq!(level("fatal"), Ok(Some("error".to_owned())));
        assert_eq!(level(""), Ok(None));
        assert_eq!(
            level("LOUD"),
            Err("KAFKA_LOG4J_ROOT_LOGLEVEL: LOUD is not a level of log4j".to_owned())
        );
        let told = told(
            &[(ROOT_LOG_LEVEL, "DEBUG"), ("KAFKA_OTTLA_LOG_LEVEL", "warn")],
            None,
        );
        assert_eq!(told.unwrap().properties[KEY], "warn", "ottla's own key");
    }
}
