//! In which order the servers of an ensemble are tried.

use std::time::Duration;

use crate::connect_string::ServerAddress;

/// Attempts within one session timeout, at least.
const ATTEMPTS: u32 = 4;
/// The least time for one of them, where the session is longer.
const PATIENCE_MIN: Duration = Duration::from_secs(2);
/// Pause after every server has been tried in vain.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The servers, in an order of this session's own, so that the sessions of many brokers spread.
#[derive(Debug)]
pub(crate) struct Servers {
    servers: Vec<ServerAddress>,
    next: usize,
    /// How many were tried in vain since the last success.
    failures: usize,
}

impl Servers {
    /// In random order.
    pub(crate) fn shuffled(mut servers: Vec<ServerAddress>) -> Self {
        for last in (1..servers.len()).rev() {
            // Without a random number the given order is as good.
            let random = getrandom::u64().unwrap_or(last as u64);
            let other = random % (last as u64 + 1);
            servers.swap(last, usize::try_from(other).unwrap_or(last));
        }
        Self {
            servers,
            next: 0,
            failures: 0,
        }
    }

    /// How long one server may take: with all of them tried, the session still lives (as in Java's
    /// client), and a server that accepts a connection while it starts and then forgets it (as
    /// ZooKeeper does) is asked again in good time, where Java would wait for the whole session.
    pub(crate) fn connect_timeout(&self, session_timeout: Duration) -> Duration {
        let count = u32::try_from(self.servers.len()).unwrap_or(u32::MAX).max(1);
        let patience = (session_timeout / ATTEMPTS).max(PATIENCE_MIN);
        (session_timeout / count).min(patience)
    }

    /// The one to try, and how long to wait before.
    pub(crate) fn next(&mut self) -> Option<(ServerAddress, Duration)> {
        let server = self.servers.get(self.next)?.clone();
        self.next = (self.next + 1) % self.servers.len();
        let is_new_round = self.failures > 0 && self.failures.is_multiple_of(self.servers.len());
        let pause = if is_new_round {
            RETRY_PAUSE
        } else {
            Duration::ZERO
        };
        self.failures += 1;
        Some((server, pause))
    }

    /// The last one turned out well: the connection lasted.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect_string::ConnectString;

    #[test]
    fn all_are_tried_before_a_pause() {
        let servers = ConnectString::parse("a:1,b:2,c:3").unwrap().servers;
        let mut servers = Servers::shuffled(servers);
        let second = Duration::from_secs(1);
        assert_eq!(servers.connect_timeout(3 * second), second);
        assert_eq!(servers.connect_timeout(6 * second), 2 * second);
        assert_eq!(servers.connect_timeout(20 * second), 5 * second);
        let mut round = |expect: [bool; 3]| {
            let mut hosts = Vec::new();
            for paused in expect {
                let (server, pause) = servers.next().unwrap();
                assert_eq!(!pause.is_zero(), paused);
                hosts.push(server.host);
            }
            hosts
        };
        let first = round([false; 3]);
        let mut sorted = first.clone();
        sorted.sort();
        assert_eq!(sorted, ["a", "b", "c"]);
        assert_eq!(round([true, false, false]), first);
        servers.succeeded();
        assert_eq!(servers.next().unwrap().1, Duration::ZERO);
    }
}
