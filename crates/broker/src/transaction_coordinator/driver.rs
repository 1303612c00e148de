//! Shards, their locks, and the tasks around them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ottla_coordinator_runtime::{Append, AppendResult, Now, RequestId};
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::java_hash::coordinator_partition;
use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition};
use ottla_record::Compression;
use ottla_storage::VerificationGuard;
use ottla_transaction_coordinator::{
    Event, LoadOutcome, Loader, Request, Response, SenderEvent, TransactionAction,
    TransactionCoordinatorShard,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::loading;
use super::marker_task::{self, MarkerTransport};
use super::settings::{Settings, duration_ms};
use crate::clock::Clock;
use crate::coordinator_log::{CoordinatorLog, build_batch};
use crate::coordinator_timer::CoordinatorTimer;
use crate::replica_manager::LeadershipListener;

/// All in-sync replicas: the transaction log knows no other.
const REQUIRED_ACKS: i16 = -1;
/// No time between two rounds is shorter.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A result that comes later.
pub(crate) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Where producer ids come from.
pub(crate) type ProducerIdSource =
    Box<dyn Fn() -> Pending<Result<ProducerId, ErrorCode>> + Send + Sync>;

/// What a coordinator is made of.
pub(crate) struct Start {
    /// Configuration.
    pub(crate) settings: Settings,
    /// Time.
    pub(crate) clock: Clock,
    /// `__transaction_state`.
    pub(crate) log: Arc<dyn CoordinatorLog>,
    /// Carries markers to partitions.
    pub(crate) markers: Arc<dyn MarkerTransport>,
    /// `max.message.bytes` of the transaction log, which may change.
    pub(crate) batch_size_max: Box<dyn Fn() -> usize + Send + Sync>,
    /// How many partitions the transaction log has now, as far as is known.
    pub(crate) partition_count_now: Box<dyn Fn() -> usize + Send + Sync>,
}

/// The transaction coordinator of this broker.
pub struct TransactionCoordinator {
    this: Weak<Self>,
    settings: Settings,
    clock: Clock,
    log: Arc<dyn CoordinatorLog>,
    batch_size_max: Box<dyn Fn() -> usize + Send + Sync>,
    partition_count_now: Box<dyn Fn() -> usize + Send + Sync>,
    producer_ids: OnceLock<ProducerIdSource>,
    slots: Vec<Mutex<Slot>>,
    next_request: AtomicU64,
    timer: Arc<CoordinatorTimer>,
    loads: mpsc::UnboundedSender<Load>,
    markers: mpsc::UnboundedSender<SenderEvent>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A shard and who waits for its answers.
struct Slot {
    shard: TransactionCoordinatorShard,
    waiting: HashMap<RequestId, oneshot::Sender<Response>>,
}

/// A partition to be read.
struct Load {
    partition: i32,
    leader_epoch: LeaderEpoch,
    loader: Loader,
    elected: Instant,
}

impl std::fmt::Debug for TransactionCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionCoordinator")
            .field("partitions", &self.slots.len())
            .finish()
    }
}

impl TransactionCoordinator {
    /// Starts the coordinator, which leads nothing yet. Must be called within a tokio runtime.
    pub(crate) fn start(start: Start) -> Arc<Self> {
        let Start {
            settings,
            clock,
            log,
            markers: transport,
            batch_size_max,
            partition_count_now,
        } = start;
        let config = Arc::new(settings.transaction.clone());
        let slots = (0..settings.partition_count)
            .map(|_| {
                Mutex::new(Slot {
                    shard: TransactionCoordinatorShard::new(Arc::clone(&config)),
                    waiting: HashMap::new(),
                })
            })
            .collect();
        let (loads, load_queue) = mpsc::unbounded_channel();
        let (markers, marker_queue) = mpsc::unbounded_channel();
        let (abort_interval, expire_interval) = (
            settings.abort_timed_out_interval,
            settings.remove_expired_interval,
        );
        let coordinator = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            settings,
            clock,
            log,
            batch_size_max,
            partition_count_now,
            producer_ids: OnceLock::new(),
            slots,
            next_request: AtomicU64::new(0),
            timer: Arc::default(),
            loads,
            markers: markers.clone(),
            tasks: Mutex::new(Vec::new()),
        });
        let weak = || Weak::clone(&coordinator.this);
        *coordinator.tasks.lock() = vec![
            tokio::spawn(load_one_by_one(weak(), load_queue)),
            tokio::spawn(keep_deadlines(
                weak(),
                Arc::clone(&coordinator.timer),
                clock,
            )),
            tokio::spawn(at_intervals(weak(), abort_interval, |_| {
                Event::AbortTimedOutTransactions
            })),
            tokio::spawn(at_intervals(weak(), expire_interval, |coordinator| {
                let batch_size_max = (coordinator.batch_size_max)();
                Event::ExpireTransactionalIds { batch_size_max }
            })),
            tokio::spawn(marker_task::run(
                weak(),
                clock,
                transport,
                markers,
                marker_queue,
            )),
        ];
        coordinator
    }

    /// Sets where producer ids come from; before that new transactional ids have to wait.
    pub(crate) fn set_producer_ids(&self, source: ProducerIdSource) {
        // A second source would be a fault of the assembly.
        assert!(
            self.producer_ids.set(source).is_ok(),
            "the source of producer ids is set once"
        );
    }

    /// Serves nothing from now on and ends the tasks.
    pub(crate) fn shut_down(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        for partition in self.partitions() {
            self.event(partition, Event::ShutDown);
        }
    }

    /// The partition that coordinates a transactional id.
    pub(crate) fn partition_for(&self, transactional_id: &str) -> i32 {
        coordinator_partition(transactional_id, self.settings.partition_count)
    }

    pub(super) fn partitions(&self) -> std::ops::Range<i32> {
        0..self.settings.partition_count
    }

    pub(super) fn now(&self) -> Now {
        Now {
            instant: self.clock.now(),
            timestamp: self.clock.wall(),
        }
    }

    fn slot(&self, partition: i32) -> Option<&Mutex<Slot>> {
        self.slots.get(usize::try_from(partition).ok()?)
    }

    /// Looks at a shard.
    pub(super) fn look<R>(
        &self,
        partition: i32,
        look: impl FnOnce(&TransactionCoordinatorShard) -> R,
    ) -> Option<R> {
        self.slot(partition).map(|slot| look(&slot.lock().shard))
    }

    /// Gives a request to its shard and waits for the answer; `None` if it will never come.
    pub(super) async fn request(
        &self,
        transactional_id: &str,
        request: Request,
    ) -> Option<Response> {
        let id = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.change(
            self.partition_for(transactional_id),
            |slot, now, actions| {
                slot.waiting.insert(id, answer);
                slot.shard
                    .handle(now, Event::Request { id, request }, actions);
            },
        );
        answered.await.ok()
    }

    pub(super) fn event(&self, partition: i32, event: Event) {
        self.change(partition, |slot, now, actions| {
            slot.shard.handle(now, event, actions)
        });
    }

    /// Changes a shard and does what it asks for, all under its lock.
    fn change<R>(
        &self,
        partition: i32,
        change: impl FnOnce(&mut Slot, Now, &mut Vec<TransactionAction>) -> R,
    ) -> Option<R> {
        let mut slot = self.slot(partition)?.lock();
        let slot = &mut *slot;
        let mut actions = Vec::new();
        let result = change(slot, self.now(), &mut actions);
        let mut results: VecDeque<Event> = VecDeque::new();
        loop {
            for action in actions.drain(..) {
                match action {
                    TransactionAction::Reply { request, response } => {
                        if let Some(answer) = slot.waiting.remove(&request) {
                            // A client that has gone away needs no answer.
                            let _gone = answer.send(response);
                        }
                    }
                    TransactionAction::Append { append, timeout_ms } => {
                        results.extend(self.append(partition, &append, timeout_ms));
                    }
                    TransactionAction::AllocateProducerId { request } => {
                        results.extend(self.allocate_producer_id(partition, request));
                    }
                    TransactionAction::SendMarkers(markers) => {
                        let transaction_partition = partition;
                        self.tell_sender(SenderEvent::Send {
                            transaction_partition,
                            markers,
                        });
                    }
                    TransactionAction::CancelMarkers => {
                        let transaction_partition = partition;
                        self.tell_sender(SenderEvent::Cancel {
                            transaction_partition,
                        });
                    }
                }
            }
            let Some(event) = results.pop_front() else {
                break;
            };
            slot.shard.handle(self.now(), event, &mut actions);
        }
        self.timer.set(partition, slot.shard.next_deadline());
        Some(result)
    }

    fn tell_sender(&self, event: SenderEvent) {
        if self.markers.send(event).is_err() {
            tracing::debug!("the transaction coordinator is shut down");
        }
    }

    fn append(&self, partition: i32, append: &Append, timeout_ms: i32) -> Option<Event> {
        let token = append.token;
        let done = move |result: AppendResult| Event::AppendDone { token, result };
        let batch = match build_batch(append, Compression::None) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(partition, %error, "a batch of the transaction log cannot be built");
                return Some(done(Err(ErrorCode::UnknownServerError)));
            }
        };
        let (timeout, guard) = (duration_ms(timeout_ms), VerificationGuard::NONE);
        let pending = self
            .log
            .append(partition, REQUIRED_ACKS, timeout, guard, batch);
        self.now_or_later(partition, pending, done)
    }

    fn allocate_producer_id(&self, partition: i32, request: RequestId) -> Option<Event> {
        let done = move |result| Event::ProducerIdAllocated { request, result };
        match self.producer_ids.get() {
            Some(source) => self.now_or_later(partition, source(), done),
            None => Some(done(Err(ErrorCode::CoordinatorLoadInProgress))),
        }
    }

    /// Begins what takes time, here under the shard's lock; its result if it is there at once, else
    /// it comes as an event of its own.
    fn now_or_later<T: Send + 'static>(
        &self,
        partition: i32,
        mut pending: Pending<T>,
        done: impl FnOnce(T) -> Event + Send + 'static,
    ) -> Option<Event> {
        let mut context = Context::from_waker(Waker::noop());
        match pending.as_mut().poll(&mut context) {
            Poll::Ready(result) => Some(done(result)),
            Poll::Pending => {
                let this = Weak::clone(&self.this);
                tokio::spawn(async move {
                    let result = pending.await;
                    if let Some(this) = this.upgrade() {
                        this.event(partition, done(result));
                    }
                });
                None
            }
        }
    }

    /// Reads a partition, and has it served as soon as what was read is replicated; the next one
    /// does not wait for that.
    async fn load(&self, load: Load) {
        let Load {
            partition,
            leader_epoch,
            mut loader,
            elected,
        } = load;
        if (self.partition_count_now)() > self.slots.len() {
            // As in Kafka it stays loading: ids would be looked for in the wrong partitions.
            tracing::error!(
                partition,
                expected = self.slots.len(),
                "not loading transactions: the transaction log has more partitions than when this \
                 broker started"
            );
            return;
        }
        let log = Arc::clone(&self.log);
        let buffer_size = self.settings.load_buffer_size;
        let loaded = tokio::task::spawn_blocking(move || {
            let result = loading::load(&*log, partition, buffer_size, &mut loader);
            (loader, result)
        })
        .await;
        let (loader, result) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(partition, %error, "loading transactions was cut off");
                self.event(partition, Event::Resigned(None));
                return;
            }
        };
        if let Err(error) = result {
            // As in Kafka the partition is served nevertheless.
            tracing::error!(partition, %error, "error loading transactions");
        }
        let mut replicated = self.log.replicated(partition, loader.end_offset());
        let read = Load {
            partition,
            leader_epoch,
            loader,
            elected,
        };
        let mut context = Context::from_waker(Waker::noop());
        match replicated.as_mut().poll(&mut context) {
            Poll::Ready(high_watermark) => self.finish_load(read, high_watermark),
            Poll::Pending => {
                let this = Weak::clone(&self.this);
                tokio::spawn(async move {
                    let high_watermark = replicated.await;
                    if let Some(this) = this.upgrade() {
                        this.finish_load(read, high_watermark);
                    }
                });
            }
        }
    }

    /// What was read is replicated, or never will be under this leadership.
    fn finish_load(&self, read: Load, high_watermark: Result<Offset, ErrorCode>) {
        let Load {
            partition,
            leader_epoch,
            loader,
            elected,
        } = read;
        let high_watermark = match high_watermark {
            Ok(high_watermark) => high_watermark,
            Err(error) => {
                tracing::info!(
                    partition, ?leader_epoch, %error,
                    "giving up loading transactions: what was read will not be replicated from here"
                );
                self.change(partition, |slot, _, _| slot.shard.give_up_load(&loader));
                return;
            }
        };
        let transactional_ids = loader.transactional_ids();
        let outcome = self.change(partition, |slot, now, actions| {
            slot.shard.finish_load(now, loader, high_watermark, actions)
        });
        let is_wanted = match outcome {
            Some(LoadOutcome::Serving) => true,
            Some(LoadOutcome::Overtaken) | None => false,
            Some(LoadOutcome::NotReplicated(_)) => {
                unreachable!("the log tells a high watermark that has reached the offset")
            }
        };
        let milliseconds = self.clock.now().since(elected).as_millis();
        tracing::info!(
            partition,
            ?leader_epoch,
            transactional_ids,
            milliseconds,
            is_wanted,
            "finished loading transactions"
        );
    }
}

impl LeadershipListener for TransactionCoordinator {
    fn on_election(&self, partition: &TopicPartition, leader_epoch: LeaderEpoch) {
        if partition.topic.as_str() != TRANSACTION_STATE_TOPIC {
            return;
        }
        let partition = partition.partition;
        let begun = self.change(partition, |slot, _, actions| {
            slot.shard.begin_load(leader_epoch, actions)
        });
        match begun {
            Some(Some(loader)) => {
                if self
                    .loads
                    .send(Load {
                        partition,
                        leader_epoch,
                        loader,
                        elected: self.clock.now(),
                    })
                    .is_err()
                {
                    tracing::debug!("the transaction coordinator is shut down");
                }
            }
            Some(None) => {
                tracing::info!(
                    partition,
                    ?leader_epoch,
                    "not loading transactions: nothing new"
                );
            }
            None => tracing::error!(
                partition,
                "the transaction log has more partitions than when this broker started"
            ),
        }
    }

    fn on_resignation(&self, partition: &TopicPartition, leader_epoch: Option<LeaderEpoch>) {
        if partition.topic.as_str() == TRANSACTION_STATE_TOPIC {
            tracing::info!(%partition, ?leader_epoch, "unloading transactions");
            self.event(partition.partition, Event::Resigned(leader_epoch));
        }
    }

    fn on_partitions_deleted(&self, _partitions: &[TopicPartition]) {}
}

impl Drop for TransactionCoordinator {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().drain(..) {
            task.abort();
        }
    }
}

async fn load_one_by_one(
    this: Weak<TransactionCoordinator>,
    mut queue: mpsc::UnboundedReceiver<Load>,
) {
    while let Some(load) = queue.recv().await {
        let Some(this) = this.upgrade() else { return };
        this.load(load).await;
    }
}

async fn keep_deadlines(
    this: Weak<TransactionCoordinator>,
    timer: Arc<CoordinatorTimer>,
    clock: Clock,
) {
    loop {
        for partition in timer.take_due(clock.now()) {
            let Some(coordinator) = this.upgrade() else {
                return;
            };
            coordinator.event(partition, Event::DeadlinesDue);
        }
        timer.wait(clock).await;
    }
}

/// Gives all shards an event again and again.
async fn at_intervals(
    this: Weak<TransactionCoordinator>,
    interval: Duration,
    event: impl Fn(&TransactionCoordinator) -> Event,
) {
    loop {
        tokio::time::sleep(interval.max(SHORTEST_INTERVAL)).await;
        let Some(coordinator) = this.upgrade() else {
            return;
        };
        for partition in coordinator.partitions() {
            coordinator.event(partition, event(&coordinator));
        }
    }
}
