//! What can go wrong between a request and its response.

use std::io;
use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_network::frame::InvalidReceive;
use ottla_protocol::{DecodeError, EncodeError};

/// Why there is no response, or none that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made. Worth a retry.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// `host:port` as asked for.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The connection ended before the response came; the request may have been carried out.
    #[error("the connection to {0} ended before the response")]
    Disconnected(String),
    /// No response in time; the connection is closed and the request may have been carried out.
    #[error("no response from {address} within {timeout:?}")]
    Timeout {
        /// `host:port` as asked for.
        address: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The request cannot be written in the version asked for. A retry is in vain.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The response cannot be read; the connection is closed.
    #[error("malformed response: {0}")]
    Decode(#[from] DecodeError),
    /// The response's length prefix cannot be true; the connection is closed.
    #[error("{0}")]
    Receive(#[from] InvalidReceive),
    /// The broker answered with an error (convenience calls only).
    #[error("{}: {detail}", .code.name())]
    Broker {
        /// The error.
        code: ErrorCode,
        /// What it is about, or the broker's own message.
        detail: String,
    },
    /// The broker has no version in common with us.
    #[error("the broker does not speak {api} in versions {min} to {max}")]
    NoCommonVersion {
        /// Kafka's name of the API.
        api: &'static str,
        /// Our lowest version.
        min: i16,
        /// Our highest version.
        max: i16,
    },
}

impl ClientError {
    /// Whether the same request on a new connection may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Disconnected(_) | Self::Timeout { .. } => true,
            Self::Encode(_)
            | Self::Decode(_)
            | Self::Receive(_)
            | Self::Broker { .. }
            | Self::NoCommonVersion { .. } => false,
        }
    }
}
