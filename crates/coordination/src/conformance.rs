//! One suite of promises that every provider keeps: the tree in memory, the embedded provider and
//! a real ZooKeeper. A difference from the last is a fault of the others.
//!
//! Tests never wait for luck: that a watch does *not* fire is known when a later read of the same
//! session is answered, because events and replies come in one order.

mod multi;
mod sessions;
mod watches;
mod writes;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Event, RequestId, SessionEvent, WatchEvent, WatchKind};
use crate::request::{AclPolicy, CreateMode, Error, Op, Reply, Request, Stat};
use crate::session::{Coordination, EventSink};

/// Opens a session with the provider under test.
pub type Open<'a> = dyn Fn(EventSink) -> Box<dyn Coordination> + 'a;

/// Runs the whole suite below `root`, which must not exist yet; its parent must.
///
/// # Panics
/// If the provider breaks a promise.
pub fn run_all(open: &Open<'_>, root: &str) {
    let suite = Suite {
        open,
        root,
        next: Cell::new(0),
    };
    let client = suite.client();
    client.create(root, "");
    for group in [writes::run, multi::run, watches::run, sessions::run] {
        group(&suite);
    }
    client.close();
}

/// The provider under test and a place for each test.
struct Suite<'a> {
    open: &'a Open<'a>,
    root: &'a str,
    next: Cell<u32>,
}

impl Suite<'_> {
    fn client(&self) -> Client {
        Client::open(self.open)
    }

    /// A fresh znode for a test to work below.
    fn place(&self, client: &Client) -> String {
        let number = self.next.get();
        self.next.set(number + 1);
        let path = format!("{}/{number}", self.root);
        client.create(&path, "");
        path
    }
}

/// A session that waits for each answer.
pub struct Client {
    session: Box<dyn Coordination>,
    events: mpsc::Receiver<Event>,
    /// What arrived while waiting for an answer.
    earlier: RefCell<VecDeque<Event>>,
    next_id: Cell<u64>,
}

/// How long an answer may take before the provider counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

impl Client {
    /// Opens a session and waits until it is connected.
    ///
    /// # Panics
    /// If it is not connected in time.
    pub fn open(open: &Open<'_>) -> Self {
        let (sender, events) = mpsc::channel();
        // A receiver that is gone wants nothing any more.
        let session = open(Box::new(move |event| drop(sender.send(event))));
        let client = Self {
            session,
            events,
            earlier: RefCell::default(),
            next_id: Cell::new(0),
        };
        assert_eq!(client.next_event(), Event::Session(SessionEvent::Connected));
        client
    }

    /// See [`Coordination::session_id`].
    pub fn session_id(&self) -> i64 {
        self.session.session_id()
    }

    /// See [`Coordination::close`].
    pub fn close(&self) {
        self.session.close();
    }

    /// Sends a request without waiting.
    pub fn submit(&self, request: Request) -> RequestId {
        let id = RequestId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        self.session.submit(id, request);
        id
    }

    /// Sends a request and waits for its answer; other events are kept for [`Client::next_event`].
    ///
    /// # Panics
    /// If there is no answer in time.
    pub fn call(&self, request: Request) -> Result<Reply, Error> {
        let sent = self.submit(request);
        loop {
            match self.receive() {
                Event::Reply { id, result } if id == sent => return result,
                event => self.earlier.borrow_mut().push_back(event),
            }
        }
    }

    /// The next event that no call has consumed.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn next_event(&self) -> Event {
        let earlier = self.earlier.borrow_mut().pop_front();
        earlier.unwrap_or_else(|| self.receive())
    }

    fn receive(&self) -> Event {
        self.events
            .recv_timeout(PATIENCE)
            .expect("the provider answers in time")
    }

    /// Waits for this watch to fire.
    fn expect_watch(&self, path: &str, kind: WatchKind) {
        let expected = WatchEvent {
            path: path.to_owned(),
            kind,
        };
        assert_eq!(self.next_event(), Event::Watch(expected));
    }

    /// Makes sure that nothing has fired, by a read that is answered after it.
    fn expect_silence(&self) {
        drop(self.call(Request::Exists {
            path: "/".to_owned(),
            watch: false,
        }));
        let earlier = self.earlier.borrow();
        assert!(earlier.is_empty(), "unexpected events: {earlier:?}");
    }

    fn create(&self, path: &str, data: &str) {
        let created = self.call(create(path, data, CreateMode::Persistent));
        assert_eq!(
            created,
            Ok(Reply::Created {
                path: path.to_owned()
            })
        );
    }

    fn delete(&self, path: &str) {
        assert_eq!(self.call(delete(path, -1)), Ok(Reply::Deleted));
    }

    fn set(&self, path: &str, data: &str) -> Stat {
        match self.call(set(path, data, -1)) {
            Ok(Reply::Set(stat)) => stat,
            other => panic!("{path} was not set: {other:?}"),
        }
    }

    fn stat(&self, path: &str) -> Stat {
        match self.call(exists(path, false)) {
            Ok(Reply::Exists(stat)) => stat,
            other => panic!("{path} is not there: {other:?}"),
        }
    }

    fn is_absent(&self, path: &str) -> bool {
        self.call(exists(path, false)) == Err(Error::NoNode)
    }

    fn data(&self, path: &str) -> Option<Bytes> {
        match self.call(get(path, false)) {
            Ok(Reply::Data { data, stat }) => {
                assert_eq!(
                    stat.data_length as usize,
                    data.as_ref().map_or(0, Bytes::len)
                );
                data
            }
            other => panic!("{path} has no data: {other:?}"),
        }
    }

    fn children(&self, path: &str) -> Vec<String> {
        match self.call(children(path, false)) {
            Ok(Reply::Children { names, stat }) => {
                assert_eq!(stat.num_children as usize, names.len());
                names
            }
            other => panic!("{path} has no children: {other:?}"),
        }
    }
}

fn data_of(text: &str) -> Option<Bytes> {
    (!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()))
}

fn create(path: &str, data: &str, mode: CreateMode) -> Request {
    create_op(path, data, mode).into()
}

fn delete(path: &str, version: i32) -> Request {
    Request::Delete {
        path: path.to_owned(),
        version,
    }
}

fn set(path: &str, data: &str, version: i32) -> Request {
    Request::SetData {
        path: path.to_owned(),
        data: data_of(data),
        version,
    }
}

fn exists(path: &str, watch: bool) -> Request {
    Request::Exists {
        path: path.to_owned(),
        watch,
    }
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData {
        path: path.to_owned(),
        watch,
    }
}

fn children(path: &str, watch: bool) -> Request {
    Request::GetChildren {
        path: path.to_owned(),
        watch,
    }
}

fn create_op(path: &str, data: &str, mode: CreateMode) -> Op {
    Op::Create {
        path: path.to_owned(),
        data: data_of(data),
        mode,
        acl: AclPolicy::Open,
    }
}
