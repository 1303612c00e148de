//! The border between an event's procedure and the world.
//!
//! A procedure is an `async fn` that only ever waits for one thing: a batch of coordination
//! requests. [`Exchange::batch`] emits the whole batch as actions (pipelined) and suspends the
//! procedure until all replies are in; nothing else wakes it, there is no executor and no I/O, so
//! the same events give the same actions every time. The exchange is also where watches become
//! queued events, as they do while a procedure is suspended.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use ottla_coordination::{Error, Reply, Request, RequestId, SessionEvent, WatchEvent, WatchKind};
use ottla_model::Instant;

use crate::event::{Action, Answer, Now, Token};
use crate::gauges::View;
use crate::work::{ChildHandler, DataHandler, Work};

/// A request's outcome.
pub(crate) type Outcome = Result<Reply, Error>;

/// See the module. Clones share one state.
#[derive(Clone)]
pub(crate) struct Exchange {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    now: Now,
    actions: Vec<Action>,
    queue: VecDeque<Work>,
    next_request: u64,
    batch: Option<Batch>,
    /// Who waits for the event in work and has no answer yet.
    caller: Option<Token>,
    connected: bool,
    expired: bool,
    session_id: i64,
    data_handlers: BTreeMap<String, DataHandler>,
    child_handlers: BTreeMap<String, ChildHandler>,
    deadline: Option<Instant>,
    random: u64,
    view: View,
}

/// The batch for which the procedure waits. Requests whose reply was lost are sent again, they
/// alone, once the session is connected.
struct Batch {
    requests: Vec<Request>,
    outcomes: Vec<Option<Outcome>>,
    in_flight: BTreeMap<RequestId, usize>,
    lost: Vec<usize>,
}

impl Exchange {
    pub(crate) fn new(session_id: i64, seed: u64) -> Self {
        let now = Now {
            monotonic: Instant::ZERO,
            wall: ottla_model::Timestamp(0),
        };
        Self {
            shared: Arc::new(Mutex::new(Shared {
                now,
                actions: Vec::new(),
                queue: VecDeque::new(),
                next_request: 0,
                batch: None,
                caller: None,
                connected: true,
                expired: false,
                session_id,
                data_handlers: BTreeMap::new(),
                child_handlers: BTreeMap::new(),
                deadline: None,
                random: seed,
                view: View::default(),
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that can panic runs under the lock; a poisoned one holds a whole state.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// For procedures.
impl Exchange {
    /// Submits all requests and waits for all outcomes, which come in the same order.
    pub(crate) async fn batch(&self, requests: Vec<Request>) -> Vec<Outcome> {
        self.lock().start_batch(requests);
        poll_fn(|_| match self.lock().take_finished_batch() {
            Some(outcomes) => Poll::Ready(outcomes),
            None => Poll::Pending,
        })
        .await
    }

    pub(crate) async fn request(&self, request: Request) -> Outcome {
        // A batch has as many outcomes as requests; were one missing, the service has failed.
        self.batch(vec![request])
            .await
            .pop()
            .unwrap_or(Err(Error::SystemError))
    }

    pub(crate) fn act(&self, action: Action) {
        self.lock().actions.push(action);
    }

    pub(crate) fn answer(&self, token: Token, answer: Answer) {
        let mut shared = self.lock();
        shared.caller.take_if(|caller| *caller == token);
        shared.actions.push(Action::Answer { token, answer });
    }

    pub(crate) fn put(&self, work: Work) {
        self.lock().queue.push_back(work);
    }

    pub(crate) fn now(&self) -> Now {
        self.lock().now
    }

    pub(crate) fn session_id(&self) -> i64 {
        self.lock().session_id
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.lock().deadline = deadline;
    }

    /// The next number of a seeded sequence (splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let mut shared = self.lock();
        shared.random = shared.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = shared.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn update_view(&self, update: impl FnOnce(&mut View)) {
        update(&mut self.lock().view);
    }

    pub(crate) fn register_data_handler(&self, path: String, handler: DataHandler) {
        self.lock().data_handlers.insert(path, handler);
    }

    pub(crate) fn unregister_data_handler(&self, path: &str) {
        self.lock().data_handlers.remove(path);
    }

    /// Drops all data handlers for which `keep` is false.
    pub(crate) fn retain_data_handlers(&self, keep: impl Fn(&DataHandler) -> bool) {
        self.lock().data_handlers.retain(|_, handler| keep(handler));
    }

    pub(crate) fn register_child_handler(&self, path: String, handler: ChildHandler) {
        self.lock().child_handlers.insert(path, handler);
    }

    pub(crate) fn clear_child_handlers(&self) {
        self.lock().child_handlers.clear();
    }

    /// Reads data, and arms a watch if somebody handles it.
    pub(crate) fn get_data(&self, path: String) -> Request {
        let watch = self.lock().data_handlers.contains_key(&path);
        Request::GetData { path, watch }
    }

    /// Asks for existence, and arms a watch if somebody handles it.
    pub(crate) fn exists(&self, path: String) -> Request {
        let watch = self.lock().data_handlers.contains_key(&path);
        Request::Exists { path, watch }
    }

    /// Lists children, and arms a watch if somebody handles it.
    pub(crate) fn get_children(&self, path: String) -> Request {
        let watch = self.lock().child_handlers.contains_key(&path);
        Request::GetChildren { path, watch }
    }
}

// For the controller that runs the procedures.
impl Exchange {
    pub(crate) fn begin(&self, now: Now) {
        self.lock().now = now;
    }

    pub(crate) fn take_actions(&self, actions: &mut Vec<Action>) {
        actions.append(&mut self.lock().actions);
    }

    pub(crate) fn set_caller(&self, token: Token) {
        self.lock().caller = Some(token);
    }

    /// Tells the caller of the event in work, if it still waits, that nothing will come.
    pub(crate) fn abandon_caller(&self) {
        let caller = self.lock().caller.take();
        if let Some(token) = caller {
            self.answer(token, Answer::Nothing);
        }
    }

    pub(crate) fn next_work(&self) -> Option<Work> {
        self.lock().queue.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    /// Whether the deadline has passed; it is then gone.
    pub(crate) fn take_due_deadline(&self) -> bool {
        let mut shared = self.lock();
        let due = shared
            .deadline
            .is_some_and(|deadline| deadline <= shared.now.monotonic);
        if due {
            shared.deadline = None;
        }
        due
    }

    pub(crate) fn view(&self) -> View {
        let shared = self.lock();
        View {
            event_queue_size: shared.queue.len(),
            ..shared.view.clone()
        }
    }

    pub(crate) fn reply(&self, id: RequestId, outcome: Outcome) {
        let mut shared = self.lock();
        if let Some(batch) = &mut shared.batch {
            batch.record(id, outcome);
        }
        shared.resend_lost();
    }

    pub(crate) fn watch_fired(&self, event: &WatchEvent) {
        let mut shared = self.lock();
        let work = if event.kind == WatchKind::ChildrenChanged {
            shared
                .child_handlers
                .get(&event.path)
                .map(|handler| handler.work())
        } else {
            shared
                .data_handlers
                .get(&event.path)
                .and_then(|handler| handler.work(event.kind))
        };
        shared.queue.extend(work);
    }

    pub(crate) fn session_changed(&self, event: SessionEvent) {
        let mut shared = self.lock();
        match event {
            SessionEvent::Connected => {
                shared.connected = true;
                shared.resend_lost();
            }
            SessionEvent::Disconnected => shared.connected = false,
            SessionEvent::Expired => {
                shared.connected = false;
                shared.expired = true;
                if let Some(batch) = &mut shared.batch {
                    batch.fail(Error::SessionExpired);
                }
            }
        }
    }

    pub(crate) fn session_established(&self, session_id: i64) {
        let mut shared = self.lock();
        shared.session_id = session_id;
        shared.connected = true;
        shared.expired = false;
    }

    /// Throws out all that is queued, answers those who wait, and queues `work`.
    pub(crate) fn clear_and_put(&self, work: Work) {
        let mut shared = self.lock();
        let preempted = std::mem::take(&mut shared.queue);
        for (token, answer) in preempted.into_iter().filter_map(Work::preempt) {
            shared.actions.push(Action::Answer { token, answer });
        }
        shared.queue.push_back(work);
    }
}

impl Shared {
    fn start_batch(&mut self, requests: Vec<Request>) {
        assert!(
            self.batch.is_none(),
            "a procedure waits for one batch at a time"
        );
        let count = requests.len();
        let mut batch = Batch {
            outcomes: vec![None; count],
            requests,
            in_flight: BTreeMap::new(),
            lost: (0..count).collect(),
        };
        if self.expired {
            batch.fail(Error::SessionExpired);
        }
        self.batch = Some(batch);
        self.submit_lost();
    }

    fn take_finished_batch(&mut self) -> Option<Vec<Outcome>> {
        if !self.batch.as_ref()?.is_finished() {
            return None;
        }
        Some(self.batch.take()?.outcomes.into_iter().flatten().collect())
    }

    fn resend_lost(&mut self) {
        let answered = self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.in_flight.is_empty());
        if self.connected && answered {
            self.submit_lost();
        }
    }

    fn submit_lost(&mut self) {
        let Some(batch) = &mut self.batch else { return };
        for index in std::mem::take(&mut batch.lost) {
            let id = RequestId(self.next_request);
            self.next_request += 1;
            batch.in_flight.insert(id, index);
            let request = batch.requests[index].clone();
            self.actions.push(Action::Coordinate { id, request });
        }
    }
}

impl Batch {
    fn is_finished(&self) -> bool {
        self.in_flight.is_empty() && self.lost.is_empty()
    }

    fn record(&mut self, id: RequestId, outcome: Outcome) {
        // A reply to an earlier batch, which the end of its session has finished already.
        let Some(index) = self.in_flight.remove(&id) else {
            return;
        };
        if outcome == Err(Error::ConnectionLoss) {
            self.lost.push(index);
        } else {
            self.outcomes[index] = Some(outcome);
        }
    }

    fn fail(&mut self, error: Error) {
        self.in_flight.clear();
        self.lost.clear();
        for outcome in &mut self.outcomes {
            outcome.get_or_insert(Err(error));
        }
    }
}
