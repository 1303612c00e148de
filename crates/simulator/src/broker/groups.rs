//! The group coordinator's driver, as far as transactions go: offsets that count once their
//! transaction is committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::{Append, AppendToken, BatchInfo, RequestId, TransactionOutcome};
use ottla_group_coordinator::{
    Event, GroupAction, GroupCoordinatorShard, Loader, OffsetAndMetadata, OffsetCommitRequest,
    Request, Response as Answer, Status, TxnOffsetCommitRequest, offset_commit_error,
};
use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, ProducerId, TopicPartition};
use ottla_record::{
    BatchView, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, RecordBatchBuilder, TransactionResult,
};
use ottla_storage::VerificationGuard;

use super::leading::Waiter;
use super::transactions::{Unverified, both};
use super::{Io, Process};
use crate::message::{CallId, OffsetCommit, Response};
use crate::settings::Settings;

/// `offsets.commit.timeout.ms`
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the log of a partition is read.
const LOAD_TIME: Duration = Duration::from_millis(15);
/// A commit has no sequence number.
const NO_SEQUENCE: i32 = -1;

/// Everything about groups that one broker has in memory.
pub(super) struct Groups {
    shard: GroupCoordinatorShard,
    /// News of leadership and markers, in their order; those behind a load wait for its end.
    news: VecDeque<News>,
    load: Option<(Instant, Loader)>,
    events: VecDeque<(Event, VerificationGuard)>,
    callers: BTreeMap<RequestId, CallId>,
    next_request: u64,
}

enum News {
    Elected(LeaderEpoch),
    Resigned(Option<LeaderEpoch>),
    Completed(ProducerId, TransactionOutcome),
}

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            shard: GroupCoordinatorShard::new(Arc::default()),
            news: VecDeque::new(),
            load: None,
            events: VecDeque::new(),
            callers: BTreeMap::new(),
            next_request: 0,
        }
    }

    pub(super) fn elected(&mut self, tp: &TopicPartition, epoch: LeaderEpoch) {
        self.hear(tp, News::Elected(epoch));
    }

    pub(super) fn resigned(&mut self, tp: &TopicPartition, epoch: Option<LeaderEpoch>) {
        self.hear(tp, News::Resigned(epoch));
    }

    /// A marker is replicated.
    pub(super) fn completed(
        &mut self,
        tp: &TopicPartition,
        producer_id: ProducerId,
        outcome: TransactionOutcome,
    ) {
        self.hear(tp, News::Completed(producer_id, outcome));
    }

    fn hear(&mut self, tp: &TopicPartition, news: News) {
        if *tp == Settings::offsets_partition() {
            self.news.push_back(news);
        }
    }

    pub(super) fn appended(&mut self, token: AppendToken, error: ErrorCode, base_offset: Offset) {
        let result = if error.is_none() {
            Ok(base_offset)
        } else {
            Err(error)
        };
        let event = Event::AppendDone { token, result };
        self.events.push_back((event, VerificationGuard::NONE));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let load = self.load.as_ref().map(|(at, _)| *at);
        load.into_iter().chain(self.shard.next_deadline()).min()
    }
}

impl Process {
    /// Whether nothing waits to be loaded.
    pub(crate) fn groups_are_idle(&self) -> bool {
        self.groups.shard.status() != Status::Loading
    }

    /// What a group has committed, UNSTABLE_OFFSET_COMMIT if a transaction may change it.
    pub(crate) fn fetch_offset(
        &self,
        group_id: &str,
        partition: &TopicPartition,
    ) -> Result<Offset, ErrorCode> {
        let partitions = std::slice::from_ref(partition);
        let shard = &self.groups.shard;
        let fetched = shard.fetch_offsets(group_id, Some(partitions), true)?;
        let fetched = fetched.first().ok_or(ErrorCode::UnknownServerError)?;
        if fetched.error.is_none() {
            Ok(fetched.offset)
        } else {
            Err(fetched.error)
        }
    }

    /// TxnOffsetCommit: passes the gate, and verifies the transaction.
    pub(super) fn on_offset_commit(&mut self, call: CallId, commit: OffsetCommit, io: &mut Io<'_>) {
        let group_id = &commit.group_id;
        let passed = self
            .groups
            .shard
            .begin_transactional_commit(both(io), group_id);
        if let Err(error) = passed {
            return io.reply(call, Response::OffsetCommit(error));
        }
        let tp = Settings::offsets_partition();
        let producer = commit.producer;
        let transactional_id = Arc::clone(&commit.transactional_id);
        let work = Unverified::Offset(commit);
        self.verify_first(
            call,
            &transactional_id,
            producer,
            NO_SEQUENCE,
            &tp,
            work,
            io,
        );
    }

    /// The transaction is verified.
    pub(super) fn commit_offset(
        &mut self,
        call: CallId,
        commit: OffsetCommit,
        guard: VerificationGuard,
        io: &Io<'_>,
    ) {
        let value = OffsetAndMetadata {
            offset: commit.offset,
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            commit_timestamp: io.wall,
            expire_timestamp: None,
        };
        let request = Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            commit: OffsetCommitRequest {
                group_id: commit.group_id,
                member_id: "".into(),
                group_instance_id: None,
                generation_id: -1,
                offsets: vec![(commit.partition, value)],
            },
            producer_id: commit.producer.producer_id,
            producer_epoch: commit.producer.producer_epoch,
        });
        let groups = &mut self.groups;
        let id = RequestId(groups.next_request);
        groups.next_request += 1;
        groups.callers.insert(id, call);
        groups
            .events
            .push_back((Event::Request { id, request }, guard));
    }

    /// The transaction is not there, or nobody knows.
    pub(super) fn refuse_offset(call: CallId, error: ErrorCode, io: &mut Io<'_>) {
        io.reply(call, Response::OffsetCommit(offset_commit_error(error)));
    }

    /// Takes one thing that is due. Whether there was any.
    pub(super) fn coordinate_groups(&mut self, io: &mut Io<'_>) -> bool {
        let mut actions = Vec::new();
        let mut guard = VerificationGuard::NONE;
        let now = both(io);
        if self
            .groups
            .load
            .as_ref()
            .is_some_and(|(at, _)| *at <= io.now)
            && let Some((_, mut loader)) = self.groups.load.take()
        {
            if let Err(error) = self.read_groups(&mut loader) {
                self.halted.get_or_insert(error);
                return false;
            }
            self.groups.shard.finish_load(now, loader, &mut actions);
        } else if self.groups.load.is_none()
            && let Some(news) = self.groups.news.pop_front()
        {
            let shard = &mut self.groups.shard;
            match news {
                News::Elected(epoch) => {
                    let loader = shard.begin_load(epoch);
                    self.groups.load = loader.map(|loader| (io.now + LOAD_TIME, loader));
                }
                News::Resigned(epoch) => shard.handle(now, Event::Resigned(epoch), &mut actions),
                News::Completed(producer_id, outcome) => {
                    let event = Event::TransactionCompleted {
                        producer_id,
                        outcome,
                    };
                    shard.handle(now, event, &mut actions);
                }
            }
        } else if let Some((event, borne)) = self.groups.events.pop_front() {
            guard = borne;
            self.groups.shard.handle(now, event, &mut actions);
        } else {
            return false;
        }
        self.perform_group_actions(actions, guard, io);
        true
    }

    fn perform_group_actions(
        &mut self,
        actions: Vec<GroupAction>,
        guard: VerificationGuard,
        io: &mut Io<'_>,
    ) {
        for action in actions {
            match action {
                GroupAction::Reply { request, response } => {
                    let error = match &response {
                        Answer::OffsetCommit(answers) => answers.first(),
                        _ => None,
                    };
                    let error = error.map_or(ErrorCode::UnknownServerError, |(_, error)| *error);
                    if let Some(call) = self.groups.callers.remove(&request) {
                        io.reply(call, Response::OffsetCommit(error));
                    }
                }
                GroupAction::Append(append) => {
                    let waiter = Waiter::Group(append.token);
                    let tp = Settings::offsets_partition();
                    let guard = if append.transactional {
                        guard
                    } else {
                        VerificationGuard::NONE
                    };
                    let batch = build(&append);
                    let refused = self.append_for(&tp, waiter, guard, COMMIT_TIMEOUT, batch, io);
                    if let Err((_, error)) = refused {
                        self.groups.appended(append.token, error, -1);
                    }
                }
            }
        }
    }

    fn read_groups(&self, loader: &mut Loader) -> Result<(), String> {
        self.read_back(&Settings::offsets_partition(), |batch| {
            replay(batch, loader)
        })
    }
}

fn build(append: &Append) -> Bytes {
    let mut builder = RecordBatchBuilder::new(0)
        .producer(
            append.producer_id,
            append.producer_epoch,
            append.base_sequence,
        )
        .transactional(append.transactional);
    for record in &append.records {
        builder
            .append(append.timestamp, Some(&record.key), record.value.as_deref())
            .expect("a few small records fit in a batch");
    }
    builder.build().expect("a few small records make a batch")
}

fn replay(batch: &BatchView<'_>, loader: &mut Loader) -> Result<(), String> {
    let text = |error: ottla_record::InvalidRecords| error.to_string();
    let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(text)?;
    for record in records.iter().map_err(text)? {
        let record = record.map_err(text)?;
        if batch.is_control() {
            if let Some(marker) = EndTransactionMarker::parse(&record).map_err(text)? {
                let outcome = match marker.result {
                    TransactionResult::Commit => TransactionOutcome::Commit,
                    TransactionResult::Abort => TransactionOutcome::Abort,
                };
                loader.replay_marker(batch.producer_id, outcome);
            }
            continue;
        }
        let info = BatchInfo {
            base_offset: batch.base_offset(),
            producer_id: batch.producer_id,
            transactional: batch.is_transactional(),
        };
        let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
        let value = record.value.map(Bytes::copy_from_slice);
        loader
            .replay(info, key, value)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
