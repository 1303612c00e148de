//! Every key of Kafka 3.9, once: type, default, what a value must be, whether it can change while
//! the broker runs, whether this broker acts on it, and what it does. The parser, the typed
//! structs, DescribeConfigs and dynamic updates all read these tables.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::key::Key;

mod cleaner;
mod group;
mod kraft;
mod log;
mod metrics;
mod network;
mod quota;
mod remote;
mod replication;
mod sasl;
mod security;
mod server;
mod ssl;
mod topic;
mod transaction;
mod zookeeper;

static BROKER: LazyLock<BTreeMap<&'static str, &'static Key>> = LazyLock::new(|| {
    let tables = [
        server::KEYS,
        network::KEYS,
        log::KEYS,
        cleaner::KEYS,
        replication::KEYS,
        group::KEYS,
        transaction::KEYS,
        quota::KEYS,
        zookeeper::KEYS,
        security::KEYS,
        ssl::KEYS,
        sasl::KEYS,
        metrics::KEYS,
        remote::KEYS,
        kraft::KEYS,
    ];
    tables
        .into_iter()
        .flatten()
        .map(|key| (key.name, key))
        .collect()
});

static TOPIC: LazyLock<BTreeMap<&'static str, &'static Key>> =
    LazyLock::new(|| topic::KEYS.iter().map(|key| (key.name, key)).collect());

/// Every broker key, by name.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    BROKER.values().copied()
}

/// The broker key of a name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    BROKER.get(name).copied()
}

/// Every topic key, by name.
pub fn topic_keys() -> impl Iterator<Item = &'static Key> {
    TOPIC.values().copied()
}

/// The topic key of a name.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC.get(name).copied()
}
