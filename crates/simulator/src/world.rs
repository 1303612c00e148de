//! The clock, what is going to happen, chance, and who is up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_coordination::RequestId;
use ottla_model::{BrokerId, Instant, Timestamp};

use crate::message::{CallId, FromEnsemble, Node, Request, Response};
use crate::nemesis::Fault;
use crate::random::Random;
use crate::settings::Settings;
use crate::trace::Trace;

/// Wall time at the start, ms.
const EPOCH: i64 = 1_700_000_000_000;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    Request {
        call: CallId,
        from: Node,
        to: BrokerId,
        to_life: u64,
        request: Request,
    },
    Response {
        call: CallId,
        response: Response,
    },
    /// The caller learns that its connection is gone.
    CallFailed {
        call: CallId,
    },
    /// A request reaches the coordination service.
    Coordinate {
        session: i64,
        generation: u32,
        id: RequestId,
        request: ottla_coordination::Request,
    },
    FromEnsemble {
        to: BrokerId,
        life: u64,
        session: i64,
        event: FromEnsemble,
    },
    /// A session has been without its owner for its whole timeout, unless it came back.
    SessionTimeout {
        session: i64,
        generation: u32,
    },
    OpenSession {
        broker: BrokerId,
        life: u64,
    },
    Wake {
        broker: BrokerId,
        life: u64,
    },
    Start {
        broker: BrokerId,
    },
    Resume {
        broker: BrokerId,
    },
    Client {
        client: u32,
    },
    NextFault,
    EndOfFault(Fault),
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) settings: Arc<Settings>,
    /// The incarnation of each broker that is up.
    pub(crate) lives: BTreeMap<BrokerId, u64>,
    /// Brokers whose disk is slow now, and how slow.
    pub(crate) slow: BTreeMap<BrokerId, Duration>,
}

impl World {
    pub(crate) fn new(random: Random, settings: Arc<Settings>, trace: Trace) -> Self {
        Self {
            now: Instant::ZERO,
            queue: BTreeMap::new(),
            sequence: 0,
            random,
            trace,
            settings,
            lives: BTreeMap::new(),
            slow: BTreeMap::new(),
        }
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp(EPOCH + self.now.as_millis() as i64)
    }

    pub(crate) fn at(&mut self, when: Instant, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((when.max(self.now), self.sequence), event);
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// When the next thing happens.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((when, _), _)| *when)
    }

    /// The next thing; the clock moves there.
    pub(crate) fn take_next(&mut self) -> Option<Event> {
        let ((when, _), event) = self.queue.pop_first()?;
        self.now = when;
        Some(event)
    }

    pub(crate) fn is_up(&self, broker: BrokerId) -> bool {
        self.lives.contains_key(&broker)
    }

    pub(crate) fn delay(&mut self) -> Duration {
        let high = self.settings.delay_max.as_micros() as u64;
        Duration::from_micros(self.random.between(100, high.max(100)))
    }
}

/// Notes a line in the trace.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {{
        let world = &mut $world;
        world.trace.note(world.now, format_args!($($what)*));
    }};
}
pub(crate) use note;
