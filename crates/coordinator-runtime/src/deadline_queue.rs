//! Deadlines by key, expired in one determined order.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::Instant;

/// A timer wheel's job without the wheel: each key has at most one deadline, and what is due
/// comes out by time, then by the order of scheduling.
#[derive(Clone, Debug)]
pub struct DeadlineQueue<Key> {
    by_time: BTreeSet<(Instant, u64, Key)>,
    by_key: BTreeMap<Key, (Instant, u64)>,
    scheduled: u64,
}

impl<Key> Default for DeadlineQueue<Key> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
            scheduled: 0,
        }
    }
}

impl<Key: Ord + Clone> DeadlineQueue<Key> {
    /// Sets the key's deadline and forgets the one that it had.
    pub fn schedule(&mut self, key: Key, at: Instant) {
        self.cancel(&key);
        let sequence = self.scheduled;
        self.scheduled += 1;
        self.by_key.insert(key.clone(), (at, sequence));
        self.by_time.insert((at, sequence, key));
    }

    /// Forgets the key's deadline; whether it had one.
    pub fn cancel(&mut self, key: &Key) -> bool {
        let Some((at, sequence)) = self.by_key.remove(key) else {
            return false;
        };
        self.by_time.remove(&(at, sequence, key.clone()))
    }

    /// Takes the first key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Key> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, _, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    /// The key's deadline.
    pub fn deadline_of(&self, key: &Key) -> Option<Instant> {
        self.by_key.get(key).map(|(at, _)| *at)
    }

    /// The keys that have a deadline, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys()
    }

    /// How many deadlines are set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no deadline is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Forgets all deadlines.
    pub fn clear(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn due_keys_come_by_time_and_then_by_order_of_scheduling() {
        let mut queue = DeadlineQueue::default();
        queue.schedule("late", at(9));
        queue.schedule("b", at(5));
        queue.schedule("a", at(5));
        assert_eq!(queue.next_deadline(), Some(at(5)));
        assert_eq!(queue.pop_due(at(4)), None);
        assert_eq!(queue.pop_due(at(5)), Some("b"));
        assert_eq!(queue.pop_due(at(5)), Some("a"));
        assert_eq!(queue.pop_due(at(5)), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_key_has_one_deadline_and_the_last_one_counts() {
        let mut queue = DeadlineQueue::default();
        queue.schedule("a", at(5));
        queue.schedule("a", at(7));
        assert_eq!(queue.pop_due(at(6)), None);
        assert_eq!(queue.deadline_of(&"a"), Some(at(7)));
        assert!(queue.cancel(&"a"));
        assert!(!queue.cancel(&"a"));
        assert!(queue.is_empty());
        assert_eq!(queue.pop_due(at(100)), None);
    }
}
