//! Brokers, controllers and ZooKeeper servers are killed at random moments, one after another and
//! two at once: an idempotent producer and a consumer group lose nothing, read nothing twice, and
//! find every partition in order.
//!
//! `OTTLA_TEST_SEED` repeats a run, `OTTLA_TEST_ROUNDS` makes it longer.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use ottla_integration::sequences::{check_sequences, produced_batches};
use ottla_integration::{Cluster, Load, Program, Random, Zookeeper, replicas};

const TOPIC: &str = "load";
const PARTITIONS: u32 = 6;
const SESSION: Duration = Duration::from_secs(4);
/// ZooKeeper ends sessions at its ticks.
const AFTER_EXPIRY: Duration = Duration::from_secs(6);

/// What is killed in one round. With three replicas and two in sync for an acknowledgement, no
/// choice may lose anything.
#[derive(Debug, Clone, Copy)]
enum Victims {
    Broker,
    Controller,
    TwoBrokers,
    ZookeeperServer,
    ZookeeperLeaderAndController,
    ZookeeperQuorum,
}

const VICTIMS: [Victims; 6] = [
    Victims::Broker,
    Victims::Controller,
    Victims::TwoBrokers,
    Victims::ZookeeperServer,
    Victims::ZookeeperLeaderAndController,
    Victims::ZookeeperQuorum,
];

struct Rounds {
    cluster: Cluster,
    load: Load,
    random: Random,
}

impl Rounds {
    fn start(random: Random) -> anyhow::Result<Self> {
        let session = SESSION.as_millis().to_string();
        let cluster = Cluster::start_on(
            Zookeeper::ensemble(3)?,
            &[Program::Ottla; 3],
            &[
                ("default.replication.factor", "3"),
                ("num.partitions", &PARTITIONS.to_string()),
                ("min.insync.replicas", "2"),
                ("transaction.state.log.min.isr", "2"),
                ("zookeeper.session.timeout.ms", &session),
                // Rolls, so that crashes meet segments of every age.
                ("log.segment.bytes", "1000000"),
                ("log.index.interval.bytes", "512"),
            ],
        )?;
        let mut load = Load::start(&cluster.bootstrap(), TOPIC)?;
        load.add_member()?;
        load.wait_for_every_member()?;
        Ok(Self {
            cluster,
            load,
            random,
        })
    }

    fn pause(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).expect("a short time");
        // The moment is meant to be random.
        sleep(Duration::from_millis(self.random.below(longest)));
    }

    /// How long a victim stays away: not at all, so that its predecessor's session still lives;
    /// less than a session; or until the session has ended.
    fn stay_away(&mut self) -> &'static str {
        match self.random.below(3) {
            0 => "back at once",
            1 => {
                self.pause(SESSION);
                "back soon"
            }
            _ => {
                sleep(AFTER_EXPIRY);
                "back after its session"
            }
        }
    }

    fn any_broker(&mut self) -> u32 {
        1 + u32::try_from(self.random.below(3)).expect("one of three")
    }

    fn any_server(&mut self) -> usize {
        usize::try_from(self.random.below(3)).expect("one of three")
    }

    fn round(&mut self) -> anyhow::Result<String> {
        self.load.wait_for_progress()?;
        self.pause(Duration::from_millis(1500));
        let choice = self.random.below(VICTIMS.len() as u64);
        let victims = VICTIMS[usize::try_from(choice)?];
        let told = match victims {
            Victims::Broker => {
                let id = self.any_broker();
                self.bounce_brokers(&[id])?
            }
            Victims::Controller => {
                let id = self.cluster.controller()?;
                self.bounce_brokers(&[id])?
            }
            Victims::TwoBrokers => {
                let spared = self.any_broker();
                let ids: Vec<u32> = self.cluster.ids().filter(|id| *id != spared).collect();
                self.bounce_brokers(&ids)?
            }
            Victims::ZookeeperServer => {
                let server = self.any_server();
                self.bounce_servers(&[server])?
            }
            Victims::ZookeeperLeaderAndController => {
                let server = self.cluster.zookeeper().leader()?;
                let id = self.cluster.controller()?;
                self.cluster.zookeeper().kill(server)?;
                let told = self.bounce_brokers(&[id])?;
                self.cluster.zookeeper().restart(server)?;
                format!("server {}, {told}", server + 1)
            }
            Victims::ZookeeperQuorum => {
                let spared = self.any_server();
                let servers: Vec<usize> = (0..3).filter(|index| *index != spared).collect();
                self.bounce_servers(&servers)?
            }
        };
        self.load.wait_for_progress().context(told.clone())?;
        self.cluster.check_all_run().context(told.clone())?;
        // Often the next blow comes before everything is mended.
        if self.random.below(2) == 0 {
            self.all_in_sync().context(told.clone())?;
        }
        Ok(format!("{victims:?}: {told}"))
    }

    fn bounce_brokers(&mut self, ids: &[u32]) -> anyhow::Result<String> {
        for id in ids {
            self.cluster.broker(*id).kill()?;
        }
        let away = self.stay_away();
        for id in ids {
            self.cluster.broker(*id).launch()?;
        }
        for id in ids {
            self.cluster.broker(*id).wait_until_open()?;
        }
        Ok(format!("brokers {ids:?} {away}"))
    }

    fn bounce_servers(&mut self, indexes: &[usize]) -> anyhow::Result<String> {
        for index in indexes {
            self.cluster.zookeeper().kill(*index)?;
        }
        let away = self.stay_away();
        for index in indexes {
            self.cluster.zookeeper().launch(*index)?;
        }
        for index in indexes {
            self.cluster.zookeeper().wait_until_serving(*index)?;
        }
        let ids: Vec<usize> = indexes.iter().map(|index| index + 1).collect();
        Ok(format!("servers {ids:?} {away}"))
    }

    fn all_in_sync(&mut self) -> anyhow::Result<()> {
        self.cluster.wait_until_all_are_registered()?;
        self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &[1, 2, 3])?;
        self.cluster
            .wait_for_isrs("__consumer_offsets", 8, &[1, 2, 3])
    }

    fn finish(mut self) -> anyhow::Result<usize> {
        self.all_in_sync()?;
        self.load.wait_for_every_member()?;
        let directory = self.cluster.broker(1).log_directory();
        let records = self.load.finish(&self.cluster.log_directories())?;
        for id in self.cluster.ids() {
            self.cluster.broker(id).stop()?;
        }
        replicas::wait_until_equal(&mut self.cluster, &["__consumer_offsets"])?;
        for partition in 0..PARTITIONS {
            let batches = produced_batches(&directory.join(format!("{TOPIC}-{partition}")))?;
            check_sequences(&batches).with_context(|| format!("partition {partition}"))?;
        }
        Ok(records)
    }
}

#[test]
fn random_kills_of_brokers_and_zookeeper_servers_lose_double_and_swap_nothing() {
    let count: u32 = std::env::var("OTTLA_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(10);
    let mut rounds = Rounds::start(Random::from_environment()).expect("a cluster under load");
    for round in 1..=count {
        match rounds.round() {
            Ok(told) => eprintln!("round {round}: {told}"),
            Err(error) => panic!("round {round}: {error:#}\n{}", rounds.cluster.logs()),
        }
    }
    let records = rounds.finish().unwrap_or_else(|error| panic!("{error:#}"));
    eprintln!("{records} records in {count} rounds, the same on all replicas");
}
