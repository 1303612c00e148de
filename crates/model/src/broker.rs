//! Brokers as others see them.

use std::fmt;
use std::str::FromStr;

use crate::ids::{BrokerEpoch, BrokerId};

/// How bytes on a listener are protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL over plain TCP.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's number of the protocol, as UpdateMetadata carries it.
    pub fn id(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    /// The protocol of a number.
    pub fn from_id(id: i16) -> Option<Self> {
        [
            Self::Plaintext,
            Self::Ssl,
            Self::SaslPlaintext,
            Self::SaslSsl,
        ]
        .into_iter()
        .find(|protocol| protocol.id() == id)
    }

    /// Kafka's name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a security protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no security protocol is named {0}")]
pub struct UnknownSecurityProtocol(pub String);

impl FromStr for SecurityProtocol {
    type Err = UnknownSecurityProtocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [
            Self::Plaintext,
            Self::Ssl,
            Self::SaslPlaintext,
            Self::SaslSsl,
        ]
        .into_iter()
        .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| UnknownSecurityProtocol(name.to_owned()))
    }
}

/// Where a broker can be reached on one of its listeners.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Endpoint {
    /// The listener's name, upper case, for instance `PLAINTEXT`.
    pub listener: String,
    /// The host that is advertised.
    pub host: String,
    /// The port that is advertised, 0–65535; 0 only before a listener is bound.
    pub port: i32,
    /// How the listener is protected.
    pub protocol: SecurityProtocol,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveBroker {
    /// Its id.
    pub id: BrokerId,
    /// Its incarnation; [`BrokerEpoch::NONE`] where the source does not tell.
    pub epoch: BrokerEpoch,
    /// Its listeners.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl LiveBroker {
    /// Its endpoint on a listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.listener == listener)
    }
}
