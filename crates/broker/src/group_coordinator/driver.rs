//! Shards, their locks, and the tasks around them.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use ottla_coordinator_runtime::{
    Action, Append, AppendResult, Durability, Now, RequestId, TransactionOutcome,
};
use ottla_group_coordinator::{
    Event, Gauges, GroupAction, GroupCoordinatorShard, Request, Response,
};
use ottla_model::ids::GROUP_METADATA_TOPIC;
use ottla_model::java_hash::coordinator_partition;
use ottla_model::{ErrorCode, LeaderEpoch, ProducerId, TopicPartition};
use ottla_storage::VerificationGuard;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::leadership::News;
use super::loading;
use super::settings::Settings;
use crate::clock::Clock;
use crate::coordinator_log::{CoordinatorLog, build_batch};
use crate::coordinator_timer::CoordinatorTimer;
use crate::replica_manager::LeadershipListener;

/// The group coordinator of this broker.
pub struct GroupCoordinator {
    this: Weak<Self>,
    settings: Settings,
    clock: Clock,
    log: Arc<dyn CoordinatorLog>,
    slots: Vec<Mutex<Slot>>,
    next_request: AtomicU64,
    timer: Arc<CoordinatorTimer>,
    news: mpsc::UnboundedSender<News>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A shard and who waits for its answers.
struct Slot {
    shard: GroupCoordinatorShard,
    waiting: HashMap<RequestId, oneshot::Sender<Response>>,
    /// Borne by the transactional batch of the change under way.
    guard: VerificationGuard,
}

impl std::fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCoordinator")
            .field("partitions", &self.slots.len())
            .finish()
    }
}

impl GroupCoordinator {
    /// Starts the coordinator, which leads nothing yet. Must be called within a tokio runtime.
    pub(crate) fn start(
        settings: Settings,
        clock: Clock,
        log: Arc<dyn CoordinatorLog>,
    ) -> Arc<Self> {
        let group_config = Arc::new(settings.group.clone());
        let slots = (0..settings.partition_count)
            .map(|_| {
                Mutex::new(Slot {
                    shard: GroupCoordinatorShard::new(Arc::clone(&group_config)),
                    waiting: HashMap::new(),
                    guard: VerificationGuard::NONE,
                })
            })
            .collect();
        let (news, queue) = mpsc::unbounded_channel();
        let coordinator = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            settings,
            clock,
            log,
            slots,
            next_request: AtomicU64::new(0),
            timer: Arc::default(),
            news,
            tasks: Mutex::new(Vec::new()),
        });
        *coordinator.tasks.lock() = vec![
            tokio::spawn(follow_news(Weak::clone(&coordinator.this), queue)),
            tokio::spawn(keep_deadlines(
                Weak::clone(&coordinator.this),
                Arc::clone(&coordinator.timer),
                clock,
            )),
            tokio::spawn(expire_offsets(Weak::clone(&coordinator.this))),
        ];
        coordinator
    }

    /// Answers COORDINATOR_NOT_AVAILABLE from now on and ends the tasks.
    pub(crate) fn shut_down(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        for partition in self.partitions() {
            self.event(partition, Event::ShutDown);
        }
    }

    /// The partition that coordinates a group.
    pub(crate) fn partition_for(&self, group_id: &str) -> i32 {
        coordinator_partition(group_id, self.settings.partition_count)
    }

    /// A transaction's marker is written to partitions of the offsets topic.
    pub fn on_transaction_completed(
        &self,
        producer_id: ProducerId,
        partitions: Vec<i32>,
        outcome: TransactionOutcome,
    ) {
        self.tell(News::TransactionCompleted(producer_id, partitions, outcome));
    }

    /// Numbers of now, over all partitions.
    pub(crate) fn gauges(&self) -> Gauges {
        let mut all = Gauges::default();
        for slot in &self.slots {
            all += slot.lock().shard.gauges();
        }
        all
    }

    fn tell(&self, news: News) {
        if self.news.send(news).is_err() {
            tracing::debug!("the group coordinator is shut down");
        }
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
        look: impl FnOnce(&GroupCoordinatorShard) -> R,
    ) -> Option<R> {
        self.slot(partition).map(|slot| look(&slot.lock().shard))
    }

    /// Gives a request to its shard and waits for the answer; `None` if it will never come.
    pub(super) async fn request(&self, group_id: &str, request: Request) -> Option<Response> {
        self.verified_request(group_id, request, VerificationGuard::NONE)
            .await
    }

    /// The same for a request whose transaction was verified.
    pub(super) async fn verified_request(
        &self,
        group_id: &str,
        request: Request,
        guard: VerificationGuard,
    ) -> Option<Response> {
        let id = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.change(self.partition_for(group_id), |slot, now, actions| {
            slot.waiting.insert(id, answer);
            slot.guard = guard;
            slot.shard
                .handle(now, Event::Request { id, request }, actions);
        });
        answered.await.ok()
    }

    /// Passes the gate for a transactional commit, whose transaction is to be verified next.
    pub(crate) fn begin_transactional_commit(&self, group_id: &Arc<str>) -> Result<(), ErrorCode> {
        self.change(self.partition_for(group_id), |slot, now, _| {
            slot.shard.begin_transactional_commit(now, group_id)
        })
        .unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    fn event(&self, partition: i32, event: Event) {
        self.change(partition, |slot, now, actions| {
            slot.shard.handle(now, event, actions)
        });
    }

    /// Changes a shard and does what it asks for, all under its lock.
    fn change<R>(
        &self,
        partition: i32,
        change: impl FnOnce(&mut Slot, Now, &mut Vec<GroupAction>) -> R,
    ) -> Option<R> {
        let mut slot = self.slot(partition)?.lock();
        let slot = &mut *slot;
        let mut actions = Vec::new();
        let result = change(slot, self.now(), &mut actions);
        let mut results: VecDeque<Event> = VecDeque::new();
        loop {
            for action in actions.drain(..) {
                match action {
                    Action::Reply { request, response } => {
                        if let Some(answer) = slot.waiting.remove(&request) {
                            // A client that has gone away needs no answer.
                            let _gone = answer.send(response);
                        }
                    }
                    Action::Append(append) => {
                        results.extend(self.append(partition, &append, slot.guard));
                    }
                }
            }
            let Some(event) = results.pop_front() else {
                break;
            };
            slot.shard.handle(self.now(), event, &mut actions);
        }
        slot.guard = VerificationGuard::NONE;
        self.timer.set(partition, slot.shard.next_deadline());
        Some(result)
    }

    /// Appends; the result if it is there at once, else it comes as an event of its own.
    fn append(&self, partition: i32, append: &Append, guard: VerificationGuard) -> Option<Event> {
        let token = append.token;
        let done = move |result: AppendResult| Event::AppendDone { token, result };
        let batch = match build_batch(append, self.settings.compression) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(partition, %error, "a batch of the offsets topic cannot be built");
                return Some(done(Err(ErrorCode::UnknownServerError)));
            }
        };
        let required_acks = match append.durability {
            Durability::Required => self.settings.required_acks,
            Durability::Local => 0,
        };
        let timeout = self.settings.commit_timeout;
        let guard = if append.transactional {
            guard
        } else {
            VerificationGuard::NONE
        };
        let mut pending = self
            .log
            .append(partition, required_acks, timeout, guard, batch);
        // The first poll appends, here under the shard's lock.
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut pending).poll(&mut context) {
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

    /// Loads a partition and begins to serve it.
    async fn load(&self, partition: i32, leader_epoch: LeaderEpoch) {
        let begun = self.change(partition, |slot, _, _| slot.shard.begin_load(leader_epoch));
        let Some(Some(mut loader)) = begun else {
            tracing::info!(partition, ?leader_epoch, "not loading groups: nothing new");
            return;
        };
        let started = self.clock.now();
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
                tracing::error!(partition, %error, "loading groups was cut off");
                self.event(partition, Event::Resigned(None));
                return;
            }
        };
        if let Err(error) = result {
            // As in Kafka the partition is served nevertheless.
            tracing::error!(partition, %error, "error loading offsets and groups");
        }
        self.change(partition, |slot, now, actions| {
            slot.shard.finish_load(now, loader, actions);
        });
        let milliseconds = self.clock.now().since(started).as_millis();
        tracing::info!(
            partition,
            ?leader_epoch,
            milliseconds,
            "finished loading groups"
        );
    }
}

impl LeadershipListener for GroupCoordinator {
    fn on_election(&self, partition: &TopicPartition, leader_epoch: LeaderEpoch) {
        if partition.topic.as_str() == GROUP_METADATA_TOPIC {
            self.tell(News::Elected(partition.partition, leader_epoch));
        }
    }

    fn on_resignation(&self, partition: &TopicPartition, leader_epoch: Option<LeaderEpoch>) {
        if partition.topic.as_str() == GROUP_METADATA_TOPIC {
            self.tell(News::Resigned(partition.partition, leader_epoch));
        }
    }

    fn on_partitions_deleted(&self, partitions: &[TopicPartition]) {
        self.tell(News::PartitionsDeleted(partitions.to_vec()));
    }
}

impl Drop for GroupCoordinator {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().drain(..) {
            task.abort();
        }
    }
}

async fn follow_news(this: Weak<GroupCoordinator>, mut queue: mpsc::UnboundedReceiver<News>) {
    while let Some(news) = queue.recv().await {
        let Some(this) = this.upgrade() else { return };
        match news {
            News::Elected(partition, leader_epoch) => this.load(partition, leader_epoch).await,
            News::Resigned(partition, leader_epoch) => {
                tracing::info!(partition, ?leader_epoch, "unloading groups");
                this.event(partition, Event::Resigned(leader_epoch));
            }
            News::PartitionsDeleted(deleted) => {
                for partition in this.partitions() {
                    this.event(partition, Event::PartitionsDeleted(deleted.clone()));
                }
            }
            News::TransactionCompleted(producer_id, partitions, outcome) => {
                for partition in partitions {
                    this.event(
                        partition,
                        Event::TransactionCompleted {
                            producer_id,
                            outcome,
                        },
                    );
                }
            }
        }
    }
}

async fn keep_deadlines(this: Weak<GroupCoordinator>, timer: Arc<CoordinatorTimer>, clock: Clock) {
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

async fn expire_offsets(this: Weak<GroupCoordinator>) {
    loop {
        let Some(coordinator) = this.upgrade() else {
            return;
        };
        for partition in coordinator.partitions() {
            coordinator.event(partition, Event::ExpireOffsets);
        }
        let interval = coordinator.settings.retention_check_interval;
        drop(coordinator);
        tokio::time::sleep(interval.max(std::time::Duration::from_millis(1))).await;
    }
}
