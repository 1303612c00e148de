//! Requests, answers, events and actions as values, without versions of the wire.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator_runtime::{Append, AppendResult, AppendToken, RequestId, TransactionOutcome};
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::state::TransactionState;

/// The producer that a client believes to be (KIP-360).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedProducer {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

/// A request that may change something, and may be answered later. Its transactional id may be
/// empty here: that is refused with Kafka's error. A null id never comes here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// InitProducerId: fence who came before and begin an epoch.
    InitProducerId {
        /// The id.
        transactional_id: Arc<str>,
        /// `transaction.timeout.ms` of the client.
        timeout_ms: i32,
        /// What the client has, if it only wants a new epoch (v3).
        expected: Option<ExpectedProducer>,
    },
    /// AddPartitionsToTxn, one transaction, and AddOffsetsToTxn with the group's partition of
    /// `__consumer_offsets`.
    AddPartitions {
        /// The id.
        transactional_id: Arc<str>,
        /// The client's producer.
        producer_id: ProducerId,
        /// Its epoch.
        producer_epoch: ProducerEpoch,
        /// What is to be in the transaction.
        partitions: BTreeSet<TopicPartition>,
    },
    /// EndTxn.
    EndTransaction {
        /// The id.
        transactional_id: Arc<str>,
        /// The client's producer.
        producer_id: ProducerId,
        /// Its epoch.
        producer_epoch: ProducerEpoch,
        /// How the transaction is to end.
        outcome: TransactionOutcome,
    },
}

/// The answer to a [`Request`] of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// The producer to be from now on.
    InitProducerId(Result<ExpectedProducer, ErrorCode>),
    /// The outcome for all partitions.
    AddPartitions(ErrorCode),
    /// Whether the decision to end is durable.
    EndTransaction(ErrorCode),
}

/// Which transaction's markers are meant, under which coordinator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MarkerKey {
    /// The id.
    pub transactional_id: Arc<str>,
    /// The leader epoch of the shard's partition when the markers were asked for.
    pub coordinator_epoch: LeaderEpoch,
    /// The transaction's producer.
    pub producer_id: ProducerId,
    /// The epoch that the markers carry; higher than the producer's own after a fence.
    pub producer_epoch: ProducerEpoch,
}

/// Markers of one transaction for some partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionMarkers {
    /// Whose.
    pub key: MarkerKey,
    /// Which marker.
    pub outcome: TransactionOutcome,
    /// Where, never empty.
    pub partitions: BTreeSet<TopicPartition>,
}

/// What happens to a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A client asks.
    Request {
        /// Under which name the reply goes out.
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// The answer to [`TransactionAction::AllocateProducerId`].
    ProducerIdAllocated {
        /// Which request waited for it.
        request: RequestId,
        /// An id that nobody has, or the error that the client is to get.
        result: Result<ProducerId, ErrorCode>,
    },
    /// An append is durable, or was refused.
    AppendDone {
        /// The append.
        token: AppendToken,
        /// Its base offset, or the unmapped error.
        result: AppendResult,
    },
    /// These partitions have their marker, or need none any more.
    MarkersWritten {
        /// Of which transaction.
        key: MarkerKey,
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
    },
    /// A partition knows a newer producer or coordinator: nothing more is to be done here.
    MarkersFenced {
        /// Of which transaction.
        key: MarkerKey,
    },
    /// `next_deadline` has passed.
    DeadlinesDue,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms` has passed: abort what lasts
    /// too long.
    AbortTimedOutTransactions,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms` has passed: forget idle ids.
    ExpireTransactionalIds {
        /// `max.message.bytes` of the partition: tombstones come in batches of at most this size.
        batch_size_max: usize,
    },
    /// The broker no longer leads the partition; without an epoch when the replica is deleted.
    Resigned(Option<LeaderEpoch>),
    /// The broker goes down.
    ShutDown,
}

/// What the driver has to do, in the order in which it was emitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionAction {
    /// Append a batch with acks −1 and without compression; the result comes back as an event,
    /// exactly once.
    Append {
        /// The batch.
        append: Append,
        /// How long replication may take, in milliseconds; what is below zero counts as zero.
        timeout_ms: i32,
    },
    /// Answer a request; each request is answered exactly once.
    Reply {
        /// The request.
        request: RequestId,
        /// Its answer.
        response: Response,
    },
    /// Ask for a producer id; the answer comes back as an event, exactly once.
    AllocateProducerId {
        /// The request that waits for it.
        request: RequestId,
    },
    /// Have markers written, see [`crate::MarkerSender`].
    SendMarkers(TransactionMarkers),
    /// Forget all markers of this shard that are not written yet.
    CancelMarkers,
}

/// One transaction in DescribeTransactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionDescription {
    /// Its state.
    pub state: TransactionState,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// How long a transaction may last, in milliseconds.
    pub timeout_ms: i32,
    /// When the last transaction began, [`Timestamp::NONE`] if none is known.
    pub start_timestamp: Timestamp,
    /// What is in it; while markers are being written, what has none yet.
    pub partitions: BTreeSet<TopicPartition>,
}

/// One line of ListTransactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionListing {
    /// The id.
    pub transactional_id: Arc<str>,
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its state.
    pub state: TransactionState,
}

/// The filters of ListTransactions; an empty one lets everything pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListFilter {
    /// Producers.
    pub producer_ids: BTreeSet<ProducerId>,
    /// Names of states in exactly this case; those that name none match nothing.
    pub states: BTreeSet<String>,
    /// Only transactions that began longer ago than this many milliseconds (v1); nothing if it is
    /// negative.
    pub duration_ms: Option<i64>,
}

impl ListFilter {
    /// The names that are no state: the answer lists them.
    pub fn unknown_states(&self) -> impl Iterator<Item = &str> {
        self.states
            .iter()
            .map(String::as_str)
            .filter(|name| TransactionState::from_name(name).is_none())
    }
}
