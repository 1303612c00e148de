//! How many connections may be open (`ConnectionQuotas`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::address::host_address;
use crate::config::{ListenerConfig, ServerConfig};
use crate::connection_rates::ConnectionRates;
use crate::service::ListenerName;

/// An address has as many connections as it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Rejected connection from /{}, address already has the configured maximum of {max} connections.",
    host_address(*.address)
)]
pub(crate) struct TooManyConnections {
    address: IpAddr,
    max: usize,
}

/// What others may do with a connection: see when it was last active, ask it to end.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    listener: ListenerName,
    last_active_ms: AtomicU64,
    closing: AtomicBool,
    close: Notify,
}

impl ConnectionHandle {
    /// Asks the connection to end once the request in work is answered.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.close.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ends when the connection is asked to end.
    pub(crate) async fn closing(&self) {
        while !self.is_closing() {
            self.close.notified().await;
        }
    }

    pub(crate) fn last_active_ms(&self) -> u64 {
        self.last_active_ms.load(Ordering::Relaxed)
    }

    /// Notes traffic, at a time in milliseconds since the server's start.
    pub(crate) fn touch(&self, now_ms: u64) {
        self.last_active_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// The connections of all listeners, and their limits.
#[derive(Debug)]
pub(crate) struct ConnectionQuotas {
    /// How many listeners there are: only beside others that of the brokers is protected.
    listeners: AtomicUsize,
    rates: Arc<ConnectionRates>,
    state: Mutex<State>,
    released: Notify,
    emptied: Notify,
}

/// How many connections there may be; may change while the server runs.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// `max.connections`: over all listeners.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`; 0 denies.
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// `listener.name.X.max.connections`, for those listeners whose limit is not that of their
    /// start.
    pub by_listener: BTreeMap<ListenerName, usize>,
}

#[derive(Debug)]
struct State {
    limits: ConnectionLimits,
    total: usize,
    by_listener: BTreeMap<ListenerName, usize>,
    by_address: BTreeMap<IpAddr, usize>,
    connections: BTreeMap<u64, Arc<ConnectionHandle>>,
    next_index: u64,
}

/// A place among the open connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    quotas: Arc<ConnectionQuotas>,
    listener: ListenerName,
    address: Option<IpAddr>,
    index: u64,
    pub(crate) handle: Arc<ConnectionHandle>,
}

impl ConnectionQuotas {
    pub(crate) fn new(config: &ServerConfig, listeners: &[ListenerConfig]) -> Self {
        Self {
            listeners: AtomicUsize::new(listeners.len()),
            rates: Arc::clone(&config.connection_rates),
            state: Mutex::new(State {
                limits: ConnectionLimits {
                    max_connections: config.max_connections,
                    max_connections_per_ip: config.max_connections_per_ip,
                    max_connections_per_ip_overrides: config
                        .max_connections_per_ip_overrides
                        .clone(),
                    by_listener: BTreeMap::new(),
                },
                total: 0,
                by_listener: BTreeMap::new(),
                by_address: BTreeMap::new(),
                connections: BTreeMap::new(),
                next_index: 0,
            }),
            released: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Waits until the listener may have one more connection, and takes the place: not before
    /// connections have come slowly enough. The listener of the brokers may exceed the limit of
    /// all: then the connection of another listener that has been quiet longest is closed for it.
    pub(crate) async fn slot(self: &Arc<Self>, listener: &ListenerConfig) -> Slot {
        let wait = self
            .rates
            .accept(&listener.name, self.is_protected(listener));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        loop {
            let released = self.released.notified();
            if let Some(slot) = self.try_slot(listener) {
                return slot;
            }
            released.await;
        }
    }

    /// Whether an address's connections come too fast: after what time this one is closed then.
    pub(crate) fn throttled(&self, listener: &ListenerConfig, address: IpAddr) -> Option<Duration> {
        let wait = self
            .rates
            .accept_from(address, &listener.name, self.is_protected(listener));
        (!wait.is_zero()).then_some(wait)
    }

    fn is_protected(&self, listener: &ListenerConfig) -> bool {
        listener.is_inter_broker && self.listeners.load(Ordering::Relaxed) > 1
    }

    /// Another listener has begun, or one has ended.
    pub(crate) fn set_listeners(&self, count: usize) {
        self.listeners.store(count, Ordering::Relaxed);
    }

    /// Takes over other limits. Connections that are too many by them stay.
    pub(crate) fn set_limits(&self, limits: ConnectionLimits) {
        self.state.lock().limits = limits;
        self.released.notify_waiters();
    }

    /// Asks a listener's connections to end.
    pub(crate) fn close_listener(&self, listener: &ListenerName) {
        let state = self.state.lock();
        let connections = state.connections.values();
        for handle in connections.filter(|handle| handle.listener == *listener) {
            handle.close();
        }
    }

    fn try_slot(self: &Arc<Self>, listener: &ListenerConfig) -> Option<Slot> {
        let mut state = self.state.lock();
        let is_protected = self.is_protected(listener);
        let on_listener = state.by_listener.get(&listener.name).copied().unwrap_or(0);
        let own_limit = state.limits.by_listener.get(&listener.name).copied();
        if on_listener >= own_limit.unwrap_or(listener.max_connections) {
            return None;
        }
        let is_full = state.total >= state.limits.max_connections;
        if is_full && !is_protected {
            return None;
        }
        if is_full {
            state.close_quietest(&listener.name);
        }
        state.total += 1;
        *state.by_listener.entry(listener.name.clone()).or_default() += 1;
        let index = state.next_index;
        state.next_index += 1;
        let handle = Arc::new(ConnectionHandle {
            listener: listener.name.clone(),
            last_active_ms: AtomicU64::new(u64::MAX),
            closing: AtomicBool::new(false),
            close: Notify::new(),
        });
        state.connections.insert(index, Arc::clone(&handle));
        Some(Slot {
            quotas: Arc::clone(self),
            listener: listener.name.clone(),
            address: None,
            index,
            handle,
        })
    }

    /// Asks every connection to end.
    pub(crate) fn close_all(&self) {
        for handle in self.state.lock().connections.values() {
            handle.close();
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_closed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.state.lock().total == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// Counts the open connections.
#[derive(Debug, Clone)]
pub struct OpenConnections(pub(crate) Arc<ConnectionQuotas>);

impl OpenConnections {
    /// How many connections each listener has that has any.
    pub fn by_listener(&self) -> BTreeMap<ListenerName, usize> {
        self.0.state.lock().by_listener.clone()
    }
}

impl State {
    fn close_quietest(&self, except: &ListenerName) {
        let quietest = self
            .connections
            .values()
            .filter(|handle| handle.listener != *except && !handle.is_closing())
            .min_by_key(|handle| handle.last_active_ms.load(Ordering::Relaxed));
        if let Some(handle) = quietest {
            handle.close();
        }
    }
}

impl Slot {
    /// The connection's number, for its id.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// Counts the connection to its client's address, if that may have one more.
    pub(crate) fn count_address(&mut self, address: IpAddr) -> Result<(), TooManyConnections> {
        let mut state = self.quotas.state.lock();
        let limits = &state.limits;
        let own_limit = limits
            .max_connections_per_ip_overrides
            .get(&address)
            .copied();
        let max = own_limit.unwrap_or(limits.max_connections_per_ip);
        let count = state.by_address.entry(address).or_default();
        *count += 1;
        let too_many = *count > max;
        drop(state);
        self.address = Some(address);
        if too_many {
            return Err(TooManyConnections { address, max });
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.quotas.state.lock();
        state.total -= 1;
        state.connections.remove(&self.index);
        decrement(&mut state.by_listener, &self.listener);
        if let Some(address) = self.address {
            decrement(&mut state.by_address, &address);
        }
        let is_empty = state.total == 0;
        drop(state);
        // Each listener has one acceptor, and any of them may be the one that can go on.
        self.quotas.released.notify_waiters();
        if is_empty {
            self.quotas.emptied.notify_waiters();
        }
    }
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::ApiTable;

    fn quotas(
        max: usize,
        per_ip: usize,
    ) -> (Arc<ConnectionQuotas>, ListenerConfig, ListenerConfig) {
        let mut config = ServerConfig::new(Arc::new(ApiTable::everything()));
        config.max_connections = max;
        config.max_connections_per_ip = per_ip;
        config
            .max_connections_per_ip_overrides
            .insert([10, 0, 0, 9].into(), 0);
        let brokers = ListenerConfig::plaintext("BROKERS", "", 0);
        let clients = ListenerConfig {
            is_inter_broker: false,
            ..ListenerConfig::plaintext("CLIENTS", "", 0)
        };
        let quotas = ConnectionQuotas::new(&config, &[brokers.clone(), clients.clone()]);
        (Arc::new(quotas), brokers, clients)
    }

    #[test]
    fn a_full_broker_makes_clients_wait_and_brokers_push_the_quietest_client_out() {
        let (quotas, brokers, clients) = quotas(2, 100);
        let first = quotas.try_slot(&clients).unwrap();
        let second = quotas.try_slot(&clients).unwrap();
        first.handle.touch(20);
        second.handle.touch(10);
        assert!(quotas.try_slot(&clients).is_none());
        let _broker = quotas.try_slot(&brokers).unwrap();
        assert!(second.handle.is_closing());
        assert!(!first.handle.is_closing());
        drop(second);
        assert!(quotas.try_slot(&clients).is_none());
        drop(first);
        assert!(quotas.try_slot(&clients).is_some());
    }

    #[test]
    fn an_address_beyond_its_limit_is_refused_with_kafkas_words() {
        let (quotas, _, clients) = quotas(100, 1);
        let mut first = quotas.try_slot(&clients).unwrap();
        let mut second = quotas.try_slot(&clients).unwrap();
        first.count_address([10, 0, 0, 1].into()).unwrap();
        let error = second.count_address([10, 0, 0, 1].into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Rejected connection from /10.0.0.1, address already has the configured maximum of 1 connections."
        );
        drop(second);
        let mut denied = quotas.try_slot(&clients).unwrap();
        assert!(denied.count_address([10, 0, 0, 9].into()).is_err());
        drop(denied);
        drop(first);
        let mut again = quotas.try_slot(&clients).unwrap();
        again.count_address([10, 0, 0, 1].into()).unwrap();
    }
}
