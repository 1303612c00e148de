//! Listeners: sockets bound, connections accepted, and all of them ended in good order.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use ottla_model::SecurityProtocol;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::address::{canonical, connection_id};
use crate::config::{ListenerConfig, ServerConfig};
use crate::connection::Connection;
use crate::quotas::{ConnectionLimits, ConnectionQuotas, OpenConnections, Slot};
use crate::service::{ConnectionInfo, ListenerName, Principal, Service};

/// How long an acceptor rests when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections that came too fast a listener holds until they are closed; more are closed
/// at once.
const HELD_MAX: usize = 1024;
/// How long a shutdown waits for connections that it has cut off.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Why a listener cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Only plaintext is served.
    #[error("listener {0}: security protocol {1} is not served")]
    SecurityProtocol(crate::service::ListenerName, SecurityProtocol),
    /// The host is unknown, the port taken, or the system refuses.
    #[error("Socket server failed to bind to {host}:{port}: {error}.")]
    Socket {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What the system says.
        error: io::Error,
    },
}

/// A socket that is bound and listens, but whose connections are not accepted yet.
#[derive(Debug)]
pub struct BoundListener {
    config: ListenerConfig,
    socket: TcpListener,
    local_address: SocketAddr,
}

impl BoundListener {
    /// Binds a listener. Must be called within a tokio runtime.
    pub fn bind(listener: ListenerConfig, config: &ServerConfig) -> Result<Self, BindError> {
        if listener.security_protocol != SecurityProtocol::Plaintext {
            return Err(BindError::SecurityProtocol(
                listener.name,
                listener.security_protocol,
            ));
        }
        let bound =
            bind_socket(&listener, config).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((local_address, socket)) => Ok(Self {
                config: listener,
                socket,
                local_address,
            }),
            Err(error) => Err(BindError::Socket {
                host: listener.host,
                port: listener.port,
                error,
            }),
        }
    }

    /// The address that was bound, with the port that the system chose if it was to choose.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The listener's configuration.
    pub fn config(&self) -> &ListenerConfig {
        &self.config
    }
}

/// Running listeners and their connections.
pub struct Server {
    quotas: Arc<ConnectionQuotas>,
    accept: Box<dyn Fn(BoundListener) -> JoinHandle<()> + Send + Sync>,
    acceptors: parking_lot::Mutex<BTreeMap<ListenerName, JoinHandle<()>>>,
    connections: Arc<parking_lot::Mutex<tokio::task::JoinSet<()>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("acceptors", &self.acceptors)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Begins to accept on listeners that are bound, giving requests to `service`.
    pub fn start<S: Service>(
        listeners: Vec<BoundListener>,
        config: ServerConfig,
        service: Arc<S>,
    ) -> Self {
        let configs: Vec<_> = listeners
            .iter()
            .map(|listener| listener.config.clone())
            .collect();
        let quotas = Arc::new(ConnectionQuotas::new(&config, &configs));
        let connections = Arc::new(parking_lot::Mutex::new(tokio::task::JoinSet::new()));
        let config = Arc::new(config);
        let epoch = Instant::now();
        let (its_quotas, its_connections) = (Arc::clone(&quotas), Arc::clone(&connections));
        let accept = move |listener| {
            let acceptor = Acceptor {
                listener,
                config: Arc::clone(&config),
                service: Arc::clone(&service),
                quotas: Arc::clone(&its_quotas),
                connections: Arc::clone(&its_connections),
                held: Arc::new(Semaphore::new(HELD_MAX)),
                epoch,
            };
            tokio::spawn(acceptor.run())
        };
        let server = Self {
            quotas,
            accept: Box::new(accept),
            acceptors: parking_lot::Mutex::default(),
            connections,
        };
        for listener in listeners {
            server.add_listener(listener);
        }
        server
    }

    /// Begins to accept on one more listener, which is bound. Must be called within a tokio
    /// runtime.
    pub fn add_listener(&self, listener: BoundListener) {
        let mut acceptors = self.acceptors.lock();
        acceptors.insert(listener.config.name.clone(), (self.accept)(listener));
        self.quotas.set_listeners(acceptors.len());
    }

    /// Closes a listener; its connections end once the requests in work are answered.
    pub async fn remove_listener(&self, name: &ListenerName) {
        let removed = {
            let mut acceptors = self.acceptors.lock();
            let removed = acceptors.remove(name);
            self.quotas.set_listeners(acceptors.len());
            removed
        };
        if let Some(acceptor) = removed {
            acceptor.abort();
            // Cancelled, as was asked for; a panic has been printed already.
            let _ = acceptor.await;
        }
        self.quotas.close_listener(name);
    }

    /// Takes over other limits of connections.
    pub fn set_connection_limits(&self, limits: ConnectionLimits) {
        self.quotas.set_limits(limits);
    }

    /// What counts the open connections.
    pub fn open_connections(&self) -> OpenConnections {
        OpenConnections(Arc::clone(&self.quotas))
    }

    /// Stops accepting, lets requests in work be answered for at most `grace`, then closes what is
    /// left. Requests that only wait (Fetch, JoinGroup, SyncGroup) are given up at once.
    pub async fn shutdown(&self, grace: Duration) {
        let acceptors = std::mem::take(&mut *self.acceptors.lock());
        for acceptor in acceptors.values() {
            acceptor.abort();
        }
        for acceptor in acceptors.into_values() {
            // Cancelled, as was asked for; a panic has been printed already.
            let _ = acceptor.await;
        }
        self.quotas.close_all();
        if tokio::time::timeout(grace, self.quotas.all_closed())
            .await
            .is_err()
        {
            tracing::warn!("requests still in work after {grace:?}: closing their connections");
            self.connections.lock().abort_all();
            // They end at their next await; a handler that never awaits is left behind.
            let _ = tokio::time::timeout(LAST_WAIT, self.quotas.all_closed()).await;
        }
    }
}

struct Acceptor<S> {
    listener: BoundListener,
    config: Arc<ServerConfig>,
    service: Arc<S>,
    quotas: Arc<ConnectionQuotas>,
    connections: Arc<parking_lot::Mutex<tokio::task::JoinSet<()>>>,
    /// Places for connections that are closed later.
    held: Arc<Semaphore>,
    epoch: Instant,
}

impl<S: Service> Acceptor<S> {
    async fn run(self) {
        let listener = &self.listener.config;
        loop {
            let (stream, remote) = match self.listener.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::error!(listener = %listener.name, %error, "error while accepting connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let slot = self.quotas.slot(listener).await;
            let address = canonical(remote).ip();
            if let Some(wait) = self.quotas.throttled(listener, address) {
                drop(slot);
                tracing::debug!(%remote, ?wait, "delaying the end of a connection of too many");
                self.close_later(stream, wait);
                continue;
            }
            match self.open(stream, remote, slot) {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(listener = %listener.name, %remote, %error, "connection closed at once");
                }
            }
        }
    }

    /// Holds a connection unserved until its client may try again, so that it does not at once.
    fn close_later(&self, stream: TcpStream, wait: Duration) {
        let Ok(place) = Arc::clone(&self.held).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            drop((stream, place));
        });
    }

    fn open(&self, stream: TcpStream, remote: SocketAddr, mut slot: Slot) -> io::Result<()> {
        let client_address = canonical(remote);
        if let Err(error) = slot.count_address(client_address.ip()) {
            tracing::info!("{error}");
            return Ok(());
        }
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new())?;
        if let Some(size) = self.config.socket_send_buffer_bytes {
            socket.set_send_buffer_size(size)?;
        }
        let local_address = canonical(stream.local_addr()?);
        slot.handle.touch(self.epoch.elapsed().as_millis() as u64);
        let connection = Connection {
            service: Arc::clone(&self.service),
            config: Arc::clone(&self.config),
            info: Arc::new(ConnectionInfo {
                connection_id: connection_id(local_address, client_address, slot.index()),
                listener: self.listener.config.name.clone(),
                security_protocol: self.listener.config.security_protocol,
                from_privileged_listener: self.listener.config.is_inter_broker,
                principal: Principal::anonymous(),
                client_address,
                local_address,
            }),
            handle: Arc::clone(&slot.handle),
            epoch: self.epoch,
            stream,
        };
        let mut connections = self.connections.lock();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            connection.run().await;
            drop(slot);
        });
        Ok(())
    }
}

fn bind_socket(listener: &ListenerConfig, config: &ServerConfig) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = if listener.host.is_empty() {
        // All interfaces, of both families where the system has both.
        vec![
            (Ipv6Addr::UNSPECIFIED, listener.port).into(),
            (Ipv4Addr::UNSPECIFIED, listener.port).into(),
        ]
    } else {
        (listener.host.as_str(), listener.port)
            .to_socket_addrs()?
            .collect()
    };
    let mut result = Err(io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        "the host has no address",
    ));
    for address in addresses {
        result = bind_address(address, config);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return result,
            Err(_) => {}
            Ok(_) => return result,
        }
    }
    result
}

fn bind_address(address: SocketAddr, config: &ServerConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if let Some(size) = config.socket_receive_buffer_bytes {
        // Before listening: accepted sockets inherit it, and only then the window can be scaled.
        socket.set_recv_buffer_size(size)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(config.socket_listen_backlog_size)?;
    TcpListener::from_std(socket.into())
}
