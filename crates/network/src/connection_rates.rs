//! How fast connections may come, shared by the listeners and whoever changes the limits.

use std::net::IpAddr;
use std::time::Duration;

use ottla_model::Instant;
use ottla_quotas::{IpLimit, Windows};
use parking_lot::Mutex;

use crate::service::ListenerName;

/// The rates at which connections come, and their limits, which may change at any time.
#[derive(Debug)]
pub struct ConnectionRates {
    began: tokio::time::Instant,
    rates: Mutex<ottla_quotas::ConnectionRates>,
}

impl ConnectionRates {
    /// Without limits, measured over these windows.
    pub fn new(windows: Windows) -> Self {
        Self {
            began: tokio::time::Instant::now(),
            rates: Mutex::new(ottla_quotas::ConnectionRates::new(windows)),
        }
    }

    /// Sets the most connections per second of all listeners, and of some of them.
    pub fn set_limits(
        &self,
        broker: i32,
        listeners: impl IntoIterator<Item = (ListenerName, i32)>,
    ) {
        let mut rates = self.rates.lock();
        rates.set_broker_limit(broker);
        for (listener, limit) in listeners {
            rates.set_listener_limit(listener.as_str(), limit);
        }
    }

    /// Sets the most connections per second of an address, or of each that has no limit of its own.
    pub fn set_ip_limit(&self, ip: IpLimit, limit: Option<i32>) {
        self.rates.lock().set_ip_limit(ip, limit);
    }

    /// Counts a connection; tells how long it waits, and those behind it.
    pub(crate) fn accept(&self, listener: &ListenerName, is_protected: bool) -> Duration {
        let now = self.now();
        let mut rates = self.rates.lock();
        rates.accept(listener.as_str(), is_protected, now)
    }

    /// Counts a connection to its address; tells after what time it is to be closed, zero if it is
    /// to be served.
    pub(crate) fn accept_from(
        &self,
        address: IpAddr,
        listener: &ListenerName,
        is_protected: bool,
    ) -> Duration {
        let now = self.now();
        let mut rates = self.rates.lock();
        rates.accept_from(address, listener.as_str(), is_protected, now)
    }

    fn now(&self) -> Instant {
        Instant(self.began.elapsed())
    }
}
