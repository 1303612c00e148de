//! One connection to one server, up to the point where requests may be sent.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::connect_string::ServerAddress;
use crate::jute::{Malformed, Reader};
use crate::security::{DigestClient, DigestCredentials, Tls};
use crate::wire::{self, ConnectRequest, ConnectResponse, ReplyHeader};

/// More than any list of children. A frame's memory is taken as its bytes arrive.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What is read at once at most.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// Bytes to a server and back.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A session as the ensemble knows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) session_id: i64,
    /// What another server wants to see before it takes the session up.
    pub(crate) password: Bytes,
    pub(crate) timeout: Duration,
}

/// A connection that is ready for requests.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    /// What has arrived and is not taken yet.
    pub(crate) input: BytesMut,
    pub(crate) granted: Granted,
}

/// Why a server could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it did not answer in time")]
    Timeout,
    /// The session has ended.
    #[error("the session has expired")]
    Expired,
    /// Another server would say the same.
    #[error("authentication failed: {0}")]
    Authentication(String),
}

/// What is said to a server before requests.
pub(crate) struct Greeting<'a> {
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) credentials: Option<&'a DigestCredentials>,
    /// Proposed.
    pub(crate) session_timeout: Duration,
    /// The session to take up.
    pub(crate) session: Option<&'a Granted>,
    pub(crate) last_zxid: i64,
}

impl Connection {
    /// Connects, and takes up the session or opens one.
    pub(crate) async fn open(
        server: &ServerAddress,
        greeting: &Greeting<'_>,
    ) -> Result<Self, ConnectError> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match greeting.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(tls.connect(&server.host, tcp).await?),
        };
        let mut connection = Self {
            stream,
            input: BytesMut::new(),
            granted: Granted {
                session_id: 0,
                password: Bytes::new(),
                timeout: Duration::ZERO,
            },
        };
        connection.greet(greeting).await?;
        if let Some(credentials) = greeting.credentials {
            connection.authenticate(credentials).await?;
        }
        Ok(connection)
    }

    async fn greet(&mut self, greeting: &Greeting<'_>) -> Result<(), ConnectError> {
        let mut out = BytesMut::new();
        ConnectRequest {
            last_zxid: greeting.last_zxid,
            timeout_ms: i32::try_from(greeting.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: greeting.session.map_or(0, |session| session.session_id),
            password: greeting
                .session
                .map_or(&[0; 16], |session| &session.password),
        }
        .encode(&mut out);
        self.send(&out).await?;
        let response = ConnectResponse::decode(self.receive().await?)?;
        let timeout_ms = u64::try_from(response.timeout_ms).unwrap_or(0);
        if timeout_ms == 0 {
            return Err(ConnectError::Expired);
        }
        self.granted = Granted {
            session_id: response.session_id,
            password: Bytes::copy_from_slice(&response.password),
            timeout: Duration::from_millis(timeout_ms),
        };
        Ok(())
    }

    /// SASL by DIGEST-MD5: the server speaks first, after an empty message.
    async fn authenticate(&mut self, credentials: &DigestCredentials) -> Result<(), ConnectError> {
        let failed = ConnectError::Authentication;
        let challenge = self.sasl(1, b"").await?;
        let mut client = DigestClient::new(credentials);
        let nonce = random_hex().map_err(|error| failed(error.to_string()))?;
        let response = client
            .respond(&challenge, &nonce)
            .map_err(|error| failed(error.to_string()))?;
        let confirmation = self.sasl(2, response.as_bytes()).await?;
        client
            .confirm(&confirmation)
            .map_err(|error| failed(error.to_string()))
    }

    async fn sasl(&mut self, xid: i32, token: &[u8]) -> Result<Bytes, ConnectError> {
        let mut out = BytesMut::new();
        wire::put_sasl(&mut out, xid, token);
        self.send(&out).await?;
        let mut reader = Reader::new(self.receive().await?);
        let header = ReplyHeader::decode(&mut reader)?;
        if header.xid != xid {
            return Err(Malformed("an answer to what was not asked").into());
        }
        match header.error {
            0 => Ok(reader.buffer()?.unwrap_or_default()),
            code => Err(ConnectError::Authentication(format!(
                "the server refused the credentials with code {code}"
            ))),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn receive(&mut self) -> Result<Bytes, ConnectError> {
        loop {
            if let Some(frame) = take_frame(&mut self.input)? {
                return Ok(frame);
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// The next frame without its length, if it is whole.
pub(crate) fn take_frame(input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(Malformed("a frame of an impossible length"));
    }
    if input.len() - 4 < length {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length).freeze()))
}

fn random_hex() -> Result<String, getrandom::Error> {
    use std::fmt::Write as _;
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let mut text = String::new();
    for byte in bytes {
        // A string takes everything.
        write!(text, "{byte:02x}").ok();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let mut input = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x01"[..]);
        assert_eq!(take_frame(&mut input), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(take_frame(&mut input), Ok(None));
        input.extend_from_slice(b"c");
        assert_eq!(take_frame(&mut input), Ok(Some(Bytes::from_static(b"c"))));
        assert_eq!(take_frame(&mut input), Ok(None));
        for bad in [&b"\xff\xff\xff\xff"[..], b"\x7f\0\0\0"] {
            assert!(take_frame(&mut BytesMut::from(bad)).is_err());
        }
    }
}
