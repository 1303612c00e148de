//! Requests, answers, watch events, sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ottla_coordination::{
    Coordination, Error, Event, EventSink, OpenError, Reply, Request, RequestId, SessionEvent,
    WatchEvent,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::counts::Counter;
use crate::metrics::histogram::Histogram;

/// Opens a session with the provider that the configuration names. May block; called on a thread
/// where that is allowed.
pub type Opener = Arc<dyn Fn(EventSink) -> Result<Arc<dyn Coordination>, OpenError> + Send + Sync>;

/// What subscribers hear, in the order of the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A watch fired.
    Watch(WatchEvent),
    /// The connection changed. After [`SessionEvent::Expired`] all watches are gone; the next
    /// [`SessionEvent::Connected`] is of a new session, in which they must be armed again.
    Session(SessionEvent),
}

type OnReply = Box<dyn FnOnce(Result<Reply, Error>) + Send>;
type Filter = Box<dyn Fn(&WatchEvent) -> bool + Send>;

/// Pause between two tries to open a session in place of an expired one.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The broker's session; see the module's text.
pub struct CoordinationHandle {
    opener: Opener,
    router: Arc<Router>,
    session: Mutex<Arc<dyn Coordination>>,
    next_id: AtomicU64,
    zookeeper_set_acl: bool,
    /// The session of the last successful registration, −1 before it (`ZOOKEEPER-2985`).
    pub(super) registered_session: AtomicI64,
    closed: AtomicBool,
}

#[derive(Default)]
struct Router {
    pending: Mutex<BTreeMap<RequestId, Pending>>,
    subscribers: Mutex<Vec<Subscriber>>,
    counts: SessionCounts,
}

/// What is counted of sessions (`SessionExpireListener`, `ZooKeeperClientMetrics`).
#[derive(Debug, Default)]
pub(crate) struct SessionCounts {
    /// Connections made.
    pub(crate) connects: Counter,
    /// Connections lost.
    pub(crate) disconnects: Counter,
    /// Sessions lost.
    pub(crate) expires: Counter,
    /// From a request to its answer, in microseconds.
    pub(crate) request_latency: Histogram,
}

struct Pending {
    since: Instant,
    on_reply: OnReply,
}

struct Subscriber {
    wants: Filter,
    queue: mpsc::UnboundedSender<Notice>,
}

impl CoordinationHandle {
    /// Opens the first session, and from then on another one whenever one has expired, until it
    /// is closed (`ZooKeeperClient.reinitialize`). `zookeeper_set_acl`: whether new znodes are
    /// protected. Must be called within a tokio runtime.
    pub async fn connect(opener: Opener, zookeeper_set_acl: bool) -> Result<Arc<Self>, OpenError> {
        let router = Arc::new(Router::default());
        let (session, gate) = open(Arc::clone(&opener), &router).await?;
        let handle = Arc::new(Self {
            opener,
            router,
            session: Mutex::new(session),
            next_id: AtomicU64::new(0),
            zookeeper_set_acl,
            registered_session: AtomicI64::new(-1),
            closed: AtomicBool::new(false),
        });
        // Subscribed before the first event can come.
        let notices = handle.subscribe(|_| false);
        tokio::spawn(keep_open(Arc::downgrade(&handle), notices));
        gate.release();
        Ok(handle)
    }

    /// Opens a new session in place of one that has expired. Subscribers hear
    /// [`SessionEvent::Connected`].
    async fn reopen(&self) -> Result<(), OpenError> {
        let (session, gate) = open(Arc::clone(&self.opener), &self.router).await?;
        let old = std::mem::replace(&mut *self.session.lock(), session);
        gate.release();
        close(old).await;
        Ok(())
    }

    /// The current session's id: the owner of its ephemeral znodes.
    pub fn session_id(&self) -> i64 {
        self.session.lock().session_id()
    }

    /// What is counted of this and former sessions.
    pub(crate) fn counts(&self) -> &SessionCounts {
        &self.router.counts
    }

    /// Whether new znodes are protected (`zookeeper.set.acl`).
    pub fn sets_acl(&self) -> bool {
        self.zookeeper_set_acl
    }

    /// Sends a request at once; requests take effect in the order of these calls. The answer is
    /// given to `on_reply` on the provider's thread, between the watch events before and after it:
    /// it must only hand it on.
    pub fn submit(
        &self,
        request: Request,
        on_reply: impl FnOnce(Result<Reply, Error>) + Send + 'static,
    ) {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let pending = Pending {
            since: Instant::now(),
            on_reply: Box::new(on_reply),
        };
        self.router.pending.lock().insert(id, pending);
        self.session.lock().submit(id, request);
    }

    /// Sends a request at once; the future only waits for the answer.
    pub fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Error>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        // A caller that has gone away needs no answer.
        self.submit(request, move |result| _ = answer.send(result));
        async move { answered.await.unwrap_or(Err(Error::SessionExpired)) }
    }

    /// Sends requests at once, pipelined; the answers come in their order.
    pub fn request_all(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Vec<Result<Reply, Error>>> + Send + use<> {
        let pending: Vec<_> = requests
            .into_iter()
            .map(|request| self.request(request))
            .collect();
        async move {
            let mut answers = Vec::with_capacity(pending.len());
            for answer in pending {
                answers.push(answer.await);
            }
            answers
        }
    }

    /// Subscribes to session changes and to the watch events that `wants` accepts. An event is
    /// queued before any answer that shows its change is given.
    pub fn subscribe(
        &self,
        wants: impl Fn(&WatchEvent) -> bool + Send + 'static,
    ) -> mpsc::UnboundedReceiver<Notice> {
        let (queue, notices) = mpsc::unbounded_channel();
        self.router.subscribers.lock().push(Subscriber {
            wants: Box::new(wants),
            queue,
        });
        notices
    }

    /// Ends the session: its ephemeral znodes go at once.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let session = Arc::clone(&self.session.lock());
        close(session).await;
    }
}

impl Router {
    fn route(&self, event: Event) {
        match event {
            Event::Reply { id, result } => {
                let pending = self.pending.lock().remove(&id);
                if let Some(pending) = pending {
                    let latency = pending.since.elapsed().as_micros();
                    let latency = u64::try_from(latency).unwrap_or(u64::MAX);
                    self.counts.request_latency.record(latency);
                    (pending.on_reply)(result);
                }
            }
            Event::Watch(event) => {
                let accepts = |wants: &Filter| wants(&event);
                self.tell(&Notice::Watch(event.clone()), accepts);
            }
            Event::Session(event) => {
                match event {
                    SessionEvent::Connected => self.counts.connects.mark(),
                    SessionEvent::Disconnected => self.counts.disconnects.mark(),
                    SessionEvent::Expired => self.counts.expires.mark(),
                }
                self.tell(&Notice::Session(event), |_| true);
            }
        }
    }

    fn tell(&self, notice: &Notice, accepts: impl Fn(&Filter) -> bool) {
        self.subscribers.lock().retain(|subscriber| {
            if accepts(&subscriber.wants) {
                subscriber.queue.send(notice.clone()).is_ok()
            } else {
                !subscriber.queue.is_closed()
            }
        });
    }
}

impl fmt::Debug for CoordinationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinationHandle")
            .field("session_id", &self.session_id())
            .finish()
    }
}

/// Holds a new session's events back until the handle uses it: whoever hears of it may call.
struct Gate {
    router: Weak<Router>,
    held: Mutex<Option<Vec<Event>>>,
}

impl Gate {
    fn pass(&self, event: Event) {
        if let Some(held) = self.held.lock().as_mut() {
            held.push(event);
        } else if let Some(router) = self.router.upgrade() {
            router.route(event);
        }
    }

    fn release(&self) {
        // Later events wait for the lock, and so keep their order.
        let mut held = self.held.lock();
        for event in held.take().unwrap_or_default() {
            if let Some(router) = self.router.upgrade() {
                router.route(event);
            }
        }
    }
}

async fn open(
    opener: Opener,
    router: &Arc<Router>,
) -> Result<(Arc<dyn Coordination>, Arc<Gate>), OpenError> {
    let held = Mutex::new(Some(Vec::new()));
    let gate = Arc::new(Gate {
        router: Arc::downgrade(router),
        held,
    });
    let behind = Arc::clone(&gate);
    let sink: EventSink = Box::new(move |event| behind.pass(event));
    let opened = tokio::task::spawn_blocking(move || opener(sink)).await;
    let session = opened.unwrap_or(Err(OpenError::Closed))?;
    Ok((session, gate))
}

/// Opens the next session after each expiry, as long as somebody holds the handle.
async fn keep_open(handle: Weak<CoordinationHandle>, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        if notice != Notice::Session(SessionEvent::Expired) {
            continue;
        }
        loop {
            let Some(handle) = handle.upgrade() else {
                return;
            };
            if handle.closed.load(Ordering::Acquire) {
                return;
            }
            match handle.reopen().await {
                Ok(()) => {
                    tracing::info!("the session had expired; a new one is open");
                    // It was closed while the new session opened: nobody else would close that.
                    if handle.closed.load(Ordering::Acquire) {
                        handle.close().await;
                    }
                    break;
                }
                Err(error) => tracing::warn!(%error, "cannot open a new session, trying again"),
            }
            drop(handle);
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    }
}

/// Closing waits for the provider.
async fn close(session: Arc<dyn Coordination>) {
    if tokio::task::spawn_blocking(move || session.close())
        .await
        .is_err()
    {
        tracing::warn!("closing the coordination session failed");
    }
}
