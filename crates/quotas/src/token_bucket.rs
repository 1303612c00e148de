//! Tokens that come back at a rate (`TokenBucket` of Kafka's metrics, KIP-599).

use ottla_model::Instant;

use crate::rate::{Windows, millis};

/// What is left of a burst; below zero when more was taken than was there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TokenBucket {
    /// Before the first use it is full, whatever the limit.
    state: Option<State>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct State {
    tokens: f64,
    filled: i64,
}

impl TokenBucket {
    /// The tokens now, at a limit of so many per second: as many as all windows allow, at most.
    pub fn tokens(&mut self, windows: Windows, limit: f64, now: Instant) -> f64 {
        let now = millis(now);
        let burst = windows.total_seconds() * limit;
        let state = self.state.get_or_insert(State {
            tokens: burst,
            filled: now,
        });
        let elapsed = (now - state.filled) as f64 / 1000.0;
        state.tokens = burst.min(state.tokens + limit * elapsed);
        state.filled = now;
        state.tokens
    }

    /// Takes tokens, be they there or not.
    pub fn take(&mut self, windows: Windows, limit: f64, tokens: f64, now: Instant) {
        self.tokens(windows, limit, now);
        if let Some(state) = &mut self.state {
            let burst = windows.total_seconds() * limit;
            state.tokens = burst.min(state.tokens - tokens);
        }
    }

    /// How long until no token is owed any more, milliseconds; 0 if none is
    /// (`ControllerMutationQuotaManager.throttleTimeMs`).
    pub fn throttle_ms(&mut self, windows: Windows, limit: f64, now: Instant) -> i64 {
        let tokens = self.tokens(windows, limit, now);
        if tokens < 0.0 {
            (-tokens / limit * 1000.0).round() as i64
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_burst_is_free_and_a_debt_is_paid_at_the_rate() {
        let windows = Windows::new(11, 1);
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.tokens(windows, 2.0, at(10)), 22.0);
        bucket.take(windows, 2.0, 22.0, at(10));
        assert_eq!(bucket.throttle_ms(windows, 2.0, at(10)), 0);
        bucket.take(windows, 2.0, 5.0, at(10));
        assert_eq!(bucket.throttle_ms(windows, 2.0, at(10)), 2500);
        assert_eq!(bucket.throttle_ms(windows, 2.0, at(1010)), 1500);
        assert_eq!(bucket.throttle_ms(windows, 2.0, at(2510)), 0);
        assert_eq!(bucket.tokens(windows, 2.0, at(100_000)), 22.0);
    }

    #[test]
    fn a_lower_limit_takes_what_was_saved_for_a_higher_one() {
        let windows = Windows::new(11, 1);
        let mut bucket = TokenBucket::default();
        bucket.take(windows, f64::MAX / 1e9, 100.0, at(0));
        assert_eq!(bucket.tokens(windows, 1.0, at(0)), 11.0);
    }
}
