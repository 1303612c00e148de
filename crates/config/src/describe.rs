//! What DescribeConfigs shows: values in force, where they come from, and what else sets them.

use crate::broker_config::BrokerConfig;
use crate::dynamic;
use crate::error::ConfigError;
use crate::field::{self, Properties, Values};
use crate::key::{Key, UpdateMode};
use crate::keys;
use crate::synonyms::{broker_synonym, broker_synonyms};
use crate::topic_config;
use crate::value::Type;

/// Where a value comes from; the strongest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigSource {
    /// The topic's own override.
    TopicConfig,
    /// Set for this broker while it runs.
    DynamicBrokerConfig,
    /// Set for all brokers while they run.
    DynamicDefaultBrokerConfig,
    /// Set in the configuration file or on the command line.
    StaticBrokerConfig,
    /// Set by nobody.
    DefaultConfig,
    /// The level of a logger.
    DynamicBrokerLogger,
}

impl ConfigSource {
    /// The number of the source in DescribeConfigs.
    pub fn id(self) -> i8 {
        match self {
            Self::TopicConfig => 1,
            Self::DynamicBrokerConfig => 2,
            Self::DynamicDefaultBrokerConfig => 3,
            Self::StaticBrokerConfig => 4,
            Self::DefaultConfig => 5,
            Self::DynamicBrokerLogger => 6,
        }
    }
}

/// A key that sets the same thing, with its value at one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    /// The key.
    pub name: String,
    /// Its value there; none where it must not be shown.
    pub value: Option<String>,
    /// The source.
    pub source: ConfigSource,
}

/// One described key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedEntry {
    /// The key.
    pub name: String,
    /// The value in force; none for Kafka's `null` and where it must not be shown.
    pub value: Option<String>,
    /// Whether its value must not be shown.
    pub is_sensitive: bool,
    /// Whether it needs a restart to change.
    pub is_read_only: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Every key and source that sets it, the one in force first.
    pub synonyms: Vec<Synonym>,
    /// The type of the value; none for keys that Kafka does not know.
    pub kind: Option<Type>,
    /// What the key does; none for keys that Kafka does not know.
    pub documentation: Option<&'static str>,
}

/// Dynamic values of a broker, as they were accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicValues {
    /// For this broker only.
    pub broker: Properties,
    /// For all brokers.
    pub default: Properties,
}

/// Every value in force on a broker, by name; `config` has the dynamic values in it.
pub fn describe_broker(config: &BrokerConfig, dynamic: &DynamicValues) -> Vec<DescribedEntry> {
    let Ok(values) = field::parse(keys::broker_keys(), config.properties()) else {
        return Vec::new(); // a `BrokerConfig` exists only if its properties parse
    };
    let entry = |name: &str, value: Option<String>| broker_entry(config, dynamic, name, value);
    described_values(&values, config.properties(), keys::broker_key)
        .into_iter()
        .map(|(name, value)| entry(&name, value))
        .collect()
}

/// The dynamic values that count for all brokers, by name.
pub fn describe_broker_defaults(
    config: &BrokerConfig,
    dynamic: &DynamicValues,
) -> Vec<DescribedEntry> {
    let entry = |(name, value): (&String, &String)| {
        let mut entry = broker_entry(config, dynamic, name, Some(value.clone()));
        entry
            .synonyms
            .retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBrokerConfig);
        entry.source = source_of(&entry.synonyms);
        entry
    };
    dynamic.default.iter().map(entry).collect()
}

/// Every value in force for a topic with these overrides, by name.
///
/// # Errors
/// An override that cannot be read: it was written by another version, or by hand.
pub fn describe_topic(
    config: &BrokerConfig,
    dynamic: &DynamicValues,
    overrides: &Properties,
) -> Result<Vec<DescribedEntry>, ConfigError> {
    let values = topic_config::values(config, overrides)?;
    let entry = |(name, value): (String, Option<String>)| {
        let key = keys::topic_key(&name);
        let is_sensitive = key.is_none_or(Key::is_sensitive);
        let value = value.filter(|_| !is_sensitive);
        let mut synonyms = Vec::new();
        if overrides.contains_key(&name) {
            let (name, value) = (name.clone(), value.clone());
            synonyms.push(Synonym {
                name,
                value,
                source: ConfigSource::TopicConfig,
            });
        }
        if let Some(broker_key) = broker_synonym(&name) {
            synonyms.extend(broker_sources(config, dynamic, broker_key, is_sensitive));
        }
        DescribedEntry {
            value,
            is_sensitive,
            is_read_only: false,
            source: source_of(&synonyms),
            synonyms,
            kind: key.map(|key| key.kind),
            documentation: key.map(|key| key.documentation),
            name,
        }
    };
    Ok(described_values(&values, overrides, keys::topic_key)
        .into_iter()
        .map(entry)
        .collect())
}

/// What is listed: every public key, and everything that somebody set.
fn described_values(
    values: &Values,
    properties: &Properties,
    key: impl Fn(&str) -> Option<&'static Key>,
) -> std::collections::BTreeMap<String, Option<String>> {
    let set = properties
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())));
    let mut listed: std::collections::BTreeMap<_, _> = set.collect();
    for (name, value) in values {
        if key(name).is_some_and(|key| !key.internal) {
            listed.insert((*name).to_owned(), value.as_ref().map(ToString::to_string));
        }
    }
    listed
}

fn broker_entry(
    config: &BrokerConfig,
    dynamic: &DynamicValues,
    name: &str,
    value: Option<String>,
) -> DescribedEntry {
    let kind = kind_of(name);
    let is_sensitive = kind.is_none_or(|kind| kind == Type::Password);
    let synonyms = broker_sources(config, dynamic, name, is_sensitive);
    let key = keys::broker_key(name);
    DescribedEntry {
        name: name.to_owned(),
        value: value.filter(|_| !is_sensitive),
        is_sensitive,
        is_read_only: key.is_none_or(|key| key.update_mode == UpdateMode::ReadOnly),
        source: source_of(&synonyms),
        synonyms,
        kind,
        documentation: key.map(|key| key.documentation),
    }
}

/// The type of a broker key, of a key of one listener, or of a key that exists only dynamically.
/// What has no type is treated as a secret.
fn kind_of(name: &str) -> Option<Type> {
    let dynamic_only = || dynamic::quota_key(name);
    let by_name = keys::broker_key(name)
        .or_else(dynamic_only)
        .map(|key| key.kind);
    let synonym = || {
        broker_synonyms(name, true)
            .into_iter()
            .find_map(keys::broker_key)
    };
    by_name.or_else(|| synonym().map(|key| key.kind))
}

fn source_of(synonyms: &[Synonym]) -> ConfigSource {
    synonyms
        .first()
        .map_or(ConfigSource::DefaultConfig, |synonym| synonym.source)
}

/// What sets a broker key, from its own strongest value on: synonyms in front of that (an override
/// of one listener, for instance) are about something else.
fn broker_sources(
    config: &BrokerConfig,
    dynamic: &DynamicValues,
    name: &str,
    is_sensitive: bool,
) -> Vec<Synonym> {
    let names = broker_synonyms(name, true);
    let mut synonyms = Vec::new();
    let mut add = |source: ConfigSource, value_of: &dyn Fn(&str) -> Option<String>| {
        for name in &names {
            if let Some(value) = value_of(name) {
                let value = Some(value).filter(|_| !is_sensitive);
                synonyms.push(Synonym {
                    name: (*name).to_owned(),
                    value,
                    source,
                });
            }
        }
    };
    add(ConfigSource::DynamicBrokerConfig, &|name| {
        dynamic.broker.get(name).cloned()
    });
    add(ConfigSource::DynamicDefaultBrokerConfig, &|name| {
        dynamic.default.get(name).cloned()
    });
    add(ConfigSource::StaticBrokerConfig, &|name| {
        config.static_properties().get(name).cloned()
    });
    add(ConfigSource::DefaultConfig, &|name| {
        keys::broker_key(name)
            .and_then(|key| key.default)
            .map(str::to_owned)
    });
    let own = synonyms.iter().position(|synonym| synonym.name == name);
    own.map_or_else(Vec::new, |index| synonyms.split_off(index))
}
