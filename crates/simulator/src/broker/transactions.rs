//! The transaction coordinator's driver, markers on both sides, and verification (KIP-890).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_controller::{Answer, ApiRequest};
use ottla_coordinator_runtime::{AppendToken, Now, RequestId, TransactionOutcome};
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::{BrokerId, ErrorCode, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition};
use ottla_record::{
    BatchIterator, BatchView, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, RecordBatchBuilder,
    TransactionResult, end_transaction_marker,
};
use ottla_replication::partition::Required;
use ottla_storage::{FetchIsolation, Log, VerificationGuard};
use ottla_transaction_coordinator::{
    Answers, Event, ExpectedProducer, LoadOutcome, Loader, MarkerDestination, MarkerSender,
    Request, SendToken, SenderAction, SenderEvent, Status, TransactionAction,
    TransactionCoordinatorShard, TransactionMarkers,
};

use super::leading::Waiter;
use super::{Io, Process, Purpose};
use crate::message::{CallId, Lane, OffsetCommit, Request as Call, Response};

/// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
const ABORT_INTERVAL: Duration = Duration::from_secs(1);
/// `request.timeout.ms`
const MARKER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the log of a partition is read.
const LOAD_TIME: Duration = Duration::from_millis(20);
/// Bytes read at once.
pub(super) const READ_BYTES_MAX: usize = 1 << 20;

/// Everything about transactions that one broker has in memory.
pub(super) struct Transactions {
    shards: BTreeMap<i32, TransactionCoordinatorShard>,
    sender: MarkerSender,
    /// News of leadership that no shard has heard yet.
    leadership: VecDeque<(i32, Leadership)>,
    loads: Vec<(Instant, i32, Loader)>,
    /// Partitions that are read, but not replicated as far as they were read.
    unreplicated: Vec<(i32, Loader)>,
    events: VecDeque<(i32, Event)>,
    to_sender: VecDeque<SenderEvent>,
    callers: BTreeMap<RequestId, CallId>,
    next_request: u64,
    next_abort: Instant,
    markers: BTreeMap<CallId, Markers>,
    /// Producer ids at hand.
    block: std::ops::Range<i64>,
    awaiting_producer_id: VecDeque<(i32, RequestId)>,
    asks_for_producer_ids: bool,
}

enum Leadership {
    Elected(LeaderEpoch),
    Resigned(Option<LeaderEpoch>),
}

/// An append of a shard.
pub(super) struct Appended {
    partition: i32,
    token: AppendToken,
}

/// One marker of a request.
pub(super) struct MarkerPlace {
    call: CallId,
    key: (ProducerId, TopicPartition),
}

/// A request to write markers.
struct Markers {
    left: usize,
    answers: Answers,
    outcomes: BTreeMap<(ProducerId, TopicPartition), TransactionOutcome>,
}

/// What waits for the answer of its transaction's coordinator.
pub(super) struct Verification {
    call: CallId,
    partition: TopicPartition,
    guard: VerificationGuard,
    work: Unverified,
}

pub(super) enum Unverified {
    Records(Bytes),
    Offset(OffsetCommit),
}

impl Transactions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            shards: BTreeMap::new(),
            sender: MarkerSender::new(),
            leadership: VecDeque::new(),
            loads: Vec::new(),
            unreplicated: Vec::new(),
            events: VecDeque::new(),
            to_sender: VecDeque::new(),
            callers: BTreeMap::new(),
            next_request: 0,
            next_abort: now + ABORT_INTERVAL,
            markers: BTreeMap::new(),
            block: 0..0,
            awaiting_producer_id: VecDeque::new(),
            asks_for_producer_ids: false,
        }
    }

    pub(super) fn elected(&mut self, tp: &TopicPartition, epoch: LeaderEpoch) {
        self.hear(tp, Leadership::Elected(epoch));
    }

    pub(super) fn resigned(&mut self, tp: &TopicPartition, epoch: Option<LeaderEpoch>) {
        self.hear(tp, Leadership::Resigned(epoch));
    }

    fn hear(&mut self, tp: &TopicPartition, news: Leadership) {
        if tp.topic.as_str() == TRANSACTION_STATE_TOPIC {
            self.leadership.push_back((tp.partition, news));
        }
    }

    pub(super) fn appended(&mut self, append: Appended, error: ErrorCode, base_offset: Offset) {
        let result = if error.is_none() {
            Ok(base_offset)
        } else {
            Err(error)
        };
        let token = append.token;
        self.events
            .push_back((append.partition, Event::AppendDone { token, result }));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let abort = (!self.shards.is_empty()).then_some(self.next_abort);
        let shards = self.shards.values();
        shards
            .filter_map(TransactionCoordinatorShard::next_deadline)
            .chain(self.sender.next_deadline())
            .chain(self.loads.iter().map(|(at, ..)| *at))
            .chain(abort)
            .min()
    }

    /// Whether every shard of these partitions has nothing left to finish.
    fn is_idle(&self, leads: impl Fn(i32) -> bool) -> bool {
        let mut shards = self.shards.iter().filter(|(id, _)| leads(**id));
        shards.all(|(_, shard)| {
            let gauges = shard.gauges();
            shard.status() != Status::Loading && gauges.ongoing == 0 && gauges.prepared == 0
        })
    }

    fn shard(&mut self, partition: i32) -> &mut TransactionCoordinatorShard {
        self.shards
            .entry(partition)
            .or_insert_with(|| TransactionCoordinatorShard::new(Arc::default()))
    }
}

// The coordinator.
impl Process {
    /// Whether no transaction of the partitions that this broker really leads waits for anything.
    /// It may take itself for the leader of others: as in Kafka nobody tells it if it is reassigned
    /// away while the controller counts it as dead. There it can write nothing.
    pub(crate) fn transactions_are_idle(&self, leads: impl Fn(&TopicPartition) -> bool) -> bool {
        let leads = |id| leads(&TopicPartition::new(TRANSACTION_STATE_TOPIC, id));
        self.transactions.is_idle(leads)
    }

    pub(super) fn on_transaction_request(&mut self, call: CallId, request: Request) {
        let transactional_id = match &request {
            Request::InitProducerId {
                transactional_id, ..
            }
            | Request::AddPartitions {
                transactional_id, ..
            }
            | Request::EndTransaction {
                transactional_id, ..
            } => transactional_id,
        };
        let tp = self.settings.transaction_partition(transactional_id);
        let id = RequestId(self.transactions.next_request);
        self.transactions.next_request += 1;
        self.transactions.callers.insert(id, call);
        let event = Event::Request { id, request };
        self.transactions.events.push_back((tp.partition, event));
    }

    /// Answers who can be answered and lets the coordinator do what is due, until nothing is left.
    pub(super) fn coordinate_transactions(&mut self, io: &mut Io<'_>) {
        let now = io.now;
        if self.transactions.next_abort <= now {
            self.transactions.next_abort = now + ABORT_INTERVAL;
            for partition in self.shards_here() {
                let event = Event::AbortTimedOutTransactions;
                self.transactions.events.push_back((partition, event));
            }
        }
        for (partition, shard) in &self.transactions.shards {
            if shard.next_deadline().is_some_and(|at| at <= now) {
                let event = Event::DeadlinesDue;
                self.transactions.events.push_back((*partition, event));
            }
        }
        if self
            .transactions
            .sender
            .next_deadline()
            .is_some_and(|at| at <= now)
        {
            let due = SenderEvent::DeadlinesDue;
            self.transactions.to_sender.push_back(due);
        }
        loop {
            self.complete_waiting(io);
            self.follow_leadership(io);
            self.finish_loads(io);
            if self.coordinate_groups(io) {
                continue;
            }
            let Some((partition, event)) = self.transactions.events.pop_front() else {
                let Some(event) = self.transactions.to_sender.pop_front() else {
                    return;
                };
                self.tell_sender(event, io);
                continue;
            };
            let mut actions = Vec::new();
            let shard = self.transactions.shard(partition);
            shard.handle(both(io), event, &mut actions);
            self.perform_transaction_actions(partition, actions, io);
        }
    }

    fn shards_here(&self) -> Vec<i32> {
        self.transactions.shards.keys().copied().collect()
    }

    fn follow_leadership(&mut self, io: &mut Io<'_>) {
        while let Some((partition, news)) = self.transactions.leadership.pop_front() {
            let mut actions = Vec::new();
            let shard = self.transactions.shard(partition);
            match news {
                Leadership::Elected(epoch) => {
                    if let Some(loader) = shard.begin_load(epoch, &mut actions) {
                        let at = io.now + LOAD_TIME;
                        self.transactions.loads.push((at, partition, loader));
                    }
                }
                Leadership::Resigned(epoch) => {
                    shard.handle(both(io), Event::Resigned(epoch), &mut actions);
                }
            }
            self.perform_transaction_actions(partition, actions, io);
        }
    }

    fn finish_loads(&mut self, io: &mut Io<'_>) {
        let loads = std::mem::take(&mut self.transactions.loads);
        for (at, partition, mut loader) in loads {
            if at > io.now {
                self.transactions.loads.push((at, partition, loader));
                continue;
            }
            if let Err(error) = self.read_transactions(partition, &mut loader) {
                self.halted.get_or_insert(error);
                return;
            }
            self.transactions.unreplicated.push((partition, loader));
        }
        for (partition, loader) in std::mem::take(&mut self.transactions.unreplicated) {
            let tp = TopicPartition::new(TRANSACTION_STATE_TOPIC, partition);
            let high_watermark = self.log(&tp).map_or(0, Log::high_watermark);
            let mut actions = Vec::new();
            let shard = self.transactions.shard(partition);
            let outcome = shard.finish_load(both(io), loader, high_watermark, &mut actions);
            if let LoadOutcome::NotReplicated(loader) = outcome {
                self.transactions.unreplicated.push((partition, loader));
            }
            self.perform_transaction_actions(partition, actions, io);
        }
    }

    fn read_transactions(&self, partition: i32, loader: &mut Loader) -> Result<(), String> {
        let tp = TopicPartition::new(TRANSACTION_STATE_TOPIC, partition);
        self.read_back(&tp, |batch| {
            replay(batch, loader)?;
            loader.read_to(batch.last_offset() + 1);
            Ok(())
        })
    }

    /// Shows every batch of a coordinator's log, up to its end and not only to the high watermark.
    pub(super) fn read_back(
        &self,
        tp: &TopicPartition,
        mut show: impl FnMut(&BatchView<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(log) = self.log(tp) else {
            return Ok(());
        };
        let mut next = log.log_start_offset();
        while next < log.log_end_offset() {
            let isolation = FetchIsolation::LogEnd;
            let read = log.reader().read(next, READ_BYTES_MAX, isolation, true);
            let slice = read.map_err(|error| error.to_string())?.slice;
            let bytes = slice
                .ok_or_else(|| format!("{tp}: nothing at {next}"))?
                .read()
                .map_err(|error| error.to_string())?;
            for batch in BatchIterator::new(&bytes) {
                let batch = batch.map_err(|error| error.to_string())?;
                next = batch.last_offset() + 1;
                show(&batch)?;
            }
        }
        Ok(())
    }

    fn perform_transaction_actions(
        &mut self,
        partition: i32,
        actions: Vec<TransactionAction>,
        io: &mut Io<'_>,
    ) {
        let transaction_partition = partition;
        for action in actions {
            match action {
                TransactionAction::Reply { request, response } => {
                    if let Some(call) = self.transactions.callers.remove(&request) {
                        io.reply(call, Response::Transaction(response));
                    }
                }
                TransactionAction::Append { append, timeout_ms } => {
                    let mut builder = RecordBatchBuilder::new(0).producer(
                        append.producer_id,
                        append.producer_epoch,
                        append.base_sequence,
                    );
                    for record in &append.records {
                        builder
                            .append(append.timestamp, Some(&record.key), record.value.as_deref())
                            .expect("a few small records fit in a batch");
                    }
                    let batch = builder.build().expect("a few small records make a batch");
                    let tp = TopicPartition::new(TRANSACTION_STATE_TOPIC, partition);
                    let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
                    let token = append.token;
                    let waiter = Waiter::Coordinator(Appended { partition, token });
                    let guard = VerificationGuard::NONE;
                    let refused = self.append_for(&tp, waiter, guard, timeout, batch, io);
                    if let Err((_, error)) = refused {
                        let result = Err(error);
                        let event = Event::AppendDone { token, result };
                        self.transactions.events.push_back((partition, event));
                    }
                }
                TransactionAction::AllocateProducerId { request } => {
                    self.transactions
                        .awaiting_producer_id
                        .push_back((partition, request));
                    self.give_producer_ids(io);
                }
                TransactionAction::SendMarkers(markers) => {
                    self.transactions.to_sender.push_back(SenderEvent::Send {
                        transaction_partition,
                        markers,
                    });
                }
                TransactionAction::CancelMarkers => {
                    self.transactions.to_sender.push_back(SenderEvent::Cancel {
                        transaction_partition,
                    });
                }
            }
        }
    }

    fn give_producer_ids(&mut self, io: &mut Io<'_>) {
        self.hand_out_producer_ids();
        let transactions = &mut self.transactions;
        if transactions.awaiting_producer_id.is_empty() || transactions.asks_for_producer_ids {
            return;
        }
        let view = self.controller.view();
        let Some(controller) = view.active_controller_id.some() else {
            return self.refuse_producer_ids();
        };
        let request = Call::Controller(ApiRequest::AllocateProducerIds {
            broker: self.id,
            broker_epoch: view.broker_epoch,
        });
        self.transactions.asks_for_producer_ids = true;
        let call = io.call(controller, Lane::ToController, request);
        self.calls.insert(call, Purpose::ProducerIds);
    }

    fn hand_out_producer_ids(&mut self) {
        let transactions = &mut self.transactions;
        while !transactions.awaiting_producer_id.is_empty() {
            let Some(id) = transactions.block.next() else {
                return;
            };
            if let Some((partition, request)) = transactions.awaiting_producer_id.pop_front() {
                let result = Ok(ProducerId(id));
                let event = Event::ProducerIdAllocated { request, result };
                transactions.events.push_back((partition, event));
            }
        }
    }

    fn refuse_producer_ids(&mut self) {
        let transactions = &mut self.transactions;
        for (partition, request) in transactions.awaiting_producer_id.drain(..) {
            let result = Err(ErrorCode::CoordinatorLoadInProgress);
            let event = Event::ProducerIdAllocated { request, result };
            transactions.events.push_back((partition, event));
        }
    }

    pub(super) fn on_producer_ids(&mut self, response: Option<Response>) {
        self.transactions.asks_for_producer_ids = false;
        match response {
            Some(Response::Controller(Answer::AllocateProducerIds(Ok((first, length))))) => {
                self.transactions.block = first.0..first.0 + i64::from(length);
                self.hand_out_producer_ids();
            }
            _ => self.refuse_producer_ids(),
        }
    }
}

// Markers.
impl Process {
    fn tell_sender(&mut self, event: SenderEvent, io: &mut Io<'_>) {
        let mut actions = Vec::new();
        let metadata = &self.metadata;
        // One that is not known was deleted, but only once the controller has described the
        // cluster.
        let is_described = metadata.knows_topic(TRANSACTION_STATE_TOPIC);
        let leaders = |tp: &TopicPartition| match metadata.leader(tp) {
            _ if !metadata.knows(tp) && is_described => MarkerDestination::UnknownPartition,
            Some(leader) if metadata.is_alive(leader) => MarkerDestination::Leader(leader),
            _ => MarkerDestination::NotAvailable,
        };
        self.transactions
            .sender
            .handle(io.now, event, leaders, &mut actions);
        for action in actions {
            match action {
                SenderAction::Tell {
                    transaction_partition,
                    event,
                } => self
                    .transactions
                    .events
                    .push_back((transaction_partition, event)),
                SenderAction::Send {
                    token,
                    broker,
                    markers,
                } => {
                    let call = io.call(broker, Lane::Markers, Call::WriteMarkers(markers));
                    self.calls.insert(call, Purpose::Markers(token));
                }
            }
        }
    }

    pub(super) fn on_markers_answered(&mut self, token: SendToken, response: Option<Response>) {
        let answers = match response {
            Some(Response::Markers(answers)) => Some(answers),
            _ => None,
        };
        let answered = SenderEvent::Answered { token, answers };
        self.transactions.to_sender.push_back(answered);
    }

    pub(super) fn on_write_markers(
        &mut self,
        call: CallId,
        markers: &[TransactionMarkers],
        io: &mut Io<'_>,
    ) {
        let left = markers.iter().map(|marker| marker.partitions.len()).sum();
        let outcomes = markers.iter().flat_map(|marker| {
            let of = |tp: &TopicPartition| ((marker.key.producer_id, tp.clone()), marker.outcome);
            marker.partitions.iter().map(of)
        });
        let waiting = Markers {
            left,
            answers: Answers::new(),
            outcomes: outcomes.collect(),
        };
        self.transactions.markers.insert(call, waiting);
        for marker in markers {
            for tp in &marker.partitions {
                let key = (marker.key.producer_id, tp.clone());
                let place = MarkerPlace { call, key };
                if self.replicas.get(tp).is_none_or(|r| r.log.is_none()) {
                    self.on_marker_done(place, ErrorCode::UnknownTopicOrPartition, io);
                    continue;
                }
                let result = match marker.outcome {
                    TransactionOutcome::Commit => TransactionResult::Commit,
                    TransactionOutcome::Abort => TransactionResult::Abort,
                };
                let records = end_transaction_marker(
                    0,
                    io.wall,
                    LeaderEpoch::NONE,
                    marker.key.producer_id,
                    marker.key.producer_epoch,
                    EndTransactionMarker {
                        result,
                        coordinator_epoch: marker.key.coordinator_epoch.0,
                    },
                )
                .expect("the clock is not negative");
                let waiter = Waiter::Marker(place);
                let refused = self.append_for(
                    tp,
                    waiter,
                    VerificationGuard::NONE,
                    MARKER_TIMEOUT,
                    records,
                    io,
                );
                if let Err((Waiter::Marker(place), error)) = refused {
                    self.on_marker_done(place, error, io);
                }
            }
        }
    }

    pub(super) fn on_marker_done(&mut self, place: MarkerPlace, error: ErrorCode, io: &mut Io<'_>) {
        let Some(markers) = self.transactions.markers.get_mut(&place.call) else {
            return;
        };
        if error.is_none()
            && let Some(outcome) = markers.outcomes.get(&place.key)
        {
            let (producer_id, tp) = &place.key;
            self.groups.completed(tp, *producer_id, *outcome);
        }
        markers.answers.insert(place.key, error);
        markers.left -= 1;
        if markers.left == 0
            && let Some(markers) = self.transactions.markers.remove(&place.call)
        {
            io.reply(place.call, Response::Markers(markers.answers));
        }
    }
}

// Verification.
impl Process {
    pub(super) fn verify(
        &mut self,
        transactional_id: &str,
        producer: ExpectedProducer,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let coordinator = self.settings.transaction_partition(transactional_id);
        self.transactions
            .shard(coordinator.partition)
            .verify_partitions(transactional_id, producer, partitions)
    }

    pub(super) fn on_transactional_produce(
        &mut self,
        call: CallId,
        transactional_id: &Arc<str>,
        tp: &TopicPartition,
        records: Bytes,
        io: &mut Io<'_>,
    ) {
        let batch = BatchView::parse(&records).expect("clients send whole batches");
        let producer = ExpectedProducer {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
        };
        let sequence = batch.base_sequence;
        let work = Unverified::Records(records);
        self.verify_first(call, transactional_id, producer, sequence, tp, work, io);
    }

    /// Does some work once the transaction's coordinator says that its partition is in it.
    #[allow(
        clippy::too_many_arguments,
        reason = "records and offsets have no more in common"
    )]
    pub(super) fn verify_first(
        &mut self,
        call: CallId,
        transactional_id: &Arc<str>,
        producer: ExpectedProducer,
        sequence: i32,
        tp: &TopicPartition,
        work: Unverified,
        io: &mut Io<'_>,
    ) {
        let replica = self.replicas.get_mut(tp);
        let led = replica.filter(|replica| replica.partition.is_leader());
        let guard = led.and_then(|replica| replica.log.as_mut()).map_or(
            // The append is refused.
            VerificationGuard::NONE,
            |log| {
                let (id, epoch) = (producer.producer_id, producer.producer_epoch);
                log.maybe_start_transaction_verification(id, sequence, epoch, io.wall)
            },
        );
        let waiting = Verification {
            call,
            partition: tp.clone(),
            guard,
            work,
        };
        if guard == VerificationGuard::NONE {
            return self.go_on(waiting, io);
        }
        let partitions = BTreeSet::from([tp.clone()]);
        let coordinator = self.settings.transaction_partition(transactional_id);
        let alive = |id: &BrokerId| self.metadata.is_alive(*id);
        match self.metadata.leader(&coordinator).filter(alive) {
            None => self.on_verified(waiting, None, io),
            Some(broker) if broker == self.id => {
                let answer = self.verify(transactional_id, producer, &partitions);
                self.on_verified(waiting, Some(Response::Verified(answer)), io);
            }
            Some(broker) => {
                let request = Call::Verify {
                    transactional_id: Arc::clone(transactional_id),
                    producer,
                    partitions,
                };
                let call = io.call(broker, Lane::Verification, request);
                self.calls.insert(call, Purpose::Verification(waiting));
            }
        }
    }

    fn go_on(&mut self, waiting: Verification, io: &mut Io<'_>) {
        let Verification {
            call,
            partition,
            guard,
            work,
        } = waiting;
        match work {
            Unverified::Records(records) => {
                let required = (Required::InSyncReplicas, guard);
                self.on_produce(call, &partition, required, records, io);
            }
            Unverified::Offset(commit) => self.commit_offset(call, commit, guard, io),
        }
    }

    pub(super) fn on_verified(
        &mut self,
        waiting: Verification,
        response: Option<Response>,
        io: &mut Io<'_>,
    ) {
        let error = match response {
            Some(Response::Verified(answers)) => answers
                .first()
                .map_or(ErrorCode::None, |(_, answer)| *answer),
            _ => ErrorCode::NetworkException,
        };
        let told = match error {
            ErrorCode::None => return self.go_on(waiting, io),
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            error => error,
        };
        if let Unverified::Offset(_) = waiting.work {
            return Self::refuse_offset(waiting.call, told, io);
        }
        let told = match told {
            ErrorCode::ConcurrentTransactions
            | ErrorCode::NetworkException
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
            error => error,
        };
        let response = Response::Produce {
            error: told,
            base_offset: -1,
            leader_epoch: LeaderEpoch::NONE,
        };
        io.reply(waiting.call, response);
    }
}

pub(super) fn both(io: &Io<'_>) -> Now {
    Now {
        instant: io.now,
        timestamp: io.wall,
    }
}

fn replay(batch: &BatchView<'_>, loader: &mut Loader) -> Result<(), String> {
    let text = |error: ottla_record::InvalidRecords| error.to_string();
    let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(text)?;
    for record in records.iter().map_err(text)? {
        let record = record.map_err(text)?;
        let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
        let value = record.value.map(Bytes::copy_from_slice);
        loader
            .replay(key, value)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
