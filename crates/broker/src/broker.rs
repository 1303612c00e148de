//! What handlers see of a running broker.

use std::fmt;
use std::sync::Arc;

use ottla_model::BrokerId;
use ottla_protocol::ApiTable;

use crate::client_quotas::ClientQuotas;
use crate::clock::Clock;
use crate::configs::Configs;
use crate::controller::ControllerHandle;
use crate::coordination::CoordinationHandle;
use crate::dynamic_config::DynamicConfig;
use crate::fetcher::ClusterBlocks;
use crate::finalized_features::FinalizedFeatures;
use crate::group_coordinator::GroupCoordinator;
use crate::metadata_cache::MetadataCache;
use crate::metrics::RequestMetrics;
use crate::producer_ids::ProducerIds;
use crate::replica_manager::ReplicaManager;
use crate::transaction_coordinator::TransactionCoordinator;
use crate::transaction_coordinator::markers::MarkerWriter;
use crate::transaction_coordinator::verification::TransactionVerifier;

/// The parts of a running broker.
pub(crate) struct Broker {
    /// `broker.id`.
    pub(crate) id: BrokerId,
    /// The content of `/cluster/id`.
    pub(crate) cluster_id: String,
    /// Time.
    pub(crate) clock: Clock,
    /// The APIs that are served.
    pub(crate) apis: Arc<ApiTable>,
    /// Configuration in force.
    pub(crate) configs: Arc<Configs>,
    /// The cluster as the controller describes it.
    pub(crate) metadata_cache: Arc<MetadataCache>,
    /// The cluster's features.
    pub(crate) finalized_features: Arc<FinalizedFeatures>,
    /// The session with ZooKeeper or the embedded tree.
    pub(crate) coordination: Arc<CoordinationHandle>,
    /// Partitions and their logs.
    pub(crate) replica_manager: Arc<ReplicaManager>,
    /// Groups.
    pub(crate) group_coordinator: Arc<GroupCoordinator>,
    /// Transactions.
    pub(crate) transaction_coordinator: Arc<TransactionCoordinator>,
    /// Asks whether partitions are in transactions.
    pub(crate) transaction_verifier: Arc<TransactionVerifier>,
    /// Ends transactions in this broker's partitions.
    pub(crate) marker_writer: Arc<MarkerWriter>,
    /// The controller of this broker, active or not.
    pub(crate) controller: Arc<ControllerHandle>,
    /// What is counted of requests.
    pub(crate) request_metrics: RequestMetrics,
    /// Follows and makes changes of configuration.
    pub(crate) dynamic_config: Arc<DynamicConfig>,
    /// What clients may do, and have done.
    pub(crate) client_quotas: Arc<ClientQuotas>,
    /// Producer ids for idempotent producers.
    pub(crate) producer_ids: Arc<ProducerIds<ClusterBlocks>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Whether this broker is the active controller.
    pub(crate) fn is_active_controller(&self) -> bool {
        self.controller.is_active()
    }
}
