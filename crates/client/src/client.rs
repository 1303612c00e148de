//! A small client that finds partition leaders: for tests and tools, one request at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use ottla_model::{ErrorCode, TopicId};
use ottla_protocol::Part;
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};

use crate::connection::{Connection, ConnectionConfig};
use crate::error::ClientError;

/// Versions that every broker of 3.9 speaks and that name topics by name.
const METADATA_VERSION: i16 = 12;
const CREATE_TOPICS_VERSION: i16 = 7;
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

/// What a fetch of one partition gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches as stored, possibly beginning before the offset asked for.
    pub records: Bytes,
    /// The partition's high watermark.
    pub high_watermark: i64,
    /// The partition's first offset.
    pub log_start_offset: i64,
}

/// Connections to the brokers of one cluster, made when they are needed.
#[derive(Debug)]
pub struct Client {
    config: ConnectionConfig,
    bootstrap: (String, u16),
    connections: BTreeMap<(String, u16), Connection>,
}

impl Client {
    /// A client that learns about the cluster from this broker. Connects at the first request.
    pub fn new(host: &str, port: u16, config: ConnectionConfig) -> Self {
        Self {
            config,
            bootstrap: (host.to_owned(), port),
            connections: BTreeMap::new(),
        }
    }

    /// The connection to the broker that the client was given.
    pub async fn bootstrap(&mut self) -> Result<Connection, ClientError> {
        let (host, port) = self.bootstrap.clone();
        self.connection(&host, port).await
    }

    /// Creates a topic through the active controller, and waits until the brokers know it.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
    ) -> Result<(), ClientError> {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let controller = self.controller().await?;
        let response = controller.send(&request, CREATE_TOPICS_VERSION).await?;
        for topic in &response.topics {
            check(
                topic.error_code,
                topic.error_message.as_deref().unwrap_or_default(),
            )?;
        }
        Ok(())
    }

    /// What the bootstrap broker knows of one topic.
    pub async fn topic_metadata(&mut self, name: &str) -> Result<MetadataResponse, ClientError> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.bootstrap()
            .await?
            .send(&request, METADATA_VERSION)
            .await
    }

    /// Appends record batches to a partition and waits for all in-sync replicas; answers the first
    /// record's offset.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> Result<i64, ClientError> {
        let leader = self.leader(topic, partition).await?;
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topics: vec![ProduceTopic {
                name: topic.to_owned().into(),
                partitions: vec![ProducePartition {
                    index: partition,
                    records: Some(records),
                }],
            }],
            ..ProduceRequest::default()
        };
        let response = leader.produce(&request, PRODUCE_VERSION).await?;
        let answers = response.iter().flat_map(|response| &response.responses);
        let answer = answers
            .flat_map(|topic| &topic.partition_responses)
            .next()
            .ok_or_else(|| no_answer(topic, partition))?;
        check(
            answer.error_code,
            answer.error_message.as_deref().unwrap_or_default(),
        )?;
        Ok(answer.base_offset)
    }

    /// Reads from a partition's leader, waiting at most `max_wait_ms` for a first byte.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_wait_ms: i32,
    ) -> Result<Fetched, ClientError> {
        let leader = self.leader(topic, partition).await?;
        let request = FetchRequest {
            max_wait_ms,
            min_bytes: 1,
            max_bytes: 50 << 20,
            topics: vec![FetchTopic {
                name: topic.to_owned().into(),
                topic_id: TopicId::ZERO,
                partitions: vec![FetchPartition {
                    partition,
                    current_leader_epoch: -1,
                    fetch_offset: offset,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    max_bytes: 50 << 20,
                }],
            }],
            ..FetchRequest::default()
        };
        let response = leader.fetch(&request, FETCH_VERSION).await?;
        check(response.error_code.code(), "")?;
        let answers = response.topics.into_iter();
        let answer = answers
            .flat_map(|topic| topic.partitions)
            .next()
            .ok_or_else(|| no_answer(topic, partition))?;
        check(answer.error_code.code(), "")?;
        Ok(Fetched {
            records: match answer.records {
                Some(Part::Bytes(records)) => records,
                Some(Part::FileRange { .. } | Part::Lazy { .. }) | None => Bytes::new(),
            },
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
        })
    }

    /// The connection to a partition's leader, by fresh metadata.
    pub async fn leader(&mut self, topic: &str, partition: i32) -> Result<Connection, ClientError> {
        let metadata = self.topic_metadata(topic).await?;
        let found = metadata
            .topics
            .first()
            .ok_or_else(|| no_answer(topic, partition))?;
        check(found.error_code, topic)?;
        let leader = found
            .partitions
            .iter()
            .find(|candidate| candidate.partition_index == partition)
            .ok_or_else(|| no_answer(topic, partition))?
            .leader_id;
        self.broker(&metadata, leader.0).await
    }

    /// The connection to the active controller, by fresh metadata.
    pub async fn controller(&mut self) -> Result<Connection, ClientError> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let bootstrap = self.bootstrap().await?;
        let metadata = bootstrap.send(&request, METADATA_VERSION).await?;
        self.broker(&metadata, metadata.controller_id.0).await
    }

    async fn broker(
        &mut self,
        metadata: &MetadataResponse,
        id: i32,
    ) -> Result<Connection, ClientError> {
        let broker = metadata
            .brokers
            .iter()
            .find(|broker| broker.node_id.0 == id);
        let address = broker.and_then(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((broker.host.to_string(), port))
        });
        let Some((host, port)) = address else {
            let code = ErrorCode::BrokerNotAvailable;
            let detail = format!("broker {id}");
            return Err(ClientError::Broker { code, detail });
        };
        self.connection(&host, port).await
    }

    async fn connection(&mut self, host: &str, port: u16) -> Result<Connection, ClientError> {
        let key = (host.to_owned(), port);
        if let Some(connection) = self.connections.get(&key).filter(|open| !open.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Connection::connect(host, port, &self.config).await?;
        self.connections.insert(key, connection.clone());
        Ok(connection)
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn check(code: i16, detail: &str) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Broker {
            code,
            detail: detail.to_owned(),
        }),
    }
}

fn no_answer(topic: &str, partition: i32) -> ClientError {
    ClientError::Broker {
        code: ErrorCode::UnknownTopicOrPartition,
        detail: format!("no answer for {topic}-{partition}"),
    }
}
