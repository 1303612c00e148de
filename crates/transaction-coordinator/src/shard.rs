//! All transactional ids of one partition of `__transaction_state`, and the gate before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator_runtime::{
    Append, AppendResult, AppendToken, CoordinatorRecord, DeadlineQueue, Durability, Now, RequestId,
};
use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::append_error::coordinator_error;
use crate::config::TransactionConfig;
use crate::end::EndedBy;
use crate::init_producer_id::InitProducerId;
use crate::load::{LoadOutcome, Loader};
use crate::messages::{
    Event, ExpectedProducer, ListFilter, Request, Response, TransactionAction,
    TransactionDescription, TransactionListing,
};
use crate::records;
use crate::state::TransactionState;
use crate::stats::{Gauges, Stats};
use crate::transaction::{Transaction, Transition};

/// Whether the shard serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The broker does not lead the partition.
    NotOwned,
    /// The partition is being read, or not all that was read is replicated.
    Loading,
    /// Requests are served.
    Active,
    /// The broker goes down.
    ShutDown,
}

/// The transaction coordinator of one partition.
#[derive(Debug)]
pub struct TransactionCoordinatorShard {
    pub(crate) config: Arc<TransactionConfig>,
    status: Status,
    /// The newest leadership that was heard of; older news is ignored. While the shard loads and
    /// serves, this is the coordinator epoch.
    leader_epoch: Option<LeaderEpoch>,
    /// Numbers the loads, so that a load that was overtaken is recognized.
    load_ticket: u64,
    pub(crate) transactions: BTreeMap<Arc<str>, Transaction>,
    /// Requests that wait for a producer id.
    pub(crate) awaiting_producer_id: BTreeMap<RequestId, InitProducerId>,
    next_token: u64,
    appends: BTreeMap<AppendToken, InFlight>,
    /// Completions whose record was refused, to be appended again at their deadline.
    pub(crate) completion_retries: BTreeMap<Arc<str>, Transition>,
    pub(crate) deadlines: DeadlineQueue<Arc<str>>,
    pub(crate) stats: Stats,
}

/// What an append is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum InFlight {
    /// One id's next state.
    Transition {
        transactional_id: Arc<str>,
        coordinator_epoch: LeaderEpoch,
        transition: Transition,
        purpose: Purpose,
    },
    /// Tombstones of these ids, each with the epoch that it had.
    Tombstones {
        coordinator_epoch: LeaderEpoch,
        expired: Vec<(Arc<str>, ProducerEpoch)>,
    },
}

/// Why an id changes its state, and who waits for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A producer is initialized.
    Init { request: RequestId },
    /// Partitions are added.
    AddPartitions { request: RequestId },
    /// The transaction's end is decided.
    End { by: EndedBy },
    /// All markers are written.
    Complete,
}

impl TransactionCoordinatorShard {
    /// A shard whose partition the broker does not lead yet.
    pub fn new(config: Arc<TransactionConfig>) -> Self {
        Self {
            config,
            status: Status::NotOwned,
            leader_epoch: None,
            load_ticket: 0,
            transactions: BTreeMap::new(),
            awaiting_producer_id: BTreeMap::new(),
            next_token: 0,
            appends: BTreeMap::new(),
            completion_retries: BTreeMap::new(),
            deadlines: DeadlineQueue::default(),
            stats: Stats::default(),
        }
    }

    /// Whether the shard serves.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many ids there are.
    pub fn gauges(&self) -> Gauges {
        let count = |is: fn(TransactionState) -> bool| {
            self.transactions
                .values()
                .filter(|transaction| is(transaction.state))
                .count()
        };
        Gauges {
            transactional_ids: self.transactions.len(),
            ongoing: count(|state| state == TransactionState::Ongoing),
            prepared: count(TransactionState::is_prepared),
            log_append_retries: self.completion_retries.len(),
        }
    }

    /// When [`Event::DeadlinesDue`] is to be given next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next_deadline()
    }

    /// The broker was elected: from now on requests hear that the partition is being loaded.
    /// The loader is to be fed with the whole log and given to [`Self::finish_load`]. `None` if
    /// the news is old, or the partition is owned or being loaded under this epoch already.
    pub fn begin_load(
        &mut self,
        leader_epoch: LeaderEpoch,
        actions: &mut Vec<TransactionAction>,
    ) -> Option<Loader> {
        let is_owned = matches!(self.status, Status::Loading | Status::Active);
        if self.status == Status::ShutDown
            || (is_owned && self.leader_epoch == Some(leader_epoch))
            || !self.learn_epoch(Some(leader_epoch))
        {
            return None;
        }
        self.forget(actions);
        self.status = Status::Loading;
        self.load_ticket += 1;
        Some(Loader::new(self.load_ticket))
    }

    /// The log is read: begin to serve, and to write the markers of all transactions whose end is
    /// decided, once the partition's high watermark has reached the end of what was read.
    ///
    /// Kafka does not wait. But what is above the high watermark may be gone under the next leader:
    /// that one would abort a transaction of which markers say that it is committed, or not know of
    /// a partition whose producer heard that it is in the transaction.
    pub fn finish_load(
        &mut self,
        now: Now,
        loader: Loader,
        high_watermark: Offset,
        actions: &mut Vec<TransactionAction>,
    ) -> LoadOutcome {
        if self.status != Status::Loading || loader.ticket != self.load_ticket {
            return LoadOutcome::Overtaken;
        }
        if high_watermark < loader.end_offset {
            return LoadOutcome::NotReplicated(loader);
        }
        self.status = Status::Active;
        let mut prepared = Vec::new();
        for (transactional_id, value) in loader.transactions {
            if value.state.is_prepared() {
                prepared.push(Arc::clone(&transactional_id));
            }
            self.transactions
                .insert(transactional_id, Transaction::loaded(value));
        }
        for transactional_id in prepared {
            self.begin_completion(now, &transactional_id, actions);
        }
        LoadOutcome::Serving
    }

    /// What was read will not be replicated under this leadership: the partition is as good as
    /// lost, unless it is being loaded anew.
    pub fn give_up_load(&mut self, loader: &Loader) {
        if self.status == Status::Loading && loader.ticket == self.load_ticket {
            self.status = Status::NotOwned;
        }
    }

    /// Takes an event and appends what is to be done to `actions`.
    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<TransactionAction>) {
        match event {
            Event::Request { id, request } => self.on_request(now, id, request, actions),
            Event::ProducerIdAllocated { request, result } => {
                self.on_producer_id(now, request, result, actions);
            }
            Event::AppendDone { token, result } => {
                self.on_append_done(now, token, result, actions);
            }
            Event::MarkersWritten { key, partitions } => {
                self.on_markers_written(now, &key, &partitions, actions);
            }
            Event::MarkersFenced { key } => self.on_markers_fenced(&key),
            Event::DeadlinesDue => self.retry_completions(now, actions),
            Event::AbortTimedOutTransactions => self.abort_timed_out(now, actions),
            Event::ExpireTransactionalIds { batch_size_max } => {
                self.expire_ids(now, batch_size_max, actions);
            }
            Event::Resigned(leader_epoch) => {
                if self.learn_epoch(leader_epoch) && self.status != Status::ShutDown {
                    self.forget(actions);
                    self.status = Status::NotOwned;
                }
            }
            Event::ShutDown => {
                self.forget(actions);
                self.status = Status::ShutDown;
            }
        }
    }

    /// DescribeTransactions, one id.
    ///
    /// # Errors
    /// Why it cannot be described; TRANSACTIONAL_ID_NOT_FOUND if it is not known.
    pub fn describe(&self, transactional_id: &str) -> Result<TransactionDescription, ErrorCode> {
        if self.status == Status::ShutDown {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.gate()?;
        let transaction = self
            .transactions
            .get(transactional_id)
            .ok_or(ErrorCode::TransactionalIdNotFound)?;
        Ok(TransactionDescription {
            state: transaction.state,
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            timeout_ms: transaction.timeout_ms,
            start_timestamp: transaction.start_timestamp,
            partitions: transaction.partitions.clone(),
        })
    }

    /// ListTransactions: the ids of this shard. Kafka lists nothing at all while any shard of the
    /// broker is [`Status::Loading`]: the caller looks.
    pub fn list(&self, filter: &ListFilter, now: Timestamp) -> Vec<TransactionListing> {
        let is_wanted = |transaction: &Transaction| {
            let age = now.0.saturating_sub(transaction.start_timestamp.0);
            (filter.producer_ids.is_empty()
                || filter.producer_ids.contains(&transaction.producer_id))
                && (filter.states.is_empty() || filter.states.contains(transaction.state.name()))
                && filter
                    .duration_ms
                    .is_none_or(|least| least < 0 || age > least)
        };
        self.transactions
            .iter()
            .filter(|(_, transaction)| is_wanted(transaction))
            .map(|(transactional_id, transaction)| TransactionListing {
                transactional_id: Arc::clone(transactional_id),
                producer_id: transaction.producer_id,
                state: transaction.state,
            })
            .collect()
    }

    /// Why requests are not served, if they are not.
    pub(crate) fn gate(&self) -> Result<LeaderEpoch, ErrorCode> {
        match (self.status, self.leader_epoch) {
            (Status::Active, Some(epoch)) => Ok(epoch),
            (Status::Loading, _) => Err(ErrorCode::CoordinatorLoadInProgress),
            (Status::NotOwned | Status::ShutDown | Status::Active, _) => {
                Err(ErrorCode::NotCoordinator)
            }
        }
    }

    /// The transaction, if the shard still serves under the epoch; NOT_COORDINATOR if it does not.
    pub(crate) fn owned(
        &mut self,
        coordinator_epoch: LeaderEpoch,
        transactional_id: &str,
    ) -> Result<&mut Transaction, ErrorCode> {
        if self.gate()? != coordinator_epoch {
            return Err(ErrorCode::NotCoordinator);
        }
        self.transactions
            .get_mut(transactional_id)
            .ok_or(ErrorCode::NotCoordinator)
    }

    /// Appends the record of a transition that was prepared.
    pub(crate) fn append_transition(
        &mut self,
        now: Now,
        transactional_id: Arc<str>,
        transition: Transition,
        purpose: Purpose,
        actions: &mut Vec<TransactionAction>,
    ) {
        let Ok(coordinator_epoch) = self.gate() else {
            unreachable!("transitions are prepared only while the shard serves");
        };
        let timeout_ms = transition.value.timeout_ms;
        let record = records::key(&transactional_id).and_then(|key| {
            let value = records::value(&transition.value)?;
            Ok(CoordinatorRecord {
                key,
                value: Some(value),
            })
        });
        let in_flight = InFlight::Transition {
            transactional_id,
            coordinator_epoch,
            transition,
            purpose,
        };
        match record {
            Ok(record) => self.append(now, vec![record], timeout_ms, in_flight, actions),
            Err(error) => {
                // As in Kafka, whose serializer throws.
                tracing::warn!(%error, "a transaction's record cannot be written");
                self.settle(now, in_flight, Err(ErrorCode::UnknownServerError), actions);
            }
        }
    }

    pub(crate) fn append(
        &mut self,
        now: Now,
        records: Vec<CoordinatorRecord>,
        timeout_ms: i32,
        in_flight: InFlight,
        actions: &mut Vec<TransactionAction>,
    ) {
        let token = AppendToken(self.next_token);
        self.next_token += 1;
        self.appends.insert(token, in_flight);
        let append = Append {
            token,
            records,
            timestamp: now.timestamp,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            transactional: false,
            durability: Durability::Required,
        };
        actions.push(TransactionAction::Append { append, timeout_ms });
    }

    fn on_request(
        &mut self,
        now: Now,
        id: RequestId,
        request: Request,
        actions: &mut Vec<TransactionAction>,
    ) {
        match request {
            Request::InitProducerId {
                transactional_id,
                timeout_ms,
                expected,
            } => {
                let init = InitProducerId {
                    transactional_id,
                    timeout_ms,
                    expected,
                };
                self.init_producer_id(now, id, init, None, actions);
            }
            Request::AddPartitions {
                transactional_id,
                producer_id,
                producer_epoch,
                partitions,
            } => {
                let producer = ExpectedProducer {
                    producer_id,
                    producer_epoch,
                };
                self.add_partitions(now, id, &transactional_id, producer, partitions, actions);
            }
            Request::EndTransaction {
                transactional_id,
                producer_id,
                producer_epoch,
                outcome,
            } => {
                let producer = ExpectedProducer {
                    producer_id,
                    producer_epoch,
                };
                self.end_transaction(now, id, &transactional_id, producer, outcome, actions);
            }
        }
    }

    fn on_append_done(
        &mut self,
        now: Now,
        token: AppendToken,
        result: AppendResult,
        actions: &mut Vec<TransactionAction>,
    ) {
        if let Some(in_flight) = self.appends.remove(&token) {
            self.settle(now, in_flight, result.map(|_| ()), actions);
        }
    }

    /// Takes what the log said about a record.
    fn settle(
        &mut self,
        now: Now,
        in_flight: InFlight,
        result: Result<(), ErrorCode>,
        actions: &mut Vec<TransactionAction>,
    ) {
        match in_flight {
            InFlight::Tombstones {
                coordinator_epoch,
                expired,
            } => {
                self.tombstones_appended(coordinator_epoch, expired, result);
            }
            InFlight::Transition {
                transactional_id,
                coordinator_epoch,
                transition,
                purpose,
            } => {
                let result = result.map_err(coordinator_error).and_then(|()| {
                    self.owned(coordinator_epoch, &transactional_id)?
                        .complete(transition.clone());
                    Ok(())
                });
                if purpose == Purpose::Complete {
                    let completion = (coordinator_epoch, transition);
                    self.completion_appended(now, &transactional_id, completion, result);
                    return;
                }
                if result.is_err()
                    && let Ok(transaction) = self.owned(coordinator_epoch, &transactional_id)
                {
                    transaction.pending = None;
                }
                match purpose {
                    Purpose::Init { request } => {
                        let value = transition.value;
                        let response = Response::InitProducerId(result.map(|()| {
                            let (producer_id, producer_epoch) =
                                (value.producer_id, value.producer_epoch);
                            ExpectedProducer {
                                producer_id,
                                producer_epoch,
                            }
                        }));
                        actions.push(TransactionAction::Reply { request, response });
                    }
                    Purpose::AddPartitions { request } => {
                        let response =
                            Response::AddPartitions(result.err().unwrap_or(ErrorCode::None));
                        actions.push(TransactionAction::Reply { request, response });
                    }
                    Purpose::End { by } => {
                        self.end_appended(
                            now,
                            (&transactional_id, coordinator_epoch),
                            by,
                            result,
                            actions,
                        );
                    }
                    Purpose::Complete => {}
                }
            }
        }
    }

    fn learn_epoch(&mut self, heard: Option<LeaderEpoch>) -> bool {
        let Some(heard) = heard else { return true };
        if self.leader_epoch.is_some_and(|known| heard < known) {
            return false;
        }
        self.leader_epoch = Some(heard);
        true
    }

    /// Drops all ids and their markers. Whoever waits for an append or a producer id is answered
    /// when that has its result.
    fn forget(&mut self, actions: &mut Vec<TransactionAction>) {
        actions.push(TransactionAction::CancelMarkers);
        self.transactions.clear();
        self.completion_retries.clear();
        self.deadlines.clear();
    }
}
