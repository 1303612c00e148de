//! Transactions whose coordinator, partition leaders or producers fail, each by itself.

use std::time::Duration;

use ottla_model::TopicPartition;
use ottla_simulator::{Settings, Simulation};

const LOG: &str = "__transaction_state";
const OFFSETS: &str = "__consumer_offsets";
const SOON: Duration = Duration::from_secs(90);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Three brokers: broker 0 leads the transaction log, broker 1 `t-0`, broker 2 `t-1`.
fn cluster(seed: u64, producers: usize) -> Simulation {
    let settings = Settings {
        transaction_partitions: 1,
        min_insync_replicas: 2,
        ..Settings::quiet(3)
    };
    let mut cluster = Simulation::new(seed, settings);
    for broker in 0..3 {
        cluster.start(broker);
    }
    cluster.run_for(Duration::from_secs(2)).unwrap();
    cluster.create_topic(LOG, &[vec![0, 1, 2]]);
    cluster.create_topic(OFFSETS, &[vec![1, 2, 0]]);
    cluster.create_topic("t", &[vec![1, 2, 0], vec![2, 0, 1]]);
    cluster.run_for(Duration::from_secs(1)).unwrap();
    let partitions = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    for partition in &partitions {
        cluster.add_read_committed_consumer(partition);
    }
    for _ in 0..producers {
        cluster.add_transactional_producer("id", &partitions, TIMEOUT);
    }
    cluster
}

/// Producers end, and so do all transactions: readers with read_committed come to the end.
fn until_whole(cluster: &mut Simulation) -> (u64, u64) {
    cluster.stop_producers();
    let whole = cluster.run_until("the cluster is whole", SOON, |cluster| {
        cluster.what_is_missing().is_none()
    });
    whole.unwrap_or_else(|late| panic!("{late}: {:?}", cluster.what_is_missing()));
    cluster.check_transactions().unwrap();
    cluster.ended_transactions()
}

#[test]
fn transactions_end_whole_when_nothing_fails() {
    let mut cluster = cluster(1, 1);
    cluster.run_for(Duration::from_secs(120)).unwrap();
    let (committed, aborted) = until_whole(&mut cluster);
    assert!(committed > 10, "{committed} are committed");
    assert!(aborted > 1, "{aborted} are aborted");
}

#[test]
fn producers_of_one_id_fence_each_other() {
    let mut cluster = cluster(2, 2);
    cluster.run_for(Duration::from_secs(120)).unwrap();
    let (committed, aborted) = until_whole(&mut cluster);
    assert!(committed > 0, "{committed} are committed");
    assert!(aborted > 0, "{aborted} are aborted");
}

/// The coordinator, and in turn each leader of a partition, dies at ever other points of a
/// transaction, between its begin and its last marker.
#[test]
fn a_broker_may_die_at_any_point_of_a_transaction() {
    for broker in 0..3 {
        let mut cluster = cluster(10 + broker as u64, 1);
        let mut committed_before = 0;
        for round in 0..8_u64 {
            let ended = cluster.ended_transactions().0;
            cluster
                .run_until("something is committed", SOON, |cluster| {
                    cluster.ended_transactions().0 > ended
                })
                .unwrap();
            cluster.run_for(Duration::from_millis(7 * round)).unwrap();
            cluster.kill_broker(broker);
            cluster.run_for(Duration::from_secs(6)).unwrap();
            cluster.start(broker);
            cluster.run_for(Duration::from_secs(2)).unwrap();
            let committed = cluster.ended_transactions().0;
            assert!(committed > committed_before, "round {round}");
            committed_before = committed;
        }
        until_whole(&mut cluster);
    }
}

/// The coordinator dies, and so does its successor: what the successor has read is in no other log.
/// The third one knows nothing of the last record, a decision perhaps, so nobody may have been told
/// of it. Which record it is differs from seed to seed.
#[test]
fn a_coordinator_acts_on_nothing_that_dies_with_it() {
    for seed in 0..40 {
        let settings = Settings {
            transaction_partitions: 1,
            ..Settings::quiet(4)
        };
        let mut cluster = Simulation::new(seed, settings);
        // The controller, and the leader of what is not cut off from anybody.
        cluster.start(3);
        cluster.run_for(Duration::from_secs(2)).unwrap();
        for broker in 0..3 {
            cluster.start(broker);
        }
        cluster.run_for(Duration::from_secs(2)).unwrap();
        cluster.create_topic(LOG, &[vec![0, 1, 2]]);
        cluster.create_topic(OFFSETS, &[vec![3]]);
        cluster.create_topic("t", &[vec![3], vec![2]]);
        cluster.run_for(Duration::from_secs(1)).unwrap();
        let partitions = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
        for partition in &partitions {
            cluster.add_read_committed_consumer(partition);
        }
        cluster.add_transactional_producer("id", &partitions, TIMEOUT);
        let log = TopicPartition::new(LOG, 0);
        let some_point = Duration::from_millis(5_000 + 37 * seed);
        cluster.run_for(some_point).unwrap();

        cluster.cut(0, 2);
        cluster
            .run_until("only one follower has a record", SOON, |cluster| {
                let (Some(first), Some(second), Some(third)) = (
                    cluster.offsets(0, &log),
                    cluster.offsets(1, &log),
                    cluster.offsets(2, &log),
                ) else {
                    return false;
                };
                second.1 == first.1 && third.1 < first.1
            })
            .unwrap();
        cluster.kill_broker(0);
        cluster.cut(1, 2);
        cluster
            .run_until("the follower leads", SOON, |cluster| {
                cluster.believes_to_lead(1, &log)
            })
            .unwrap();
        cluster.run_for(Duration::from_secs(1)).unwrap();
        cluster.kill_broker(1);
        cluster.heal(0, 2);
        cluster.heal(1, 2);
        cluster
            .run_until("the other follower leads", SOON, |cluster| {
                cluster.believes_to_lead(2, &log)
            })
            .unwrap();
        cluster.start(0);
        cluster.start(1);
        until_whole(&mut cluster);
    }
}
