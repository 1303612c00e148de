//! Apache Kafka and this broker in one cluster: each follows the other, leads the other, and is
//! controller over the other; nothing that was acknowledged is lost, and replicas are equal.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::replicas::{directories_of, wait_until_equal};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Load, Operator, Process, Program, Zookeeper, tools};

/// The Apache Kafka broker; 1 and 2 are ours.
const JAVA: u32 = 3;
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const VERIFICATION: &str = "org.apache.kafka.tools.ReplicaVerificationTool";
const DEADLINE: Duration = Duration::from_secs(180);
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("num.partitions", "3"),
    ("min.insync.replicas", "2"),
    // Leaders move when the test says so.
    ("auto.leader.rebalance.enable", "false"),
    // Deleted directories go soon.
    ("log.initial.task.delay.ms", "500"),
    ("log.segment.delete.delay.ms", "500"),
    ("replica.lag.time.max.ms", "10000"),
    // A throttled move takes many fetches.
    ("replica.fetch.max.bytes", "100000"),
    ("offsets.topic.num.partitions", "4"),
];

/// Below 2.7-IV2, 2.8 and 3.0: no AlterPartition, no topic ids, no AllocateProducerIds.
const OLD_PROTOCOL: (&str, &str) = ("inter.broker.protocol.version", "2.6");

/// Each test has three virtual machines already.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Mixed {
    cluster: Cluster,
    operator: Operator,
    started: Instant,
}

#[test]
fn a_java_broker_leads_follows_commands_and_obeys() {
    Mixed::run(PROPERTIES, Mixed::show);
}

#[test]
fn an_old_protocol_between_brokers_is_spoken_both_ways() {
    Mixed::run(
        &[PROPERTIES, &[OLD_PROTOCOL]].concat(),
        Mixed::show_old_protocol,
    );
}

impl Mixed {
    fn run(properties: &[(&str, &str)], show: fn(&mut Self) -> anyhow::Result<()>) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let programs = [Program::Ottla, Program::Ottla, Program::Java];
        let zookeeper = Zookeeper::start().expect("a ZooKeeper");
        let cluster = Cluster::start_on(zookeeper, &programs, properties).expect("a cluster");
        let operator = Operator::new(&cluster.bootstrap()).expect("tools");
        let started = Instant::now();
        let mut mixed = Self {
            cluster,
            operator,
            started,
        };
        if let Err(error) = show(&mut mixed) {
            panic!("{error:#}\n{}", mixed.cluster.logs());
        }
    }

    fn show(&mut self) -> anyhow::Result<()> {
        let load = self.start_load()?;
        self.make_ottla_controller()?;
        self.operate("ours", &load)?;
        self.settings_change("ours")?;
        let controller = self.cluster.controller()?;
        self.brokers_stop_in_order(&[JAVA, 3 - controller])?;
        load.wait_for_progress()?;
        self.unclean_leaders_are_elected("unclean-ours")?;

        self.make_java_controller()?;
        self.operate("java", &load)?;
        self.settings_change("java")?;
        self.brokers_stop_in_order(&[1])?;
        load.wait_for_progress()?;
        self.unclean_leaders_are_elected("unclean-java")?;

        self.make_ottla_controller()?;
        self.verify_replicas()?;
        self.finish(load)
    }

    fn show_old_protocol(&mut self) -> anyhow::Result<()> {
        let load = self.start_load()?;
        self.make_ottla_controller()?;
        self.operate("ours", &load)?;
        self.make_java_controller()?;
        self.operate("java", &load)?;
        let topic = self.cluster.znodes().get("/brokers/topics/load")?;
        anyhow::ensure!(
            topic
                .as_ref()
                .is_some_and(|json| !json.contains("topic_id")),
            "{topic:?}"
        );
        self.finish(load)
    }

    fn start_load(&mut self) -> anyhow::Result<Load> {
        self.operator
            .create_topic("load", "1:2:3,2:3:1,3:1:2", &[])?;
        let load = Load::start(&self.cluster.bootstrap(), "load")?;
        load.wait_for_progress()?;
        Ok(load)
    }

    /// Nothing is lost, replicas are equal, and the logs tell of no error.
    fn finish(&mut self, load: Load) -> anyhow::Result<()> {
        self.wait_until_all_are_in_sync()?;
        load.wait_for_progress()?;
        let records = load.finish(&self.cluster.log_directories())?;
        let (partitions, bytes) = wait_until_equal(&mut self.cluster, &[])?;
        self.tell(&format!(
            "{records} records; {partitions} partitions of {bytes} bytes are equal"
        ));
        for id in self.cluster.ids() {
            let log = self.cluster.broker(id).log();
            let errors: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(" ERROR ") && !is_expected(line))
                .collect();
            anyhow::ensure!(errors.is_empty(), "broker {id}: {errors:#?}");
        }
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
        anyhow::ensure!(self.cluster.controller()? == controller, "it has moved");
        Ok(())
    }

    fn topics_come_and_go(&mut self, under: &str) -> anyhow::Result<()> {
        let topic = format!("short-lived-{under}");
        let configs = ["retention.ms=7200000", "max.message.bytes=100000"];
        self.operator
            .create_topic(&topic, "1:3:2,3:2:1,2:1:3", &configs)?;
        // Brokers learn of it a moment after the answer.
        let mut described = anyhow::Ok(String::new());
        wait_for("the described topic", DEADLINE, || {
            described = self.operator.describe(&["--topic", &topic]);
            let text = described.as_ref().ok()?;
            let whole = text.contains("Replicas: 3,2,1")
                && text.contains("retention.ms=7200000")
                && text.contains("max.message.bytes=100000");
            whole.then_some(())
        })
        .with_context(|| format!("{described:?}"))?;
        self.operator.produce(&topic, 300, "-1")?;
        self.operator.expand_topic(&topic, 6)?;
        for partition in 0..6 {
            self.cluster.wait_for_isr(&topic, partition, &[1, 2, 3])?;
        }
        self.operator.produce(&topic, 600, "-1")?;
        for id in self.cluster.ids() {
            let log_directory = self.cluster.broker(id).log_directory();
            let mut found = Vec::new();
            let all = wait_for("the directories", DEADLINE, || {
                found = directories_of(&log_directory, &topic).ok()?;
                (found.len() == 6).then_some(())
            });
            anyhow::ensure!(all.is_ok(), "broker {id}: {found:?}");
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
                // It is refused while the replica is out of sync, and where it leads already.
                let mut elected = anyhow::Ok(String::new());
                wait_for("the preferred leader", DEADLINE, || {
                    if self.cluster.leader("load", partition).ok()? == order[0] {
                        return Some(());
                    }
                    elected = self.operator.elect("preferred", "load", partition);
                    None
                })
                .with_context(|| format!("of {order:?}: {elected:?}"))?;
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
        let mut changed = anyhow::Ok(String::new());
        wait_for("the topic's settings", DEADLINE, || {
            changed = self.operator.settings(&of_topic);
            let text = changed.as_ref().ok()?;
            let both = text.contains("cleanup.policy=compact") && text.contains("segment.ms=60000");
            both.then_some(())
        })
        .with_context(|| format!("{changed:?}"))?;
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

    /// Each hands over what it leads, ends well, and comes back.
    fn brokers_stop_in_order(&mut self, ids: &[u32]) -> anyhow::Result<()> {
        for id in ids {
            self.wait_until_all_are_in_sync()?;
            self.cluster.broker(*id).stop()?;
            for partition in 0..3 {
                let state = self.cluster.partition_state("load", partition)?;
                let (leader, isr) = state.context("no state")?;
                let handed_over = leader != -1 && leader.unsigned_abs() != *id;
                anyhow::ensure!(
                    handed_over && !isr.contains(id),
                    "{id} is gone, {leader} leads of {isr:?}"
                );
            }
            self.cluster.broker(*id).restart()?;
        }
        self.wait_until_all_are_in_sync()?;
        self.tell("stopped in order");
        Ok(())
    }

    /// Of two replicas that are not the controller's the one that had missed records leads after
    /// an unclean election, and the other follows it.
    fn unclean_leaders_are_elected(&mut self, topic: &str) -> anyhow::Result<()> {
        let controller = self.cluster.controller()?;
        let others: Vec<u32> = self.cluster.ids().filter(|id| *id != controller).collect();
        let [behind, ahead] = others[..] else {
            anyhow::bail!("{others:?}");
        };
        let assignment = format!("{behind}:{ahead}");
        let configs = ["min.insync.replicas=1"];
        self.operator.create_topic(topic, &assignment, &configs)?;
        self.operator.fill(topic, 100)?;
        self.cluster.kill(behind)?;
        self.cluster.wait_for_isr(topic, 0, &[ahead])?;
        self.operator.fill(topic, 50)?;
        self.cluster.kill(ahead)?;
        let has_leader = |mixed: &Self, expected: i32| {
            wait_for("a leader, or none", DEADLINE, || {
                let (leader, _) = mixed.cluster.partition_state(topic, 0).ok()??;
                (leader == expected).then_some(())
            })
        };
        has_leader(self, -1)?;
        self.cluster.broker(behind).restart()?;
        // It fails as long as the controller does not know that the broker is back.
        let mut elected = anyhow::Ok(String::new());
        wait_for("an unclean election", DEADLINE, || {
            elected = self.operator.elect("unclean", topic, 0);
            elected.is_ok().then_some(())
        })
        .with_context(|| format!("{elected:?}"))?;
        has_leader(self, i32::try_from(behind)?)?;
        self.operator.fill(topic, 20)?;
        self.cluster.broker(ahead).restart()?;
        self.cluster.wait_for_isr(topic, 0, &others)?;
        self.operator.fill(topic, 10)?;
        self.cluster.wait_until_brokers_agree()?;
        let offsets = self.operator.run(GET_OFFSETS, &["--topic", topic])?;
        anyhow::ensure!(offsets.trim() == format!("{topic}:0:130"), "{offsets}");
        self.wait_until_all_are_in_sync()?;
        anyhow::ensure!(self.cluster.controller()? == controller, "it has moved");
        self.tell("an unclean leader elected");
        Ok(())
    }

    /// Kills the Java broker if it is controller.
    fn make_ottla_controller(&mut self) -> anyhow::Result<()> {
        if self.cluster.controller()? == JAVA {
            self.cluster.kill(JAVA)?;
            self.cluster.controller_other_than(JAVA)?;
            self.cluster.broker(JAVA).restart()?;
        }
        self.wait_until_all_are_in_sync()?;
        self.tell("the controller is ours");
        Ok(())
    }

    /// Kills both of the others, so that nobody else can be.
    fn make_java_controller(&mut self) -> anyhow::Result<()> {
        for id in [1, 2] {
            self.cluster.kill(id)?;
        }
        wait_for("the Java controller", DEADLINE, || {
            (self.cluster.controller().ok()? == JAVA).then_some(())
        })?;
        for id in [1, 2] {
            self.cluster.broker(id).restart()?;
        }
        self.wait_until_all_are_in_sync()?;
        self.tell("the controller is Java");
        Ok(())
    }

    /// kafka-replica-verification, which never ends, compares all replicas once and again; it needs
    /// topic ids.
    fn verify_replicas(&self) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut java = Command::new("java");
        java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-cp", &tools::class_path("kafka-3.9"), VERIFICATION])
            .args(["--broker-list", &self.cluster.bootstrap()])
            .args(["--report-interval-ms", "1000", "--topics-include", "load"]);
        let _process = Process::start(java, directory.path(), "verification")?;
        let mut out = String::new();
        wait_for("replicas without lag", DEADLINE, || {
            out = std::fs::read_to_string(directory.path().join("verification.out")).ok()?;
            let reports = out.lines().filter(|line| line.contains("max lag is"));
            (reports.count() >= 2).then_some(())
        })
        .with_context(|| {
            let err = std::fs::read_to_string(directory.path().join("verification.err"));
            format!("{out}\n{}", err.unwrap_or_default())
        })?;
        let differs = out.contains("match replica") || out.contains("unmatched checksum");
        anyhow::ensure!(!differs, "{out}");
        Ok(())
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

/// What Kafka calls errors while leaders come and go: a partition has none for a while, has too few
/// replicas in sync, or gets an idempotent producer's second batch before its first. The load's own
/// check tells whether any of it did harm.
fn is_expected(line: &str) -> bool {
    [
        "cannot become follower since the",
        "failed to change state for",
        "Error processing append operation",
    ]
    .iter()
    .any(|text| line.contains(text))
}
