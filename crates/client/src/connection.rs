//! One connection to one broker: requests go out in order and are answered in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Request, StrBytes};
use ottla_network::frame::FrameBuffer;
use ottla_network::send::send_parts;
use ottla_protocol::fetch::{FetchRequest, FetchResponse};
use ottla_protocol::produce::ProduceRequest;
use ottla_protocol::{
    Api, DecodeError, Part, RequestHeader, decode_response, encode_request, keys,
};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ClientError;

/// How a connection is made and how long it waits.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// The name given in every request's header.
    pub client_id: String,
    /// The most time to connect.
    pub connect_timeout: Duration,
    /// The most time between sending a request and having its response.
    pub request_timeout: Duration,
    /// The largest response, in bytes.
    pub response_bytes_max: usize,
}

impl ConnectionConfig {
    /// Kafka's client timeouts: 10 s to connect, 30 s for a response.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            response_bytes_max: i32::MAX as usize,
        }
    }
}

/// A connection. Clones share it; it ends when the last is dropped. Calls may overlap: their
/// requests are sent in the order of the calls. A call that is dropped still lets its response be
/// read and thrown away.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: String,
    client_id: StrBytes,
    request_timeout: Duration,
    next_correlation_id: AtomicI32,
    outgoing: Mutex<Option<mpsc::UnboundedSender<Outgoing>>>,
    closed: watch::Sender<bool>,
}

/// A request on its way: its frame, and where its response goes if it has one.
struct Outgoing {
    parts: Vec<Part>,
    response: Option<oneshot::Sender<Bytes>>,
}

/// The versions that a broker says it speaks, by API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRanges(pub BTreeMap<i16, (i16, i16)>);

impl VersionRanges {
    /// The highest version of `R` that both sides speak.
    pub fn highest<R: Request>(&self) -> Result<i16, ClientError> {
        let ours = Api::find(R::KEY);
        let name = ours.map_or("an unknown API", |api| api.name);
        let (min, max) = ours.map_or((0, -1), |api| (api.min_version, api.max_version));
        let theirs = self.0.get(&R::KEY).copied().unwrap_or((0, -1));
        let highest = max.min(theirs.1);
        if highest < min.max(theirs.0) {
            return Err(ClientError::NoCommonVersion {
                api: name,
                min,
                max,
            });
        }
        Ok(highest)
    }
}

impl Connection {
    /// Connects to a broker. Nothing is sent yet: brokers among each other do not ask for versions.
    pub async fn connect(
        host: &str,
        port: u16,
        config: &ConnectionConfig,
    ) -> Result<Self, ClientError> {
        let address = format!("{host}:{port}");
        let failed = |error| ClientError::Connect {
            address: address.clone(),
            error,
        };
        let connecting = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(config.connect_timeout, connecting)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (outgoing, requests) = mpsc::unbounded_channel();
        let (closed, _) = watch::channel(false);
        let worker = Worker {
            response_bytes_max: config.response_bytes_max,
            waiting: Mutex::default(),
        };
        tokio::spawn(worker.run(stream, requests, closed.subscribe()));
        Ok(Self {
            inner: Arc::new(Inner {
                address,
                client_id: config.client_id.clone().into(),
                request_timeout: config.request_timeout,
                next_correlation_id: AtomicI32::new(0),
                outgoing: Mutex::new(Some(outgoing)),
                closed,
            }),
        })
    }

    /// `host:port` as asked for.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Whether requests on this connection can no longer succeed.
    pub fn is_closed(&self) -> bool {
        let outgoing = self.inner.outgoing.lock();
        outgoing
            .as_ref()
            .is_none_or(mpsc::UnboundedSender::is_closed)
    }

    /// Ends the connection; requests in flight fail.
    pub fn close(&self) {
        self.inner.outgoing.lock().take();
        self.inner.closed.send_replace(true);
    }

    /// Sends a request in a version and waits for its response.
    pub async fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let header = self.header(R::KEY, version);
        let frame = encode_request(&header, request)?;
        let response = self.exchange(vec![Part::Bytes(frame)], None).await?;
        self.decoded(decode_response::<R>(
            version,
            header.correlation_id,
            response,
        ))
    }

    /// Sends Produce without copying its records. With `acks` 0 there is no response: `None` when
    /// the request is on its way.
    pub async fn produce(
        &self,
        request: &ProduceRequest,
        version: i16,
    ) -> Result<Option<kafka_protocol::messages::ProduceResponse>, ClientError> {
        let header = self.header(keys::PRODUCE, version);
        let parts = request.encode(&header)?;
        if request.acks == 0 {
            self.queue(parts, None)?;
            return Ok(None);
        }
        let response = self.exchange(parts, None).await?;
        self.decoded(decode_response::<kafka_protocol::messages::ProduceRequest>(
            version,
            header.correlation_id,
            response,
        ))
        .map(Some)
    }

    /// Sends Fetch; its records are slices of the response's frame. The time that the broker may
    /// hold the request comes on top of the time for a response.
    pub async fn fetch(
        &self,
        request: &FetchRequest,
        version: i16,
    ) -> Result<FetchResponse, ClientError> {
        let header = self.header(keys::FETCH, version);
        let frame = request.encode(&header)?;
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let timeout = self.inner.request_timeout + Duration::from_millis(wait);
        let response = self
            .exchange(vec![Part::Bytes(frame)], Some(timeout))
            .await?;
        self.decoded(FetchResponse::decode(
            version,
            header.correlation_id,
            response,
        ))
    }

    /// Asks which versions the broker speaks.
    pub async fn api_versions(&self) -> Result<VersionRanges, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ottla"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let response = self.send(&request, 3).await?;
        let keys = response.api_keys.iter();
        Ok(VersionRanges(
            keys.map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect(),
        ))
    }

    fn header(&self, api_key: i16, api_version: i16) -> RequestHeader {
        RequestHeader {
            api_key,
            api_version,
            correlation_id: self
                .inner
                .next_correlation_id
                .fetch_add(1, Ordering::Relaxed),
            client_id: Some(self.inner.client_id.clone()),
        }
    }

    async fn exchange(
        &self,
        parts: Vec<Part>,
        timeout: Option<Duration>,
    ) -> Result<Bytes, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.queue(parts, Some(sender))?;
        let timeout = timeout.unwrap_or(self.inner.request_timeout);
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(self.disconnected()),
            Err(_) => {
                self.close();
                Err(ClientError::Timeout {
                    address: self.inner.address.clone(),
                    timeout,
                })
            }
        }
    }

    fn queue(
        &self,
        parts: Vec<Part>,
        response: Option<oneshot::Sender<Bytes>>,
    ) -> Result<(), ClientError> {
        let outgoing = self.inner.outgoing.lock();
        let sent = outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.send(Outgoing { parts, response }).is_ok());
        if sent {
            Ok(())
        } else {
            Err(self.disconnected())
        }
    }

    fn decoded<T>(&self, result: Result<T, DecodeError>) -> Result<T, ClientError> {
        result.map_err(|error| {
            self.close();
            error.into()
        })
    }

    fn disconnected(&self) -> ClientError {
        ClientError::Disconnected(self.inner.address.clone())
    }
}

/// The connection's two directions, until one of them ends.
struct Worker {
    response_bytes_max: usize,
    /// Where responses go, in the order of the requests. Dropped with the worker, by which all who
    /// wait learn that the connection has ended.
    waiting: Mutex<VecDeque<oneshot::Sender<Bytes>>>,
}

impl Worker {
    async fn run(
        self,
        stream: TcpStream,
        requests: mpsc::UnboundedReceiver<Outgoing>,
        mut closed: watch::Receiver<bool>,
    ) {
        let (reading, writing) = stream.into_split();
        let end = tokio::select! {
            end = self.write(&writing, requests) => end,
            end = self.read(reading) => end,
            // Either asked to close, or nobody holds the connection any more.
            _ = closed.wait_for(|closed| *closed) => "closed",
        };
        tracing::debug!(end, "connection to a broker ended");
    }

    async fn write(
        &self,
        stream: &OwnedWriteHalf,
        mut requests: mpsc::UnboundedReceiver<Outgoing>,
    ) -> &'static str {
        while let Some(Outgoing { parts, response }) = requests.recv().await {
            if let Some(response) = response {
                self.waiting.lock().push_back(response);
            }
            if send_parts(stream.as_ref(), parts).await.is_err() {
                return "broken while sending";
            }
        }
        "closed"
    }

    async fn read(&self, mut stream: OwnedReadHalf) -> &'static str {
        let mut frames = FrameBuffer::default();
        loop {
            match frames.next_frame(self.response_bytes_max) {
                Ok(Some(frame)) => {
                    let Some(waiting) = self.waiting.lock().pop_front() else {
                        return "a response to no request";
                    };
                    // Nobody waits any more if the call was dropped.
                    let _ = waiting.send(frame);
                }
                Ok(None) => match frames.read_from(&mut stream).await {
                    Ok(0) => return "closed by the broker",
                    Ok(_) => {}
                    Err(_) => return "broken while receiving",
                },
                Err(_) => return "a response with an impossible length",
            }
        }
    }
}
