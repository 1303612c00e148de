//! Addresses as Java prints them, for log lines, connection ids and group descriptions.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// An address as `InetAddress.getHostAddress` gives it: IPv4 in dots (also when it came mapped into
/// IPv6), IPv6 in eight groups without shortening.
pub fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let mut text = String::with_capacity(39);
            for (index, group) in address.segments().iter().enumerate() {
                let separator = if index == 0 { "" } else { ":" };
                // Writing to a string cannot fail.
                let _ = write!(text, "{separator}{group:x}");
            }
            text
        }
    }
}

/// A connection's id: `localIp:localPort-remoteIp:remotePort-index`.
pub(crate) fn connection_id(local: SocketAddr, remote: SocketAddr, index: u64) -> String {
    format!(
        "{}:{}-{}:{}-{index}",
        host_address(local.ip()),
        local.port(),
        host_address(remote.ip()),
        remote.port()
    )
}

/// The address without IPv6's mapping of IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_in_java() {
        let host = |text: &str| host_address(text.parse().unwrap());
        assert_eq!(host("127.0.0.1"), "127.0.0.1");
        assert_eq!(host("::ffff:10.0.0.7"), "10.0.0.7");
        assert_eq!(host("::1"), "0:0:0:0:0:0:0:1");
        assert_eq!(host("fe80::a:0:1"), "fe80:0:0:0:0:a:0:1");
        assert_eq!(
            connection_id("[::1]:9092".parse().unwrap(), "[::1]:5".parse().unwrap(), 3),
            "0:0:0:0:0:0:0:1:9092-0:0:0:0:0:0:0:1:5-3"
        );
    }
}
