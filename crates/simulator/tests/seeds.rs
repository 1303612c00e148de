//! Every promise, under whatever the seeds draw.

use std::ops::RangeInclusive;

use ottla_simulator::run_seed;

/// Without `OTTLA_SEEDS=first..last`.
const SEEDS: RangeInclusive<u64> = 0..=299;

fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("OTTLA_SEEDS") else {
        return SEEDS;
    };
    let bounds = text.split_once("..").and_then(|(first, last)| {
        let last = last.trim_start_matches('=');
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    bounds.unwrap_or_else(|| panic!("OTTLA_SEEDS={text} is not first..last"))
}

#[test]
fn no_seed_breaks_a_promise() {
    let failures: Vec<String> = seeds()
        .filter_map(|seed| run_seed(seed, false).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(
        failures.is_empty(),
        "{}\n{} seeds failed",
        failures.join("\n\n"),
        failures.len()
    );
}

#[test]
fn one_seed_gives_one_trace_twice() {
    for seed in [1, 11] {
        let first = run_seed(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        let second = run_seed(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.acknowledged > 0, "seed {seed} wrote something");
        let (committed, aborted) = first.transactions;
        assert!(committed > 0 && aborted > 0, "seed {seed} has transactions");
    }
}

#[test]
fn two_seeds_give_two_traces() {
    let hash = |seed| run_seed(seed, false).map(|summary| summary.trace_hash);
    let hashes = [hash(1), hash(2)].map(|hash| hash.unwrap_or_else(|failure| panic!("{failure}")));
    assert_ne!(hashes[0], hashes[1]);
}
