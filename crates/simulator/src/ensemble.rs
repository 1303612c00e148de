//! The coordination service: one tree, and a session per broker whose connection can break.
//!
//! When it breaks, the owner is told so, and each of its requests is answered ConnectionLoss: it
//! does not know which were applied. Watches that fire meanwhile reach it when it is back. A
//! session whose owner stays away for its timeout is closed; its owner learns of that only when it
//! is back, and until then believes what it believed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_coordination::payloads::BrokerRegistration;
use ottla_coordination::tree::Transaction;
use ottla_coordination::{
    AclPolicy, CreateMode, Error, Event as SessionStream, Op, OpResult, Reply, Request, RequestId,
    SessionEvent, Tree, WatchEvent, paths,
};
use ottla_model::{BrokerEpoch, BrokerId, Instant};

use crate::broker::live_broker;
use crate::message::FromEnsemble;
use crate::world::{Event, World};

struct Session {
    broker: BrokerId,
    life: u64,
    /// Counts broken connections: what is under way on an older one is lost.
    generation: u32,
    is_connected: bool,
    unanswered: VecDeque<RequestId>,
    /// Watches that fired while nobody was connected.
    missed: Vec<WatchEvent>,
    last_request: Instant,
    last_event: Instant,
}

pub(crate) struct Ensemble {
    pub(crate) tree: Tree,
    sessions: BTreeMap<i64, Session>,
    /// An administrator's session, which never breaks.
    administrator: i64,
    /// Brokers that cannot reach the service.
    cut: BTreeSet<BrokerId>,
    /// What has been applied since the checker looked last.
    committed: Vec<Transaction>,
}

impl Ensemble {
    pub(crate) fn new(world: &World) -> Self {
        let mut tree = Tree::new();
        let (administrator, _) = tree.open_session(world.wall());
        for path in paths::PERSISTENT_PATHS {
            let mut ancestors: Vec<&str> =
                std::iter::successors(Some(path), |path| paths::parent(path)).collect();
            ancestors.retain(|path| *path != "/");
            for path in ancestors.into_iter().rev() {
                // Those that are there already stay.
                tree.handle(administrator, &Request::create(path, None), world.wall());
            }
        }
        Self {
            tree,
            sessions: BTreeMap::new(),
            administrator,
            cut: BTreeSet::new(),
            committed: Vec::new(),
        }
    }

    pub(crate) fn take_committed(&mut self) -> Vec<Transaction> {
        std::mem::take(&mut self.committed)
    }

    /// Reads or writes as an administrator, at once.
    pub(crate) fn administer(
        &mut self,
        world: &mut World,
        request: &Request,
    ) -> Result<Reply, Error> {
        self.apply(world, self.administrator, request)
    }

    /// The session and epoch of a broker that starts, or `None` while its predecessor's session
    /// is open.
    pub(crate) fn register(
        &mut self,
        world: &mut World,
        broker: BrokerId,
        life: u64,
    ) -> Option<(i64, BrokerEpoch)> {
        if self.cut.contains(&broker) {
            return None;
        }
        let session = self.open(world, broker, life);
        let path = paths::broker(broker);
        let registration = BrokerRegistration {
            version: 5,
            endpoints: live_broker(broker, BrokerEpoch::NONE).endpoints,
            rack: None,
            jmx_port: -1,
            timestamp: world.wall(),
            features: BTreeMap::new(),
        };
        let multi = Request::Multi(vec![
            Op::Create {
                path: path.clone(),
                data: None,
                mode: CreateMode::Ephemeral,
                acl: AclPolicy::Open,
            },
            Op::SetData {
                path,
                data: Some(registration.encode()),
                version: 0,
            },
        ]);
        if let Ok(Reply::Multi(results)) = self.apply(world, session, &multi)
            && let Some(OpResult::Set(stat)) = results.get(1)
        {
            return Some((session, BrokerEpoch(stat.czxid)));
        }
        self.close(world, session);
        self.sessions.remove(&session);
        None
    }

    fn open(&mut self, world: &mut World, broker: BrokerId, life: u64) -> i64 {
        let (session, transaction) = self.tree.open_session(world.wall());
        self.committed.push(transaction);
        self.sessions.insert(
            session,
            Session {
                broker,
                life,
                generation: 0,
                is_connected: true,
                unanswered: VecDeque::new(),
                missed: Vec::new(),
                last_request: world.now,
                last_event: world.now,
            },
        );
        session
    }

    /// A broker whose session has expired wants another one.
    pub(crate) fn open_for(&mut self, world: &mut World, broker: BrokerId, life: u64) {
        if world.lives.get(&broker) != Some(&life) {
            return;
        }
        if self.cut.contains(&broker) {
            let pause = world.random.millis(500, 1_000);
            return world.after(pause, Event::OpenSession { broker, life });
        }
        let session = self.open(world, broker, life);
        self.tell(world, session, FromEnsemble::Opened(session));
    }

    pub(crate) fn submit(
        &mut self,
        world: &mut World,
        session: i64,
        id: RequestId,
        request: Request,
    ) {
        let delay = world.delay();
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        if !state.is_connected {
            let result = Err(Error::ConnectionLoss);
            let reply = SessionStream::Reply { id, result };
            return self.tell(world, session, FromEnsemble::Event(reply));
        }
        state.unanswered.push_back(id);
        state.last_request = state.last_request.max(world.now + delay);
        let (when, generation) = (state.last_request, state.generation);
        world.at(
            when,
            Event::Coordinate {
                session,
                generation,
                id,
                request,
            },
        );
    }

    /// A request arrives.
    pub(crate) fn arrive(
        &mut self,
        world: &mut World,
        (session, generation): (i64, u32),
        id: RequestId,
        request: &Request,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        if state.generation != generation {
            // It was under way when the connection broke: either it got through or it did not.
            if world.random.chance(50) && self.tree.sessions().any(|open| open == session) {
                _ = self.apply(world, session, request);
            }
            return;
        }
        let result = self.apply(world, session, request);
        if let Some(state) = self.sessions.get_mut(&session) {
            state.unanswered.retain(|waiting| *waiting != id);
        }
        self.tell(
            world,
            session,
            FromEnsemble::Event(SessionStream::Reply { id, result }),
        );
    }

    fn apply(
        &mut self,
        world: &mut World,
        session: i64,
        request: &Request,
    ) -> Result<Reply, Error> {
        let outcome = self.tree.handle(session, request, world.wall());
        self.committed.extend(outcome.transaction);
        self.fire(world, outcome.watches);
        outcome.result
    }

    fn fire(&mut self, world: &mut World, watches: Vec<(i64, WatchEvent)>) {
        for (session, watch) in watches {
            let Some(state) = self.sessions.get_mut(&session) else {
                continue;
            };
            if state.is_connected {
                self.tell(world, session, watch.into());
            } else {
                state.missed.push(watch);
            }
        }
    }

    /// Sends an event to a session's owner, after all earlier ones.
    fn tell(&mut self, world: &mut World, session: i64, event: FromEnsemble) {
        let delay = world.delay();
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        state.last_event = state.last_event.max(world.now + delay);
        let (to, life) = (state.broker, state.life);
        world.at(
            state.last_event,
            Event::FromEnsemble {
                to,
                life,
                session,
                event,
            },
        );
    }

    /// The broker and the service cannot reach each other from now on.
    pub(crate) fn cut(&mut self, world: &mut World, broker: BrokerId) {
        self.cut.insert(broker);
        for session in self.sessions_of(broker) {
            self.disconnect(world, session);
        }
    }

    /// Its connection breaks; the session times out unless the owner comes back.
    fn disconnect(&mut self, world: &mut World, session: i64) {
        let Some(state) = self.sessions.get_mut(&session) else {
            return;
        };
        if !state.is_connected {
            return;
        }
        state.is_connected = false;
        state.generation += 1;
        let generation = state.generation;
        let lost = std::mem::take(&mut state.unanswered);
        let gone = SessionStream::Session(SessionEvent::Disconnected);
        self.tell(world, session, FromEnsemble::Event(gone));
        for id in lost {
            let result = Err(Error::ConnectionLoss);
            let reply = SessionStream::Reply { id, result };
            self.tell(world, session, FromEnsemble::Event(reply));
        }
        world.after(
            world.settings.session_timeout,
            Event::SessionTimeout {
                session,
                generation,
            },
        );
    }

    /// When the broker registered, if it is registered, in milliseconds of the wall clock.
    pub(crate) fn registered_at(&mut self, world: &mut World, broker: BrokerId) -> Option<i64> {
        let read = Request::Exists {
            path: paths::broker(broker),
            watch: false,
        };
        match self.administer(world, &read) {
            Ok(Reply::Exists(stat)) => Some(stat.ctime),
            _ => None,
        }
    }

    pub(crate) fn is_cut(&self, broker: BrokerId) -> bool {
        self.cut.contains(&broker)
    }

    /// They can reach each other again.
    pub(crate) fn heal(&mut self, world: &mut World, broker: BrokerId) {
        self.cut.remove(&broker);
        for session in self.sessions_of(broker) {
            let open = self.tree.sessions().any(|id| id == session);
            let Some(state) = self.sessions.get_mut(&session) else {
                continue;
            };
            if state.is_connected || world.lives.get(&broker) != Some(&state.life) {
                continue;
            }
            if !open {
                let gone = SessionStream::Session(SessionEvent::Expired);
                self.tell(world, session, FromEnsemble::Event(gone));
                self.sessions.remove(&session);
                continue;
            }
            state.is_connected = true;
            state.generation += 1;
            let missed = std::mem::take(&mut state.missed);
            let back = SessionStream::Session(SessionEvent::Connected);
            self.tell(world, session, FromEnsemble::Event(back));
            for watch in missed {
                self.tell(world, session, watch.into());
            }
        }
    }

    fn sessions_of(&self, broker: BrokerId) -> Vec<i64> {
        let owned = self.sessions.iter().filter(|(_, s)| s.broker == broker);
        owned.map(|(session, _)| *session).collect()
    }

    pub(crate) fn timed_out(&mut self, world: &mut World, session: i64, generation: u32) {
        let still = self
            .sessions
            .get(&session)
            .is_some_and(|state| state.generation == generation && !state.is_connected);
        if still {
            self.close(world, session);
            // The owner is told when it is back, if it lives.
            if let Some(state) = self.sessions.get(&session)
                && world.lives.get(&state.broker) != Some(&state.life)
            {
                self.sessions.remove(&session);
            }
        }
    }

    /// The service ends a session whose owner is connected.
    pub(crate) fn expire(&mut self, world: &mut World, broker: BrokerId) {
        for session in self.sessions_of(broker) {
            self.disconnect(world, session);
            self.close(world, session);
        }
    }

    /// The session ends at once, by its owner.
    pub(crate) fn close_all(&mut self, world: &mut World, broker: BrokerId) {
        for session in self.sessions_of(broker) {
            self.close(world, session);
            self.sessions.remove(&session);
        }
    }

    fn close(&mut self, world: &mut World, session: i64) {
        if let Some((watches, transaction)) = self.tree.close_session(session, world.wall()) {
            self.committed.push(transaction);
            self.fire(world, watches);
        }
    }

    /// The process is gone; its sessions are not.
    pub(crate) fn broker_died(&mut self, world: &mut World, broker: BrokerId) {
        for session in self.sessions_of(broker) {
            self.disconnect(world, session);
        }
    }
}
