//! The thread that owns the tree, and the handles to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_coordination::event::WatchEvent;
use ottla_coordination::tree::{Transaction, Tree};
use ottla_coordination::{
    Coordination, Error, Event, EventSink, OpenError, Reply, Request, RequestId, SessionEvent,
};
use ottla_model::Timestamp;

use crate::frames::FrameBuilder;
use crate::store::{Store, StoreError};

/// Most commands that share one fsync.
const GROUP_COMMIT_MAX: usize = 1024;

/// Bytes of log before a snapshot is taken (later: if it also exceeds the last snapshot).
const SNAPSHOT_AFTER: u64 = 4 << 20;

/// A coordination service in this process. Dropping it ends all sessions.
pub struct EmbeddedService {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// A session with an [`EmbeddedService`]. Dropping it closes it.
pub struct EmbeddedSession {
    commands: Sender<Command>,
    session_id: i64,
    sink: Arc<EventSink>,
}

enum Command {
    Open {
        sink: Arc<EventSink>,
        opened: SyncSender<i64>,
    },
    Submit {
        session_id: i64,
        ticket: Ticket,
        request: Request,
    },
    Close {
        session_id: i64,
        closed: SyncSender<()>,
    },
    Expire {
        session_id: i64,
        expired: SyncSender<()>,
    },
    Stop,
}

/// A request's right to one answer. Whoever drops it unanswered (a queue whose reader has ended)
/// answers that the session is gone.
struct Ticket(Option<(Arc<EventSink>, RequestId)>);

impl Ticket {
    fn answer(mut self, result: Result<Reply, Error>) -> Option<Delivery> {
        let (sink, id) = self.0.take()?;
        Some(Delivery::Event(sink, Event::Reply { id, result }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((sink, id)) = self.0.take() {
            sink(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            });
        }
    }
}

impl EmbeddedService {
    /// Opens the tree in a directory (created if missing) and ends the sessions that an earlier
    /// process left, so that nobody waits for them to expire.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, SNAPSHOT_AFTER)
    }

    /// As [`EmbeddedService::open`], with a snapshot after so many bytes of log.
    pub fn open_with(directory: &Path, snapshot_after: u64) -> Result<Self, StoreError> {
        let (store, tree) = Store::open(directory, snapshot_after)?;
        let mut worker = Worker::new(store, tree);
        worker.end_earlier_sessions()?;
        let (commands, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("coordination".to_owned())
            .spawn(move || worker.run(&received))
            .map_err(|source| StoreError::Io {
                path: directory.to_owned(),
                source,
            })?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Opens a session; its first event is that it is connected.
    pub fn session(&self, sink: EventSink) -> Result<EmbeddedSession, OpenError> {
        let sink = Arc::new(sink);
        let (opened, wait) = mpsc::sync_channel(1);
        let command = Command::Open {
            sink: Arc::clone(&sink),
            opened,
        };
        self.commands.send(command).map_err(|_| OpenError::Closed)?;
        let session_id = wait.recv().map_err(|_| OpenError::Closed)?;
        Ok(EmbeddedSession {
            commands: self.commands.clone(),
            session_id,
            sink,
        })
    }

    /// Ends a session from outside, as a server does whose client is silent for too long.
    pub fn expire(&self, session_id: i64) {
        let (expired, wait) = mpsc::sync_channel(1);
        if self
            .commands
            .send(Command::Expire {
                session_id,
                expired,
            })
            .is_ok()
        {
            // An error says that the thread has ended, and all sessions with it.
            wait.recv().ok();
        }
    }

    /// Stops the service after what was submitted so far, and lets go of the directory. Sessions
    /// that are still open expire.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If the thread has ended already there is no one to tell.
            self.commands.send(Command::Stop).ok();
            if thread.join().is_err() {
                tracing::error!("the coordination thread panicked");
            }
        }
    }
}

impl Drop for EmbeddedService {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Coordination for EmbeddedSession {
    fn submit(&self, id: RequestId, request: Request) {
        let ticket = Ticket(Some((Arc::clone(&self.sink), id)));
        // A command that cannot be sent is dropped, and its ticket answers.
        self.commands
            .send(Command::Submit {
                session_id: self.session_id,
                ticket,
                request,
            })
            .ok();
    }

    fn session_id(&self) -> i64 {
        self.session_id
    }

    fn close(&self) {
        let (closed, wait) = mpsc::sync_channel(1);
        if self
            .commands
            .send(Command::Close {
                session_id: self.session_id,
                closed,
            })
            .is_ok()
        {
            // An error says that the thread has ended, and the session with it.
            wait.recv().ok();
        }
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's state.
struct Worker {
    store: Store,
    tree: Tree,
    sinks: BTreeMap<i64, Arc<EventSink>>,
    /// Transactions of this group commit.
    frame: FrameBuilder,
    /// What to tell once they are durable, in order.
    outbox: Vec<Delivery>,
}

enum Delivery {
    Event(Arc<EventSink>, Event),
    Opened(SyncSender<i64>, i64),
    Done(SyncSender<()>),
}

impl Worker {
    fn new(store: Store, tree: Tree) -> Self {
        Self {
            store,
            tree,
            sinks: BTreeMap::new(),
            frame: FrameBuilder::default(),
            outbox: Vec::new(),
        }
    }

    fn end_earlier_sessions(&mut self) -> Result<(), StoreError> {
        let sessions: Vec<i64> = self.tree.sessions().collect();
        for session_id in sessions {
            self.end_session(session_id);
        }
        self.commit()
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let mut stopping = false;
        while !stopping {
            let Ok(first) = commands.recv() else {
                break;
            };
            stopping = self.perform(first);
            for _ in 1..GROUP_COMMIT_MAX {
                match commands.try_recv() {
                    Ok(command) if !stopping => stopping = self.perform(command),
                    _ => break,
                }
            }
            if let Err(error) = self.commit() {
                tracing::error!(%error, "coordination log failed, ending all sessions");
                self.fail();
                break;
            }
            self.deliver();
        }
        for (_, sink) in std::mem::take(&mut self.sinks) {
            sink(Event::Session(SessionEvent::Expired));
        }
    }

    /// Performs a command in memory; gives whether to stop.
    fn perform(&mut self, command: Command) -> bool {
        match command {
            Command::Open { sink, opened } => {
                let (session_id, transaction) = self.tree.open_session(now());
                self.frame.push(&transaction);
                self.sinks.insert(session_id, Arc::clone(&sink));
                self.outbox.push(Delivery::Opened(opened, session_id));
                let connected = Event::Session(SessionEvent::Connected);
                self.outbox.push(Delivery::Event(sink, connected));
            }
            Command::Submit {
                session_id,
                ticket,
                request,
            } => {
                let outcome = self.tree.handle(session_id, &request, now());
                self.queue_write(outcome.transaction.as_ref(), outcome.watches);
                self.outbox.extend(ticket.answer(outcome.result));
            }
            Command::Close { session_id, closed } => {
                self.end_session(session_id);
                self.outbox.push(Delivery::Done(closed));
            }
            Command::Expire {
                session_id,
                expired,
            } => {
                if let Some(sink) = self.end_session(session_id) {
                    let event = Event::Session(SessionEvent::Expired);
                    self.outbox.push(Delivery::Event(sink, event));
                }
                self.outbox.push(Delivery::Done(expired));
            }
            Command::Stop => {
                let sessions: Vec<i64> = self.tree.sessions().collect();
                for session_id in sessions {
                    if let Some(sink) = self.end_session(session_id) {
                        let event = Event::Session(SessionEvent::Expired);
                        self.outbox.push(Delivery::Event(sink, event));
                    }
                }
                return true;
            }
        }
        false
    }

    fn end_session(&mut self, session_id: i64) -> Option<Arc<EventSink>> {
        let (watches, transaction) = self.tree.close_session(session_id, now())?;
        let sink = self.sinks.remove(&session_id);
        self.queue_write(Some(&transaction), watches);
        sink
    }

    fn queue_write(&mut self, transaction: Option<&Transaction>, watches: Vec<(i64, WatchEvent)>) {
        if let Some(transaction) = transaction {
            self.frame.push(transaction);
        }
        for (session_id, event) in watches {
            if let Some(sink) = self.sinks.get(&session_id) {
                self.outbox
                    .push(Delivery::Event(Arc::clone(sink), Event::Watch(event)));
            }
        }
    }

    /// Makes the group durable, and the log short again if it has grown.
    fn commit(&mut self) -> Result<(), StoreError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        self.store.append(&mut self.frame)?;
        if self.store.is_snapshot_due() {
            self.store.snapshot(&self.tree)?;
        }
        Ok(())
    }

    fn deliver(&mut self) {
        for delivery in self.outbox.drain(..) {
            match delivery {
                Delivery::Event(sink, event) => sink(event),
                // Whoever does not wait any more needs no answer.
                Delivery::Opened(opened, session_id) => _ = opened.send(session_id),
                Delivery::Done(done) => _ = done.send(()),
            }
        }
    }

    /// After a failed write: nothing of the group is told, but that it failed.
    fn fail(&mut self) {
        for delivery in self.outbox.drain(..) {
            if let Delivery::Event(sink, Event::Reply { id, .. }) = delivery {
                sink(Event::Reply {
                    id,
                    result: Err(Error::SystemError),
                });
            }
        }
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
