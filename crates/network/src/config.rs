//! What the network is told: values of Kafka's keys, already parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::SecurityProtocol;
use ottla_protocol::ApiTable;
use ottla_quotas::Windows;

use crate::connection_rates::ConnectionRates;
use crate::service::ListenerName;

/// One of `listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name.
    pub name: ListenerName,
    /// How its bytes are protected. Only [`SecurityProtocol::Plaintext`] is served.
    pub security_protocol: SecurityProtocol,
    /// The host to bind to; empty for all interfaces.
    pub host: String,
    /// The port to bind to; 0 lets the system choose.
    pub port: u16,
    /// Whether brokers talk to each other on it (`inter.broker.listener.name`).
    pub is_inter_broker: bool,
    /// `listener.name.X.max.connections`.
    pub max_connections: usize,
}

impl ListenerConfig {
    /// A plaintext listener without limits of its own.
    pub fn plaintext(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: ListenerName::new(name),
            security_protocol: SecurityProtocol::Plaintext,
            host: host.to_owned(),
            port,
            is_inter_broker: true,
            max_connections: i32::MAX as usize,
        }
    }
}

/// What holds for all listeners. The defaults are Kafka's.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The APIs that are answered; others close the connection.
    pub apis: Arc<ApiTable>,
    /// `socket.request.max.bytes`: the largest request, without its length prefix.
    pub socket_request_max_bytes: usize,
    /// `socket.send.buffer.bytes`; `None` (−1 in Kafka) for the system's default.
    pub socket_send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` (−1 in Kafka) for the system's default.
    pub socket_receive_buffer_bytes: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub socket_listen_backlog_size: i32,
    /// `connections.max.idle.ms`.
    pub connections_max_idle: Duration,
    /// `max.connections`: connections over all listeners.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`; 0 denies.
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// How fast connections may come.
    pub connection_rates: Arc<ConnectionRates>,
}

impl ServerConfig {
    /// Kafka's defaults, answering these APIs.
    pub fn new(apis: Arc<ApiTable>) -> Self {
        Self {
            apis,
            socket_request_max_bytes: 104_857_600,
            socket_send_buffer_bytes: Some(102_400),
            socket_receive_buffer_bytes: Some(102_400),
            socket_listen_backlog_size: 50,
            connections_max_idle: Duration::from_secs(600),
            max_connections: i32::MAX as usize,
            max_connections_per_ip: i32::MAX as usize,
            max_connections_per_ip_overrides: BTreeMap::new(),
            connection_rates: Arc::new(ConnectionRates::new(Windows::new(11, 1))),
        }
    }
}
