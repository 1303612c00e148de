//! The task that owns a session: it keeps requests in order and merges answers, watches and state
//! changes into one stream.
//!
//! A reply is held back until every watch that has fired by then is delivered, and a watch counts
//! only after the read that armed it was delivered. So no reply shows a change before its watch.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, StreamExt as _};
use ottla_coordination::{Error, Event, EventSink, Request, RequestId, SessionEvent};
use tokio::sync::mpsc::UnboundedReceiver;
use zookeeper_client::{Client, SessionState};

use crate::requests::{Answer, Pending, send};
use crate::watches::Watches;

/// What the handle asks of the task.
pub(crate) enum Command {
    /// Send a request.
    Submit(RequestId, Request),
    /// End the session after what was submitted before.
    Close(SyncSender<()>),
}

/// The task's state.
pub(crate) struct Driver {
    client: Client,
    states: BoxStream<'static, SessionState>,
    connected: bool,
    commands: UnboundedReceiver<Command>,
    sink: Arc<EventSink>,
    in_flight_max: usize,
    /// Not sent yet.
    queue: VecDeque<(RequestId, Request)>,
    /// Sent, in order.
    in_flight: VecDeque<InFlight>,
    watches: Watches,
    closing: Vec<SyncSender<()>>,
    handle_is_gone: bool,
}

struct InFlight {
    id: RequestId,
    request: Request,
    state: Flight,
}

enum Flight {
    Sent(Pending),
    Answered(Answer),
}

/// How the task ended.
pub(crate) struct Ended {
    /// Who waits for the end.
    pub(crate) closing: Vec<SyncSender<()>>,
    /// What still arrives is to be refused.
    pub(crate) commands: UnboundedReceiver<Command>,
    /// Whether the session has ended by itself; else dropping the client ends it.
    pub(crate) expired: bool,
}

impl Driver {
    pub(crate) fn new(
        client: Client,
        commands: UnboundedReceiver<Command>,
        sink: Arc<EventSink>,
        in_flight_max: usize,
    ) -> Self {
        let watcher = client.state_watcher();
        let states = futures_util::stream::unfold(watcher, |mut watcher| async move {
            Some((watcher.changed().await, watcher))
        });
        Self {
            client,
            states: states.boxed(),
            connected: true,
            commands,
            sink,
            in_flight_max: in_flight_max.max(1),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            watches: Watches::default(),
            closing: Vec::new(),
            handle_is_gone: false,
        }
    }

    /// Runs until the session has ended or is to be closed; then the client is dropped. When the
    /// client says that the session has ended, `over` tells when that is so for the server too.
    pub(crate) async fn run(mut self, over: impl Future<Output = ()>) -> Ended {
        self.tell(Event::Session(SessionEvent::Connected));
        let expired = std::future::poll_fn(|context| self.step(context)).await;
        if expired {
            if std::mem::replace(&mut self.connected, false) {
                self.tell(Event::Session(SessionEvent::Disconnected));
            }
            self.wait_until(over).await;
        }
        self.refuse_all();
        if expired {
            self.tell(Event::Session(SessionEvent::Expired));
        }
        Ended {
            closing: self.closing,
            commands: self.commands,
            expired,
        }
    }

    /// Waits, and keeps what is asked meanwhile; the wish to close ends the wait.
    async fn wait_until(&mut self, over: impl Future<Output = ()>) {
        let mut over = std::pin::pin!(over);
        std::future::poll_fn(|context| {
            self.take_commands(context);
            if !self.closing.is_empty() || self.handle_is_gone {
                return Poll::Ready(());
            }
            over.as_mut().poll(context)
        })
        .await;
    }

    /// Does all that can be done now. Ready when the session is over: true if it ended by itself.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            self.take_commands(context);
            if self.take_states(context) {
                return Poll::Ready(true);
            }
            self.send_queued();
            self.poll_in_flight(context);
            self.deliver_watches(context);
            if self.deliver_reply() {
                continue;
            }
            let idle = self.queue.is_empty() && self.in_flight.is_empty();
            // Without a connection nothing can be waited for: who closes wants to be gone.
            if (idle || !self.connected) && (!self.closing.is_empty() || self.handle_is_gone) {
                return Poll::Ready(false);
            }
            return Poll::Pending;
        }
    }

    fn take_commands(&mut self, context: &mut Context<'_>) {
        while !self.handle_is_gone {
            match self.commands.poll_recv(context) {
                Poll::Ready(Some(Command::Submit(id, request))) => {
                    self.queue.push_back((id, request));
                }
                Poll::Ready(Some(Command::Close(closed))) => self.closing.push(closed),
                Poll::Ready(None) => self.handle_is_gone = true,
                Poll::Pending => return,
            }
        }
    }

    /// Follows the client's states; gives whether the session has ended.
    fn take_states(&mut self, context: &mut Context<'_>) -> bool {
        while let Poll::Ready(Some(state)) = self.states.poll_next_unpin(context) {
            match state {
                SessionState::SyncConnected | SessionState::ConnectedReadOnly => {
                    if !std::mem::replace(&mut self.connected, true) {
                        self.tell(Event::Session(SessionEvent::Connected));
                    }
                }
                SessionState::Disconnected => {
                    if std::mem::replace(&mut self.connected, false) {
                        self.tell(Event::Session(SessionEvent::Disconnected));
                    }
                }
                SessionState::Expired | SessionState::AuthFailed | SessionState::Closed => {
                    return true;
                }
            }
        }
        false
    }

    /// Sends while the cap allows; first those again that were under way when the connection broke.
    fn send_queued(&mut self) {
        if self.client.state() != SessionState::SyncConnected {
            return;
        }
        for flight in &mut self.in_flight {
            let Flight::Answered(answer) = &flight.state else {
                continue;
            };
            if matches!(answer.result, Err(Error::ConnectionLoss)) {
                let pending = send(self.client.clone(), flight.request.clone());
                flight.state = Flight::Sent(pending);
            }
        }
        while self.in_flight.len() < self.in_flight_max {
            let Some((id, request)) = self.queue.pop_front() else {
                return;
            };
            let pending = send(self.client.clone(), request.clone());
            self.in_flight.push_back(InFlight {
                id,
                request,
                state: Flight::Sent(pending),
            });
        }
    }

    /// Polling in order also sends in order: a request goes out when it is polled first.
    fn poll_in_flight(&mut self, context: &mut Context<'_>) {
        for flight in &mut self.in_flight {
            if let Flight::Sent(pending) = &mut flight.state
                && let Poll::Ready(answer) = pending.as_mut().poll(context)
            {
                flight.state = Flight::Answered(answer);
            }
        }
    }

    fn deliver_watches(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(event) = self.watches.poll_next(context) {
            self.tell(Event::Watch(event));
        }
    }

    /// Delivers the first reply if it is there; gives whether to go on.
    fn deliver_reply(&mut self) -> bool {
        let is_final = |flight: &InFlight| match &flight.state {
            Flight::Sent(_) => false,
            Flight::Answered(answer) => !matches!(answer.result, Err(Error::ConnectionLoss)),
        };
        if !self.in_flight.front().is_some_and(is_final) {
            return false;
        }
        if let Some(InFlight {
            id,
            request,
            state: Flight::Answered(answer),
        }) = self.in_flight.pop_front()
        {
            self.tell(Event::Reply {
                id,
                result: answer.result,
            });
            if let Some(watcher) = answer.watcher {
                self.watches.arm(&request, watcher);
            }
        }
        true
    }

    fn refuse_all(&mut self) {
        for flight in std::mem::take(&mut self.in_flight) {
            let result = match flight.state {
                // What was answered before the end was answered.
                Flight::Answered(Answer { result, .. }) if result != Err(Error::ConnectionLoss) => {
                    result
                }
                Flight::Answered(_) | Flight::Sent(_) => Err(Error::SessionExpired),
            };
            self.tell(Event::Reply {
                id: flight.id,
                result,
            });
        }
        for (id, _) in std::mem::take(&mut self.queue) {
            self.tell(Event::Reply {
                id,
                result: Err(Error::SessionExpired),
            });
        }
    }

    fn tell(&self, event: Event) {
        (self.sink)(event);
    }
}
