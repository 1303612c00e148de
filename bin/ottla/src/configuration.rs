//! From the command line to a configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ottla_broker::MetricsAddress;
use ottla_config::{BrokerConfig, Properties, profile, properties, serving, toml_form};

use crate::{ServerArguments, environment};

/// Where the embedded coordination keeps its tree, when it is not beside the logs.
const COORDINATION_DIR: &str = "ottla.coordination.dir";
/// A filter of `tracing`, for instance `info` or `info,ottla_storage=debug`.
const LOG_LEVEL: &str = "ottla.log.level";
/// Where metrics are served, `host:port`; nowhere without it.
const METRICS_LISTENER: &str = "ottla.metrics.listener";

/// Everything that a start needs to know.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) broker: BrokerConfig,
    /// The directory of the embedded coordination's tree.
    pub(crate) coordination_dir: PathBuf,
    /// What to log, unless the environment says otherwise.
    pub(crate) log_level: String,
    /// Where metrics are served.
    pub(crate) metrics: Option<MetricsAddress>,
    /// One line for each thing that was set and has no effect.
    pub(crate) ineffective: Vec<String>,
}

/// Reads the file or the environment, if either is asked for, and lays the overrides over it.
pub(crate) fn read(arguments: &ServerArguments) -> anyhow::Result<Configuration> {
    let mut ineffective = Vec::new();
    let mut written = match &arguments.file {
        Some(file) => read_file(file).with_context(|| format!("cannot read {}", file.display()))?,
        None if arguments.from_environment => {
            let told = environment::read(LOG_LEVEL)?;
            ineffective = told.ineffective;
            told.properties
        }
        None => Properties::new(),
    };
    for text in &arguments.overrides {
        let Some((key, value)) = text.split_once('=') else {
            bail!("--override {text}: not of the form key=value");
        };
        written.insert(key.to_owned(), value.to_owned());
    }
    let unserved = serving::ineffective(&written);
    ineffective.extend(unserved.iter().map(ToString::to_string));
    let mut all = if arguments.file.is_none() && !arguments.from_environment {
        profile::single_node()
    } else {
        Properties::new()
    };
    all.extend(written);

    let log_level = all
        .get(LOG_LEVEL)
        .cloned()
        .unwrap_or_else(|| "info".to_owned());
    let metrics = all.get(METRICS_LISTENER).map(|text| text.parse());
    let metrics = metrics.transpose().context(METRICS_LISTENER)?;
    let coordination_dir = all.get(COORDINATION_DIR).map(PathBuf::from);
    let broker = BrokerConfig::from_properties(all)?;
    serving::check_safe(&broker)?;
    let coordination_dir = coordination_dir.unwrap_or_else(|| beside_logs(&broker));
    Ok(Configuration {
        broker,
        coordination_dir,
        log_level,
        metrics,
        ineffective,
    })
}

fn read_file(file: &Path) -> anyhow::Result<Properties> {
    let bytes = std::fs::read(file)?;
    if file
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        return Ok(toml_form::parse(str::from_utf8(&bytes)?)?);
    }
    Ok(properties::parse(&bytes)?)
}

/// Never inside a log directory: a Java broker refuses to start on a folder it does not know.
fn beside_logs(broker: &BrokerConfig) -> PathBuf {
    let first = broker.log_dirs().into_iter().next().unwrap_or_default();
    match (first.parent(), first.file_name()) {
        (Some(parent), Some(name)) if name == "logs" => parent.join("coordination"),
        (Some(parent), Some(name)) => {
            let mut name = name.to_owned();
            name.push("-coordination");
            parent.join(name)
        }
        _ => PathBuf::from("coordination"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(overrides: &[&str]) -> anyhow::Result<Configuration> {
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        read(&ServerArguments {
            overrides,
            ..ServerArguments::default()
        })
    }

    #[test]
    fn without_a_file_it_is_a_single_node_on_loopback() {
        let configuration = read_with(&[]).unwrap();
        assert_eq!(configuration.metrics, None, "off by default");
        assert_eq!(configuration.broker.broker_id, 0);
        assert_eq!(configuration.broker.offsets_topic_replication_factor, 1);
        assert_eq!(
            configuration.broker.log_dirs(),
            [PathBuf::from("./data/logs")]
        );
        assert_eq!(
            configuration.coordination_dir,
            PathBuf::from("./data/coordination")
        );
        assert_eq!(configuration.broker.listeners()[0].host, "127.0.0.1");
        assert!(
            configuration.ineffective.is_empty(),
            "nobody wrote these values"
        );
    }

    #[test]
    fn overrides_are_stronger_than_the_profile() {
        let configuration = read_with(&[
            "listeners=PLAINTEXT://:1234",
            "log.dirs=/x/kafka",
            "ottla.log.level=debug",
            "ottla.metrics.listener=127.0.0.1:9404",
        ])
        .unwrap();
        assert_eq!(configuration.broker.listeners()[0].port, 1234);
        assert_eq!(
            configuration.coordination_dir,
            PathBuf::from("/x/kafka-coordination")
        );
        assert_eq!(configuration.log_level, "debug");
        let metrics = configuration.metrics.map(|address| address.to_string());
        assert_eq!(metrics.as_deref(), Some("127.0.0.1:9404"));
    }

    #[test]
    fn wrong_input_is_one_clear_line() {
        let check = |overrides: &[&str], expect: &str| {
            let error = format!("{:#}", read_with(overrides).unwrap_err());
            assert!(error.contains(expect) && !error.contains('\n'), "{error}");
        };
        check(&["broker.id"], "not of the form key=value");
        check(
            &["num.partitions=0"],
            "Invalid value 0 for configuration num.partitions",
        );
        check(
            &["authorizer.class.name=x"],
            "authorizer.class.name is set to x, but",
        );
        check(
            &["ottla.metrics.listener=9404"],
            "ottla.metrics.listener: 9404: not of the form host:port",
        );
        let missing = ServerArguments {
            file: Some("/no/such.properties".into()),
            ..ServerArguments::default()
        };
        let error = format!("{:#}", read(&missing).unwrap_err());
        assert!(error.contains("cannot read /no/such.properties"), "{error}");
    }
}
