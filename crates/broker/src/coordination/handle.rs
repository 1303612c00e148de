//! The session as the broker's parts use it: ask and await, or ask and listen.
//!
//! One sink receives the session's ordered stream and routes it. A reply goes to whoever asked;
//! watches and session changes go to every subscriber. A subscriber that asks through
//! [`Subscriber::submit`] gets replies and watches in one queue, in the session's order: the
//! controller depends on that.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use ottla_coordination::{Coordination, Error, Event, Reply, Request, RequestId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Who waits for a reply.
enum Waiter {
    Once(oneshot::Sender<Result<Reply, Error>>),
    Subscriber(RequestId, mpsc::UnboundedSender<Event>),
}

#[derive(Default)]
struct Routes {
    waiters: Mutex<HashMap<RequestId, Waiter>>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
}

impl Routes {
    fn deliver(&self, event: Event) {
        match event {
            Event::Reply { id, result } => match self.waiters.lock().remove(&id) {
                // Whoever asked may have gone away; nobody else wants the answer.
                Some(Waiter::Once(sender)) => drop(sender.send(result)),
                Some(Waiter::Subscriber(id, sender)) => {
                    drop(sender.send(Event::Reply { id, result }));
                }
                None => {}
            },
            event => self
                .subscribers
                .lock()
                .retain(|subscriber| subscriber.send(event.clone()).is_ok()),
        }
    }
}

/// The broker's session with ZooKeeper or with the embedded tree.
pub struct CoordinationHandle {
    session: ArcSwapOption<Box<dyn Coordination>>,
    routes: Arc<Routes>,
    next_id: AtomicU64,
}

impl fmt::Debug for CoordinationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinationHandle").finish_non_exhaustive()
    }
}

impl CoordinationHandle {
    /// A handle without a session yet: requests fail with [`Error::SessionExpired`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            session: ArcSwapOption::empty(),
            routes: Arc::default(),
            next_id: AtomicU64::new(1),
        })
    }

    /// Where the session is to deliver its events. Made before the session is opened.
    pub fn sink(&self) -> Box<dyn Fn(Event) + Send + Sync> {
        let routes = Arc::clone(&self.routes);
        Box::new(move |event| routes.deliver(event))
    }

    /// Takes a session into use; a new one replaces an expired one.
    pub fn set_session(&self, session: Box<dyn Coordination>) {
        self.session.store(Some(Arc::new(session)));
    }

    /// The session's id; 0 without a session.
    pub fn session_id(&self) -> i64 {
        self.session
            .load()
            .as_ref()
            .map_or(0, |session| session.session_id())
    }

    /// Sends a request now and returns what awaits its reply: requests take effect in the order of
    /// these calls.
    pub fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Error>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Waiter::Once(sender), request);
        async move { receiver.await.unwrap_or(Err(Error::SessionExpired)) }
    }

    /// Listens to watches and session changes from now on.
    pub fn subscribe(self: &Arc<Self>) -> (Subscriber, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.routes.subscribers.lock().push(sender.clone());
        let subscriber = Subscriber {
            handle: Arc::clone(self),
            sender,
        };
        (subscriber, receiver)
    }

    /// Ends the session: its ephemeral znodes go at once. Blocks.
    pub fn close(&self) {
        if let Some(session) = self.session.swap(None) {
            session.close();
        }
    }

    fn submit(&self, waiter: Waiter, request: Request) {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.routes.waiters.lock().insert(id, waiter);
        match self.session.load().as_ref() {
            Some(session) => session.submit(id, request),
            None => self.routes.deliver(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            }),
        }
    }
}

/// Asks through a handle and gets the replies in its own queue, between the watches.
#[derive(Debug, Clone)]
pub struct Subscriber {
    handle: Arc<CoordinationHandle>,
    sender: mpsc::UnboundedSender<Event>,
}

impl Subscriber {
    /// Sends a request; its reply comes back under the subscriber's own `id`.
    pub fn submit(&self, id: RequestId, request: Request) {
        self.handle
            .submit(Waiter::Subscriber(id, self.sender.clone()), request);
    }
}
