//! Connections to other brokers over the inter-broker listener, one per broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, ConnectionConfig, VersionRanges};
use ottla_config::BrokerConfig;
use ottla_model::BrokerId;
use tokio::sync::Mutex;

use super::settings::duration_ms;
use crate::metadata_cache::MetadataCache;

/// The connections of one purpose. A broker answers the requests of a connection one by one, so
/// that purposes which must not wait for each other need their own.
pub(crate) struct InterBroker {
    listener: String,
    config: ConnectionConfig,
    metadata_cache: Arc<MetadataCache>,
    connections: Mutex<HashMap<BrokerId, Peer>>,
}

#[derive(Clone)]
struct Peer {
    connection: Connection,
    versions: Option<Arc<VersionRanges>>,
}

impl InterBroker {
    /// No connection yet.
    pub(crate) fn new(
        config: &BrokerConfig,
        own_id: BrokerId,
        metadata_cache: Arc<MetadataCache>,
    ) -> Arc<Self> {
        let request_timeout: Duration = duration_ms(config.request_timeout_ms);
        Arc::new(Self {
            listener: config.inter_broker_listener_name().to_owned(),
            config: ConnectionConfig {
                request_timeout,
                ..ConnectionConfig::new(own_id.to_string())
            },
            metadata_cache,
            connections: Mutex::default(),
        })
    }

    /// `inter.broker.listener.name`.
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }

    /// The connection to a broker, opened if it is not open.
    pub(crate) async fn connection(&self, broker: BrokerId) -> Result<Connection, ClientError> {
        Ok(self.peer(broker, false).await?.connection)
    }

    /// The same with the versions that the broker speaks.
    pub(crate) async fn connection_and_versions(
        &self,
        broker: BrokerId,
    ) -> Result<(Connection, Arc<VersionRanges>), ClientError> {
        let Peer {
            connection,
            versions,
        } = self.peer(broker, true).await?;
        let versions = versions.unwrap_or_else(|| Arc::new(VersionRanges(Default::default())));
        Ok((connection, versions))
    }

    async fn peer(&self, broker: BrokerId, with_versions: bool) -> Result<Peer, ClientError> {
        let known = self.connections.lock().await.get(&broker).cloned();
        if let Some(peer) = known.filter(|peer| !peer.connection.is_closed()) {
            return Ok(peer);
        }
        let unreachable = || ClientError::Connect {
            address: format!("broker {broker}"),
            error: std::io::ErrorKind::AddrNotAvailable.into(),
        };
        let snapshot = self.metadata_cache.snapshot();
        let endpoint = snapshot
            .brokers
            .get(&broker)
            .and_then(|broker| broker.endpoint(&self.listener))
            .ok_or_else(unreachable)?;
        let port = u16::try_from(endpoint.port).map_err(|_| unreachable())?;
        let connection = Connection::connect(&endpoint.host, port, &self.config).await?;
        let versions = match with_versions {
            true => Some(Arc::new(connection.api_versions().await?)),
            false => None,
        };
        let peer = Peer {
            connection,
            versions,
        };
        self.connections.lock().await.insert(broker, peer.clone());
        Ok(peer)
    }
}
