//! The controller as its driver sees it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use ottla_coordination::SessionEvent;
use ottla_model::{BrokerId, Instant};

use crate::config::ControllerConfig;
use crate::context::Context;
use crate::core::Core;
use crate::event::{Action, ApiRequest, Event, Now, Token};
use crate::exchange::Exchange;
use crate::gauges::View;
use crate::work::{ControllerState, Work};

/// One broker's controller, active or not: events in, actions out.
///
/// One event is in work at a time; it emits coordination requests and goes on when all of them are
/// answered. Other events wait in a queue, first in first out, until the session expires or the
/// broker shuts down: then the queue is thrown away.
pub struct Controller {
    exchange: Exchange,
    state: State,
    /// What is in work, since when.
    begun: Option<(ControllerState, Instant)>,
    finished: Vec<(ControllerState, Instant)>,
}

type Procedure = Pin<Box<dyn Future<Output = Box<Core>> + Send>>;

enum State {
    Idle(Box<Core>),
    Working(Procedure),
    /// Only while one of the others is being made.
    Between,
    Stopped,
}

impl Controller {
    /// A controller that does nothing before [`Event::Startup`].
    ///
    /// `session_id` is the session in which the broker is registered already, `seed` begins the
    /// sequence of random numbers from which ids for topics without one are made.
    pub fn new(config: ControllerConfig, session_id: i64, seed: u64) -> Self {
        let exchange = Exchange::new(session_id, seed);
        let broker_epoch = config.broker.epoch;
        exchange.update_view(|view| view.broker_epoch = broker_epoch);
        let core = Core {
            config,
            context: Context::default(),
            exchange: exchange.clone(),
            active_controller_id: BrokerId::NONE,
            registration_session: Some(session_id),
            finalized_features: std::collections::BTreeMap::new(),
            stopped: false,
        };
        Self {
            exchange,
            state: State::Idle(Box::new(core)),
            begun: None,
            finished: Vec::new(),
        }
    }

    /// Takes an event and appends what is to be done because of it.
    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        self.exchange.begin(now);
        self.finished.clear();
        self.take_in(event);
        self.run();
        self.exchange.take_actions(actions);
    }

    /// When to send [`Event::Tick`].
    pub fn next_deadline(&self) -> Option<Instant> {
        self.exchange.deadline()
    }

    /// What the last call of [`Controller::handle`] has finished: the state of each event, and when
    /// its work began.
    pub fn finished(&self) -> &[(ControllerState, Instant)] {
        &self.finished
    }

    /// What others may see now.
    pub fn view(&self) -> View {
        self.exchange.view()
    }

    fn take_in(&mut self, event: Event) {
        use ottla_coordination::Event as Session;
        let exchange = &self.exchange;
        match event {
            Event::Startup => exchange.put(Work::Startup),
            Event::Coordination(Session::Reply { id, result }) => exchange.reply(id, result),
            Event::Coordination(Session::Watch(watch)) => exchange.watch_fired(&watch),
            Event::Coordination(Session::Session(change)) => {
                exchange.session_changed(change);
                if change == SessionEvent::Expired {
                    exchange.clear_and_put(Work::Expire);
                }
            }
            Event::SessionEstablished { session_id } => {
                exchange.session_established(session_id);
                exchange.put(Work::RegisterBrokerAndReelect);
            }
            Event::ControlAnswered {
                broker,
                request,
                response,
            } => {
                exchange.put(Work::ControlAnswered {
                    broker,
                    request,
                    response,
                });
            }
            Event::Request { token, request } => exchange.put(Work::Request { token, request }),
            Event::UncleanLeaderElectionDefault(enabled) => {
                exchange.put(Work::UncleanLeaderElectionDefault(enabled));
            }
            Event::TopicUncleanLeaderElectionEnabled(topic) => {
                if exchange.view().is_active {
                    exchange.put(Work::TopicUncleanLeaderElectionEnable(topic));
                }
            }
            Event::BrokerInfoChanged(broker) => exchange.put(Work::BrokerInfoChanged(broker)),
            Event::Tick => {
                if exchange.take_due_deadline() {
                    exchange.put(Work::AutoPreferredReplicaLeaderElection);
                }
            }
            Event::Shutdown => exchange.clear_and_put(Work::Shutdown),
        }
    }

    /// Works until an event waits for replies or none is left.
    fn run(&mut self) {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Between) {
                State::Idle(core) => match self.exchange.next_work() {
                    Some(work) => {
                        self.begun = Some((work.state(), self.exchange.now().monotonic));
                        start(core, work)
                    }
                    None => {
                        self.state = State::Idle(core);
                        return;
                    }
                },
                State::Working(mut procedure) => {
                    // Nothing ever wakes a procedure but a reply, after which it is polled anyway.
                    let mut context = TaskContext::from_waker(Waker::noop());
                    match procedure.as_mut().poll(&mut context) {
                        Poll::Ready(core) => self.finish(core),
                        Poll::Pending => {
                            self.state = State::Working(procedure);
                            return;
                        }
                    }
                }
                State::Stopped | State::Between => {
                    self.turn_away();
                    self.state = State::Stopped;
                    return;
                }
            };
        }
    }

    fn finish(&mut self, core: Box<Core>) -> State {
        self.finished.extend(self.begun.take());
        // An event that failed has left its caller without an answer, as in Kafka.
        self.exchange.abandon_caller();
        core.publish_gauges();
        self.exchange
            .update_view(|view| view.state = ControllerState::Idle);
        if core.stopped {
            State::Stopped
        } else {
            State::Idle(core)
        }
    }

    /// After the shutdown.
    fn turn_away(&self) {
        while let Some(work) = self.exchange.next_work() {
            if let Some((token, answer)) = work.preempt() {
                self.exchange.answer(token, answer);
            }
        }
    }
}

fn start(mut core: Box<Core>, work: Work) -> State {
    let state = work.state();
    core.exchange.update_view(|view| view.state = state);
    if let Work::Request { token, .. } = &work {
        core.exchange.set_caller(*token);
    }
    let procedure: Procedure = Box::pin(async move {
        core.process(work).await;
        core
    });
    State::Working(procedure)
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}

impl Event {
    /// A caller's request.
    pub fn request(token: Token, request: ApiRequest) -> Self {
        Self::Request { token, request }
    }
}
