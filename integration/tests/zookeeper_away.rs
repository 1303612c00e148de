//! Without ZooKeeper leaders and followers go on, what needs it waits, and all of it resumes by
//! itself when ZooKeeper is back, whether the sessions have survived or not.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use ottla_integration::direct::{Direct, creation};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Load, Program, Zookeeper, replicas};

const TOPIC: &str = "load";
const PARTITIONS: u32 = 3;
const ALL: [u32; 3] = [1, 2, 3];
const SESSION: Duration = Duration::from_secs(6);
const LONG_SESSION: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(180);
/// Followers are out of sync after this: less than a session, so that a leader wants to shrink the
/// ISR while nobody can write that down.
const REPLICA_LAG: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 10;

struct Outage {
    cluster: Cluster,
    load: Load,
}

impl Outage {
    /// With sessions so long that they survive an outage, or so short that they do not.
    fn start(session: Duration) -> anyhow::Result<Self> {
        let cluster = Cluster::start_on(
            Zookeeper::start()?,
            &[Program::Ottla; 3],
            &[
                ("default.replication.factor", "3"),
                ("num.partitions", &PARTITIONS.to_string()),
                ("min.insync.replicas", "2"),
                (
                    "zookeeper.session.timeout.ms",
                    &session.as_millis().to_string(),
                ),
                (
                    "replica.lag.time.max.ms",
                    &REPLICA_LAG.as_millis().to_string(),
                ),
                ("replica.fetch.wait.max.ms", "500"),
            ],
        )?;
        let load = Load::start(&cluster.bootstrap(), TOPIC)?;
        load.wait_for_progress()?;
        let outage = Self { cluster, load };
        outage.all_in_sync()?;
        Ok(outage)
    }

    fn all_in_sync(&self) -> anyhow::Result<()> {
        self.cluster.wait_until_all_are_registered()?;
        self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &ALL)?;
        self.cluster.wait_for_isrs("__consumer_offsets", 8, &ALL)
    }

    /// How often brokers have registered again after the loss of a session.
    fn registered_again(&mut self) -> usize {
        let mut count = 0;
        for id in ALL {
            let log = self.cluster.broker(id).log();
            count += log.matches("registered again").count();
        }
        count
    }

    /// Creates a topic through whoever is controller, as soon as that works.
    fn create_topic(&self, name: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        wait_for("a topic to be created", DEADLINE, || {
            let created = self.try_to_create_topic(name);
            created.map_err(|error| last = format!("{error:#}")).ok()
        })
        .with_context(|| format!("{last}\n{}", self.cluster.logs()))
    }

    fn try_to_create_topic(&self, name: &str) -> anyhow::Result<()> {
        let controller = self.cluster.controller()?;
        let direct = Direct::connect(&self.cluster.address(controller))?;
        let created = direct.create_topic(name, &[&ALL]);
        // It may have been made without an answer in time.
        match self.cluster.partition_state(name, 0)? {
            Some(_) => Ok(()),
            None => created,
        }
    }

    /// A follower's death and return change the ISR, a new topic appears: all of it takes a
    /// controller and znodes that can be written.
    fn everything_works(&mut self) -> anyhow::Result<()> {
        self.load.wait_for_progress()?;
        self.all_in_sync()?;
        self.create_topic("after")?;
        self.cluster.wait_for_isr("after", 0, &ALL)?;
        let controller = self.cluster.controller()?;
        let victim = 1 + controller % 3;
        let left: Vec<u32> = ALL.into_iter().filter(|id| *id != victim).collect();
        self.cluster.kill(victim)?;
        self.cluster.wait_for_isr("after", 0, &left)?;
        self.cluster.wait_for_isrs(TOPIC, PARTITIONS, &left)?;
        self.load.wait_for_progress()?;
        self.cluster.broker(victim).restart()?;
        self.all_in_sync()
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.cluster.check_all_run()?;
        let records = self.load.finish(&self.cluster.log_directories())?;
        for id in ALL {
            self.cluster.broker(id).stop()?;
        }
        // Where nothing is written, a leader alone knows of its epoch.
        replicas::wait_until_equal(
            &mut self.cluster,
            &["__consumer_offsets", "meanwhile", "after"],
        )?;
        eprintln!("{records} records, the same on all replicas");
        Ok(())
    }
}

#[test]
fn brokers_serve_on_while_the_ensemble_is_dead_and_go_on_in_their_sessions() {
    let mut outage = Outage::start(LONG_SESSION).expect("a cluster under load");
    let mut run = || -> anyhow::Result<()> {
        let controller = outage.cluster.controller()?;
        outage.cluster.zookeeper().kill(0)?;
        outage.load.wait_for_progress()?;
        outage.load.wait_for_progress()?;
        // A creation waits for ZooKeeper, and is done when that is back.
        let direct = Direct::connect(&outage.cluster.address(controller))?;
        let pending = direct.begin(creation("meanwhile", &[&ALL])?, 7);
        outage.load.wait_for_progress()?;
        outage.cluster.zookeeper().restart(0)?;
        let answer = direct.wait(pending)?;
        let errors: Vec<i16> = answer.topics.iter().map(|t| t.error_code).collect();
        anyhow::ensure!(errors == [0], "{answer:?}");
        outage.load.wait_for_progress()?;
        outage.all_in_sync()?;
        let again = outage.registered_again();
        anyhow::ensure!(again == 0, "{again} sessions were lost");
        anyhow::ensure!(outage.cluster.controller()? == controller);
        outage.everything_works()
    };
    run().unwrap_or_else(|error| panic!("{error:#}\n{}", outage.cluster.logs()));
    outage.finish().unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn without_the_ensemble_no_acknowledgement_leaves_out_a_dead_follower() {
    let mut outage = Outage::start(SESSION).expect("a cluster under load");
    let mut run = || -> anyhow::Result<()> {
        let controller = outage.cluster.controller()?;
        let victim = 1 + controller % 3;
        outage.cluster.zookeeper().kill(0)?;
        outage.load.wait_for_progress()?;
        outage.cluster.broker(victim).kill()?;
        // What was replicated before the kill may still be told, late on a busy machine. The leaders
        // see the follower lag, but may not decide without the ensemble: it comes to an end.
        let mut counts = Vec::new();
        for _ in 0..ATTEMPTS {
            sleep(Duration::from_secs(1));
            counts.push(outage.load.progress().acknowledged);
            sleep(2 * REPLICA_LAG);
            counts.push(outage.load.progress().acknowledged);
            if counts.ends_with(&[counts[counts.len() - 2]; 2]) {
                break;
            }
        }
        anyhow::ensure!(
            counts.ends_with(&[counts[counts.len() - 2]; 2]),
            "acknowledged all the time: {counts:?}"
        );
        outage.cluster.zookeeper().restart(0)?;
        // The leaders whose partitions it only followed, and the controller for those that it led.
        outage.load.wait_for_progress()?;
        let left: Vec<u32> = ALL.into_iter().filter(|id| *id != victim).collect();
        outage.cluster.wait_for_isrs(TOPIC, PARTITIONS, &left)?;
        outage.load.wait_for_progress()?;
        outage.cluster.broker(victim).restart()?;
        outage.everything_works()
    };
    run().unwrap_or_else(|error| panic!("{error:#}\n{}", outage.cluster.logs()));
    outage.finish().unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn brokers_serve_on_while_the_ensemble_hangs_and_register_again_in_new_sessions() {
    let mut outage = Outage::start(SESSION).expect("a cluster under load");
    let mut run = || -> anyhow::Result<()> {
        // A server that wakes up may hear a broker's ping before it ends the broker's session.
        for _ in 0..5 {
            outage.cluster.zookeeper().process(0)?.signal("STOP")?;
            outage.load.wait_for_progress()?;
            // Until no session can live on.
            sleep(2 * SESSION);
            outage.load.wait_for_progress()?;
            outage.cluster.zookeeper().process(0)?.signal("CONT")?;
            outage.load.wait_for_progress()?;
            let again = wait_for("a broker in a new session", SESSION, || {
                (outage.registered_again() > 0).then_some(())
            });
            if again.is_ok() {
                break;
            }
        }
        anyhow::ensure!(outage.registered_again() > 0, "every session lived on");
        outage.everything_works()?;
        eprintln!("{} sessions were replaced", outage.registered_again());
        Ok(())
    };
    run().unwrap_or_else(|error| panic!("{error:#}\n{}", outage.cluster.logs()));
    outage.finish().unwrap_or_else(|error| panic!("{error:#}"));
}
