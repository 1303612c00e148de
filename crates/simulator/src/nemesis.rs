//! Faults and administrators' orders, drawn from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_controller::ApiRequest;
use ottla_controller::event::ElectionType;
use ottla_coordination::payloads::{EntityConfig, TopicAssignment};
use ottla_coordination::{ANY_VERSION, Request as Write, paths};
use ottla_model::{BrokerId, ReplicaAssignment, TopicId, TopicName, TopicPartition};
use ottla_replication::IsrState;
use ottla_storage::directory::Fault as DiskFault;

use crate::broker::Stopping;
use crate::checker::Violation;
use crate::message::Request;
use crate::simulation::Simulation;
use crate::world::{Event, note};

/// The client that gives administrators' orders.
const ADMINISTRATOR: u32 = 0;

/// A broker that has been registered for so many milliseconds is alive in every controller's eyes.
const KNOWN_AFTER_MS: i64 = 5_000;

/// Something that lasts and ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    Down(BrokerId),
    Cut(BrokerId, BrokerId),
    Isolated(BrokerId),
    WithoutEnsemble(BrokerId),
    Slow(BrokerId),
}

/// What is going on.
#[derive(Default)]
pub(crate) struct Nemesis {
    pub(crate) is_active: bool,
    /// Brokers that must stay up, for each that lost unsynced bytes.
    guards: BTreeMap<BrokerId, BTreeSet<BrokerId>>,
    broken_disks: BTreeSet<BrokerId>,
    deleting: BTreeSet<TopicName>,
    topics: u32,
}

impl Nemesis {
    pub(crate) fn has_broken_disk(&self, broker: BrokerId) -> bool {
        self.broken_disks.contains(&broker)
    }

    pub(crate) fn started(&mut self, broker: BrokerId) {
        self.guards.remove(&broker);
    }

    pub(crate) fn died(&mut self, broker: BrokerId) {
        self.broken_disks.remove(&broker);
    }

    /// Whether a topic's deletion was ordered: what happens to its records does not matter.
    pub(crate) fn is_deleting(&self, topic: &TopicName) -> bool {
        self.deleting.contains(topic)
    }

    fn guards(&self, broker: BrokerId) -> bool {
        self.guards.values().any(|guards| guards.contains(&broker))
    }
}

impl Simulation {
    /// Faults begin, and go on until [`end_faults`](Self::end_faults).
    pub(crate) fn begin_faults(&mut self) {
        self.nemesis.is_active = true;
        self.world.after(Duration::ZERO, Event::NextFault);
    }

    /// All faults end; every broker comes back.
    pub(crate) fn end_faults(&mut self) -> Result<(), Violation> {
        note!(self.world, "all faults end");
        self.nemesis.is_active = false;
        self.network.heal_all();
        self.world.slow.clear();
        std::sync::Arc::make_mut(&mut self.world.settings).loss_permille = 0;
        for broker in self.brokers() {
            self.resume(broker)?;
            self.ensemble.heal(&mut self.world, broker);
            self.start(broker.0);
        }
        Ok(())
    }

    pub(crate) fn next_fault(&mut self) -> Result<(), Violation> {
        if !self.nemesis.is_active {
            return Ok(());
        }
        let brokers = self.brokers();
        if let Some(broker) = self.world.random.pick(&brokers) {
            self.inflict(broker)?;
        }
        let pause = self.world.random.millis(50, 4_000);
        self.world.after(pause, Event::NextFault);
        Ok(())
    }

    fn inflict(&mut self, broker: BrokerId) -> Result<(), Violation> {
        let spared = self.nemesis.guards(broker) || self.is_paused(broker);
        let is_up = self.world.is_up(broker);
        match self.world.random.between(0, 99) {
            0..=13 if is_up && !spared => {
                self.kill(broker);
                let down = self.world.random.millis(100, 12_000);
                self.world
                    .after(down, Event::EndOfFault(Fault::Down(broker)));
            }
            14..=21 if is_up && !spared => self.fail_power_if_allowed(broker),
            22..=27 if is_up && !spared => {
                self.pause(broker);
                let time = self.world.random.millis(100, 10_000);
                self.world.after(time, Event::Resume { broker });
            }
            28..=39 => self.cut_a_pair(broker),
            40..=44 if is_up => self.isolate(broker),
            45..=52 if is_up && !spared => {
                note!(self.world, "{broker} loses the ensemble");
                self.ensemble.cut(&mut self.world, broker);
                let time = self.world.random.millis(100, 9_000);
                let fault = Fault::WithoutEnsemble(broker);
                self.world.after(time, Event::EndOfFault(fault));
            }
            53..=56 if is_up && !spared && !self.ensemble.is_cut(broker) => {
                note!(self.world, "the session of {broker} is ended");
                self.ensemble.expire(&mut self.world, broker);
                let time = self.world.random.millis(1, 300);
                let fault = Fault::WithoutEnsemble(broker);
                self.world.after(time, Event::EndOfFault(fault));
            }
            57..=61 => self.move_controller(),
            62..=67 if is_up => {
                let delay = self.world.random.millis(5, 800);
                note!(self.world, "the disk of {broker} takes {delay:?}");
                self.world.slow.insert(broker, delay);
                let time = self.world.random.millis(500, 10_000);
                self.world
                    .after(time, Event::EndOfFault(Fault::Slow(broker)));
            }
            68..=70 if is_up && !spared => self.break_disk(broker),
            71..=76 if is_up && !spared => {
                note!(self.world, "{broker} is told to stop");
                self.with_process(broker, |process, io| process.begin_to_stop(io))?;
            }
            77..=85 => self.reassign(),
            86..=91 => self.elect_preferred(),
            92..=94 => self.create_scratch_topic(),
            95..=97 => self.delete_scratch_topic(),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn end_fault(&mut self, fault: Fault) -> Result<(), Violation> {
        match fault {
            Fault::Down(broker) => self.start(broker.0),
            Fault::Cut(a, b) => self.network.heal(a, b),
            Fault::Isolated(broker) => {
                for other in self.brokers() {
                    self.network.heal(broker, other);
                }
            }
            Fault::WithoutEnsemble(broker) => {
                if !self.is_paused(broker) {
                    self.ensemble.heal(&mut self.world, broker);
                }
            }
            Fault::Slow(broker) => {
                self.world.slow.remove(&broker);
            }
        }
        Ok(())
    }

    /// Bytes that are not synced may be lost only where they are safe elsewhere: another member of
    /// each ISR stays up until this broker has left the ISR.
    fn fail_power_if_allowed(&mut self, broker: BrokerId) {
        let mut guards = BTreeSet::new();
        if self.world.settings.flush_messages != 1 {
            let partitions: Vec<_> = self.checker.partitions().cloned().collect();
            let known: BTreeSet<BrokerId> = self
                .brokers()
                .into_iter()
                .filter(|id| self.is_known_to_live(*id))
                .collect();
            for tp in partitions {
                let Some(state) = self.checker.state(&tp) else {
                    continue;
                };
                // What it has fetched may be about to take it into the ISR.
                let is_in =
                    state.isr.contains(&broker) || self.checker.assignment(&tp).contains(&broker);
                if !is_in || self.nemesis.is_deleting(&tp.topic) {
                    continue;
                }
                let trusted = self.checker.trusted_isr(&tp);
                let is_well = |id: &BrokerId| {
                    *id != broker
                        && trusted.contains(id)
                        && known.contains(id)
                        && !self.is_about_to_leave(*id, &tp)
                        && self.world.is_up(*id)
                        && !self.is_paused(*id)
                        && !self.ensemble.is_cut(*id)
                        && !self.nemesis.has_broken_disk(*id)
                        && !self.is_stopping(*id)
                };
                let leader = Some(state.leader).filter(is_well);
                let Some(guard) = leader.or_else(|| state.isr.iter().copied().find(is_well)) else {
                    return;
                };
                guards.insert(guard);
            }
        }
        self.nemesis.guards.insert(broker, guards);
        self.fail_power(broker.0);
        let down = self.world.random.millis(100, 12_000);
        self.world
            .after(down, Event::EndOfFault(Fault::Down(broker)));
    }

    /// Whether no controller is about to take a broker for dead, because its session has ended or
    /// it was down before.
    fn is_known_to_live(&mut self, broker: BrokerId) -> bool {
        let since = self.ensemble.registered_at(&mut self.world, broker);
        let now = self.world.wall();
        since.is_some_and(|since| now.0 - since >= KNOWN_AFTER_MS)
    }

    /// Whether the leader has asked for an ISR without a broker.
    fn is_about_to_leave(&self, broker: BrokerId, tp: &TopicPartition) -> bool {
        let processes = self.machines.values().filter_map(|m| m.process.as_ref());
        let mut replicas = processes.filter_map(|process| process.replicas.get(tp));
        replicas.any(|replica| match replica.partition.isr() {
            IsrState::PendingShrink { proposal, .. } => {
                replica.partition.is_leader() && !proposal.isr.contains(&broker)
            }
            _ => false,
        })
    }

    fn is_stopping(&self, broker: BrokerId) -> bool {
        let process = self.machines.get(&broker).and_then(|m| m.process.as_ref());
        process.is_some_and(|process| process.stopping != Stopping::No)
    }

    fn cut_a_pair(&mut self, broker: BrokerId) {
        let others: Vec<_> = self
            .brokers()
            .into_iter()
            .filter(|b| *b != broker)
            .collect();
        if let Some(other) = self.world.random.pick(&others) {
            note!(self.world, "{broker} and {other} are cut");
            self.network.cut(&mut self.world, broker, other);
            let time = self.world.random.millis(100, 12_000);
            self.world
                .after(time, Event::EndOfFault(Fault::Cut(broker, other)));
        }
    }

    fn isolate(&mut self, broker: BrokerId) {
        note!(self.world, "{broker} is isolated");
        for other in self.brokers() {
            if other != broker {
                self.network.cut(&mut self.world, broker, other);
            }
        }
        let time = self.world.random.millis(100, 12_000);
        self.world
            .after(time, Event::EndOfFault(Fault::Isolated(broker)));
    }

    fn break_disk(&mut self, broker: BrokerId) {
        note!(self.world, "the disk of {broker} breaks");
        let fault = if self.world.random.chance(50) {
            DiskFault::NoSpace
        } else {
            DiskFault::InputOutput
        };
        if let Some(machine) = self.machines.get(&broker) {
            let calls = machine.directory.calls() + self.world.random.between(0, 30);
            machine.directory.fail_from(calls, fault);
            self.nemesis.broken_disks.insert(broker);
        }
        let down = self.world.random.millis(3_000, 12_000);
        self.world
            .after(down, Event::EndOfFault(Fault::Down(broker)));
    }

    /// As an administrator does who wants another controller.
    fn move_controller(&mut self) {
        note!(self.world, "the controller is deposed");
        let delete = Write::Delete {
            path: paths::CONTROLLER.to_owned(),
            version: ANY_VERSION,
        };
        // It may not be there.
        _ = self.ensemble.administer(&mut self.world, &delete);
    }
}

// Administrators' orders.
impl Simulation {
    /// Creates a topic as an administrator's tool does: replicas per partition.
    pub fn create_topic(&mut self, name: &str, partitions: &[Vec<i32>]) {
        let id = (0..).find_map(|_| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.world.random.next_u64().to_be_bytes());
            bytes[8..].copy_from_slice(&self.world.random.next_u64().to_be_bytes());
            TopicId::from_random(bytes)
        });
        let assignment = TopicAssignment {
            topic_id: id,
            partitions: (0..)
                .zip(partitions)
                .map(|(index, replicas)| {
                    let replicas = replicas.iter().copied().map(BrokerId);
                    (index, ReplicaAssignment::of(replicas))
                })
                .collect(),
        };
        note!(self.world, "topic {name} {partitions:?}");
        let config = Some(EntityConfig::default().encode());
        for write in [
            Write::create(paths::topic_config(name), config),
            Write::create(paths::topic(name), Some(assignment.encode())),
        ] {
            self.ensemble
                .administer(&mut self.world, &write)
                .expect("the topic is new and its parents are there");
        }
    }

    /// Draws replicas for partitions.
    pub(crate) fn draw_assignment(&mut self, partitions: u64, replicas: usize) -> Vec<Vec<i32>> {
        (0..partitions)
            .map(|_| {
                let mut brokers: Vec<i32> = self.brokers().iter().map(|id| id.0).collect();
                self.world.random.shuffle(&mut brokers);
                brokers.truncate(replicas);
                brokers
            })
            .collect()
    }

    fn ask_controller(&mut self, request: ApiRequest) {
        // Some broker that takes itself for the controller, or any.
        let active: Vec<BrokerId> = self
            .machines
            .iter()
            .filter(|(_, m)| m.process.as_ref().is_some_and(|p| p.view().is_active))
            .map(|(id, _)| *id)
            .collect();
        if let Some(controller) = self.world.random.pick(&active) {
            note!(self.world, "asks {controller}: {request:?}");
            self.client_call(ADMINISTRATOR, controller, Request::Controller(request));
        }
    }

    fn lasting_partition(&mut self) -> Option<TopicPartition> {
        let all: Vec<_> = self
            .checker
            .partitions()
            .filter(|tp| !self.nemesis.deleting.contains(&tp.topic))
            .cloned()
            .collect();
        self.world.random.pick(&all)
    }

    fn reassign(&mut self) {
        if !self.nemesis.guards.is_empty() {
            return;
        }
        let Some(tp) = self.lasting_partition() else {
            return;
        };
        // Kafka's controller lets a reassignment be taken back although only replicas that it adds
        // are in sync, and the partition is offline for good then.
        if !self.checker.origin_is_in_sync(&tp) {
            return;
        }
        let target = if self.world.random.chance(20) {
            None
        } else {
            let replicas = self.world.random.between(2, 3) as usize;
            let mut drawn = self.draw_assignment(1, replicas);
            drawn
                .pop()
                .map(|replicas| replicas.into_iter().map(BrokerId).collect())
        };
        self.ask_controller(ApiRequest::AlterPartitionReassignments(BTreeMap::from([(
            tp, target,
        )])));
    }

    fn elect_preferred(&mut self) {
        let partitions = self.checker.partitions().cloned().collect();
        self.ask_controller(ApiRequest::ElectLeaders {
            partitions,
            election: ElectionType::Preferred,
        });
    }

    fn create_scratch_topic(&mut self) {
        self.nemesis.topics += 1;
        let name = format!("scratch{}", self.nemesis.topics);
        let partitions = self.world.random.between(1, 2);
        let assignment = self.draw_assignment(partitions, 2);
        self.create_topic(&name, &assignment);
    }

    fn delete_scratch_topic(&mut self) {
        let topics: Vec<TopicName> = self
            .checker
            .partitions()
            .map(|tp| tp.topic.clone())
            .filter(|topic| topic.as_str().starts_with("scratch"))
            .filter(|topic| !self.nemesis.deleting.contains(topic))
            .collect();
        if let Some(topic) = self.world.random.pick(&topics) {
            note!(self.world, "topic {topic} is to be deleted");
            let order = Write::create(paths::delete_topic(topic.as_str()), None);
            // The order may be there already.
            _ = self.ensemble.administer(&mut self.world, &order);
            self.nemesis.deleting.insert(topic);
        }
    }

    /// Topics whose deletion has been ordered and is not finished.
    pub(crate) fn topics_being_deleted(&self) -> Vec<&TopicName> {
        let there = |topic: &&TopicName| self.checker.partitions().any(|tp| tp.topic == **topic);
        self.nemesis.deleting.iter().filter(there).collect()
    }
}
