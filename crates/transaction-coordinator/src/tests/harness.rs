//! A shard and a marker sender with a hand-moved clock, a log in memory and partitions that answer
//! as their leaders would.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ottla_coordinator_runtime::{Append, Now, RequestId, TransactionOutcome};
use ottla_model::{
    BrokerId, ErrorCode, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp,
    TopicPartition,
};

use crate::*;

pub(super) const ID: &str = "tx";
pub(super) const SHARD: i32 = 7;
pub(super) const COMMIT: TransactionOutcome = TransactionOutcome::Commit;
pub(super) const ABORT: TransactionOutcome = TransactionOutcome::Abort;

/// How appends are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acks {
    /// At once, as by a log without followers.
    AtOnce,
    /// By [`World::ack`] and [`World::refuse`].
    ByHand,
    /// At once, with this error, and not written.
    Refused(ErrorCode),
}

/// A partition that takes markers.
#[derive(Clone, Debug)]
pub(super) struct DataPartition {
    pub(super) leader: Option<BrokerId>,
    /// What a marker is answered instead of being written.
    pub(super) refuses: Option<ErrorCode>,
    pub(super) markers: Vec<(ProducerId, ProducerEpoch, LeaderEpoch, TransactionOutcome)>,
}

impl DataPartition {
    fn of_producer(&self, key: &MarkerKey) -> impl Iterator<Item = (ProducerEpoch, LeaderEpoch)> {
        let id = key.producer_id;
        let markers = self.markers.iter().filter(move |marker| marker.0 == id);
        markers.map(|marker| (marker.1, marker.2))
    }

    fn has_newer_epoch(&self, key: &MarkerKey) -> bool {
        self.of_producer(key)
            .any(|(epoch, _)| epoch > key.producer_epoch)
    }

    fn has_newer_coordinator(&self, key: &MarkerKey) -> bool {
        self.of_producer(key)
            .any(|(_, coordinator)| coordinator > key.coordinator_epoch)
    }
}

pub(super) struct World {
    pub(super) shard: TransactionCoordinatorShard,
    pub(super) sender: MarkerSender,
    pub(super) now: Now,
    pub(super) acks: Acks,
    pub(super) log: Vec<Append>,
    pub(super) unacknowledged: Vec<(Append, i32)>,
    pub(super) partitions: BTreeMap<TopicPartition, DataPartition>,
    /// Whether WriteTxnMarkers requests are answered at once.
    pub(super) markers_at_once: bool,
    pub(super) sent: Vec<(SendToken, BrokerId, Vec<TransactionMarkers>)>,
    /// Whether producer ids come at once.
    pub(super) producer_ids_at_once: bool,
    pub(super) awaiting_producer_id: Vec<RequestId>,
    pub(super) next_producer_id: i64,
    pub(super) epoch: LeaderEpoch,
    pub(super) replies: BTreeMap<RequestId, Response>,
    pub(super) answered: BTreeSet<RequestId>,
    pub(super) next_request: u64,
}

pub(super) fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(super) fn t(index: i32) -> TopicPartition {
    partition("t", index)
}

pub(super) fn producer(id: i64, epoch: i16) -> ExpectedProducer {
    ExpectedProducer {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
    }
}

impl World {
    /// A serving shard with an empty log, and partitions t-0 to t-3 led by brokers 1 and 2.
    pub(super) fn new() -> Self {
        let mut world = Self::unloaded();
        world.load();
        world
    }

    pub(super) fn unloaded() -> Self {
        let data = |leader| DataPartition {
            leader: Some(BrokerId(leader)),
            refuses: None,
            markers: Vec::new(),
        };
        Self {
            shard: TransactionCoordinatorShard::new(Arc::default()),
            sender: MarkerSender::new(),
            now: Now {
                instant: Instant::from_millis(50),
                timestamp: Timestamp(1_000_000),
            },
            acks: Acks::AtOnce,
            log: Vec::new(),
            unacknowledged: Vec::new(),
            partitions: (0..4)
                .map(|index| (t(index), data(1 + index % 2)))
                .collect(),
            markers_at_once: true,
            sent: Vec::new(),
            producer_ids_at_once: true,
            awaiting_producer_id: Vec::new(),
            next_producer_id: 0,
            epoch: LeaderEpoch(0),
            replies: BTreeMap::new(),
            answered: BTreeSet::new(),
            next_request: 0,
        }
    }

    /// Elects the shard again and feeds it the log.
    pub(super) fn load(&mut self) {
        self.epoch = LeaderEpoch(self.epoch.0 + 1);
        let mut actions = Vec::new();
        let mut loader = self
            .shard
            .begin_load(self.epoch, &mut actions)
            .expect("the epoch is new");
        self.perform(actions);
        self.feed(&mut loader);
        let mut actions = Vec::new();
        let end = loader.end_offset();
        let outcome = self.shard.finish_load(self.now, loader, end, &mut actions);
        assert!(matches!(outcome, LoadOutcome::Serving), "{outcome:?}");
        self.perform(actions);
    }

    pub(super) fn feed(&self, loader: &mut Loader) {
        for append in &self.log {
            for record in &append.records {
                loader
                    .replay(record.key.clone(), record.value.clone())
                    .unwrap();
            }
            loader.read_to(loader.end_offset() + 1);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.shard.handle(self.now, event, &mut actions);
        self.perform(actions);
    }

    pub(super) fn sender_event(&mut self, event: SenderEvent) {
        self.run(VecDeque::new(), VecDeque::from([event]));
    }

    pub(super) fn perform(&mut self, actions: Vec<TransactionAction>) {
        let mut events = VecDeque::new();
        let mut sends = VecDeque::new();
        self.take(actions, &mut events, &mut sends);
        self.run(events, sends);
    }

    fn run(&mut self, mut events: VecDeque<Event>, mut sends: VecDeque<SenderEvent>) {
        loop {
            if let Some(event) = sends.pop_front() {
                let partitions = &self.partitions;
                let leaders = |partition: &TopicPartition| match partitions.get(partition) {
                    None => MarkerDestination::UnknownPartition,
                    Some(data) => data
                        .leader
                        .map_or(MarkerDestination::NotAvailable, MarkerDestination::Leader),
                };
                let mut actions = Vec::new();
                self.sender
                    .handle(self.now.instant, event, leaders, &mut actions);
                for action in actions {
                    match action {
                        SenderAction::Tell {
                            transaction_partition,
                            event,
                        } => {
                            assert_eq!(transaction_partition, SHARD);
                            events.push_back(event);
                        }
                        SenderAction::Send {
                            token,
                            broker,
                            markers,
                        } => {
                            assert!(!markers.is_empty());
                            if self.markers_at_once {
                                let answers = Some(self.write_markers(broker, &markers));
                                sends.push_back(SenderEvent::Answered { token, answers });
                            } else {
                                self.sent.push((token, broker, markers));
                            }
                        }
                    }
                }
            } else if let Some(event) = events.pop_front() {
                let mut actions = Vec::new();
                self.shard.handle(self.now, event, &mut actions);
                self.take(actions, &mut events, &mut sends);
            } else {
                return;
            }
        }
    }

    fn take(
        &mut self,
        actions: Vec<TransactionAction>,
        events: &mut VecDeque<Event>,
        sends: &mut VecDeque<SenderEvent>,
    ) {
        let transaction_partition = SHARD;
        for action in actions {
            match action {
                TransactionAction::Reply { request, response } => {
                    assert!(
                        self.answered.insert(request),
                        "{request:?} is answered once"
                    );
                    self.replies.insert(request, response);
                }
                TransactionAction::Append { append, timeout_ms } => {
                    assert!(!append.records.is_empty(), "a batch has records");
                    match self.acks {
                        Acks::Refused(error) => {
                            let (token, result) = (append.token, Err(error));
                            events.push_back(Event::AppendDone { token, result });
                        }
                        Acks::ByHand => self.unacknowledged.push((append, timeout_ms)),
                        Acks::AtOnce => events.push_back(self.write(append)),
                    }
                }
                TransactionAction::AllocateProducerId { request } => {
                    if self.producer_ids_at_once {
                        let result = Ok(self.producer_id());
                        events.push_back(Event::ProducerIdAllocated { request, result });
                    } else {
                        self.awaiting_producer_id.push(request);
                    }
                }
                TransactionAction::SendMarkers(markers) => {
                    sends.push_back(SenderEvent::Send {
                        transaction_partition,
                        markers,
                    });
                }
                TransactionAction::CancelMarkers => {
                    sends.push_back(SenderEvent::Cancel {
                        transaction_partition,
                    });
                }
            }
        }
    }

    pub(super) fn producer_id(&mut self) -> ProducerId {
        self.next_producer_id += 1;
        ProducerId(self.next_producer_id - 1)
    }

    fn write(&mut self, append: Append) -> Event {
        let offset = self.log.len() as Offset;
        let token = append.token;
        self.log.push(append);
        Event::AppendDone {
            token,
            result: Ok(offset),
        }
    }

    /// What the leader does with a WriteTxnMarkers request.
    pub(super) fn write_markers(
        &mut self,
        broker: BrokerId,
        markers: &[TransactionMarkers],
    ) -> Answers {
        let decision = self.last_decision();
        let mut answers = Answers::new();
        for TransactionMarkers {
            key,
            outcome,
            partitions,
        } in markers
        {
            for partition in partitions {
                let error = match self.partitions.get_mut(partition) {
                    None => ErrorCode::UnknownTopicOrPartition,
                    Some(data) if data.leader != Some(broker) => ErrorCode::NotLeaderOrFollower,
                    Some(DataPartition {
                        refuses: Some(error),
                        ..
                    }) => *error,
                    // What every leader checks: neither producer nor coordinator is an older one.
                    Some(data) if data.has_newer_epoch(key) => ErrorCode::InvalidProducerEpoch,
                    Some(data) if data.has_newer_coordinator(key) => {
                        ErrorCode::TransactionCoordinatorFenced
                    }
                    Some(data) => {
                        // No marker without its decision in the log, and none against it.
                        assert_eq!(decision.0, Some((key.producer_epoch, *outcome)));
                        assert!(decision.1.contains(partition));
                        data.markers.push((
                            key.producer_id,
                            key.producer_epoch,
                            key.coordinator_epoch,
                            *outcome,
                        ));
                        ErrorCode::None
                    }
                };
                answers.insert((key.producer_id, partition.clone()), error);
            }
        }
        answers
    }

    /// What the log says last about the end of a transaction.
    fn last_decision(
        &self,
    ) -> (
        Option<(ProducerEpoch, TransactionOutcome)>,
        BTreeSet<TopicPartition>,
    ) {
        let decision = self.values().into_iter().rev().flatten().find_map(|value| {
            let outcome = match value.state {
                TransactionState::PrepareCommit => COMMIT,
                TransactionState::PrepareAbort => ABORT,
                _ => return None,
            };
            Some((Some((value.producer_epoch, outcome)), value.partitions))
        });
        decision.unwrap_or_default()
    }

    /// Answers the oldest WriteTxnMarkers request as its broker does.
    pub(super) fn answer_markers(&mut self) {
        let (token, broker, markers) = self.sent.remove(0);
        let answers = Some(self.write_markers(broker, &markers));
        self.sender_event(SenderEvent::Answered { token, answers });
    }

    /// Acknowledges the oldest append that waits.
    pub(super) fn ack(&mut self) {
        let (append, _) = self.unacknowledged.remove(0);
        let event = self.write(append);
        self.event(event);
    }

    /// Refuses the oldest append that waits.
    pub(super) fn refuse(&mut self, error: ErrorCode) {
        let (append, _) = self.unacknowledged.remove(0);
        self.event(Event::AppendDone {
            token: append.token,
            result: Err(error),
        });
    }

    /// Moves the clocks; what falls due happens at its own moment.
    pub(super) fn advance(&mut self, millis: u64) {
        let end = self.now.instant + std::time::Duration::from_millis(millis);
        loop {
            let deadlines = [self.shard.next_deadline(), self.sender.next_deadline()];
            let Some(next) = deadlines
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            self.set_clock(next.max(self.now.instant));
            self.event(Event::DeadlinesDue);
            self.sender_event(SenderEvent::DeadlinesDue);
        }
        self.set_clock(end);
    }

    /// Moves the clocks at once; what falls due happens once, at the end.
    pub(super) fn sleep(&mut self, millis: u64) {
        self.set_clock(self.now.instant + std::time::Duration::from_millis(millis));
        self.event(Event::DeadlinesDue);
        self.sender_event(SenderEvent::DeadlinesDue);
    }

    fn set_clock(&mut self, to: Instant) {
        let passed = to.since(self.now.instant).as_millis() as i64;
        self.now = Now {
            instant: to,
            timestamp: Timestamp(self.now.timestamp.0 + passed),
        };
    }

    pub(super) fn send(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.event(Event::Request { id, request });
        id
    }

    pub(super) fn reply(&mut self, id: RequestId) -> Option<Response> {
        self.replies.remove(&id)
    }

    pub(super) fn send_init(&mut self, id: &str, expected: Option<ExpectedProducer>) -> RequestId {
        self.send(Request::InitProducerId {
            transactional_id: id.into(),
            timeout_ms: 60_000,
            expected,
        })
    }

    pub(super) fn init_reply(&mut self, id: RequestId) -> Result<ExpectedProducer, ErrorCode> {
        match self.reply(id) {
            Some(Response::InitProducerId(result)) => result,
            other => panic!("no answer to InitProducerId: {other:?}"),
        }
    }

    pub(super) fn init(
        &mut self,
        expected: Option<ExpectedProducer>,
    ) -> Result<ExpectedProducer, ErrorCode> {
        let id = self.send_init(ID, expected);
        self.init_reply(id)
    }

    pub(super) fn send_add(
        &mut self,
        producer: ExpectedProducer,
        partitions: &[TopicPartition],
    ) -> RequestId {
        self.send(Request::AddPartitions {
            transactional_id: ID.into(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            partitions: partitions.iter().cloned().collect(),
        })
    }

    pub(super) fn add(
        &mut self,
        producer: ExpectedProducer,
        partitions: &[TopicPartition],
    ) -> ErrorCode {
        let id = self.send_add(producer, partitions);
        self.add_reply(id)
    }

    pub(super) fn add_reply(&mut self, id: RequestId) -> ErrorCode {
        match self.reply(id) {
            Some(Response::AddPartitions(error)) => error,
            other => panic!("no answer to AddPartitions: {other:?}"),
        }
    }

    pub(super) fn send_end(
        &mut self,
        producer: ExpectedProducer,
        outcome: TransactionOutcome,
    ) -> RequestId {
        self.send(Request::EndTransaction {
            transactional_id: ID.into(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            outcome,
        })
    }

    pub(super) fn end(
        &mut self,
        producer: ExpectedProducer,
        outcome: TransactionOutcome,
    ) -> ErrorCode {
        let id = self.send_end(producer, outcome);
        self.end_reply(id)
    }

    pub(super) fn end_reply(&mut self, id: RequestId) -> ErrorCode {
        match self.reply(id) {
            Some(Response::EndTransaction(error)) => error,
            other => panic!("no answer to EndTransaction: {other:?}"),
        }
    }

    pub(super) fn verify(
        &self,
        producer: ExpectedProducer,
        partitions: &[TopicPartition],
    ) -> Vec<ErrorCode> {
        let partitions = partitions.iter().cloned().collect();
        let answers = self.shard.verify_partitions(ID, producer, &partitions);
        answers.into_iter().map(|(_, error)| error).collect()
    }

    pub(super) fn describe(&self) -> TransactionDescription {
        self.shard.describe(ID).unwrap()
    }

    pub(super) fn state(&self) -> TransactionState {
        self.describe().state
    }

    /// What was written, in short: state and epoch of each value, `None` for tombstones.
    pub(super) fn written(&self) -> Vec<Option<(TransactionState, i16)>> {
        self.values()
            .into_iter()
            .map(|value| value.map(|value| (value.state, value.producer_epoch.0)))
            .collect()
    }

    pub(super) fn values(&self) -> Vec<Option<TransactionLogValue>> {
        let records = self.log.iter().flat_map(|append| &append.records);
        records
            .map(|record| {
                record
                    .value
                    .clone()
                    .map(|value| records::read_value(value).unwrap())
            })
            .collect()
    }

    /// A producer with an open transaction over t-0 and t-1.
    pub(super) fn begin(&mut self) -> ExpectedProducer {
        let producer = self.init(None).unwrap();
        assert_eq!(self.add(producer, &[t(0), t(1)]), ErrorCode::None);
        producer
    }

    /// Brings the only id into a state by requests: epoch 0 of producer 0, with t-0 and t-1.
    pub(super) fn in_state(state: TransactionState) -> (Self, ExpectedProducer) {
        let mut world = Self::new();
        let producer = world.init(None).unwrap();
        use TransactionState::{
            CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
        };
        if state != Empty {
            assert_eq!(world.add(producer, &[t(0), t(1)]), ErrorCode::None);
        }
        match state {
            Empty | Ongoing => {}
            PrepareCommit | PrepareAbort => {
                // As it is after a completion that this broker may no longer write.
                let outcome = if state == PrepareCommit {
                    COMMIT
                } else {
                    ABORT
                };
                world.acks = Acks::ByHand;
                let end = world.send_end(producer, outcome);
                world.ack();
                assert_eq!(world.end_reply(end), ErrorCode::None);
                world.refuse(ErrorCode::NotLeaderOrFollower);
                world.acks = Acks::AtOnce;
            }
            CompleteCommit => assert_eq!(world.end(producer, COMMIT), ErrorCode::None),
            CompleteAbort => assert_eq!(world.end(producer, ABORT), ErrorCode::None),
            TransactionState::Dead | TransactionState::PrepareEpochFence => {
                panic!("{state} is not seen from outside")
            }
        }
        assert_eq!(world.state(), state);
        (world, producer)
    }
}
