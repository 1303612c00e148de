//! What clients have done and how long they are throttled for it (`ClientQuotaManager`,
//! `ClientRequestQuotaManager`, `ControllerMutationQuotaManager`).

use ottla_model::Instant;

use crate::limits::{Entity, Limits, Tags};
use crate::rate::{Average, Rate, Windows};
use crate::sensors::Sensors;
use crate::token_bucket::TokenBucket;

/// The limit of who has none: as large as Kafka's, a bucket's arithmetic needs a number.
const UNLIMITED: f64 = i64::MAX as f64;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    user: String,
    client_id: String,
}

impl Key {
    fn new(tags: Tags<'_>) -> Self {
        Self {
            user: tags.user.to_owned(),
            client_id: tags.client_id.to_owned(),
        }
    }

    fn tags(&self) -> Tags<'_> {
        Tags {
            user: &self.user,
            client_id: &self.client_id,
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Client<M> {
    measured: M,
    throttle_time: Average,
}

/// One kind of quota: its limits and what was measured of each client. `M` is a [`Rate`] for
/// bytes and time, a [`TokenBucket`] for changes of topics.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientQuota<M> {
    windows: Windows,
    limits: Limits,
    clients: Sensors<Key, Client<M>>,
}

/// What clients produce or fetch, in bytes, or take of the broker's time, in percent of one thread.
pub type QuotaRate = ClientQuota<Rate>;
/// Partitions that clients create and delete.
pub type Mutations = ClientQuota<TokenBucket>;

impl<M: Default> ClientQuota<M> {
    /// Without limits.
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            limits: Limits::default(),
            clients: Sensors::default(),
        }
    }

    /// Whether there is anything to measure: see [`Limits::is_enabled`].
    pub fn is_enabled(&self) -> bool {
        self.limits.is_enabled()
    }

    /// Sets an entity's quota or takes it back. What was measured stays.
    pub fn set_limit(&mut self, entity: &Entity, limit: Option<f64>) {
        self.limits.set(entity, limit);
    }

    /// Notes that a client is muted for so long because of this quota.
    pub fn throttled(&mut self, user: &str, client_id: &str, throttle_ms: i32, now: Instant) {
        let key = Key::new(self.limits.tags(user, client_id));
        let client = self.clients.used(key, now);
        client.throttle_time.record(f64::from(throttle_ms), now);
    }

    fn client(&mut self, user: &str, client_id: &str, now: Instant) -> (&mut M, f64) {
        let tags = self.limits.tags(user, client_id);
        let limit = self.limits.limit(tags).unwrap_or(UNLIMITED);
        (&mut self.clients.used(Key::new(tags), now).measured, limit)
    }

    /// What was measured of everyone, by `measure`, and the average of throttle times in
    /// milliseconds, if there were any of late.
    fn measures(
        &mut self,
        now: Instant,
        measure: impl Fn(&mut M, Windows, f64) -> f64,
        mut each: impl FnMut(Tags<'_>, f64, Option<f64>),
    ) {
        for (key, client) in self.clients.iter_mut() {
            let tags = key.tags();
            let limit = self.limits.limit(tags).unwrap_or(UNLIMITED);
            let measured = measure(&mut client.measured, self.windows, limit);
            each(tags, measured, client.throttle_time.measure(now));
        }
    }
}

impl QuotaRate {
    /// Counts what a client did. Tells how many milliseconds it is to do nothing, 0 if it is within
    /// its quota.
    ///
    /// The time is cut to 32 bits as Kafka cuts it: a quota of 0 makes −1 of an endless time, which
    /// throttles nobody.
    pub fn record(&mut self, user: &str, client_id: &str, value: f64, now: Instant) -> i32 {
        self.record_with(user, client_id, value, now) as i32
    }

    /// As [`QuotaRate::record`], but the time is at most one sample's length.
    pub fn record_bounded(&mut self, user: &str, client_id: &str, value: f64, now: Instant) -> i32 {
        let throttle_ms = self.record_with(user, client_id, value, now);
        throttle_ms.min(self.windows.sample_ms()) as i32
    }

    fn record_with(&mut self, user: &str, client_id: &str, value: f64, now: Instant) -> i64 {
        let windows = self.windows;
        let (rate, limit) = self.client(user, client_id, now);
        rate.record(windows, value, now);
        rate.throttle_ms(windows, limit, now)
    }

    /// Counts without a look at the quota: what cannot be throttled any more, and, negative, what
    /// is taken back.
    pub fn record_unchecked(&mut self, user: &str, client_id: &str, value: f64, now: Instant) {
        let windows = self.windows;
        let (rate, _) = self.client(user, client_id, now);
        rate.record(windows, value, now);
    }

    /// The most that a client can do at once without being throttled for sure.
    pub fn most_at_once(&mut self, user: &str, client_id: &str) -> f64 {
        let tags = self.limits.tags(user, client_id);
        match self.limits.limit(tags) {
            Some(limit) => limit * self.windows.full_seconds(),
            None => f64::MAX,
        }
    }

    /// The rate of everyone who has been seen, and the average of throttle times.
    pub fn rates(&mut self, now: Instant, each: impl FnMut(Tags<'_>, f64, Option<f64>)) {
        let rate = |rate: &mut Rate, windows, _| rate.measure(windows, now).0;
        self.measures(now, rate, each);
    }
}

impl Mutations {
    /// Takes tokens unless some are owed already; tells then how many milliseconds that lasts.
    ///
    /// # Errors
    /// That time; 0 if it is less than half a millisecond.
    pub fn record_strict(
        &mut self,
        user: &str,
        client_id: &str,
        tokens: f64,
        now: Instant,
    ) -> Result<(), i64> {
        let windows = self.windows;
        let (bucket, limit) = self.client(user, client_id, now);
        match bucket.throttle_ms(windows, limit, now) {
            0 if bucket.tokens(windows, limit, now) >= 0.0 => {
                bucket.take(windows, limit, tokens, now);
                Ok(())
            }

            throttle_ms => Err(throttle_ms),
        }
    }

    /// Takes tokens in any case; tells how many milliseconds they are owed for, 0 if they were
    /// there.
    pub fn record_permissive(
        &mut self,
        user: &str,
        client_id: &str,
        tokens: f64,
        now: Instant,
    ) -> i64 {
        let windows = self.windows;
        let (bucket, limit) = self.client(user, client_id, now);
        bucket.take(windows, limit, tokens, now);
        bucket.throttle_ms(windows, limit, now)
    }

    /// The tokens of everyone who has been seen, and the average of throttle times.
    pub fn tokens(&mut self, now: Instant, each: impl FnMut(Tags<'_>, f64, Option<f64>)) {
        let tokens = |bucket: &mut TokenBucket, windows, limit| bucket.tokens(windows, limit, now);
        self.measures(now, tokens, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Name;

    const USER: &str = "ANONYMOUS";

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn client(id: &str) -> Entity {
        Entity {
            user: None,
            client_id: Some(Name::Named(id.to_owned())),
        }
    }

    fn limited<M: Default>(limit: f64) -> ClientQuota<M> {
        let mut quota = ClientQuota::new(Windows::new(11, 1));
        quota.set_limit(&client("c"), Some(limit));
        quota
    }

    #[test]
    fn who_sends_faster_than_allowed_waits_until_the_average_is_right() {
        let mut quota: QuotaRate = limited(1000.0);
        let mut now = 0;
        let mut sent = 0;
        // A client that sends again as soon as it may.
        while now < 60_000 {
            sent += 1500;
            let throttle = quota.record(USER, "c", 1500.0, at(now));
            now += u64::try_from(throttle).unwrap().max(1);
        }
        let rate = sent as f64 / (now as f64 / 1000.0);
        // The first window is free: 10 s are allowed at once.
        assert!((1000.0..1250.0).contains(&rate), "{rate}");
        assert_eq!(quota.record(USER, "other", 1e12, at(now)), 0);
    }

    #[test]
    fn changed_limits_hold_at_once_for_what_was_measured_before() {
        let mut quota: QuotaRate = limited(1e9);
        assert_eq!(quota.record(USER, "c", 20_000.0, at(0)), 0);
        quota.set_limit(&client("c"), Some(1000.0));
        assert_eq!(quota.record(USER, "c", 0.0, at(0)), 10_000);
        quota.set_limit(&client("c"), None);
        assert_eq!(quota.record(USER, "c", 0.0, at(0)), 0);
        assert!(quota.is_enabled());
    }

    #[test]
    fn time_on_threads_throttles_for_one_sample_at_most() {
        let mut quota: QuotaRate = limited(1.0);
        assert_eq!(quota.record_bounded(USER, "c", 500.0, at(0)), 1000);
        assert_eq!(quota.record(USER, "c", 0.0, at(0)), 490_000);
    }

    #[test]
    fn a_fetch_that_is_taken_back_leaves_no_trace() {
        let mut quota: QuotaRate = limited(100.0);
        assert_eq!(quota.record(USER, "c", 900.0, at(0)), 0);
        assert_eq!(quota.record(USER, "c", 200.0, at(0)), 1000);
        quota.record_unchecked(USER, "c", -200.0, at(0));
        assert_eq!(quota.record(USER, "c", 100.0, at(0)), 0);
        assert_eq!(quota.most_at_once(USER, "c"), 1000.0);
        assert_eq!(quota.most_at_once(USER, "d"), f64::MAX);
    }

    #[test]
    fn times_are_cut_as_kafka_cuts_them() {
        let mut quota: QuotaRate = limited(0.0);
        assert_eq!(quota.record(USER, "c", 1.0, at(0)), -1);
        assert_eq!(quota.record_bounded(USER, "c", 1.0, at(0)), 1000);
    }

    #[test]
    fn a_strict_quota_lets_one_request_exceed_it_and_refuses_the_next() {
        let mut quota: Mutations = limited(1.0);
        assert_eq!(quota.record_strict(USER, "c", 15.0, at(0)), Ok(()));
        assert_eq!(quota.record_strict(USER, "c", 1.0, at(0)), Err(4000));
        assert_eq!(quota.record_strict(USER, "c", 1.0, at(3999)), Err(1));
        assert_eq!(quota.record_strict(USER, "c", 1.0, at(4000)), Ok(()));
    }

    #[test]
    fn a_permissive_quota_refuses_nothing_and_throttles() {
        let mut quota: Mutations = limited(1.0);
        assert_eq!(quota.record_permissive(USER, "c", 11.0, at(0)), 0);
        assert_eq!(quota.record_permissive(USER, "c", 2.0, at(0)), 2000);
        assert_eq!(quota.record_permissive(USER, "c", 2.0, at(0)), 4000);
        assert_eq!(quota.record_permissive(USER, "d", 1e9, at(0)), 0);
    }

    #[test]
    fn what_was_measured_can_be_shown() {
        let mut quota: QuotaRate = limited(1000.0);
        quota.record(USER, "c", 5000.0, at(0));
        quota.throttled(USER, "c", 30, at(0));
        quota.record(USER, "d", 100.0, at(0));
        let mut shown = Vec::new();
        quota.rates(at(0), |tags, rate, throttle| {
            shown.push((tags.client_id.to_owned(), rate, throttle));
        });
        let expected = [("c", 500.0, Some(30.0)), ("d", 10.0, None)];
        assert_eq!(shown, expected.map(|(id, r, t)| (id.to_owned(), r, t)));
    }
}
