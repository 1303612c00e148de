//! Brokers on one ZooKeeper ensemble.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kafka_protocol::messages::{BrokerId, MetadataRequest};

use crate::broker::{Broker, Program};
use crate::direct::Direct;
use crate::free_port::free_port;
use crate::wait::wait_for;
use crate::znodes::Znodes;
use crate::zookeeper::Zookeeper;

const DEADLINE: Duration = Duration::from_secs(180);

const METADATA_VERSION: i16 = 12;

/// Brokers with the ids 1, 2, 3 … and the ensemble that they share; all end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // Brokers end before their ensemble.
    brokers: Vec<Broker>,
    znodes: Znodes,
    zookeeper: Zookeeper,
}

impl Cluster {
    /// Starts so many brokers under test on one ZooKeeper server.
    pub fn start(count: usize, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_on(
            Zookeeper::start()?,
            &vec![Program::Ottla; count],
            properties,
        )
    }

    /// Starts a broker for each of `programs` on an ensemble, with these keys over those of small
    /// test brokers: internal topics are replicated to three at most. Sessions last so long that
    /// none ends by itself where a machine stops for a while; see [`Self::end_session`].
    pub fn start_on(
        zookeeper: Zookeeper,
        programs: &[Program],
        properties: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::start_with(zookeeper, programs, properties, |_, _| Ok(()))
    }

    /// The same; each broker, by its id, may be changed before its start.
    pub fn start_with(
        zookeeper: Zookeeper,
        programs: &[Program],
        properties: &[(&str, &str)],
        change: impl Fn(u32, &mut Broker) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let connect = zookeeper.address();
        let replicas = programs.len().min(3).to_string();
        let mut brokers = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            let id = (index + 1).to_string();
            let mut all = vec![
                ("broker.id", id.as_str()),
                ("zookeeper.connect", connect.as_str()),
                ("zookeeper.session.timeout.ms", "30000"),
                ("offsets.topic.replication.factor", replicas.as_str()),
                (
                    "transaction.state.log.replication.factor",
                    replicas.as_str(),
                ),
            ];
            all.extend(properties);
            let mut broker = Broker::prepare(*program, free_port()?, &all)?;
            change(id.parse()?, &mut broker)?;
            brokers.push(broker);
        }
        for broker in &mut brokers {
            broker.launch()?;
        }
        for broker in &mut brokers {
            broker.wait_until_open()?;
        }
        let znodes = Znodes::connect(&connect)?;
        let cluster = Self {
            brokers,
            znodes,
            zookeeper,
        };
        cluster.wait_until_all_are_registered()?;
        Ok(cluster)
    }

    /// `host:port` of every broker, joined by commas.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.brokers.iter().map(Broker::address).collect();
        addresses.join(",")
    }

    /// The ids of all brokers, running or not.
    pub fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        (1..).take(self.brokers.len())
    }

    /// A broker by its id.
    pub fn broker(&mut self, id: u32) -> &mut Broker {
        &mut self.brokers[id as usize - 1]
    }

    /// The address of a broker by its id.
    pub fn address(&self, id: u32) -> String {
        self.brokers[id as usize - 1].address()
    }

    /// Where every broker keeps its log.
    pub fn log_directories(&self) -> Vec<PathBuf> {
        self.brokers.iter().map(Broker::log_directory).collect()
    }

    /// The ensemble.
    pub fn zookeeper(&mut self) -> &mut Zookeeper {
        &mut self.zookeeper
    }

    /// Direct access to what the ensemble holds.
    pub fn znodes(&self) -> &Znodes {
        &self.znodes
    }

    /// The ids of running brokers.
    pub fn started(&self) -> Vec<u32> {
        self.ids()
            .filter(|id| self.brokers[*id as usize - 1].is_started())
            .collect()
    }

    /// Kills a broker, and ends its session at once.
    pub fn kill(&mut self, id: u32) -> anyhow::Result<()> {
        self.broker(id).kill()?;
        self.end_session(id)
    }

    /// Ends the session of a broker as if it had not been heard of for too long.
    pub fn end_session(&self, id: u32) -> anyhow::Result<()> {
        let path = format!("/brokers/ids/{id}");
        let Some(stat) = self.znodes.stat(&path)? else {
            return Ok(());
        };
        let session = stat.ephemeral_owner;
        self.zookeeper.end_session(session)?;
        wait_for("the end of a session", DEADLINE, || {
            let found = self.znodes.stat(&path).ok()?;
            found
                .is_none_or(|found| found.ephemeral_owner != session)
                .then_some(())
        })
        .with_context(|| self.logs())
    }

    /// Waits until all running brokers tell clients the same: who is alive, which partitions there
    /// are, who leads them, who is in sync. Brokers learn of changes one after another.
    pub fn wait_until_brokers_agree(&self) -> anyhow::Result<()> {
        let mut told = Vec::new();
        wait_for("brokers that tell the same", DEADLINE, || {
            let all = self.started().into_iter().map(|id| self.metadata(id));
            told = all.collect::<anyhow::Result<_>>().ok()?;
            let mut pairs = told.windows(2);
            pairs.all(|pair| pair[0] == pair[1]).then_some(())
        })
        .with_context(|| format!("{told:#?}"))
    }

    /// What a broker tells of brokers, topics and partitions.
    fn metadata(&self, id: u32) -> anyhow::Result<Vec<String>> {
        let request = MetadataRequest::default().with_topics(None);
        let response = Direct::connect(&self.address(id))?.send(&request, METADATA_VERSION)?;
        let ids = |ids: &[BrokerId]| {
            let mut ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
            ids.sort_unstable();
            ids
        };
        let mut told = vec![format!("controller {}", response.controller_id.0)];
        for broker in &response.brokers {
            told.push(format!("{} {:?}", broker.node_id.0, broker.rack));
        }
        for topic in &response.topics {
            for partition in &topic.partitions {
                told.push(format!(
                    "{:?}-{} {} {} {:?} {:?} {:?}",
                    topic.name,
                    partition.partition_index,
                    partition.leader_id.0,
                    partition.leader_epoch,
                    partition.replica_nodes,
                    ids(&partition.isr_nodes),
                    ids(&partition.offline_replicas)
                ));
            }
        }
        told.sort();
        Ok(told)
    }

    /// What every broker has written, for the message of a failed check.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for (id, broker) in self.ids().zip(&self.brokers) {
            let log = broker.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            all += &format!("== broker {id}\n{tail}\n");
        }
        all
    }

    /// Waits until every running broker is known to ZooKeeper and one is controller.
    pub fn wait_until_all_are_registered(&self) -> anyhow::Result<()> {
        let expected: Vec<String> = self.started().iter().map(u32::to_string).collect();
        wait_for("all brokers in /brokers/ids", DEADLINE, || {
            let mut ids = self.znodes.children("/brokers/ids").ok()?;
            ids.sort();
            (ids == expected).then_some(())
        })
        .with_context(|| self.logs())?;
        self.controller().map(|_| ())
    }

    /// The id of the controller, once there is one.
    pub fn controller(&self) -> anyhow::Result<u32> {
        wait_for("a controller", DEADLINE, || {
            let json = self.znodes.get("/controller").ok()??;
            number_after(&json, "\"brokerid\":")
        })
        .with_context(|| self.logs())
    }

    /// Waits until another broker than `id` is controller, and tells which.
    pub fn controller_other_than(&self, id: u32) -> anyhow::Result<u32> {
        wait_for("another controller", DEADLINE, || {
            let json = self.znodes.get("/controller").ok()??;
            number_after(&json, "\"brokerid\":").filter(|found| *found != id)
        })
        .with_context(|| self.logs())
    }

    /// Leader (−1 if none) and in-sync replicas of a partition, by its state znode.
    pub fn partition_state(
        &self,
        topic: &str,
        partition: u32,
    ) -> anyhow::Result<Option<(i32, Vec<u32>)>> {
        let path = format!("/brokers/topics/{topic}/partitions/{partition}/state");
        let Some(json) = self.znodes.get(&path)? else {
            return Ok(None);
        };
        let leader = number_after(&json, "\"leader\":").context("no leader in the state")?;
        let (_, isr) = json.split_once("\"isr\":[").context("no isr")?;
        let (isr, _) = isr.split_once(']').context("no end of isr")?;
        let isr = isr
            .split(',')
            .filter(|id| !id.is_empty())
            .map(|id| Ok(id.trim().parse()?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Some((leader, isr)))
    }

    /// Waits until a partition has exactly these in-sync replicas, in any order.
    pub fn wait_for_isr(&self, topic: &str, partition: u32, isr: &[u32]) -> anyhow::Result<()> {
        let mut expected = isr.to_vec();
        expected.sort_unstable();
        wait_for("the in-sync replicas", DEADLINE, || {
            let (_, mut found) = self.partition_state(topic, partition).ok()??;
            found.sort_unstable();
            (found == expected).then_some(())
        })
        .with_context(|| {
            let state = self.partition_state(topic, partition);
            format!("{topic}-{partition}: {state:?}\n{}", self.logs())
        })
    }

    /// Waits until each of the first so many partitions has exactly these in-sync replicas.
    pub fn wait_for_isrs(&self, topic: &str, partitions: u32, isr: &[u32]) -> anyhow::Result<()> {
        (0..partitions).try_for_each(|partition| self.wait_for_isr(topic, partition, isr))
    }

    /// Checks that no broker that was started has ended by itself.
    pub fn check_all_run(&mut self) -> anyhow::Result<()> {
        for id in self.started() {
            let broker = self.broker(id);
            anyhow::ensure!(
                broker.process()?.is_running(),
                "broker {id} ended by itself\n{}",
                broker.log()
            );
        }
        Ok(())
    }

    /// Waits until a partition has another leader than `id`, and tells which.
    pub fn leader_other_than(&self, topic: &str, partition: u32, id: u32) -> anyhow::Result<u32> {
        wait_for("another leader", DEADLINE, || {
            let (leader, _) = self.partition_state(topic, partition).ok()??;
            u32::try_from(leader).ok().filter(|found| *found != id)
        })
        .with_context(|| format!("{topic}-{partition}\n{}", self.logs()))
    }

    /// The leader epoch of a partition, by its state znode.
    pub fn leader_epoch(&self, topic: &str, partition: u32) -> anyhow::Result<i32> {
        let path = format!("/brokers/topics/{topic}/partitions/{partition}/state");
        let json = self.znodes.get(&path)?.context("no state")?;
        number_after(&json, "\"leader_epoch\":").context("no leader epoch")
    }

    /// Waits until a partition has a leader, and tells which.
    pub fn leader(&self, topic: &str, partition: u32) -> anyhow::Result<u32> {
        wait_for("a leader", DEADLINE, || {
            let (leader, _) = self.partition_state(topic, partition).ok()??;
            u32::try_from(leader).ok()
        })
        .with_context(|| format!("{topic}-{partition}\n{}", self.logs()))
    }
}

/// The number that follows a key of compact JSON.
fn number_after<T: std::str::FromStr>(json: &str, key: &str) -> Option<T> {
    let (_, rest) = json.split_once(key)?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '-'))
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
