//! What a controller tells brokers, as values: the wire versions are the edges' business.
//! Sources: spec of LeaderAndIsr (key 4), StopReplica (5), UpdateMetadata (6) in Kafka 3.9.

use crate::broker::LiveBroker;
use crate::error_code::ErrorCode;
use crate::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicName, TopicPartition,
};
use crate::partition::{LeaderAndIsr, ReplicaAssignment};

/// Who sends a control message, and to which incarnation of the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlHeader {
    /// The controller.
    pub controller_id: BrokerId,
    /// Its epoch now.
    pub controller_epoch: ControllerEpoch,
    /// The receiver's incarnation as the controller knows it; −1 is not checked.
    pub broker_epoch: BrokerEpoch,
}

/// One partition of a [`LeaderAndIsrRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAndIsrPartition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The state; its `controller_epoch` is that of the decision.
    pub state: LeaderAndIsr,
    /// The assignment.
    pub assignment: ReplicaAssignment,
    /// The replica has never existed on the receiver.
    pub is_new: bool,
}

/// "These partitions are yours to lead or to follow."
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAndIsrRequest {
    /// Sender and receiver.
    pub header: ControlHeader,
    /// The partitions, grouped by topic in no promised order.
    pub partitions: Vec<LeaderAndIsrPartition>,
    /// Ids of the topics named in `partitions`; zero where the topic has none.
    pub topic_ids: Vec<(TopicName, TopicId)>,
    /// The brokers that lead something in `partitions`, each with its inter-broker endpoint.
    pub live_leaders: Vec<LiveBroker>,
}

/// The answer to a [`LeaderAndIsrRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAndIsrResponse {
    /// The request's fate as a whole.
    pub error: ErrorCode,
    /// Each partition's fate.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// One partition of a [`StopReplicaRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopReplicaPartition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// Current epoch; −2 while the topic is being deleted, −1 unknown.
    pub leader_epoch: LeaderEpoch,
    /// Whether the log is to be deleted.
    pub delete: bool,
}

/// "Stop replicating these partitions."
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopReplicaRequest {
    /// Sender and receiver.
    pub header: ControlHeader,
    /// The partitions.
    pub partitions: Vec<StopReplicaPartition>,
}

/// The answer to a [`StopReplicaRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopReplicaResponse {
    /// The request's fate as a whole.
    pub error: ErrorCode,
    /// Each partition's fate.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// One partition of an [`UpdateMetadataRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateMetadataPartition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The state; leader −2 says that the topic is being deleted.
    pub state: LeaderAndIsr,
    /// All assigned replicas.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are not online.
    pub offline_replicas: Vec<BrokerId>,
}

/// "This is the cluster now": the full list of brokers, and changes of partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateMetadataRequest {
    /// Sender and receiver.
    pub header: ControlHeader,
    /// Changed partitions; those not named stay as they are.
    pub partitions: Vec<UpdateMetadataPartition>,
    /// Ids of the topics named in `partitions`; zero where the topic has none.
    pub topic_ids: Vec<(TopicName, TopicId)>,
    /// All registered brokers with all their endpoints: replaces the receiver's list.
    pub live_brokers: Vec<LiveBroker>,
}

/// One of the three messages on the control channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlRequest {
    /// See [`LeaderAndIsrRequest`].
    LeaderAndIsr(LeaderAndIsrRequest),
    /// See [`UpdateMetadataRequest`].
    UpdateMetadata(UpdateMetadataRequest),
    /// See [`StopReplicaRequest`].
    StopReplica(StopReplicaRequest),
}

/// The answer to a [`ControlRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlResponse {
    /// Answer to LeaderAndIsr.
    LeaderAndIsr(LeaderAndIsrResponse),
    /// Answer to UpdateMetadata: its error.
    UpdateMetadata(ErrorCode),
    /// Answer to StopReplica.
    StopReplica(StopReplicaResponse),
}
