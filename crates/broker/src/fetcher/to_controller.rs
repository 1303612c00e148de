//! The way to the active controller, in this process or another (`NodeToControllerChannelManager`):
//! found by the metadata cache, versions negotiated.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use ottla_client::{ClientError, Connection, ConnectionConfig, VersionRanges};
use ottla_config::BrokerConfig;
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{BrokerEpoch, BrokerId};
use tokio::sync::Mutex;

use super::leader::connect;
use crate::controller::ControllerHandle;
use crate::metadata_cache::MetadataCache;

/// How long to wait for another controller before the same one is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
pub struct ToController {
    own_id: BrokerId,
    controller: Arc<ControllerHandle>,
    metadata_cache: Arc<MetadataCache>,
    listener: String,
    config: ConnectionConfig,
    remote: Mutex<Option<Remote>>,
}

/// Another broker that is the controller.
#[derive(Clone)]
pub(super) struct Remote {
    id: BrokerId,
    connection: Connection,
    versions: Arc<VersionRanges>,
}

impl Remote {
    /// The highest version that both sides speak.
    pub(super) fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.versions.highest::<R>()
    }

    pub(super) async fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.connection.send(request, version).await
    }
}

/// Where the controller is.
pub(super) enum Active {
    Here,
    There(Remote),
}

/// What came of one attempt to ask.
pub(super) enum Attempt<T> {
    Answered(T),
    /// Whoever was asked is not the controller, or could not be reached.
    LookAgain,
}

impl fmt::Debug for ToController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToController")
            .field("broker", &self.own_id)
            .finish_non_exhaustive()
    }
}

impl ToController {
    /// A way for this broker; nothing is connected yet.
    pub fn new(
        config: &BrokerConfig,
        own_id: BrokerId,
        controller: Arc<ControllerHandle>,
        metadata_cache: Arc<MetadataCache>,
    ) -> Arc<Self> {
        let millis = |value: i64| Duration::from_millis(u64::try_from(value).unwrap_or(0));
        let listener = config.control_plane_listener_name();
        Arc::new(Self {
            own_id,
            controller,
            metadata_cache,
            listener: listener
                .unwrap_or(config.inter_broker_listener_name())
                .to_owned(),
            config: ConnectionConfig {
                connect_timeout: millis(config.socket_connection_setup_timeout_ms),
                request_timeout: millis(config.controller_socket_timeout_ms.into()),
                ..ConnectionConfig::new(own_id.to_string())
            },
            remote: Mutex::default(),
        })
    }

    pub(super) fn own_id(&self) -> BrokerId {
        self.own_id
    }

    pub(super) fn broker_epoch(&self) -> BrokerEpoch {
        self.controller.broker_epoch()
    }

    pub(super) async fn ask_here(&self, request: ApiRequest) -> Answer {
        self.controller.ask(request).await
    }

    /// Asks the controller, whoever it comes to be, until it has answered.
    pub(super) async fn until_answered<T, F>(&self, mut ask: impl FnMut(Active) -> F) -> T
    where
        F: Future<Output = Result<Attempt<T>, ClientError>>,
    {
        loop {
            let asked = self.known_controller();
            let attempt = match self.active().await {
                Ok(Some(active)) => ask(active).await,
                Ok(None) => Ok(Attempt::LookAgain),
                Err(error) => Err(error),
            };
            match attempt {
                Ok(Attempt::Answered(answer)) => return answer,
                Ok(Attempt::LookAgain) => {}
                Err(error) => {
                    tracing::warn!(%error, "the controller was not reached, trying again");
                }
            }
            *self.remote.lock().await = None;
            let deadline = tokio::time::Instant::now() + LOOK_AGAIN;
            // Another controller, or the same once more.
            _ = self
                .metadata_cache
                .wait_until(deadline, |cluster| {
                    cluster.controller.is_some() && cluster.controller != asked
                })
                .await;
        }
    }

    fn known_controller(&self) -> Option<BrokerId> {
        self.metadata_cache.snapshot().controller
    }

    async fn active(&self) -> Result<Option<Active>, ClientError> {
        if self.controller.is_active() {
            return Ok(Some(Active::Here));
        }
        let Some(id) = self.known_controller().filter(|id| *id != self.own_id) else {
            return Ok(None);
        };
        let mut remote = self.remote.lock().await;
        let open = remote
            .as_ref()
            .filter(|remote| remote.id == id && !remote.connection.is_closed());
        if let Some(open) = open {
            return Ok(Some(Active::There(open.clone())));
        }
        let connection = connect(&self.metadata_cache, id, &self.listener, &self.config).await?;
        let versions = Arc::new(connection.api_versions().await?);
        let opened = Remote {
            id,
            connection,
            versions,
        };
        *remote = Some(opened.clone());
        Ok(Some(Active::There(opened)))
    }
}
