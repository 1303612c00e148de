//! What a group's decisions act upon: the moment, the shard's deadlines, actions and appends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::{
    Action, Append, AppendToken, CoordinatorRecord, DeadlineQueue, Durability, Now, RequestId,
    TransactionOutcome,
};
use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};

use crate::config::GroupConfig;
use crate::messages::{GroupAction, JoinGroupResponse, Response, SyncGroupResponse};
use crate::offsets::OffsetAndMetadata;
use crate::stats::Stats;

/// What a deadline is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TimerKey {
    /// The end of a join phase, or of a step of the initial delay.
    Join { group_id: Arc<str> },
    /// The end of the time in which members must sync.
    Sync { group_id: Arc<str> },
    /// The session of a member, or the time that a pending member has to join.
    Session {
        group_id: Arc<str>,
        member_id: Arc<str>,
    },
}

/// A group, and which of all groups that ever had its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupRef {
    pub(crate) group_id: Arc<str>,
    pub(crate) incarnation: u64,
}

/// A static member that came back while the group was Stable, until its new id is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StaticReplacement {
    pub(crate) request: RequestId,
    pub(crate) group_instance_id: Arc<str>,
    pub(crate) old_member_id: Arc<str>,
    pub(crate) new_member_id: Arc<str>,
    pub(crate) old_rebalance_timeout_ms: i32,
    pub(crate) old_session_timeout_ms: i32,
    /// The leader before the replacement: old clients are told this one (see `join`).
    pub(crate) old_leader: Arc<str>,
    pub(crate) supports_skip_assignment: bool,
}

/// An offset commit until its batch is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OffsetWrite {
    pub(crate) request: RequestId,
    /// The producer of a transactional commit.
    pub(crate) producer_id: Option<ProducerId>,
    /// The transaction's end, if it came before the acknowledgement.
    pub(crate) outcome: Option<TransactionOutcome>,
    pub(crate) offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    /// Partitions that were left out and are answered OFFSET_METADATA_TOO_LARGE.
    pub(crate) too_large: Vec<TopicPartition>,
}

/// Why offsets are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CleanupCause {
    Expired,
    OffsetDelete,
    GroupDelete,
    PartitionDelete,
}

/// What is to be done when an append is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum InFlight {
    /// The leader's assignment.
    Assignment {
        generation_id: i32,
        assignments: BTreeMap<Arc<str>, Bytes>,
    },
    /// The record of a group that became empty: nothing.
    EmptyGroup,
    /// A static member's new id.
    StaticReplacement(StaticReplacement),
    /// Offsets.
    Offsets(OffsetWrite),
    /// Tombstones of this many offsets.
    Tombstones {
        cause: CleanupCause,
        offsets_removed: u64,
    },
}

/// Header fields by which the batches of `__consumer_offsets` differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BatchKind {
    GroupMetadata,
    Tombstones,
    OffsetCommit,
    TxnOffsetCommit {
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
    },
}

/// Appends whose results are awaited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appends {
    next_token: u64,
    pub(crate) in_flight: BTreeMap<AppendToken, (GroupRef, InFlight)>,
}

/// Borrowed parts of the shard while one of its groups decides.
pub(crate) struct Context<'shard> {
    pub(crate) now: Now,
    pub(crate) config: &'shard GroupConfig,
    pub(crate) deadlines: &'shard mut DeadlineQueue<TimerKey>,
    pub(crate) appends: &'shard mut Appends,
    pub(crate) stats: &'shard mut Stats,
    pub(crate) actions: &'shard mut Vec<GroupAction>,
}

impl Context<'_> {
    pub(crate) fn reply(&mut self, request: RequestId, response: Response) {
        self.actions.push(Action::Reply { request, response });
    }

    pub(crate) fn reply_join(&mut self, request: RequestId, response: JoinGroupResponse) {
        self.reply(request, Response::JoinGroup(response));
    }

    pub(crate) fn reply_sync(&mut self, request: RequestId, response: SyncGroupResponse) {
        self.reply(request, Response::SyncGroup(response));
    }

    pub(crate) fn reply_sync_error(&mut self, request: RequestId, error: ErrorCode) {
        self.reply_sync(request, SyncGroupResponse::error(error));
    }

    /// Sets a deadline, at the earliest one tick of Kafka's timer from now: a timeout of zero that
    /// is set again whenever it is over must not keep the machine from coming to rest.
    pub(crate) fn schedule(&mut self, key: TimerKey, delay: Duration) {
        const TICK: Duration = Duration::from_millis(1);
        self.deadlines
            .schedule(key, self.now.instant + delay.max(TICK));
    }

    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        self.deadlines.cancel(key);
    }

    pub(crate) fn append(
        &mut self,
        group: GroupRef,
        kind: BatchKind,
        records: Vec<CoordinatorRecord>,
        in_flight: InFlight,
    ) {
        let token = AppendToken(self.appends.next_token);
        self.appends.next_token += 1;
        self.appends.in_flight.insert(token, (group, in_flight));
        let mut append = Append {
            token,
            records,
            timestamp: self.now.timestamp,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            transactional: false,
            durability: Durability::Required,
        };
        match kind {
            BatchKind::GroupMetadata => {}
            BatchKind::Tombstones => append.durability = Durability::Local,
            BatchKind::OffsetCommit => append.base_sequence = 0,
            BatchKind::TxnOffsetCommit {
                producer_id,
                producer_epoch,
            } => {
                append.producer_id = producer_id;
                append.producer_epoch = producer_epoch;
                append.base_sequence = 0;
                append.transactional = true;
            }
        }
        self.actions.push(Action::Append(append));
    }
}
