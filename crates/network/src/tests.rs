//! Promises of a connection, kept over real sockets.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_protocol::{ApiTable, DecodeError, LazyBytes, Part, WireError, keys};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use super::*;

const METADATA: i16 = keys::METADATA;
/// Longer than anything here takes; only a broken promise waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is tried that a busy machine may be too slow for.
const ATTEMPTS: usize = 50;

/// Answers by API; what a body says is up to each test.
#[derive(Default)]
struct TestService {
    file: Option<Arc<File>>,
    in_work: AtomicUsize,
    most_in_work: AtomicUsize,
    dropped: Arc<Notify>,
    disconnected: Notify,
    gate: Option<Arc<Semaphore>>,
    completed: parking_lot::Mutex<Vec<Completed>>,
}

impl Service for TestService {
    async fn call(&self, context: RequestContext, body: Bytes) -> Outcome {
        let in_work = self.in_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_work.fetch_max(in_work, Ordering::SeqCst);
        let outcome = self.answer(&context, body).await;
        self.in_work.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn completed(&self, request: &Completed) {
        self.completed.lock().push(*request);
    }

    fn disconnected(&self, _: &ConnectionInfo) {
        self.disconnected.notify_one();
    }
}

impl TestService {
    async fn answer(&self, context: &RequestContext, body: Bytes) -> Outcome {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        tokio::task::yield_now().await;
        let mut out = BytesMut::new();
        context.header.encode_response_header(&mut out);
        match &body[..] {
            b"panic" => panic!("as asked for"),
            b"close" => Outcome::Close,
            b"silent" => Outcome::NoResponse,
            b"malformed" => Outcome::Malformed(DecodeError::Wire(WireError::Utf8)),
            b"throttle" => Outcome::Respond(Response {
                parts: vec![Part::Bytes(out.freeze())],
                throttle: Duration::from_millis(200),
                mark: 7,
                ..Response::default()
            }),
            b"hang" => {
                let _guard = OnDrop(Arc::clone(&self.dropped));
                std::future::pending().await
            }
            b"file" => {
                let file = self.file.clone().unwrap();
                let range = |position, length| Part::FileRange {
                    file: Arc::clone(&file),
                    position,
                    length,
                };
                Outcome::Respond(Response {
                    parts: vec![
                        Part::Bytes(out.freeze()),
                        range(10, 3_000_000),
                        Part::Bytes(Bytes::from_static(b"between")),
                        range(0, 10),
                        range(5, 0),
                        Part::Bytes(Bytes::from_static(b"end")),
                    ],
                    ..Response::default()
                })
            }
            b"lazy" => {
                let lazy = |length, fails_at| Part::Lazy {
                    length,
                    source: Box::new(Countdown { fails_at }),
                };
                Outcome::Respond(Response {
                    parts: vec![
                        Part::Bytes(out.freeze()),
                        lazy(2_500, None),
                        Part::Bytes(Bytes::from_static(b"between")),
                        lazy(0, None),
                        lazy(7, None),
                    ],
                    ..Response::default()
                })
            }
            b"broken" => Outcome::Respond(Response {
                parts: vec![Part::Lazy {
                    length: 2_500,
                    source: Box::new(Countdown {
                        fails_at: Some(500),
                    }),
                }],
                ..Response::default()
            }),
            b"slow" => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                out.freeze().into()
            }
            _ => {
                out.put_slice(&body);
                out.freeze().into()
            }
        }
    }
}

/// Makes up to 1,000 bytes at a time that tell how many remain, in thousands.
#[derive(Debug)]
struct Countdown {
    fails_at: Option<usize>,
}

impl LazyBytes for Countdown {
    fn next_chunk(&mut self, remaining: usize) -> std::io::Result<Bytes> {
        if self.fails_at == Some(remaining) {
            return Err(std::io::Error::other("as asked for"));
        }
        let digit = b'0' + (remaining / 1_000) as u8;
        Ok(vec![digit; remaining.min(1_000)].into())
    }
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn config() -> ServerConfig {
    ServerConfig::new(Arc::new(ApiTable::everything()))
}

fn serve(config: ServerConfig, service: TestService) -> (Server, SocketAddr, Arc<TestService>) {
    let listener = ListenerConfig::plaintext("PLAINTEXT", "127.0.0.1", 0);
    let listener = BoundListener::bind(listener, &config).unwrap();
    let address = listener.local_address();
    let service = Arc::new(service);
    let server = Server::start(vec![listener], config, Arc::clone(&service));
    (server, address, service)
}

fn request(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(10 + body.len() as i32);
    out.put_i16(api_key);
    out.put_i16(api_version);
    out.put_i32(correlation_id);
    out.put_i16(-1);
    out.put_slice(body);
    out
}

async fn read_frame(stream: &mut TcpStream) -> Option<Bytes> {
    let read = async {
        let size = stream.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
    read.unwrap().is_err()
}

async fn exchange(stream: &mut TcpStream, api_key: i16, body: &[u8]) -> Option<Bytes> {
    stream
        .write_all(&request(api_key, 0, 1, body))
        .await
        .unwrap();
    read_frame(stream).await
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let (_server, address, service) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut sent = BytesMut::new();
    for id in 0..500 {
        sent.extend(request(METADATA, 0, id, format!("body {id}").as_bytes()));
    }
    stream.write_all(&sent).await.unwrap();
    for id in 0..500 {
        let mut frame = read_frame(&mut stream).await.unwrap();
        assert_eq!(frame.get_i32(), id);
        assert_eq!(frame, format!("body {id}"));
    }
    assert_eq!(service.most_in_work.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn file_ranges_are_sent_between_bytes() {
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..3_000_010_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    file.write_all(&content).unwrap();
    let service = TestService {
        file: Some(Arc::new(file)),
        ..TestService::default()
    };
    let (_server, address, _) = serve(config(), service);
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        let mut frame = exchange(&mut stream, METADATA, b"file").await.unwrap();
        frame.advance(4);
        assert!(frame.split_to(3_000_000) == content[10..]);
        assert_eq!(frame.split_to(7), "between");
        assert_eq!(frame.split_to(10), content[..10]);
        assert_eq!(frame, "end");
    }
}

#[tokio::test]
async fn a_file_that_is_too_short_closes_the_connection() {
    let service = TestService {
        file: Some(Arc::new(tempfile::tempfile().unwrap())),
        ..TestService::default()
    };
    let (_server, address, _) = serve(config(), service);
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(exchange(&mut stream, METADATA, b"file").await, None);
}

#[tokio::test]
async fn lazy_pieces_are_made_while_they_are_sent() {
    let (_server, address, _) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        let mut frame = exchange(&mut stream, METADATA, b"lazy").await.unwrap();
        frame.advance(4);
        assert_eq!(frame.split_to(1_000), [b'2'; 1_000][..]);
        assert_eq!(frame.split_to(1_000), [b'1'; 1_000][..]);
        assert_eq!(frame.split_to(500), [b'0'; 500][..]);
        assert_eq!(frame, "between0000000");
    }
    assert_eq!(exchange(&mut stream, METADATA, b"broken").await, None);
}

#[tokio::test]
async fn what_cannot_be_served_closes_the_connection_without_an_answer() {
    let mut config = config();
    config.apis = Arc::new(ApiTable::new(&[METADATA, keys::API_VERSIONS]));
    config.socket_request_max_bytes = 1000;
    let (_server, address, _) = serve(config, TestService::default());
    let refused: [&[u8]; 9] = [
        &request(999, 0, 1, b""),
        &request(52, 0, 1, b""),
        &request(keys::PRODUCE, 0, 1, b""),
        &request(METADATA, 13, 1, b""),
        &request(METADATA, -1, 1, b""),
        &request(METADATA, 0, 1, b"malformed"),
        &0_i32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &1001_i32.to_be_bytes(),
    ];
    for bytes in refused {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut stream).await, "{bytes:?}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert!(
        exchange(&mut stream, METADATA, &[b'x'; 990])
            .await
            .is_some()
    );
}

#[tokio::test]
async fn api_versions_in_an_unknown_version_reaches_its_handler() {
    let (_server, address, _) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut sent = BytesMut::new();
    sent.extend_from_slice(b"\0\0\0\x0c\0\x12\0\x63\0\0\0\x05\xff\xff\0x");
    stream.write_all(&sent).await.unwrap();
    assert_eq!(read_frame(&mut stream).await.unwrap(), &b"\0\0\0\x05x"[..]);
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let (_server, address, _) = serve(config(), TestService::default());
    let mut other = TcpStream::connect(address).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(exchange(&mut stream, METADATA, b"panic").await, None);
    assert!(exchange(&mut other, METADATA, b"alive").await.is_some());
}

#[tokio::test]
async fn requests_without_a_response_let_the_next_one_through() {
    let (_server, address, _) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&request(METADATA, 0, 1, b"silent"))
        .await
        .unwrap();
    let frame = exchange(&mut stream, METADATA, b"next").await.unwrap();
    assert_eq!(frame, &b"\0\0\0\x01next"[..]);
    assert_eq!(exchange(&mut stream, METADATA, b"close").await, None);
}

#[tokio::test]
async fn a_throttled_connection_is_answered_at_once_and_then_kept_waiting() {
    let (_server, address, _) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..ATTEMPTS {
        let start = std::time::Instant::now();
        assert!(exchange(&mut stream, METADATA, b"throttle").await.is_some());
        let answered = start.elapsed();
        assert!(exchange(&mut stream, METADATA, b"next").await.is_some());
        assert!(start.elapsed() >= Duration::from_millis(200));
        if answered < Duration::from_millis(200) {
            return;
        }
    }
    panic!("never answered at once");
}

#[tokio::test]
async fn a_waiting_fetch_is_dropped_when_its_client_goes_away() {
    let (_server, address, service) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&request(keys::FETCH, 0, 1, b"hang"))
        .await
        .unwrap();
    // Pipelined bytes do not hide the end of the stream.
    stream
        .write_all(&request(METADATA, 0, 2, b"later"))
        .await
        .unwrap();
    drop(stream);
    let dropped = tokio::time::timeout(PATIENCE, service.dropped.notified());
    dropped.await.unwrap();
    let disconnected = tokio::time::timeout(PATIENCE, service.disconnected.notified());
    disconnected.await.unwrap();
}

#[tokio::test]
async fn other_requests_run_to_their_end_and_answer_a_half_closed_client() {
    let gate = Arc::new(Semaphore::new(0));
    let service = TestService {
        gate: Some(Arc::clone(&gate)),
        ..TestService::default()
    };
    let (_server, address, _) = serve(config(), service);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&request(METADATA, 0, 1, b"slow"))
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    gate.add_permits(1);
    assert!(read_frame(&mut stream).await.is_some());
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn shutdown_answers_requests_in_work_and_gives_up_those_that_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let service = TestService {
        gate: Some(Arc::clone(&gate)),
        ..TestService::default()
    };
    let (server, address, service) = serve(config(), service);
    let mut waiting = TcpStream::connect(address).await.unwrap();
    let mut working = TcpStream::connect(address).await.unwrap();
    let mut quiet = TcpStream::connect(address).await.unwrap();
    gate.add_permits(1);
    waiting
        .write_all(&request(keys::FETCH, 0, 1, b"hang"))
        .await
        .unwrap();
    while gate.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    working
        .write_all(&request(METADATA, 0, 2, b"work"))
        .await
        .unwrap();
    while service.in_work.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let shutdown = tokio::spawn(async move { server.shutdown(PATIENCE).await });
    assert!(is_closed(&mut waiting).await);
    assert!(is_closed(&mut quiet).await);
    assert!(!shutdown.is_finished());
    gate.add_permits(1);
    assert!(read_frame(&mut working).await.is_some());
    shutdown.await.unwrap();
    assert!(is_closed(&mut working).await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let (server, address, service) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&request(METADATA, 0, 1, b"hang"))
        .await
        .unwrap();
    while service.in_work.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown(Duration::from_millis(50)).await;
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut config = config();
    config.connections_max_idle = Duration::from_millis(100);
    let (_server, address, _) = serve(config, TestService::default());
    for _ in 0..ATTEMPTS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be idle too long before it asks.
        let is_asked = stream.write_all(&request(METADATA, 0, 1, b"x")).await;
        if is_asked.is_ok() && read_frame(&mut stream).await.is_some() {
            assert!(is_closed(&mut stream).await);
            return;
        }
    }
    panic!("never answered");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_those_beyond_their_address_are_closed() {
    let mut config = config();
    config.max_connections = 2;
    config.max_connections_per_ip = 1;
    let (_server, address, _) = serve(config, TestService::default());
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut first, METADATA, b"x").await.is_some());
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(is_closed(&mut second).await);
    assert!(exchange(&mut first, METADATA, b"x").await.is_some());
}

#[tokio::test]
async fn listeners_come_and_go_while_others_serve() {
    let (server, address, _) = serve(config(), TestService::default());
    let mut stays = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut stays, METADATA, b"x").await.is_some());
    let added = ListenerConfig::plaintext("ADDED", "127.0.0.1", 0);
    let added = BoundListener::bind(added, &config()).unwrap();
    let second = added.local_address();
    server.add_listener(added);
    let mut goes = TcpStream::connect(second).await.unwrap();
    assert!(exchange(&mut goes, METADATA, b"x").await.is_some());
    server.remove_listener(&ListenerName::new("ADDED")).await;
    assert!(is_closed(&mut goes).await);
    assert!(TcpStream::connect(second).await.is_err());
    assert!(exchange(&mut stays, METADATA, b"x").await.is_some());
}

#[tokio::test]
async fn limits_of_connections_change_while_the_server_runs() {
    let (server, address, _) = serve(config(), TestService::default());
    let limits = |per_ip| crate::ConnectionLimits {
        max_connections: 10,
        max_connections_per_ip: per_ip,
        max_connections_per_ip_overrides: std::collections::BTreeMap::new(),
        by_listener: std::collections::BTreeMap::new(),
    };
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut first, METADATA, b"x").await.is_some());
    server.set_connection_limits(limits(1));
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(is_closed(&mut second).await);
    assert!(exchange(&mut first, METADATA, b"x").await.is_some());
    server.set_connection_limits(limits(2));
    for _ in 0..ATTEMPTS {
        let mut third = TcpStream::connect(address).await.unwrap();
        // The second may still count for a moment.
        let is_asked = third.write_all(&request(METADATA, 0, 1, b"x")).await;
        if is_asked.is_ok() && read_frame(&mut third).await.is_some() {
            return;
        }
    }
    panic!("never answered");
}

#[tokio::test]
async fn the_context_tells_who_asks() {
    #[derive(Default)]
    struct Inspect(parking_lot::Mutex<Option<RequestContext>>);
    impl Service for Inspect {
        async fn call(&self, context: RequestContext, _: Bytes) -> Outcome {
            *self.0.lock() = Some(context);
            Outcome::Close
        }
    }
    let config = config();
    let listener = ListenerConfig::plaintext("clients", "", 0);
    let listener = BoundListener::bind(listener, &config).unwrap();
    let port = listener.local_address().port();
    let service = Arc::new(Inspect::default());
    let _server = Server::start(vec![listener], config, Arc::clone(&service));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let client = stream.local_addr().unwrap();
    assert_eq!(exchange(&mut stream, METADATA, b"body").await, None);
    let context = service.0.lock().take().unwrap();
    assert_eq!(
        context.connection_id,
        format!("127.0.0.1:{port}-127.0.0.1:{}-0", client.port())
    );
    assert_eq!(context.client_address, client);
    assert_eq!(context.client_host(), "/127.0.0.1");
    assert_eq!(context.client_id(), "");
    assert_eq!(context.listener.as_str(), "CLIENTS");
    assert_eq!(context.principal.to_string(), "User:ANONYMOUS");
    assert_eq!(context.frame_size, 14);
}

#[tokio::test]
async fn requests_are_told_when_they_are_done_with_how_long_they_took() {
    let (_server, address, service) = serve(config(), TestService::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..ATTEMPTS {
        service.completed.lock().clear();
        assert!(exchange(&mut stream, METADATA, b"slow").await.is_some());
        assert!(exchange(&mut stream, METADATA, b"throttle").await.is_some());
        // The second is told after its answer, but before a third is looked at.
        assert!(exchange(&mut stream, METADATA, b"x").await.is_some());
        let completed = service.completed.lock().clone();
        let throttled = completed.iter().position(|done| done.mark == 7).unwrap();
        let (slow, throttled) = (completed[throttled - 1], completed[throttled]);
        assert_eq!(
            (slow.api_key, slow.mark, slow.frame_size),
            (METADATA, 0, 14)
        );
        assert!(slow.waited >= Duration::from_millis(45), "{slow:?}");
        // Neither work nor sending takes long, nor is a throttle time that an answer waits.
        let is_short = slow.busy < slow.waited && slow.sending < slow.waited;
        if is_short && throttled.waited < Duration::from_millis(150) {
            return;
        }
    }
    panic!("{:?}", service.completed.lock());
}

#[tokio::test]
async fn a_request_without_a_pause_after_it_does_not_hold_up_what_it_wakes() {
    #[derive(Default)]
    struct Waking {
        waiting: AtomicUsize,
        worked: AtomicUsize,
        /// How many had worked when the waiting one went on.
        worked_before: AtomicUsize,
        wake: Notify,
    }
    impl Service for Waking {
        async fn call(&self, context: RequestContext, _: Bytes) -> Outcome {
            if context.header.api_key == keys::FETCH {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                self.wake.notified().await;
                let worked = self.worked.load(Ordering::SeqCst);
                self.worked_before.store(worked, Ordering::SeqCst);
            } else {
                std::thread::sleep(Duration::from_millis(1));
                self.worked.fetch_add(1, Ordering::SeqCst);
                self.wake.notify_one();
            }
            let mut out = BytesMut::new();
            context.header.encode_response_header(&mut out);
            Outcome::Respond(Response {
                parts: vec![Part::Bytes(out.freeze())],
                ..Response::default()
            })
        }
    }
    let config = config();
    let listener = ListenerConfig::plaintext("PLAINTEXT", "127.0.0.1", 0);
    let listener = BoundListener::bind(listener, &config).unwrap();
    let address = listener.local_address();
    let service = Arc::new(Waking::default());
    let _server = Server::start(vec![listener], config, Arc::clone(&service));
    let mut waiting = TcpStream::connect(address).await.unwrap();
    let mut working = TcpStream::connect(address).await.unwrap();
    let fetch = request(keys::FETCH, 0, 1, b"");
    waiting.write_all(&fetch).await.unwrap();
    while service.waiting.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let requests: Vec<u8> = (0..50)
        .flat_map(|id| request(METADATA, 0, id, b"").to_vec())
        .collect();
    working.write_all(&requests).await.unwrap();
    assert!(read_frame(&mut waiting).await.is_some());
    assert!(service.worked_before.load(Ordering::SeqCst) < 5);
}
