//! Calls between nodes. Requests of one lane arrive in order; a connection that breaks is noticed
//! by the caller, who does not know whether the request arrived. A request can arrive long after
//! its caller has given up and has said other things over a new connection.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{BrokerId, Instant};

use crate::message::{CallId, Lane, Node, Request, Response};
use crate::world::{Event, World};

/// A broken connection is not noticed before so many milliseconds.
const BREAK_MS_MIN: u64 = 5;
/// A request may arrive so many milliseconds late. Not an order of the controller: UpdateMetadata
/// bears nothing by which a receiver could tell an old one from a new one of the same controller,
/// so Kafka's brokers, too, rely on orders that are never overtaken. Nor EndTxn and markers: one
/// that comes after its producer's next transaction has begun ends that (KIP-890; only its second part, after
/// 3.9, gives each transaction an epoch of its own).
const LATE_MS_MAX: u64 = 2_000;

/// A call without an answer.
struct Call {
    from: Node,
    from_life: u64,
    to: BrokerId,
    lane: Lane,
}

#[derive(Default)]
pub(crate) struct Network {
    calls: BTreeMap<CallId, Call>,
    /// The latest arrivals of requests and of responses.
    lanes: BTreeMap<(Node, BrokerId, Lane), (Instant, Instant)>,
    /// Pairs that cannot reach each other, the lower id first.
    cut: BTreeSet<(BrokerId, BrokerId)>,
}

fn pair(a: BrokerId, b: BrokerId) -> (BrokerId, BrokerId) {
    (a.min(b), a.max(b))
}

fn life(world: &World, node: Node) -> u64 {
    match node {
        Node::Broker(id) => world.lives.get(&id).copied().unwrap_or(0),
        Node::Client(_) => 0,
    }
}

impl Network {
    fn is_cut(&self, from: Node, to: BrokerId) -> bool {
        matches!(from, Node::Broker(from) if self.cut.contains(&pair(from, to)))
    }

    pub(crate) fn call(
        &mut self,
        world: &mut World,
        id: CallId,
        (from, to, lane): (Node, BrokerId, Lane),
        request: Request,
    ) {
        let from_life = life(world, from);
        self.calls.insert(
            id,
            Call {
                from,
                from_life,
                to,
                lane,
            },
        );
        if self.is_cut(from, to) {
            let delay = world.random.millis(300, 1_500);
            world.after(delay, Event::CallFailed { call: id });
            return;
        }
        let Some(to_life) = world.lives.get(&to).copied() else {
            let delay = world.delay();
            world.after(delay, Event::CallFailed { call: id });
            return;
        };
        let is_end = matches!(
            request,
            Request::Transaction(ottla_transaction_coordinator::Request::EndTransaction { .. })
        );
        let deliver = Event::Request {
            call: id,
            from,
            to,
            to_life,
            request,
        };
        let to_itself = from == Node::Broker(to);
        if !to_itself && world.random.rarely(world.settings.loss_permille) {
            self.break_connection(world, id);
            if world.random.chance(50) {
                let late_ms = if matches!(lane, Lane::Control | Lane::Markers) || is_end {
                    BREAK_MS_MIN
                } else {
                    LATE_MS_MAX
                };
                let late = world.random.millis(0, late_ms);
                world.after(late, deliver);
            }
            return;
        }
        let delay = world.delay() + world.slow.get(&to).copied().unwrap_or_default();
        let arrivals = self.lanes.entry((from, to, lane)).or_default();
        arrivals.0 = arrivals.0.max(world.now + delay);
        world.at(arrivals.0, deliver);
    }

    pub(crate) fn respond(&mut self, world: &mut World, id: CallId, response: Response) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let (from, to, lane) = (call.from, call.to, call.lane);
        if self.is_cut(from, to) {
            return;
        }
        let to_itself = from == Node::Broker(to);
        if !to_itself && world.random.rarely(world.settings.loss_permille) {
            self.break_connection(world, id);
            return;
        }
        let mut delay = world.delay();
        if let Node::Broker(caller) = from {
            delay += world.slow.get(&caller).copied().unwrap_or_default();
        }
        let arrivals = self.lanes.entry((from, to, lane)).or_default();
        arrivals.1 = arrivals.1.max(world.now + delay);
        world.at(arrivals.1, Event::Response { call: id, response });
    }

    /// The caller will learn of it; what comes later travels on a new connection.
    fn break_connection(&mut self, world: &mut World, id: CallId) {
        if let Some(call) = self.calls.get(&id) {
            self.lanes.remove(&(call.from, call.to, call.lane));
        }
        let delay = world.random.millis(BREAK_MS_MIN, 200);
        world.after(delay, Event::CallFailed { call: id });
    }

    /// Who waits for an answer.
    pub(crate) fn caller(&self, id: CallId) -> Option<Node> {
        self.calls.get(&id).map(|call| call.from)
    }

    /// The call ends, with an answer or without: who is told, if it still lives.
    pub(crate) fn finish(&mut self, world: &World, id: CallId) -> Option<Node> {
        let call = self.calls.remove(&id)?;
        let lives = match call.from {
            Node::Broker(id) => world.lives.get(&id) == Some(&call.from_life),
            Node::Client(_) => true,
        };
        lives.then_some(call.from)
    }

    /// A broker is gone: those who wait for it notice.
    pub(crate) fn broker_died(&mut self, world: &mut World, broker: BrokerId) {
        self.calls
            .retain(|_, call| call.from != Node::Broker(broker));
        let waiting: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.to == broker)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.break_connection(world, id);
        }
    }

    pub(crate) fn cut(&mut self, world: &mut World, a: BrokerId, b: BrokerId) {
        self.cut.insert(pair(a, b));
        let between: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| self.is_cut(call.from, call.to))
            .map(|(id, _)| *id)
            .collect();
        for id in between {
            if let Some(call) = self.calls.get(&id) {
                self.lanes.remove(&(call.from, call.to, call.lane));
            }
            let delay = world.random.millis(300, 1_500);
            world.after(delay, Event::CallFailed { call: id });
        }
    }

    pub(crate) fn heal(&mut self, a: BrokerId, b: BrokerId) {
        self.cut.remove(&pair(a, b));
    }

    pub(crate) fn heal_all(&mut self) {
        self.cut.clear();
    }
}
