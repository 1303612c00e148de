//! The driver over a session in memory: this broker alone, whose replica manager is played by a
//! metadata cache that believes everything.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ottla_config::{BrokerConfig, DynamicValues};
use ottla_controller::{Answer, ApiRequest};
use ottla_coordination::memory::MemoryService;
use ottla_coordination::payloads::BrokerRegistration;
use ottla_coordination::{Coordination, paths};
use ottla_model::control::{
    ControlRequest, ControlResponse, LeaderAndIsrResponse, StopReplicaResponse,
};
use ottla_model::{
    BrokerEpoch, BrokerId, Endpoint, ErrorCode, LiveBroker, ProducerId, SecurityProtocol,
    Timestamp, TopicName,
};

use super::topic_admin::auto_create::TopicsInCreation;
use super::topic_admin::create::NewTopic;
use super::topic_admin::expand::NewPartitions;
use super::{ControlReceiver, ControllerHandle, Start, TopicAdmin};
use crate::clock::Clock;
use crate::configs::Configs;
use crate::coordination::{CoordinationHandle, Opener};
use crate::metadata_cache::MetadataCache;

const TIMEOUT_MS: i32 = 10_000;

/// Accepts all commands and remembers its last incarnation.
struct Believer {
    metadata_cache: Arc<MetadataCache>,
    epoch: Arc<AtomicI64>,
}

impl ControlReceiver for Believer {
    fn registered(&self, epoch: BrokerEpoch) {
        self.epoch.store(epoch.0, Ordering::SeqCst);
    }

    fn receive(
        &self,
        request: Arc<ControlRequest>,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send + '_>> {
        let response = match &*request {
            ControlRequest::LeaderAndIsr(request) => {
                let partitions = request.partitions.iter();
                let fine = partitions.map(|p| (p.topic_partition.clone(), ErrorCode::None));
                ControlResponse::LeaderAndIsr(LeaderAndIsrResponse {
                    error: ErrorCode::None,
                    partitions: fine.collect(),
                })
            }
            ControlRequest::UpdateMetadata(request) => {
                self.metadata_cache.update(request);
                ControlResponse::UpdateMetadata(ErrorCode::None)
            }
            ControlRequest::StopReplica(request) => {
                let partitions = request.partitions.iter();
                let fine = partitions.map(|p| (p.topic_partition.clone(), ErrorCode::None));
                ControlResponse::StopReplica(StopReplicaResponse {
                    error: ErrorCode::None,
                    partitions: fine.collect(),
                })
            }
        };
        Box::pin(std::future::ready(response))
    }
}

struct Node {
    service: MemoryService,
    configs: Arc<Configs>,
    metadata_cache: Arc<MetadataCache>,
    coordination: Arc<CoordinationHandle>,
    controller: Arc<ControllerHandle>,
    epoch: Arc<AtomicI64>,
    in_creation: TopicsInCreation,
}

impl Node {
    async fn start() -> Self {
        Self::start_after(|_, _| {}).await
    }

    /// `meanwhile` is called between the registration and the start of the controller.
    async fn start_after(meanwhile: impl FnOnce(&MemoryService, i64)) -> Self {
        let service = MemoryService::new(Box::new(|| Timestamp(1)));
        let opener: Opener = {
            let service = service.clone();
            Arc::new(move |sink| Ok(Arc::new(service.open(sink)) as Arc<dyn Coordination>))
        };
        let coordination = CoordinationHandle::connect(opener, false).await.unwrap();
        coordination.create_top_level_paths().await.unwrap();
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            protocol: SecurityProtocol::Plaintext,
        };
        let registration = BrokerRegistration {
            version: 5,
            endpoints: vec![endpoint.clone()],
            rack: None,
            jmx_port: -1,
            timestamp: Timestamp(1),
            features: Default::default(),
        };
        let id = BrokerId(0);
        let notices = coordination.subscribe(|_| true);
        let broker_epoch = coordination
            .register_broker(id, &registration)
            .await
            .unwrap();
        let properties = [
            ("broker.id", "0"),
            ("zookeeper.connect", "memory"),
            ("offsets.topic.replication.factor", "1"),
        ];
        let properties = properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = BrokerConfig::from_properties(properties.collect()).unwrap();
        let configs = Arc::new(Configs::new(config).unwrap());
        let metadata_cache = Arc::new(MetadataCache::default());
        let epoch = Arc::new(AtomicI64::new(broker_epoch.0));
        meanwhile(&service, coordination.registered_session());
        let controller = ControllerHandle::start(Start {
            configs: Arc::clone(&configs),
            broker: LiveBroker {
                id,
                epoch: broker_epoch,
                endpoints: vec![endpoint],
                rack: None,
            },
            session_id: coordination.registered_session(),
            coordination: Arc::clone(&coordination),
            notices,
            clock: Clock::start(),
            receiver: Arc::new(Believer {
                metadata_cache: Arc::clone(&metadata_cache),
                epoch: Arc::clone(&epoch),
            }),
        });
        let node = Self {
            service,
            configs,
            metadata_cache,
            coordination,
            controller,
            epoch,
            in_creation: TopicsInCreation::default(),
        };
        node.wait_for_controller().await;
        node
    }

    /// Until this broker is the controller and knows of itself.
    async fn wait_for_controller(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let known = self.metadata_cache.wait_until(deadline, |snapshot| {
            snapshot.controller == Some(BrokerId(0)) && snapshot.is_alive(BrokerId(0))
        });
        assert!(known.await, "no controller");
        assert!(self.controller.is_active());
    }

    fn admin(&self) -> TopicAdmin<'_> {
        TopicAdmin {
            configs: &self.configs,
            metadata_cache: &self.metadata_cache,
            coordination: &self.coordination,
            dynamic_values: DynamicValues::default(),
            quota: None,
        }
    }

    async fn create(&self, topic: NewTopic) -> Result<i32, (ErrorCode, Option<String>)> {
        let name = topic.name.clone();
        let mut results = self
            .admin()
            .create_topics(TIMEOUT_MS, false, vec![topic])
            .await;
        let result = results.remove(&name).unwrap();
        result
            .map(|created| created.num_partitions)
            .map_err(|e| (e.error, e.message))
    }
}

fn new_topic(name: &str, num_partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.into(),
        num_partitions,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

#[tokio::test]
async fn topics_are_made_grown_and_deleted() {
    let node = Node::start().await;
    assert_eq!(node.create(new_topic("t", 2, 1)).await, Ok(2));
    let exists = Some("Topic 't' already exists.".to_owned());
    assert_eq!(
        node.create(new_topic("t", 1, 1)).await,
        Err((ErrorCode::TopicAlreadyExists, exists))
    );

    let wanted = NewPartitions {
        topic: "t".into(),
        count: 3,
        assignments: None,
    };
    let grown = node
        .admin()
        .create_partitions(TIMEOUT_MS, false, vec![wanted])
        .await;
    assert_eq!(grown[&TopicName::from("t")].error, ErrorCode::None);
    let snapshot = node.metadata_cache.snapshot();
    assert_eq!(snapshot.topic("t").unwrap().partitions.len(), 3);
    assert!(snapshot.topic_id("t").is_some());

    let topics = BTreeSet::from([TopicName::from("t"), TopicName::from("unknown")]);
    let deleted = node.admin().delete_topics(TIMEOUT_MS, topics).await;
    assert_eq!(deleted[&TopicName::from("t")], ErrorCode::None);
    assert_eq!(
        deleted[&TopicName::from("unknown")],
        ErrorCode::UnknownTopicOrPartition
    );
    assert!(node.metadata_cache.snapshot().topic("t").is_none());
    // The znodes go when the replica's answer is in.
    while node
        .coordination
        .exists(paths::topic("t"), false)
        .await
        .unwrap()
        .is_some()
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.create(new_topic("t", 1, 1)).await, Ok(1));
}

#[tokio::test]
async fn wishes_that_cannot_be_granted_are_refused_in_kafkas_words() {
    let node = Node::start().await;
    node.create(new_topic("a.b", 1, 1)).await.unwrap();
    let mut placed = new_topic("placed", 1, -1);
    placed.assignments = vec![(0, vec![BrokerId(0)])];
    let mut null = new_topic("null", 1, 1);
    null.configs = vec![("retention.ms".into(), None)];
    let mut config = new_topic("config", 1, 1);
    config.configs = vec![("no.such.key".into(), Some("1".into()))];
    for (topic, error, message) in [
        (
            new_topic("a_b", 1, 1),
            ErrorCode::InvalidTopicException,
            "Topic 'a_b' collides with existing topics: a.b",
        ),
        (
            new_topic("a b", 1, 1),
            ErrorCode::InvalidTopicException,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            new_topic("t", 0, 1),
            ErrorCode::InvalidPartitions,
            "Number of partitions must be larger than 0.",
        ),
        (
            new_topic("t", 1, 2),
            ErrorCode::InvalidReplicationFactor,
            "Replication factor: 2 larger than available brokers: 1.",
        ),
        (
            placed,
            ErrorCode::InvalidRequest,
            "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.",
        ),
        (
            null,
            ErrorCode::InvalidConfig,
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            config,
            ErrorCode::InvalidConfig,
            "Unknown topic config name: no.such.key",
        ),
    ] {
        assert_eq!(
            node.create(topic).await,
            Err((error, Some(message.to_owned())))
        );
    }
}

#[tokio::test]
async fn a_validation_changes_nothing_and_no_time_is_a_timeout() {
    let node = Node::start().await;
    let admin = node.admin();
    let validated = admin.create_topics(TIMEOUT_MS, true, vec![new_topic("t", -1, -1)]);
    let validated = validated.await.remove("t").unwrap().unwrap();
    assert_eq!(
        (validated.num_partitions, validated.replication_factor),
        (1, 1)
    );
    assert!(
        validated
            .configs
            .iter()
            .any(|entry| entry.name == "retention.ms")
    );
    assert!(
        node.coordination
            .exists(paths::topic("t"), false)
            .await
            .unwrap()
            .is_none()
    );

    let hurried = admin.create_topics(0, false, vec![new_topic("t", 1, 1)]);
    let error = hurried.await.remove("t").unwrap().unwrap_err().error;
    assert_eq!(error, ErrorCode::RequestTimedOut);
    assert!(
        node.coordination
            .exists(paths::topic("t"), false)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn topics_are_made_because_somebody_asks_for_them() {
    let node = Node::start().await;
    let wanted = ["__consumer_offsets", "a b", "t"].map(TopicName::from);
    let results = node
        .admin()
        .auto_create_topics(&node.in_creation, wanted)
        .await;
    let results: std::collections::BTreeMap<_, _> = results.into_iter().collect();
    assert_eq!(
        results[&TopicName::from("a b")],
        ErrorCode::InvalidTopicException
    );
    assert_eq!(
        results[&TopicName::from("t")],
        ErrorCode::LeaderNotAvailable
    );
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let made = node.metadata_cache.wait_until(deadline, |snapshot| {
        snapshot
            .topic("__consumer_offsets")
            .is_some_and(|topic| topic.partitions.len() == 50)
    });
    assert!(made.await);
}

#[tokio::test]
async fn an_expired_session_is_replaced_and_the_controllership_regained() {
    let node = Node::start().await;
    node.create(new_topic("t", 1, 1)).await.unwrap();
    let before = node.controller.broker_epoch();
    node.service.expire(node.coordination.session_id());
    while node.controller.broker_epoch() == before || !node.controller.is_active() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = node.controller.broker_epoch();
    assert!(after > before);
    assert_eq!(node.epoch.load(Ordering::SeqCst), after.0);
    assert_eq!(node.create(new_topic("u", 1, 1)).await, Ok(1));
    let ids = ApiRequest::AllocateProducerIds {
        broker: BrokerId(0),
        broker_epoch: after,
    };
    assert_eq!(
        node.controller.ask(ids).await,
        Answer::AllocateProducerIds(Ok((ProducerId(0), 1000)))
    );
}

#[tokio::test]
async fn a_session_that_ends_before_the_controller_starts_is_replaced_too() {
    let node = Node::start_after(MemoryService::expire).await;
    let registered = node
        .coordination
        .get_data(paths::broker(BrokerId(0)), false);
    let (_, stat) = registered.await.unwrap();
    assert_eq!(stat.ephemeral_owner, node.coordination.session_id());
    assert_eq!(node.epoch.load(Ordering::SeqCst), stat.czxid);
}

#[tokio::test]
async fn after_the_shutdown_callers_are_turned_away() {
    let node = Node::start().await;
    node.controller.shut_down().await;
    assert!(!node.controller.is_active());
    let list = ApiRequest::ListPartitionReassignments(None);
    assert_eq!(node.controller.ask(list).await, Answer::Nothing);
}
