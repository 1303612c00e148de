//! The channel to one broker (`RequestSendThread`): a queue, one connection, one request in flight,
//! sent again until it is answered. Closing it throws the queue away.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, ConnectionConfig};
use ottla_config::BrokerConfig;
use ottla_model::control::{ControlRequest, ControlResponse};
use ottla_model::{BrokerEpoch, BrokerId, LiveBroker};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::control_wire;
use super::settings::RequestVersions;

/// Pause before a request is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// What carries requests out in this process: the broker's own replica manager.
pub trait ControlReceiver: Send + Sync + 'static {
    /// The broker has a new incarnation: its session had expired, and it is registered again.
    fn registered(&self, epoch: BrokerEpoch);

    /// Carries it out and answers.
    fn receive(
        &self,
        request: Arc<ControlRequest>,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send + '_>>;
}

/// How requests get to brokers.
#[derive(Clone)]
pub(super) struct Transport {
    own_id: BrokerId,
    pub(super) receiver: Arc<dyn ControlReceiver>,
    /// `control.plane.listener.name`, else the inter-broker listener.
    listener: String,
    inter_broker_listener: String,
    connection: ConnectionConfig,
}

impl Transport {
    pub(super) fn new(
        config: &BrokerConfig,
        own_id: BrokerId,
        receiver: Arc<dyn ControlReceiver>,
    ) -> Self {
        let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
        let inter_broker_listener = config.inter_broker_listener_name().to_owned();
        let listener = config.control_plane_listener_name();
        Self {
            own_id,
            receiver,
            listener: listener.unwrap_or(&inter_broker_listener).to_owned(),
            inter_broker_listener,
            connection: ConnectionConfig {
                connect_timeout: millis(config.controller_socket_timeout_ms),
                request_timeout: millis(config.request_timeout_ms),
                ..ConnectionConfig::new(own_id.to_string())
            },
        }
    }
}

/// An open channel.
#[derive(Debug)]
pub(super) struct Channel {
    queue: mpsc::UnboundedSender<Arc<ControlRequest>>,
    worker: JoinHandle<()>,
}

impl Channel {
    /// Opens a channel; `answered` is called with each request and its answer.
    pub(super) fn open(
        transport: Transport,
        versions: RequestVersions,
        broker: LiveBroker,
        answered: impl Fn(Arc<ControlRequest>, ControlResponse) + Send + 'static,
    ) -> Self {
        let (queue, mut requests) = mpsc::unbounded_channel::<Arc<ControlRequest>>();
        let worker = tokio::spawn(async move {
            let mut peer = Peer {
                transport,
                versions,
                broker,
                connection: None,
            };
            while let Some(request) = requests.recv().await {
                let response = peer.ask_until_answered(&request).await;
                answered(request, response);
            }
        });
        Self { queue, worker }
    }

    /// Queues a request behind those before it.
    pub(super) fn send(&self, request: Arc<ControlRequest>) {
        // The worker ends only when the channel is dropped.
        _ = self.queue.send(request);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Peer {
    transport: Transport,
    versions: RequestVersions,
    broker: LiveBroker,
    connection: Option<Connection>,
}

impl Peer {
    async fn ask_until_answered(&mut self, request: &Arc<ControlRequest>) -> ControlResponse {
        if self.broker.id == self.transport.own_id {
            return self.transport.receiver.receive(Arc::clone(request)).await;
        }
        loop {
            match self.ask(request).await {
                Ok(response) => return response,
                Err(error) => {
                    self.connection = None;
                    tracing::warn!(broker = %self.broker.id, %error, "control request failed, sending it again");
                    tokio::time::sleep(RESEND_PAUSE).await;
                }
            }
        }
    }

    async fn ask(&mut self, request: &ControlRequest) -> Result<ControlResponse, ClientError> {
        let connection = self.connection().await?;
        let listener = &self.transport.inter_broker_listener;
        control_wire::ask(&connection, self.versions, listener, request).await
    }

    async fn connection(&mut self) -> Result<Connection, ClientError> {
        if let Some(connection) = self.connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(connection.clone());
        }
        let unreachable = || ClientError::Connect {
            address: format!("broker {}", self.broker.id),
            error: std::io::ErrorKind::AddrNotAvailable.into(),
        };
        let endpoint = self
            .broker
            .endpoint(&self.transport.listener)
            .ok_or_else(unreachable)?;
        let port = u16::try_from(endpoint.port).map_err(|_| unreachable())?;
        let connection =
            Connection::connect(&endpoint.host, port, &self.transport.connection).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}
