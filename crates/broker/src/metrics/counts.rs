//! What the replica manager counts (`BrokerTopicMetrics`, `ReplicaManager`).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ottla_model::ErrorCode;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts this many.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts one.
    pub(crate) fn mark(&self) {
        self.add(1);
    }

    /// How many there were.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The traffic of one topic, shared by its partitions here, or of all topics.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are Kafka's")]
pub(crate) struct TopicCounts {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) bytes_rejected: Counter,
    pub(crate) total_produce_requests: Counter,
    pub(crate) failed_produce_requests: Counter,
    pub(crate) total_fetch_requests: Counter,
    pub(crate) failed_fetch_requests: Counter,
    pub(crate) produce_message_conversions: Counter,
    pub(crate) fetch_message_conversions: Counter,
}

/// What all partitions of this broker count.
#[derive(Debug, Default)]
pub(crate) struct BrokerCounts {
    /// Traffic over all topics.
    pub(crate) all_topics: TopicCounts,
    /// Bytes sent to followers.
    pub(crate) replication_bytes_out: Counter,
    /// Bytes appended as a follower.
    pub(crate) replication_bytes_in: Counter,
    /// Changes of in-sync replicas that the controller has made.
    pub(crate) isr_shrinks: Counter,
    /// The same, for members that came back.
    pub(crate) isr_expands: Counter,
    /// Changes that were not made.
    pub(crate) failed_isr_updates: Counter,
    /// Fetches that wait.
    pub(crate) waiting_fetches: Waiting,
    /// Produce requests that wait.
    pub(crate) waiting_produces: Waiting,
}

impl BrokerCounts {
    /// One partition of a Produce request was taken up; `topic` is `None` where the partition is
    /// not here.
    pub(crate) fn produce_began(&self, topic: Option<&TopicCounts>) {
        self.each(topic, |counts| counts.total_produce_requests.mark());
    }

    /// Records were appended.
    pub(crate) fn appended(&self, topic: &TopicCounts, bytes: usize, records: i64, converted: i32) {
        self.each(Some(topic), |counts| {
            counts.bytes_in.add(bytes as u64);
            counts.messages_in.add(u64::try_from(records).unwrap_or(0));
            if converted > 0 {
                counts
                    .produce_message_conversions
                    .add(u64::from(converted.unsigned_abs()));
            }
        });
    }

    /// Records were converted for a client of an old version.
    pub(crate) fn converted(&self, topic: Option<&TopicCounts>, records: usize) {
        self.each(topic, |counts| {
            counts.fetch_message_conversions.add(records as u64);
        });
    }

    /// Records were not appended; errors that a healthy cluster knows are no failures
    /// (`ReplicaManager.appendToLocalLog`).
    pub(crate) fn produce_failed(
        &self,
        topic: Option<&TopicCounts>,
        error: ErrorCode,
        bytes: usize,
    ) {
        if error == ErrorCode::MessageTooLarge {
            self.each(topic, |counts| counts.bytes_rejected.add(bytes as u64));
        }
        let is_usual = matches!(
            error,
            ErrorCode::None
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::MessageTooLarge
                | ErrorCode::RecordListTooLarge
                | ErrorCode::CorruptMessage
                | ErrorCode::KafkaStorageError
                | ErrorCode::UnknownTopicId
        );
        if !is_usual {
            self.each(topic, |counts| counts.failed_produce_requests.mark());
        }
    }

    /// One partition of a Fetch request was taken up; it may be read twice for it.
    pub(crate) fn fetch_began(&self, topic: Option<&TopicCounts>) {
        self.each(topic, |counts| counts.total_fetch_requests.mark());
    }

    /// A partition was not read; errors that a healthy cluster knows are no failures
    /// (`ReplicaManager.readFromLog`).
    pub(crate) fn fetch_failed(&self, topic: Option<&TopicCounts>, error: ErrorCode) {
        let is_usual = matches!(
            error,
            ErrorCode::None
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::KafkaStorageError
                | ErrorCode::InconsistentTopicId
                | ErrorCode::OffsetOutOfRange
        );
        if !is_usual {
            self.each(topic, |counts| counts.failed_fetch_requests.mark());
        }
    }

    /// Records of a partition are sent.
    pub(crate) fn bytes_out(&self, topic: &TopicCounts, is_follower: bool, bytes: usize) {
        if is_follower {
            self.replication_bytes_out.add(bytes as u64);
        } else {
            self.each(Some(topic), |counts| counts.bytes_out.add(bytes as u64));
        }
    }

    fn each(&self, topic: Option<&TopicCounts>, count: impl Fn(&TopicCounts)) {
        count(&self.all_topics);
        topic.iter().for_each(|topic| count(topic));
    }
}

/// Requests that wait now, and the places in which they do: one per partition.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    requests: AtomicI64,
    places: AtomicI64,
}

/// A request that waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Waits<'a> {
    waiting: &'a Waiting,
    places: i64,
}

impl Waiting {
    /// A request waits in so many places.
    pub(crate) fn enter(&self, places: usize) -> Waits<'_> {
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.places.fetch_add(places, Ordering::Relaxed);
        Waits {
            waiting: self,
            places,
        }
    }

    /// How many requests wait.
    pub(crate) fn requests(&self) -> i64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// In how many places.
    pub(crate) fn places(&self) -> i64 {
        self.places.load(Ordering::Relaxed)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.requests.fetch_sub(1, Ordering::Relaxed);
        self.waiting
            .places
            .fetch_sub(self.places, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_healthy_cluster_are_no_failures() {
        let counts = BrokerCounts::default();
        let topic = TopicCounts::default();
        counts.produce_failed(Some(&topic), ErrorCode::NotLeaderOrFollower, 10);
        counts.produce_failed(Some(&topic), ErrorCode::MessageTooLarge, 10);
        counts.fetch_failed(Some(&topic), ErrorCode::OffsetOutOfRange);
        assert_eq!(topic.failed_produce_requests.get(), 0);
        assert_eq!(topic.bytes_rejected.get(), 10);
        assert_eq!(topic.failed_fetch_requests.get(), 0);
        counts.produce_failed(Some(&topic), ErrorCode::InvalidRecord, 10);
        counts.fetch_failed(None, ErrorCode::UnknownServerError);
        assert_eq!(topic.failed_produce_requests.get(), 1);
        assert_eq!(counts.all_topics.failed_produce_requests.get(), 1);
        assert_eq!(topic.failed_fetch_requests.get(), 0);
        assert_eq!(counts.all_topics.failed_fetch_requests.get(), 1);
    }

    #[test]
    fn who_waits_is_counted_until_it_is_over() {
        let waiting = Waiting::default();
        let first = waiting.enter(3);
        let second = waiting.enter(1);
        assert_eq!((waiting.requests(), waiting.places()), (2, 4));
        drop(first);
        assert_eq!((waiting.requests(), waiting.places()), (1, 1));
        drop(second);
        assert_eq!((waiting.requests(), waiting.places()), (0, 0));
    }
}
