//! The driver of this broker's controller, its channels to brokers, and this broker's own wishes
//! to whoever is controller.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ottla_controller::event::{AlterPartition, TopicReference};
use ottla_controller::{Action, Answer, ApiRequest, Event, Now, Token};
use ottla_coordination::SessionEvent;
use ottla_model::control::ControlRequest;
use ottla_model::{BrokerId, ErrorCode, Instant, TopicId, TopicPartition};
use ottla_replication::IsrProposal;
use ottla_replication::isr_manager::{IsrAnswer, IsrChange};
use ottla_replication::partition::{IsrOutcome, Surroundings};

use super::{Io, Process, Purpose, Stopping};
use crate::message::{CallId, FromEnsemble, Lane, Output, Request, Response};

/// Pause before an order, or a request to the controller, is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(100);
/// `controlled.shutdown.retry.backoff.ms`
const SHUTDOWN_BACKOFF: Duration = Duration::from_secs(1);
/// `controlled.shutdown.max.retries` and the first try.
pub(crate) const SHUTDOWN_TRIES: u32 = 4;

/// The controller's channel to one broker: one order in flight, sent again until it is answered.
#[derive(Default)]
pub(super) struct Channel {
    queue: VecDeque<Arc<ControlRequest>>,
    in_flight: Option<CallId>,
    retry_at: Option<Instant>,
}

impl Channel {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

/// ISR changes that have been taken from the manager and have no answer yet.
pub(super) struct IsrRequest {
    sent: Vec<(TopicPartition, IsrChange)>,
    in_flight: Option<CallId>,
    pub(super) retry_at: Option<Instant>,
}

// The controller.
impl Process {
    pub(super) fn tell_controller(&mut self, event: Event, io: &mut Io<'_>) {
        let now = Now {
            monotonic: io.now,
            wall: io.wall,
        };
        let mut actions = Vec::new();
        self.controller.handle(now, event, &mut actions);
        for action in actions {
            self.perform(action, io);
        }
    }

    fn perform(&mut self, action: Action, io: &mut Io<'_>) {
        match action {
            Action::Coordinate { id, request } => io.outputs.push(Output::Coordinate {
                session: self.session,
                id,
                request,
            }),
            Action::BrokerAdded(broker) => {
                self.channels.insert(broker.id, Channel::default());
            }
            Action::BrokerRemoved(id) => {
                if let Some(call) = self.channels.remove(&id).and_then(|c| c.in_flight) {
                    self.calls.remove(&call);
                }
            }
            Action::Send { broker, request } => {
                if let Some(channel) = self.channels.get_mut(&broker) {
                    channel.queue.push_back(request);
                }
            }
            Action::Answer { token, answer } => {
                if let Some(call) = self.callers.remove(&token) {
                    io.reply(call, Response::Controller(answer));
                }
            }
            Action::BrokerRegistered(_) | Action::Elected(_) | Action::Resigned => {}
        }
    }

    pub(super) fn on_api_request(&mut self, call: CallId, request: ApiRequest, io: &mut Io<'_>) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.callers.insert(token, call);
        self.tell_controller(Event::request(token, request), io);
    }

    pub(crate) fn on_coordination(&mut self, session: i64, event: FromEnsemble, io: &mut Io<'_>) {
        match event {
            FromEnsemble::Opened(session_id) => {
                self.session = session_id;
                self.tell_controller(Event::SessionEstablished { session_id }, io);
            }
            FromEnsemble::Event(event) if session == self.session => {
                let expired = event == ottla_coordination::Event::Session(SessionEvent::Expired);
                self.tell_controller(Event::Coordination(event), io);
                if expired {
                    io.outputs.push(Output::OpenSession);
                }
            }
            // From a session that has been replaced.
            FromEnsemble::Event(_) => {}
        }
        self.settle(io);
    }

    /// Sends the next order on every idle channel.
    pub(super) fn send_orders(&mut self, io: &mut Io<'_>) {
        for (broker, channel) in &mut self.channels {
            if channel.in_flight.is_some() || channel.retry_at.is_some_and(|at| at > io.now) {
                continue;
            }
            let Some(request) = channel.queue.front() else {
                continue;
            };
            channel.retry_at = None;
            let request = Arc::clone(request);
            let call = io.call(
                *broker,
                Lane::Control,
                Request::Control(Arc::clone(&request)),
            );
            channel.in_flight = Some(call);
            let broker = *broker;
            self.calls
                .insert(call, Purpose::Control { broker, request });
        }
    }

    pub(super) fn on_control_answer(
        &mut self,
        broker: BrokerId,
        request: Arc<ControlRequest>,
        response: Option<Response>,
        io: &mut Io<'_>,
    ) {
        let Some(channel) = self.channels.get_mut(&broker) else {
            return;
        };
        channel.in_flight = None;
        let Some(Response::Control(response)) = response else {
            channel.retry_at = Some(io.now + RESEND_PAUSE);
            return;
        };
        channel.queue.pop_front();
        let event = Event::ControlAnswered {
            broker,
            request,
            response,
        };
        self.tell_controller(event, io);
    }
}

// Changes of in-sync replicas.
impl Process {
    /// Queues a proposal; if another one of the partition still waits, it is taken back.
    pub(super) fn submit_isr_change(&mut self, tp: &TopicPartition, proposal: IsrProposal) {
        let Some(replica) = self.replicas.get_mut(tp) else {
            return;
        };
        let topic_id = replica.log.as_ref().and_then(ottla_storage::Log::topic_id);
        let change = IsrChange {
            topic_id: topic_id.unwrap_or(TopicId::ZERO),
            proposal: proposal.clone(),
            controller_epoch: replica.partition.controller_epoch(),
        };
        if let Err(error) = self.isr_manager.submit(tp.clone(), change) {
            replica
                .partition
                .complete_isr_change(&proposal, &Err(error));
        }
    }

    /// Sends what waits, to the broker that is controller as far as this one knows.
    pub(super) fn send_isr_changes(&mut self, io: &mut Io<'_>) {
        if self.isr_request.is_none() {
            let sent = self.isr_manager.next_request(io.now);
            self.isr_request = sent.map(|sent| IsrRequest {
                sent,
                in_flight: None,
                retry_at: None,
            });
        }
        let view = self.view();
        let Some(waiting) = &mut self.isr_request else {
            return;
        };
        if waiting.in_flight.is_some() || waiting.retry_at.is_some_and(|at| at > io.now) {
            return;
        }
        let Some(controller) = view.active_controller_id.some() else {
            waiting.retry_at = Some(io.now + RESEND_PAUSE);
            return;
        };
        waiting.retry_at = None;
        let partitions = waiting.sent.iter().map(|(tp, change)| AlterPartition {
            topic: TopicReference::Id(change.topic_id),
            partition: tp.partition,
            leader_epoch: change.proposal.leader_epoch,
            new_isr: change.proposal.isr.clone(),
            recovery: change.proposal.recovery,
            partition_epoch: change.proposal.partition_epoch,
        });
        let request = Request::Controller(ApiRequest::AlterPartition {
            broker: self.id,
            broker_epoch: view.broker_epoch,
            knows_ineligible_replica: true,
            partitions: partitions.collect(),
        });
        let call = io.call(controller, Lane::ToController, request);
        waiting.in_flight = Some(call);
        let sent = waiting.sent.clone();
        self.calls.insert(call, Purpose::IsrChanges { sent });
    }

    pub(super) fn on_isr_answer(
        &mut self,
        sent: Vec<(TopicPartition, IsrChange)>,
        response: Option<Response>,
        io: &mut Io<'_>,
    ) {
        let answer = match response {
            Some(Response::Controller(Answer::AlterPartition(answer))) => answer,
            _ => Err(ErrorCode::NotController),
        };
        let response = match answer {
            // The channel looks for the controller and sends the same again.
            Err(ErrorCode::NotController) => {
                if let Some(waiting) = &mut self.isr_request {
                    waiting.in_flight = None;
                    waiting.retry_at = Some(io.now + RESEND_PAUSE);
                }
                return;
            }
            Err(error) => Err(error),
            Ok(results) => Ok(results
                .into_iter()
                .filter_map(|result| {
                    let named = |(tp, change): &&(TopicPartition, IsrChange)| {
                        tp.partition == result.partition
                            && result.topic == TopicReference::Id(change.topic_id)
                    };
                    let (tp, _) = sent.iter().find(named)?;
                    Some((tp.clone(), result.result.clone()))
                })
                .collect::<Vec<IsrAnswer>>()),
        };
        self.isr_request = None;
        let answered = self.isr_manager.handle_response(io.now, &sent, response);
        for (tp, change, answer) in answered {
            self.touched.insert(tp.clone());
            let Some(replica) = self.replicas.get_mut(&tp) else {
                continue;
            };
            let outcome = replica
                .partition
                .complete_isr_change(&change.proposal, &answer);
            match outcome {
                IsrOutcome::Committed { .. } => {
                    let around = Surroundings {
                        now: io.now,
                        min_insync_replicas: self.settings.min_insync_replicas,
                        is_alive: &|id| self.metadata.is_alive(id),
                    };
                    replica.advance_high_watermark(&around);
                }
                IsrOutcome::Resubmit => self.submit_isr_change(&tp, change.proposal),
                IsrOutcome::Outdated
                | IsrOutcome::Ignored
                | IsrOutcome::RolledBack
                | IsrOutcome::AwaitsMetadata => {}
            }
        }
    }
}

// The orderly end, and duties.
impl Process {
    /// Begins to leave: the controller is asked to move leaders away.
    pub(crate) fn begin_to_stop(&mut self, io: &mut Io<'_>) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Asking {
                tries: SHUTDOWN_TRIES,
                next: io.now,
            };
        }
        self.settle(io);
    }

    pub(super) fn ask_to_stop(&mut self, io: &mut Io<'_>) {
        let Stopping::Asking { tries, next } = self.stopping else {
            return;
        };
        if next > io.now {
            return;
        }
        if tries == 0 {
            self.stopping = Stopping::Ready;
            return;
        }
        self.stopping = Stopping::Asking {
            tries: tries - 1,
            next: io.now + SHUTDOWN_BACKOFF,
        };
        let view = self.view();
        if let Some(controller) = view.active_controller_id.some() {
            let request = Request::Controller(ApiRequest::ControlledShutdown {
                broker: self.id,
                broker_epoch: view.broker_epoch,
            });
            let call = io.call(controller, Lane::ToController, request);
            self.calls.insert(call, Purpose::ControlledShutdown);
        }
    }

    pub(super) fn on_shutdown_answer(&mut self, response: Option<Response>, _io: &mut Io<'_>) {
        if let Some(Response::Controller(Answer::ControlledShutdown(Ok(left)))) = response
            && left.is_empty()
        {
            self.stopping = Stopping::Ready;
        }
    }

    pub(super) fn checkpoint_high_watermarks(&mut self) {
        let logs = self
            .replicas
            .iter()
            .filter_map(|(tp, replica)| Some((tp, replica.log.as_ref()?)));
        self.disk.checkpoint(logs);
    }

    pub(super) fn flush_logs(&mut self, io: &Io<'_>) {
        for replica in self.replicas.values_mut() {
            if let Some(log) = &mut replica.log {
                // A failure takes the directory offline, which is noticed after the event.
                _ = log.flush(io.wall);
            }
        }
        self.checkpoint_high_watermarks();
    }
}
