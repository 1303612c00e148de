//! Apache Kafka and this broker in one cluster: each follows the other, leads the other, and is
//! controller over the other; nothing that was acknowledged is lost, and replicas are equal.

use std::time::{Duration, Instant};

use ottla_integration::replicas::{directories_of, wait_until_equal};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Load, Operator, Program, Zookeeper};

/// The Apache Kafka broker; 1 and 2 are ours.
const JAVA: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(60);
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("num.partitions", "3"),
    ("min.insync.replicas", "2"),
    // Leaders move when the test says so.
    ("auto.leader.rebalance.enable", "false"),
    // Deleted directories go soon.
    ("log.initial.task.delay.ms", "500"),
    ("log.segment.delete.delay.ms", "500"),
    ("replica.lag.time.max.ms", "4000"),
    ("offsets.topic.num.partitions", "4"),
];

struct Mixed {
    cluster: Cluster,
    operator: Operator,
    started: Instant,
}

#[test]
fn a_java_broker_leads_follows_commands_and_obeys() {
    let programs = [Program::Ottla, Program::Ottla, Program::Java];
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    let cluster = Cluster::start_on(zookeeper, &programs, PROPERTIES).expect("a cluster");
    let operator = Operator::new(&cluster.bootstrap()).expect("tools");
    let started = Instant::now();
    let mut mixed = Mixed {
        cluster,
        operator,
        started,
    };
    mixed
        .show()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", mixed.cluster.logs()));
}

impl Mixed {
    fn show(&mut self) -> anyhow::Result<()> {
        self.operator
            .create_topic("load", "1:2:3,2:3:1,3:1:2", &[])?;
        let load = Load::start(&self.cluster.bootstrap(), "load")?;
        load.wait_for_progress()?;

        self.make_ottla_controller()?;
        self.tell("the controller is ours");
        self.operate("ours", &load)?;
        self.make_java_controller()?;
        self.tell("the controller is Java");
        self.operate("java", &load)?;

        self.wait_until_all_are_in_sync()?;
        load.wait_for_progress()?;
        let records = load.finish()?;
        let (partitions, bytes) = wait_until_equal(&mut self.cluster)?;
        self.tell(&format!(
            "{records} records; {partitions} partitions of {bytes} bytes are equal"
        ));
        for id in self.cluster.ids() {
            self.cluster.broker(id).stop()?;
        }
        Ok(())
    }

    /// Every operation on topics while the controller stays where it is.
    fn operate(&mut self, under: &str, load: &Load) -> anyhow::Result<()> {
        let controller = self.cluster.controller()?;
        self.topics_come_and_go(under)?;
        self.replicas_move(under)?;
        self.leaders_move()?;
        load.wait_for_progress()?;
        self.settings_change(under)?;
        anyhow::ensure!(self.cluster.controller()? == controller, "it has moved");
        Ok(())
    }

    fn topics_come_and_go(&mut self, under: &str) -> anyhow::Result<()> {
        let topic = format!("short-lived-{under}");
        let configs = ["retention.ms=7200000", "max.message.bytes=100000"];
        self.operator
            .create_topic(&topic, "1:3:2,3:2:1,2:1:3", &configs)?;
        let described = self.operator.describe(&["--topic", &topic])?;
        anyhow::ensure!(
            described.contains("Replicas: 3,2,1")
                && described.contains("retention.ms=7200000")
                && described.contains("max.message.bytes=100000"),
            "{described}"
        );
        self.operator.produce(&topic, 300, "-1")?;
        self.operator.expand_topic(&topic, 6)?;
        for partition in 0..6 {
            self.cluster.wait_for_isr(&topic, partition, &[1, 2, 3])?;
        }
        self.operator.produce(&topic, 600, "-1")?;
        for id in self.cluster.ids() {
            let found = directories_of(&self.cluster.broker(id).log_directory(), &topic)?;
            anyhow::ensure!(found.len() == 6, "broker {id}: {found:?}");
        }
        self.operator.delete_topic(&topic)?;
        self.wait_until_deleted(&topic)?;
        self.tell("created, expanded, deleted");
        Ok(())
    }

    fn wait_until_deleted(&mut self, topic: &str) -> anyhow::Result<()> {
        let path = format!("/brokers/topics/{topic}");
        wait_for("the znode's end", DEADLINE, || {
            self.cluster
                .znodes()
                .get(&path)
                .ok()?
                .is_none()
                .then_some(())
        })?;
        for id in self.cluster.ids() {
            let log_directory = self.cluster.broker(id).log_directory();
            let mut found = Vec::new();
            let gone = wait_for("the directories' end", DEADLINE, || {
                found = directories_of(&log_directory, topic).ok()?;
                found.is_empty().then_some(())
            });
            anyhow::ensure!(gone.is_ok(), "broker {id} still has {found:?}");
        }
        Ok(())
    }

    fn replicas_move(&mut self, under: &str) -> anyhow::Result<()> {
        let topic = format!("moving-{under}");
        self.operator
            .create_topic(&topic, "1:2", &["min.insync.replicas=1"])?;
        self.operator.fill(&topic, 8_000)?;
        // To Java only, and back.
        for replicas in [&[JAVA][..], &[2, 1]] {
            self.operator.move_replicas(&topic, 0, replicas)?;
            self.cluster.wait_for_isr(&topic, 0, replicas)?;
        }
        // A slow move that is not wanted any more.
        let slowly = ["--throttle", "1000"];
        self.operator
            .order_replicas(&topic, 0, &[2, JAVA], &slowly)?;
        let listed = self.operator.run(
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            &["--list"],
        )?;
        anyhow::ensure!(listed.contains("adding: 3. removing: 1."), "{listed}");
        let cancelled = self.operator.cancel_move(&topic, 0, &[2, JAVA])?;
        anyhow::ensure!(cancelled.contains("Successfully cancelled"), "{cancelled}");
        self.cluster.wait_for_isr(&topic, 0, &[1, 2])?;
        self.operator.wait_for_replicas(&topic, 0, &[2, 1])?;
        let directory = self.cluster.broker(JAVA).log_directory();
        wait_for("the cancelled replica's end", DEADLINE, || {
            let found = directories_of(&directory, &topic).ok()?;
            found.is_empty().then_some(())
        })?;
        self.tell("moved, cancelled");
        Ok(())
    }

    /// Each partition is led by every broker in turn.
    fn leaders_move(&mut self) -> anyhow::Result<()> {
        self.wait_until_all_are_in_sync()?;
        for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]] {
            for partition in 0..3 {
                self.operator.move_replicas("load", partition, &order)?;
            }
            for partition in 0..3 {
                let leader = self.cluster.leader("load", partition)?;
                if leader != order[0] {
                    self.operator.elect("preferred", "load", partition)?;
                }
                let leader = self.cluster.leader("load", partition)?;
                anyhow::ensure!(leader == order[0], "{leader} leads of {order:?}");
            }
        }
        self.tell("every broker has led");
        Ok(())
    }

    fn settings_change(&mut self, under: &str) -> anyhow::Result<()> {
        let topic = format!("moving-{under}");
        let of_topic = ["--entity-type", "topics", "--entity-name", &topic];
        let defaults = ["--entity-type", "brokers", "--entity-default"];
        let add = |change| ["--add-config", change];
        self.operator
            .configure(&of_topic, &add("cleanup.policy=compact,segment.ms=60000"))?;
        self.operator
            .configure(&defaults, &add("log.retention.ms=86400000"))?;
        let changed = self.operator.settings(&of_topic)?;
        anyhow::ensure!(
            changed.contains("cleanup.policy=compact") && changed.contains("segment.ms=60000"),
            "{changed}"
        );
        for id in self.cluster.ids() {
            let id = id.to_string();
            let of_broker = ["--entity-type", "brokers", "--entity-name", &id, "--all"];
            wait_for("a default on each broker", DEADLINE, || {
                let settings = self.operator.settings(&of_broker).ok()?;
                settings
                    .contains("DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=86400000")
                    .then_some(())
            })?;
        }
        let remove = |change| ["--delete-config", change];
        self.operator
            .configure(&of_topic, &remove("cleanup.policy,segment.ms"))?;
        self.operator
            .configure(&defaults, &remove("log.retention.ms"))?;
        self.tell("settings changed");
        Ok(())
    }

    /// Kills the Java broker if it is controller.
    fn make_ottla_controller(&mut self) -> anyhow::Result<()> {
        if self.cluster.controller()? == JAVA {
            self.cluster.broker(JAVA).kill()?;
            self.cluster.controller_other_than(JAVA)?;
            self.cluster.broker(JAVA).restart()?;
        }
        self.wait_until_all_are_in_sync()
    }

    /// Kills both of the others, so that nobody else can be.
    fn make_java_controller(&mut self) -> anyhow::Result<()> {
        for id in [1, 2] {
            self.cluster.broker(id).kill()?;
        }
        wait_for("the Java controller", DEADLINE, || {
            (self.cluster.controller().ok()? == JAVA).then_some(())
        })?;
        for id in [1, 2] {
            self.cluster.broker(id).restart()?;
        }
        self.wait_until_all_are_in_sync()
    }

    fn wait_until_all_are_in_sync(&self) -> anyhow::Result<()> {
        self.cluster.wait_until_all_are_registered()?;
        for partition in 0..3 {
            self.cluster.wait_for_isr("load", partition, &[1, 2, 3])?;
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.started.elapsed().as_secs_f64());
    }
}
