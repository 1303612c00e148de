//! How the rest of the broker talks to its controller.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_controller::{Answer, ApiRequest, Event, View};
use ottla_model::{BrokerEpoch, LiveBroker, TopicName};
use tokio::sync::{mpsc, oneshot};

use super::channel::{ControlReceiver, Transport};
use super::driver::{Driver, Input};
use super::settings::{RequestVersions, controller_config};
use super::topic_admin::auto_create::TopicsInCreation;
use crate::clock::{Clock, random_u64};
use crate::configs::Configs;
use crate::coordination::{CoordinationHandle, Notice};
use crate::metrics::ControllerTimes;

/// What a controller needs to run.
pub struct Start {
    /// Configuration in force at the start.
    pub configs: Arc<Configs>,
    /// This broker as it is registered already, with its epoch and all advertised endpoints.
    pub broker: LiveBroker,
    /// The coordination service.
    pub coordination: Arc<CoordinationHandle>,
    /// All that was heard of it since before the registration: a session that ends between the two
    /// is not missed.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// The session in which the broker is registered.
    pub session_id: i64,
    /// Time.
    pub clock: Clock,
    /// Takes what the controller tells its own broker.
    pub receiver: Arc<dyn ControlReceiver>,
}

/// A handle on the controller of this broker, active or not. Dropping the last one does not stop
/// it: see [`ControllerHandle::shut_down`].
pub struct ControllerHandle {
    inputs: mpsc::UnboundedSender<Input>,
    view: Arc<ArcSwap<View>>,
    times: Arc<ControllerTimes>,
    pub(super) topics_in_creation: TopicsInCreation,
}

impl ControllerHandle {
    /// Starts the controller: it watches `/controller` and runs for it.
    pub fn start(start: Start) -> Arc<Self> {
        let Start {
            configs,
            broker,
            coordination,
            notices,
            session_id,
            clock,
            receiver,
        } = start;
        let config = configs.broker();
        let (inputs, inbox) = mpsc::unbounded_channel();
        let view = Arc::new(ArcSwap::from_pointee(View {
            broker_epoch: broker.epoch,
            ..View::default()
        }));
        let transport = Transport::new(&config, broker.id, receiver);
        let versions = RequestVersions::of(config.inter_broker_protocol_version());
        let times = Arc::new(ControllerTimes::default());
        let driver = Driver::new(
            controller_config(&config, broker),
            (coordination, notices, session_id),
            clock,
            (transport, versions),
            inputs.clone(),
            (Arc::clone(&view), Arc::clone(&times)),
            random_u64(),
        );
        tokio::spawn(driver.run(inbox));
        let handle = Arc::new(Self {
            inputs,
            view,
            times,
            topics_in_creation: TopicsInCreation::default(),
        });
        handle.send(Event::Startup);
        handle
    }

    /// What the controller shows: whether it is active, its epoch, its gauges.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// How long its events took.
    pub(crate) fn times(&self) -> &ControllerTimes {
        &self.times
    }

    /// Whether this broker is the active controller, by its own knowledge.
    pub fn is_active(&self) -> bool {
        self.view.load().is_active
    }

    /// This broker's incarnation: changes when a lost session is replaced.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.view.load().broker_epoch
    }

    /// Whether a topic is being deleted or waits for it.
    pub fn is_topic_queued_for_deletion(&self, topic: &TopicName) -> bool {
        self.view.load().topics_to_be_deleted.contains(topic)
    }

    /// Asks the controller; [`Answer::Nothing`] where it never answers.
    pub async fn ask(&self, request: ApiRequest) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.inputs.send(Input::Ask { request, answer }).is_err() {
            return Answer::Nothing;
        }
        answered.await.unwrap_or(Answer::Nothing)
    }

    /// `unclean.leader.election.enable` of the broker was changed, in either direction.
    pub fn set_unclean_leader_election_default(&self, enabled: bool) {
        self.send(Event::UncleanLeaderElectionDefault(enabled));
    }

    /// A topic's configuration with `unclean.leader.election.enable=true` was applied.
    pub fn topic_unclean_leader_election_enabled(&self, topic: TopicName) {
        self.send(Event::TopicUncleanLeaderElectionEnabled(topic));
    }

    /// This broker is advertised with other endpoints from now on.
    pub fn set_broker_info(&self, broker: LiveBroker) {
        self.send(Event::BrokerInfoChanged(broker));
    }

    /// Stops the controller: it forgets what only a controller knows and closes its channels.
    /// `/controller` goes with the session.
    pub async fn shut_down(&self) {
        let (done, is_done) = oneshot::channel();
        if self.inputs.send(Input::ShutDown { done }).is_ok() {
            // An error means that the driver is gone already.
            _ = is_done.await;
        }
    }

    fn send(&self, event: Event) {
        // After the shutdown nobody listens, and nothing is to be done.
        _ = self.inputs.send(Input::Event(event));
    }
}

impl fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerHandle")
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}
