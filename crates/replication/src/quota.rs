//! Throttled replication: how fast, and for which replicas (`ReplicationQuotaManager`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ottla_model::{Instant, TopicName, TopicPartition};

/// Which replicas of a topic are throttled on this broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ThrottledReplicas {
    /// `*`.
    All,
    /// These partitions.
    Partitions(BTreeSet<i32>),
}

impl ThrottledReplicas {
    /// Reads `leader.replication.throttled.replicas` or its follower twin for one broker: empty,
    /// `*`, or `partition:broker,…`. `None` where the text is neither; the config's validator
    /// keeps such values out.
    pub fn parse(text: &str, broker: i32) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::All);
        }
        let mut partitions = BTreeSet::new();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let (partition, replica) = entry.split_once(':')?;
            let partition: i32 = partition.trim().parse().ok()?;
            if replica.trim().parse::<i32>().ok()? == broker {
                partitions.insert(partition);
            }
        }
        Some(Self::Partitions(partitions))
    }
}

/// One direction of replication under a limit of bytes per second, measured over a sliding window.
#[derive(Debug)]
pub struct ReplicationQuota {
    /// Bytes per second.
    limit: u64,
    throttled: BTreeMap<TopicName, ThrottledReplicas>,
    rate: ByteRate,
}

impl ReplicationQuota {
    /// No limit, nothing throttled. `window_count` and `window` are
    /// `replication.quota.window.num` and `.size.seconds`.
    pub fn new(window_count: u32, window: Duration) -> Self {
        Self {
            limit: u64::MAX,
            throttled: BTreeMap::new(),
            rate: ByteRate {
                window_count: window_count.max(1),
                window,
                samples: VecDeque::new(),
            },
        }
    }

    /// Sets the limit, bytes per second.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Replaces what is throttled of a topic; `None` throttles nothing of it.
    pub fn set_throttled(&mut self, topic: TopicName, replicas: Option<ThrottledReplicas>) {
        match replicas {
            Some(replicas) => self.throttled.insert(topic, replicas),
            None => self.throttled.remove(&topic),
        };
    }

    /// Whether a partition counts against the limit.
    pub fn is_throttled(&self, partition: &TopicPartition) -> bool {
        match self.throttled.get(&partition.topic) {
            Some(ThrottledReplicas::All) => true,
            Some(ThrottledReplicas::Partitions(partitions)) => {
                partitions.contains(&partition.partition)
            }
            None => false,
        }
    }

    /// Counts bytes of a throttled partition, in sync or not.
    pub fn record(&mut self, bytes: u64, now: Instant) {
        self.rate.record(bytes, now);
    }

    /// Whether the limit is exceeded now.
    pub fn is_exceeded(&mut self, now: Instant) -> bool {
        self.limit != u64::MAX && self.rate.per_second(now) > self.limit as f64
    }

    /// Whether a leader withholds records from a follower: never from one that is in sync, or it
    /// would fall out and come back for ever.
    pub fn leader_withholds(
        &mut self,
        partition: &TopicPartition,
        in_sync: bool,
        now: Instant,
    ) -> bool {
        !in_sync && self.is_throttled(partition) && self.is_exceeded(now)
    }

    /// Whether a follower leaves a partition out of its next fetch.
    pub fn follower_waits(
        &mut self,
        partition: &TopicPartition,
        lag: Option<i64>,
        now: Instant,
    ) -> bool {
        let in_sync = lag.is_some_and(|lag| lag <= 0);
        !in_sync && self.is_throttled(partition) && self.is_exceeded(now)
    }
}

/// Bytes per second over the samples of a window (`SimpleRate`): the elapsed time since the oldest
/// sample began, and at least one sample's length.
#[derive(Debug)]
struct ByteRate {
    window_count: u32,
    window: Duration,
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    start: Instant,
    last: Instant,
    bytes: u64,
}

impl ByteRate {
    fn record(&mut self, bytes: u64, now: Instant) {
        match self.samples.back_mut() {
            Some(sample) if now.since(sample.start) < self.window => {
                sample.bytes = sample.bytes.saturating_add(bytes);
                sample.last = now;
            }
            _ => self.samples.push_back(Sample {
                start: now,
                last: now,
                bytes,
            }),
        }
        // One more than the window holds: the oldest may overlap its edge.
        while self.samples.len() > self.window_count as usize + 1 {
            self.samples.pop_front();
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        let expire_age = self.window * self.window_count;
        while self
            .samples
            .front()
            .is_some_and(|sample| now.since(sample.last) >= expire_age)
        {
            self.samples.pop_front();
        }
        let bytes: u64 = self
            .samples
            .iter()
            .fold(0, |sum, s| sum.saturating_add(s.bytes));
        let elapsed = self
            .samples
            .front()
            .map_or(Duration::ZERO, |oldest| now.since(oldest.start));
        bytes as f64
            / elapsed
                .max(self.window)
                .max(Duration::from_millis(1))
                .as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit: u64) -> ReplicationQuota {
        let mut quota = ReplicationQuota::new(11, Duration::from_secs(1));
        quota.set_limit(limit);
        quota.set_throttled("t".into(), Some(ThrottledReplicas::All));
        quota
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn lists_of_throttled_replicas() {
        let partitions = |list: &[i32]| {
            Some(ThrottledReplicas::Partitions(
                list.iter().copied().collect(),
            ))
        };
        assert_eq!(
            ThrottledReplicas::parse("*", 1),
            Some(ThrottledReplicas::All)
        );
        assert_eq!(ThrottledReplicas::parse("", 1), partitions(&[]));
        assert_eq!(
            ThrottledReplicas::parse("0:1,3:1, 4:2", 1),
            partitions(&[0, 3])
        );
        assert_eq!(ThrottledReplicas::parse("0-1", 1), None);
    }

    #[test]
    fn the_first_window_counts_as_whole_and_later_ones_by_elapsed_time() {
        let mut quota = quota(1_000);
        quota.record(1_000, at(0));
        assert!(!quota.is_exceeded(at(0)), "1000 in one second");
        quota.record(1, at(10));
        assert!(quota.is_exceeded(at(10)));
        assert!(!quota.is_exceeded(at(1_010)), "1001 bytes in 1.010 s");
        quota.record(5_000, at(2_000));
        assert!(quota.is_exceeded(at(2_000)), "6001 bytes in 2 s");
        assert!(!quota.is_exceeded(at(7_000)));
    }

    #[test]
    fn old_samples_expire() {
        let mut quota = quota(10);
        quota.record(1_000, at(0));
        assert!(quota.is_exceeded(at(10_999)));
        assert!(!quota.is_exceeded(at(11_000)));
    }

    #[test]
    fn in_sync_replicas_are_counted_but_not_held_back() {
        let mut quota = quota(10);
        let partition = TopicPartition::new("t", 0);
        quota.record(1_000, at(0));
        assert!(quota.leader_withholds(&partition, false, at(0)));
        assert!(!quota.leader_withholds(&partition, true, at(0)));
        assert!(quota.follower_waits(&partition, Some(5), at(0)));
        assert!(quota.follower_waits(&partition, None, at(0)));
        assert!(!quota.follower_waits(&partition, Some(0), at(0)));
        assert!(!quota.leader_withholds(&TopicPartition::new("u", 0), false, at(0)));
    }
}
