//! What is kept of each client or address: a bounded number, for a bounded time.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_model::Instant;

/// Kafka's `InactiveSensorExpirationTimeSeconds`: what was not used for so long is forgotten.
const EXPIRY: Duration = Duration::from_secs(3600);
/// How often what has expired is looked for (Kafka's `ExpireSensorTask`).
const EXPIRY_CHECK: Duration = Duration::from_secs(30);
/// How many are kept. Kafka has no such limit; beyond it, those unused for longest give way.
pub(crate) const COUNT_MAX: usize = 16_384;

#[derive(Clone, PartialEq, Debug)]
struct Sensor<S> {
    state: S,
    used: Instant,
}

/// States by key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sensors<K, S> {
    by_key: BTreeMap<K, Sensor<S>>,
    checked: Instant,
}

impl<K, S> Default for Sensors<K, S> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            checked: Instant::ZERO,
        }
    }
}

impl<K: Ord + Clone, S: Default> Sensors<K, S> {
    /// The state of a key that is used now.
    pub(crate) fn used(&mut self, key: K, now: Instant) -> &mut S {
        if now.since(self.checked) >= EXPIRY_CHECK {
            self.checked = now;
            self.by_key
                .retain(|_, sensor| now.since(sensor.used) <= EXPIRY);
        }
        if self.by_key.len() >= COUNT_MAX && !self.by_key.contains_key(&key) {
            self.make_room();
        }
        let sensor = self.by_key.entry(key).or_insert_with(|| Sensor {
            state: S::default(),
            used: now,
        });
        sensor.used = now;
        &mut sensor.state
    }

    /// The half that was unused for longest goes, so that this is seldom done.
    fn make_room(&mut self) {
        let mut uses: Vec<Instant> = self.by_key.values().map(|sensor| sensor.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.by_key.retain(|_, sensor| sensor.used > median);
    }

    /// Every key with its state, which is not used by this.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut S)> {
        let entries = self.by_key.iter_mut();
        entries.map(|(key, sensor)| (key, &mut sensor.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(sensors: &mut Sensors<usize, u32>) -> Vec<usize> {
        sensors.iter_mut().map(|(key, _)| *key).collect()
    }

    #[test]
    fn what_is_unused_for_an_hour_is_forgotten() {
        let at = |seconds| Instant(Duration::from_secs(seconds));
        let mut sensors = Sensors::default();
        *sensors.used(1, at(0)) = 7;
        *sensors.used(2, at(100)) = 8;
        assert_eq!(*sensors.used(1, at(3000)), 7);
        sensors.used(3, at(3701));
        assert_eq!(keys(&mut sensors), [1, 3]);
        assert_eq!(*sensors.used(1, at(6600)), 7);
    }

    #[test]
    fn names_without_end_do_not_fill_the_memory() {
        let mut sensors: Sensors<usize, u32> = Sensors::default();
        for key in 0..COUNT_MAX * 3 {
            sensors.used(key, Instant::from_millis(key as u64));
        }
        let kept = keys(&mut sensors);
        assert!(kept.len() <= COUNT_MAX);
        assert_eq!(kept.last(), Some(&(COUNT_MAX * 3 - 1)));
    }
}
