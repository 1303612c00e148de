//! Listeners and connections: frames in, one request at a time per connection, responses out in
//! order, file ranges by sendfile, limits on how many connections may be open and how fast they
//! may come.
//!
//! What does not belong here: what a request means. A [`Service`] answers it; the network knows
//! only its header.
//!
//! Read in this order: [`service`], [`config`], [`server`], then `connection`, `frame`, `send` and
//! `quotas`, `connection_rates`.
//!
//! # Invariants
//! - One request of a connection is in work at a time; its response is sent before the next
//!   request is looked at, and the connection stays unread for the throttle time after it.
//! - Memory for a request grows with the bytes that have come, never with those announced alone.
//! - A handler's panic ends its connection, not the broker.

pub mod address;
pub mod config;
mod connection;
mod connection_rates;
pub mod frame;
mod quotas;
pub mod send;
pub mod server;
pub mod service;
#[cfg(test)]
mod tests;

pub use config::{ListenerConfig, ServerConfig};
pub use connection_rates::ConnectionRates;
pub use ottla_protocol::Part;
pub use quotas::{ConnectionLimits, OpenConnections};
pub use server::{BindError, BoundListener, Server};
pub use service::{
    AfterSending, Completed, ConnectionInfo, ListenerName, Outcome, Principal, RequestContext,
    Response, Service,
};
