//! How fast connections may come (`ConnectionQuotas`): to the broker, to one of its listeners, and
//! from one address (KIP-612).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ottla_model::Instant;

use crate::rate::{Rate, Windows};
use crate::sensors::Sensors;

/// Kafka's "no limit" of connections per second.
pub const UNLIMITED: i32 = i32::MAX;

/// A limit of connections per second from addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpLimit {
    /// Of one address.
    Address(IpAddr),
    /// Of each that has none of its own.
    Default,
}

/// The rates at which connections come, and their limits.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectionRates {
    windows: Windows,
    broker: Limited,
    listeners: BTreeMap<String, Limited>,
    default_ip_limit: i32,
    ip_limits: BTreeMap<IpAddr, i32>,
    addresses: Sensors<IpAddr, Rate>,
}

#[derive(Clone, PartialEq, Debug)]
struct Limited {
    limit: i32,
    rate: Rate,
}

impl Limited {
    fn new(limit: i32) -> Self {
        let rate = Rate::default();
        Self { limit, rate }
    }

    fn record(&mut self, windows: Windows, now: Instant) -> i64 {
        self.rate.record(windows, 1.0, now);
        let throttle_ms = self.rate.throttle_ms(windows, f64::from(self.limit), now);
        throttle_ms.min(windows.sample_ms())
    }
}

impl ConnectionRates {
    /// Without limits.
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            broker: Limited::new(UNLIMITED),
            listeners: BTreeMap::new(),
            default_ip_limit: UNLIMITED,
            ip_limits: BTreeMap::new(),
            addresses: Sensors::default(),
        }
    }

    /// `max.connection.creation.rate`.
    pub fn set_broker_limit(&mut self, limit: i32) {
        self.broker.limit = limit;
    }

    /// `listener.name.X.max.connection.creation.rate`, or the broker's.
    pub fn set_listener_limit(&mut self, listener: &str, limit: i32) {
        match self.listeners.get_mut(listener) {
            Some(limited) => limited.limit = limit,
            None => {
                let limited = Limited::new(limit);
                self.listeners.insert(listener.to_owned(), limited);
            }
        }
    }

    /// `connection_creation_rate`, or its end.
    pub fn set_ip_limit(&mut self, ip: IpLimit, limit: Option<i32>) {
        match (ip, limit) {
            (IpLimit::Default, limit) => self.default_ip_limit = limit.unwrap_or(UNLIMITED),
            (IpLimit::Address(address), Some(limit)) => {
                self.ip_limits.insert(address, limit);
            }
            (IpLimit::Address(address), None) => {
                self.ip_limits.remove(&address);
            }
        }
    }

    /// Counts a connection to a listener. Tells how long it is to wait before it is served; those
    /// behind it wait as well. The listener of the brokers, if they have one to themselves
    /// (`is_protected`), does not share the broker's limit.
    pub fn accept(&mut self, listener: &str, is_protected: bool, now: Instant) -> Duration {
        let windows = self.windows;
        let mut throttle_ms = 0;
        if !is_protected {
            throttle_ms = self.broker.record(windows, now);
        }
        if let Some(listener) = self.listeners.get_mut(listener) {
            throttle_ms = throttle_ms.max(listener.record(windows, now));
        }
        duration(throttle_ms)
    }

    /// Counts a connection from an address, after [`ConnectionRates::accept`]. One that comes too
    /// fast counts nowhere: it is closed after the time that is told.
    pub fn accept_from(
        &mut self,
        address: IpAddr,
        listener: &str,
        is_protected: bool,
        now: Instant,
    ) -> Duration {
        let own = self.ip_limits.get(&address).copied();
        let limit = own.unwrap_or(self.default_ip_limit);
        if limit == UNLIMITED {
            return Duration::ZERO;
        }
        let windows = self.windows;
        let rate = self.addresses.used(address, now);
        rate.record(windows, 1.0, now);
        let throttle_ms = rate
            .throttle_ms(windows, f64::from(limit), now)
            .min(windows.sample_ms());
        if throttle_ms > 0 {
            rate.record(windows, -1.0, now);
            if !is_protected {
                self.broker.rate.record(windows, -1.0, now);
            }
            if let Some(listener) = self.listeners.get_mut(listener) {
                listener.rate.record(windows, -1.0, now);
            }
        }
        duration(throttle_ms)
    }
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn rates() -> ConnectionRates {
        ConnectionRates::new(Windows::new(11, 1))
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn connections_beyond_the_rate_wait_for_one_sample_at_most() {
        let mut rates = rates();
        rates.set_broker_limit(2);
        for _ in 0..20 {
            assert_eq!(rates.accept("L", false, at(0)), Duration::ZERO);
        }
        assert_eq!(rates.accept("L", false, at(0)), SECOND / 2);
        for _ in 0..9 {
            rates.accept("L", false, at(0));
        }
        assert_eq!(rates.accept("L", false, at(0)), SECOND);
        assert_eq!(rates.accept("L", true, at(0)), Duration::ZERO);
        assert_eq!(rates.accept("L", false, at(60_000)), Duration::ZERO);
    }

    #[test]
    fn a_listener_has_a_limit_of_its_own() {
        let mut rates = rates();
        rates.set_listener_limit("L", 1);
        for _ in 0..10 {
            assert_eq!(rates.accept("L", true, at(0)), Duration::ZERO);
        }
        assert_eq!(rates.accept("L", true, at(0)), SECOND);
        assert_eq!(rates.accept("M", true, at(0)), Duration::ZERO);
        rates.set_listener_limit("L", UNLIMITED);
        assert_eq!(rates.accept("L", true, at(0)), Duration::ZERO);
    }

    #[test]
    fn an_address_that_comes_too_fast_takes_nothing_from_the_others() {
        let mut rates = rates();
        rates.set_broker_limit(2);
        rates.set_listener_limit("L", UNLIMITED);
        rates.set_ip_limit(IpLimit::Default, Some(1));
        rates.set_ip_limit(IpLimit::Address(address(2)), Some(UNLIMITED));
        let mut accept = |last| {
            let wait = rates.accept("L", false, at(0));
            (wait, rates.accept_from(address(last), "L", false, at(0)))
        };
        for _ in 0..10 {
            assert_eq!(accept(1), (Duration::ZERO, Duration::ZERO));
        }
        for _ in 0..50 {
            assert_eq!(accept(1), (Duration::ZERO, SECOND));
        }
        for _ in 0..10 {
            assert_eq!(accept(2), (Duration::ZERO, Duration::ZERO));
        }
        assert_eq!(accept(2), (SECOND / 2, Duration::ZERO));
        rates.set_ip_limit(IpLimit::Default, None);
        assert_eq!(
            rates.accept_from(address(1), "L", false, at(0)),
            Duration::ZERO
        );
    }
}
