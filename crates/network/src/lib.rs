//! ottla-network

pub mod service;

pub use ottla_protocol::Part;
pub use service::{
    ConnectionInfo, ListenerName, Outcome, Principal, RequestContext, Response, Service,
};
