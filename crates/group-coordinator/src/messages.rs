//! Requests, answers and events as values, without versions of the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{Action, AppendResult, AppendToken, RequestId, TransactionOutcome};
use ottla_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};

use crate::offsets::OffsetAndMetadata;
use crate::state::GroupState;

/// What the shard asks for.
pub type GroupAction = Action<Response>;

/// One assignment protocol that a member offers, with its opaque metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// For instance `range`.
    pub name: Arc<str>,
    /// The member's subscription in the protocol's own format.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member, empty if it has no id yet.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<Arc<str>>,
    /// The client's id, empty if it gave none.
    pub client_id: Arc<str>,
    /// The client's address in Java's form: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long the member may take to join again; v0 has none and means the session timeout.
    pub rebalance_timeout_ms: i32,
    /// For instance `consumer`.
    pub protocol_type: Arc<str>,
    /// The protocols that the member offers, the best first.
    pub protocols: Vec<Protocol>,
    /// v4 and newer without an instance id: the first join gets MEMBER_ID_REQUIRED (KIP-394).
    pub require_known_member_id: bool,
    /// v9 and newer: a returning static leader may be told to skip the assignment (KIP-814).
    pub supports_skip_assignment: bool,
    /// Why the member joins; only logged.
    pub reason: Option<String>,
    /// 16 random bytes: the member id's tail should this join need a new one.
    pub member_uuid: [u8; 16],
}

/// A member as the leader of its group sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its instance id if it is static.
    pub group_instance_id: Option<Arc<str>>,
    /// Its metadata of the selected protocol.
    pub metadata: Bytes,
}

/// The answer to JoinGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinGroupResponse {
    /// The outcome.
    pub error: ErrorCode,
    /// The generation, −1 on error.
    pub generation_id: i32,
    /// The group's protocol type; `None` on error.
    pub protocol_type: Option<Arc<str>>,
    /// The selected protocol; `None` on error.
    pub protocol_name: Option<Arc<str>>,
    /// The leader's member id; empty on error.
    pub leader: Arc<str>,
    /// Whether the leader is to leave the assignment as it is.
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: Arc<str>,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
}

impl JoinGroupResponse {
    /// The answer that carries nothing but an error.
    pub fn error(member_id: impl Into<Arc<str>>, error: ErrorCode) -> Self {
        Self {
            error,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// SyncGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// The member.
    pub member_id: Arc<str>,
    /// Its instance id if it is static.
    pub group_instance_id: Option<Arc<str>>,
    /// The generation that it joined.
    pub generation_id: i32,
    /// Checked if given (v5).
    pub protocol_type: Option<Arc<str>>,
    /// Checked if given (v5).
    pub protocol_name: Option<Arc<str>>,
    /// The leader's assignments by member; ids that are not members are ignored.
    pub assignments: BTreeMap<Arc<str>, Bytes>,
}

/// The answer to SyncGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroupResponse {
    /// The outcome.
    pub error: ErrorCode,
    /// The group's protocol type; `None` on error.
    pub protocol_type: Option<Arc<str>>,
    /// The group's protocol; `None` on error.
    pub protocol_name: Option<Arc<str>>,
    /// The member's assignment, empty on error.
    pub assignment: Bytes,
}

impl SyncGroupResponse {
    /// The answer that carries nothing but an error.
    pub fn error(error: ErrorCode) -> Self {
        Self {
            error,
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

/// One member of a LeaveGroup request, and of its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeavingMember {
    /// The member, empty for the removal by instance id.
    pub member_id: Arc<str>,
    /// The instance id of a static member.
    pub group_instance_id: Option<Arc<str>>,
    /// Why it leaves; only logged.
    pub reason: Option<String>,
}

/// LeaveGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveGroupRequest {
    /// The group.
    pub group_id: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// The answer to LeaveGroup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveGroupResponse {
    /// The request's fate as a whole.
    pub error: ErrorCode,
    /// Each member as the request named it, with its fate.
    pub members: Vec<(LeavingMember, ErrorCode)>,
}

/// OffsetCommit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommitRequest {
    /// The group, which may be empty here.
    pub group_id: Arc<str>,
    /// The member, empty for a commit from outside of the membership.
    pub member_id: Arc<str>,
    /// Its instance id if it is static.
    pub group_instance_id: Option<Arc<str>>,
    /// Its generation, negative for none.
    pub generation_id: i32,
    /// What to commit; the last entry of a partition counts.
    pub offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
}

/// TxnOffsetCommit, after the transaction was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnOffsetCommitRequest {
    /// As for a plain commit; nothing is required of the member below v3.
    pub commit: OffsetCommitRequest,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}

/// A request that may change something, and may be answered later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Become a member, or join the next generation.
    JoinGroup(JoinGroupRequest),
    /// Bring or fetch the assignment.
    SyncGroup(SyncGroupRequest),
    /// Stay a member.
    Heartbeat {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
        /// Its instance id if it is static.
        group_instance_id: Option<Arc<str>>,
        /// Its generation.
        generation_id: i32,
    },
    /// Stop being a member.
    LeaveGroup(LeaveGroupRequest),
    /// Store offsets.
    OffsetCommit(OffsetCommitRequest),
    /// Store offsets that count once their transaction commits.
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// Remove some offsets.
    OffsetDelete {
        /// The group.
        group_id: Arc<str>,
        /// The partitions whose offsets are to be removed.
        partitions: Vec<TopicPartition>,
    },
    /// Remove an empty group with its offsets.
    DeleteGroup {
        /// The group.
        group_id: Arc<str>,
    },
}

/// The answer to a [`Request`] of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// See [`JoinGroupResponse`].
    JoinGroup(JoinGroupResponse),
    /// See [`SyncGroupResponse`].
    SyncGroup(SyncGroupResponse),
    /// The outcome of a heartbeat.
    Heartbeat(ErrorCode),
    /// See [`LeaveGroupResponse`].
    LeaveGroup(LeaveGroupResponse),
    /// The outcome of a plain or transactional commit, each partition once.
    OffsetCommit(Vec<(TopicPartition, ErrorCode)>),
    /// The outcome of each partition, or why the whole request was refused.
    OffsetDelete(Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode>),
    /// The outcome of a deletion.
    DeleteGroup(ErrorCode),
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
    /// An append is durable, or was refused.
    AppendDone {
        /// The append.
        token: AppendToken,
        /// Its base offset, or the unmapped error.
        result: AppendResult,
    },
    /// `next_deadline` has passed.
    DeadlinesDue,
    /// A transaction's marker is in this partition.
    TransactionCompleted {
        /// Whose.
        producer_id: ProducerId,
        /// Which marker.
        outcome: TransactionOutcome,
    },
    /// UpdateMetadata says that these partitions are being deleted.
    PartitionsDeleted(Vec<TopicPartition>),
    /// `offsets.retention.check.interval.ms` has passed: remove what expired.
    ExpireOffsets,
    /// The broker no longer leads the partition; without an epoch when the replica is deleted.
    Resigned(Option<LeaderEpoch>),
    /// The broker goes down.
    ShutDown,
}

/// One line of ListGroups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupOverview {
    /// The group.
    pub group_id: Arc<str>,
    /// Its protocol type, empty for groups that only store offsets.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: GroupState,
}

impl GroupOverview {
    /// The name of the type of all groups here.
    pub const GROUP_TYPE: &'static str = "classic";
}

/// The filters of ListGroups; an empty one lets everything pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupFilter {
    /// Names of states in any case (v4).
    pub states: Vec<String>,
    /// Names of group types in any case (v5).
    pub types: Vec<String>,
}

impl GroupFilter {
    /// Whether a group is to be listed.
    pub fn matches(&self, group: &GroupOverview) -> bool {
        let is = |wanted: &String, name: &str| wanted.eq_ignore_ascii_case(name);
        (self.states.is_empty()
            || self
                .states
                .iter()
                .any(|state| is(state, group.state.name())))
            && (self.types.is_empty()
                || self
                    .types
                    .iter()
                    .any(|kind| is(kind, GroupOverview::GROUP_TYPE)))
    }
}

/// One member in DescribeGroups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its instance id if it is static.
    pub group_instance_id: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address as it joined.
    pub client_host: Arc<str>,
    /// Its metadata; empty unless the group is Stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is Stable.
    pub assignment: Bytes,
}

/// One group in DescribeGroups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// Its state, Dead for a group that does not exist.
    pub state: GroupState,
    /// Its protocol type, empty for groups that only store offsets.
    pub protocol_type: Arc<str>,
    /// Its protocol; empty unless the group is Stable.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

impl GroupDescription {
    /// What is said of a group that does not exist.
    pub fn dead() -> Self {
        Self {
            state: GroupState::Dead,
            protocol_type: Arc::from(""),
            protocol: Arc::from(""),
            members: Vec::new(),
        }
    }
}

/// One partition's committed offset in OffsetFetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedOffset {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The offset, −1 for none.
    pub offset: Offset,
    /// The leader epoch of the committed record, [`LeaderEpoch::NONE`] if unknown.
    pub leader_epoch: LeaderEpoch,
    /// The client's text, empty for none.
    pub metadata: Arc<str>,
    /// NONE or UNSTABLE_OFFSET_COMMIT.
    pub error: ErrorCode,
}
