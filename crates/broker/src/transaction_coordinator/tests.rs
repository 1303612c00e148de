//! The driver over a log in memory, with partitions that answer as they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_coordinator_runtime::{AppendResult, TransactionOutcome};
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::{
    BrokerId, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition,
};
use ottla_record::BatchView;
use ottla_storage::VerificationGuard;
use ottla_transaction_coordinator::{
    Answers, ExpectedProducer, ListFilter, MarkerDestination, TransactionConfig,
    TransactionMarkers, TransactionState,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::TransactionCoordinator;
use super::driver::{Pending, Start};
use super::marker_task::MarkerTransport;
use super::settings::Settings;
use crate::clock::Clock;
use crate::coordinator_log::{CoordinatorLog, PendingAppend, PendingOffset, ReadBackError};
use crate::replica_manager::LeadershipListener;

const ID: &str = "tx";

/// One log for all partitions, of which the tests use one.
#[derive(Default)]
struct MemoryLog {
    batches: Mutex<Vec<Bytes>>,
    followers: watch::Sender<Followers>,
    /// Whether the topic got a partition more after the start.
    is_too_wide: AtomicBool,
}

/// Who has the log too.
#[derive(Clone, Copy, Default)]
enum Followers {
    /// They have all of it.
    #[default]
    CaughtUp,
    /// They have nothing yet.
    Behind,
    /// They follow somebody else.
    Gone,
}

struct Handle(Arc<MemoryLog>);

impl CoordinatorLog for Handle {
    fn append(
        &self,
        _partition: i32,
        required_acks: i16,
        _timeout: Duration,
        _guard: VerificationGuard,
        batch: Bytes,
    ) -> PendingAppend {
        assert_eq!(required_acks, -1);
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let mut batches = log.batches.lock();
            let base_offset = batches.len() as Offset;
            let mut bytes = BytesMut::from(&batch[..]);
            bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
            batches.push(bytes.freeze());
            AppendResult::Ok(base_offset)
        })
    }

    fn replicated(&self, _partition: i32, offset: Offset) -> PendingOffset {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let mut followers = log.followers.subscribe();
            let told = followers
                .wait_for(|followers| offset == 0 || !matches!(followers, Followers::Behind))
                .await;
            match told.as_deref() {
                Ok(Followers::CaughtUp) => Ok(log.batches.lock().len() as Offset),
                Ok(Followers::Behind) => Ok(0),
                Ok(Followers::Gone) | Err(_) => Err(ErrorCode::NotLeaderOrFollower),
            }
        })
    }

    fn read(
        &self,
        _partition: i32,
        from: Option<Offset>,
        _bytes_max: usize,
    ) -> Result<Bytes, ReadBackError> {
        let from = usize::try_from(from.unwrap_or(0)).unwrap();
        Ok(self.0.batches.lock().get(from).cloned().unwrap_or_default())
    }
}

/// Writes markers when the gate is open, and remembers them.
struct Markers {
    is_open: watch::Sender<bool>,
    written: Mutex<Vec<TransactionMarkers>>,
}

struct MarkersHandle(Arc<Markers>);

impl MarkerTransport for MarkersHandle {
    fn destination(&self, _partition: &TopicPartition) -> MarkerDestination {
        MarkerDestination::Leader(BrokerId(1))
    }

    fn send(
        &self,
        _broker: BrokerId,
        markers: Vec<TransactionMarkers>,
    ) -> Pending<Option<Answers>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let mut gate = this.is_open.subscribe();
            gate.wait_for(|open| *open).await.ok()?;
            let mut answers: Answers = BTreeMap::new();
            for marker in &markers {
                for partition in &marker.partitions {
                    let key = (marker.key.producer_id, partition.clone());
                    answers.insert(key, ErrorCode::None);
                }
            }
            this.written.lock().extend(markers);
            Some(answers)
        })
    }
}

struct Node {
    coordinator: Arc<TransactionCoordinator>,
    log: Arc<MemoryLog>,
    markers: Arc<Markers>,
    partition: TopicPartition,
}

fn node(log: Arc<MemoryLog>) -> Node {
    let markers = Arc::new(Markers {
        is_open: watch::Sender::new(true),
        written: Mutex::default(),
    });
    let coordinator = TransactionCoordinator::start(Start {
        settings: Settings {
            transaction: TransactionConfig::default(),
            partition_count: 5,
            load_buffer_size: 1000,
            abort_timed_out_interval: Duration::from_secs(3600),
            remove_expired_interval: Duration::from_secs(3600),
        },
        clock: Clock::start(),
        log: Arc::new(Handle(Arc::clone(&log))),
        markers: Arc::new(MarkersHandle(Arc::clone(&markers))),
        batch_size_max: Box::new(|| 1_000_000),
        partition_count_now: {
            let log = Arc::clone(&log);
            Box::new(move || {
                if log.is_too_wide.load(Ordering::Relaxed) {
                    6
                } else {
                    5
                }
            })
        },
    });
    coordinator.set_producer_ids(Box::new(|| Box::pin(async { Ok(ProducerId(7)) })));
    let partition = TopicPartition::new(TRANSACTION_STATE_TOPIC, coordinator.partition_for(ID));
    Node {
        coordinator,
        log,
        markers,
        partition,
    }
}

impl Node {
    async fn elect(&self, epoch: i32) {
        self.coordinator
            .on_election(&self.partition, LeaderEpoch(epoch));
        assert_eq!(
            self.coordinator.describe(ID),
            Err(ErrorCode::CoordinatorLoadInProgress),
            "from the moment of the election"
        );
        self.until(|node| {
            node.coordinator.describe(ID) != Err(ErrorCode::CoordinatorLoadInProgress)
        })
        .await;
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .expect("it comes true");
    }

    async fn begin(&self) -> ExpectedProducer {
        let coordinator = &self.coordinator;
        let producer = coordinator
            .init_producer_id(ID.into(), 60_000, None)
            .await
            .unwrap();
        let partitions = [TopicPartition::new("t", 0)].into();
        let added = coordinator
            .add_partitions(ID.into(), producer, partitions)
            .await;
        assert_eq!(added, ErrorCode::None);
        producer
    }

    async fn end(&self, producer: ExpectedProducer) -> ErrorCode {
        self.coordinator
            .end_transaction(ID.into(), producer, TransactionOutcome::Commit)
            .await
    }

    fn state(&self) -> Option<TransactionState> {
        self.coordinator
            .describe(ID)
            .ok()
            .map(|described| described.state)
    }
}

#[tokio::test]
async fn a_transaction_is_completed_in_the_background() {
    let node = node(Arc::default());
    node.elect(0).await;
    node.markers.is_open.send_replace(false);
    let producer = node.begin().await;
    assert_eq!(
        producer,
        ExpectedProducer {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(0)
        }
    );
    assert_eq!(
        node.end(producer).await,
        ErrorCode::None,
        "before any marker is written"
    );
    assert_eq!(node.state(), Some(TransactionState::PrepareCommit));
    node.markers.is_open.send_replace(true);
    node.until(|node| node.state() == Some(TransactionState::CompleteCommit))
        .await;
    assert_eq!(node.markers.written.lock().len(), 1);
    assert_eq!(node.coordinator.metrics().0.commits, 1);
    for batch in node.log.batches.lock().iter() {
        let batch = BatchView::parse(batch).unwrap();
        assert_eq!(
            (batch.producer_id, batch.base_sequence),
            (ProducerId(-1), -1)
        );
        assert!(!batch.is_transactional());
    }
}

#[tokio::test]
async fn a_new_leader_repeats_the_markers() {
    let log: Arc<MemoryLog> = Arc::default();
    let old = node(Arc::clone(&log));
    old.elect(0).await;
    old.markers.is_open.send_replace(false);
    let producer = old.begin().await;
    assert_eq!(old.end(producer).await, ErrorCode::None);
    old.coordinator
        .on_resignation(&old.partition, Some(LeaderEpoch(1)));
    assert_eq!(old.coordinator.describe(ID), Err(ErrorCode::NotCoordinator));
    assert_eq!(old.end(producer).await, ErrorCode::NotCoordinator);

    let new = node(log);
    new.elect(1).await;
    new.until(|node| node.state() == Some(TransactionState::CompleteCommit))
        .await;
    let written = new.markers.written.lock();
    assert_eq!(written[0].key.coordinator_epoch, LeaderEpoch(1));
}

/// A log that ends with the decision to commit, and a node elected over it whose followers lack it.
async fn elected_before_replicated() -> Node {
    let log: Arc<MemoryLog> = Arc::default();
    let old = node(Arc::clone(&log));
    old.elect(0).await;
    old.markers.is_open.send_replace(false);
    let producer = old.begin().await;
    assert_eq!(old.end(producer).await, ErrorCode::None);
    old.coordinator.shut_down();

    log.followers.send_replace(Followers::Behind);
    let new = node(log);
    let other = TopicPartition::new(TRANSACTION_STATE_TOPIC, (new.partition.partition + 1) % 5);
    new.coordinator.on_election(&new.partition, LeaderEpoch(1));
    new.coordinator.on_election(&other, LeaderEpoch(1));
    // The second one is read while the first one waits.
    new.until(|node| node.log.followers.receiver_count() == 2)
        .await;
    new
}

#[tokio::test]
async fn a_new_leader_waits_until_what_it_loaded_is_replicated() {
    let node = elected_before_replicated().await;
    assert!(node.markers.written.lock().is_empty());
    assert_eq!(
        node.coordinator.describe(ID),
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    node.log.followers.send_replace(Followers::CaughtUp);
    node.until(|node| node.state() == Some(TransactionState::CompleteCommit))
        .await;
    assert!(!node.markers.written.lock().is_empty());
}

#[tokio::test]
async fn a_leader_that_is_deposed_before_its_load_is_replicated_serves_nothing() {
    let node = elected_before_replicated().await;
    node.log.followers.send_replace(Followers::Gone);
    node.until(|node| node.coordinator.describe(ID) == Err(ErrorCode::NotCoordinator))
        .await;
    assert!(node.markers.written.lock().is_empty());
}

#[tokio::test]
async fn listings_are_whole_or_refused() {
    let node = node(Arc::default());
    let filter = ListFilter::default();
    assert_eq!(node.coordinator.list(&filter), Ok(vec![]));
    node.elect(0).await;
    node.begin().await;
    let listed = node.coordinator.list(&filter).unwrap();
    assert_eq!(listed.len(), 1);
    let other = TopicPartition::new(TRANSACTION_STATE_TOPIC, (node.partition.partition + 1) % 5);
    node.coordinator.on_election(&other, LeaderEpoch(0));
    assert_eq!(
        node.coordinator.list(&filter),
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    node.until(|node| node.coordinator.list(&ListFilter::default()).is_ok())
        .await;
    node.coordinator.shut_down();
    assert_eq!(
        node.coordinator.list(&filter),
        Err(ErrorCode::CoordinatorNotAvailable)
    );
}

#[tokio::test]
async fn a_log_that_got_more_partitions_is_not_loaded() {
    let node = node(Arc::default());
    node.log.is_too_wide.store(true, Ordering::Relaxed);
    node.coordinator
        .on_election(&node.partition, LeaderEpoch(0));
    tokio::task::yield_now().await;
    assert_eq!(
        node.coordinator.describe(ID),
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    node.log.is_too_wide.store(false, Ordering::Relaxed);
    node.elect(1).await;
    assert_eq!(
        node.coordinator.describe(ID),
        Err(ErrorCode::TransactionalIdNotFound)
    );
}

#[tokio::test]
async fn other_topics_elections_are_no_news() {
    let node = node(Arc::default());
    let other = TopicPartition::new("__consumer_offsets", node.partition.partition);
    node.coordinator.on_election(&other, LeaderEpoch(0));
    assert_eq!(
        node.coordinator.describe(ID),
        Err(ErrorCode::NotCoordinator)
    );
}
