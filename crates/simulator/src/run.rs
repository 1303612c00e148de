//! One seed from its beginning to its end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ottla_model::TopicPartition;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_replication::partition::Required;

use crate::random::Random;
use crate::settings::Settings;
use crate::simulation::Simulation;
use crate::trace::Trace;

/// How long a cluster may take to be whole after the last fault.
const RECOVERY_MAX: Duration = Duration::from_secs(180);

/// What a seed that kept all promises has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Hash over everything that happened.
    pub trace_hash: u64,
    /// Acknowledged records (acks=all).
    pub acknowledged: u64,
    /// How many transactions were committed, and how many aborted.
    pub transactions: (u64, u64),
    /// How many controllers there were, one after the other.
    pub controllers: i32,
    /// Virtual time that passed.
    pub time: Duration,
}

/// A broken promise, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Run this one again.
    pub seed: u64,
    /// What was broken.
    pub violation: String,
    /// Hash over everything that happened before.
    pub trace_hash: u64,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "seed {} (trace {:016x}): {}",
            self.seed, self.trace_hash, self.violation
        )?;
        write!(
            f,
            "again, with the whole trace: OTTLA_TRACE=1 cargo run -p ottla-simulator --example soak -- {} {}",
            self.seed, self.seed
        )
    }
}

/// Runs a seed; with `prints` its trace goes to standard error.
///
/// # Errors
/// The first promise that is broken, an assertion of the code under test included.
pub fn run_seed(seed: u64, prints: bool) -> Result<Summary, Box<Failure>> {
    let mut random = Random::new(seed);
    let settings = Settings::draw(&mut random);
    let mut simulation = Simulation::with_trace(random, settings, Trace::new(prints));
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut simulation)));
    let violation = match outcome {
        Ok(Ok(())) => {
            return Ok(Summary {
                trace_hash: simulation.trace_hash(),
                acknowledged: simulation.acknowledged(),
                transactions: simulation.ended_transactions(),
                controllers: simulation.checker.controller_epoch(),
                time: simulation.now().0,
            });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned()),
    };
    Err(Box::new(Failure {
        seed,
        violation,
        trace_hash: simulation.trace_hash(),
        trace: simulation.world.trace.last_lines(),
    }))
}

fn live(simulation: &mut Simulation) -> Result<(), String> {
    for broker in simulation.brokers() {
        simulation.start(broker.0);
        let pause = simulation.world.random.millis(0, 500);
        simulation.run_for(pause)?;
    }
    simulation.run_for(Duration::from_secs(1))?;
    let coordinators = simulation.world.settings.transaction_partitions;
    if coordinators > 0 {
        let replicas = simulation.world.random.between(2, 3) as usize;
        let assignment = simulation.draw_assignment(coordinators as u64, replicas);
        simulation.create_topic(TRANSACTION_STATE_TOPIC, &assignment);
        let assignment = simulation.draw_assignment(1, replicas);
        simulation.create_topic(GROUP_METADATA_TOPIC, &assignment);
    }
    let mut transactional = Vec::new();
    let topics = simulation.world.random.between(1, 2);
    for topic in 0..topics {
        let partitions = simulation.world.random.between(1, 3);
        let replicas = simulation.world.random.between(2, 3) as usize;
        let assignment = simulation.draw_assignment(partitions, replicas);
        let name = format!("topic{topic}");
        simulation.create_topic(&name, &assignment);
        for partition in 0..partitions {
            let tp = TopicPartition::new(name.as_str(), partition as i32);
            simulation.add_producer(&tp, Required::InSyncReplicas, 300);
            if simulation.world.random.chance(50) {
                simulation.add_pipelined_producer(&tp, 300);
            }
            if simulation.world.random.chance(50) {
                simulation.add_producer(&tp, Required::Leader, 400);
            }
            simulation.add_consumer(&tp);
            if coordinators > 0 {
                simulation.add_read_committed_consumer(&tp);
                transactional.push(tp);
            }
        }
    }
    if coordinators > 0 {
        for id in ["a", "b"] {
            for _ in 0..simulation.world.random.between(1, 2) {
                let timeout = simulation.world.random.millis(2_000, 8_000);
                simulation.add_transactional_producer(id, &transactional, timeout);
            }
        }
    }
    let calm = simulation.world.random.millis(500, 5_000);
    simulation.run_for(calm)?;
    simulation.begin_faults();
    let faults = simulation.world.random.millis(15_000, 45_000);
    simulation.run_for(faults)?;
    simulation.end_faults()?;
    simulation.run_for(Duration::from_secs(2))?;
    simulation.stop_producers();
    let whole = simulation.run_until("the cluster is whole", RECOVERY_MAX, |simulation| {
        simulation.what_is_missing().is_none() && simulation.topics_being_deleted().is_empty()
    });
    whole.map_err(|violation| {
        let missing = simulation.what_is_missing();
        let deleting = simulation.topics_being_deleted();
        format!("{violation}; missing: {missing:?}; being deleted: {deleting:?}")
    })?;
    simulation.check_transactions()
}
