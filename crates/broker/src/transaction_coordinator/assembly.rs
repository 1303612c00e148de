//! The coordinator over this broker's parts.

use std::sync::Arc;

use ottla_config::MetadataVersion;
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::{BrokerId, LeaderEpoch, TopicPartition};

use super::TransactionCoordinator;
use super::driver::Start;
use super::inter_broker::InterBroker;
use super::marker_task::ClusterMarkers;
use super::markers::MarkerWriter;
use super::settings::Settings;
use crate::clock::Clock;
use crate::configs::Configs;
use crate::coordinator_log::ReplicatedLog;
use crate::group_coordinator::GroupCoordinator;
use crate::metadata_cache::MetadataCache;
use crate::replica_manager::LeadershipListener;

/// Starts the coordinator. `partition_count` is that of the existing topic, if there is one. Must
/// be called within a tokio runtime.
pub(crate) fn start(
    own_id: BrokerId,
    clock: Clock,
    configs: &Arc<Configs>,
    metadata_cache: &Arc<MetadataCache>,
    writer: &Arc<MarkerWriter>,
    partition_count: Option<i32>,
) -> Arc<TransactionCoordinator> {
    let config = configs.broker();
    let configs = Arc::clone(configs);
    TransactionCoordinator::start(Start {
        settings: Settings::new(&config, partition_count),
        clock,
        log: Arc::new(ReplicatedLog {
            replica_manager: Arc::clone(&writer.replica_manager),
            topic: TRANSACTION_STATE_TOPIC,
        }),
        markers: Arc::new(ClusterMarkers {
            own_id,
            metadata_cache: Arc::clone(metadata_cache),
            writer: Arc::clone(writer),
            inter_broker: InterBroker::new(&config, own_id, Arc::clone(metadata_cache)),
            version: write_txn_markers_version(config.inter_broker_protocol_version()),
        }),
        partition_count_now: {
            let metadata_cache = Arc::clone(metadata_cache);
            Box::new(move || {
                let snapshot = metadata_cache.snapshot();
                let topic = snapshot.topic(TRANSACTION_STATE_TOPIC);
                topic.map_or(0, |topic| topic.partitions.len())
            })
        },
        batch_size_max: Box::new(move || {
            let max_message_bytes = configs.topic(TRANSACTION_STATE_TOPIC).max_message_bytes;
            usize::try_from(max_message_bytes).unwrap_or(0)
        }),
    })
}

/// The flexible version is used from 2.8 on.
fn write_txn_markers_version(version: MetadataVersion) -> i16 {
    i16::from(version >= MetadataVersion::IBP_2_8_IV0)
}

/// Both coordinators, told of elections.
pub(crate) struct Coordinators {
    /// `__consumer_offsets`.
    pub(crate) groups: Arc<GroupCoordinator>,
    /// `__transaction_state`.
    pub(crate) transactions: Arc<TransactionCoordinator>,
}

impl LeadershipListener for Coordinators {
    fn on_election(&self, partition: &TopicPartition, leader_epoch: LeaderEpoch) {
        self.groups.on_election(partition, leader_epoch);
        self.transactions.on_election(partition, leader_epoch);
    }

    fn on_resignation(&self, partition: &TopicPartition, leader_epoch: Option<LeaderEpoch>) {
        self.groups.on_resignation(partition, leader_epoch);
        self.transactions.on_resignation(partition, leader_epoch);
    }

    fn on_partitions_deleted(&self, partitions: &[TopicPartition]) {
        self.groups.on_partitions_deleted(partitions);
        self.transactions.on_partitions_deleted(partitions);
    }
}
