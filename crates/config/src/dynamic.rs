//! Broker values that change while the broker runs (KIP-226): which may, what they must be, and
//! how they combine with the values at start (`DynamicBrokerConfig`).

use std::collections::BTreeSet;

use crate::broker_config::{BrokerConfig, Sources};
use crate::describe::DynamicValues;
use crate::error::ConfigError;
use crate::field::Properties;
use crate::key::{Key, UpdateMode};
use crate::keys;
use crate::synonyms::{broker_synonyms, listener_key};
use crate::value::{Type, Value};

/// Whose dynamic values are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DynamicLevel {
    /// One broker's.
    Broker,
    /// All brokers', weaker than each broker's own.
    Default,
}

/// Rates of throttled replication, which exist only as dynamic broker values.
const QUOTA_KEYS: &[Key] = &[
    Key::long("leader.replication.throttled.rate")
        .default("9223372036854775807")
        .at_least(0.0)
        .cluster_wide()
        .doc("Bytes per second that a leader sends to throttled followers."),
    Key::long("follower.replication.throttled.rate")
        .default("9223372036854775807")
        .at_least(0.0)
        .cluster_wide()
        .doc("Bytes per second that throttled followers fetch."),
    Key::long("replica.alter.log.dirs.io.max.bytes.per.second")
        .default("9223372036854775807")
        .at_least(0.0)
        .cluster_wide()
        .doc("Bytes per second at which replicas move between log directories."),
];

pub(crate) fn quota_key(name: &str) -> Option<&'static Key> {
    QUOTA_KEYS.iter().find(|key| key.name == name)
}

impl BrokerConfig {
    /// This broker's configuration with other dynamic values: over the values at start come those
    /// of all brokers, then its own.
    ///
    /// # Errors
    /// Values that do not fit the others.
    pub fn with_dynamic(&self, dynamic: &DynamicValues) -> Result<Self, ConfigError> {
        let at_start = self.static_properties().clone();
        let mut effective = at_start.clone();
        override_with(&mut effective, &dynamic.default);
        override_with(&mut effective, &dynamic.broker);
        let mut config = Self::from_sources(Sources {
            at_start,
            effective,
        })?;
        // An id that was generated at the start stands in no property, and it never changes.
        (config.broker_id, config.node_id) = (self.broker_id, self.node_id);
        Ok(config)
    }
}

/// A dynamic value replaces every synonym, even a stronger one.
fn override_with(properties: &mut Properties, overrides: &Properties) {
    for (name, value) in overrides {
        for synonym in broker_synonyms(name, false) {
            properties.remove(synonym);
        }
        properties.insert(name.clone(), value.clone());
    }
}

/// Checks the complete set of dynamic values that somebody wants to set at `level`, and that the
/// broker could run with them. `current` is the configuration in force and `dynamic` its values.
///
/// # Errors
/// What is wrong, with Kafka's message.
pub fn validate_dynamic(
    current: &BrokerConfig,
    dynamic: &DynamicValues,
    level: DynamicLevel,
    proposed: &Properties,
) -> Result<(), ConfigError> {
    refuse(
        proposed,
        is_not_dynamic,
        "Cannot update these configs dynamically",
        immutable_set,
    )?;
    refuse(
        proposed,
        needs_listener_prefix,
        "These security configs can be dynamically updated only per-listener using the listener \
         prefix",
        // Kafka filters a set of Java's here, which makes a mutable one.
        |_| "HashSet",
    )?;
    for (name, value) in proposed {
        check_value(name, value)?;
    }
    if level == DynamicLevel::Default {
        refuse(
            proposed,
            is_per_broker,
            "Cannot update these configs at default cluster level, broker id must be specified",
            immutable_set,
        )?;
    }
    let mut dynamic = dynamic.clone();
    match level {
        DynamicLevel::Broker => dynamic.broker = proposed.clone(),
        DynamicLevel::Default => dynamic.default = proposed.clone(),
    }
    check_change(current, &current.with_dynamic(&dynamic)?)
}

/// The usable part of dynamic values that are stored, with the names and reasons of the others:
/// a broker runs without a value that it cannot use.
pub fn usable_dynamic(
    level: DynamicLevel,
    stored: &Properties,
) -> (Properties, Vec<(String, String)>) {
    let mut usable = Properties::new();
    let mut ignored = Vec::new();
    for (name, value) in stored {
        let reason = if let Err(error) = check_value(name, value) {
            error.to_string()
        } else if is_not_dynamic(name) {
            "it cannot change while the broker runs".to_owned()
        } else if needs_listener_prefix(name) {
            "it can change only with a listener's prefix".to_owned()
        } else if level == DynamicLevel::Default && is_per_broker(name) {
            "it can be set only for a single broker".to_owned()
        } else if is_password(name) {
            "stored passwords cannot be decoded yet".to_owned()
        } else {
            usable.insert(name.clone(), value.clone());
            continue;
        };
        ignored.push((name.clone(), reason));
    }
    (usable, ignored)
}

/// Whether a dynamic broker key, with or without a listener's prefix, holds a password.
pub fn is_password(name: &str) -> bool {
    let dynamic = |key: &&Key| key.update_mode != UpdateMode::ReadOnly;
    let passwords = keys::broker_keys()
        .filter(|key| key.kind == Type::Password)
        .filter(dynamic);
    passwords.into_iter().any(|key| name.ends_with(key.name))
}

fn refuse(
    proposed: &Properties,
    is_wrong: impl Fn(&str) -> bool,
    reason: &str,
    class: impl Fn(usize) -> &'static str,
) -> Result<(), ConfigError> {
    let names: BTreeSet<&str> = proposed
        .keys()
        .map(String::as_str)
        .filter(|name| is_wrong(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let set = class(names.len());
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    Err(ConfigError::conflict(format!("{reason}: {set}({names})")))
}

/// What Scala calls an immutable set of so many elements when it prints one.
fn immutable_set(elements: usize) -> &'static str {
    if elements > 4 { "HashSet" } else { "Set" }
}

fn is_not_dynamic(name: &str) -> bool {
    keys::broker_key(name).is_some_and(|key| key.update_mode == UpdateMode::ReadOnly)
}

/// TLS keys that change for a listener only (`SslConfigs.RECONFIGURABLE_CONFIGS`).
fn needs_listener_prefix(name: &str) -> bool {
    matches!(
        name,
        "ssl.keystore.type"
            | "ssl.keystore.location"
            | "ssl.keystore.password"
            | "ssl.key.password"
            | "ssl.truststore.type"
            | "ssl.truststore.location"
            | "ssl.truststore.password"
            | "ssl.keystore.certificate.chain"
            | "ssl.keystore.key"
            | "ssl.truststore.certificates"
    )
}

fn is_per_broker(name: &str) -> bool {
    if let Some(base) = listener_key(name) {
        let for_all = [
            "max.connections",
            "max.connection.creation.rate",
            "num.network.threads",
        ];
        return !for_all.contains(&base);
    }
    keys::broker_key(name).is_some_and(|key| key.update_mode == UpdateMode::PerBroker)
}

/// Unknown keys pass: plug-ins may know them.
fn check_value(name: &str, raw: &str) -> Result<(), ConfigError> {
    let base = listener_key(name).unwrap_or(name);
    let dynamic = |key: &&Key| key.update_mode != UpdateMode::ReadOnly;
    let Some(key) = keys::broker_key(base)
        .filter(dynamic)
        .or_else(|| quota_key(base))
    else {
        return Ok(());
    };
    let value = Value::parse(key.name, key.kind, raw)?;
    key.validator.check(key.name, Some(&value))
}

/// Rules about the way from the values in force to new ones.
fn check_change(current: &BrokerConfig, proposed: &BrokerConfig) -> Result<(), ConfigError> {
    let change = |reason: String| {
        // Kafka wraps its own exception in the place of a value.
        ConfigError::conflict(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {reason} for \
             configuration Invalid dynamic configuration"
        ))
    };
    let pools = [
        (
            "num.io.threads",
            current.num_io_threads,
            proposed.num_io_threads,
        ),
        (
            "num.replica.fetchers",
            current.num_replica_fetchers,
            proposed.num_replica_fetchers,
        ),
        (
            "num.recovery.threads.per.data.dir",
            current.num_recovery_threads_per_data_dir,
            proposed.num_recovery_threads_per_data_dir,
        ),
        (
            "background.threads",
            current.background_threads,
            proposed.background_threads,
        ),
        (
            "num.network.threads",
            current.num_network_threads,
            proposed.num_network_threads,
        ),
    ];
    for (name, now, then) in pools {
        let failed = format!("Dynamic thread count update validation failed for {name}={then}");
        if then == now {
            continue;
        } else if then <= 0 {
            return Err(change(format!("{failed}, value should be at least 1")));
        } else if then < now / 2 {
            return Err(change(format!(
                "{failed}, value should be at least half the current value {now}"
            )));
        } else if i64::from(then) > i64::from(now) * 2 {
            return Err(change(format!(
                "{failed}, value should not be greater than double the current value {now}"
            )));
        }
    }
    let (now, then) = (current.log_cleaner_threads, proposed.log_cleaner_threads);
    if then < now / 2 {
        return Err(change(format!(
            "Log cleaner threads cannot be reduced to less than half the current value {now}"
        )));
    }
    if i64::from(then) > i64::from(now) * 2 {
        return Err(change(format!(
            "Log cleaner threads cannot be increased to more than double the current value {now}"
        )));
    }
    check_listeners(current, proposed).map_err(change)
}

fn check_listeners(current: &BrokerConfig, proposed: &BrokerConfig) -> Result<(), String> {
    for endpoint in proposed.listeners() {
        let name = &endpoint.listener;
        let before = current
            .listeners()
            .iter()
            .find(|endpoint| endpoint.listener == *name);
        if before.is_some_and(|before| before.protocol != endpoint.protocol) {
            return Err(format!(
                "Security protocol cannot be updated for existing listener ListenerName({name})"
            ));
        }
    }
    Ok(())
}
