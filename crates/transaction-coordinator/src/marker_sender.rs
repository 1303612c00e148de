//! Takes the markers of all shards to the leaders of their partitions
//! (`kafka.coordinator.transaction.TransactionMarkerChannelManager`).
//!
//! One request per broker is under way at a time; what comes meanwhile goes into the next one, of
//! whichever transactions. What was not written is tried again, with the leader of then, for as
//! long as its shard wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_model::{BrokerId, ErrorCode, Instant, ProducerId, TopicPartition};

use crate::messages::{Event, TransactionMarkers};

/// After which time markers that could not be written are tried again. Kafka tries at once, and so
/// as often as the network lets it.
const RETRY_BACKOFF: Duration = Duration::from_millis(20);

/// A WriteTxnMarkers request that waits for its answer; numbered by the sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SendToken(pub u64);

/// Who leads a partition, as far as this broker knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkerDestination {
    /// This broker, and it is alive.
    Leader(BrokerId),
    /// Nobody, or a broker that is not alive or has no inter-broker listener.
    NotAvailable,
    /// The partition is not known: it was deleted.
    UnknownPartition,
}

/// What each partition of a request was answered, by the marker's producer. A partition that is
/// missing counts as one to try again.
pub type Answers = BTreeMap<(ProducerId, TopicPartition), ErrorCode>;

/// What happens to the sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SenderEvent {
    /// A shard wants markers ([`crate::TransactionAction::SendMarkers`]).
    Send {
        /// The shard's partition.
        transaction_partition: i32,
        /// The markers.
        markers: TransactionMarkers,
    },
    /// A shard wants none of its markers any more ([`crate::TransactionAction::CancelMarkers`]).
    Cancel {
        /// The shard's partition.
        transaction_partition: i32,
    },
    /// A request was answered; `None` if the answer will never come.
    Answered {
        /// The request.
        token: SendToken,
        /// The answer.
        answers: Option<Answers>,
    },
    /// `next_deadline` has passed.
    DeadlinesDue,
}

/// What the driver has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SenderAction {
    /// Send a WriteTxnMarkers request over the inter-broker listener; its answer comes back as an
    /// event, exactly once, at the latest after `request.timeout.ms`.
    Send {
        /// Names the request.
        token: SendToken,
        /// To whom; this broker itself included.
        broker: BrokerId,
        /// The markers, never empty.
        markers: Vec<TransactionMarkers>,
    },
    /// Tell a shard.
    Tell {
        /// The shard's partition.
        transaction_partition: i32,
        /// [`Event::MarkersWritten`] or [`Event::MarkersFenced`].
        event: Event,
    },
}

/// The markers of a broker that are not written yet.
#[derive(Debug, Default)]
pub struct MarkerSender {
    /// How often each shard has cancelled: entries of before are dropped.
    cancellations: BTreeMap<i32, u64>,
    queues: BTreeMap<BrokerId, Vec<Entry>>,
    in_flight: BTreeMap<SendToken, (BrokerId, Vec<Entry>)>,
    next_token: u64,
    /// What is to be tried again at `retry_at`.
    waiting: Vec<Entry>,
    retry_at: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    transaction_partition: i32,
    cancellations: u64,
    has_leader: bool,
    markers: TransactionMarkers,
}

/// What one partition's answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Done,
    Retry,
    Fenced,
}

impl MarkerSender {
    /// A sender without markers.
    pub fn new() -> Self {
        Self::default()
    }

    /// When [`SenderEvent::DeadlinesDue`] is to be given next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// `UnknownDestinationQueueSize`: markers whose partition has no leader at the moment.
    pub fn unknown_destinations(&self) -> usize {
        self.waiting
            .iter()
            .filter(|entry| !entry.has_leader)
            .count()
    }

    /// Takes an event and appends what is to be done to `actions`. `leaders` is asked only for
    /// partitions of markers that are about to be sent.
    pub fn handle(
        &mut self,
        now: Instant,
        event: SenderEvent,
        leaders: impl Fn(&TopicPartition) -> MarkerDestination,
        actions: &mut Vec<SenderAction>,
    ) {
        match event {
            SenderEvent::Send {
                transaction_partition,
                markers,
            } => {
                let cancellations = self.cancellations_of(transaction_partition);
                let entry = Entry {
                    transaction_partition,
                    cancellations,
                    has_leader: true,
                    markers,
                };
                self.route(now, entry, &leaders, actions);
            }
            SenderEvent::Cancel {
                transaction_partition,
            } => {
                *self.cancellations.entry(transaction_partition).or_default() += 1;
                let is_wanted =
                    |entry: &Entry| entry.transaction_partition != transaction_partition;
                self.waiting.retain(is_wanted);
                for queue in self.queues.values_mut() {
                    queue.retain(is_wanted);
                }
            }
            SenderEvent::Answered { token, answers } => {
                if let Some((_, entries)) = self.in_flight.remove(&token) {
                    self.on_answers(now, entries, answers.as_ref(), actions);
                }
            }
            SenderEvent::DeadlinesDue => {
                if self.retry_at.is_some_and(|at| at <= now) {
                    self.retry_at = None;
                    for entry in std::mem::take(&mut self.waiting) {
                        self.route(now, entry, &leaders, actions);
                    }
                }
            }
        }
        if self.waiting.is_empty() {
            self.retry_at = None;
        }
        self.send(actions);
    }

    fn cancellations_of(&self, transaction_partition: i32) -> u64 {
        self.cancellations
            .get(&transaction_partition)
            .copied()
            .unwrap_or(0)
    }

    /// Puts markers into the queues of their leaders.
    fn route(
        &mut self,
        now: Instant,
        entry: Entry,
        leaders: &impl Fn(&TopicPartition) -> MarkerDestination,
        actions: &mut Vec<SenderAction>,
    ) {
        let mut by_leader: BTreeMap<BrokerId, BTreeSet<TopicPartition>> = BTreeMap::new();
        let (mut homeless, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for partition in &entry.markers.partitions {
            let destination = match leaders(partition) {
                MarkerDestination::Leader(broker) => by_leader.entry(broker).or_default(),
                MarkerDestination::NotAvailable => &mut homeless,
                MarkerDestination::UnknownPartition => &mut deleted,
            };
            destination.insert(partition.clone());
        }
        for (broker, partitions) in by_leader {
            self.queues
                .entry(broker)
                .or_default()
                .push(entry.of(partitions, true));
        }
        if !homeless.is_empty() {
            self.wait(now, entry.of(homeless, false));
        }
        if !deleted.is_empty() {
            tracing::info!(
                key = ?entry.markers.key, ?deleted,
                "no markers for partitions that are not known: they are likely deleted"
            );
            actions.push(entry.written(deleted));
        }
    }

    fn wait(&mut self, now: Instant, entry: Entry) {
        self.waiting.push(entry);
        self.retry_at.get_or_insert(now + RETRY_BACKOFF);
    }

    /// Sends the queues of all brokers that have no request under way.
    fn send(&mut self, actions: &mut Vec<SenderAction>) {
        let busy: BTreeSet<BrokerId> = self.in_flight.values().map(|(broker, _)| *broker).collect();
        let ready: Vec<BrokerId> = self
            .queues
            .keys()
            .copied()
            .filter(|broker| !busy.contains(broker))
            .collect();
        for broker in ready {
            let entries = self.queues.remove(&broker).unwrap_or_default();
            if entries.is_empty() {
                continue;
            }
            let token = SendToken(self.next_token);
            self.next_token += 1;
            let markers = entries.iter().map(|entry| entry.markers.clone()).collect();
            self.in_flight.insert(token, (broker, entries));
            actions.push(SenderAction::Send {
                token,
                broker,
                markers,
            });
        }
    }

    fn on_answers(
        &mut self,
        now: Instant,
        entries: Vec<Entry>,
        answers: Option<&Answers>,
        actions: &mut Vec<SenderAction>,
    ) {
        for entry in entries {
            if entry.cancellations != self.cancellations_of(entry.transaction_partition) {
                continue;
            }
            let (mut done, mut retry, mut is_fenced) = (BTreeSet::new(), BTreeSet::new(), false);
            for partition in &entry.markers.partitions {
                let key = (entry.markers.key.producer_id, partition.clone());
                let answer = answers.and_then(|answers| answers.get(&key)).copied();
                match verdict(answer) {
                    Verdict::Done => _ = done.insert(partition.clone()),
                    Verdict::Retry => {
                        tracing::debug!(key = ?entry.markers.key, %partition, ?answer,
                            "a marker was not written: trying again");
                        retry.insert(partition.clone());
                    }
                    Verdict::Fenced => {
                        tracing::info!(key = ?entry.markers.key, %partition, ?answer,
                            "a marker was refused for good");
                        is_fenced = true;
                    }
                }
            }
            if !done.is_empty() {
                actions.push(entry.written(done));
            }
            if is_fenced {
                let event = Event::MarkersFenced {
                    key: entry.markers.key.clone(),
                };
                let transaction_partition = entry.transaction_partition;
                actions.push(SenderAction::Tell {
                    transaction_partition,
                    event,
                });
            } else if !retry.is_empty() {
                self.wait(now, entry.of(retry, true));
            }
        }
    }
}

impl Entry {
    fn of(&self, partitions: BTreeSet<TopicPartition>, has_leader: bool) -> Self {
        let markers = TransactionMarkers {
            key: self.markers.key.clone(),
            outcome: self.markers.outcome,
            partitions,
        };
        Self {
            has_leader,
            markers,
            ..*self
        }
    }

    fn written(&self, partitions: BTreeSet<TopicPartition>) -> SenderAction {
        let key = self.markers.key.clone();
        SenderAction::Tell {
            transaction_partition: self.transaction_partition,
            event: Event::MarkersWritten { key, partitions },
        }
    }
}

fn verdict(answer: Option<ErrorCode>) -> Verdict {
    match answer {
        // A partition of an old format has nothing of the transaction.
        Some(
            ErrorCode::None
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::UnsupportedVersion,
        ) => Verdict::Done,
        Some(ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced) => {
            Verdict::Fenced
        }
        None
        | Some(
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::RequestTimedOut
            | ErrorCode::KafkaStorageError,
        ) => Verdict::Retry,
        Some(unexpected) => {
            // Kafka ends the process here, and its successor tries again.
            tracing::error!(%unexpected, "a marker was refused unexpectedly");
            Verdict::Retry
        }
    }
}
