//! What a connection asks of the broker, and what it gets back.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::SecurityProtocol;
use ottla_protocol::{DecodeError, EncodeError, Part, RequestHeader};

/// The broker as the network sees it: one request in, one outcome out.
pub trait Service: Send + Sync + 'static {
    /// Handles one request. `body` is what follows the request's header; it is empty of meaning
    /// only for ApiVersions in a version that 3.9 does not have, which must be answered in
    /// version 0 without looking at it.
    ///
    /// For requests that only wait (Fetch, JoinGroup, SyncGroup) the future is dropped when the
    /// client goes away or the broker stops before it is done: they must give up their place then.
    /// All others run to their end, for they may be half done; at the end of the grace time of
    /// [`Server::shutdown`](crate::Server::shutdown) they are dropped as well. Requests of one
    /// connection are never handled at the same time. Handlers must not block the thread.
    fn call(&self, context: RequestContext, body: Bytes) -> impl Future<Output = Outcome> + Send;

    /// Told when a request is done with: its answer has been sent, or it has none. Not told of
    /// requests that could not be read or whose client went away before the answer.
    fn completed(&self, _request: &Completed) {}

    /// Told when a connection has ended, whatever the reason; `connection_id` is never used again.
    fn disconnected(&self, _connection: &ConnectionInfo) {}
}

/// One request's surroundings. The connection's own facts are reached through it:
/// `context.client_address`, `context.listener`.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The connection that the request came on.
    pub connection: Arc<ConnectionInfo>,
    /// The request's header.
    pub header: RequestHeader,
    /// The size of the whole request without its length prefix, in bytes, as quotas count it.
    pub frame_size: usize,
}

impl Deref for RequestContext {
    type Target = ConnectionInfo;

    fn deref(&self) -> &ConnectionInfo {
        &self.connection
    }
}

impl RequestContext {
    /// The client's name for itself; null reads as empty.
    pub fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }

    /// The client's address as Kafka shows it in group descriptions: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.client_address.ip())
    }
}

/// What stays the same for all requests of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// `localIp:localPort-remoteIp:remotePort-index`, as in Kafka's logs.
    pub connection_id: String,
    /// The listener that accepted the connection.
    pub listener: ListenerName,
    /// How the listener protects its bytes.
    pub security_protocol: SecurityProtocol,
    /// Whether inter-broker requests use this listener, which are trusted with more.
    pub from_privileged_listener: bool,
    /// Who the client is.
    pub principal: Principal,
    /// The client's end of the connection.
    pub client_address: SocketAddr,
    /// The broker's end of the connection.
    pub local_address: SocketAddr,
}

/// A listener's name, in upper case: `PLAINTEXT`, `CLIENTS`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerName(Arc<str>);

impl ListenerName {
    /// Normalises a name to upper case.
    pub fn new(name: &str) -> Self {
        Self(name.to_uppercase().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a client is (`org.apache.kafka.common.security.auth.KafkaPrincipal`), shown as `type:name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// `User`, unless a principal builder says otherwise.
    pub principal_type: Arc<str>,
    /// The name, unique within its type.
    pub name: Arc<str>,
}

impl Principal {
    /// The principal of a connection that did not authenticate: `User:ANONYMOUS`.
    pub fn anonymous() -> Self {
        Self {
            principal_type: "User".into(),
            name: "ANONYMOUS".into(),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.principal_type, self.name)
    }
}

/// How a request went, for whoever counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// Its API.
    pub api_key: i16,
    /// Its version.
    pub api_version: i16,
    /// Its size without the length prefix, in bytes.
    pub frame_size: usize,
    /// [`Response::mark`]; 0 if there was no answer.
    pub mark: u8,
    /// Time in which its handler ran.
    pub busy: Duration,
    /// Time in which its handler waited: for others, or for what runs aside.
    pub waited: Duration,
    /// Time from the end of the handler until the answer was given to the system.
    pub sending: Duration,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is answered.
    Respond(Response),
    /// It has no answer (Produce with `acks=0`): the next request is read at once. To mute the
    /// connection for a quota all the same, use [`Outcome::Respond`] with no parts.
    NoResponse,
    /// The connection is closed without an answer (an error of Produce with `acks=0`); the handler
    /// has said why in the log.
    Close,
    /// The body could not be read: the connection is closed without an answer and logged as Kafka
    /// does.
    Malformed(DecodeError),
}

impl From<DecodeError> for Outcome {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// An answer.
#[derive(Debug, Default)]
pub struct Response {
    /// The response header and body in order, without the length prefix. No parts: nothing is sent.
    pub parts: Vec<Part>,
    /// How long the connection stays muted **after** the answer has been sent (KIP-219).
    pub throttle: Duration,
    /// Means nothing here: the handler's word to [`Service::completed`].
    pub mark: u8,
    /// Who wants to know what sending cost; if nobody does it is not measured.
    pub after_sending: Option<AfterSending>,
}

/// Told how long it kept a thread busy to send an answer.
pub struct AfterSending(Box<dyn FnOnce(Duration) + Send>);

impl AfterSending {
    /// Who is told.
    pub fn new(tell: impl FnOnce(Duration) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    pub(crate) fn tell(self, busy: Duration) {
        (self.0)(busy);
    }
}

impl fmt::Debug for AfterSending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterSending")
    }
}

impl Response {
    /// An answer of one piece, without throttling.
    pub fn new(bytes: Bytes) -> Self {
        Self {
            parts: vec![Part::Bytes(bytes)],
            ..Self::default()
        }
    }
}

impl From<Bytes> for Outcome {
    fn from(bytes: Bytes) -> Self {
        Self::Respond(Response::new(bytes))
    }
}

impl From<Vec<Part>> for Outcome {
    fn from(parts: Vec<Part>) -> Self {
        Self::Respond(Response {
            parts,
            ..Response::default()
        })
    }
}

impl<T: Into<Outcome>> From<Result<T, EncodeError>> for Outcome {
    /// An answer that cannot be encoded is a fault of the handler: the connection is closed, for
    /// the client would wait for ever.
    fn from(result: Result<T, EncodeError>) -> Self {
        match result {
            Ok(answer) => answer.into(),
            Err(error) => {
                tracing::error!(%error, "response could not be encoded; closing connection");
                Self::Close
            }
        }
    }
}
