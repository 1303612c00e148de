//! What replicas have on their disks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::cluster::Cluster;
use crate::wait::wait_for;

const DEADLINE: Duration = Duration::from_secs(180);

/// A partition's directory name and what each broker has of it.
type Replicas = BTreeMap<String, BTreeMap<u32, Replica>>;

/// One replica: all its records, and the epochs of its leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Replica {
    bytes: usize,
    digest: u32,
    leader_epochs: Vec<String>,
}

/// Waits until all replicas of every partition hold the same bytes and the same leader epochs;
/// gives how many partitions and bytes there are. Segments may be cut at other places: they are
/// compared as one sequence. Each replica of a compacted topic is cleaned in its own time, so that
/// the caller names those not to compare.
pub fn wait_until_equal(
    cluster: &mut Cluster,
    compacted: &[&str],
) -> anyhow::Result<(usize, usize)> {
    let directories: Vec<(u32, PathBuf)> = cluster
        .ids()
        .map(|id| (id, cluster.broker(id).log_directory()))
        .collect();
    let mut last = Replicas::new();
    let equal = wait_for("equal replicas", DEADLINE, || {
        last = read_all(&directories).ok()?;
        last.retain(|name, _| !compacted.iter().any(|topic| is_of(name, topic)));
        let mut different = last.values().filter(|replicas| !are_equal(replicas));
        different.next().is_none().then_some(())
    });
    if equal.is_err() {
        last.retain(|_, replicas| !are_equal(replicas));
    }
    equal.with_context(|| format!("{last:#?}"))?;
    let bytes = last
        .values()
        .filter_map(|replicas| replicas.values().next())
        .map(|replica| replica.bytes)
        .sum();
    Ok((last.len(), bytes))
}

/// The names of the directories of a topic's partitions on a broker, those that wait for their
/// deletion included.
pub fn directories_of(log_directory: &Path, topic: &str) -> anyhow::Result<Vec<String>> {
    let mut names = names(log_directory)?;
    names.retain(|name| is_of(name, topic));
    Ok(names)
}

/// Whether a directory is of a partition of this topic, deleted or not.
fn is_of(name: &str, topic: &str) -> bool {
    let rest = name.strip_prefix(topic);
    let separated = rest.and_then(|rest| rest.strip_prefix(['-', '.']));
    separated.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_hexdigit()))
}

fn are_equal(replicas: &BTreeMap<u32, Replica>) -> bool {
    let mut all = replicas.values();
    let first = all.next();
    all.all(|other| Some(other) == first)
}

fn read_all(directories: &[(u32, PathBuf)]) -> anyhow::Result<Replicas> {
    let mut all = Replicas::new();
    for (id, directory) in directories {
        for name in names(directory)? {
            let partition = directory.join(&name);
            if partition.is_dir() {
                let replica = read(&partition)?;
                all.entry(name).or_default().insert(*id, replica);
            }
        }
    }
    Ok(all)
}

fn read(partition: &Path) -> anyhow::Result<Replica> {
    let mut segments = names(partition)?;
    segments.retain(|name| name.ends_with(".log"));
    let (mut bytes, mut digest, mut end) = (0, 0, 0);
    for segment in segments {
        let content = std::fs::read(partition.join(segment))?;
        bytes += content.len();
        digest = crc32c::crc32c_append(digest, &content);
        end = end_offset(&content).unwrap_or(end);
    }
    let epochs = partition.join("leader-epoch-checkpoint");
    let epochs = std::fs::read_to_string(epochs).unwrap_or_default();
    Ok(Replica {
        bytes,
        digest,
        leader_epochs: epochs_of_records(&epochs, end),
    })
}

/// The offset after the last record of a segment, if it has any.
fn end_offset(mut segment: &[u8]) -> Option<i64> {
    let mut end = None;
    while let Some((batch, rest)) = next_batch(segment) {
        let base = i64::from_be_bytes(batch.get(..8)?.try_into().ok()?);
        let last = i32::from_be_bytes(batch.get(23..27)?.try_into().ok()?);
        end = Some(base + i64::from(last) + 1);
        segment = rest;
    }
    end
}

fn next_batch(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = i32::from_be_bytes(segment.get(8..12)?.try_into().ok()?);
    segment.split_at_checked(usize::try_from(length).ok()? + 12)
}

/// The entries of a checkpoint that records stand behind: only a leader notes an epoch that has
/// none yet.
fn epochs_of_records(checkpoint: &str, end: i64) -> Vec<String> {
    let starts_before_end = |line: &&str| {
        let start = line
            .split_once(' ')
            .and_then(|(_, start)| start.parse().ok());
        start.is_some_and(|start: i64| start < end)
    };
    let entries = checkpoint.lines().skip(2);
    entries
        .filter(starts_before_end)
        .map(str::to_owned)
        .collect()
}

fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
