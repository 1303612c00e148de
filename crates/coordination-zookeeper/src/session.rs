//! Opening a session, and its handle.

use std::sync::Arc;
use std::sync::mpsc::{self as blocking, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_coordination::{Coordination, Error, Event, EventSink, OpenError, Request, RequestId};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zookeeper_client::{
    self as zk, Acls, Client, CreateMode, SessionInfo, SessionState, StateWatcher,
};

use crate::connect_string::ConnectString;
use crate::driver::{Command, Driver, Ended};
use crate::requests::error_of;

/// Pause between two tries to reach an ensemble that is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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
        let client = match connect(options).await {
            Ok(client) => client,
            Err(error) => {
                opened.send(Err(error)).ok();
                return;
            }
        };
        let mut states = client.state_watcher();
        let session_timeout = client.session_timeout();
        let over = end_for_certain(options, client.session().clone());
        opened.send(Ok(client.session_id().0)).ok();
        let driver = Driver::new(
            client,
            commands,
            Arc::clone(&sink),
            options.max_in_flight_requests,
        );
        let Ended {
            closing,
            mut commands,
            expired,
        } = driver.run(over).await;
        if !expired && states.state() == SessionState::SyncConnected {
            // The last handle of the client is gone, so it says good-bye to the server.
            let closed = closed(&mut states);
            if tokio::time::timeout(session_timeout, closed).await.is_err() {
                tracing::warn!("the ZooKeeper session could not be closed and will expire");
            }
        }
        for closed in closing {
            closed.send(()).ok();
        }
        // Until the handle is gone, everything is refused.
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
}

async fn connect(options: &ZookeeperOptions) -> Result<Client, OpenError> {
    let bad = || OpenError::BadConnectString(options.connect.clone());
    let ConnectString { servers, chroot } =
        ConnectString::parse(&options.connect).ok_or_else(bad)?;
    let connecting = async {
        match chroot {
            None => open_client(options, &servers).await,
            Some(chroot) => {
                create_chroot(options, &servers, &chroot).await?;
                open_client(options, &servers)
                    .await?
                    .chroot(chroot)
                    .map_err(|_| bad())
            }
        }
    };
    let timeout = options.connection_timeout;
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(timeout, connecting)
        .await
        .unwrap_or(Err(OpenError::Timeout(millis)))
}

async fn open_client(options: &ZookeeperOptions, servers: &str) -> Result<Client, OpenError> {
    let connector = Client::connector().with_session_timeout(options.session_timeout);
    connector
        .connect(servers)
        .await
        .map_err(|error| match error {
            zk::Error::Timeout | zk::Error::NoHosts => OpenError::Timeout(
                u64::try_from(options.session_timeout.as_millis()).unwrap_or(u64::MAX),
            ),
            error => OpenError::Refused(error.to_string()),
        })
}

/// Creates the chroot and its parents, through a session that is thrown away.
async fn create_chroot(
    options: &ZookeeperOptions,
    servers: &str,
    chroot: &str,
) -> Result<(), OpenError> {
    let client = open_client(options, servers).await?;
    let refused = |error: &zk::Error| OpenError::Refused(error_of(error).to_string());
    if client
        .check_stat(chroot)
        .await
        .map_err(|error| refused(&error))?
        .is_none()
    {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for end in chroot
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([chroot.len()])
        {
            match client.create(&chroot[..end], &[], &options).await {
                Ok(_) | Err(zk::Error::NodeExists) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
    }
    close(client).await;
    Ok(())
}

/// Says good-bye to the server; returns when that has arrived or can no longer.
async fn close(client: Client) {
    let mut states = client.state_watcher();
    drop(client);
    closed(&mut states).await;
}

async fn closed(states: &mut StateWatcher) {
    while !states.state().is_terminated() {
        states.changed().await;
    }
}

/// Returns when no server has the session any more.
///
/// The client gives a session up by itself after it has not reached a server for somewhat longer
/// than the session timeout. But when it was the ensemble that was away, the session and its
/// ephemeral znodes are there again with it: an expiry that we only believe in would leave a
/// `/controller` that names us and is nobody's. So the session is taken up once more, to be
/// closed.
async fn end_for_certain(options: &ZookeeperOptions, session: SessionInfo) {
    let Some(ConnectString { servers, .. }) = ConnectString::parse(&options.connect) else {
        return;
    };
    loop {
        let connector = Client::connector()
            .with_session_timeout(options.session_timeout)
            .with_session(session.clone());
        match connector.connect(&servers).await {
            Ok(client) => return close(client).await,
            Err(zk::Error::SessionExpired | zk::Error::AuthFailed) => return,
            Err(error) => {
                tracing::warn!(%error, "ZooKeeper cannot be reached");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}
