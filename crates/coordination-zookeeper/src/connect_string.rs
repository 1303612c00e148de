//! `host:port,host:port/chroot`.

use ottla_coordination::tree::is_valid_path;

/// The port of a server that is named without one.
const DEFAULT_PORT: u16 = 2181;

/// A connect string taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectString {
    /// The servers in the order given; at least one.
    pub(crate) servers: Vec<ServerAddress>,
    /// The chroot, if it is not the root.
    pub(crate) chroot: Option<String>,
}

/// One server of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// A name or a numeric address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl ConnectString {
    /// Takes a connect string apart; `None` if it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (servers, chroot) = match text.find('/') {
            None => (text, "/"),
            Some(slash) => text.split_at(slash),
        };
        let servers = servers
            .split(',')
            .map(|server| ServerAddress::parse(server.trim()))
            .collect::<Option<Vec<_>>>()?;
        if !is_valid_path(chroot) {
            return None;
        }
        let chroot = (chroot != "/").then(|| chroot.to_owned());
        Some(Self { servers, chroot })
    }
}

impl ServerAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port: port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(Vec<String>, Option<String>)> {
        let parsed = ConnectString::parse(text)?;
        let servers = parsed.servers.iter().map(ToString::to_string).collect();
        Some((servers, parsed.chroot))
    }

    #[test]
    fn the_chroot_comes_once_and_last() {
        assert_eq!(parse("a:1"), Some((vec!["a:1".into()], None)));
        assert_eq!(parse("a:1/"), Some((vec!["a:1".into()], None)));
        assert_eq!(
            parse("a:1, b:2/k/x"),
            Some((vec!["a:1".into(), "b:2".into()], Some("/k/x".into())))
        );
        for bad in ["", "/k", "a:1,", "a:1,/k", "a:1/k/", "a:1//k", "a:1/k/.."] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_port_may_be_missing_and_the_host_numeric() {
        let servers = |text| parse(text).map(|(servers, _)| servers.join(" "));
        assert_eq!(servers("a").as_deref(), Some("a:2181"));
        assert_eq!(
            servers("[::1]:7,[fe80::2],1.2.3.4:5").as_deref(),
            Some("[::1]:7 [fe80::2]:2181 1.2.3.4:5")
        );
        for bad in ["a:x", "a:70000", ":1", "[::1]x:1", "[]:1", "[::1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
