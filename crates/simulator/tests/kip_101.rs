//! The two ways in which followers that truncate to their high watermark lose records or differ
//! from their leader (KIP-101), with both forms of truncation by leader epoch: on fetch (KIP-595)
//! and before it.

use std::time::Duration;

use ottla_model::TopicPartition;
use ottla_replication::partition::Required;
use ottla_simulator::{Settings, Simulation};

const SOON: Duration = Duration::from_secs(60);

/// Two brokers; broker 0 leads `t-0`, broker 1 follows.
fn cluster(truncation_on_fetch: bool) -> (Simulation, TopicPartition) {
    let settings = Settings {
        truncation_on_fetch,
        // The high watermark on disk is old whenever a broker dies.
        high_watermark_checkpoint_interval: Duration::from_secs(3_600),
        ..Settings::quiet(2)
    };
    let mut cluster = Simulation::new(101, settings);
    cluster.start(0);
    cluster.start(1);
    cluster.run_for(Duration::from_secs(2)).unwrap();
    cluster.create_topic("t", &[vec![0, 1]]);
    let t = TopicPartition::new("t", 0);
    cluster
        .run_until("both replicas are in sync", SOON, |cluster| {
            cluster.isr(&t) == [0, 1] && cluster.believes_to_lead(0, &t)
        })
        .unwrap();
    cluster.run_for(Duration::from_secs(1)).unwrap();
    (cluster, t)
}

/// Writes for a while and stops in the moment of the last acknowledgement.
fn write(cluster: &mut Simulation, t: &TopicPartition) {
    cluster.add_producer(t, Required::InSyncReplicas, 10);
    cluster.run_for(Duration::from_secs(2)).unwrap();
    cluster.stop_producers();
    cluster
        .run_until("all is acknowledged", SOON, Simulation::producers_are_idle)
        .unwrap();
}

fn until_whole(cluster: &mut Simulation) {
    cluster
        .run_until("the cluster is whole", SOON, |cluster| {
            cluster.what_is_missing().is_none()
        })
        .unwrap_or_else(|late| panic!("{late}: {:?}", cluster.what_is_missing()));
}

/// Scenario 1: a follower has a record and does not know yet that it is committed; it restarts,
/// and the leader fails before the follower has fetched again.
#[test]
fn kip_101_no_loss_when_the_leader_fails_right_after_its_follower() {
    for truncation_on_fetch in [true, false] {
        let (mut cluster, t) = cluster(truncation_on_fetch);
        write(&mut cluster, &t);
        let committed = cluster.committed_end(&t);
        let (known, end) = cluster.offsets(1, &t).unwrap();
        assert!(committed > 0 && cluster.acknowledged() as i64 == committed);
        assert_eq!(end, committed, "the follower has the last record");
        assert!(known < committed, "and does not know that it is committed");

        cluster.kill_broker(1);
        cluster
            .run_until("the follower is out of sync", SOON, |cluster| {
                cluster.isr(&t) == [0]
            })
            .unwrap();
        cluster.start(1);
        cluster
            .run_until("the follower is in sync again", SOON, |cluster| {
                cluster.isr(&t) == [0, 1]
            })
            .unwrap();
        assert_eq!(
            cluster.offsets(1, &t).unwrap().1,
            committed,
            "nothing is cut"
        );
        cluster.kill_broker(0);
        cluster
            .run_until("the follower leads", SOON, |cluster| {
                cluster.believes_to_lead(1, &t)
            })
            .unwrap();
        assert_eq!(cluster.offsets(1, &t), Some((committed, committed)));
        cluster.start(0);
        cluster.add_consumer(&t);
        until_whole(&mut cluster);
        assert_eq!(cluster.committed_end(&t), committed);
    }
}

/// The same with both processes gone within a moment: the follower starts first, still a member of
/// the ISR, with a high watermark on disk that is older than what it has.
#[test]
fn kip_101_no_loss_after_two_quick_failures() {
    for truncation_on_fetch in [true, false] {
        let (mut cluster, t) = cluster(truncation_on_fetch);
        write(&mut cluster, &t);
        let committed = cluster.committed_end(&t);
        cluster.kill_broker(1);
        cluster.kill_broker(0);
        cluster.start(1);
        cluster
            .run_until("the follower leads", SOON, |cluster| {
                cluster.believes_to_lead(1, &t)
            })
            .unwrap();
        assert_eq!(cluster.offsets(1, &t).unwrap().1, committed);
        cluster.start(0);
        cluster.add_consumer(&t);
        until_whole(&mut cluster);
        assert_eq!(cluster.committed_end(&t), committed);
    }
}

/// Scenario 2: the leader has records that its follower lacks, both fail, the follower comes back
/// first, leads, and writes others at the same offsets.
#[test]
fn kip_101_no_divergence_after_a_leader_change() {
    for truncation_on_fetch in [true, false] {
        let (mut cluster, t) = cluster(truncation_on_fetch);
        write(&mut cluster, &t);
        let committed = cluster.committed_end(&t);
        cluster.run_for(Duration::from_secs(2)).unwrap();
        // The follower still counts as in sync while the leader writes on alone.
        cluster.cut(0, 1);
        cluster.add_producer(&t, Required::Leader, 10);
        cluster.run_for(Duration::from_secs(1)).unwrap();
        let (_, ahead) = cluster.offsets(0, &t).unwrap();
        assert!(ahead > committed, "the leader is ahead");
        assert_eq!(cluster.offsets(1, &t).unwrap().1, committed);
        assert_eq!(cluster.isr(&t), [0, 1]);

        cluster.kill_broker(1);
        cluster.kill_broker(0);
        cluster.heal(0, 1);
        cluster.start(1);
        cluster
            .run_until("the follower leads and has written", SOON, |cluster| {
                cluster.believes_to_lead(1, &t)
                    && cluster.offsets(1, &t).is_some_and(|(_, end)| end > ahead)
            })
            .unwrap();
        cluster.stop_producers();
        cluster.start(0);
        cluster.add_consumer(&t);
        // Whole means equal: the checker has compared all batches of both.
        until_whole(&mut cluster);
        assert!(cluster.committed_end(&t) > ahead);
    }
}

/// An old leader that has been stopped long enough to be replaced does not bring its tail back.
#[test]
fn a_leader_that_slept_through_an_election_gives_its_tail_up() {
    for truncation_on_fetch in [true, false] {
        let (mut cluster, t) = cluster(truncation_on_fetch);
        write(&mut cluster, &t);
        cluster.cut(0, 1);
        cluster.add_producer(&t, Required::Leader, 10);
        cluster.run_for(Duration::from_secs(1)).unwrap();
        cluster.stop_producers();
        cluster.sleep(0);
        cluster
            .run_until("the follower leads", SOON, |cluster| {
                cluster.believes_to_lead(1, &t)
            })
            .unwrap();
        assert!(cluster.believes_to_lead(0, &t), "it does not know better");
        cluster.heal(0, 1);
        cluster.add_producer(&t, Required::InSyncReplicas, 10);
        cluster.run_for(Duration::from_secs(2)).unwrap();
        cluster.wake(0).unwrap();
        cluster.run_for(Duration::from_secs(5)).unwrap();
        cluster.stop_producers();
        cluster.add_consumer(&t);
        until_whole(&mut cluster);
        assert_eq!(cluster.leader(&t), Some(1));
    }
}
