//! Requests to one broker, whoever leads: what a client or controller that is wrong about the
//! cluster would send.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::Request;
use ottla_client::{Connection, ConnectionConfig};
use ottla_model::{Timestamp, TopicId};
use ottla_protocol::Part;
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use ottla_record::{BatchIterator, RecordBatchBuilder};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const CREATE_TOPICS_VERSION: i16 = 7;
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a broker may take, in milliseconds; less than the patience.
const TIMEOUT_MS: i32 = 120_000;
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// One connection to one broker.
#[derive(Debug)]
pub struct Direct {
    runtime: Runtime,
    connection: Connection,
}

/// A request on its way, whose answer is asked for later.
#[derive(Debug)]
pub struct Pending<T>(JoinHandle<anyhow::Result<T>>);

impl Direct {
    /// Connects to `host:port`.
    pub fn connect(address: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (host, port) = address.rsplit_once(':').context("no port")?;
        let mut config = ConnectionConfig::new("direct");
        config.connect_timeout = PATIENCE;
        config.request_timeout = PATIENCE;
        let connecting = Connection::connect(host, port.parse()?, &config);
        let connection = runtime.block_on(connecting)?;
        Ok(Self {
            runtime,
            connection,
        })
    }

    /// Sends a request and waits for its answer.
    pub fn send<R: Request>(&self, request: &R, version: i16) -> anyhow::Result<R::Response> {
        let sending = self.connection.send(request, version);
        Ok(self.runtime.block_on(sending)?)
    }

    /// Creates a topic with these replicas for each of its partitions, through this broker, which
    /// must be the controller.
    pub fn create_topic(&self, name: &str, assignment: &[&[u32]]) -> anyhow::Result<()> {
        let response = self.send(&creation(name, assignment)?, CREATE_TOPICS_VERSION)?;
        for topic in &response.topics {
            anyhow::ensure!(topic.error_code == 0, "{topic:?}");
        }
        Ok(())
    }

    /// Sends a request whose answer is asked for later.
    pub fn begin<R>(&self, request: R, version: i16) -> Pending<R::Response>
    where
        R: Request + Send + Sync + 'static,
        R::Response: Send,
    {
        let connection = self.connection.clone();
        Pending(
            self.runtime
                .spawn(async move { Ok(connection.send(&request, version).await?) }),
        )
    }

    /// Sends one record, whose answer is asked for later.
    pub fn begin_produce(
        &self,
        topic: &str,
        value: &str,
        acks: i16,
    ) -> anyhow::Result<Pending<ProduceResponse>> {
        let request = ProduceRequest {
            acks,
            timeout_ms: TIMEOUT_MS,
            topics: vec![ProduceTopic {
                name: topic.to_owned().into(),
                partitions: vec![ProducePartition {
                    index: 0,
                    records: Some(batch(value)?),
                }],
            }],
            ..ProduceRequest::default()
        };
        let connection = self.connection.clone();
        Ok(Pending(self.runtime.spawn(async move {
            let response = connection.produce(&request, PRODUCE_VERSION).await?;
            response.context("no response")
        })))
    }

    /// Sends one record to partition 0 and tells the error code.
    pub fn produce(&self, topic: &str, value: &str, acks: i16) -> anyhow::Result<i16> {
        let pending = self.begin_produce(topic, value, acks)?;
        produce_error(&self.wait(pending)?)
    }

    /// Fetches from partition 0 as a consumer that believes in a leader epoch (−1: in none).
    pub fn fetch(&self, topic: &str, offset: i64, epoch: i32) -> anyhow::Result<FetchResponse> {
        let request = FetchRequest {
            min_bytes: 1,
            max_bytes: RESPONSE_BYTES_MAX as i32,
            topics: vec![FetchTopic {
                name: topic.to_owned().into(),
                topic_id: TopicId::ZERO,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: epoch,
                    fetch_offset: offset,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    max_bytes: RESPONSE_BYTES_MAX as i32,
                }],
            }],
            ..FetchRequest::default()
        };
        let fetching = self.connection.fetch(&request, FETCH_VERSION);
        Ok(self.runtime.block_on(fetching)?)
    }

    /// Sends a fetch, whatever it asks for.
    pub fn fetch_as(&self, request: &FetchRequest) -> anyhow::Result<FetchResponse> {
        let fetching = self.connection.fetch(request, FETCH_VERSION);
        Ok(self.runtime.block_on(fetching)?)
    }

    /// Sends record batches, whatever they hold; the acks must ask for an answer.
    pub fn produce_as(&self, request: &ProduceRequest) -> anyhow::Result<ProduceResponse> {
        let producing = self.connection.produce(request, PRODUCE_VERSION);
        self.runtime.block_on(producing)?.context("no response")
    }

    /// The error code that a fetch of partition 0 is answered with.
    pub fn fetch_error(&self, topic: &str, offset: i64, epoch: i32) -> anyhow::Result<i16> {
        let response = self.fetch(topic, offset, epoch)?;
        if response.error_code.code() != 0 {
            return Ok(response.error_code.code());
        }
        let partitions = response.topics.iter().flat_map(|t| &t.partitions);
        let first = partitions.map(|p| p.error_code.code()).next();
        first.context("no partition in the answer")
    }

    /// The values of partition 0, as many as fit one answer.
    pub fn values(&self, topic: &str) -> anyhow::Result<Vec<String>> {
        let response = self.fetch(topic, 0, -1)?;
        let partitions = response.topics.into_iter().flat_map(|t| t.partitions);
        let partition = partitions.into_iter().next().context("no partition")?;
        anyhow::ensure!(partition.error_code.is_none(), "{:?}", partition.error_code);
        let Some(Part::Bytes(bytes)) = partition.records else {
            return Ok(Vec::new());
        };
        let mut values = Vec::new();
        for batch in BatchIterator::new(&bytes) {
            for record in batch?.records(RESPONSE_BYTES_MAX)?.iter()? {
                let value = record?.value.unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        Ok(values)
    }

    /// The answer to a request that was sent before.
    pub fn wait<T>(&self, pending: Pending<T>) -> anyhow::Result<T> {
        self.runtime.block_on(pending.0)?
    }
}

/// The error code of the only partition of an answer.
pub fn produce_error(response: &ProduceResponse) -> anyhow::Result<i16> {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    let first = partitions.map(|partition| partition.error_code).next();
    first.context("no partition in the answer")
}

/// The order to create a topic with these replicas for each of its partitions.
pub fn creation(name: &str, assignment: &[&[u32]]) -> anyhow::Result<CreateTopicsRequest> {
    let mut assignments = Vec::new();
    for (index, replicas) in (0..).zip(assignment) {
        let ids = replicas.iter().map(|id| i32::try_from(*id).map(BrokerId));
        let assigned = CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(ids.collect::<Result<_, _>>()?);
        assignments.push(assigned);
    }
    let topic = CreatableTopic::default()
        .with_name(TopicName(name.to_owned().into()))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments);
    Ok(CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS))
}

/// A batch of one record.
fn batch(value: &str) -> anyhow::Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut builder = RecordBatchBuilder::new(0);
    builder.append(Timestamp(i64::try_from(now)?), None, Some(value.as_bytes()))?;
    Ok(builder.build()?)
}
