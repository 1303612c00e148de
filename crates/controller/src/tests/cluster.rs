//! One controller (broker 0), the pure tree as its coordination service, and peers that answer
//! what they are sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordination::payloads::{
    BrokerRegistration, EntityConfig, TopicAssignment, decode_partition_state,
    encode_partition_state,
};
use ottla_coordination::tree::Tree;
use ottla_coordination::{
    AclPolicy, CreateMode, Error, Event as Session, Op, Reply, Request, RequestId, SessionEvent,
    Stat, WatchEvent, paths,
};
use ottla_model::control::{
    ControlRequest, ControlResponse, LeaderAndIsrResponse, StopReplicaResponse,
};
use ottla_model::{
    BrokerEpoch, BrokerId, Endpoint, ErrorCode, Instant, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, PartitionEpoch, ReplicaAssignment, SecurityProtocol,
    Timestamp, TopicId, TopicName, TopicPartition,
};

use crate::event::{AlterPartition, TopicReference};
use crate::{Action, Answer, ApiRequest, Controller, ControllerConfig, Event, Now, Token, View};

pub(super) fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

pub(super) fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn live_broker(id: i32, epoch: i64) -> LiveBroker {
    LiveBroker {
        id: BrokerId(id),
        epoch: BrokerEpoch(epoch),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092 + id,
            protocol: SecurityProtocol::Plaintext,
        }],
        rack: None,
    }
}

/// See the module.
pub(super) struct Cluster {
    pub(super) tree: Tree,
    pub(super) config: ControllerConfig,
    pub(super) controller: Controller,
    pub(super) session: i64,
    /// Sessions of the peers.
    peers: BTreeMap<i32, i64>,
    /// Submitted and not handled by the tree yet.
    submitted: VecDeque<(RequestId, Request)>,
    /// Sent to brokers and not answered yet.
    pub(super) sent: VecDeque<(BrokerId, Arc<ControlRequest>)>,
    pub(super) answers: BTreeMap<Token, Answer>,
    /// Actions of other kinds.
    pub(super) actions: Vec<Action>,
    pub(super) trace: Vec<String>,
    /// Errors with which peers answer LeaderAndIsr or deleting StopReplica, until taken out.
    pub(super) leader_and_isr_errors: BTreeMap<(BrokerId, TopicPartition), ErrorCode>,
    pub(super) stop_replica_errors: BTreeMap<(BrokerId, TopicPartition), ErrorCode>,
    /// Brokers that do not answer for now.
    pub(super) silent: BTreeSet<BrokerId>,
    pub(super) now: Now,
    next_token: u64,
}

impl Cluster {
    /// Brokers are registered; the controller has not started.
    pub(super) fn prepared(peers: &[i32]) -> Self {
        let now = Now {
            monotonic: Instant::ZERO,
            wall: Timestamp(1_700_000_000_000),
        };
        let mut tree = Tree::new();
        let (session, _) = tree.open_session(now.wall);
        let config = ControllerConfig::new(live_broker(0, 0));
        let mut cluster = Self {
            controller: Controller::new(config.clone(), session, 7),
            tree,
            config,
            session,
            peers: BTreeMap::new(),
            submitted: VecDeque::new(),
            sent: VecDeque::new(),
            answers: BTreeMap::new(),
            actions: Vec::new(),
            trace: Vec::new(),
            leader_and_isr_errors: BTreeMap::new(),
            stop_replica_errors: BTreeMap::new(),
            silent: BTreeSet::new(),
            now,
            next_token: 0,
        };
        for path in paths::PERSISTENT_PATHS {
            cluster.create_with_parents(path, None);
        }
        cluster.register(0, session);
        for id in peers {
            cluster.start_quietly(*id);
        }
        cluster
    }

    /// Broker 0 is controller of all these brokers and at rest.
    pub(super) fn started(peers: &[i32]) -> Self {
        let mut cluster = Self::prepared(peers);
        cluster.elect();
        cluster
    }

    pub(super) fn elect(&mut self) {
        self.event(Event::Startup);
        self.settle();
        assert!(self.view().is_active, "broker 0 was not elected");
        self.take_trace();
    }

    pub(super) fn view(&self) -> View {
        self.controller.view()
    }
}

// Time and events.
impl Cluster {
    pub(super) fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.controller.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Coordinate { id, request } => self.submitted.push_back((id, request)),
                Action::Send { broker, request } => {
                    self.trace.push(describe(broker, &request));
                    self.sent.push_back((broker, request));
                }
                Action::Answer { token, answer } => {
                    let before = self.answers.insert(token, answer);
                    assert!(before.is_none(), "{token:?} was answered twice");
                }
                Action::BrokerRemoved(id) => {
                    self.sent.retain(|(broker, _)| *broker != id);
                    self.actions.push(Action::BrokerRemoved(id));
                }
                other => self.actions.push(other),
            }
        }
    }

    /// Lets the tree handle the oldest request; false if there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some((id, request)) = self.submitted.pop_front() else {
            return false;
        };
        let outcome = self.tree.handle(self.session, &request, self.now.wall);
        self.deliver(outcome.watches);
        self.event(Event::Coordination(Session::Reply {
            id,
            result: outcome.result,
        }));
        true
    }

    pub(super) fn submitted(&self) -> usize {
        self.submitted.len()
    }

    /// The replies to all submitted requests are lost, applied or not.
    pub(super) fn lose_replies(&mut self, applied: bool) {
        for (id, request) in std::mem::take(&mut self.submitted) {
            if applied {
                let outcome = self.tree.handle(self.session, &request, self.now.wall);
                self.deliver(outcome.watches);
            }
            let result = Err(Error::ConnectionLoss);
            self.event(Event::Coordination(Session::Reply { id, result }));
        }
    }

    pub(super) fn session_event(&mut self, event: SessionEvent) {
        self.event(Event::Coordination(Session::Session(event)));
    }

    /// Until nothing is submitted and nothing sent is unanswered.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() && !self.answer_one() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Until the coordination service has nothing to do; brokers do not answer.
    pub(super) fn settle_without_answers(&mut self) {
        while self.step() {}
    }

    fn answer_one(&mut self) -> bool {
        let loud = self
            .sent
            .iter()
            .position(|(broker, _)| !self.silent.contains(broker));
        let Some((broker, request)) = loud.and_then(|index| self.sent.remove(index)) else {
            return false;
        };
        let response = self.response(broker, &request);
        self.event(Event::ControlAnswered {
            broker,
            request,
            response,
        });
        true
    }

    fn response(&self, broker: BrokerId, request: &ControlRequest) -> ControlResponse {
        let code = |errors: &BTreeMap<_, ErrorCode>, partition: &TopicPartition| {
            let key = (broker, partition.clone());
            (
                partition.clone(),
                errors.get(&key).copied().unwrap_or(ErrorCode::None),
            )
        };
        match request {
            ControlRequest::UpdateMetadata(_) => ControlResponse::UpdateMetadata(ErrorCode::None),
            ControlRequest::LeaderAndIsr(request) => {
                let partitions = request.partitions.iter().map(|p| &p.topic_partition);
                ControlResponse::LeaderAndIsr(LeaderAndIsrResponse {
                    error: ErrorCode::None,
                    partitions: partitions
                        .map(|p| code(&self.leader_and_isr_errors, p))
                        .collect(),
                })
            }
            ControlRequest::StopReplica(request) => {
                let partitions = request.partitions.iter().map(|p| &p.topic_partition);
                ControlResponse::StopReplica(StopReplicaResponse {
                    error: ErrorCode::None,
                    partitions: partitions
                        .map(|p| code(&self.stop_replica_errors, p))
                        .collect(),
                })
            }
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now.monotonic += by;
        self.event(Event::Tick);
    }

    /// The trace since the last call, without what broker 0 tells itself.
    pub(super) fn take_trace(&mut self) -> Vec<String> {
        let mut trace = std::mem::take(&mut self.trace);
        trace.retain(|line| !line.starts_with("0 "));
        trace
    }

    pub(super) fn ask(&mut self, request: ApiRequest) -> Answer {
        let token = self.ask_later(request);
        self.settle();
        self.answers
            .remove(&token)
            .expect("every caller is answered")
    }

    pub(super) fn ask_later(&mut self, request: ApiRequest) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.event(Event::request(token, request));
        token
    }
}

// Znodes, as other sessions see and change them.
impl Cluster {
    fn deliver(&mut self, watches: Vec<(i64, WatchEvent)>) {
        for (session, watch) in watches {
            if session == self.session {
                self.event(Event::Coordination(Session::Watch(watch)));
            }
        }
    }

    /// By an administrator's session that stays open.
    pub(super) fn write(&mut self, request: Request) -> Result<Reply, Error> {
        let session = match self.peers.get(&-1) {
            Some(session) => *session,
            None => {
                let (session, _) = self.tree.open_session(self.now.wall);
                self.peers.insert(-1, session);
                session
            }
        };
        self.write_as(session, request)
    }

    fn write_as(&mut self, session: i64, request: Request) -> Result<Reply, Error> {
        let outcome = self.tree.handle(session, &request, self.now.wall);
        self.deliver(outcome.watches);
        outcome.result
    }

    pub(super) fn create(&mut self, path: &str, data: Option<Bytes>) {
        self.write(Request::create(path, data)).unwrap();
    }

    pub(super) fn create_with_parents(&mut self, path: &str, data: Option<Bytes>) {
        let mut ancestors = Vec::new();
        let mut current = path;
        while let Some(parent) = paths::parent(current).filter(|parent| *parent != "/") {
            ancestors.push(parent);
            current = parent;
        }
        for ancestor in ancestors.into_iter().rev() {
            if !self.exists(ancestor) {
                self.create(ancestor, None);
            }
        }
        self.create(path, data);
    }

    pub(super) fn set(&mut self, path: &str, data: Bytes) -> Stat {
        let set = Request::SetData {
            path: path.to_owned(),
            data: Some(data),
            version: -1,
        };
        match self.write(set) {
            Ok(Reply::Set(stat)) => stat,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn exists(&mut self, path: &str) -> bool {
        self.write(Request::Exists {
            path: path.to_owned(),
            watch: false,
        })
        .is_ok()
    }

    pub(super) fn data(&mut self, path: &str) -> Option<(Bytes, Stat)> {
        match self.write(Request::get_data(path)) {
            Ok(Reply::Data { data, stat }) => Some((data.unwrap_or_default(), stat)),
            _ => None,
        }
    }

    pub(super) fn text(&mut self, path: &str) -> String {
        let (data, _) = self.data(path).expect(path);
        String::from_utf8(data.to_vec()).unwrap()
    }

    pub(super) fn state(&mut self, partition: &TopicPartition) -> LeaderAndIsr {
        let (data, stat) = self
            .data(&paths::partition_state(partition))
            .expect("a state");
        decode_partition_state(&data, stat.version).unwrap()
    }

    pub(super) fn set_state(&mut self, partition: &TopicPartition, state: &LeaderAndIsr) {
        self.set(
            &paths::partition_state(partition),
            encode_partition_state(state),
        );
    }

    /// "leader isr lEp pEp" of the znode.
    pub(super) fn state_text(&mut self, partition: &TopicPartition) -> String {
        let state = self.state(partition);
        format!(
            "{} {} {} {}",
            state.leader,
            list(&state.isr),
            state.leader_epoch,
            state.partition_epoch
        )
    }

    pub(super) fn assignment(&mut self, topic: &str) -> TopicAssignment {
        let (data, _) = self.data(&paths::topic(topic)).expect("a topic");
        TopicAssignment::decode(&data).unwrap()
    }
}

// What administrators do.
impl Cluster {
    pub(super) fn topic_id() -> TopicId {
        Self::topic_id_of("t")
    }

    fn topic_id_of(topic: &str) -> TopicId {
        TopicId([topic.as_bytes()[0]; 16])
    }

    pub(super) fn write_topic(&mut self, topic: &str, partitions: &[&[i32]]) {
        let partitions = partitions.iter().zip(0..);
        let znode = TopicAssignment {
            topic_id: Some(Self::topic_id_of(topic)),
            partitions: partitions
                .map(|(replicas, index)| (index, ReplicaAssignment::of(ids(replicas))))
                .collect(),
        };
        let path = paths::topic(topic);
        if self.exists(&path) {
            self.set(&path, znode.encode());
        } else {
            let config = EntityConfig::default().encode();
            if !self.exists(&paths::topic_config(topic)) {
                self.create(&paths::topic_config(topic), Some(config));
            }
            self.create(&path, Some(znode.encode()));
        }
    }

    /// Topic `t`, made and at rest.
    pub(super) fn create_topic(&mut self, partitions: &[&[i32]]) {
        self.write_topic("t", partitions);
        self.settle();
    }

    pub(super) fn order_deletion(&mut self, topic: &str) {
        self.create(&paths::delete_topic(topic), None);
    }

    pub(super) fn reassign(&mut self, partition: i32, target: Option<&[i32]>) -> Answer {
        let targets = BTreeMap::from([(t(partition), target.map(ids))]);
        self.ask(ApiRequest::AlterPartitionReassignments(targets))
    }
}

// What peers do.
impl Cluster {
    fn register(&mut self, id: i32, session: i64) {
        let path = paths::broker(BrokerId(id));
        let registration = BrokerRegistration {
            version: 5,
            endpoints: live_broker(id, 0).endpoints,
            rack: None,
            jmx_port: -1,
            timestamp: self.now.wall,
            features: BTreeMap::new(),
        };
        let (mode, acl) = (CreateMode::Ephemeral, AclPolicy::Open);
        let create = Op::Create {
            path: path.clone(),
            data: None,
            mode,
            acl,
        };
        let set = Op::SetData {
            path,
            data: Some(registration.encode()),
            version: 0,
        };
        self.write_as(session, Request::Multi(vec![create, set]))
            .unwrap();
    }

    fn start_quietly(&mut self, id: i32) {
        let (session, _) = self.tree.open_session(self.now.wall);
        self.peers.insert(id, session);
        self.register(id, session);
    }

    pub(super) fn start(&mut self, id: i32) {
        self.start_quietly(id);
        self.settle();
    }

    /// The peer's session ends; the controller has not been told more than the watch.
    pub(super) fn kill_quietly(&mut self, id: i32) {
        let session = self.peers.remove(&id).expect("a running peer");
        let (watches, _) = self.tree.close_session(session, self.now.wall).unwrap();
        self.deliver(watches);
    }

    pub(super) fn kill(&mut self, id: i32) {
        self.kill_quietly(id);
        self.settle();
    }

    /// The peer comes back before the controller has looked.
    pub(super) fn bounce(&mut self, id: i32) {
        self.kill_quietly(id);
        self.start_quietly(id);
        self.settle();
    }

    pub(super) fn broker_epoch(&mut self, id: i32) -> BrokerEpoch {
        let (_, stat) = self
            .data(&paths::broker(BrokerId(id)))
            .expect("a registration");
        BrokerEpoch(stat.czxid)
    }

    /// The leader asks for an ISR with the epochs that hold now.
    pub(super) fn alter_isr(&mut self, partition: i32, isr: &[i32]) -> Answer {
        let state = self.state(&t(partition));
        self.alter_isr_as(
            state.leader.0,
            partition,
            isr,
            state.leader_epoch,
            state.partition_epoch,
        )
    }

    pub(super) fn alter_isr_as(
        &mut self,
        broker: i32,
        partition: i32,
        isr: &[i32],
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) -> Answer {
        let broker_epoch = self.broker_epoch(broker);
        self.ask(ApiRequest::AlterPartition {
            broker: BrokerId(broker),
            broker_epoch,
            knows_ineligible_replica: true,
            partitions: vec![AlterPartition {
                topic: TopicReference::Id(Self::topic_id()),
                partition,
                leader_epoch,
                new_isr: ids(isr),
                recovery: LeaderRecoveryState::Recovered,
                partition_epoch,
            }],
        })
    }

    pub(super) fn shut_down(&mut self, id: i32) -> Answer {
        let broker_epoch = self.broker_epoch(id);
        self.ask(ApiRequest::ControlledShutdown {
            broker: BrokerId(id),
            broker_epoch,
        })
    }
}

/// Another controller takes over the tree: broker 0 of before is gone.
impl Cluster {
    pub(super) fn replace_controller(&mut self) {
        self.submitted.clear();
        self.sent.clear();
        let (watches, _) = self
            .tree
            .close_session(self.session, self.now.wall)
            .unwrap();
        drop(watches);
        let (session, _) = self.tree.open_session(self.now.wall);
        self.session = session;
        self.register(0, session);
        self.controller = Controller::new(self.config.clone(), session, 8);
        self.trace.clear();
        self.actions.clear();
    }

    pub(super) fn topics_queued(&self) -> Vec<TopicName> {
        self.view().topics_to_be_deleted.iter().cloned().collect()
    }
}

/// One line: to whom, what, and per partition what matters.
fn describe(broker: BrokerId, request: &ControlRequest) -> String {
    let mut line = format!("{broker} ");
    match request {
        ControlRequest::LeaderAndIsr(request) => {
            line += "LISR";
            for partition in &request.partitions {
                let index = partition.topic_partition.partition;
                write!(line, " p{index}({}", state_text(&partition.state)).unwrap();
                write!(line, " replicas {}", list(&partition.assignment.replicas)).unwrap();
                for (name, replicas) in [
                    ("adding", &partition.assignment.adding),
                    ("removing", &partition.assignment.removing),
                ] {
                    if !replicas.is_empty() {
                        write!(line, " {name} {}", list(replicas)).unwrap();
                    }
                }
                line += if partition.is_new { " new)" } else { ")" };
            }
        }
        ControlRequest::UpdateMetadata(request) => {
            line += "UMR";
            for partition in &request.partitions {
                let index = partition.topic_partition.partition;
                write!(line, " p{index}({}", state_text(&partition.state)).unwrap();
                if !partition.offline_replicas.is_empty() {
                    write!(line, " offline {}", list(&partition.offline_replicas)).unwrap();
                }
                line += ")";
            }
        }
        ControlRequest::StopReplica(request) => {
            line += "STOP";
            for partition in &request.partitions {
                let index = partition.topic_partition.partition;
                write!(line, " p{index}(lEp {}", partition.leader_epoch).unwrap();
                line += if partition.delete { " delete)" } else { ")" };
            }
        }
    }
    line
}

fn state_text(state: &LeaderAndIsr) -> String {
    format!(
        "leader {} isr {} lEp {} pEp {}",
        state.leader,
        list(&state.isr),
        state.leader_epoch,
        state.partition_epoch
    )
}

fn list(ids: &[BrokerId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}
