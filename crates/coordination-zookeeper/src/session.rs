//! Opening a session, and its handle.

use std::sync::Arc;
use std::sync::mpsc::{self as blocking, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_coordination::paths::acl_policy;
use ottla_coordination::{
    Coordination, CreateMode, Error, Event, EventSink, OpenError, Reply, Request, RequestId,
};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::chroot::Chroot;
use crate::connect_string::ConnectString;
use crate::connection::{ConnectError, Connection};
use crate::driver::{Command, Connector, Driver, Inbox};
use crate::machine::Machine;
use crate::security::{DigestCredentials, Tls};
use crate::servers::Servers;

/// How to reach the ensemble.
#[derive(Clone, Debug)]
pub struct ZookeeperOptions {
    /// `zookeeper.connect`: `host:port,…/chroot`.
    pub connect: String,
    /// `zookeeper.session.timeout.ms`: proposed to the server.
    pub session_timeout: Duration,
    /// `zookeeper.connection.timeout.ms`: how long the first connect may take.
    pub connection_timeout: Duration,
    /// `zookeeper.max.in.flight.requests`.
    pub max_in_flight_requests: usize,
    /// `zookeeper.set.acl`: whether a chroot that is created is protected. Other znodes are as
    /// their requests say.
    pub set_acl: bool,
    /// How connections are protected, if they are.
    pub tls: Option<Tls>,
    /// Who to authenticate as by SASL, if at all.
    pub credentials: Option<DigestCredentials>,
}

impl ZookeeperOptions {
    /// Kafka's defaults for everything else.
    pub fn new(connect: impl Into<String>) -> Self {
        let session_timeout = Duration::from_secs(18);
        Self {
            connect: connect.into(),
            session_timeout,
            connection_timeout: session_timeout,
            max_in_flight_requests: 10,
            set_acl: false,
            tls: None,
            credentials: None,
        }
    }
}

/// A session with the ensemble. Its task has a thread of its own.
pub struct ZookeeperSession {
    commands: UnboundedSender<Command>,
    session_id: i64,
    sink: Arc<EventSink>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ZookeeperSession {
    /// Opens a session; creates the chroot first if it is missing, through a session without it.
    /// Blocks until connected; must not be called on a thread of an asynchronous runtime.
    pub fn open(options: &ZookeeperOptions, sink: EventSink) -> Result<Self, OpenError> {
        let sink = Arc::new(sink);
        let (commands, received) = unbounded_channel();
        let (opened, wait) = blocking::sync_channel(1);
        let (options, thread_sink) = (options.clone(), Arc::clone(&sink));
        let thread = std::thread::Builder::new()
            .name("zookeeper-session".to_owned())
            .spawn(move || run(&options, received, thread_sink, &opened))
            .map_err(|error| OpenError::Refused(error.to_string()))?;
        let session_id = wait.recv().unwrap_or(Err(OpenError::Closed))?;
        Ok(Self {
            commands,
            session_id,
            sink,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Coordination for ZookeeperSession {
    fn submit(&self, id: RequestId, request: Request) {
        if self.commands.send(Command::Submit(id, request)).is_err() {
            (self.sink)(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            });
        }
    }

    fn session_id(&self) -> i64 {
        self.session_id
    }

    fn close(&self) {
        let (closed, wait) = blocking::sync_channel(1);
        if self.commands.send(Command::Close(closed)).is_ok() {
            // An error says that the thread has ended, and the session with it.
            wait.recv().ok();
        }
    }
}

impl Drop for ZookeeperSession {
    fn drop(&mut self) {
        self.close();
        // The thread ends when this handle's sender is gone; nothing waits for it.
        drop(self.thread.lock().take());
    }
}

/// The session's thread.
fn run(
    options: &ZookeeperOptions,
    commands: UnboundedReceiver<Command>,
    sink: Arc<EventSink>,
    opened: &SyncSender<Result<i64, OpenError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            opened.send(Err(OpenError::Refused(error.to_string()))).ok();
            return;
        }
    };
    runtime.block_on(async {
        let (driver, connection) = match connect(options, commands, &sink).await {
            Ok(connected) => connected,
            Err(error) => {
                opened.send(Err(error)).ok();
                return;
            }
        };
        opened.send(Ok(connection.granted.session_id)).ok();
        let inbox = driver.run(connection).await;
        // Until the handle is gone, everything is refused.
        let mut commands = inbox.over();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Submit(id, _) => {
                    sink(Event::Reply {
                        id,
                        result: Err(Error::SessionExpired),
                    });
                }
                Command::Close(closed) => _ = closed.send(()),
            }
        }
    });
    // The look-up of a name may hang for long; nobody waits for it.
    runtime.shutdown_background();
}

async fn connect(
    options: &ZookeeperOptions,
    commands: UnboundedReceiver<Command>,
    sink: &Arc<EventSink>,
) -> Result<(Driver, Connection), OpenError> {
    let parsed = ConnectString::parse(&options.connect)
        .ok_or_else(|| OpenError::BadConnectString(options.connect.clone()))?;
    let connecting = async {
        if let Some(chroot) = &parsed.chroot {
            create_chroot(options, &parsed, chroot).await?;
        }
        let chroot = Chroot::new(parsed.chroot.as_deref());
        open(options, &parsed, chroot, commands, Arc::clone(sink)).await
    };
    let timeout = options.connection_timeout;
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(timeout, connecting)
        .await
        .unwrap_or(Err(OpenError::Timeout(millis)))
}

/// Opens one session; its task does not run yet.
async fn open(
    options: &ZookeeperOptions,
    parsed: &ConnectString,
    chroot: Chroot,
    commands: UnboundedReceiver<Command>,
    sink: Arc<EventSink>,
) -> Result<(Driver, Connection), OpenError> {
    let mut connector = Connector {
        options: options.clone(),
        servers: Servers::shuffled(parsed.servers.clone()),
    };
    let connection = connector
        .connect(None, 0)
        .await
        .map_err(|error: ConnectError| OpenError::Refused(error.to_string()))?;
    let driver = Driver {
        connector,
        machine: Machine::new(chroot, options.max_in_flight_requests),
        inbox: Inbox::new(commands),
        sink,
    };
    Ok((driver, connection))
}

/// Creates the chroot and its parents where they are missing, through a session that is thrown
/// away.
async fn create_chroot(
    options: &ZookeeperOptions,
    parsed: &ConnectString,
    chroot: &str,
) -> Result<(), OpenError> {
    let (commands, received) = unbounded_channel();
    let (replies, mut answered) = unbounded_channel();
    let sink: EventSink = Box::new(move |event| {
        if let Event::Reply { result, .. } = event {
            // Nobody waits any more when the creation has failed.
            replies.send(result).ok();
        }
    });
    let root = Chroot::new(None);
    let (driver, connection) = open(options, parsed, root, received, Arc::new(sink)).await?;
    let creating = async move {
        let mut call = async |request| {
            commands.send(Command::Submit(RequestId(0), request)).ok();
            answered.recv().await.unwrap_or(Err(Error::SessionExpired))
        };
        create_recursively(&mut call, chroot, options.set_acl).await
        // The handle's side of the channel goes here: the session is closed.
    };
    let (_, created) = tokio::join!(driver.run(connection), creating);
    created.map_err(|error| OpenError::Refused(format!("chroot {chroot}: {error}")))
}

async fn create_recursively(
    call: &mut impl AsyncFnMut(Request) -> Result<Reply, Error>,
    path: &str,
    set_acl: bool,
) -> Result<(), Error> {
    let exists = Request::Exists {
        path: path.to_owned(),
        watch: false,
    };
    match call(exists).await {
        Err(Error::NoNode) => {}
        other => return other.map(drop),
    }
    let slashes = path.match_indices('/').map(|(at, _)| at).skip(1);
    let prefixes: Vec<&str> = slashes
        .chain([path.len()])
        .map(|end| &path[..end])
        .collect();
    // Upwards until a parent is there, since what is above may not even be ours to touch; then
    // down again.
    let mut missing = Vec::new();
    for prefix in prefixes.iter().rev() {
        match call(create(prefix, set_acl)).await {
            Ok(_) | Err(Error::NodeExists) => break,
            Err(Error::NoNode) => missing.push(*prefix),
            Err(error) => return Err(error),
        }
    }
    for prefix in missing.into_iter().rev() {
        match call(create(prefix, set_acl)).await {
            Ok(_) | Err(Error::NodeExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn create(path: &str, set_acl: bool) -> Request {
    Request::Create {
        path: path.to_owned(),
        data: None,
        mode: CreateMode::Persistent,
        acl: acl_policy(path, set_acl),
    }
}
