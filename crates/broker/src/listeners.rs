//! From the broker's keys to sockets, and from bound sockets to what is advertised.

pub(crate) mod dynamic;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_model::Endpoint;
use ottla_network::{
    BindError, BoundListener, ConnectionLimits, ConnectionRates, ListenerConfig, ListenerName,
    ServerConfig,
};
use ottla_protocol::ApiTable;

/// The limits and buffers that hold for all listeners.
pub(crate) fn server_config(
    config: &BrokerConfig,
    apis: Arc<ApiTable>,
    connection_rates: Arc<ConnectionRates>,
) -> ServerConfig {
    limit_connection_rates(config, &connection_rates);
    let buffer = |bytes: i32| usize::try_from(bytes).ok();
    ServerConfig {
        socket_request_max_bytes: limit(config.socket_request_max_bytes),
        socket_send_buffer_bytes: buffer(config.socket_send_buffer_bytes),
        socket_receive_buffer_bytes: buffer(config.socket_receive_buffer_bytes),
        socket_listen_backlog_size: config.socket_listen_backlog_size,
        connections_max_idle: Duration::from_millis(
            config
                .connections_max_idle_ms
                .try_into()
                .unwrap_or(u64::MAX),
        ),
        max_connections: limit(config.max_connections),
        max_connections_per_ip: limit(config.max_connections_per_ip),
        max_connections_per_ip_overrides: overrides(config),
        connection_rates,
        ..ServerConfig::new(apis)
    }
}

/// Takes over how fast connections may come; this may change while the broker runs. What a listener
/// does not say for itself it has from the broker.
pub(crate) fn limit_connection_rates(config: &BrokerConfig, rates: &ConnectionRates) {
    const KEY: &str = "max.connection.creation.rate";
    let broker = config.max_connection_creation_rate;
    let listeners = config.listeners().iter().map(|endpoint| {
        let own = own_limit(config, endpoint, KEY);
        (ListenerName::new(&endpoint.listener), own.unwrap_or(broker))
    });
    rates.set_limits(broker, listeners);
}

/// `listener.name.X.KEY`.
fn own_limit(config: &BrokerConfig, endpoint: &Endpoint, key: &str) -> Option<i32> {
    let name = endpoint.listener.to_lowercase();
    let own = format!("listener.name.{name}.{key}");
    let value = config.properties().get(&own)?;
    value.trim().parse().ok()
}

fn limit(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// Hosts of `max.connections.per.ip.overrides` by address; a host that has none limits nothing.
fn overrides(config: &BrokerConfig) -> BTreeMap<IpAddr, usize> {
    let mut limits = BTreeMap::new();
    for (host, count) in config.max_connections_per_ip_overrides() {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => {
                limits.extend(addresses.map(|address| (address.ip(), limit(count))));
            }
            Err(error) => {
                tracing::warn!(host, %error, "max.connections.per.ip.overrides: unknown host");
            }
        }
    }
    limits
}

/// The limits of connections, which may change while the broker runs
/// (`SocketServer.ReconfigurableConfigs`).
pub(crate) fn connection_limits(config: &BrokerConfig) -> ConnectionLimits {
    let by_listener = config.listeners().iter().map(|endpoint| {
        (
            ListenerName::new(&endpoint.listener),
            listener_limit(config, endpoint),
        )
    });
    ConnectionLimits {
        max_connections: limit(config.max_connections),
        max_connections_per_ip: limit(config.max_connections_per_ip),
        max_connections_per_ip_overrides: overrides(config),
        by_listener: by_listener.collect(),
    }
}

fn listener_limit(config: &BrokerConfig, endpoint: &Endpoint) -> usize {
    limit(own_limit(config, endpoint, "max.connections").unwrap_or(config.max_connections))
}

/// Binds every listener, without accepting yet.
pub(crate) fn bind(
    config: &BrokerConfig,
    server: &ServerConfig,
) -> Result<Vec<BoundListener>, BindError> {
    config
        .listeners()
        .iter()
        .map(|endpoint| BoundListener::bind(listener_config(config, endpoint), server))
        .collect()
}

pub(crate) fn listener_config(config: &BrokerConfig, endpoint: &Endpoint) -> ListenerConfig {
    ListenerConfig {
        name: ListenerName::new(&endpoint.listener),
        security_protocol: endpoint.protocol,
        host: endpoint.host.clone(),
        port: endpoint.port.try_into().unwrap_or(0),
        is_inter_broker: endpoint.listener == config.inter_broker_listener_name(),
        max_connections: listener_limit(config, endpoint),
    }
}

/// What to register: the advertised listeners, with the ports that the system chose where none
/// was configured, and this machine's name where no host was.
pub(crate) fn advertised(
    config: &BrokerConfig,
    bound: &[(ListenerName, SocketAddr)],
) -> Vec<Endpoint> {
    let advertised = config.advertised_listeners().iter().cloned();
    advertised
        .map(|mut endpoint| {
            let listener = bound
                .iter()
                .find(|(name, _)| name.as_str() == endpoint.listener);
            if let Some((_, address)) = listener.filter(|_| endpoint.port == 0) {
                endpoint.port = i32::from(address.port());
            }
            if endpoint.host.is_empty() {
                endpoint.host = host_name();
            }
            endpoint
        })
        .collect()
}

/// The canonical name of this machine, as `InetAddress.getLocalHost` finds it.
fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if (name.as_str(), 0).to_socket_addrs().is_ok() {
        name
    } else {
        "localhost".to_owned()
    }
}
