//! Listeners that change while the broker runs (`DynamicListenerConfig`).
//!
//! A listener is known by its name: what is new is opened, what is gone is closed, and one whose
//! address has changed stays where it is, as in Kafka. When what is advertised has changed, the
//! registration is written again; the controller watches it and tells all brokers.

use std::net::SocketAddr;
use std::sync::Arc;

use ottla_config::BrokerConfig;
use ottla_model::{BrokerId, Endpoint, LiveBroker};
use ottla_network::{BoundListener, ListenerName, Server, ServerConfig};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::{advertised, connection_limits, listener_config};
use crate::clock::Clock;
use crate::configs::Configs;
use crate::controller::ControllerHandle;
use crate::coordination::CoordinationHandle;
use crate::dynamic_config::Changed;
use crate::start::registration;

/// What follows the changes.
pub(crate) struct DynamicListeners {
    pub(crate) id: BrokerId,
    pub(crate) clock: Clock,
    pub(crate) configs: Arc<Configs>,
    pub(crate) server: Arc<Server>,
    /// For sockets that are opened.
    pub(crate) server_config: ServerConfig,
    pub(crate) controller: Arc<ControllerHandle>,
    pub(crate) coordination: Arc<CoordinationHandle>,
    /// The listeners that are open.
    pub(crate) open: Vec<(ListenerName, SocketAddr)>,
    /// What is registered.
    pub(crate) advertised: Vec<Endpoint>,
}

impl DynamicListeners {
    /// Until the broker's configuration changes no more.
    pub(crate) async fn follow(mut self, mut changes: mpsc::UnboundedReceiver<Changed>) {
        loop {
            let config = self.configs.broker();
            self.apply(&config).await;
            loop {
                match changes.recv().await {
                    None => return,
                    Some(Changed::Broker) => break,
                    Some(Changed::Topic(_)) => {}
                }
            }
        }
    }

    async fn apply(&mut self, config: &BrokerConfig) {
        self.server.set_connection_limits(connection_limits(config));
        let (stay, removed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(name, _)| {
                let mut wanted = config.listeners().iter();
                wanted.any(|endpoint| endpoint.listener == name.as_str())
            });
        self.open = stay;
        for (name, address) in removed {
            self.server.remove_listener(&name).await;
            info!(listener = %name, %address, "closed a listener");
        }
        for endpoint in config.listeners() {
            let mut open = self.open.iter();
            if open.any(|(name, _)| name.as_str() == endpoint.listener) {
                continue;
            }
            match BoundListener::bind(listener_config(config, endpoint), &self.server_config) {
                Ok(bound) => {
                    let (name, address) = (bound.config().name.clone(), bound.local_address());
                    info!(listener = %name, %address, "opened a listener");
                    self.server.add_listener(bound);
                    self.open.push((name, address));
                }
                Err(error) => {
                    error!(listener = endpoint.listener, %error, "cannot open a listener")
                }
            }
        }
        let advertised = advertised(config, &self.open);
        if advertised != self.advertised {
            self.register(config, advertised).await;
        }
    }

    async fn register(&mut self, config: &BrokerConfig, advertised: Vec<Endpoint>) {
        let broker = LiveBroker {
            id: self.id,
            epoch: self.controller.broker_epoch(),
            endpoints: advertised.clone(),
            rack: config.broker_rack.clone(),
        };
        let registration = registration(&broker, config, self.clock);
        // First, so that a session that begins anew registers it so.
        self.controller.set_broker_info(broker);
        let written = self
            .coordination
            .update_registration(self.id, &registration);
        match written.await {
            Ok(()) => info!(endpoints = ?advertised, "registered other endpoints"),
            Err(error) => error!(%error, "cannot register other endpoints"),
        }
        self.advertised = advertised;
    }
}
