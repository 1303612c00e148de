//! What one request is charged with.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla_model::Instant;
use ottla_network::{AfterSending, Outcome, RequestContext, Response};
use ottla_quotas::QuotaRate;
use parking_lot::Mutex;

use super::{Answer, ClientQuotas};
use crate::clock::Clock;

/// Percent of a thread's second in a nanosecond.
const NANOS_TO_PERCENT: f64 = 100.0 / 1e9;

/// Times how long a handler runs, without the time in which it waits: Kafka's time on a request
/// handler's thread.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Nanoseconds of the turns that are over.
    busy: AtomicU64,
    /// When the turn in progress began, in nanoseconds of the clock.
    turn: AtomicU64,
}

impl Meter {
    /// Runs a handler under this meter.
    pub(crate) async fn time<T>(&self, clock: Clock, handler: impl Future<Output = T>) -> T {
        let mut handler = pin!(handler);
        poll_fn(|task| {
            self.turn.store(nanos(clock.now()), Ordering::Relaxed);
            let result = handler.as_mut().poll(task);
            self.busy.store(self.nanos(clock), Ordering::Relaxed);
            result
        })
        .await
    }

    /// Nanoseconds so far; to be asked by the handler that is timed.
    fn nanos(&self, clock: Clock) -> u64 {
        let turn = nanos(clock.now()).saturating_sub(self.turn.load(Ordering::Relaxed));
        self.busy.load(Ordering::Relaxed).saturating_add(turn)
    }
}

fn nanos(now: Instant) -> u64 {
    u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX)
}

/// How long a client is throttled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Throttle {
    /// Milliseconds, for the answer.
    pub(crate) millis: i32,
}

impl Throttle {
    /// For the connection.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis).unwrap_or(0))
    }
}

/// One request, whose it is, and the quotas that it counts against.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) quotas: &'a Arc<ClientQuotas>,
    pub(crate) context: &'a RequestContext,
    pub(crate) meter: &'a Meter,
    pub(crate) clock: Clock,
}

impl Charge<'_> {
    pub(super) fn user(&self) -> &str {
        &self.context.principal.name
    }

    pub(super) fn client_id(&self) -> &str {
        self.context.client_id()
    }

    /// Charges a produce request, with its time unless it has no answer.
    pub(crate) fn produce(&self, acks: i16) -> Throttle {
        let now = self.clock.now();
        let bytes = self.context.frame_size as f64;
        let produce = &self.quotas.produce;
        let by_bytes = produce
            .lock()
            .record(self.user(), self.client_id(), bytes, now);
        let by_time = if acks == 0 { 0 } else { self.request_ms(now) };
        self.longest((by_bytes, produce), by_time, now)
    }

    /// Charges a consumer's fetch whose answer has so many bytes. If it is throttled the answer
    /// must be empty: its bytes have been taken back.
    pub(crate) fn fetch(&self, bytes: usize) -> Throttle {
        let now = self.clock.now();
        let bytes = bytes as f64;
        let (user, client_id) = (self.user(), self.client_id());
        let by_time = self.request_ms(now);
        let fetch = &self.quotas.fetch;
        let by_bytes = fetch.lock().record(user, client_id, bytes, now);
        let throttle = self.longest((by_bytes, fetch), by_time, now);
        if throttle.millis > 0 {
            let mut fetch = fetch.lock();
            fetch.record_unchecked(user, client_id, -bytes, now);
        }
        throttle
    }

    /// The most bytes that a fetch may ask for: more would always be throttled.
    pub(crate) fn fetch_max_bytes(&self) -> i32 {
        let mut fetch = self.quotas.fetch.lock();
        fetch.most_at_once(self.user(), self.client_id()) as i32
    }

    /// Charges the time of any other request, tells its answer, and how long the connection is
    /// muted. What the answer says already is the throttle of a quota on changes of topics.
    pub(crate) fn settle<A: Answer>(&self, answer: &mut A) -> Throttle {
        if A::EXEMPT {
            return Throttle::default();
        }
        let now = self.clock.now();
        let by_time = self.request_ms(now);
        let mutations = answer.throttle_time_ms().map_or(0, |millis| *millis);
        let millis = mutations.max(by_time);
        if millis > 0 && mutations > by_time {
            let mut quota = self.quotas.mutations.lock();
            quota.throttled(self.user(), self.client_id(), millis, now);
        } else if millis > 0 {
            self.note(&self.quotas.request, millis, now);
        }
        if let Some(told) = answer.throttle_time_ms() {
            *told = millis;
        }
        Throttle { millis }
    }

    /// Mutes the connection after an answer, and charges what sending it costs.
    pub(crate) fn after(&self, outcome: Outcome, throttle: Throttle) -> Outcome {
        match outcome {
            Outcome::Respond(response) => Outcome::Respond(Response {
                throttle: throttle.duration(),
                after_sending: Some(self.after_sending()),
                ..response
            }),
            outcome => outcome,
        }
    }

    /// Charges the time that it takes to send the answer, which throttles only later requests.
    fn after_sending(&self) -> AfterSending {
        let quotas = Arc::clone(self.quotas);
        let connection = Arc::clone(&self.context.connection);
        let client_id = self.client_id().to_owned();
        let clock = self.clock;
        AfterSending::new(move |busy| {
            let percent = busy.as_nanos() as f64 * NANOS_TO_PERCENT;
            let user = &connection.principal.name;
            let mut request = quotas.request.lock();
            request.record_unchecked(user, &client_id, percent, clock.now());
        })
    }

    fn request_ms(&self, now: Instant) -> i32 {
        let percent = self.meter.nanos(self.clock) as f64 * NANOS_TO_PERCENT;
        let mut request = self.quotas.request.lock();
        request.record_bounded(self.user(), self.client_id(), percent, now)
    }

    fn longest(
        &self,
        (by_bytes, bytes): (i32, &Mutex<QuotaRate>),
        by_time: i32,
        now: Instant,
    ) -> Throttle {
        let millis = by_bytes.max(by_time);
        if millis > 0 {
            let violated = if by_bytes > by_time {
                bytes
            } else {
                &self.quotas.request
            };
            self.note(violated, millis, now);
        }
        Throttle { millis }
    }

    fn note(&self, violated: &Mutex<QuotaRate>, millis: i32, now: Instant) {
        let mut violated = violated.lock();
        violated.throttled(self.user(), self.client_id(), millis, now);
    }
}
