//! DescribeTransactions, ListTransactions, gauges.

use TransactionState as S;
use ottla_model::{ProducerEpoch, ProducerId, Timestamp};

use super::harness::*;
use crate::*;

#[test]
fn a_description_is_what_is_durable() {
    let mut world = World::new();
    let who = world.begin();
    let start = world.now.timestamp;
    let expected = TransactionDescription {
        state: S::Ongoing,
        producer_id: ProducerId(0),
        producer_epoch: ProducerEpoch(0),
        timeout_ms: 60_000,
        start_timestamp: start,
        partitions: [t(0), t(1)].into(),
    };
    assert_eq!(world.describe(), expected);
    world.acks = Acks::ByHand;
    world.send_end(who, COMMIT);
    assert_eq!(world.describe(), expected);
}

#[test]
fn the_start_of_the_last_transaction_is_kept_in_memory_only() {
    let mut world = World::new();
    let who = world.begin();
    let start = world.now.timestamp;
    world.end(who, COMMIT);
    world.advance(10);
    world.init(None).unwrap();
    assert_eq!(world.describe().state, S::Empty);
    assert_eq!(world.describe().start_timestamp, start);
    world.load();
    assert_eq!(world.describe().start_timestamp, Timestamp::NONE);
}

#[test]
fn listings_are_filtered() {
    let mut world = World::new();
    world.begin();
    world.advance(1_000);
    let other = world.send_init("other", None);
    world.init_reply(other).unwrap();

    let list = |filter: ListFilter| -> Vec<String> {
        let listed = world.shard.list(&filter, world.now.timestamp);
        listed
            .into_iter()
            .map(|line| line.transactional_id.to_string())
            .collect()
    };
    assert_eq!(list(ListFilter::default()), ["other", "tx"]);
    let producers = |ids: &[i64]| ListFilter {
        producer_ids: ids.iter().copied().map(ProducerId).collect(),
        ..ListFilter::default()
    };
    assert_eq!(list(producers(&[0])), ["tx"]);
    assert_eq!(list(producers(&[5])), [""; 0]);
    let states = |names: &[&str]| ListFilter {
        states: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ListFilter::default()
    };
    assert_eq!(list(states(&["Ongoing"])), ["tx"]);
    assert_eq!(list(states(&["Empty", "nonsense"])), ["other"]);
    assert_eq!(list(states(&["ongoing"])), [""; 0], "names have one case");
    let unknown = states(&["ongoing", "Empty"]);
    assert_eq!(unknown.unknown_states().collect::<Vec<_>>(), ["ongoing"]);
    let lasting = |millis| ListFilter {
        duration_ms: Some(millis),
        ..ListFilter::default()
    };
    assert_eq!(
        list(lasting(999)),
        ["other", "tx"],
        "no start counts as the beginning of time"
    );
    assert_eq!(list(lasting(1_000)), ["other"]);
    assert_eq!(list(lasting(-1)), ["other", "tx"]);
}

#[test]
fn gauges_count_states() {
    let (world, _) = World::in_state(S::PrepareCommit);
    let expected = Gauges {
        transactional_ids: 1,
        prepared: 1,
        ..Gauges::default()
    };
    assert_eq!(world.shard.gauges(), expected);
    let (world, _) = World::in_state(S::Ongoing);
    let expected = Gauges {
        transactional_ids: 1,
        ongoing: 1,
        ..Gauges::default()
    };
    assert_eq!(world.shard.gauges(), expected);
}
