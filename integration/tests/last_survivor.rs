//! Of five brokers four are killed, one after another: the last one has every acknowledged record,
//! serves producers and groups alone, and brings the others up to date when they come back.

use anyhow::Context as _;
use ottla_integration::{Cluster, Load, Program, Zookeeper, replicas};

const TOPIC: &str = "load";
const PARTITIONS: u32 = 5;
const ALL: [u32; 5] = [1, 2, 3, 4, 5];

struct Fall {
    cluster: Cluster,
    load: Load,
}

impl Fall {
    fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start_on(
            Zookeeper::start()?,
            &[Program::Ottla; 5],
            &[
                ("default.replication.factor", "5"),
                ("num.partitions", &PARTITIONS.to_string()),
                ("min.insync.replicas", "1"),
                ("offsets.topic.replication.factor", "5"),
                ("offsets.topic.num.partitions", "5"),
                ("transaction.state.log.replication.factor", "5"),
                ("transaction.state.log.num.partitions", "5"),
                ("log.segment.bytes", "1000000"),
            ],
        )?;
        let mut load = Load::start(&cluster.bootstrap(), TOPIC)?;
        load.add_member()?;
        load.wait_for_every_member()?;
        cluster.wait_for_isrs(TOPIC, PARTITIONS, &ALL)?;
        cluster.wait_for_isrs("__consumer_offsets", 5, &ALL)?;
        Ok(Self { cluster, load })
    }

    /// Kills the controller, the coordinator of the group's partition and leaders, whoever they
    /// are at that moment, until one broker is left.
    fn kill_all_but_one(&mut self) -> anyhow::Result<u32> {
        while self.cluster.started().len() > 1 {
            let controller = self.cluster.controller()?;
            let victim = match self.cluster.started().len() {
                // Not the controller, so that one of the four orders comes from it.
                4 => self.other_leader(controller)?,
                _ => controller,
            };
            self.cluster.kill(victim)?;
            self.cluster.controller_other_than(victim)?;
            let left = self.cluster.started();
            // Each partition has a living leader, and the dead one is out of every ISR: only then
            // may the next one die, for the promise is that of one failure after another.
            self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &left)?;
            self.cluster.wait_for_isrs("__consumer_offsets", 5, &left)?;
            self.load.wait_for_progress()?;
            self.load.wait_for_every_member()?;
            // A replica may have lagged for a moment since.
            self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &left)?;
            self.cluster.wait_for_isrs("__consumer_offsets", 5, &left)?;
            eprintln!("{victim} killed, {left:?} carry on");
        }
        Ok(self.cluster.started()[0])
    }

    /// A broker that is not the controller and leads some partition, if there is one.
    fn other_leader(&self, controller: u32) -> anyhow::Result<u32> {
        for partition in 0..PARTITIONS {
            let leader = self.cluster.leader(TOPIC, partition)?;
            if leader != controller {
                return Ok(leader);
            }
        }
        let others = self.cluster.started().into_iter();
        let mut others = others.filter(|id| *id != controller);
        others.next().context("nobody else is left")
    }

    fn run(mut self) -> anyhow::Result<()> {
        let last = self.kill_all_but_one()?;
        // A rebalance with the survivor as coordinator: a third member takes its share.
        self.load.add_member()?;
        self.load.wait_for_every_member()?;
        for id in ALL.into_iter().filter(|id| *id != last) {
            self.cluster.broker(id).launch()?;
        }
        for id in ALL.into_iter().filter(|id| *id != last) {
            self.cluster.broker(id).wait_until_open()?;
        }
        self.cluster.wait_until_all_are_registered()?;
        self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &ALL)?;
        self.cluster.wait_for_isrs("__consumer_offsets", 5, &ALL)?;
        self.load.wait_for_every_member()?;
        self.cluster.check_all_run()?;
        let records = self.load.finish(&self.cluster.log_directories())?;
        for id in ALL {
            self.cluster.broker(id).stop()?;
        }
        replicas::wait_until_equal(&mut self.cluster, &["__consumer_offsets"])?;
        eprintln!("{records} records, the same on all replicas; {last} was left");
        Ok(())
    }
}

#[test]
fn the_last_of_five_brokers_loses_nothing_and_carries_on_alone() {
    let fall = Fall::start().expect("a cluster under load");
    fall.run().unwrap_or_else(|error| panic!("{error:#}"));
}
