//! A session as a pure machine: requests and frames in, bytes and events out.
//!
//! A server answers in the order of the requests, and tells a watch that has fired before any
//! answer that shows the change; so the stream of events is what arrives, in the order in which it
//! arrives.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use ottla_coordination::tree::is_valid_path;
use ottla_coordination::{
    CreateMode, Error, Event, Op, OpResult, Reply, Request, RequestId, SessionEvent, WatchEvent,
};

use crate::chroot::Chroot;
use crate::jute::{Malformed, Reader};
use crate::watches::{CHUNK_BYTES, Table, Watches};
use crate::wire::{self, NOTIFICATION_XID, PING_XID, ReplyHeader, SET_WATCHES_XID};

/// Why a connection is of no more use. What was under way is sent again on the next one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The server says that the session is not, or no longer, its own.
    #[error("the server answered code {0}")]
    Refused(i32),
    #[error("the server answered what was not asked next")]
    OutOfOrder,
}

/// The state of a session.
#[derive(Debug)]
pub(crate) struct Machine {
    chroot: Chroot,
    in_flight_max: usize,
    is_connected: bool,
    /// Not sent on this connection.
    queue: VecDeque<(RequestId, Request)>,
    /// Sent on this connection, in order.
    in_flight: VecDeque<InFlight>,
    watches: Watches,
    /// Of the last request.
    xid: i32,
    /// The greatest that a server has shown.
    last_zxid: i64,
    /// Up to here no change of a watched znode is unknown. It stands still while watches are being
    /// armed again: if that breaks off, those that were not armed must count from before.
    watched_zxid: i64,
    /// Not answered yet.
    set_watches: usize,
    close: Close,
    events: Vec<Event>,
}

#[derive(Debug)]
struct InFlight {
    id: RequestId,
    request: Request,
    state: Flight,
}

#[derive(Debug)]
enum Flight {
    /// Under this number.
    Sent(i32),
    /// Answered here: Java's client refuses it before it is sent.
    Answered(Result<Reply, Error>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Close {
    Not,
    Sent(i32),
    Done,
}

impl Machine {
    pub(crate) fn new(chroot: Chroot, in_flight_max: usize) -> Self {
        Self {
            chroot,
            in_flight_max: in_flight_max.max(1),
            is_connected: false,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            watches: Watches::default(),
            xid: 0,
            last_zxid: 0,
            watched_zxid: 0,
            set_watches: 0,
            close: Close::Not,
            events: Vec::new(),
        }
    }

    /// What has happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What the next server must have seen.
    pub(crate) fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Whether everything was answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the server has confirmed the end of the session.
    pub(crate) fn is_closed(&self) -> bool {
        self.close == Close::Done
    }

    pub(crate) fn submit(&mut self, id: RequestId, request: Request) {
        self.queue.push_back((id, request));
    }

    /// A connection is ready for requests: first the watches are armed again.
    pub(crate) fn connected(&mut self, out: &mut BytesMut) {
        self.is_connected = true;
        self.events.push(Event::Session(SessionEvent::Connected));
        let chunks = self.watches.chunks(CHUNK_BYTES, self.chroot.len() + 4);
        self.set_watches = chunks.len();
        for chunk in &chunks {
            wire::put_set_watches(out, self.watched_zxid, chunk, &self.chroot);
        }
    }

    /// The connection broke. What was under way will be sent again, in the same order.
    pub(crate) fn disconnected(&mut self) {
        if std::mem::replace(&mut self.is_connected, false) {
            self.events.push(Event::Session(SessionEvent::Disconnected));
        }
        for InFlight { id, request, .. } in self.in_flight.drain(..).rev() {
            self.queue.push_front((id, request));
        }
        self.set_watches = 0;
        self.close = Close::Not;
    }

    /// The session has ended: nothing that was not answered will be.
    pub(crate) fn expired(&mut self) {
        self.refuse_all();
        self.events.push(Event::Session(SessionEvent::Expired));
    }

    /// Refuses what was not answered.
    pub(crate) fn refuse_all(&mut self) {
        let in_flight = self.in_flight.drain(..).map(|flight| flight.id);
        for id in in_flight.chain(self.queue.drain(..).map(|(id, _)| id)) {
            self.events.push(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            });
        }
    }

    /// Sends what may be sent.
    pub(crate) fn send(&mut self, out: &mut BytesMut) {
        while self.is_connected && self.in_flight.len() < self.in_flight_max {
            let Some((id, request)) = self.queue.pop_front() else {
                return;
            };
            let state = match refusal(&request) {
                Some(result) => Flight::Answered(result),
                None => {
                    let xid = self.next_xid();
                    wire::put_request(out, xid, &request, &self.chroot);
                    Flight::Sent(xid)
                }
            };
            self.in_flight.push_back(InFlight { id, request, state });
            self.deliver_answered();
        }
    }

    pub(crate) fn ping(out: &mut BytesMut) {
        wire::put_ping(out);
    }

    /// Asks for the end of the session.
    pub(crate) fn close(&mut self, out: &mut BytesMut) {
        let xid = self.next_xid();
        wire::put_close_session(out, xid);
        self.close = Close::Sent(xid);
    }

    /// A frame has arrived.
    pub(crate) fn received(&mut self, frame: Bytes) -> Result<(), Broken> {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::decode(&mut reader)?;
        match header.xid {
            PING_XID => Ok(()),
            NOTIFICATION_XID => self.notified(&mut reader),
            SET_WATCHES_XID => {
                if header.error != 0 {
                    return Err(Broken::Refused(header.error));
                }
                self.set_watches = self.set_watches.saturating_sub(1);
                self.saw(header.zxid);
                Ok(())
            }
            xid if self.close == Close::Sent(xid) => {
                self.close = Close::Done;
                Ok(())
            }
            _ => self.answered(header, &mut reader),
        }
    }

    fn notified(&mut self, reader: &mut Reader) -> Result<(), Broken> {
        if let Some((kind, full)) = wire::read_notification(reader)?
            && let Some(path) = self.chroot.strip(&full)
            && self.watches.fired(kind, path)
        {
            self.events.push(Event::Watch(WatchEvent {
                path: path.to_owned(),
                kind,
            }));
        }
        Ok(())
    }

    fn answered(&mut self, header: ReplyHeader, reader: &mut Reader) -> Result<(), Broken> {
        let Some(InFlight { request, state, .. }) = self.in_flight.front() else {
            return Err(Broken::OutOfOrder);
        };
        if !matches!(state, Flight::Sent(xid) if *xid == header.xid) {
            return Err(Broken::OutOfOrder);
        }
        let result = match header.error {
            0 => Ok(wire::read_reply(request, reader, &self.chroot)?),
            code => Err(wire::error_of(code)),
        };
        // Said about the session, not about the request. The next server knows what is so.
        if matches!(
            result,
            Err(Error::ConnectionLoss | Error::SessionExpired | Error::Other(SESSION_MOVED))
        ) {
            return Err(Broken::Refused(header.error));
        }
        if let Some((table, path)) = armed(request, &result) {
            self.watches.arm(table, path);
        }
        self.saw(header.zxid);
        if let Some(InFlight { id, .. }) = self.in_flight.pop_front() {
            self.events.push(Event::Reply { id, result });
        }
        self.deliver_answered();
        Ok(())
    }

    /// Delivers what was answered here, now that it is its turn.
    fn deliver_answered(&mut self) {
        while let Some(InFlight {
            id,
            state: Flight::Answered(result),
            ..
        }) = self.in_flight.front()
        {
            self.events.push(Event::Reply {
                id: *id,
                result: result.clone(),
            });
            self.in_flight.pop_front();
        }
    }

    fn saw(&mut self, zxid: i64) {
        self.last_zxid = self.last_zxid.max(zxid);
        if self.set_watches == 0 {
            self.watched_zxid = self.last_zxid;
        }
    }

    /// Positive always: the others have a meaning.
    fn next_xid(&mut self) -> i32 {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        self.xid
    }
}

/// ZooKeeper's code for a session that has been taken up at another server.
const SESSION_MOVED: i32 = -118;

/// The watch that a read has armed.
fn armed<'a>(request: &'a Request, result: &Result<Reply, Error>) -> Option<(Table, &'a str)> {
    match (request, result) {
        (Request::Exists { path, watch: true }, Err(Error::NoNode)) => Some((Table::Exist, path)),
        (_, Err(_)) => None,
        (Request::Exists { path, watch: true } | Request::GetData { path, watch: true }, Ok(_)) => {
            Some((Table::Data, path))
        }
        (Request::GetChildren { path, watch: true }, Ok(_)) => Some((Table::Children, path)),
        _ => None,
    }
}

/// What Java's client answers without asking, because of a path that no znode can have.
fn refusal(request: &Request) -> Option<Result<Reply, Error>> {
    let is_valid = match request {
        Request::Create { path, mode, .. } => is_valid_new_path(path, *mode),
        Request::Delete { path, .. }
        | Request::SetData { path, .. }
        | Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::GetChildren { path, .. } => is_valid_path(path),
        Request::Multi(ops) => {
            let culprit = ops.iter().position(|op| !op_has_valid_path(op))?;
            return Some(Ok(failed_multi(culprit, ops.len())));
        }
    };
    (!is_valid).then_some(Err(Error::BadArguments))
}

fn op_has_valid_path(op: &Op) -> bool {
    match op {
        Op::Create { path, mode, .. } => is_valid_new_path(path, *mode),
        Op::Delete { path, .. } | Op::SetData { path, .. } | Op::Check { path, .. } => {
            is_valid_path(path)
        }
    }
}

/// A number follows the path of a sequential znode.
fn is_valid_new_path(path: &str, mode: CreateMode) -> bool {
    match mode {
        CreateMode::PersistentSequential => is_valid_path(&format!("{path}1")),
        CreateMode::Persistent | CreateMode::Ephemeral => is_valid_path(path),
    }
}

fn failed_multi(culprit: usize, count: usize) -> Reply {
    let result = |index: usize| match index.cmp(&culprit) {
        std::cmp::Ordering::Less => OpResult::RolledBack,
        std::cmp::Ordering::Equal => OpResult::Failed(Error::BadArguments),
        std::cmp::Ordering::Greater => OpResult::Failed(Error::RuntimeInconsistency),
    };
    Reply::Multi((0..count).map(result).collect())
}

#[cfg(test)]
mod tests;
