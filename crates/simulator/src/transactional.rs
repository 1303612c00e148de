//! A producer with a transactional id: writes to many partitions, commits or aborts, is fenced by
//! others of its id and fences them, crashes and sleeps in the middle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, TopicPartition};
use ottla_record::RecordBatchBuilder;
use ottla_replication::partition::Required;
use ottla_transaction_coordinator::{ExpectedProducer, Request as Ask, Response as Told};

use crate::checker::{Checker, Violation};
use crate::client::{Next, RecordId, find_leader};
use crate::message::{OffsetCommit, Request, Response};
use crate::settings::Settings;
use crate::transaction_checker::TransactionName;
use crate::world::World;

/// Batches of one transaction, at most.
const BATCHES_MAX: u64 = 5;
/// How often a step of a transaction is the last one of its client, in 1000.
const CRASH_PERMILLE: u64 = 15;
/// How often a client sleeps in the middle, in 1000.
const SLEEP_PERMILLE: u64 = 15;
/// How often a transaction commits an offset, in 100.
const OFFSET_PERCENT: u64 = 50;
/// How often a client asks what offset is committed before it begins, in 100.
const OFFSET_FETCH_PERCENT: u64 = 30;
/// How long a batch is tried again before the transaction is given up.
const DELIVERY_TRIES: u32 = 20;

pub(crate) struct TransactionalProducer {
    number: u32,
    transactional_id: Arc<str>,
    /// The partition of `__transaction_state`.
    coordinator: TopicPartition,
    /// The partition of `__consumer_offsets`.
    offsets: TopicPartition,
    partitions: Vec<TopicPartition>,
    timeout: Duration,
    leaders: BTreeMap<TopicPartition, BrokerId>,
    /// Whose leader is being asked for.
    asks_for: Option<TopicPartition>,
    producer: Option<ExpectedProducer>,
    sequences: BTreeMap<TopicPartition, i32>,
    records: u64,
    transactions: u64,
    /// The offset that is to be committed with the transaction.
    offset: Option<RecordId>,
    step: Step,
    pub(crate) is_stopping: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// To be told an epoch: a new one of its own, or a first one.
    Initialize {
        keeps: bool,
    },
    Ready,
    Add(VecDeque<Batch>),
    Produce {
        left: VecDeque<Batch>,
        tries: u32,
    },
    /// To make the group's partition a part of the transaction.
    AddOffset(RecordId),
    /// To commit an offset with the transaction.
    CommitOffset {
        id: RecordId,
        tries: u32,
    },
    /// To ask what offset is committed.
    FetchOffset,
    End(TransactionOutcome, Then),
}

/// What follows an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    GoOn,
    /// A batch may still be under way: another epoch fences it.
    NewEpoch,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Batch {
    partition: TopicPartition,
    records: Bytes,
    ids: Vec<RecordId>,
}

impl TransactionalProducer {
    pub(crate) fn new(
        number: u32,
        transactional_id: Arc<str>,
        coordinator: TopicPartition,
        partitions: Vec<TopicPartition>,
        timeout: Duration,
    ) -> Self {
        Self {
            number,
            transactional_id,
            coordinator,
            offsets: Settings::offsets_partition(),
            partitions,
            timeout,
            leaders: BTreeMap::new(),
            asks_for: None,
            producer: None,
            sequences: BTreeMap::new(),
            records: 0,
            transactions: 0,
            offset: None,
            step: Step::Initialize { keeps: false },
            is_stopping: false,
        }
    }

    /// Nothing of it is open: it has nothing to finish, and will begin nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_stopping && matches!(self.step, Step::Ready | Step::Initialize { keeps: false })
    }

    fn name(&self) -> TransactionName {
        (self.number, self.transactions)
    }

    pub(crate) fn act(&mut self, world: &mut World, checker: &mut Checker) -> Next {
        if self.is_idle() {
            return Next::Done;
        }
        if self.step == Step::Ready {
            if world.random.chance(OFFSET_FETCH_PERCENT) {
                self.step = Step::FetchOffset;
            } else {
                self.begin(world, checker);
            }
        }
        let in_the_middle = !matches!(self.step, Step::Initialize { .. });
        if in_the_middle && world.random.rarely(CRASH_PERMILLE) {
            self.crash();
            return Next::Wait(world.random.millis(10, 5_000));
        }
        if in_the_middle && !self.is_stopping && world.random.rarely(SLEEP_PERMILLE) {
            return Next::Wait(world.random.millis(500, 15_000));
        }
        let to = match &self.step {
            Step::Produce { left, .. } => left
                .front()
                .map_or(&self.coordinator, |batch| &batch.partition),
            Step::CommitOffset { .. } | Step::FetchOffset => &self.offsets,
            _ => &self.coordinator,
        };
        let Some(leader) = self.leaders.get(to).copied() else {
            let tp = to.clone();
            let next = find_leader(world, &tp);
            if matches!(next, Next::Call(..)) {
                self.asks_for = Some(tp);
            }
            return next;
        };
        match self.request(checker) {
            Some(request) => Next::Call(leader, request),
            None => Next::Wait(Duration::ZERO),
        }
    }

    /// Forgets everything, as a process that begins anew.
    fn crash(&mut self) {
        self.step = Step::Initialize { keeps: false };
        self.producer = None;
        self.leaders.clear();
        self.asks_for = None;
    }

    fn begin(&mut self, world: &mut World, checker: &mut Checker) {
        self.transactions += 1;
        let name = self.name();
        if let Some(producer) = self.producer {
            checker.transactions.begun(producer, name);
        }
        let count = world.random.between(1, BATCHES_MAX);
        let mut batches = VecDeque::new();
        for _ in 0..count {
            let Some(partition) = world.random.pick(&self.partitions) else {
                break;
            };
            let batch = self.fill(partition, world);
            for id in &batch.ids {
                checker.transactions.sends(name, &batch.partition, *id);
            }
            batches.push_back(batch);
        }
        self.offset = world.random.chance(OFFSET_PERCENT).then(|| {
            let id = RecordId::transactional(self.number, self.records);
            self.records += 1;
            checker.transactions.sends(name, &self.offsets, id);
            id
        });
        self.step = Step::Add(batches);
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn group_id(&self) -> &str {
        &self.transactional_id
    }

    /// What the offsets of this client are committed for.
    pub(crate) fn consumed(&self) -> TopicPartition {
        TopicPartition::new("input", self.number as i32)
    }

    fn fill(&mut self, partition: TopicPartition, world: &mut World) -> Batch {
        let producer = self
            .producer
            .expect("an epoch is there before a transaction begins");
        let sequence = self.sequences.entry(partition.clone()).or_default();
        let mut builder = RecordBatchBuilder::new(0)
            .producer(producer.producer_id, producer.producer_epoch, *sequence)
            .transactional(true);
        let mut ids = Vec::new();
        for _ in 0..world.random.between(1, 3) {
            let id = RecordId::transactional(self.number, self.records);
            self.records += 1;
            builder
                .append(world.wall(), None, Some(&id.to_bytes()))
                .expect("a few small records fit in a batch");
            ids.push(id);
        }
        *sequence += ids.len() as i32;
        let records = builder.build().expect("a few small records make a batch");
        Batch {
            partition,
            records,
            ids,
        }
    }

    fn request(&self, checker: &mut Checker) -> Option<Request> {
        let transactional_id = Arc::clone(&self.transactional_id);
        if let Step::Initialize { keeps } = self.step {
            return Some(Request::Transaction(Ask::InitProducerId {
                transactional_id,
                timeout_ms: self.timeout.as_millis() as i32,
                expected: self.producer.filter(|_| keeps),
            }));
        }
        let ExpectedProducer {
            producer_id,
            producer_epoch,
        } = self.producer?;
        match &self.step {
            Step::Initialize { .. } | Step::Ready => None,
            Step::Add(batches) => {
                let partitions: BTreeSet<_> = batches
                    .iter()
                    .map(|batch| batch.partition.clone())
                    .collect();
                Some(Request::Transaction(Ask::AddPartitions {
                    transactional_id,
                    producer_id,
                    producer_epoch,
                    partitions,
                }))
            }
            Step::Produce { left, .. } => {
                let batch = left.front()?;
                Some(Request::Produce {
                    partition: batch.partition.clone(),
                    required: Required::InSyncReplicas,
                    transactional_id: Some(transactional_id),
                    records: batch.records.clone(),
                })
            }
            Step::AddOffset(_) => Some(Request::Transaction(Ask::AddPartitions {
                transactional_id,
                producer_id,
                producer_epoch,
                partitions: BTreeSet::from([self.offsets.clone()]),
            })),
            Step::CommitOffset { id, .. } => Some(Request::CommitOffset(OffsetCommit {
                group_id: Arc::clone(&transactional_id),
                transactional_id,
                producer: self.producer?,
                partition: self.consumed(),
                offset: id.to_offset(),
            })),
            Step::FetchOffset => Some(Request::FetchOffset {
                group_id: transactional_id,
                partition: self.consumed(),
            }),
            Step::End(outcome, _) => {
                let commit = *outcome == TransactionOutcome::Commit;
                checker.transactions.wishes(self.name(), commit);
                Some(Request::Transaction(Ask::EndTransaction {
                    transactional_id,
                    producer_id,
                    producer_epoch,
                    outcome: *outcome,
                }))
            }
        }
    }

    pub(crate) fn on_response(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        response: Option<Response>,
    ) -> Result<Duration, Violation> {
        let retry = world.random.millis(20, 200);
        if let Some(tp) = self.asks_for.take() {
            return Ok(match response {
                Some(Response::Metadata {
                    leader: Some(leader),
                }) => {
                    self.leaders.insert(tp, leader);
                    Duration::ZERO
                }
                _ => retry,
            });
        }
        match response {
            Some(Response::Transaction(told)) => self.on_told(world, checker, told, retry),
            Some(Response::Produce {
                error, base_offset, ..
            }) => self.on_produced(world, checker, error, base_offset, retry),
            Some(Response::OffsetCommit(error)) => self.on_offset_committed(world, error, retry),
            Some(Response::Offset {
                fetched,
                leader_epoch,
            }) => self.on_offset(world, checker, fetched, leader_epoch, retry),
            _ => {
                if let Step::CommitOffset { id, .. } = self.step {
                    checker.transactions.gives_up(id);
                }
                self.forget_leader();
                self.count_try();
                Ok(retry)
            }
        }
    }

    /// Whoever was asked last is not, or not known to be, the right one.
    fn forget_leader(&mut self) {
        if let Step::Produce { left, .. } = &self.step {
            if let Some(batch) = left.front() {
                self.leaders.remove(&batch.partition);
            }
        } else if matches!(self.step, Step::CommitOffset { .. } | Step::FetchOffset) {
            self.leaders.remove(&self.offsets);
        } else {
            self.leaders.remove(&self.coordinator);
        }
    }

    fn count_try(&mut self) {
        if let Step::Produce { tries, .. } | Step::CommitOffset { tries, .. } = &mut self.step {
            *tries += 1;
            if *tries > DELIVERY_TRIES {
                self.step = Step::End(TransactionOutcome::Abort, Then::NewEpoch);
            }
        }
    }

    fn on_told(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        told: Told,
        retry: Duration,
    ) -> Result<Duration, Violation> {
        let error = match (told, std::mem::replace(&mut self.step, Step::Ready)) {
            (Told::InitProducerId(Ok(producer)), Step::Initialize { .. }) => {
                self.producer = Some(producer);
                self.sequences.clear();
                checker.transactions.initialized(producer);
                return Ok(retry);
            }
            (Told::InitProducerId(Err(error)), step) => {
                self.step = step;
                error
            }
            (Told::AddPartitions(ErrorCode::None), Step::Add(left)) => {
                self.step = Step::Produce { left, tries: 0 };
                return Ok(Duration::ZERO);
            }
            (Told::AddPartitions(ErrorCode::None), Step::AddOffset(id)) => {
                self.step = Step::CommitOffset { id, tries: 0 };
                return Ok(Duration::ZERO);
            }
            (Told::EndTransaction(ErrorCode::None), Step::End(outcome, then)) => {
                if then == Then::NewEpoch {
                    self.step = Step::Initialize { keeps: true };
                }
                if outcome == TransactionOutcome::Commit {
                    checker.transactions.told(self.name())?;
                }
                return Ok(world.random.millis(0, 300));
            }
            (Told::AddPartitions(error) | Told::EndTransaction(error), step) => {
                self.step = step;
                error
            }
            (told, step) => return Err(format!("{told:?} is the answer in {step:?}")),
        };
        match error {
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress => {
                self.leaders.remove(&self.coordinator);
                Ok(retry)
            }
            ErrorCode::ConcurrentTransactions => Ok(retry),
            ErrorCode::ProducerFenced
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidProducerIdMapping
            | ErrorCode::InvalidTxnState => {
                self.crash();
                Ok(world.random.millis(500, 10_000))
            }
            error => Err(format!(
                "{} of client {} is answered {error:?} in {:?}",
                self.transactional_id, self.number, self.step
            )),
        }
    }

    fn draw_end(world: &mut World) -> Step {
        let outcome = if world.random.chance(75) {
            TransactionOutcome::Commit
        } else {
            TransactionOutcome::Abort
        };
        Step::End(outcome, Then::GoOn)
    }

    fn on_offset_committed(
        &mut self,
        world: &mut World,
        error: ErrorCode,
        retry: Duration,
    ) -> Result<Duration, Violation> {
        match error {
            ErrorCode::None => {
                self.step = Self::draw_end(world);
                Ok(world.random.millis(0, 100))
            }
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::ConcurrentTransactions
            | ErrorCode::RequestTimedOut => {
                self.forget_leader();
                self.count_try();
                Ok(retry)
            }
            ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionAbortable => {
                self.step = Step::End(TransactionOutcome::Abort, Then::NewEpoch);
                Ok(retry)
            }
            ErrorCode::ProducerFenced
            | ErrorCode::InvalidTxnState
            | ErrorCode::InvalidProducerIdMapping => {
                self.crash();
                Ok(world.random.millis(500, 10_000))
            }
            error => Err(format!(
                "{} of client {}: an offset is answered {error:?}",
                self.transactional_id, self.number
            )),
        }
    }

    fn on_offset(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        fetched: Result<Offset, ErrorCode>,
        leader_epoch: LeaderEpoch,
        retry: Duration,
    ) -> Result<Duration, Violation> {
        match fetched {
            Ok(offset) => {
                checker.fetched_offset(self.number, offset, leader_epoch)?;
                self.step = Step::Ready;
                Ok(world.random.millis(0, 100))
            }
            Err(
                ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::UnstableOffsetCommit,
            ) => {
                self.forget_leader();
                Ok(retry)
            }
            Err(error) => Err(format!(
                "{} of client {}: an offset is fetched with {error:?}",
                self.transactional_id, self.number
            )),
        }
    }

    fn on_produced(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        error: ErrorCode,
        base_offset: Offset,
        retry: Duration,
    ) -> Result<Duration, Violation> {
        let Step::Produce { left, tries } = &mut self.step else {
            return Err(format!("records are answered in {:?}", self.step));
        };
        match error {
            ErrorCode::None => {
                if let Some(batch) = left.pop_front() {
                    checker.acknowledged(&batch.partition, base_offset, &batch.ids)?;
                }
                *tries = 0;
                if left.is_empty() {
                    self.step = match self.offset.take() {
                        Some(id) => Step::AddOffset(id),
                        None => Self::draw_end(world),
                    };
                }
                Ok(world.random.millis(0, 100))
            }
            ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::KafkaStorageError
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend => {
                self.forget_leader();
                self.count_try();
                Ok(retry)
            }
            ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::TransactionAbortable
            | ErrorCode::UnknownProducerId => {
                self.step = Step::End(TransactionOutcome::Abort, Then::NewEpoch);
                Ok(retry)
            }
            ErrorCode::ProducerFenced
            | ErrorCode::InvalidTxnState
            | ErrorCode::InvalidProducerIdMapping => {
                self.crash();
                Ok(world.random.millis(500, 10_000))
            }
            error => Err(format!(
                "{} of client {}: records are answered {error:?}",
                self.transactional_id, self.number
            )),
        }
    }
}
