//! Followers against a small leader over a real socket: its log is a list of batches, and it speaks
//! Fetch, OffsetForLeaderEpoch and ListOffsets. Broker 1 follows, broker 2 leads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsResponse, RequestKind};
use kafka_protocol::protocol::StrBytes;
use ottla_config::BrokerConfig;
use ottla_model::control::{
    ControlHeader, LeaderAndIsrPartition, LeaderAndIsrRequest, UpdateMetadataRequest,
};
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, ErrorCode, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, Offset, PartitionEpoch, ReplicaAssignment, SecurityProtocol,
    Timestamp, TopicId, TopicName, TopicPartition,
};
use ottla_network::{
    BoundListener, ListenerConfig, Outcome, RequestContext, Server, ServerConfig, Service,
};
use ottla_protocol::fetch::{
    DivergingEpoch, FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicResponse,
};
use ottla_protocol::{ApiTable, Part, decode_request, encode_response, keys};
use ottla_record::{AppendOrigin, RecordBatchBuilder};
use ottla_storage::directory::MemoryDirectory;
use ottla_storage::{FetchIsolation, LogConfig, LogDirs, LogManager, LogManagerSettings};
use parking_lot::Mutex;

use super::*;
use crate::clock::Clock;
use crate::configs::Configs;
use crate::metadata_cache::MetadataCache;
use crate::replica_manager::ReplicaManager;

const ID: TopicId = TopicId([7; 16]);
const SESSION: i32 = 9;
const LIST_OFFSETS: i16 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// A batch in the leader's log.
#[derive(Clone)]
struct Batch {
    end: Offset,
    epoch: i32,
    bytes: Bytes,
}

/// What broker 2 has, and what it was asked.
#[derive(Default)]
struct State {
    log: Vec<Batch>,
    log_start_offset: Offset,
    /// Answered once, instead of records.
    error: Option<ErrorCode>,
    asked: Vec<String>,
    /// The session's partition as it was last named.
    session: Option<FetchPartition>,
}

impl State {
    fn end(&self) -> Offset {
        self.log.last().map_or(self.log_start_offset, |b| b.end)
    }

    fn append(&mut self, epoch: i32, records: usize) {
        let first = self.end();
        let bytes = batch(first, epoch, records);
        let end = first + Offset::try_from(records).unwrap();
        self.log.push(Batch { end, epoch, bytes });
    }

    /// The largest epoch not above, and its end.
    fn end_of(&self, epoch: i32) -> (i32, Offset) {
        let known = self.log.iter().filter(|b| b.epoch <= epoch);
        known.last().map_or((-1, -1), |b| (b.epoch, b.end))
    }
}

#[derive(Clone, Default)]
struct Leader(Arc<Mutex<State>>);

impl Service for Leader {
    async fn call(&self, context: RequestContext, body: Bytes) -> Outcome {
        let header = &context.header;
        let version = header.api_version;
        let client = header.client_id.clone().unwrap_or_default();
        self.note(format!("{} v{version} {client}", header.api_key));
        if header.api_key == keys::FETCH {
            return match FetchRequest::decode(version, body) {
                Ok(request) => {
                    let response = self.read(&request);
                    if response.topics.is_empty() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    response.encode(header).into()
                }
                Err(error) => error.into(),
            };
        }
        match decode_request(header.api_key, version, body) {
            Ok(RequestKind::ListOffsets(request)) => {
                let asked = &request.topics[0].partitions[0];
                let state = self.0.lock();
                let offset = match asked.timestamp {
                    -1 => state.end(),
                    _ => state.log_start_offset,
                };
                let partition = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_offset(offset);
                let topic = ListOffsetsTopicResponse::default()
                    .with_name(request.topics[0].name.clone())
                    .with_partitions(vec![partition]);
                let response = ListOffsetsResponse::default().with_topics(vec![topic]);
                encode_response(header, &response).into()
            }
            _ => Outcome::Close,
        }
    }
}

impl Leader {
    fn note(&self, what: String) {
        let mut state = self.0.lock();
        if state.asked.last() != Some(&what) {
            state.asked.push(what);
        }
    }

    fn read(&self, request: &FetchRequest) -> FetchResponse {
        let mut response = FetchResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: SESSION,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        };
        let mut state = self.0.lock();
        let named = request.topics.iter().flat_map(|topic| &topic.partitions);
        match named.into_iter().next() {
            Some(named) => state.session = Some(named.clone()),
            None if request.session_epoch > 0 && request.forgotten_topics.is_empty() => {}
            None => state.session = None,
        }
        let Some(asked) = state.session.clone() else {
            return response;
        };
        let mut answer = FetchPartitionResponse::error(0, ErrorCode::None);
        answer.high_watermark = state.end();
        answer.log_start_offset = state.log_start_offset;
        let (epoch, end_offset) = state.end_of(asked.last_fetched_epoch);
        let diverges = asked.last_fetched_epoch >= 0
            && (epoch < asked.last_fetched_epoch || end_offset < asked.fetch_offset);
        if let Some(error) = state.error.take() {
            answer.error_code = error;
        } else if asked.fetch_offset < state.log_start_offset || asked.fetch_offset > state.end() {
            answer.error_code = ErrorCode::OffsetOutOfRange;
        } else if diverges {
            answer.diverging_epoch = Some(DivergingEpoch { epoch, end_offset });
        } else {
            let mut records = BytesMut::new();
            for batch in state.log.iter().filter(|b| b.end > asked.fetch_offset) {
                records.extend_from_slice(&batch.bytes);
            }
            if records.is_empty() && request.session_epoch > 1 {
                return response;
            }
            answer.records = Some(Part::Bytes(records.freeze()));
        }
        response.topics.push(FetchTopicResponse {
            name: StrBytes::default(),
            topic_id: ID,
            partitions: vec![answer],
        });
        response
    }
}

fn batch(first: Offset, epoch: i32, records: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::new(first).leader_epoch(LeaderEpoch(epoch));
    for _ in 0..records {
        let value = format!("{first} of {epoch}");
        builder
            .append(Timestamp(1_000), None, Some(value.as_bytes()))
            .unwrap();
    }
    builder.build().unwrap()
}

struct Cluster {
    leader: Leader,
    replicas: Arc<ReplicaManager>,
    fetchers: Arc<Fetchers>,
    server: Server,
    port: u16,
}

fn header() -> ControlHeader {
    ControlHeader {
        controller_id: BrokerId(2),
        controller_epoch: ControllerEpoch(1),
        broker_epoch: BrokerEpoch::NONE,
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl Cluster {
    async fn start() -> Self {
        let leader = Leader::default();
        let apis = [keys::FETCH, LIST_OFFSETS];
        let config = ServerConfig::new(Arc::new(ApiTable::new(&apis)));
        let listener = ListenerConfig::plaintext("PLAINTEXT", "127.0.0.1", 0);
        let bound = BoundListener::bind(listener, &config).unwrap();
        let port = bound.local_address().port();
        let server = Server::start(vec![bound], config, Arc::new(leader.clone()));

        let properties = [
            ("zookeeper.connect", "localhost:1"),
            ("broker.id", "1"),
            ("log.index.size.max.bytes", "4096"),
            ("replica.fetch.backoff.ms", "20"),
        ];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = BrokerConfig::from_properties(properties.into()).unwrap();
        let configs = Arc::new(Configs::new(config).unwrap());
        let clock = Clock::start();
        let directory = Arc::new(MemoryDirectory::default());
        let dirs = LogDirs::open(directory, &[PathBuf::from("/data")]).unwrap();
        let log_config = |_: &TopicName| Arc::new(LogConfig::default());
        let settings = LogManagerSettings::default();
        let logs = LogManager::load(dirs, settings, &log_config, clock.wall()).unwrap();
        let cache = Arc::new(MetadataCache::default());
        let replicas = ReplicaManager::new(
            BrokerId(1),
            clock,
            Arc::clone(&configs),
            Arc::clone(&cache),
            Arc::new(logs),
        );
        let fetchers = Fetchers::start(&configs.broker(), &replicas, &cache);
        let cluster = Self {
            leader,
            replicas,
            fetchers,
            server,
            port,
        };
        cluster.describe();
        cluster
    }

    fn describe(&self) {
        let broker = |id| LiveBroker {
            id: BrokerId(id),
            epoch: BrokerEpoch::NONE,
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".into(),
                protocol: SecurityProtocol::Plaintext,
                host: "127.0.0.1".into(),
                port: i32::from(self.port),
            }],
            rack: None,
        };
        let error = self.replicas.update_metadata(&UpdateMetadataRequest {
            header: header(),
            partitions: Vec::new(),
            topic_ids: Vec::new(),
            live_brokers: vec![broker(1), broker(2)],
        });
        assert_eq!(error, ErrorCode::None);
    }

    async fn command(&self, leader: i32, leader_epoch: i32) {
        let command = LeaderAndIsrPartition {
            topic_partition: tp(),
            state: LeaderAndIsr {
                leader: BrokerId(leader),
                leader_epoch: LeaderEpoch(leader_epoch),
                isr: vec![BrokerId(leader)],
                recovery: LeaderRecoveryState::Recovered,
                partition_epoch: PartitionEpoch(leader_epoch),
                controller_epoch: ControllerEpoch(1),
            },
            assignment: ReplicaAssignment::of([BrokerId(1), BrokerId(2)]),
            is_new: true,
        };
        let request = LeaderAndIsrRequest {
            header: header(),
            partitions: vec![command],
            topic_ids: vec![(tp().topic, ID)],
            live_leaders: Vec::new(),
        };
        let response = self.replicas.become_leader_or_follower(request).await;
        assert_eq!(response.partitions, [(tp(), ErrorCode::None)]);
    }

    /// Broker 1 leads and writes for a while.
    async fn lead(&self, leader_epoch: i32, records: usize) {
        self.command(1, leader_epoch).await;
        let entries = vec![(tp(), batch(0, 0, records))];
        let outcome = self
            .replicas
            .append_records(PATIENCE, 1, false, AppendOrigin::Client, entries)
            .await;
        assert_eq!(outcome[0].1.error, ErrorCode::None);
    }

    /// Waits until broker 1 has what broker 2 has, to the byte.
    async fn caught_up(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.is_caught_up() {
            let asked = || format!("{:?}", self.leader.0.lock().asked);
            assert!(tokio::time::Instant::now() < deadline, "{}", asked());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn is_caught_up(&self) -> bool {
        let Some(reader) = self.replicas.reader(&tp()) else {
            return false;
        };
        let state = self.leader.0.lock();
        let (start, end) = (state.log_start_offset, state.end());
        let expected: Vec<u8> = state.log.iter().flat_map(|b| b.bytes.to_vec()).collect();
        drop(state);
        if (reader.log_start_offset(), reader.log_end_offset()) != (start, end)
            || reader.high_watermark() != end
        {
            return false;
        }
        let read = reader.read(start, 1 << 20, FetchIsolation::LogEnd, true);
        let bytes = read.unwrap().slice.map(|slice| slice.read().unwrap());
        bytes.unwrap_or_default() == expected
    }

    async fn stop(self) -> Vec<String> {
        self.fetchers.shut_down().await;
        self.server.shutdown(Duration::ZERO).await;
        std::mem::take(&mut self.leader.0.lock().asked)
    }
}

#[tokio::test]
async fn a_follower_copies_its_leader_to_the_byte_with_fixed_versions_and_no_handshake() {
    let cluster = Cluster::start().await;
    cluster.leader.0.lock().append(1, 3);
    cluster.command(2, 1).await;
    cluster.caught_up().await;
    cluster.leader.0.lock().append(1, 2);
    cluster.caught_up().await;
    cluster.leader.0.lock().error = Some(ErrorCode::NotLeaderOrFollower);
    cluster.leader.0.lock().append(1, 2);
    cluster.caught_up().await;
    assert_eq!(cluster.fetchers.counts().partitions, 1);
    assert_eq!(cluster.stop().await, ["1 v17 broker-1-fetcher-0"]);
}

#[tokio::test]
async fn a_deposed_leader_truncates_where_histories_part() {
    let cluster = Cluster::start().await;
    // Broker 1 has written epochs 1 and 3 alone; broker 2 has epochs 1, with less, and 4.
    cluster.lead(1, 5).await;
    cluster.lead(3, 4).await;
    {
        let mut state = cluster.leader.0.lock();
        let of_broker_1 = cluster.replicas.reader(&tp()).unwrap();
        let read = of_broker_1.read(0, 1, FetchIsolation::LogEnd, true);
        let bytes = read.unwrap().slice.unwrap().read().unwrap();
        state.log.push(Batch {
            end: 5,
            epoch: 1,
            bytes,
        });
        state.append(4, 2);
    }
    cluster.command(2, 4).await;
    cluster.caught_up().await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_empty_follower_starts_where_the_leader_starts() {
    let cluster = Cluster::start().await;
    cluster.leader.0.lock().log_start_offset = 100;
    cluster.leader.0.lock().append(1, 3);
    cluster.command(2, 1).await;
    cluster.caught_up().await;
    let asked = cluster.stop().await;
    assert!(
        asked.contains(&"2 v9 broker-1-fetcher-0".to_owned()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_fenced_follower_fails_until_the_controller_tells_more() {
    let cluster = Cluster::start().await;
    cluster.leader.0.lock().error = Some(ErrorCode::FencedLeaderEpoch);
    cluster.leader.0.lock().append(2, 3);
    cluster.command(2, 1).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while cluster.fetchers.counts().failed_partitions == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    cluster.command(2, 2).await;
    cluster.caught_up().await;
    assert_eq!(cluster.fetchers.counts().failed_partitions, 0);
    // A leader follows nobody, and a fetcher without partitions ends.
    cluster.command(1, 3).await;
    assert_eq!(cluster.fetchers.counts(), FetcherCounts::default());
    cluster.stop().await;
}
