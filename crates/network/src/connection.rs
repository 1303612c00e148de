//! One connection: requests in, one at a time, responses out in the same order.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use ottla_protocol::{Api, HeaderError, RequestHeader, keys};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::ServerConfig;
use crate::frame::{FrameBuffer, InvalidReceive};
use crate::quotas::ConnectionHandle;
use crate::send::send_parts;
use crate::service::{Completed, ConnectionInfo, Outcome, RequestContext, Service};

/// How often a quiet connection looks at its own age and gives memory back.
const TICK: Duration = Duration::from_secs(10);

/// How long a connection whose requests come without a pause is served before others get their turn.
/// What a request wakes, such as a fetch that waits for the records of a produce, runs on the same
/// thread and not before that.
const TURN: Duration = Duration::from_micros(250);
/// Between two requests: longer than this, and the connection has waited, others had their turn.
const PAUSE: Duration = Duration::from_micros(20);

/// Requests that only wait: when the client goes away or the broker stops while one is in work, its
/// handler is dropped. All others run to their end, for they may be half done.
const WAITING_APIS: [i16; 3] = [keys::FETCH, keys::JOIN_GROUP, keys::SYNC_GROUP];

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The client closed its end, or the connection broke.
    #[error("disconnected")]
    Disconnected,
    /// Nothing came for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
    /// The broker stops, or makes room for another connection.
    #[error("asked to close")]
    Asked,
    /// The handler asks for it and has said why.
    #[error("closed by the handler")]
    ByHandler,
    #[error("{0}")]
    Receive(#[from] InvalidReceive),
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A request that cannot be served or read.
    #[error("{0}")]
    Request(String),
    /// A handler panicked; the panic's own message has been printed.
    #[error("the handler panicked")]
    Panic,
    #[error("{0}")]
    Send(std::io::Error),
}

/// When a request was worked on, without the time before it that it waited for others.
struct Worked {
    from: Instant,
    until: Instant,
}

/// The requests that were served without a pause.
struct Turn {
    began: Instant,
    until: Instant,
}

impl Turn {
    fn beginning(now: Instant) -> Self {
        Turn {
            began: now,
            until: now,
        }
    }

    /// Counts a request in; whether it is time to let others run.
    fn is_over_after(&mut self, worked: &Worked) -> bool {
        if worked.from.saturating_duration_since(self.until) > PAUSE {
            self.began = worked.from;
        }
        self.until = worked.until;
        self.until.saturating_duration_since(self.began) >= TURN
    }
}

/// What one connection works with.
pub(crate) struct Connection<S> {
    pub(crate) service: Arc<S>,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) handle: Arc<ConnectionHandle>,
    /// The server's start: activity is noted relative to it.
    pub(crate) epoch: Instant,
    pub(crate) stream: TcpStream,
}

impl<S: Service> Connection<S> {
    /// Serves the connection until it ends, and says in the log why if it ends badly.
    pub(crate) async fn run(mut self) {
        let end = self.serve().await;
        let id = &self.info.connection_id;
        match end {
            End::Disconnected | End::Idle | End::Asked | End::ByHandler => {
                tracing::debug!(connection = %id, reason = %end, "connection closed");
            }
            End::Receive(error) => {
                let remote = crate::address::host_address(self.info.client_address.ip());
                tracing::warn!(
                    "Unexpected error from /{remote} (channelId={id}); closing connection: {error}"
                );
            }
            End::Header(_) | End::Request(_) | End::Panic => {
                tracing::error!("Closing socket for {id} because of error: {end}");
                tracing::error!("Exception while processing request from {id}: {end}");
            }
            End::Send(error) => {
                tracing::debug!(connection = %id, %error, "response could not be sent");
            }
        }
        self.service.disconnected(&self.info);
    }

    async fn serve(&mut self) -> End {
        let handle = Arc::clone(&self.handle);
        let mut closing = pin!(handle.closing());
        let mut tick = pin!(sleep_until(Instant::now() + self.tick()));
        let mut frames = FrameBuffer::default();
        let mut turn = Turn::beginning(Instant::now());
        loop {
            let frame = match self
                .next_frame(&mut frames, closing.as_mut(), tick.as_mut())
                .await
            {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            let result = self
                .handle_frame(frame, &mut frames, closing.as_mut())
                .await;
            match result {
                Ok(worked) if turn.is_over_after(&worked) => {
                    tokio::task::yield_now().await;
                    turn = Turn::beginning(Instant::now());
                }
                Ok(_) => {}
                Err(end) => return end,
            }
        }
    }

    /// Waits for a request. A request that is there already is taken even if the tick is due, but
    /// not when the connection is asked to end.
    async fn next_frame(
        &mut self,
        frames: &mut FrameBuffer,
        mut closing: Pin<&mut impl Future<Output = ()>>,
        mut tick: Pin<&mut Sleep>,
    ) -> Result<Bytes, End> {
        loop {
            if self.handle.is_closing() {
                return Err(End::Asked);
            }
            if let Some(frame) = frames.next_frame(self.config.socket_request_max_bytes)? {
                return Ok(frame);
            }
            tokio::select! {
                biased;
                read = frames.read_from(&mut self.stream) => match read {
                    Ok(0) | Err(_) => return Err(End::Disconnected),
                    Ok(_) => self.touch(),
                },
                () = closing.as_mut() => return Err(End::Asked),
                () = tick.as_mut() => {
                    let quiet = self.quiet_for();
                    if quiet >= self.config.connections_max_idle {
                        return Err(End::Idle);
                    }
                    if quiet >= TICK {
                        frames.release_if_empty();
                    }
                    let left = self.config.connections_max_idle - quiet;
                    tick.as_mut().reset(Instant::now() + left.min(self.tick()));
                }
            }
        }
    }

    async fn handle_frame(
        &mut self,
        mut frame: Bytes,
        frames: &mut FrameBuffer,
        mut closing: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Worked, End> {
        let frame_size = frame.len();
        let header = RequestHeader::decode(&mut frame)?;
        self.check_served(&header)?;
        let is_waiting = WAITING_APIS.contains(&header.api_key);
        let mut completed = Completed {
            api_key: header.api_key,
            api_version: header.api_version,
            frame_size,
            mark: 0,
            busy: Duration::ZERO,
            waited: Duration::ZERO,
            sending: Duration::ZERO,
        };
        let context = RequestContext {
            connection: Arc::clone(&self.info),
            header,
            frame_size,
        };
        let service = Arc::clone(&self.service);
        let mut call = pin!(AssertUnwindSafe(service.call(context, frame)).catch_unwind());
        let started = Instant::now();
        let mut answered = started;
        let mut first_poll = Some(started);
        // The clock is read once for what ends and what begins: it is not free.
        let call = poll_fn(|task| {
            let polled = first_poll.take().unwrap_or_else(Instant::now);
            let result = call.as_mut().poll(task);
            answered = Instant::now();
            completed.busy += answered - polled;
            result
        });
        let outcome = if is_waiting {
            self.unless_gone(call, frames, closing.as_mut()).await?
        } else {
            call.await
        };
        completed.waited = (answered - started).saturating_sub(completed.busy);
        let mut worked = Worked {
            from: if completed.waited > PAUSE {
                answered
            } else {
                started
            },
            until: answered,
        };
        match outcome.map_err(|_| End::Panic)? {
            Outcome::Respond(response) => {
                completed.mark = response.mark;
                if !response.parts.is_empty() {
                    let sending = send_parts(&self.stream, response.parts);
                    let sent = match response.after_sending {
                        None => sending.await,
                        Some(after) => {
                            let mut busy = Duration::ZERO;
                            let sent = Box::pin(timed(sending, &mut busy)).await;
                            after.tell(busy);
                            sent
                        }
                    };
                    sent.map_err(End::Send)?;
                    let sent_at = Instant::now();
                    completed.sending = sent_at - answered;
                    self.touch_at(sent_at);
                    worked.until = sent_at;
                }
                self.service.completed(&completed);
                mute(response.throttle, closing).await?;
                Ok(worked)
            }
            Outcome::NoResponse => {
                self.service.completed(&completed);
                Ok(worked)
            }
            Outcome::Close => {
                self.service.completed(&completed);
                Err(End::ByHandler)
            }
            Outcome::Malformed(error) => Err(End::Request(error.to_string())),
        }
    }

    /// Waits for a handler, but gives up on it when the client goes away or the connection is asked
    /// to end. Requests that arrive meanwhile are read ahead up to a bound.
    async fn unless_gone<T>(
        &mut self,
        call: impl Future<Output = T>,
        frames: &mut FrameBuffer,
        mut closing: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<T, End> {
        let mut call = pin!(call);
        loop {
            tokio::select! {
                biased;
                result = call.as_mut() => return Ok(result),
                read = frames.read_from(&mut self.stream), if frames.has_room_ahead() => match read {
                    Ok(0) | Err(_) => return Err(End::Disconnected),
                    Ok(_) => self.touch(),
                },
                () = closing.as_mut() => return Err(End::Asked),
            }
        }
    }

    /// Refuses APIs and versions that are not served. ApiVersions in an unknown version goes on to
    /// its handler, which answers it.
    fn check_served(&self, header: &RequestHeader) -> Result<(), End> {
        let api = self.config.apis.served(header.api_key);
        let is_enabled = api.is_some_and(|api| {
            api.key == keys::API_VERSIONS || api.has_version(header.api_version)
        });
        if is_enabled {
            return Ok(());
        }
        let name = Api::find(header.api_key).map_or_else(String::new, Api::enum_name);
        Err(End::Request(format!(
            "Received request api key {name} with version {} which is not enabled",
            header.api_version
        )))
    }

    fn tick(&self) -> Duration {
        TICK.min(self.config.connections_max_idle)
    }

    fn touch(&self) {
        self.touch_at(Instant::now());
    }

    fn touch_at(&self, now: Instant) {
        self.handle.touch((now - self.epoch).as_millis() as u64);
    }

    fn quiet_for(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.handle.last_active_ms()))
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }
}

/// Adds up the time in which a future runs, without that in which it waits.
async fn timed<T>(future: impl Future<Output = T>, busy: &mut Duration) -> T {
    let mut future = pin!(future);
    poll_fn(|task| {
        let polled = Instant::now();
        let result = future.as_mut().poll(task);
        *busy += polled.elapsed();
        result
    })
    .await
}

/// Keeps the connection unread for the time that its client is throttled.
async fn mute(throttle: Duration, closing: Pin<&mut impl Future<Output = ()>>) -> Result<(), End> {
    if throttle.is_zero() {
        return Ok(());
    }
    tokio::select! {
        () = tokio::time::sleep(throttle) => Ok(()),
        () = closing => Err(End::Asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_when_requests_come_without_a_pause() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let worked = |from, until| Worked {
            from: at(from),
            until: at(until),
        };
        let mut turn = Turn::beginning(start);
        for request in 0..4 {
            assert!(!turn.is_over_after(&worked(request * 60, request * 60 + 50)));
        }
        assert!(turn.is_over_after(&worked(240, 290)));

        let mut turn = Turn::beginning(start);
        for request in 0..10 {
            assert!(!turn.is_over_after(&worked(request * 100, request * 100 + 50)));
        }
        assert!(turn.is_over_after(&worked(1000, 1300)));
    }
}
