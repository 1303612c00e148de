//! `log.cleaner.io.max.bytes.per.second`, over all threads (`Throttler`).

use std::time::Duration;

use ottla_model::Instant;

/// The rate is looked at once in this time.
const CHECK_INTERVAL: Duration = Duration::from_millis(300);

/// Tells how long to pause so that a rate is kept.
#[derive(Debug)]
pub struct Throttle {
    period_start: Instant,
    bytes: u64,
}

impl Throttle {
    /// Starts to count.
    pub fn new(now: Instant) -> Self {
        Self {
            period_start: now,
            bytes: 0,
        }
    }

    /// Bytes were read or written; the pause that is due.
    pub fn record(&mut self, now: Instant, bytes: usize, bytes_per_second: f64) -> Duration {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let elapsed = now.0.saturating_sub(self.period_start.0);
        if elapsed < CHECK_INTERVAL {
            return Duration::ZERO;
        }
        let wanted = self.bytes as f64 / bytes_per_second;
        self.bytes = 0;
        let pause = Duration::try_from_secs_f64((wanted - elapsed.as_secs_f64()).max(0.0));
        let pause = pause.unwrap_or(Duration::ZERO);
        self.period_start = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_makes_up_for_what_was_too_fast() {
        let at = |millis| Instant(Duration::from_millis(millis));
        let mut throttle = Throttle::new(at(0));
        assert_eq!(throttle.record(at(100), 500, 1000.0), Duration::ZERO);
        assert_eq!(
            throttle.record(at(500), 500, 1000.0),
            Duration::from_millis(500)
        );
        assert_eq!(throttle.record(at(1400), 300, 1000.0), Duration::ZERO);
        assert_eq!(throttle.record(at(1800), 1 << 40, f64::MAX), Duration::ZERO);
    }
}
