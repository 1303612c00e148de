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
    /// Whether reads that follow each other share a frame: not known by servers before 3.6.
    joins_reads: bool,
    is_connected: bool,
    /// Not sent on this connection.
    queue: VecDeque<(RequestId, Request)>,
    /// Sent on this connection, in order.
    in_flight: VecDeque<InFlight>,
    /// How many frames carry them.
    frames_in_flight: usize,
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
            joins_reads: true,
            is_connected: false,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            frames_in_flight: 0,
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
        self.frames_in_flight = 0;
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
        while self.is_connected && self.may_send_next() {
            let Some((id, request)) = self.queue.pop_front() else {
                return;
            };
            if let Some(result) = refusal(&request) {
                let state = Flight::Answered(result);
                self.in_flight.push_back(InFlight { id, request, state });
                self.deliver_answered();
                continue;
            }
            let xid = self.next_xid();
            let begin = self.in_flight.len();
            let mut room = JOINED_BYTES_MAX.checked_sub(joined_size(&request));
            let state = Flight::Sent(xid);
            self.in_flight.push_back(InFlight { id, request, state });
            while let Some((id, request)) = self.pop_joined(begin, &mut room) {
                let state = Flight::Sent(xid);
                self.in_flight.push_back(InFlight { id, request, state });
            }
            let mut requests = self.in_flight.range(begin..).map(|flight| &flight.request);
            match (requests.next(), requests.len()) {
                (Some(request), 0) => wire::put_request(out, xid, request, &self.chroot),
                (first, _) => {
                    let paths = first.into_iter().chain(requests).filter_map(plain_read);
                    wire::put_reads(out, xid, paths, &self.chroot);
                }
            }
            self.frames_in_flight += 1;
        }
    }

    /// The cap is there for writes. Reads cost a server little and come by the thousand when a
    /// controller begins: of them there may be more.
    fn may_send_next(&self) -> bool {
        let max = match self.queue.front() {
            Some((_, request)) if is_read(request) => {
                self.in_flight_max.saturating_mul(READS_PER_REQUEST)
            }
            Some(_) => self.in_flight_max,
            None => return false,
        };
        self.frames_in_flight < max
    }

    /// The next request, if it may share the frame of those from `begin` on.
    fn pop_joined(
        &mut self,
        begin: usize,
        room: &mut Option<usize>,
    ) -> Option<(RequestId, Request)> {
        let first = self.in_flight.get(begin)?;
        let (_, next) = self.queue.front()?;
        if !self.joins_reads
            || self.in_flight.len() - begin >= JOINED_MAX
            || plain_read(&first.request).is_none()
            || plain_read(next).is_none()
            || refusal(next).is_some()
        {
            return None;
        }
        *room = room.and_then(|room| room.checked_sub(joined_size(next)));
        (*room)?;
        self.queue.pop_front()
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
        if header.error == UNIMPLEMENTED && self.joins_reads {
            // The server closes the connection after that; on the next one each goes alone.
            self.joins_reads = false;
            return Err(Broken::Refused(header.error));
        }
        let is_answered =
            |flight: &&InFlight| matches!(flight.state, Flight::Sent(xid) if xid == header.xid);
        let count = self.in_flight.iter().take_while(is_answered).count();
        let Some(InFlight { request, .. }) = self.in_flight.front().filter(|_| count > 0) else {
            return Err(Broken::OutOfOrder);
        };
        let results = match header.error {
            0 if count > 1 => wire::read_joined(count, reader)?,
            0 => vec![Ok(wire::read_reply(request, reader, &self.chroot)?)],
            code => vec![Err(wire::error_of(code)); count],
        };
        // Said about the session, not about the request. The next server knows what is so.
        if results.iter().any(|result| {
            matches!(
                result,
                Err(Error::ConnectionLoss | Error::SessionExpired | Error::Other(SESSION_MOVED))
            )
        }) {
            return Err(Broken::Refused(header.error));
        }
        self.saw(header.zxid);
        self.frames_in_flight -= 1;
        for (InFlight { id, request, .. }, result) in self.in_flight.drain(..count).zip(results) {
            if let Some((table, path)) = armed(&request, &result) {
                self.watches.arm(table, path);
            }
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

/// ZooKeeper's code for a kind of request that the server does not know.
const UNIMPLEMENTED: i32 = -6;

/// How many reads may be under way where one write may.
const READS_PER_REQUEST: usize = 10;

/// How many reads share a frame at most: the next answers are on their way while these are read.
const JOINED_MAX: usize = 128;

/// Bytes of a shared frame at most; a server refuses a frame of more than a MiB.
const JOINED_BYTES_MAX: usize = 128 * 1024;

/// What a read adds to a frame, about.
fn joined_size(request: &Request) -> usize {
    plain_read(request).map_or(0, |path| path.len() + 32)
}

fn is_read(request: &Request) -> bool {
    matches!(
        request,
        Request::GetData { .. } | Request::Exists { .. } | Request::GetChildren { .. }
    )
}

/// What a read without a watch asks for: of these, several may be asked at once.
fn plain_read(request: &Request) -> Option<&str> {
    match request {
        Request::GetData { path, watch: false } => Some(path),
        _ => None,
    }
}

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
