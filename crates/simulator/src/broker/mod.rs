//! One running broker: the deciding crates and real logs, driven as the shipped broker drives
//! them, with messages and disk under the simulation's hand.

mod commands;
mod controlling;
mod disk;
mod following;
mod groups;
mod leading;
mod metadata;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_controller::{Controller, ControllerConfig, Token, View};
use ottla_model::control::ControlRequest;
use ottla_model::{
    BrokerEpoch, BrokerId, Instant, LeaderEpoch, LiveBroker, Offset, Timestamp, TopicPartition,
};
use ottla_replication::control::ControlFence;
use ottla_replication::fetcher::{EpochQuery, PlannedFetch};
use ottla_replication::isr_manager::{IsrChange, IsrManager};
use ottla_replication::partition::Surroundings;
use ottla_replication::{LogOffsets, Partition};
use ottla_storage::directory::FaultyDirectory;
use ottla_storage::{LoadError, Log, VerificationGuard};
use ottla_transaction_coordinator::SendToken;

use crate::message::{CallId, Lane, Output, Request, Response};
use crate::settings::Settings;

use controlling::Channel;
use disk::Disk;
use following::Follower;
use groups::Groups;
use leading::{WaitingFetcher, WaitingProducer};
use metadata::Metadata;
use transactions::{Transactions, Verification};

/// The clocks, names for calls, and a place for what is to be done.
pub(crate) struct Io<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) next_call: &'a mut CallId,
    pub(crate) outputs: Vec<Output>,
}

impl Io<'_> {
    fn call(&mut self, to: BrokerId, lane: Lane, request: Request) -> CallId {
        let id = *self.next_call;
        *self.next_call += 1;
        self.outputs.push(Output::Call {
            id,
            to,
            lane,
            request,
        });
        id
    }

    fn reply(&mut self, call: CallId, response: Response) {
        self.outputs.push(Output::Reply { call, response });
    }
}

/// One partition here: the decisions and the log.
pub(crate) struct Replica {
    pub(crate) partition: Partition,
    pub(crate) log: Option<Log>,
    producers: Vec<WaitingProducer>,
    /// How far the log was cut since the checker looked last.
    pub(crate) cut_to: Option<Offset>,
}

/// What a call of this broker was for.
enum Purpose {
    Control {
        broker: BrokerId,
        request: Arc<ControlRequest>,
    },
    Fetch {
        leader: BrokerId,
        sent: Vec<PlannedFetch>,
    },
    Offsets {
        leader: BrokerId,
        sent: PlannedFetch,
    },
    EpochEnds {
        leader: BrokerId,
        queries: Vec<EpochQuery>,
    },
    IsrChanges {
        sent: Vec<(TopicPartition, IsrChange)>,
    },
    ControlledShutdown,
    Verification(Verification),
    Markers(SendToken),
    ProducerIds,
}

/// How far an orderly end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopping {
    No,
    /// The controller is being asked to move leaders; so many tries are left, the next one then.
    Asking {
        tries: u32,
        next: Instant,
    },
    /// Nothing keeps it any more.
    Ready,
}

/// A broker from its start to its end.
pub(crate) struct Process {
    pub(crate) id: BrokerId,
    settings: Arc<Settings>,
    disk: Disk,
    controller: Controller,
    session: i64,
    fence: ControlFence,
    metadata: Metadata,
    pub(crate) replicas: BTreeMap<TopicPartition, Replica>,
    /// By the leader that they fetch from.
    followers: BTreeMap<BrokerId, Follower>,
    fetches: BTreeMap<CallId, WaitingFetcher>,
    isr_manager: IsrManager,
    /// Changes on their way to a controller that has not been found or has not answered.
    isr_request: Option<controlling::IsrRequest>,
    channels: BTreeMap<BrokerId, Channel>,
    callers: BTreeMap<Token, CallId>,
    next_token: u64,
    calls: BTreeMap<CallId, Purpose>,
    /// Partitions to be looked at again: by waiting requests here, by the checker outside.
    touched: BTreeSet<TopicPartition>,
    transactions: Transactions,
    groups: Groups,
    next_shrink: Instant,
    next_checkpoint: Instant,
    next_flush: Instant,
    pub(crate) stopping: Stopping,
    /// Why the broker cannot go on.
    pub(crate) halted: Option<String>,
}

pub(crate) fn live_broker(id: BrokerId, epoch: BrokerEpoch) -> LiveBroker {
    LiveBroker {
        id,
        epoch,
        endpoints: vec![ottla_model::Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "simulated".to_owned(),
            port: 9092 + id.0,
            protocol: ottla_model::SecurityProtocol::Plaintext,
        }],
        rack: None,
    }
}

impl Process {
    /// A broker that is registered already: opens its logs and begins to take part.
    pub(crate) fn start(
        (id, epoch): (BrokerId, BrokerEpoch),
        session: i64,
        settings: &Arc<Settings>,
        directory: &FaultyDirectory,
        seed: u64,
        io: &mut Io<'_>,
    ) -> Result<Self, LoadError> {
        let mut config = ControllerConfig::new(live_broker(id, epoch));
        config.auto_leader_rebalance_enable = settings.auto_leader_rebalance;
        config.leader_imbalance_check_interval = std::time::Duration::from_secs(5);
        let mut process = Self {
            id,
            settings: Arc::clone(settings),
            disk: Disk::open(directory, settings, seed, io.wall)?,
            controller: Controller::new(config, session, seed),
            session,
            fence: ControlFence::default(),
            metadata: Metadata::default(),
            replicas: BTreeMap::new(),
            followers: BTreeMap::new(),
            fetches: BTreeMap::new(),
            isr_manager: IsrManager::default(),
            isr_request: None,
            channels: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_token: 0,
            calls: BTreeMap::new(),
            touched: BTreeSet::new(),
            transactions: Transactions::new(io.now),
            groups: Groups::new(),
            next_shrink: io.now + settings.replica_lag_time_max / 2,
            next_checkpoint: io.now + settings.high_watermark_checkpoint_interval,
            next_flush: io.now + settings.flush_interval,
            stopping: Stopping::No,
            halted: None,
        };
        process.tell_controller(ottla_controller::Event::Startup, io);
        Ok(process)
    }

    /// The log of a partition, hosted or only found at the start.
    pub(crate) fn log(&self, partition: &TopicPartition) -> Option<&Log> {
        let hosted = self.replicas.get(partition).and_then(|r| r.log.as_ref());
        hosted.or_else(|| self.disk.found(partition))
    }

    pub(crate) fn view(&self) -> View {
        self.controller.view()
    }

    /// The partitions that may have changed since the last call.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<TopicPartition> {
        std::mem::take(&mut self.touched)
    }

    pub(crate) fn on_request(&mut self, call: CallId, request: Request, io: &mut Io<'_>) {
        match request {
            Request::Control(request) => self.on_control(call, &request, io),
            Request::Fetch(request) => self.on_fetch(call, request, io),
            Request::ListOffsets {
                partition,
                current_leader_epoch,
            } => {
                let answer = self.list_offsets(&partition, current_leader_epoch);
                io.reply(call, Response::ListOffsets(answer));
            }
            Request::EpochEnds(queries) => {
                let answers = queries.iter().map(|query| self.epoch_end(query)).collect();
                io.reply(call, Response::EpochEnds(answers));
            }
            Request::Controller(request) => self.on_api_request(call, request, io),
            Request::Produce {
                partition,
                required,
                transactional_id,
                records,
            } => match transactional_id {
                None => self.on_produce(
                    call,
                    &partition,
                    (required, VerificationGuard::NONE),
                    records,
                    io,
                ),
                Some(id) => self.on_transactional_produce(call, &id, &partition, records, io),
            },
            Request::Transaction(request) => self.on_transaction_request(call, request),
            Request::Verify {
                transactional_id,
                producer,
                partitions,
            } => {
                let answer = self.verify(&transactional_id, producer, &partitions);
                io.reply(call, Response::Verified(answer));
            }
            Request::WriteMarkers(markers) => self.on_write_markers(call, &markers, io),
            Request::CommitOffset(commit) => self.on_offset_commit(call, commit, io),
            Request::FetchOffset {
                group_id,
                partition,
            } => {
                let fetched = self.fetch_offset(&group_id, &partition);
                let leader = self.leads(&Settings::offsets_partition());
                let leader_epoch = leader.map_or(LeaderEpoch::NONE, |replica| {
                    replica.partition.leader_epoch()
                });
                io.reply(
                    call,
                    Response::Offset {
                        fetched,
                        leader_epoch,
                    },
                );
            }
            Request::Consume {
                partition,
                fetch_offset,
                isolation,
            } => {
                let fetched = self.consume(&partition, fetch_offset, isolation);
                io.reply(call, Response::Consume(fetched));
            }
            Request::Metadata { partition } => {
                let response = Response::Metadata {
                    leader: self.metadata.leader(&partition),
                };
                io.reply(call, response);
            }
        }
        self.settle(io);
    }

    /// An answer, or `None` when the connection is gone.
    pub(crate) fn on_response(
        &mut self,
        call: CallId,
        response: Option<Response>,
        io: &mut Io<'_>,
    ) {
        let Some(purpose) = self.calls.remove(&call) else {
            return;
        };
        match (purpose, response) {
            (Purpose::Control { broker, request }, response) => {
                self.on_control_answer(broker, request, response, io);
            }
            (Purpose::Fetch { leader, sent }, Some(Response::Fetch(answers))) => {
                self.on_fetched(leader, &sent, answers, io);
            }
            (Purpose::Offsets { leader, sent }, Some(Response::ListOffsets(answer))) => {
                self.on_leader_offsets(leader, &sent, answer, io);
            }
            (Purpose::EpochEnds { leader, queries }, Some(Response::EpochEnds(answers))) => {
                self.on_epoch_ends(leader, &queries, &answers, io);
            }
            (
                Purpose::Fetch { leader, .. }
                | Purpose::Offsets { leader, .. }
                | Purpose::EpochEnds { leader, .. },
                _,
            ) => self.on_leader_lost(leader, io),
            (Purpose::IsrChanges { sent }, response) => self.on_isr_answer(sent, response, io),
            (Purpose::ControlledShutdown, response) => self.on_shutdown_answer(response, io),
            (Purpose::Verification(waiting), response) => {
                self.on_verified(waiting, response, io);
            }
            (Purpose::Markers(token), response) => self.on_markers_answered(token, response),
            (Purpose::ProducerIds, response) => self.on_producer_ids(response),
        }
        self.settle(io);
    }

    /// Something may be due.
    pub(crate) fn on_wake(&mut self, io: &mut Io<'_>) {
        let now = io.now;
        if self.controller.next_deadline().is_some_and(|at| at <= now) {
            self.tell_controller(ottla_controller::Event::Tick, io);
        }
        if self.next_shrink <= now {
            self.next_shrink = now + self.settings.replica_lag_time_max / 2;
            self.shrink_isrs(io);
        }
        if self.next_checkpoint <= now {
            self.next_checkpoint = now + self.settings.high_watermark_checkpoint_interval;
            self.checkpoint_high_watermarks();
        }
        if self.next_flush <= now {
            self.next_flush = now + self.settings.flush_interval;
            self.flush_logs(io);
        }
        self.settle(io);
    }

    /// When to call [`on_wake`](Self::on_wake).
    pub(crate) fn next_deadline(&self, now: Instant) -> Instant {
        let mut next = self
            .next_shrink
            .min(self.next_checkpoint)
            .min(self.next_flush);
        let others = self
            .controller
            .next_deadline()
            .into_iter()
            .chain(self.isr_manager.next_deadline())
            .chain(self.isr_request.as_ref().and_then(|r| r.retry_at))
            .chain(self.channels.values().filter_map(Channel::next_deadline))
            .chain(self.followers.values().filter_map(|f| f.next_deadline(now)))
            .chain(self.fetches.values().map(|fetch| fetch.deadline))
            .chain(self.transactions.next_deadline())
            .chain(self.groups.next_deadline())
            .chain(
                self.replicas
                    .values()
                    .flat_map(|replica| replica.producers.iter().map(|p| p.deadline)),
            );
        for deadline in others {
            next = next.min(deadline);
        }
        if let Stopping::Asking { next: at, .. } = self.stopping {
            next = next.min(at);
        }
        next
    }

    /// After every event: answers what can be answered, sends what can be sent.
    fn settle(&mut self, io: &mut Io<'_>) {
        self.coordinate_transactions(io);
        self.send_isr_changes(io);
        self.send_orders(io);
        self.fetch(io);
        self.ask_to_stop(io);
        if self.disk.is_offline() {
            self.halted = Some("the only log directory has failed".to_owned());
        }
    }

    /// Lets go of everything as after kill -9; what was written stays.
    pub(crate) fn kill(self) {}

    /// The orderly end.
    pub(crate) fn close(mut self, now: Timestamp) {
        let logs = self
            .replicas
            .iter_mut()
            .filter_map(|(tp, replica)| Some((tp, replica.log.as_mut()?)));
        self.disk.close(logs, now);
    }
}

impl Replica {
    fn new(partition: TopicPartition, local: BrokerId, settings: &Settings) -> Self {
        Self {
            partition: Partition::new(partition, local, settings.replica_lag_time_max),
            log: None,
            producers: Vec::new(),
            cut_to: None,
        }
    }

    /// The log's offsets; all 0 without a log.
    fn offsets(&self) -> LogOffsets {
        self.log.as_ref().map_or_else(LogOffsets::default, offsets)
    }

    fn advance_high_watermark(&mut self, around: &Surroundings<'_>) {
        if let Some(offset) = self.partition.next_high_watermark(&self.offsets(), around)
            && let Some(log) = &mut self.log
        {
            log.update_high_watermark(offset);
        }
    }
}

pub(crate) fn offsets(log: &Log) -> LogOffsets {
    LogOffsets {
        log_start_offset: log.log_start_offset(),
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable_offset(),
        log_end_offset: log.log_end_offset(),
    }
}
