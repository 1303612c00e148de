//! The order in which a broker starts and stops (`KafkaServer.startup`, `KafkaServer.shutdown`).

mod controlled_shutdown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use ottla_config::{BrokerConfig, ConfigError, MetadataVersion};
use ottla_coordination::payloads::{BrokerRegistration, TopicAssignment};
use ottla_coordination::{OpenError, paths};
use ottla_coordination_embedded::StoreError;
use ottla_coordination_zookeeper::SystemProperties;
use ottla_coordination_zookeeper::security::SecurityError;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_model::{BrokerEpoch, BrokerId, LiveBroker};
use ottla_network::{BindError, ConnectionRates, ListenerName, Server};
use ottla_storage::LogConfig;
use ottla_storage::directory::RealDirectory;
use ottla_storage::log_manager::{self, LogDirs, LogManager, LogManagerSettings};

use crate::background::Background;
use crate::broker::Broker;
use crate::clock::{Clock, random_bytes, random_u64};
use crate::configs::Configs;
use crate::controller::{self, ControllerHandle};
use crate::coordination::registration::longest_expiry;
use crate::coordination::startup::StartupError;
use crate::coordination::{CoordinationHandle, Provider};
use crate::coordinator_log::ReplicatedLog;
use crate::dynamic_config::{Changed, DynamicConfig, Loggers};
use crate::fetcher::{ClusterBlocks, Fetchers, ToController, alter_partition, isr_znodes};
use crate::finalized_features::{FinalizedFeatures, Incompatible};
use crate::group_coordinator::GroupCoordinator;
use crate::group_coordinator::settings::Settings;
use crate::listeners::{self, dynamic::DynamicListeners};
use crate::metadata_cache::MetadataCache;
use crate::metrics::listener::{BoundMetrics, MetricsServer};
use crate::metrics::{BrokerState, MetricsAddress, RequestMetrics, Sources, page_of_loading};
use crate::producer_ids::ProducerIds;
use crate::replica_manager::ReplicaManager;
use crate::service::{self, BrokerService};
use crate::transaction_coordinator::inter_broker::InterBroker;
use crate::transaction_coordinator::markers::MarkerWriter;
use crate::transaction_coordinator::settings::duration_ms;
use crate::transaction_coordinator::verification::TransactionVerifier;
use crate::transaction_coordinator::{self, Coordinators};

/// How long requests in work may take at a shutdown before their connections are closed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long a node alone waits to hear of itself before it accepts clients.
const FIRST_METADATA: Duration = Duration::from_secs(10);

/// Everything that a start needs.
#[derive(Debug)]
pub struct StartOptions {
    /// The configuration.
    pub config: BrokerConfig,
    /// Where the embedded coordination keeps its tree; unused with `zookeeper.connect`.
    pub coordination_directory: PathBuf,
    /// The loggers of this process.
    pub loggers: Arc<Loggers>,
    /// Where the page of metrics is served, if it is.
    pub metrics: Option<MetricsAddress>,
}

/// Why a broker could not start: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A configuration value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The coordination service's settings.
    #[error(transparent)]
    Provider(#[from] SecurityError),
    /// The embedded tree.
    #[error(transparent)]
    Embedded(#[from] StoreError),
    /// The session.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A first step in the coordination service.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// What is finalized for the cluster.
    #[error(transparent)]
    Features(#[from] Incompatible),
    /// The log directories.
    #[error(transparent)]
    Logs(#[from] log_manager::StartError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The listener of the metrics.
    #[error("metrics cannot be served at {address}: {error}")]
    Metrics {
        /// As configured.
        address: MetricsAddress,
        /// What the system says.
        error: std::io::Error,
    },
    /// No id is configured, and none may be made.
    #[error(
        "broker.id is not set, no log directory has one, and broker.id.generation.enable is false"
    )]
    NoBrokerId,
    /// A part of the start panicked; it has said why.
    #[error("the start was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl From<ottla_coordination::Error> for StartError {
    fn from(error: ottla_coordination::Error) -> Self {
        Self::Startup(error.into())
    }
}

/// A broker that accepts clients.
#[derive(Debug)]
pub struct RunningBroker {
    broker: Arc<Broker>,
    server: Arc<Server>,
    addresses: Vec<(ListenerName, SocketAddr)>,
    log_manager: Arc<LogManager>,
    background: Background,
    fetchers: Arc<Fetchers>,
    followers: Vec<tokio::task::JoinHandle<()>>,
    /// The page of metrics, and what serves it.
    metrics: Option<(Arc<Sources>, MetricsServer)>,
    /// Whether other brokers may take over what this one leads.
    is_in_cluster: bool,
}

impl RunningBroker {
    /// Starts a broker; it accepts clients when this returns. Must be called within a tokio
    /// runtime.
    pub async fn start(options: StartOptions) -> Result<Self, StartError> {
        let StartOptions {
            config,
            coordination_directory,
            loggers,
            metrics,
        } = options;
        let clock = Clock::start();
        let (started, began) = (clock.wall(), std::time::Instant::now());
        let metrics = bind_metrics(metrics).await?;
        // Where a Java broker's start script takes the options of its virtual machine from.
        let java_options = std::env::var("KAFKA_OPTS").unwrap_or_default();
        let system_properties = SystemProperties::from_options(&java_options);
        let provider = Provider::of(&config, coordination_directory, &system_properties)?;
        let is_in_cluster = provider.is_shared();
        let opener = tokio::task::spawn_blocking(|| provider.opener()).await??;
        let coordination = CoordinationHandle::connect(opener, config.zookeeper_set_acl).await?;
        coordination.create_top_level_paths().await?;
        let cluster_id = coordination.cluster_id(random_bytes()).await?.0;

        let (log_dirs, id) = identify(&config, &coordination, &cluster_id, clock).await?;
        tracing::info!(cluster_id, broker_id = %id, "identity");
        let configs = Arc::new(Configs::new(config)?);
        let dynamic_config =
            DynamicConfig::new(id, Arc::clone(&coordination), Arc::clone(&configs), loggers);
        dynamic_config.load().await?;
        let config = configs.broker();
        if let Some(metrics) = &metrics {
            let progress = log_dirs.progress();
            metrics.show(move || page_of_loading(&progress));
        }
        let log_manager = load_logs(log_dirs, &configs, clock).await?;
        if let Some(metrics) = &metrics {
            metrics.hold();
        }

        let apis = Arc::new(service::api_table());
        let connection_rates = Arc::clone(dynamic_config.connection_rates());
        let server_config =
            listeners::server_config(&config, Arc::clone(&apis), Arc::clone(&connection_rates));
        let bound = listeners::bind(&config, &server_config)?;
        let addresses: Vec<_> = bound
            .iter()
            .map(|b| (b.config().name.clone(), b.local_address()))
            .collect();
        let endpoints = listeners::advertised(&config, &addresses);

        let metadata_cache = Arc::new(MetadataCache::default());
        let replica_manager = ReplicaManager::new(
            id,
            clock,
            Arc::clone(&configs),
            Arc::clone(&metadata_cache),
            Arc::clone(&log_manager),
        );
        let fetchers = Fetchers::start(&config, &replica_manager, &metadata_cache);
        let offsets_partitions = partition_count(&coordination, GROUP_METADATA_TOPIC).await?;
        let group_coordinator = GroupCoordinator::start(
            Settings::new(&config, offsets_partitions),
            clock,
            Arc::new(ReplicatedLog {
                replica_manager: Arc::clone(&replica_manager),
                topic: GROUP_METADATA_TOPIC,
            }),
        );
        replica_manager.set_dynamic_config(Arc::clone(&dynamic_config));
        let transaction_partitions =
            partition_count(&coordination, TRANSACTION_STATE_TOPIC).await?;
        let marker_writer = Arc::new(MarkerWriter {
            replica_manager: Arc::clone(&replica_manager),
            group_coordinator: Arc::clone(&group_coordinator),
            clock,
            timeout: duration_ms(config.request_timeout_ms),
        });
        let transaction_coordinator = transaction_coordinator::start(
            id,
            clock,
            &configs,
            &metadata_cache,
            &marker_writer,
            transaction_partitions,
        );
        replica_manager.set_listener(Arc::new(Coordinators {
            groups: Arc::clone(&group_coordinator),
            transactions: Arc::clone(&transaction_coordinator),
        }));

        let finalized_features = FinalizedFeatures::new();
        finalized_features.load(&coordination).await?;
        coordination
            .check_endpoints_are_free(id, &endpoints)
            .await?;
        let session_timeout = u64::try_from(config.zookeeper_session_timeout_ms).unwrap_or(0);
        let advertised = endpoints.clone();
        let mut own = LiveBroker {
            id,
            epoch: BrokerEpoch::NONE,
            endpoints,
            rack: config.broker_rack.clone(),
        };
        let notices = coordination.subscribe(|_| true);
        own.epoch = coordination
            .register_started_broker(
                id,
                &registration(&own, &config, clock),
                longest_expiry(Duration::from_millis(session_timeout)),
            )
            .await?;
        replica_manager.set_broker_epoch(own.epoch);
        let controller = ControllerHandle::start(controller::Start {
            configs: Arc::clone(&configs),
            broker: own,
            coordination: Arc::clone(&coordination),
            notices,
            session_id: coordination.registered_session(),
            clock,
            receiver: Arc::new(Arc::clone(&replica_manager)),
        });
        let background = Background::start(
            &config,
            clock,
            &log_manager,
            &replica_manager,
            failed_directories(id, Arc::clone(&coordination)),
        );
        let to_controller = ToController::new(
            &config,
            id,
            Arc::clone(&controller),
            Arc::clone(&metadata_cache),
        );
        let mut followers = vec![
            if config.inter_broker_protocol_version() >= MetadataVersion::IBP_2_7_IV2 {
                tokio::spawn(alter_partition::run(
                    Arc::clone(&replica_manager),
                    Arc::clone(&to_controller),
                ))
            } else {
                tokio::spawn(isr_znodes::run(
                    id,
                    Arc::clone(&replica_manager),
                    Arc::clone(&coordination),
                    clock,
                ))
            },
            tokio::spawn(Arc::clone(&dynamic_config).follow(move || clock.wall())),
            tokio::spawn(Arc::clone(&finalized_features).follow(Arc::clone(&coordination))),
            tokio::spawn(follow_changes(
                dynamic_config.subscribe(),
                Arc::clone(&configs),
                Arc::clone(&replica_manager),
                Arc::clone(&controller),
                connection_rates,
            )),
        ];

        let blocks = if config.inter_broker_protocol_version() >= MetadataVersion::IBP_3_0_IV0 {
            ClusterBlocks::Controller(to_controller)
        } else {
            ClusterBlocks::Znode(id, Arc::clone(&coordination))
        };
        let producer_ids = ProducerIds::new(blocks);
        let source = Arc::clone(&producer_ids);
        transaction_coordinator.set_producer_ids(Box::new(move || {
            let source = Arc::clone(&source);
            Box::pin(async move { source.next().await })
        }));
        let transaction_verifier = TransactionVerifier::new(
            id,
            Arc::clone(&transaction_coordinator),
            Arc::clone(&metadata_cache),
            InterBroker::new(&config, id, Arc::clone(&metadata_cache)),
        );

        let broker = Arc::new(Broker {
            id,
            cluster_id,
            clock,
            apis,
            configs,
            metadata_cache,
            finalized_features,
            coordination,
            replica_manager,
            group_coordinator,
            transaction_coordinator,
            transaction_verifier,
            marker_writer,
            producer_ids,
            controller,
            request_metrics: RequestMetrics::default(),
            client_quotas: Arc::clone(dynamic_config.client_quotas()),
            dynamic_config,
        });
        let deadline = tokio::time::Instant::now() + FIRST_METADATA;
        // In a cluster the controller can only describe it to a broker that accepts connections.
        if !is_in_cluster
            && !broker
                .metadata_cache
                .wait_until(deadline, |cluster| cluster.is_alive(id))
                .await
        {
            tracing::warn!("the controller has not described the cluster yet");
        }
        let service = Arc::new(BrokerService(Arc::clone(&broker)));
        let server = Arc::new(Server::start(bound, server_config.clone(), service));
        let dynamic_listeners = DynamicListeners {
            id,
            clock,
            configs: Arc::clone(&broker.configs),
            server: Arc::clone(&server),
            server_config,
            controller: Arc::clone(&broker.controller),
            coordination: Arc::clone(&broker.coordination),
            open: addresses.clone(),
            advertised,
        };
        let changes = broker.dynamic_config.subscribe();
        followers.push(tokio::spawn(dynamic_listeners.follow(changes)));
        let metrics = metrics.map(|mut pages| {
            let sources = Arc::new(Sources {
                broker: Arc::clone(&broker),
                log_manager: Arc::clone(&log_manager),
                log_metrics: Arc::clone(background.metrics()),
                fetchers: Arc::clone(&fetchers),
                connections: server.open_connections(),
                started,
                began,
                state: AtomicU8::new(BrokerState::Running as u8),
            });
            let (page, forgetting) = (Arc::clone(&sources), Arc::clone(&sources));
            pages.show(move || page.page());
            pages.run_besides(forgetting.forget());
            (sources, pages)
        });
        Ok(Self {
            broker,
            server,
            metrics,
            addresses,
            log_manager,
            background,
            fetchers,
            followers,
            is_in_cluster,
        })
    }

    /// The broker's id.
    pub fn id(&self) -> BrokerId {
        self.broker.id
    }

    /// Ready when no log directory is left: the process must end.
    pub async fn all_directories_failed(&self) {
        self.background.all_directories_failed().await;
    }

    /// Ready when a feature was finalized for the cluster that this broker does not support: the
    /// process must end.
    pub async fn features_are_incompatible(&self) {
        self.broker.finalized_features.are_incompatible().await;
    }

    /// The page of metrics as it is now, if it is served.
    #[cfg(test)]
    pub(crate) fn metrics_page(&self) -> Option<String> {
        self.metrics.as_ref().map(|(sources, _)| sources.page())
    }

    /// Where it listens, by listener.
    pub fn addresses(&self) -> &[(ListenerName, SocketAddr)] {
        &self.addresses
    }

    fn show_state(&self, state: BrokerState) {
        if let Some((sources, _)) = &self.metrics {
            sources.set_state(state);
        }
    }

    /// Stops in order: leaders move away, no new requests, no changes, then the logs, which are
    /// marked clean, and the session last.
    pub async fn shut_down(self) {
        self.show_state(BrokerState::PendingControlledShutdown);
        if self.is_in_cluster {
            controlled_shutdown::controlled_shutdown(&self.broker).await;
        }
        self.show_state(BrokerState::ShuttingDown);
        self.followers
            .iter()
            .for_each(tokio::task::JoinHandle::abort);
        self.server.shutdown(SHUTDOWN_GRACE).await;
        self.broker.group_coordinator.shut_down();
        self.broker.transaction_coordinator.shut_down();
        self.fetchers.shut_down().await;
        drop(self.background);
        let (logs, clock) = (Arc::clone(&self.log_manager), self.broker.clock);
        if let Err(error) = tokio::task::spawn_blocking(move || logs.shutdown(clock.wall())).await {
            tracing::error!(%error, "the logs were not closed in order");
        }
        self.broker.controller.shut_down().await;
        self.broker.coordination.close().await;
    }
}

async fn bind_metrics(
    address: Option<MetricsAddress>,
) -> Result<Option<MetricsServer>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = async {
        let bound = BoundMetrics::bind(&address).await?;
        tracing::info!("metrics are at http://{}/metrics", bound.local_address()?);
        Ok(bound.serve())
    };
    let bound = bound.await;
    bound
        .map(Some)
        .map_err(|error| StartError::Metrics { address, error })
}

/// Opens the log directories and finds out who this broker is.
async fn identify(
    config: &BrokerConfig,
    coordination: &CoordinationHandle,
    cluster_id: &str,
    clock: Clock,
) -> Result<(LogDirs, BrokerId), StartError> {
    let paths = config.log_dirs();
    let mut log_dirs =
        tokio::task::spawn_blocking(move || LogDirs::open(Arc::new(RealDirectory), &paths))
            .await??;
    let configured = BrokerId(config.broker_id).some();
    log_dirs.verify(cluster_id, configured)?;
    let id = match configured.or_else(|| log_dirs.broker_id()) {
        Some(id) => id,
        None if config.broker_id_generation_enable => {
            coordination
                .generate_broker_id(config.reserved_broker_max_id)
                .await?
        }
        None => return Err(StartError::NoBrokerId),
    };
    log_dirs.write_identity(cluster_id, id, clock.wall());
    Ok((log_dirs, id))
}

async fn load_logs(
    log_dirs: LogDirs,
    configs: &Arc<Configs>,
    clock: Clock,
) -> Result<Arc<LogManager>, StartError> {
    let config = configs.broker();
    let settings = LogManagerSettings {
        recovery_threads_per_dir: usize::try_from(config.num_recovery_threads_per_data_dir)
            .unwrap_or(1)
            .max(1),
        producer_expiration_ms: i64::from(config.producer_id_expiration_ms),
        verifies_transactions: config.transaction_partition_verification_enable,
        delete_delay_ms: config.log_segment_delete_delay_ms,
        seed: random_u64(),
    };
    let configs = Arc::clone(configs);
    let load = move || {
        let config_of = |topic: &_| -> Arc<LogConfig> {
            Arc::new(LogConfig::from(
                &*configs.topic(AsRef::<str>::as_ref(topic)),
            ))
        };
        LogManager::load(log_dirs, settings, &config_of, clock.wall())
    };
    Ok(Arc::new(tokio::task::spawn_blocking(load).await??))
}

pub(crate) fn registration(
    own: &LiveBroker,
    config: &BrokerConfig,
    clock: Clock,
) -> BrokerRegistration {
    BrokerRegistration {
        version: registration_version(config.inter_broker_protocol_version()),
        endpoints: own.endpoints.clone(),
        rack: own.rack.clone(),
        jmx_port: -1,
        timestamp: clock.wall(),
        features: Default::default(),
    }
}

/// The version of `/brokers/ids/N`, by `inter.broker.protocol.version`.
fn registration_version(protocol: MetadataVersion) -> i32 {
    let since = |name: &str| MetadataVersion::parse(name).is_some_and(|named| protocol >= named);
    match () {
        () if since("2.7-IV0") => 5,
        () if since("0.10.0-IV1") => 4,
        () => 2,
    }
}

/// How many partitions a topic has, by its znode; `None` if it is not there yet.
async fn partition_count(
    coordination: &CoordinationHandle,
    topic: &str,
) -> Result<Option<i32>, StartError> {
    let path = paths::topic(topic);
    let Some((data, _)) = coordination.find_data(path.clone(), false).await? else {
        return Ok(None);
    };
    let znode = TopicAssignment::decode(data.as_deref().unwrap_or_default())
        .map_err(|error| StartupError::Malformed { path, error })?;
    Ok(i32::try_from(znode.partitions.len()).ok())
}

/// Tells the controller, through a znode, that a log directory of this broker has failed.
fn failed_directories(
    id: BrokerId,
    coordination: Arc<CoordinationHandle>,
) -> impl Fn() + Send + Sync + 'static {
    let runtime = tokio::runtime::Handle::current();
    move || {
        let coordination = Arc::clone(&coordination);
        runtime.spawn(async move {
            if let Err(error) = coordination.announce_log_dir_failure(id).await {
                tracing::error!(%error, "the failed log directory was not announced");
            }
        });
    }
}

/// Passes on what a change of configuration means for partitions and for the controller.
async fn follow_changes(
    mut changes: tokio::sync::mpsc::UnboundedReceiver<Changed>,
    configs: Arc<Configs>,
    replica_manager: Arc<ReplicaManager>,
    controller: Arc<ControllerHandle>,
    connection_rates: Arc<ConnectionRates>,
) {
    let mut unclean = configs.broker().unclean_leader_election_enable;
    while let Some(change) = changes.recv().await {
        match change {
            Changed::Topic(topic) => {
                replica_manager.update_topic_config(topic.as_str());
                if configs.topic(topic.as_str()).unclean_leader_election_enable {
                    controller.topic_unclean_leader_election_enabled(topic);
                }
            }
            Changed::Broker => {
                replica_manager.update_broker_config();
                listeners::limit_connection_rates(&configs.broker(), &connection_rates);
                let now = configs.broker().unclean_leader_election_enable;
                if std::mem::replace(&mut unclean, now) != now {
                    controller.set_unclean_leader_election_default(now);
                }
            }
        }
    }
}
