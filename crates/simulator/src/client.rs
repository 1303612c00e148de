//! Producers and consumers: one partition and one request in flight each. See also `pipelined`.

use std::time::Duration;

use bytes::Bytes;
use ottla_model::{BrokerId, ErrorCode, Offset, ProducerEpoch, ProducerId, TopicPartition};
use ottla_record::{BatchView, DECOMPRESSED_SIZE_MAX, RecordBatchBuilder};
use ottla_replication::partition::Required;
use ottla_storage::FetchIsolation;

use crate::checker::{Checker, Violation};
use crate::message::{CallId, Request, Response};
use crate::pipelined::PipelinedProducer;
use crate::transactional::TransactionalProducer;
use crate::world::World;

/// The most that a batch holds.
const RECORDS_MAX: u64 = 3;
/// Bytes of a record beyond its id, at most.
const PADDING_MAX: u64 = 100;

/// How often a consumer without news asks again who leads (`metadata.max.age.ms`).
const METADATA_REFRESH_PERCENT: u64 = 10;

/// A record's name, in its value: who wrote it and the how-manieth of that producer it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RecordId(u64);

impl RecordId {
    const IDEMPOTENT: u64 = 1 << 63;
    const TRANSACTIONAL: u64 = 1 << 62;

    /// The name of a transactional producer's record.
    pub(crate) fn transactional(producer: u32, number: u64) -> Self {
        Self(Self::TRANSACTIONAL | (u64::from(producer) << 40) | number)
    }

    /// The record of this name, if it is committed as an offset.
    pub(crate) fn of_offset(offset: Offset) -> Self {
        Self(offset as u64)
    }

    /// The name as an offset: transactional ones are not negative.
    pub(crate) fn to_offset(self) -> Offset {
        self.0 as Offset
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn new(producer: u32, number: u64, is_idempotent: bool) -> Self {
        let flag = if is_idempotent { Self::IDEMPOTENT } else { 0 };
        Self(flag | (u64::from(producer) << 40) | number)
    }

    pub(crate) fn number(self) -> u64 {
        self.0 & ((1 << 40) - 1)
    }

    pub(crate) fn idempotent_producer(self) -> Option<u32> {
        let producer = (self.0 & !Self::IDEMPOTENT) >> 40;
        (self.0 & Self::IDEMPOTENT != 0).then_some(producer as u32)
    }

    pub(crate) fn transactional_producer(self) -> u32 {
        ((self.0 & !Self::TRANSACTIONAL) >> 40) as u32
    }

    /// The records of a batch with their offsets.
    pub(crate) fn read(batch: &BatchView<'_>) -> Result<Vec<(Offset, Self)>, Violation> {
        let text = |error: ottla_record::InvalidRecords| error.to_string();
        let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(text)?;
        let mut ids = Vec::new();
        for record in records.iter().map_err(text)? {
            let record = record.map_err(text)?;
            let id = record.value.and_then(|value| value.first_chunk::<8>());
            let Some(id) = id else {
                return Err(format!("offset {} holds a strange record", record.offset));
            };
            ids.push((record.offset, Self(u64::from_be_bytes(*id))));
        }
        Ok(ids)
    }
}

/// What a client does next.
pub(crate) enum Next {
    Call(BrokerId, Request),
    /// Several over one connection; only a pipelined producer's.
    Calls(BrokerId, Vec<Request>),
    Wait(Duration),
    /// Nothing, ever.
    Done,
}

pub(crate) enum Client {
    Producer(Producer),
    Pipelined(PipelinedProducer),
    Consumer(Consumer),
    Transactional(TransactionalProducer),
    /// Sends orders of administrators and does not look at the answers.
    Administrator,
}

pub(crate) struct Producer {
    number: u32,
    partition: TopicPartition,
    required: Required,
    leader: Option<BrokerId>,
    /// Sent or to be sent, and not acknowledged.
    batch: Option<Batch>,
    next: u64,
    pause_ms_max: u64,
    pub(crate) is_stopping: bool,
}

#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) records: Bytes,
    pub(crate) ids: Vec<RecordId>,
}

pub(crate) struct Consumer {
    partition: TopicPartition,
    leader: Option<BrokerId>,
    offset: Offset,
    isolation: FetchIsolation,
}

impl Client {
    pub(crate) fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::Producer(producer) => Some(&producer.partition),
            Self::Pipelined(producer) => Some(producer.partition()),
            Self::Consumer(consumer) => Some(&consumer.partition),
            Self::Administrator | Self::Transactional(_) => None,
        }
    }

    /// It may act now and has no call in flight.
    pub(crate) fn act(&mut self, world: &mut World, checker: &mut Checker) -> Next {
        match self {
            Self::Producer(producer) => producer.act(world),
            Self::Pipelined(producer) => producer.act(world),
            Self::Consumer(consumer) => consumer.act(world),
            Self::Transactional(producer) => producer.act(world, checker),
            Self::Administrator => Next::Done,
        }
    }

    /// The answer to its call, or `None` when it was lost; how long to wait before it acts again.
    pub(crate) fn on_response(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        call: CallId,
        response: Option<Response>,
    ) -> Result<Duration, Violation> {
        match self {
            Self::Producer(producer) => producer.on_response(world, checker, response),
            Self::Pipelined(producer) => producer.on_response(world, checker, call, response),
            Self::Consumer(consumer) => consumer.on_response(world, checker, response),
            Self::Transactional(producer) => producer.on_response(world, checker, response),
            Self::Administrator => Ok(Duration::ZERO),
        }
    }

    /// Whether nothing it has sent waits for an acknowledgement.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Producer(producer) => producer.batch.is_none(),
            Self::Pipelined(producer) => producer.is_idle(),
            Self::Transactional(producer) => producer.is_idle(),
            Self::Consumer(_) | Self::Administrator => true,
        }
    }

    /// The offset that a consumer has reached.
    pub(crate) fn consumed_to(&self) -> Option<Offset> {
        match self {
            Self::Consumer(consumer) => Some(consumer.offset),
            Self::Producer(_)
            | Self::Pipelined(_)
            | Self::Transactional(_)
            | Self::Administrator => None,
        }
    }
}

/// Asks any broker who leads.
pub(crate) fn find_leader(world: &mut World, partition: &TopicPartition) -> Next {
    let up: Vec<BrokerId> = world.lives.keys().copied().collect();
    match world.random.pick(&up) {
        Some(broker) => {
            let partition = partition.clone();
            Next::Call(broker, Request::Metadata { partition })
        }
        None => Next::Wait(world.random.millis(50, 200)),
    }
}

impl Producer {
    pub(crate) fn new(
        number: u32,
        partition: TopicPartition,
        required: Required,
        pause_ms_max: u64,
    ) -> Self {
        Self {
            number,
            partition,
            required,
            leader: None,
            batch: None,
            next: 0,
            pause_ms_max,
            is_stopping: false,
        }
    }

    fn act(&mut self, world: &mut World) -> Next {
        if self.batch.is_none() {
            if self.is_stopping {
                return Next::Done;
            }
            let is_idempotent = self.is_idempotent();
            self.batch = Some(Batch::fill(
                world,
                self.number,
                &mut self.next,
                is_idempotent,
            ));
        }
        let (Some(leader), Some(batch)) = (self.leader, &self.batch) else {
            return find_leader(world, &self.partition);
        };
        let request = Request::Produce {
            partition: self.partition.clone(),
            required: self.required,
            transactional_id: None,
            records: batch.records.clone(),
        };
        Next::Call(leader, request)
    }

    /// Only acks=all can be idempotent.
    fn is_idempotent(&self) -> bool {
        self.required == Required::InSyncReplicas
    }

    fn on_response(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        response: Option<Response>,
    ) -> Result<Duration, Violation> {
        let retry = world.random.millis(20, 200);
        match response {
            Some(Response::Metadata { leader }) => {
                self.leader = leader;
                return Ok(if leader.is_some() {
                    Duration::ZERO
                } else {
                    retry
                });
            }
            Some(Response::Produce {
                error: ErrorCode::None,
                base_offset,
                ..
            }) => {
                if let Some(batch) = self.batch.take()
                    && self.is_idempotent()
                {
                    checker.acknowledged(&self.partition, base_offset, &batch.ids)?;
                }
                return Ok(world.random.millis(0, self.pause_ms_max));
            }
            Some(Response::Produce {
                error,
                leader_epoch,
                ..
            }) => match error {
                ErrorCode::NotLeaderOrFollower
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::KafkaStorageError
                | ErrorCode::RequestTimedOut
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::NotEnoughReplicasAfterAppend => self.leader = None,
                // A deposed leader does not know what was written since.
                ErrorCode::OutOfOrderSequenceNumber
                    if checker
                        .state(&self.partition)
                        .is_none_or(|state| state.leader_epoch != leader_epoch) =>
                {
                    self.leader = None;
                }
                error => {
                    return Err(format!(
                        "{}: producer {} is answered {error:?}",
                        self.partition, self.number
                    ));
                }
            },
            _ => self.leader = None,
        }
        Ok(retry)
    }
}

impl Batch {
    /// The next records of a producer, which wrote `next` before.
    pub(crate) fn fill(
        world: &mut World,
        producer: u32,
        next: &mut u64,
        is_idempotent: bool,
    ) -> Self {
        let count = world.random.between(1, RECORDS_MAX);
        let mut builder = RecordBatchBuilder::new(0);
        if is_idempotent {
            // Above all that the cluster gives away.
            let id = ProducerId((1 << 40) + i64::from(producer));
            builder = builder.producer(id, ProducerEpoch(0), *next as i32);
        }
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = RecordId::new(producer, *next, is_idempotent);
            *next += 1;
            let mut value = id.0.to_be_bytes().to_vec();
            value.resize(8 + world.random.between(0, PADDING_MAX) as usize, b'.');
            builder
                .append(world.wall(), None, Some(&value))
                .expect("a few small records fit in a batch");
            ids.push(id);
        }
        let records = builder.build().expect("a few small records make a batch");
        Self { records, ids }
    }
}

impl Consumer {
    pub(crate) fn new(partition: TopicPartition, isolation: FetchIsolation) -> Self {
        Self {
            partition,
            leader: None,
            offset: 0,
            isolation,
        }
    }

    fn act(&mut self, world: &mut World) -> Next {
        match self.leader {
            None => find_leader(world, &self.partition),
            Some(leader) => Next::Call(
                leader,
                Request::Consume {
                    partition: self.partition.clone(),
                    fetch_offset: self.offset,
                    isolation: self.isolation,
                },
            ),
        }
    }

    fn on_response(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        response: Option<Response>,
    ) -> Result<Duration, Violation> {
        let pause = world.random.millis(50, 500);
        match response {
            Some(Response::Metadata { leader }) => {
                self.leader = leader;
                Ok(if leader.is_some() {
                    Duration::ZERO
                } else {
                    pause
                })
            }
            Some(Response::Consume(fetched)) if fetched.error.is_none() => {
                self.offset = if self.isolation == FetchIsolation::TxnCommitted {
                    checker.consumed_committed(&self.partition, self.offset, &fetched)?
                } else {
                    checker.consumed(&self.partition, self.offset, &fetched.records)?
                };
                // A deposed leader that does not know it has nothing new, ever.
                if fetched.records.is_empty() && world.random.chance(METADATA_REFRESH_PERCENT) {
                    self.leader = None;
                }
                // It rests only where there is nothing more, or it would never catch up with a
                // pipelined producer on a fast network.
                let is_behind = self.offset < fetched.high_watermark;
                Ok(if is_behind && !fetched.records.is_empty() {
                    Duration::ZERO
                } else {
                    pause
                })
            }
            _ => {
                self.leader = None;
                Ok(pause)
            }
        }
    }
}
