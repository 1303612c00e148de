//! The task that owns a session: it feeds the machine from the socket, the handle and the clock,
//! and finds the next server when one is lost.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use ottla_coordination::{EventSink, Request, RequestId};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::connection::{ConnectError, Connection, Granted, Greeting, READ_BYTES, take_frame};
use crate::machine::Machine;
use crate::servers::Servers;
use crate::session::ZookeeperOptions;

/// Longest silence of this side, as in Java's client.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// A connection that lived this long was a good one: the next try follows at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);

/// What the handle asks of the task.
pub(crate) enum Command {
    /// Send a request.
    Submit(RequestId, Request),
    /// End the session after what was submitted before.
    Close(SyncSender<()>),
}

/// Finds servers.
pub(crate) struct Connector {
    pub(crate) options: ZookeeperOptions,
    pub(crate) servers: Servers,
}

impl Connector {
    /// Tries one server after the other until one takes the session up or says that it has ended,
    /// or that nobody may have one. Nothing else ends a session: an expiry that is only believed
    /// in, because the ensemble is away for long, would leave ephemeral znodes that name us.
    pub(crate) async fn connect(
        &mut self,
        session: Option<&Granted>,
        last_zxid: i64,
    ) -> Result<Connection, ConnectError> {
        let session_timeout = session.map_or(self.options.session_timeout, |s| s.timeout);
        let mut told = false;
        loop {
            let Some((server, pause)) = self.servers.next() else {
                return Err(ConnectError::Timeout);
            };
            sleep(pause).await;
            let greeting = Greeting {
                tls: self.options.tls.as_ref(),
                credentials: self.options.credentials.as_ref(),
                session_timeout: self.options.session_timeout,
                session,
                last_zxid,
            };
            let limit = self.servers.connect_timeout(session_timeout);
            let opened = timeout(limit, Connection::open(&server, &greeting)).await;
            match opened.unwrap_or(Err(ConnectError::Timeout)) {
                Ok(connection) => {
                    let session_id = connection.granted.session_id;
                    tracing::debug!(%server, session_id, "connected to a ZooKeeper server");
                    return Ok(connection);
                }
                Err(error @ (ConnectError::Expired | ConnectError::Authentication(_))) => {
                    tracing::warn!(%server, %error, "ZooKeeper refuses the session");
                    return Err(error);
                }
                Err(error) if told => tracing::debug!(%server, %error, "no connection"),
                Err(error) => {
                    // Once per outage and not once per try.
                    tracing::warn!(%server, %error, "a ZooKeeper server cannot be used");
                    told = true;
                }
            }
        }
    }
}

/// The task's state.
pub(crate) struct Driver {
    pub(crate) connector: Connector,
    pub(crate) machine: Machine,
    pub(crate) inbox: Inbox,
    pub(crate) sink: Arc<EventSink>,
}

/// Writes what can be written now; when there is nothing left, what is still held back (0).
async fn write_some(writer: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> io::Result<usize> {
    if out.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// What comes from the handle.
pub(crate) struct Inbox {
    commands: UnboundedReceiver<Command>,
    /// Who waits for the end.
    closing: Vec<SyncSender<()>>,
    handle_is_gone: bool,
}

impl Inbox {
    pub(crate) fn new(commands: UnboundedReceiver<Command>) -> Self {
        Self {
            commands,
            closing: Vec::new(),
            handle_is_gone: false,
        }
    }

    fn wants_end(&self) -> bool {
        self.handle_is_gone || !self.closing.is_empty()
    }

    /// Waits for a command, and takes all that are there. Never returns when there is no handle.
    async fn receive(&mut self, machine: &mut Machine) {
        if self.handle_is_gone {
            std::future::pending::<()>().await;
        }
        let mut next = self.commands.recv().await;
        loop {
            match next {
                Some(Command::Submit(id, request)) => machine.submit(id, request),
                Some(Command::Close(closed)) => self.closing.push(closed),
                None => {
                    self.handle_is_gone = true;
                    return;
                }
            }
            match self.commands.try_recv() {
                Ok(command) => next = Some(command),
                // That it is closed is told by the next call.
                Err(_) => return,
            }
        }
    }

    /// The session is over: says so to who waits, and hands on what still arrives.
    pub(crate) fn over(self) -> UnboundedReceiver<Command> {
        for closed in self.closing {
            closed.send(()).ok();
        }
        self.commands
    }
}

/// How serving a connection ended.
enum Served {
    /// The session was closed.
    Closed,
    /// The connection is of no more use.
    Lost(String),
}

impl Driver {
    /// Runs until the session has ended or was closed.
    pub(crate) async fn run(mut self, mut connection: Connection) -> Inbox {
        loop {
            let granted = connection.granted.clone();
            let began = Instant::now();
            let served = self.serve(connection).await;
            if began.elapsed() >= GOOD_CONNECTION {
                self.connector.servers.succeeded();
            }
            match served {
                Served::Closed => break,
                Served::Lost(reason) => {
                    if !self.inbox.wants_end() {
                        tracing::warn!(reason, "connection to ZooKeeper lost");
                    }
                }
            }
            self.machine.disconnected();
            self.deliver();
            match self.reconnect(&granted).await {
                None => break,
                Some(Ok(next)) => connection = next,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the ZooKeeper session has ended");
                    self.machine.expired();
                    break;
                }
            }
        }
        self.machine.refuse_all();
        self.deliver();
        self.inbox
    }

    /// Finds the next server. `None` when the session is to be closed: who closes wants to be gone,
    /// and not to wait for a server; the session will expire.
    async fn reconnect(&mut self, session: &Granted) -> Option<Result<Connection, ConnectError>> {
        let last_zxid = self.machine.last_zxid();
        let connecting = self.connector.connect(Some(session), last_zxid);
        let mut connecting = std::pin::pin!(connecting);
        loop {
            if self.inbox.wants_end() {
                return None;
            }
            tokio::select! {
                biased;
                connected = &mut connecting => return Some(connected),
                () = self.inbox.receive(&mut self.machine) => {}
            }
        }
    }

    async fn serve(&mut self, connection: Connection) -> Served {
        let Connection {
            stream,
            mut input,
            granted,
        } = connection;
        // As in Java's client: two thirds of the session's time without a word, and another server
        // has the last third to take it up.
        let patience = granted.timeout * 2 / 3;
        let ping_interval = (patience / 2).min(PING_INTERVAL_MAX);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut out = BytesMut::new();
        let mut needs_flush = false;
        let mut heard = Instant::now();
        let mut said = heard;
        let mut is_closing = false;
        self.machine.connected(&mut out);
        loop {
            loop {
                match take_frame(&mut input) {
                    Ok(None) => break,
                    Ok(Some(frame)) => {
                        if let Err(broken) = self.machine.received(frame) {
                            return Served::Lost(broken.to_string());
                        }
                    }
                    Err(malformed) => return Served::Lost(malformed.to_string()),
                }
            }
            if self.machine.is_closed() {
                return Served::Closed;
            }
            self.machine.send(&mut out);
            self.deliver();
            if self.inbox.wants_end() && self.machine.is_idle() && !is_closing {
                is_closing = true;
                self.machine.close(&mut out);
            }
            input.reserve(READ_BYTES);
            tokio::select! {
                // What has arrived counts before what the clock says.
                biased;
                read = reader.read_buf(&mut input) => match read {
                    // Some servers close without an answer to the good-bye.
                    Ok(0) if is_closing => return Served::Closed,
                    Ok(0) => return Served::Lost("closed by the server".to_owned()),
                    Ok(_) => heard = Instant::now(),
                    Err(error) => return Served::Lost(error.to_string()),
                },
                written = write_some(&mut writer, &out), if needs_flush || !out.is_empty() => {
                    match written {
                        Ok(0) => needs_flush = false,
                        Ok(count) => {
                            out.advance(count);
                            needs_flush = true;
                            said = Instant::now();
                        }
                        Err(error) => return Served::Lost(error.to_string()),
                    }
                }
                () = self.inbox.receive(&mut self.machine) => {}
                () = sleep_until((heard + patience).min(said + ping_interval)) => {
                    if heard.elapsed() >= patience {
                        return Served::Lost("the server is silent".to_owned());
                    }
                    if out.is_empty() && said.elapsed() >= ping_interval {
                        Machine::ping(&mut out);
                    }
                    said = Instant::now();
                }
            }
        }
    }

    fn deliver(&mut self) {
        for event in self.machine.take_events() {
            (self.sink)(event);
        }
    }
}
