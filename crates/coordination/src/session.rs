//! The handle of a session.

use std::sync::Arc;

use crate::event::{Event, RequestId};
use crate::request::Request;

/// Receives a session's events, one after the other, on a thread of the provider: it must only
/// hand them on (a queue), never block and never submit.
pub type EventSink = Box<dyn Fn(Event) + Send + Sync>;

/// A session with the coordination service.
pub trait Coordination: Send + Sync {
    /// Sends a request. Returns at once; the outcome arrives as [`Event::Reply`]. Requests take
    /// effect in the order of submission. After the session's end the outcome is
    /// [`crate::Error::SessionExpired`].
    fn submit(&self, id: RequestId, request: Request);

    /// The session's id: the `ephemeral_owner` of the znodes that it creates.
    fn session_id(&self) -> i64;

    /// Ends the session after the requests submitted so far; its ephemeral znodes go at once.
    /// Returns when that is done or cannot be. Blocks; a second call does nothing.
    fn close(&self);
}

impl<C: Coordination + ?Sized> Coordination for Arc<C> {
    fn submit(&self, id: RequestId, request: Request) {
        (**self).submit(id, request);
    }

    fn session_id(&self) -> i64 {
        (**self).session_id()
    }

    fn close(&self) {
        (**self).close();
    }
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connect string or a path in it is malformed.
    #[error("bad connect string: {0}")]
    BadConnectString(String),
    /// No server answered in time (`zookeeper.connection.timeout.ms`).
    #[error("no connection to the coordination service within {0} ms")]
    Timeout(u64),
    /// A server answered, and refused.
    #[error("coordination service refused the session: {0}")]
    Refused(String),
    /// The service has been shut down.
    #[error("coordination service is closed")]
    Closed,
}
