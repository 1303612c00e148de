//! The page over HTTP: as much of it as a scraper needs. `GET /metrics` or `GET /`; one request per
//! connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The longest head of a request.
const HEAD_MAX: usize = 8 * 1024;
/// How long a request may take to come, and its answer to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8;
/// How long to rest when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `ottla.metrics.listener`: where the page is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsAddress {
    host: String,
    port: u16,
}

/// What is not of the form `host:port`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not of the form host:port")]
pub struct InvalidAddress(String);

impl FromStr for MetricsAddress {
    type Err = InvalidAddress;

    /// `127.0.0.1:9404`, `localhost:9404`, `[::1]:9404`.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(invalid)?;
        let bare = match host.strip_prefix('[') {
            Some(open) => open.strip_suffix(']').ok_or_else(invalid)?,
            None if host.contains(':') => return Err(invalid()),
            None => host,
        };
        if bare.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            host: bare.to_owned(),
            port: port.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A socket that listens, but answers nobody yet.
#[derive(Debug)]
pub(crate) struct BoundMetrics(TcpListener);

/// Makes a page.
type Make = Arc<dyn Fn() -> String + Send + Sync>;

/// The page is served while this lives.
pub(crate) struct MetricsServer {
    make: watch::Sender<Option<Make>>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for MetricsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsServer").finish_non_exhaustive()
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl MetricsServer {
    /// Serves pages that `page` makes from now on, on threads that may block, one at a time.
    pub(crate) fn show(&self, page: impl Fn() -> String + Send + Sync + 'static) {
        self.make.send_replace(Some(Arc::new(page)));
    }

    /// Lets whoever asks wait for the next page.
    pub(crate) fn hold(&self) {
        self.make.send_replace(None);
    }

    /// Runs this as long as pages are served.
    pub(crate) fn run_besides(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }
}

impl BoundMetrics {
    /// Binds; errors are the system's.
    pub(crate) async fn bind(address: &MetricsAddress) -> io::Result<Self> {
        let listener = TcpListener::bind((address.host.as_str(), address.port)).await?;
        Ok(Self(listener))
    }

    /// The address that was bound.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers, as soon as there is a page to show.
    pub(crate) fn serve(self) -> MetricsServer {
        let (make, made) = watch::channel(None);
        let pages = Arc::new(Pages {
            made,
            turn: tokio::sync::Mutex::new(()),
        });
        let tasks = vec![tokio::spawn(accept(self.0, pages))];
        MetricsServer { make, tasks }
    }
}

struct Pages {
    made: watch::Receiver<Option<Make>>,
    turn: tokio::sync::Mutex<()>,
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "error while accepting a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        connections.spawn(async move {
            let answered = tokio::time::timeout(PATIENCE, answer(stream, &pages)).await;
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "metrics were not sent"),
                Err(_) => tracing::debug!("a connection for metrics took too long"),
            }
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, pages: &Arc<Pages>) -> io::Result<()> {
    let mut head = Vec::new();
    while !is_complete(&head) {
        let room = HEAD_MAX - head.len();
        if room == 0 {
            return respond(&mut stream, "431 Request Header Fields Too Large", "", true).await;
        }
        if (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    match route(&head) {
        Route::Page { with_body } => {
            let mut made = pages.made.clone();
            let Ok(Some(make)) = made
                .wait_for(Option::is_some)
                .await
                .map(|make| make.clone())
            else {
                // The broker ends.
                return Ok(());
            };
            let turn = pages.turn.lock().await;
            let page = tokio::task::spawn_blocking(move || make()).await;
            drop(turn);
            match page {
                Ok(page) => respond(&mut stream, "200 OK", &page, with_body).await,
                // It has panicked, and said why.
                Err(_) => respond(&mut stream, "500 Internal Server Error", "", true).await,
            }
        }
        Route::Refused(status) => respond(&mut stream, status, "", true).await,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page { with_body: bool },
    Refused(&'static str),
}

fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

fn route(head: &[u8]) -> Route {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Route::Refused("400 Bad Request");
    };
    if !version.starts_with(b"HTTP/1.") || words.next().is_some() {
        return Route::Refused("400 Bad Request");
    }
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    if ![&b"/"[..], b"/metrics"].contains(&path) {
        return Route::Refused("404 Not Found");
    }
    match method {
        b"GET" => Route::Page { with_body: true },
        b"HEAD" => Route::Page { with_body: false },
        _ => Route::Refused("405 Method Not Allowed"),
    }
}

async fn respond(
    stream: &mut TcpStream,
    status: &str,
    body: &str,
    with_body: bool,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {PAGE_TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let shown = |text: &str| {
            let address: Result<MetricsAddress, _> = text.parse();
            address.map(|address| address.to_string())
        };
        for text in ["127.0.0.1:9404", "localhost:0", "[::1]:9404"] {
            assert_eq!(shown(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "9404",
            ":9404",
            "host:",
            "host:x",
            "host:70000",
            "::1:9404",
            "[::1:9404",
        ] {
            assert_eq!(shown(text), Err(InvalidAddress(text.to_owned())));
        }
    }

    #[test]
    fn only_the_page_is_served() {
        let page = Route::Page { with_body: true };
        assert_eq!(route(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), page);
        assert_eq!(route(b"GET / HTTP/1.0\r\n\r\n"), page);
        assert_eq!(route(b"GET /metrics?name=x HTTP/1.1\r\n\r\n"), page);
        let check = |head: &[u8], status| assert_eq!(route(head), Route::Refused(status));
        check(b"GET /other HTTP/1.1\r\n\r\n", "404 Not Found");
        check(b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed");
        check(b"GET /metrics\r\n\r\n", "400 Bad Request");
        check(b"\x00\x00\x00\x12\r\n\r\n", "400 Bad Request");
    }

    async fn exchange(request: &[u8]) -> String {
        let address = "127.0.0.1:0".parse().unwrap();
        let bound = BoundMetrics::bind(&address).await.unwrap();
        let address = bound.local_address().unwrap();
        let server = bound.serve();
        server.hold();
        server.show(|| "a 1\n".to_owned());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_page_is_answered_with_its_length_and_type() {
        let answer = exchange(b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"
        );
        let answer = exchange(b"HEAD / HTTP/1.1\r\n\r\n").await;
        assert!(answer.contains("Content-Length: 4") && answer.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_off() {
        let answer = exchange(&[b'x'; HEAD_MAX]).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}
