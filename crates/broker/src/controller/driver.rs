//! The task that owns the controller: events in, actions performed in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_controller::{
    Action, Answer, ApiRequest, Controller, ControllerConfig, Event, Now, Token, View,
};
use ottla_coordination::{Event as SessionEventOrReply, SessionEvent};
use ottla_model::BrokerId;
use tokio::sync::{mpsc, oneshot};

use super::channel::{Channel, Transport};
use super::settings::RequestVersions;
use crate::clock::Clock;
use crate::coordination::{CoordinationHandle, Notice};
use crate::metrics::ControllerTimes;

/// What the task is given.
pub(super) enum Input {
    /// To pass on.
    Event(Event),
    /// To ask the controller.
    Ask {
        request: ApiRequest,
        answer: oneshot::Sender<Answer>,
    },
    /// To end.
    ShutDown { done: oneshot::Sender<()> },
}

pub(super) struct Driver {
    controller: Controller,
    coordination: Arc<CoordinationHandle>,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// Whether the session has ended and the next one is not open yet.
    is_expired: bool,
    clock: Clock,
    transport: Transport,
    versions: RequestVersions,
    inputs: mpsc::UnboundedSender<Input>,
    view: Arc<ArcSwap<View>>,
    times: Arc<ControllerTimes>,
    channels: BTreeMap<BrokerId, Channel>,
    callers: BTreeMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
}

impl Driver {
    pub(super) fn new(
        config: ControllerConfig,
        (coordination, notices, session_id): (
            Arc<CoordinationHandle>,
            mpsc::UnboundedReceiver<Notice>,
            i64,
        ),
        clock: Clock,
        (transport, versions): (Transport, RequestVersions),
        inputs: mpsc::UnboundedSender<Input>,
        (view, times): (Arc<ArcSwap<View>>, Arc<ControllerTimes>),
        seed: u64,
    ) -> Self {
        Self {
            controller: Controller::new(config, session_id, seed),
            coordination,
            notices,
            is_expired: false,
            clock,
            transport,
            versions,
            inputs,
            view,
            times,
            channels: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// Until the shutdown. Notices of the session come first, so that a watch is known before the
    /// reply that shows its change.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Input>) {
        loop {
            let deadline = self.controller.next_deadline();
            let tick = tokio::time::sleep_until(
                self.clock
                    .tokio_deadline(deadline.unwrap_or(self.clock.now())),
            );
            tokio::select! {
                biased;
                Some(notice) = self.notices.recv() => self.notice(notice),
                Some(input) = inbox.recv() => match input {
                    Input::Event(event) => self.handle(event),
                    Input::Ask { request, answer } => self.ask(request, answer),
                    Input::ShutDown { done } => {
                        self.handle(Event::Shutdown);
                        // Nobody waits for it if the receiver is gone.
                        _ = done.send(());
                        return;
                    }
                },
                () = tick, if deadline.is_some() => self.handle(Event::Tick),
                else => return,
            }
        }
    }

    fn ask(&mut self, request: ApiRequest, answer: oneshot::Sender<Answer>) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.callers.insert(token, answer);
        self.handle(Event::request(token, request));
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Watch(watch) => {
                self.handle(Event::Coordination(SessionEventOrReply::Watch(watch)));
            }
            Notice::Session(change) => {
                self.handle(Event::Coordination(SessionEventOrReply::Session(change)));
                match change {
                    SessionEvent::Expired => self.is_expired = true,
                    SessionEvent::Connected if std::mem::take(&mut self.is_expired) => {
                        // The controller registers the broker again.
                        let session_id = self.coordination.session_id();
                        self.handle(Event::SessionEstablished { session_id });
                    }
                    SessionEvent::Connected | SessionEvent::Disconnected => {}
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Now {
            monotonic: self.clock.now(),
            wall: self.clock.wall(),
        };
        let is_reply = matches!(
            event,
            Event::Coordination(SessionEventOrReply::Reply { .. })
        );
        let mut actions = Vec::new();
        self.controller.handle(now, event, &mut actions);
        if is_reply && actions.is_empty() && self.controller.finished().is_empty() {
            // One of the thousands of answers for which a new controller waits: nothing is new.
            return;
        }
        // First, so that whoever is answered sees the state that the answer tells of.
        self.view.store(Arc::new(self.controller.view()));
        for &(state, begun) in self.controller.finished() {
            self.times.record(state, self.clock.now().since(begun));
        }
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Coordinate { id, request } => {
                let inputs = self.inputs.clone();
                self.coordination.submit(request, move |result| {
                    let reply = SessionEventOrReply::Reply { id, result };
                    // The driver may have ended meanwhile.
                    _ = inputs.send(Input::Event(Event::Coordination(reply)));
                });
            }
            Action::BrokerAdded(broker) => {
                let id = broker.id;
                let inputs = self.inputs.clone();
                let answered = move |request, response| {
                    let event = Event::ControlAnswered {
                        broker: id,
                        request,
                        response,
                    };
                    // The driver may have ended meanwhile.
                    _ = inputs.send(Input::Event(event));
                };
                let channel =
                    Channel::open(self.transport.clone(), self.versions, broker, answered);
                self.channels.insert(id, channel);
            }
            Action::BrokerRemoved(id) => drop(self.channels.remove(&id)),
            Action::Send { broker, request } => {
                if let Some(channel) = self.channels.get(&broker) {
                    channel.send(request);
                }
            }
            Action::Answer { token, answer } => {
                if let Some(caller) = self.callers.remove(&token) {
                    // A caller that has gone away needs no answer.
                    _ = caller.send(answer);
                }
            }
            Action::BrokerRegistered(epoch) => {
                tracing::info!(%epoch, "registered again");
                self.transport.receiver.registered(epoch);
            }
            Action::Elected(epoch) => tracing::info!(%epoch, "this broker is the controller now"),
            Action::Resigned => tracing::info!("this broker is no longer the controller"),
        }
    }
}
