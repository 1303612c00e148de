//! What the controller is told, and what it does: values only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_coordination::{Request, RequestId};
use ottla_model::control::{ControlRequest, ControlResponse};
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, ErrorCode, Instant, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, PartitionEpoch, ProducerId, ReplicaAssignment, Timestamp,
    TopicId, TopicName, TopicPartition,
};

/// Both clocks at one moment: deadlines use the monotonic one, `/controller` shows the wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For znodes.
    pub wall: Timestamp,
}

/// Names a caller that waits for an [`Answer`]; chosen by the driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// What happens to a controller.
#[derive(Clone, Debug)]
pub enum Event {
    /// The broker is registered: watch `/controller` and try to become controller.
    Startup,
    /// From the session: a reply to [`Action::Coordinate`], a watch, or its connection. When this
    /// says that the session expired, the queue is emptied and the controllership given up before
    /// [`crate::Controller::handle`] returns; the driver then opens a new session.
    Coordination(ottla_coordination::Event),
    /// A new session replaces the expired one: register the broker again and try to be elected.
    SessionEstablished {
        /// The new session.
        session_id: i64,
    },
    /// A broker has answered an [`Action::Send`].
    ControlAnswered {
        /// Who answered.
        broker: BrokerId,
        /// What it was asked.
        request: Arc<ControlRequest>,
        /// Its answer.
        response: ControlResponse,
    },
    /// Somebody asks the controller; exactly one [`Action::Answer`] follows.
    Request {
        /// Who waits.
        token: Token,
        /// What is asked.
        request: ApiRequest,
    },
    /// `unclean.leader.election.enable` of the broker was changed while running.
    UncleanLeaderElectionDefault(bool),
    /// A topic's configuration with `unclean.leader.election.enable=true` was applied.
    TopicUncleanLeaderElectionEnabled(TopicName),
    /// The broker advertises other listeners now; used when it registers again.
    BrokerInfoChanged(LiveBroker),
    /// A deadline may have passed.
    Tick,
    /// The broker shuts down: queued callers are turned away, nothing else is done from now on.
    Shutdown,
}

/// What a controller wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Submit to the session, without waiting for earlier ones.
    Coordinate {
        /// To be carried back by the reply; never used twice.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// Open a channel: a fresh queue and connection.
    BrokerAdded(LiveBroker),
    /// Close the channel and drop what is queued in it, answered or not.
    BrokerRemoved(BrokerId),
    /// Queue on the broker's channel: one in flight, in order, sent again until it is answered.
    Send {
        /// To whom.
        broker: BrokerId,
        /// What.
        request: Arc<ControlRequest>,
    },
    /// Answer a caller.
    Answer {
        /// Who waits.
        token: Token,
        /// The answer.
        answer: Answer,
    },
    /// The broker was registered again after its session expired: all senders use this epoch now.
    BrokerRegistered(BrokerEpoch),
    /// This broker is the controller now; duties of the active controller start.
    Elected(ControllerEpoch),
    /// It is no longer; they stop. All channels are closed already.
    Resigned,
}

/// Which replicas may be elected (`ElectLeaders`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionType {
    /// The first replica of the assignment, if in sync.
    Preferred,
    /// Any live replica, if no replica in sync is left.
    Unclean,
}

/// A topic in AlterPartition: by id from version 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicReference {
    /// Versions 0 and 1.
    Name(TopicName),
    /// Versions 2 and 3.
    Id(TopicId),
}

/// A leader's wish for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterPartition {
    /// The topic.
    pub topic: TopicReference,
    /// The partition's index.
    pub partition: i32,
    /// The leadership in which the leader decided.
    pub leader_epoch: LeaderEpoch,
    /// The ISR that it wants.
    pub new_isr: Vec<BrokerId>,
    /// Its recovery state.
    pub recovery: LeaderRecoveryState,
    /// The partition epoch that it knows.
    pub partition_epoch: PartitionEpoch,
}

/// What an API handler asks of the controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApiRequest {
    /// A broker wants to go.
    ControlledShutdown {
        /// Which.
        broker: BrokerId,
        /// Its incarnation, −1 from old brokers.
        broker_epoch: BrokerEpoch,
    },
    /// A leader wants other ISRs.
    AlterPartition {
        /// The leader.
        broker: BrokerId,
        /// Its incarnation.
        broker_epoch: BrokerEpoch,
        /// Whether the version of the request knows INELIGIBLE_REPLICA (2 and above).
        knows_ineligible_replica: bool,
        /// Its wishes.
        partitions: Vec<AlterPartition>,
    },
    /// A broker wants producer ids.
    AllocateProducerIds {
        /// Which.
        broker: BrokerId,
        /// Its incarnation.
        broker_epoch: BrokerEpoch,
    },
    /// Elect leaders.
    ElectLeaders {
        /// Of which partitions.
        partitions: BTreeSet<TopicPartition>,
        /// Which leaders.
        election: ElectionType,
    },
    /// Move replicas: target replicas per partition, `None` cancels a running move.
    AlterPartitionReassignments(BTreeMap<TopicPartition, Option<Vec<BrokerId>>>),
    /// List running moves: of these partitions, or all.
    ListPartitionReassignments(Option<BTreeSet<TopicPartition>>),
    /// Change finalized features.
    UpdateFeatures(Vec<FeatureUpdate>),
}

/// One wish of an UpdateFeatures request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureUpdate {
    /// The feature.
    pub feature: String,
    /// Its new finalized version; below 1 deletes it.
    pub version_level: i16,
    /// Whether the version may go down or the feature away.
    pub upgrade_type: UpgradeType,
}

/// `FeatureUpdate.UpgradeType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpgradeType {
    /// A number that Kafka does not know.
    Unknown,
    /// Only upwards.
    Upgrade,
    /// Downwards without losing metadata.
    SafeDowngrade,
    /// Downwards even if metadata is lost.
    UnsafeDowngrade,
}

/// An error with its message (`ApiError`); `message` is `None` where Kafka gives the default one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// The code.
    pub error: ErrorCode,
    /// A more exact message.
    pub message: Option<String>,
}

impl ApiError {
    /// Success.
    pub const NONE: Self = Self {
        error: ErrorCode::None,
        message: None,
    };

    /// An error without a message of its own.
    pub fn of(error: ErrorCode) -> Self {
        Self {
            error,
            message: None,
        }
    }

    /// An error with a message.
    pub fn with(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(message.into()),
        }
    }
}

/// One partition of the answer to AlterPartition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterPartitionResult {
    /// The topic as it was named in the request.
    pub topic: TopicReference,
    /// The partition's index.
    pub partition: i32,
    /// The state that holds now, or why it was not changed.
    pub result: Result<LeaderAndIsr, ErrorCode>,
}

/// What a caller gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Partitions that the broker still leads.
    ControlledShutdown(Result<Vec<TopicPartition>, ErrorCode>),
    /// Per partition, or an error of the request as a whole.
    AlterPartition(Result<Vec<AlterPartitionResult>, ErrorCode>),
    /// The first id and how many.
    AllocateProducerIds(Result<(ProducerId, i32), ErrorCode>),
    /// The elected leader, or why there was no election.
    ElectLeaders(BTreeMap<TopicPartition, Result<BrokerId, ApiError>>),
    /// Per partition, or an error of the request as a whole.
    AlterPartitionReassignments(Result<BTreeMap<TopicPartition, ApiError>, ApiError>),
    /// Running moves.
    ListPartitionReassignments(Result<BTreeMap<TopicPartition, ReplicaAssignment>, ApiError>),
    /// Per feature, or an error of the request as a whole.
    UpdateFeatures(Result<BTreeMap<String, ApiError>, ApiError>),
    /// Kafka gives no answer here: the event was pre-empted or lost. The client times out.
    Nothing,
}
