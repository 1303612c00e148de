//! Links of a cluster that are cut while all its nodes run: packets vanish and nobody is told.
//! Needs to be root, for network namespaces.

use std::time::{Duration, Instant};

use ottla_integration::broker::Program;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Load, Network, Zookeeper, replicas};
use ottla_model::ErrorCode;

const DEADLINE: Duration = Duration::from_secs(180);
const ALL: [u32; 3] = [1, 2, 3];
/// The node that the ensemble is on; brokers are on the nodes of their ids.
const ENSEMBLE: usize = 4;

struct Site {
    // In the order in which they end.
    cluster: Cluster,
    network: Network,
}

impl Site {
    fn start() -> Option<Self> {
        let network = match Network::new(ENSEMBLE) {
            Ok(network) => network,
            Err(error) => {
                eprintln!("SKIPPED: no network namespaces: {error:#}");
                return None;
            }
        };
        let zookeeper = Zookeeper::ensemble_in(network.node(ENSEMBLE), 1).expect("an ensemble");
        let cluster = Cluster::start_with(
            zookeeper,
            &[Program::Ottla; 3],
            &[
                ("min.insync.replicas", "2"),
                ("replica.lag.time.max.ms", "3000"),
                ("replica.socket.timeout.ms", "2000"),
                ("controller.socket.timeout.ms", "2000"),
                ("auto.leader.rebalance.enable", "false"),
            ],
            |id, broker| {
                broker.set_place(network.node(id as usize));
                Ok(())
            },
        )
        .expect("a cluster");
        Some(Self { cluster, network })
    }

    fn cut(&self, one: u32, other: usize) {
        self.network.cut(one as usize, other).expect("a cut");
    }

    fn heal(&self, one: u32, other: usize) {
        self.network.heal(one as usize, other).expect("a repair");
    }

    fn direct(&self, id: u32) -> Direct {
        Direct::connect(&self.cluster.address(id)).expect("a connection")
    }

    fn progress(&self, load: &Load) {
        load.wait_for_progress()
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.logs()));
    }

    /// Waits for the in-sync replicas of a partition and tells how long that took.
    fn isr(&self, topic: &str, partition: u32, isr: &[u32]) -> Duration {
        let start = Instant::now();
        self.cluster
            .wait_for_isr(topic, partition, isr)
            .unwrap_or_else(|error| panic!("{error:#}"));
        start.elapsed()
    }

    fn isrs(&self, isr: &[u32]) {
        for partition in 0..3 {
            self.isr("load", partition, isr);
        }
    }

    /// Produces to a topic's leader with acks=all until it is acknowledged.
    fn produce(&self, topic: &str, leader: u32, value: &str) {
        let direct = self.direct(leader);
        wait_for("an acknowledgement", DEADLINE, || {
            let code = direct.produce(topic, value, -1).expect("an answer");
            (code == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.logs()));
    }
}

/// Between a leader and one of its followers, each of which also leads the other.
fn between_two_replicas(site: &Site, load: &Load, one: u32, other: u32) {
    let third = 6 - one - other;
    let epochs = || [0, 1, 2].map(|p| site.cluster.leader_epoch("load", p).expect("an epoch"));
    let before = epochs();
    site.cut(one, other as usize);
    let mut took = Vec::new();
    for partition in 0..3 {
        let leader = site.cluster.leader("load", partition).expect("a leader");
        if leader != third {
            took.push(site.isr("load", partition, &[leader, third]));
        }
    }
    site.progress(load);
    site.heal(one, other as usize);
    let healing = Instant::now();
    site.isrs(&ALL);
    eprintln!(
        "two replicas: out of sync after {took:?}, back {:?} after the repair",
        healing.elapsed()
    );
    assert_eq!(epochs(), before, "nobody was elected");
}

/// Between the controller and one broker: its orders wait and are given after the repair.
fn between_controller_and_broker(site: &Site, load: &Load, controller: u32, broker: u32) {
    let third = 6 - controller - broker;
    site.cut(controller, broker as usize);
    let direct = site.direct(controller);
    for (name, replicas) in [
        ("meanwhile", [third, broker, controller]),
        ("waiting", [broker, third, controller]),
    ] {
        direct.create_topic(name, &[&replicas]).expect("a topic");
    }
    site.produce("meanwhile", third, "during the cut");
    // The broker that is cut off has not heard of either.
    let code = site.direct(broker).produce("waiting", "too early", -1);
    assert_eq!(
        ErrorCode::from_code(code.expect("an answer")),
        ErrorCode::UnknownTopicOrPartition
    );
    site.isr("meanwhile", 0, &[third, controller]);
    site.progress(load);
    let healed = Instant::now();
    site.heal(controller, broker as usize);
    site.produce("waiting", broker, "after the repair");
    eprintln!(
        "the controller's orders came {:?} after the repair",
        healed.elapsed()
    );
    site.isr("meanwhile", 0, &ALL);
    site.isr("waiting", 0, &ALL);
    assert_eq!(site.cluster.controller().expect("a controller"), controller);
    site.isrs(&ALL);
}

/// Between one broker, leader and controller, and the ensemble; clients and brokers still reach it.
fn between_broker_and_ensemble(site: &Site, load: &Load, zombie: u32) {
    let others: Vec<u32> = ALL.into_iter().filter(|id| *id != zombie).collect();
    let direct = site.direct(zombie);
    let controller = site.cluster.controller().expect("a controller");
    assert_eq!(controller, zombie);
    direct
        .create_topic("probe", &[&[zombie, others[0], others[1]]])
        .expect("a topic");
    site.produce("probe", zombie, "before");
    site.cut(zombie, ENSEMBLE);
    site.cluster
        .end_session(zombie)
        .expect("the end of its session");
    let next = site
        .cluster
        .controller_other_than(zombie)
        .expect("another controller");
    let leader = site
        .cluster
        .leader_other_than("probe", 0, zombie)
        .expect("another leader");
    // With its acknowledgement both replicas have turned to the new leader.
    site.produce("probe", leader, "kept 1");
    // The old one takes itself for the leader, but nobody follows it.
    // On a connection of its own, where nothing waits behind it.
    let waiting = site.direct(zombie);
    let refused = waiting
        .begin_produce("probe", "never acknowledged", -1)
        .expect("a request");
    site.produce("probe", leader, "kept 2");
    site.isr("probe", 0, &others);
    // The group stays with the old coordinator as long as clients reach it, and cannot commit.
    load.wait_for_acknowledgements()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", site.cluster.logs()));
    let code = direct.produce("probe", "of the zombie alone", 1);
    eprintln!(
        "the zombie answered acks=1 with {:?}",
        code.map(ErrorCode::from_code)
    );
    site.heal(zombie, ENSEMBLE);
    let healed = Instant::now();
    site.isr("probe", 0, &ALL);
    eprintln!(
        "the broker was back {:?} after the repair",
        healed.elapsed()
    );
    let answer = waiting.wait(refused).expect("an answer");
    let code = ottla_integration::direct::produce_error(&answer).expect("a code");
    assert_ne!(code, 0, "a broker without followers must not acknowledge");
    eprintln!("acks=all at the zombie: {:?}", ErrorCode::from_code(code));
    assert_eq!(site.cluster.controller().expect("a controller"), next);
    let mut values = site.direct(leader).values("probe").expect("the records");
    // What was not acknowledged in time was sent again.
    values.dedup();
    assert_eq!(values, ["before", "kept 1", "kept 2"]);
    site.isrs(&ALL);
    site.progress(load);
}

#[test]
fn cut_links_lose_nothing_and_heal() {
    let Some(mut site) = Site::start() else {
        return;
    };
    let controller = site.cluster.controller().expect("a controller");
    let [one, other] = [1, 2].map(|step| (controller + step - 1) % 3 + 1);
    let direct = site.direct(controller);
    // A leader that reaches neither the controller nor a follower can do nothing but wait, as in
    // Kafka: no partition of the load is led by `other`.
    direct
        .create_topic(
            "load",
            &[
                &[one, other, controller],
                &[controller, one, other],
                &[one, controller, other],
            ],
        )
        .expect("a topic");
    direct
        .create_topic(
            "__consumer_offsets",
            &[&[controller, one, other] as &[u32]; 8],
        )
        .expect("a topic");
    let load = Load::start(&site.cluster.bootstrap(), "load").expect("a load");
    site.progress(&load);
    site.isrs(&ALL);

    between_two_replicas(&site, &load, one, other);
    between_controller_and_broker(&site, &load, controller, other);
    between_broker_and_ensemble(&site, &load, controller);

    let records = load
        .finish(&site.cluster.log_directories())
        .unwrap_or_else(|error| panic!("{error:#}\n{}", site.cluster.logs()));
    eprintln!("{records} records");
    replicas::wait_until_equal(&mut site.cluster, &["__consumer_offsets"]).expect("equal replicas");
    for id in ALL {
        site.cluster.broker(id).stop().expect("a clean stop");
    }
}
