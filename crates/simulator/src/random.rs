//! Numbers from the seed.

use std::time::Duration;

/// The one source of chance in a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Random(ottla_storage::random::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ottla_storage::random::Random::new(seed))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// True in `permille` of 1000 cases.
    pub(crate) fn rarely(&mut self, permille: u64) -> bool {
        self.0.below(1000) < permille
    }

    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low * 1000, high * 1000))
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let index = self.0.below(from.len() as u64) as usize;
        from.get(index).cloned()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.0.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}
