//! Rates over sliding windows (`SampledStat`, `Rate`, `Avg` of Kafka's metrics).

use ottla_model::Instant;

/// How long is looked back: a number of samples and the length of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    samples: i64,
    sample_ms: i64,
}

impl Windows {
    /// `…quota.window.num` and `…quota.window.size.seconds`.
    pub fn new(samples: i32, seconds: i32) -> Self {
        Self {
            samples: i64::from(samples.max(1)),
            sample_ms: i64::from(seconds.max(1)) * 1000,
        }
    }

    /// The length of one sample, milliseconds.
    pub fn sample_ms(self) -> i64 {
        self.sample_ms
    }

    /// All samples, milliseconds: after that time without any use, nothing is left of a rate.
    pub fn total_ms(self) -> i64 {
        self.samples.saturating_mul(self.sample_ms)
    }

    /// All samples, seconds.
    pub fn total_seconds(self) -> f64 {
        self.total_ms() as f64 / 1000.0
    }

    /// All samples but the one in progress, seconds.
    pub fn full_seconds(self) -> f64 {
        (self.samples - 1).saturating_mul(self.sample_ms) as f64 / 1000.0
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    start: i64,
    last: i64,
    events: u64,
    value: f64,
}

impl Sample {
    fn new(now: i64) -> Self {
        Self {
            start: now,
            last: now,
            events: 0,
            value: 0.0,
        }
    }
}

/// A ring of samples, one more than are looked at: the oldest may overlap the window's edge. It
/// grows with use.
#[derive(Clone, PartialEq, Debug, Default)]
struct Samples {
    ring: Vec<Sample>,
    current: usize,
}

impl Samples {
    fn record(&mut self, windows: Windows, value: f64, now: i64) {
        if self.ring.is_empty() {
            self.ring.push(Sample::new(now));
        } else if now - self.ring[self.current].start >= windows.sample_ms {
            self.advance(windows, now);
        }
        let sample = &mut self.ring[self.current];
        sample.value += value;
        sample.events += 1;
        sample.last = now;
    }

    fn advance(&mut self, windows: Windows, now: i64) {
        self.current += 1;
        if self.current as i64 > windows.samples {
            self.current = 0;
        }
        match self.ring.get_mut(self.current) {
            Some(sample) => *sample = Sample::new(now),
            None => self.ring.push(Sample::new(now)),
        }
    }

    /// Empties the samples in which nothing happened within the window.
    fn purge(&mut self, windows: Windows, now: i64) {
        for sample in &mut self.ring {
            if now - sample.last >= windows.total_ms() {
                *sample = Sample::new(now);
            }
        }
    }

    fn oldest_start(&self, now: i64) -> i64 {
        self.ring.iter().map(|s| s.start).min().unwrap_or(now)
    }
}

/// Something per second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rate(Samples);

impl Rate {
    /// Counts a value, which may be negative to take another back.
    pub fn record(&mut self, windows: Windows, value: f64, now: Instant) {
        self.0.record(windows, value, millis(now));
    }

    /// The rate now, and the milliseconds over which it is one. All windows but the one in
    /// progress count as whole, used or not: a client that begins is not taken for a fast one.
    pub fn measure(&mut self, windows: Windows, now: Instant) -> (f64, i64) {
        let now = millis(now);
        self.0.purge(windows, now);
        let mut elapsed = now - self.0.oldest_start(now);
        let full = elapsed / windows.sample_ms;
        let least = windows.samples - 1;
        if full < least {
            elapsed = elapsed.saturating_add((least - full).saturating_mul(windows.sample_ms));
        }
        let elapsed = elapsed.max(1);
        let sum: f64 = self.0.ring.iter().map(|sample| sample.value).sum();
        (sum / (elapsed as f64 / 1000.0), elapsed)
    }

    /// How long a client must do nothing to come back to its limit, milliseconds; 0 if it has not
    /// exceeded it (`QuotaUtils.throttleTime`).
    pub fn throttle_ms(&mut self, windows: Windows, limit: f64, now: Instant) -> i64 {
        let (observed, window_ms) = self.measure(windows, now);
        if observed <= limit {
            return 0;
        }
        ((observed - limit) / limit * window_ms as f64).round() as i64
    }
}

/// The average of values (`Avg`) over Kafka's default windows for metrics, two of 30 seconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Average(Samples);

impl Average {
    const WINDOWS: Windows = Windows {
        samples: 2,
        sample_ms: 30_000,
    };

    /// Counts a value.
    pub fn record(&mut self, value: f64, now: Instant) {
        self.0.record(Self::WINDOWS, value, millis(now));
    }

    /// The average now; `None` if there was nothing of late.
    pub fn measure(&mut self, now: Instant) -> Option<f64> {
        self.0.purge(Self::WINDOWS, millis(now));
        let events: u64 = self.0.ring.iter().map(|sample| sample.events).sum();
        let sum: f64 = self.0.ring.iter().map(|sample| sample.value).sum();
        (events > 0).then(|| sum / events as f64)
    }
}

/// Milliseconds since the clock's start, for differences.
pub(crate) fn millis(now: Instant) -> i64 {
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn windows_that_are_missing_count_as_whole() {
        let windows = Windows::new(11, 1);
        let mut rate = Rate::default();
        rate.record(windows, 1000.0, at(5000));
        assert_eq!(rate.measure(windows, at(5000)), (100.0, 10_000));
        let (half, window) = rate.measure(windows, at(5500));
        assert_eq!(window, 10_500);
        assert!((half - 1000.0 / 10.5).abs() < 1e-9);
        // One window is whole, the next has begun: no step between the two.
        assert_eq!(rate.measure(windows, at(6000)).1, 10_000);
        assert_eq!(rate.measure(windows, at(15_999)).1, 10_999);
        assert_eq!(rate.measure(windows, at(16_000)), (0.0, 10_000));
    }

    #[test]
    fn a_sample_that_overlaps_the_edge_is_kept_whole() {
        let windows = Windows::new(2, 1);
        let mut rate = Rate::default();
        rate.record(windows, 10.0, at(0));
        rate.record(windows, 10.0, at(900));
        rate.record(windows, 10.0, at(1000));
        rate.record(windows, 10.0, at(2000));
        // The first began 2.8 s ago and was last used 1.9 s ago.
        let (observed, window) = rate.measure(windows, at(2800));
        assert_eq!(window, 2800);
        assert!((observed - 40.0 / 2.8).abs() < 1e-9);
        let (observed, window) = rate.measure(windows, at(2900));
        assert_eq!(window, 1900);
        assert!((observed - 20.0 / 1.9).abs() < 1e-9);
    }

    #[test]
    fn a_quiet_time_leaves_nothing() {
        let windows = Windows::new(11, 1);
        let mut rate = Rate::default();
        for second in 0..20 {
            rate.record(windows, 500.0, at(second * 1000));
        }
        assert!(rate.measure(windows, at(19_000)).0 > 400.0);
        let mut fresh = Rate::default();
        for rate in [&mut rate, &mut fresh] {
            rate.record(windows, 7.0, at(60_000));
            assert_eq!(rate.measure(windows, at(60_000)), (0.7, 10_000));
        }
    }

    #[test]
    fn throttling_brings_the_rate_back_to_the_limit() {
        let windows = Windows::new(11, 1);
        let mut rate = Rate::default();
        rate.record(windows, 10_000.0, at(0));
        assert_eq!(
            rate.throttle_ms(windows, 1000.0, at(0)),
            0,
            "no more than allowed"
        );
        rate.record(windows, 5_000.0, at(0));
        // 1500 per second over 10 s: the excess of a half takes half of the window.
        assert_eq!(rate.throttle_ms(windows, 1000.0, at(0)), 5000);
        rate.record(windows, -5_000.0, at(0));
        assert_eq!(rate.throttle_ms(windows, 1000.0, at(0)), 0);
        assert_eq!(rate.throttle_ms(windows, 0.0, at(0)), i64::MAX);
    }

    #[test]
    fn the_average_forgets_after_its_windows() {
        let mut average = Average::default();
        assert_eq!(average.measure(at(0)), None);
        average.record(10.0, at(0));
        average.record(30.0, at(1));
        assert_eq!(average.measure(at(2)), Some(20.0));
        assert_eq!(average.measure(at(60_001)), None);
    }
}
