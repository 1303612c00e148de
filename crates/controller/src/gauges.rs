//! What others may see of a controller between and during its events.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_model::{BrokerEpoch, BrokerId, ControllerEpoch, TopicName};

use crate::context::Context;
use crate::states::ReplicaState;
use crate::work::ControllerState;

/// A snapshot. The gauges are those of the end of the last event; the rest is of this moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Whether this broker is the controller.
    pub is_active: bool,
    /// Who is, as far as this broker has seen; [`BrokerId::NONE`] for nobody.
    pub active_controller_id: BrokerId,
    /// The epoch of this controllership, 0 when not active.
    pub controller_epoch: ControllerEpoch,
    /// This broker's incarnation, [`BrokerEpoch::NONE`] before the controller knows it.
    pub broker_epoch: BrokerEpoch,
    /// The event in work.
    pub state: ControllerState,
    /// How many events wait behind it.
    pub event_queue_size: usize,
    /// Topics that are being deleted or wait for it.
    pub topics_to_be_deleted: Arc<BTreeSet<TopicName>>,
    /// `UncleanLeaderElectionsPerSec`, as a count since the start.
    pub unclean_leader_elections: u64,
    /// Kafka's gauges.
    pub gauges: Gauges,
}

impl Default for View {
    fn default() -> Self {
        Self {
            is_active: false,
            active_controller_id: BrokerId::NONE,
            controller_epoch: ControllerEpoch(0),
            broker_epoch: BrokerEpoch::NONE,
            state: ControllerState::Idle,
            event_queue_size: 0,
            topics_to_be_deleted: Arc::default(),
            unclean_leader_elections: 0,
            gauges: Gauges::default(),
        }
    }
}

/// The gauges of `kafka.controller:type=KafkaController`; all 0 when not active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names are Kafka's")]
pub struct Gauges {
    pub offline_partitions_count: i64,
    pub preferred_replica_imbalance_count: i64,
    pub global_topic_count: usize,
    pub global_partition_count: usize,
    pub topics_to_delete_count: usize,
    pub replicas_to_delete_count: usize,
    pub topics_ineligible_to_delete_count: usize,
    pub replicas_ineligible_to_delete_count: usize,
    pub active_broker_count: usize,
}

impl Gauges {
    pub(crate) fn of(context: &Context) -> Self {
        let count = |wanted: fn(ReplicaState) -> bool| {
            let topics = context.topics_to_be_deleted.iter();
            let replicas = topics.flat_map(|topic| context.replicas_of_topic(topic));
            replicas
                .filter(|replica| wanted(context.replica_state(replica)))
                .count()
        };
        Self {
            offline_partitions_count: context.offline_partition_count,
            preferred_replica_imbalance_count: context.preferred_replica_imbalance_count,
            global_topic_count: context.all_topics.len(),
            global_partition_count: context.leadership_count(),
            topics_to_delete_count: context.topics_to_be_deleted.len(),
            replicas_to_delete_count: count(|state| state != ReplicaState::DeletionSuccessful),
            topics_ineligible_to_delete_count: context.topics_ineligible_for_deletion.len(),
            replicas_ineligible_to_delete_count: count(|state| {
                state == ReplicaState::DeletionIneligible
            }),
            active_broker_count: context.registered().count(),
        }
    }
}
