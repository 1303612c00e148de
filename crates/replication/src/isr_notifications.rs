//! When a leader that writes ISR changes itself tells the controller of them
//! (`ZkAlterPartitionManager`): some seconds later and together, so that a broker's loss is not
//! thousands of notifications.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_model::{Instant, TopicPartition};

/// How often [`IsrNotifications::take_due`] is to be asked.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(2500);
/// Changes are told once none has followed for so long.
const LINGER: Duration = Duration::from_secs(5);
/// Changes are told, whatever follows, when the last were so long ago.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Changes that the controller has not been told of.
#[derive(Debug)]
pub struct IsrNotifications {
    changed: BTreeSet<TopicPartition>,
    last_change: Instant,
    last_told: Instant,
}

impl IsrNotifications {
    /// Nothing has changed yet.
    pub fn new(now: Instant) -> Self {
        Self {
            changed: BTreeSet::new(),
            last_change: now,
            last_told: now,
        }
    }

    /// A change was written.
    pub fn add(&mut self, now: Instant, partition: TopicPartition) {
        self.changed.insert(partition);
        self.last_change = now;
    }

    /// The partitions to tell of now, if it is time.
    pub fn take_due(&mut self, now: Instant) -> Option<BTreeSet<TopicPartition>> {
        let is_quiet = self.last_change + LINGER < now;
        let is_late = self.last_told + LONGEST_DELAY < now;
        if self.changed.is_empty() || !(is_quiet || is_late) {
            return None;
        }
        self.last_told = now;
        Some(std::mem::take(&mut self.changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_together_when_it_is_quiet_or_late() {
        let at = |seconds: f64| Instant(Duration::from_secs_f64(seconds));
        let tp = |partition| TopicPartition::new("t", partition);
        let mut notifications = IsrNotifications::new(at(0.0));
        assert_eq!(notifications.take_due(at(59.0)), None);
        // The first after a long silence waits for nobody.
        notifications.add(at(70.0), tp(0));
        let due = notifications.take_due(at(71.0));
        assert_eq!(due, Some(BTreeSet::from([tp(0)])));
        assert_eq!(notifications.take_due(at(72.0)), None);
        // Quiet for five seconds.
        notifications.add(at(73.0), tp(1));
        notifications.add(at(76.0), tp(2));
        assert_eq!(notifications.take_due(at(81.0)), None);
        let due = notifications.take_due(at(81.1));
        assert_eq!(due, Some(BTreeSet::from([tp(1), tp(2)])));
        // Never quiet: a minute after the last.
        for second in 82..=141 {
            notifications.add(at(f64::from(second)), tp(3));
            assert_eq!(notifications.take_due(at(f64::from(second))), None);
        }
        notifications.add(at(142.0), tp(4));
        let due = notifications.take_due(at(142.0));
        assert_eq!(due, Some(BTreeSet::from([tp(3), tp(4)])));
    }
}
