//! What travels between the nodes: values, as the deciding crates speak them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_controller::{Answer, ApiRequest};
use ottla_coordination::{RequestId, WatchEvent};
use ottla_model::control::{ControlRequest, ControlResponse};
use ottla_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderAndIsr, LeaderEpoch, Offset, ProducerId, TopicPartition,
};
use ottla_replication::fetcher::{EpochQuery, PlannedFetch};
use ottla_replication::partition::{EpochEndOffset, Required};
use ottla_storage::{AbortedTransaction, FetchIsolation};
use ottla_transaction_coordinator::{Answers, ExpectedProducer, TransactionMarkers};

/// Names a call, once and for all.
pub(crate) type CallId = u64;

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Node {
    Broker(BrokerId),
    Client(u32),
}

/// A connection of its own between two nodes: requests on one are in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    /// The controller's orders.
    Control,
    /// A follower's fetches.
    Replication,
    /// A broker's wishes to the controller.
    ToController,
    /// Markers of transactions.
    Markers,
    /// Whether partitions are in a transaction.
    Verification,
    /// Everything that clients ask.
    Client,
}

#[derive(Clone)]
pub(crate) enum Request {
    Control(Arc<ControlRequest>),
    Fetch(FetchRequest),
    /// Latest and earliest offset, as a follower asks.
    ListOffsets {
        partition: TopicPartition,
        current_leader_epoch: LeaderEpoch,
    },
    EpochEnds(Vec<EpochQuery>),
    Controller(ApiRequest),
    Produce {
        partition: TopicPartition,
        required: Required,
        transactional_id: Option<Arc<str>>,
        records: Bytes,
    },
    Consume {
        partition: TopicPartition,
        fetch_offset: Offset,
        isolation: FetchIsolation,
    },
    Transaction(ottla_transaction_coordinator::Request),
    /// AddPartitionsToTxn that only verifies (KIP-890).
    Verify {
        transactional_id: Arc<str>,
        producer: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
    },
    WriteMarkers(Vec<TransactionMarkers>),
    /// TxnOffsetCommit
    CommitOffset(OffsetCommit),
    /// OffsetFetch that requires stable offsets.
    FetchOffset {
        group_id: Arc<str>,
        partition: TopicPartition,
    },
    Metadata {
        partition: TopicPartition,
    },
}

/// An offset that counts once its transaction is committed.
#[derive(Clone, Debug)]
pub(crate) struct OffsetCommit {
    pub(crate) transactional_id: Arc<str>,
    pub(crate) producer: ExpectedProducer,
    pub(crate) group_id: Arc<str>,
    pub(crate) partition: TopicPartition,
    pub(crate) offset: Offset,
}

#[derive(Clone)]
pub(crate) struct FetchRequest {
    pub(crate) follower: BrokerId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) partitions: Vec<FollowerPosition>,
}

#[derive(Clone)]
pub(crate) struct FollowerPosition {
    pub(crate) fetch: PlannedFetch,
    pub(crate) log_start_offset: Offset,
}

#[derive(Clone, Debug)]
pub(crate) enum Response {
    Control(ControlResponse),
    Fetch(Vec<Fetched>),
    /// Latest and earliest.
    ListOffsets(Result<(Offset, Offset), ErrorCode>),
    EpochEnds(Vec<Result<EpochEndOffset, ErrorCode>>),
    Controller(Answer),
    Produce {
        error: ErrorCode,
        base_offset: Offset,
        /// Of the broker that answers, for the checker: −1 if it does not lead.
        leader_epoch: LeaderEpoch,
    },
    Consume(Fetched),
    Transaction(ottla_transaction_coordinator::Response),
    Verified(Vec<(TopicPartition, ErrorCode)>),
    Markers(Answers),
    OffsetCommit(ErrorCode),
    Offset {
        /// −1 for none.
        fetched: Result<Offset, ErrorCode>,
        /// Of the broker that answers, for the checker: −1 if it does not lead.
        leader_epoch: LeaderEpoch,
    },
    Metadata {
        leader: Option<BrokerId>,
    },
}

/// One partition of the answer to a fetch.
#[derive(Clone)]
pub(crate) struct Fetched {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
    pub(crate) diverging_epoch: Option<EpochEndOffset>,
    pub(crate) records: Bytes,
    /// For consumers that read what is committed only.
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// For the checker: where the open transactions in the leader's log begin.
    pub(crate) open: BTreeMap<ProducerId, Offset>,
}

impl Fetched {
    pub(crate) fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            records: Bytes::new(),
            aborted: Vec::new(),
            open: BTreeMap::new(),
        }
    }
}

/// What a broker wants done.
#[derive(Debug)]
pub(crate) enum Output {
    Call {
        id: CallId,
        to: BrokerId,
        lane: Lane,
        request: Request,
    },
    Reply {
        call: CallId,
        response: Response,
    },
    Coordinate {
        session: i64,
        id: RequestId,
        request: ottla_coordination::Request,
    },
    /// The session has expired: open another one as soon as possible.
    OpenSession,
}

/// What the coordination service sends to a session's owner.
#[derive(Clone, Debug)]
pub(crate) enum FromEnsemble {
    Event(ottla_coordination::Event),
    Opened(i64),
}

impl From<WatchEvent> for FromEnsemble {
    fn from(watch: WatchEvent) -> Self {
        Self::Event(ottla_coordination::Event::Watch(watch))
    }
}

// Short forms for the trace.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(request) => write_order(f, request),
            Self::Fetch(request) => {
                write!(f, "fetch")?;
                request.partitions.iter().try_for_each(|position| {
                    let fetch = &position.fetch;
                    write!(
                        f,
                        " {}@{} epoch {} last {:?}",
                        fetch.partition,
                        fetch.fetch_offset,
                        fetch.current_leader_epoch,
                        fetch.last_fetched_epoch
                    )
                })
            }
            Self::ListOffsets {
                partition,
                current_leader_epoch,
            } => write!(f, "offsets of {partition} epoch {current_leader_epoch}"),
            Self::EpochEnds(queries) => write!(f, "ends of {queries:?}"),
            Self::Controller(request) => request.fmt(f),
            Self::Produce {
                partition,
                required,
                transactional_id,
                records,
            } => write!(
                f,
                "produce {partition} {required:?} {transactional_id:?} {} bytes",
                records.len()
            ),
            Self::Consume {
                partition,
                fetch_offset,
                isolation,
            } => write!(f, "consume {partition}@{fetch_offset} {isolation:?}"),
            Self::Transaction(request) => request.fmt(f),
            Self::Verify {
                transactional_id,
                producer,
                partitions,
            } => write!(f, "verify {transactional_id} {producer:?} {partitions:?}"),
            Self::WriteMarkers(markers) => write!(f, "markers {markers:?}"),
            Self::CommitOffset(commit) => commit.fmt(f),
            Self::FetchOffset {
                group_id,
                partition,
            } => write!(f, "offset of {group_id} for {partition}"),
            Self::Metadata { partition } => write!(f, "metadata of {partition}"),
        }
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.error.is_none() {
            return write!(f, "{:?}", self.error);
        }
        write!(f, "{} bytes hw {}", self.records.len(), self.high_watermark)?;
        match self.diverging_epoch {
            Some(end) => write!(f, " diverging {end:?}"),
            None => Ok(()),
        }
    }
}

fn write_order(f: &mut fmt::Formatter<'_>, order: &ControlRequest) -> fmt::Result {
    match order {
        ControlRequest::LeaderAndIsr(request) => {
            write!(f, "LISR cEp {}", request.header.controller_epoch)?;
            request.partitions.iter().try_for_each(|partition| {
                write!(f, " {}(", partition.topic_partition)?;
                write_state(f, &partition.state)?;
                write!(f, " AR {:?})", partition.assignment.replicas)
            })
        }
        ControlRequest::UpdateMetadata(request) => {
            write!(f, "UMR cEp {}", request.header.controller_epoch)?;
            let live: Vec<_> = request.live_brokers.iter().map(|b| b.id).collect();
            write!(f, " live {live:?}")?;
            request.partitions.iter().try_for_each(|partition| {
                write!(f, " {}(", partition.topic_partition)?;
                write_state(f, &partition.state)?;
                write!(f, ")")
            })
        }
        ControlRequest::StopReplica(request) => {
            write!(f, "STOP cEp {}", request.header.controller_epoch)?;
            request.partitions.iter().try_for_each(|partition| {
                let (tp, epoch) = (&partition.topic_partition, partition.leader_epoch);
                write!(f, " {tp}(lEp {epoch} delete {})", partition.delete)
            })
        }
    }
}

fn write_state(f: &mut fmt::Formatter<'_>, state: &LeaderAndIsr) -> fmt::Result {
    write!(
        f,
        "leader {} ISR {:?} lEp {} pEp {}",
        state.leader, state.isr, state.leader_epoch, state.partition_epoch
    )
}
