//! The arrows between the crates, held against the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ottla_integration::tools;

/// Each crate's layer; a crate may use crates of lower layers, and those named beside it.
const LAYERS: &[(&str, u8, &[&str])] = &[
    ("ottla-model", 0, &[]),
    ("ottla-record", 1, &[]),
    ("ottla-config", 1, &[]),
    ("ottla-coordination", 1, &[]),
    ("ottla-coordinator-runtime", 2, &[]),
    ("ottla-controller", 3, &[]),
    ("ottla-replication", 3, &[]),
    ("ottla-quotas", 3, &[]),
    ("ottla-group-coordinator", 3, &[]),
    ("ottla-transaction-coordinator", 3, &[]),
    ("ottla-storage", 4, &[]),
    ("ottla-simulator", 5, &["ottla-coordination-embedded"]),
    ("ottla-log-tools", 5, &[]),
    ("ottla-protocol", 5, &[]),
    ("ottla-coordination-embedded", 5, &[]),
    ("ottla-coordination-zookeeper", 5, &[]),
    ("ottla-network", 6, &[]),
    ("ottla-client", 7, &[]),
    ("ottla-broker", 8, &[]),
    ("ottla", 9, &[]),
    ("ottla-integration", 9, &[]),
];

/// Decisions know no files, sockets, clocks, threads and wire versions.
const DECISIONS: &[&str] = &[
    "ottla-controller",
    "ottla-replication",
    "ottla-quotas",
    "ottla-group-coordinator",
    "ottla-coordinator-runtime",
    "ottla-transaction-coordinator",
];
const WORDS: &[&str] = &[
    "ottla-model",
    "ottla-record",
    "ottla-config",
    "ottla-coordination",
    "ottla-coordinator-runtime",
];
const FROM_OUTSIDE: &[&str] = &["bytes", "thiserror", "tracing", "indexmap"];

/// Package name → names under `[dependencies]`.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let root = tools::root();
    let mut paths = vec![root.join("bin/ottla"), root.join("integration")];
    for entry in fs::read_dir(root.join("crates")).expect("crates") {
        let path = entry.expect("an entry of crates").path();
        if path.join("Cargo.toml").exists() {
            paths.push(path);
        }
    }
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(path.join("Cargo.toml")).expect("a manifest");
            let mut section = String::new();
            let mut name = String::new();
            let mut dependencies = BTreeSet::new();
            for line in text.lines() {
                if let Some(header) = line.strip_prefix('[') {
                    section = header.trim_end_matches(']').to_owned();
                } else if let Some((key, value)) = line.split_once('=') {
                    let key = key.trim().split('.').next().unwrap_or_default();
                    match section.as_str() {
                        "package" if key == "name" => {
                            value.trim().trim_matches('"').clone_into(&mut name);
                        }
                        "dependencies" => {
                            dependencies.insert(key.to_owned());
                        }
                        _ => {}
                    }
                }
            }
            (name, dependencies)
        })
        .collect()
}

fn layer(name: &str) -> Option<(u8, &'static [&'static str])> {
    LAYERS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, layer, and)| (*layer, *and))
}

#[test]
fn crates_use_only_the_layers_below_them() {
    let manifests = manifests();
    assert!(manifests.len() > 10, "the manifests were not found");
    for (name, dependencies) in &manifests {
        let (own, also) = layer(name).unwrap_or_else(|| panic!("{name} has no layer"));
        for dependency in dependencies.iter().filter(|d| d.starts_with("ottla")) {
            let (below, _) =
                layer(dependency).unwrap_or_else(|| panic!("{dependency} has no layer"));
            assert!(
                below < own || also.contains(&dependency.as_str()),
                "{name} must not use {dependency}"
            );
        }
    }
}

#[test]
fn deciding_crates_use_words_only() {
    for (name, dependencies) in manifests() {
        if !DECISIONS.contains(&name.as_str()) {
            continue;
        }
        for dependency in dependencies {
            assert!(
                WORDS.contains(&dependency.as_str()) || FROM_OUTSIDE.contains(&dependency.as_str()),
                "{name} decides and must not use {dependency}"
            );
        }
    }
}

#[test]
fn only_one_crate_of_the_broker_names_the_zookeeper_client() {
    for (name, dependencies) in manifests() {
        assert!(
            ["ottla-coordination-zookeeper", "ottla-integration"].contains(&name.as_str())
                || !dependencies.contains("zookeeper-client"),
            "{name} uses zookeeper-client"
        );
    }
}
