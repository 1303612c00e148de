//! The events as they wait in the queue, their states for the gauges, and what happens to a caller
//! whose event is pre-empted. Sources: `ControllerEventManager.scala`, `ControllerState.scala`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordination::WatchKind;
use ottla_model::control::{ControlRequest, ControlResponse};
use ottla_model::{BrokerId, ErrorCode, LiveBroker, TopicName, TopicPartition};

use crate::event::{Answer, ApiError, ApiRequest, Token};

/// One event of the queue.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Startup,
    ControllerChange,
    Reelect,
    RegisterBrokerAndReelect,
    Expire,
    Shutdown,
    BrokerChange,
    BrokerModifications(BrokerId),
    TopicChange,
    PartitionModifications(TopicName),
    TopicDeletion,
    ZkPartitionReassignment,
    PartitionReassignmentIsrChange(TopicPartition),
    IsrChangeNotification,
    LogDirEventNotification,
    ZkPreferredReplicaElection,
    AutoPreferredReplicaLeaderElection,
    UncleanLeaderElectionDefault(bool),
    TopicUncleanLeaderElectionEnable(TopicName),
    BrokerInfoChanged(LiveBroker),
    ControlAnswered {
        broker: BrokerId,
        request: Arc<ControlRequest>,
        response: ControlResponse,
    },
    Request {
        token: Token,
        request: ApiRequest,
    },
}

/// What the controller is doing: the value of the `ControllerState` gauge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
#[allow(missing_docs, reason = "the names are Kafka's")]
#[repr(u8)]
pub enum ControllerState {
    #[default]
    Idle = 0,
    ControllerChange = 1,
    BrokerChange = 2,
    TopicChange = 3,
    TopicDeletion = 4,
    AlterPartitionReassignment = 5,
    AutoLeaderBalance = 6,
    ManualLeaderBalance = 7,
    ControlledShutdown = 8,
    IsrChange = 9,
    LeaderAndIsrResponseReceived = 10,
    LogDirChange = 11,
    ControllerShutdown = 12,
    UncleanLeaderElectionEnable = 13,
    TopicUncleanLeaderElectionEnable = 14,
    ListPartitionReassignment = 15,
    UpdateMetadataResponseReceived = 16,
    UpdateFeatures = 17,
}

impl ControllerState {
    /// Every state, ascending.
    pub const ALL: [Self; 18] = [
        Self::Idle,
        Self::ControllerChange,
        Self::BrokerChange,
        Self::TopicChange,
        Self::TopicDeletion,
        Self::AlterPartitionReassignment,
        Self::AutoLeaderBalance,
        Self::ManualLeaderBalance,
        Self::ControlledShutdown,
        Self::IsrChange,
        Self::LeaderAndIsrResponseReceived,
        Self::LogDirChange,
        Self::ControllerShutdown,
        Self::UncleanLeaderElectionEnable,
        Self::TopicUncleanLeaderElectionEnable,
        Self::ListPartitionReassignment,
        Self::UpdateMetadataResponseReceived,
        Self::UpdateFeatures,
    ];

    /// The name of the timer that measures events of this state, `None` where Kafka has none.
    pub fn rate_and_time_metric(self) -> Option<&'static str> {
        Some(match self {
            Self::Idle | Self::UpdateMetadataResponseReceived => return None,
            Self::ControllerChange => "ControllerChangeRateAndTimeMs",
            Self::BrokerChange => "LeaderElectionRateAndTimeMs",
            Self::TopicChange => "TopicChangeRateAndTimeMs",
            Self::TopicDeletion => "TopicDeletionRateAndTimeMs",
            Self::AlterPartitionReassignment => "PartitionReassignmentRateAndTimeMs",
            Self::AutoLeaderBalance => "AutoLeaderBalanceRateAndTimeMs",
            Self::ManualLeaderBalance => "ManualLeaderBalanceRateAndTimeMs",
            Self::ControlledShutdown => "ControlledShutdownRateAndTimeMs",
            Self::IsrChange => "IsrChangeRateAndTimeMs",
            Self::LeaderAndIsrResponseReceived => "LeaderAndIsrResponseReceivedRateAndTimeMs",
            Self::LogDirChange => "LogDirChangeRateAndTimeMs",
            Self::ControllerShutdown => "ControllerShutdownRateAndTimeMs",
            Self::UncleanLeaderElectionEnable => "UncleanLeaderElectionEnableRateAndTimeMs",
            Self::TopicUncleanLeaderElectionEnable => {
                "TopicUncleanLeaderElectionEnableRateAndTimeMs"
            }
            Self::ListPartitionReassignment => "ListPartitionReassignmentRateAndTimeMs",
            Self::UpdateFeatures => "UpdateFeaturesRateAndTimeMs",
        })
    }
}

impl Work {
    pub(crate) fn state(&self) -> ControllerState {
        match self {
            Self::Startup
            | Self::ControllerChange
            | Self::Reelect
            | Self::RegisterBrokerAndReelect
            | Self::Expire => ControllerState::ControllerChange,
            Self::Shutdown => ControllerState::ControllerShutdown,
            Self::BrokerInfoChanged(_) => ControllerState::Idle,
            Self::BrokerChange | Self::BrokerModifications(_) => ControllerState::BrokerChange,
            Self::TopicChange | Self::PartitionModifications(_) => ControllerState::TopicChange,
            Self::TopicDeletion => ControllerState::TopicDeletion,
            Self::ZkPartitionReassignment | Self::PartitionReassignmentIsrChange(_) => {
                ControllerState::AlterPartitionReassignment
            }
            Self::IsrChangeNotification => ControllerState::IsrChange,
            Self::LogDirEventNotification => ControllerState::LogDirChange,
            Self::ZkPreferredReplicaElection => ControllerState::ManualLeaderBalance,
            Self::AutoPreferredReplicaLeaderElection => ControllerState::AutoLeaderBalance,
            Self::UncleanLeaderElectionDefault(_) => ControllerState::UncleanLeaderElectionEnable,
            Self::TopicUncleanLeaderElectionEnable(_) => {
                ControllerState::TopicUncleanLeaderElectionEnable
            }
            Self::ControlAnswered { response, .. } => match response {
                ControlResponse::LeaderAndIsr(_) => ControllerState::LeaderAndIsrResponseReceived,
                ControlResponse::UpdateMetadata(_) => {
                    ControllerState::UpdateMetadataResponseReceived
                }
                ControlResponse::StopReplica(_) => ControllerState::TopicDeletion,
            },
            Self::Request { request, .. } => match request {
                ApiRequest::ControlledShutdown { .. } => ControllerState::ControlledShutdown,
                ApiRequest::AlterPartition { .. } => ControllerState::IsrChange,
                ApiRequest::AllocateProducerIds { .. } => ControllerState::Idle,
                ApiRequest::ElectLeaders { .. } => ControllerState::ManualLeaderBalance,
                ApiRequest::AlterPartitionReassignments(_) => {
                    ControllerState::AlterPartitionReassignment
                }
                ApiRequest::ListPartitionReassignments(_) => {
                    ControllerState::ListPartitionReassignment
                }
                ApiRequest::UpdateFeatures(_) => ControllerState::UpdateFeatures,
            },
        }
    }

    /// The caller that waits, and what it is told when the event is thrown out of the queue.
    pub(crate) fn preempt(self) -> Option<(Token, Answer)> {
        let Self::Request { token, request } = self else {
            return None;
        };
        let not_controller = || ApiError::of(ErrorCode::NotController);
        let answer = match request {
            ApiRequest::ControlledShutdown { .. } => {
                Answer::ControlledShutdown(Err(ErrorCode::StaleControllerEpoch))
            }
            ApiRequest::ElectLeaders { partitions, .. } => {
                Answer::ElectLeaders(not_controller_for_each(partitions))
            }
            ApiRequest::AlterPartitionReassignments(_) => {
                Answer::AlterPartitionReassignments(Err(not_controller()))
            }
            ApiRequest::ListPartitionReassignments(_) => {
                Answer::ListPartitionReassignments(Err(not_controller()))
            }
            ApiRequest::AlterPartition { .. }
            | ApiRequest::AllocateProducerIds { .. }
            | ApiRequest::UpdateFeatures(_) => Answer::Nothing,
        };
        Some((token, answer))
    }
}

/// ElectLeaders on a broker that is not the controller.
pub(crate) fn not_controller_for_each(
    partitions: impl IntoIterator<Item = TopicPartition>,
) -> BTreeMap<TopicPartition, Result<BrokerId, ApiError>> {
    let refusal = || Err(ApiError::of(ErrorCode::NotController));
    partitions
        .into_iter()
        .map(|partition| (partition, refusal()))
        .collect()
}

/// Who wants to know of changes of a znode's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DataHandler {
    Controller,
    Broker(BrokerId),
    Topic(TopicName),
    PartitionState(TopicPartition),
    Reassignment,
    PreferredReplicaElection,
}

impl DataHandler {
    /// The event that a fired watch queues.
    pub(crate) fn work(&self, kind: WatchKind) -> Option<Work> {
        use WatchKind::{ChildrenChanged, Created, DataChanged, Deleted};
        match (self, kind) {
            (Self::Controller, Created | DataChanged) => Some(Work::ControllerChange),
            (Self::Controller, Deleted) => Some(Work::Reelect),
            (Self::Broker(id), DataChanged) => Some(Work::BrokerModifications(*id)),
            (Self::Topic(topic), DataChanged) => Some(Work::PartitionModifications(topic.clone())),
            (Self::PartitionState(partition), DataChanged) => {
                Some(Work::PartitionReassignmentIsrChange(partition.clone()))
            }
            (Self::Reassignment, Created) => Some(Work::ZkPartitionReassignment),
            (Self::PreferredReplicaElection, Created) => Some(Work::ZkPreferredReplicaElection),
            // Only to be told of the next one: what is unreadable is left to whoever wrote it.
            (Self::Reassignment, Deleted) => Some(Work::ZkPartitionReassignment),
            (_, Created | DataChanged | Deleted | ChildrenChanged) => None,
        }
    }
}

/// Who wants to know of changes of a znode's children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChildHandler {
    BrokerIds,
    Topics,
    DeleteTopics,
    LogDirEvents,
    IsrChanges,
}

impl ChildHandler {
    /// The event that a fired watch queues.
    pub(crate) fn work(self) -> Work {
        match self {
            Self::BrokerIds => Work::BrokerChange,
            Self::Topics => Work::TopicChange,
            Self::DeleteTopics => Work::TopicDeletion,
            Self::LogDirEvents => Work::LogDirEventNotification,
            Self::IsrChanges => Work::IsrChangeNotification,
        }
    }
}
