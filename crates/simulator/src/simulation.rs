//! The event loop: takes the next thing that happens, lets the node it concerns act, performs what
//! comes out of it, and checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::{BrokerId, Instant, Offset, TopicPartition};
use ottla_replication::partition::Required;
use ottla_storage::FetchIsolation;
use ottla_storage::directory::{FaultyDirectory, MemoryDirectory};

use crate::broker::{Io, Process, Stopping};
use crate::checker::{Checker, Violation};
use crate::client::{Client, Consumer, Next, Producer};
use crate::ensemble::Ensemble;
use crate::message::{CallId, FromEnsemble, Lane, Node, Output, Request, Response};
use crate::nemesis::{Fault, Nemesis};
use crate::network::Network;
use crate::pipelined::PipelinedProducer;
use crate::random::Random;
use crate::settings::Settings;
use crate::trace::Trace;
use crate::transactional::TransactionalProducer;
use crate::world::{Event, World, note};

/// How long a client waits for an answer before it gives a connection up.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause of a starting broker whose id is still registered.
const REGISTRATION_PAUSE: Duration = Duration::from_millis(500);

/// One broker's machine: its disk outlives the process.
pub(crate) struct Machine {
    pub(crate) directory: FaultyDirectory,
    pub(crate) process: Option<Process>,
    life: u64,
    wake_at: Option<Instant>,
    /// Stopped in its tracks: what comes for it waits here.
    paused: Option<Vec<Event>>,
    /// Its start is under way.
    starts: bool,
    /// It lost unsynced bytes at its end.
    pub(crate) lost_power: bool,
}

/// A cluster under simulation.
pub struct Simulation {
    pub(crate) world: World,
    pub(crate) network: Network,
    pub(crate) ensemble: Ensemble,
    pub(crate) machines: BTreeMap<BrokerId, Machine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) checker: Checker,
    pub(crate) nemesis: Nemesis,
    next_call: CallId,
}

impl Simulation {
    /// A cluster whose brokers are down.
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self::with_trace(Random::new(seed), settings, Trace::new(false))
    }

    pub(crate) fn with_trace(random: Random, settings: Settings, trace: Trace) -> Self {
        let world = World::new(random, Arc::new(settings), trace);
        let machine = || Machine {
            directory: FaultyDirectory::new(MemoryDirectory::new()),
            process: None,
            life: 0,
            wake_at: None,
            paused: None,
            starts: false,
            lost_power: false,
        };
        let brokers = (0..world.settings.brokers).map(BrokerId);
        Self {
            machines: brokers.map(|id| (id, machine())).collect(),
            ensemble: Ensemble::new(&world),
            world,
            network: Network::default(),
            clients: vec![Client::Administrator],
            checker: Checker::default(),
            nemesis: Nemesis::default(),
            next_call: 1,
        }
    }

    /// The clock.
    pub fn now(&self) -> Instant {
        self.world.now
    }

    /// A hash over everything that has happened.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace.hash()
    }

    pub(crate) fn brokers(&self) -> Vec<BrokerId> {
        self.machines.keys().copied().collect()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.world.now + time;
        while self.world.next_time().is_some_and(|next| next <= end) {
            self.step()?;
        }
        self.world.now = end;
        Ok(())
    }

    /// Lets time pass until something is so; an error if it does not become so in `limit`.
    pub fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<(), Violation> {
        let end = self.world.now + limit;
        while !is_so(self) {
            if self.world.next_time().is_none_or(|next| next > end) {
                return Err(format!("not within {limit:?}: {what}"));
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        if let Some(event) = self.world.take_next() {
            self.dispatch(event)?;
            self.check_writes()?;
        }
        Ok(())
    }

    fn dispatch(&mut self, event: Event) -> Result<(), Violation> {
        let Some(event) = self.defer_if_paused(event) else {
            return Ok(());
        };
        match event {
            Event::Request {
                call,
                from,
                to,
                to_life,
                request,
            } => {
                if self.world.lives.get(&to) != Some(&to_life) {
                    self.world
                        .after(Duration::from_millis(1), Event::CallFailed { call });
                    return Ok(());
                }
                note!(self.world, "{from:?} -> {to} #{call} {request:?}");
                self.with_process(to, |process, io| process.on_request(call, request, io))
            }
            Event::Response { call, response } => self.finish(call, Some(response)),
            Event::CallFailed { call } => self.finish(call, None),
            Event::Coordinate {
                session,
                generation,
                id,
                request,
            } => {
                note!(self.world, "session {session} {request:?}");
                self.ensemble
                    .arrive(&mut self.world, (session, generation), id, &request);
                Ok(())
            }
            Event::FromEnsemble {
                to,
                life,
                session,
                event,
            } => {
                if self.world.lives.get(&to) != Some(&life) {
                    return Ok(());
                }
                if let FromEnsemble::Event(ottla_coordination::Event::Session(change)) = &event {
                    note!(self.world, "session {session} of {to} {change:?}");
                }
                self.with_process(to, |process, io| {
                    process.on_coordination(session, event, io)
                })
            }
            Event::SessionTimeout {
                session,
                generation,
            } => {
                self.ensemble
                    .timed_out(&mut self.world, session, generation);
                Ok(())
            }
            Event::OpenSession { broker, life } => {
                self.ensemble.open_for(&mut self.world, broker, life);
                Ok(())
            }
            Event::Wake { broker, life } => {
                let machine = self.machines.get_mut(&broker);
                if let Some(machine) = machine.filter(|m| m.life == life) {
                    machine.wake_at = None;
                    return self.with_process(broker, Process::on_wake);
                }
                Ok(())
            }
            Event::Start { broker } => self.try_to_start(broker),
            Event::Resume { broker } => self.resume(broker),
            Event::Client { client } => {
                self.act(client);
                Ok(())
            }
            Event::NextFault => self.next_fault(),
            Event::EndOfFault(fault) => self.end_fault(fault),
        }
    }

    /// Keeps what concerns a paused broker for later.
    fn defer_if_paused(&mut self, event: Event) -> Option<Event> {
        let broker = match &event {
            Event::Request { to, .. } | Event::FromEnsemble { to, .. } => *to,
            Event::Wake { broker, .. } => *broker,
            Event::Response { call, .. } | Event::CallFailed { call } => {
                match self.network.caller(*call) {
                    Some(Node::Broker(broker)) => broker,
                    _ => return Some(event),
                }
            }
            _ => return Some(event),
        };
        match self
            .machines
            .get_mut(&broker)
            .and_then(|machine| machine.paused.as_mut())
        {
            Some(waiting) => {
                waiting.push(event);
                None
            }
            None => Some(event),
        }
    }

    fn finish(&mut self, call: CallId, response: Option<Response>) -> Result<(), Violation> {
        match self.network.finish(&self.world, call) {
            None => Ok(()),
            Some(Node::Broker(broker)) => {
                note!(self.world, "{broker} <- #{call} {response:?}");
                self.with_process(broker, |process, io| {
                    process.on_response(call, response, io);
                })
            }
            Some(Node::Client(client)) => {
                note!(self.world, "client {client} <- #{call} {response:?}");
                let Some(state) = self.clients.get_mut(client as usize) else {
                    return Ok(());
                };
                let pause =
                    state.on_response(&mut self.world, &mut self.checker, call, response)?;
                self.world.after(pause, Event::Client { client });
                Ok(())
            }
        }
    }

    /// Lets a broker act, performs what it wants, and checks what it has changed.
    pub(crate) fn with_process(
        &mut self,
        broker: BrokerId,
        act: impl FnOnce(&mut Process, &mut Io<'_>),
    ) -> Result<(), Violation> {
        let mut io = Io {
            now: self.world.now,
            wall: self.world.wall(),
            next_call: &mut self.next_call,
            outputs: Vec::new(),
        };
        let Some(machine) = self.machines.get_mut(&broker) else {
            return Ok(());
        };
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        machine.directory.memory().set_clock(io.wall);
        act(process, &mut io);
        let mut outputs = io.outputs;
        if process.halted.is_some() {
            // It dies before anything leaves it, and nobody can look at what it thought.
            outputs.clear();
        }
        self.perform(broker, outputs);
        self.check_touched(broker)?;
        self.after_event(broker)
    }

    fn perform(&mut self, broker: BrokerId, outputs: Vec<Output>) {
        let world = &mut self.world;
        for output in outputs {
            match output {
                Output::Call {
                    id,
                    to,
                    lane,
                    request,
                } => {
                    let way = (Node::Broker(broker), to, lane);
                    self.network.call(world, id, way, request);
                }
                Output::Reply { call, response } => self.network.respond(world, call, response),
                Output::Coordinate {
                    session,
                    id,
                    request,
                } => self.ensemble.submit(world, session, id, request),
                Output::OpenSession => {
                    let life = world.lives.get(&broker).copied().unwrap_or(0);
                    let pause = world.delay();
                    world.after(pause, Event::OpenSession { broker, life });
                }
            }
        }
    }

    fn after_event(&mut self, broker: BrokerId) -> Result<(), Violation> {
        let Some(machine) = self.machines.get_mut(&broker) else {
            return Ok(());
        };
        let Some(process) = &machine.process else {
            return Ok(());
        };
        if let Some(reason) = &process.halted {
            note!(self.world, "{broker} halts: {reason}");
            if !self.nemesis.has_broken_disk(broker) {
                return Err(format!("broker {broker} halts: {reason}"));
            }
            self.kill(broker);
            let down = self.world.random.millis(500, 8_000);
            self.world
                .after(down, Event::EndOfFault(Fault::Down(broker)));
            return Ok(());
        }
        if process.stopping == Stopping::Ready {
            self.stop(broker);
            return Ok(());
        }
        let next = process.next_deadline(self.world.now);
        if machine.wake_at.is_none_or(|at| next < at) {
            machine.wake_at = Some(next);
            let life = machine.life;
            // Never in the same moment again: what is due now has been tried.
            let at = next.max(self.world.now + Duration::from_micros(100));
            self.world.at(at, Event::Wake { broker, life });
        }
        Ok(())
    }
}

// Checks.
impl Simulation {
    fn check_touched(&mut self, broker: BrokerId) -> Result<(), Violation> {
        let mut grown = Vec::new();
        if let Some(machine) = self.machines.get_mut(&broker)
            && let Some(process) = &mut machine.process
            && process.halted.is_none()
        {
            for tp in process.take_touched() {
                match process.replicas.get_mut(&tp) {
                    Some(replica) => {
                        if self.checker.observe(broker, machine.life, &tp, replica)? {
                            grown.push(tp.clone());
                        }
                    }
                    None => self.checker.forget(broker, &tp),
                }
                if self.checker.trusted_isr(&tp).contains(&broker) {
                    let log = process.log(&tp);
                    self.checker.check_has_committed(broker, &tp, log)?;
                }
            }
        }
        grown.iter().try_for_each(|tp| self.check_isr(tp))
    }

    fn check_writes(&mut self) -> Result<(), Violation> {
        for transaction in self.ensemble.take_committed() {
            for tp in self.checker.on_transaction(&transaction)? {
                let state = self.checker.state(&tp);
                note!(self.world, "state of {tp}: {state:?}");
                self.check_isr(&tp)?;
            }
        }
        Ok(())
    }

    /// Every member of the ISR that is up has what is committed.
    fn check_isr(&mut self, tp: &TopicPartition) -> Result<(), Violation> {
        for broker in self.checker.trusted_isr(tp) {
            let process = self.machines.get(&broker).and_then(|m| m.process.as_ref());
            if let Some(process) = process.filter(|process| process.halted.is_none()) {
                let log = process.log(tp);
                self.checker.check_has_committed(broker, tp, log)?;
            }
        }
        Ok(())
    }
}

// Machines.
impl Simulation {
    /// Starts a broker, as soon as its id is free.
    pub fn start(&mut self, broker: i32) {
        let broker = BrokerId(broker);
        if let Some(machine) = self.machines.get_mut(&broker)
            && machine.process.is_none()
            && !machine.starts
        {
            machine.starts = true;
            self.world.after(Duration::ZERO, Event::Start { broker });
        }
    }

    fn try_to_start(&mut self, broker: BrokerId) -> Result<(), Violation> {
        if !self.may_start(broker) {
            self.world
                .after(REGISTRATION_PAUSE, Event::Start { broker });
            return Ok(());
        }
        let Some(machine) = self.machines.get_mut(&broker) else {
            return Ok(());
        };
        let life = machine.life + 1;
        let world = &mut self.world;
        let Some((session, epoch)) = self.ensemble.register(world, broker, life) else {
            world.after(REGISTRATION_PAUSE, Event::Start { broker });
            return Ok(());
        };
        note!(*world, "{broker} starts, broker epoch {epoch}");
        machine.life = life;
        machine.starts = false;
        machine.wake_at = None;
        machine.lost_power = false;
        self.checker.on_start(broker);
        world.lives.insert(broker, life);
        let mut io = Io {
            now: world.now,
            wall: world.wall(),
            next_call: &mut self.next_call,
            outputs: Vec::new(),
        };
        machine.directory.memory().set_clock(io.wall);
        let process = Process::start(
            (broker, epoch),
            session,
            &world.settings,
            &machine.directory,
            world.random.next_u64(),
            &mut io,
        )
        .map_err(|error| format!("broker {broker} does not start: {error}"))?;
        machine.process = Some(process);
        let outputs = io.outputs;
        self.perform(broker, outputs);
        self.nemesis.started(broker);
        let partitions: Vec<_> = self.checker.partitions().cloned().collect();
        for tp in partitions {
            self.check_isr(&tp)?;
        }
        self.after_event(broker)
    }

    /// Whether a broker that lost unsynced bytes has left every ISR, so that it cannot be trusted
    /// with what it has lost (KIP-966: Kafka does not promise that).
    fn may_start(&self, broker: BrokerId) -> bool {
        let lost_power = self.machines.get(&broker).is_some_and(|m| m.lost_power);
        !lost_power || !self.may_be_trusted(broker)
    }

    fn may_be_trusted(&self, broker: BrokerId) -> bool {
        let by_the_controller = self
            .checker
            .partitions()
            .any(|tp| !self.nemesis.is_deleting(&tp.topic) && self.checker.is_damaged(broker, tp));
        let by_a_leader = self
            .machines
            .values()
            .filter_map(|machine| machine.process.as_ref())
            .any(|process| {
                process.replicas.iter().any(|(tp, replica)| {
                    let state = self.checker.state(tp);
                    let epoch = replica.partition.leader_epoch();
                    // The wishes of a deposed leader are refused.
                    replica.partition.is_leader()
                        && state.is_some_and(|state| state.leader_epoch == epoch)
                        && replica.partition.isr().is_in_maximal_isr(broker)
                        && !self.nemesis.is_deleting(&tp.topic)
                })
            });
        by_the_controller || by_a_leader
    }

    /// Ends a broker like kill -9: what it has written stays.
    pub fn kill_broker(&mut self, broker: i32) {
        self.kill(BrokerId(broker));
    }

    pub(crate) fn kill(&mut self, broker: BrokerId) {
        let Some(machine) = self.machines.get_mut(&broker) else {
            return;
        };
        let Some(process) = machine.process.take() else {
            return;
        };
        note!(self.world, "{broker} dies");
        process.kill();
        self.gone(broker);
        self.ensemble.broker_died(&mut self.world, broker);
    }

    /// Ends a broker's machine: unsynced bytes are lost, or some of them.
    pub fn fail_power(&mut self, broker: i32) {
        let broker = BrokerId(broker);
        let is_up = self.world.is_up(broker);
        self.kill(broker);
        if let Some(machine) = self.machines.get_mut(&broker).filter(|_| is_up) {
            let seed = self.world.random.next_u64();
            machine.directory.crash(seed);
            machine.lost_power = self.world.settings.flush_messages != 1;
            note!(self.world, "{broker} has lost power");
            if machine.lost_power {
                self.checker.on_power_failure(broker);
            }
        }
    }

    /// The orderly end.
    fn stop(&mut self, broker: BrokerId) {
        let wall = self.world.wall();
        let Some(machine) = self.machines.get_mut(&broker) else {
            return;
        };
        let Some(process) = machine.process.take() else {
            return;
        };
        note!(self.world, "{broker} ends");
        process.close(wall);
        self.ensemble.close_all(&mut self.world, broker);
        self.gone(broker);
        let down = self.world.random.millis(100, 8_000);
        self.world
            .after(down, Event::EndOfFault(Fault::Down(broker)));
    }

    fn gone(&mut self, broker: BrokerId) {
        self.world.lives.remove(&broker);
        if let Some(machine) = self.machines.get_mut(&broker) {
            machine.paused = None;
            machine.directory.heal();
        }
        self.network.broker_died(&mut self.world, broker);
        self.nemesis.died(broker);
    }

    /// The two brokers cannot reach each other from now on.
    pub fn cut(&mut self, a: i32, b: i32) {
        self.network.cut(&mut self.world, BrokerId(a), BrokerId(b));
    }

    /// They can reach each other again.
    pub fn heal(&mut self, a: i32, b: i32) {
        self.network.heal(BrokerId(a), BrokerId(b));
    }

    /// Stops a broker in its tracks (SIGSTOP).
    pub fn sleep(&mut self, broker: i32) {
        self.pause(BrokerId(broker));
    }

    /// Lets it go on.
    pub fn wake(&mut self, broker: i32) -> Result<(), Violation> {
        self.resume(BrokerId(broker))
    }

    /// Stops a broker in its tracks (SIGSTOP).
    pub(crate) fn pause(&mut self, broker: BrokerId) {
        if let Some(machine) = self.machines.get_mut(&broker)
            && machine.process.is_some()
            && machine.paused.is_none()
        {
            note!(self.world, "{broker} is paused");
            machine.paused = Some(Vec::new());
            self.ensemble.cut(&mut self.world, broker);
        }
    }

    pub(crate) fn resume(&mut self, broker: BrokerId) -> Result<(), Violation> {
        let waiting = self
            .machines
            .get_mut(&broker)
            .and_then(|machine| machine.paused.take());
        let Some(waiting) = waiting else {
            return Ok(());
        };
        note!(self.world, "{broker} goes on");
        self.ensemble.heal(&mut self.world, broker);
        for event in waiting {
            self.dispatch(event)?;
            self.check_writes()?;
        }
        Ok(())
    }

    pub(crate) fn is_paused(&self, broker: BrokerId) -> bool {
        self.machines
            .get(&broker)
            .is_some_and(|machine| machine.paused.is_some())
    }
}

// Clients.
impl Simulation {
    /// Adds a producer that writes to a partition, with pauses of at most so many milliseconds.
    pub fn add_producer(&mut self, partition: &TopicPartition, required: Required, pause_ms: u64) {
        let client = self.clients.len() as u32;
        let producer = Producer::new(client, partition.clone(), required, pause_ms);
        self.add_client(Client::Producer(producer));
    }

    /// Adds an idempotent producer with several requests on their way at a time.
    pub fn add_pipelined_producer(&mut self, partition: &TopicPartition, pause_ms: u64) {
        let client = self.clients.len() as u32;
        let producer = PipelinedProducer::new(client, partition.clone(), pause_ms);
        self.add_client(Client::Pipelined(producer));
    }

    /// Adds a consumer that reads a partition from its beginning.
    pub fn add_consumer(&mut self, partition: &TopicPartition) {
        let isolation = FetchIsolation::HighWatermark;
        self.add_client(Client::Consumer(Consumer::new(
            partition.clone(),
            isolation,
        )));
    }

    /// Adds a consumer that reads a partition from its beginning, and only what is committed.
    pub fn add_read_committed_consumer(&mut self, partition: &TopicPartition) {
        let isolation = FetchIsolation::TxnCommitted;
        self.add_client(Client::Consumer(Consumer::new(
            partition.clone(),
            isolation,
        )));
    }

    /// Adds a producer that writes to all of the partitions in transactions. Two of one id fence
    /// each other.
    pub fn add_transactional_producer(
        &mut self,
        transactional_id: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) {
        let client = self.clients.len() as u32;
        let coordinator = self.world.settings.transaction_partition(transactional_id);
        let producer = TransactionalProducer::new(
            client,
            transactional_id.into(),
            coordinator,
            partitions.to_vec(),
            timeout,
        );
        self.add_client(Client::Transactional(producer));
    }

    fn add_client(&mut self, client: Client) {
        let number = self.clients.len() as u32;
        self.clients.push(client);
        self.world
            .after(Duration::ZERO, Event::Client { client: number });
    }

    /// Producers finish what they have begun and begin nothing more.
    pub fn stop_producers(&mut self) {
        for client in &mut self.clients {
            if let Client::Producer(producer) = client {
                producer.is_stopping = true;
            } else if let Client::Pipelined(producer) = client {
                producer.is_stopping = true;
            } else if let Client::Transactional(producer) = client {
                producer.is_stopping = true;
            }
        }
    }

    /// Whether all that was sent is acknowledged.
    pub fn producers_are_idle(&self) -> bool {
        self.clients.iter().all(Client::is_idle)
    }

    fn act(&mut self, client: u32) {
        let Some(state) = self.clients.get_mut(client as usize) else {
            return;
        };
        match state.act(&mut self.world, &mut self.checker) {
            Next::Done => {}
            Next::Wait(pause) => self.world.after(pause, Event::Client { client }),
            Next::Call(to, request) => _ = self.client_call(client, to, request),
            Next::Calls(to, requests) => {
                let calls = requests.into_iter();
                let calls: Vec<CallId> = calls
                    .map(|request| self.client_call(client, to, request))
                    .collect();
                if let Some(Client::Pipelined(producer)) = self.clients.get_mut(client as usize) {
                    producer.sent(&calls);
                }
            }
        }
    }

    pub(crate) fn client_call(&mut self, client: u32, to: BrokerId, request: Request) -> CallId {
        let call = self.next_call;
        self.next_call += 1;
        let way = (Node::Client(client), to, Lane::Client);
        self.network.call(&mut self.world, call, way, request);
        self.world.after(CLIENT_TIMEOUT, Event::CallFailed { call });
        call
    }
}

// What tests look at.
impl Simulation {
    /// Whether a broker runs.
    pub fn is_up(&self, broker: i32) -> bool {
        self.world.is_up(BrokerId(broker))
    }

    /// The leader of a partition, by its state znode.
    pub fn leader(&self, partition: &TopicPartition) -> Option<i32> {
        let leader = self.checker.state(partition)?.leader.some()?;
        Some(leader.0)
    }

    /// The in-sync replicas of a partition, by its state znode.
    pub fn isr(&self, partition: &TopicPartition) -> Vec<i32> {
        let state = self.checker.state(partition);
        state.map_or_else(Vec::new, |state| state.isr.iter().map(|id| id.0).collect())
    }

    /// High watermark and log end on one broker, if it has the partition and is up.
    pub fn offsets(&self, broker: i32, partition: &TopicPartition) -> Option<(Offset, Offset)> {
        let machine = self.machines.get(&BrokerId(broker))?;
        let log = machine.process.as_ref()?.log(partition)?;
        Some((log.high_watermark(), log.log_end_offset()))
    }

    /// Whether a broker takes itself for the leader.
    pub fn believes_to_lead(&self, broker: i32, partition: &TopicPartition) -> bool {
        let process = self.machines.get(&BrokerId(broker));
        let process = process.and_then(|machine| machine.process.as_ref());
        process.is_some_and(|process| process.leads(partition).is_some())
    }

    /// The end of what any leader has committed.
    pub fn committed_end(&self, partition: &TopicPartition) -> Offset {
        self.checker.committed_end(partition)
    }

    /// How many transactions were committed, and how many aborted.
    pub fn ended_transactions(&self) -> (u64, u64) {
        self.checker.transactions.ended()
    }

    /// At the end: committed transactions are whole, and what was acknowledged is committed.
    pub fn check_transactions(&self) -> Result<(), Violation> {
        self.checker.transactions.check_whole()?;
        let partition = Settings::offsets_partition();
        let committed = self.checker.committed_offsets();
        let leader = self.checker.state(&partition).map(|state| state.leader);
        let leader = leader.and_then(|leader| self.machines.get(&leader)?.process.as_ref());
        for client in &self.clients {
            let (Client::Transactional(client), Some(leader)) = (client, leader) else {
                continue;
            };
            let fetched = leader.fetch_offset(client.group_id(), &client.consumed());
            let expected = committed.get(&client.number());
            let expected = expected.map_or(-1, |id| id.to_offset());
            if fetched != Ok(expected) {
                return Err(format!(
                    "the group of client {} is at {fetched:?}, but {expected} is committed",
                    client.number()
                ));
            }
        }
        Ok(())
    }

    /// How many records were acknowledged (acks=all).
    pub fn acknowledged(&self) -> u64 {
        self.checker.acknowledged_count()
    }

    /// What keeps the cluster from being whole: `None` once every partition has all its replicas
    /// in sync and equal, and clients have written and read all.
    pub fn what_is_missing(&self) -> Option<String> {
        for (broker, machine) in &self.machines {
            if machine.process.is_none() {
                return Some(format!("broker {broker} is down"));
            }
        }
        if !self.producers_are_idle() {
            return Some("a producer waits".to_owned());
        }
        for (broker, machine) in &self.machines {
            let leads = |tp: &TopicPartition| self.leader(tp) == Some(broker.0);
            if let Some(process) = &machine.process
                && !process.transactions_are_idle(leads)
            {
                return Some(format!("a transaction lasts on {broker}"));
            }
            if let Some(process) = &machine.process
                && !process.groups_are_idle()
            {
                return Some(format!("groups are loaded on {broker}"));
            }
        }
        self.checker
            .partitions()
            .find_map(|tp| self.missing_of(tp).map(|what| format!("{tp}: {what}")))
    }

    fn missing_of(&self, tp: &TopicPartition) -> Option<String> {
        let Some(state) = self.checker.state(tp) else {
            return Some("no state".to_owned());
        };
        let assignment = self.checker.assignment(tp);
        if state.isr.len() != assignment.len() || state.leader.some().is_none() {
            return Some(format!("{state:?} of {assignment:?}"));
        }
        let end = self.checker.committed_end(tp);
        for broker in assignment {
            let offsets = self.offsets(broker.0, tp);
            if offsets != Some((end, end)) {
                return Some(format!("{broker} is at {offsets:?}, committed is {end}"));
            }
        }
        if !self.believes_to_lead(state.leader.0, tp) {
            return Some(format!("{} does not lead", state.leader));
        }
        let consumers = self
            .clients
            .iter()
            .filter(|client| client.partition() == Some(tp));
        let behind = consumers
            .filter_map(Client::consumed_to)
            .find(|offset| *offset != end)?;
        Some(format!("a consumer is at {behind}, committed is {end}"))
    }
}
