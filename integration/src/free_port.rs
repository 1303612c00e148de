//! Ports that nobody listens on.

use std::net::TcpListener;

/// A loopback port that was free a moment ago. The kernel hands such ports out in turn, so two
/// calls hardly ever give the same one.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
