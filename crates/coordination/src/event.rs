//! What a session tells its owner.

use crate::request::{Error, Reply};

/// The submitter's own name for a request; replies carry it back. The contract does not interpret
/// it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// One element of a session's ordered stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The answer to a request; exactly one per submitted request, in order of submission.
    Reply {
        /// Which request.
        id: RequestId,
        /// Its outcome.
        result: Result<Reply, Error>,
    },
    /// An armed watch fired.
    Watch(WatchEvent),
    /// The session's connection changed.
    Session(SessionEvent),
}

/// A watch that fired; it must be armed again by another read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WatchEvent {
    /// The znode that was watched.
    pub path: String,
    /// What happened to it.
    pub kind: WatchKind,
}

/// What happened to a watched znode. Events can be stale: read again before deciding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WatchKind {
    /// It was created (data watch of an absent znode).
    Created,
    /// It was deleted (data or child watch; a session that armed both is told once).
    Deleted,
    /// Its data was set (data watch).
    DataChanged,
    /// A child came or went (child watch).
    ChildrenChanged,
}

/// A change of the session's connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SessionEvent {
    /// Connected, for the first time or again; armed watches are still armed.
    Connected,
    /// The connection broke; the session lives on until it expires.
    Disconnected,
    /// The session has ended: its ephemeral znodes and watches are gone. Terminal; nothing follows
    /// but [`Error::SessionExpired`] for requests that are still submitted.
    Expired,
}
