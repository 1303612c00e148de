//! The contract over a [`Tree`] in memory: for tests and simulations. Nothing waits: a submitted
//! request is answered, and every watch that it fires is delivered, before `submit` returns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla_model::Timestamp;

use crate::event::{Event, RequestId, SessionEvent, WatchEvent};
use crate::request::{Error, Request};
use crate::session::{Coordination, EventSink};
use crate::tree::Tree;

/// Tells the time to the tree.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// A coordination service in memory; clones share one tree.
#[derive(Clone)]
pub struct MemoryService {
    state: Arc<Mutex<State>>,
}

struct State {
    tree: Tree,
    clock: Clock,
    sinks: BTreeMap<i64, Arc<EventSink>>,
}

/// A session with a [`MemoryService`].
pub struct MemorySession {
    service: MemoryService,
    session_id: i64,
    sink: Arc<EventSink>,
}

impl MemoryService {
    /// A service with an empty tree.
    pub fn new(clock: Clock) -> Self {
        let state = State {
            tree: Tree::new(),
            clock,
            sinks: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Opens a session, which is connected at once.
    pub fn open(&self, sink: EventSink) -> MemorySession {
        let sink = Arc::new(sink);
        let mut state = self.lock();
        let now = (state.clock)();
        let (session_id, _) = state.tree.open_session(now);
        state.sinks.insert(session_id, Arc::clone(&sink));
        sink(Event::Session(SessionEvent::Connected));
        drop(state);
        MemorySession {
            service: self.clone(),
            session_id,
            sink,
        }
    }

    /// Ends a session from outside, as a server does whose client is silent for too long.
    pub fn expire(&self, session_id: i64) {
        if let Some(sink) = self.end(session_id) {
            sink(Event::Session(SessionEvent::Expired));
        }
    }

    fn end(&self, session_id: i64) -> Option<Arc<EventSink>> {
        let mut state = self.lock();
        let now = (state.clock)();
        let (watches, _) = state.tree.close_session(session_id, now)?;
        let sink = state.sinks.remove(&session_id);
        state.deliver(watches);
        sink
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A sink that panics leaves the tree whole: it is called after each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&self, watches: Vec<(i64, WatchEvent)>) {
        for (session_id, event) in watches {
            if let Some(sink) = self.sinks.get(&session_id) {
                sink(Event::Watch(event));
            }
        }
    }
}

impl Coordination for MemorySession {
    fn submit(&self, id: RequestId, request: Request) {
        let mut state = self.service.lock();
        if !state.sinks.contains_key(&self.session_id) {
            drop(state);
            return (self.sink)(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            });
        }
        let now = (state.clock)();
        let outcome = state.tree.handle(self.session_id, &request, now);
        state.deliver(outcome.watches);
        (self.sink)(Event::Reply {
            id,
            result: outcome.result,
        });
    }

    fn session_id(&self) -> i64 {
        self.session_id
    }

    fn close(&self) {
        self.service.end(self.session_id);
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn the_tree_conforms() {
        let service = MemoryService::new(Box::new(|| Timestamp(1_795_217_122_479)));
        conformance::run_all(&|sink| Box::new(service.open(sink)), "/conformance");
    }

    #[test]
    fn an_expired_session_is_told_and_answers_no_more() {
        let service = MemoryService::new(Box::new(|| Timestamp(1)));
        let client = conformance::Client::open(&|sink| Box::new(service.open(sink)));
        service.expire(client.session_id());
        assert_eq!(client.next_event(), Event::Session(SessionEvent::Expired));
        assert_eq!(
            client.call(Request::get_data("/")),
            Err(Error::SessionExpired)
        );
    }
}
