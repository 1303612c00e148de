//! The client against a broker that knows little, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FindCoordinatorRequest, HeartbeatRequest, MetadataRequest,
    MetadataResponse, RequestKind,
};
use ottla_model::ErrorCode;
use ottla_network::{
    BoundListener, ListenerConfig, Outcome, RequestContext, Server, ServerConfig, Service,
};
use ottla_protocol::fetch::{
    FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
};
use ottla_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use ottla_protocol::{ApiTable, Part, decode_request, encode_response, keys};
use parking_lot::Mutex;

use super::*;

/// One broker with one topic of one partition, whose log is a list of blobs.
#[derive(Default)]
struct SmallBroker {
    log: Mutex<Vec<Bytes>>,
}

impl Service for SmallBroker {
    async fn call(&self, context: RequestContext, body: Bytes) -> Outcome {
        let header = &context.header;
        let version = header.api_version;
        match header.api_key {
            keys::PRODUCE => match ProduceRequest::decode(version, body) {
                Ok(request) if request.acks == 0 => {
                    self.append(request);
                    Outcome::NoResponse
                }
                Ok(request) => self.append(request).encode(header).into(),
                Err(error) => error.into(),
            },
            keys::FETCH => match FetchRequest::decode(version, body) {
                Ok(request) => self.read(&request).encode(header).into(),
                Err(error) => error.into(),
            },
            _ => match decode_request(header.api_key, version, body) {
                Ok(RequestKind::Metadata(request)) => {
                    encode_response(header, &metadata(&context, request)).into()
                }
                Ok(RequestKind::ApiVersions(_)) => encode_response(header, &versions()).into(),
                Ok(RequestKind::FindCoordinator(_)) => std::future::pending().await,
                Ok(RequestKind::Heartbeat(_)) => Bytes::from_static(b"\0\0\0\0").into(),
                _ => Outcome::Close,
            },
        }
    }
}

impl SmallBroker {
    fn append(&self, request: ProduceRequest) -> ProduceResponse {
        let mut log = self.log.lock();
        let topics = request
            .topics
            .into_iter()
            .map(|topic| ProduceTopicResponse {
                name: topic.name,
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|partition| {
                        if partition.index != 0 {
                            let code = ErrorCode::UnknownTopicOrPartition;
                            return ProducePartitionResponse::error(partition.index, code);
                        }
                        log.push(partition.records.unwrap_or_default());
                        ProducePartitionResponse {
                            base_offset: log.len() as i64 - 1,
                            log_start_offset: 0,
                            ..ProducePartitionResponse::error(0, ErrorCode::None)
                        }
                    })
                    .collect(),
            });
        ProduceResponse {
            topics: topics.collect(),
            ..ProduceResponse::default()
        }
    }

    fn read(&self, request: &FetchRequest) -> FetchResponse {
        let log = self.log.lock();
        let topics = request.topics.iter().map(|topic| FetchTopicResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let records = log.get(partition.fetch_offset as usize);
                    FetchPartitionResponse {
                        high_watermark: log.len() as i64,
                        log_start_offset: 0,
                        records: records.cloned().map(Part::Bytes),
                        ..FetchPartitionResponse::error(partition.partition, ErrorCode::None)
                    }
                })
                .collect(),
        });
        FetchResponse {
            topics: topics.collect(),
            ..FetchResponse::default()
        }
    }
}

fn metadata(context: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(5));
        MetadataResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(vec![partition])
    });
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(5))
        .with_host("127.0.0.1".into())
        .with_port(context.local_address.port().into());
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_controller_id(BrokerId(5))
        .with_topics(topics.collect())
}

fn versions() -> ApiVersionsResponse {
    let range = |key, min, max| {
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(min)
            .with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(vec![range(3, 2, 5), range(12, 9, 10)])
}

fn serve() -> (Server, u16) {
    let config = ServerConfig::new(Arc::new(ApiTable::everything()));
    let listener = ListenerConfig::plaintext("PLAINTEXT", "127.0.0.1", 0);
    let listener = BoundListener::bind(listener, &config).unwrap();
    let port = listener.local_address().port();
    let server = Server::start(vec![listener], config, Arc::new(SmallBroker::default()));
    (server, port)
}

fn config() -> ConnectionConfig {
    ConnectionConfig::new("test")
}

async fn connect(port: u16) -> Connection {
    Connection::connect("127.0.0.1", port, &config())
        .await
        .unwrap()
}

#[tokio::test]
async fn overlapping_requests_get_their_own_responses() {
    let (_server, port) = serve();
    let connection = connect(port).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..50 {
        let connection = connection.clone();
        tasks.spawn(async move {
            let name = kafka_protocol::messages::TopicName(format!("topic-{index}").into());
            let topic = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                .with_name(Some(name.clone()));
            let request = MetadataRequest::default().with_topics(Some(vec![topic]));
            let version = 4 + index % 8;
            let response = connection.send(&request, version).await.unwrap();
            assert_eq!(response.topics[0].name, Some(name));
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn records_go_to_the_leader_and_come_back() {
    let (_server, port) = serve();
    let mut client = Client::new("127.0.0.1", port, config());
    for (offset, records) in ["first", "second"].into_iter().enumerate() {
        let produced = client.produce("topic", 0, records.into()).await.unwrap();
        assert_eq!(produced, offset as i64);
    }
    let fetched = client.fetch("topic", 0, 1, 0).await.unwrap();
    assert_eq!(fetched.records, "second");
    assert_eq!(fetched.high_watermark, 2);
    let error = client.produce("topic", 7, Bytes::new()).await.unwrap_err();
    assert!(matches!(
        error,
        ClientError::Broker {
            code: ErrorCode::UnknownTopicOrPartition,
            ..
        }
    ));
}

#[tokio::test]
async fn produce_without_acks_has_no_response_and_does_not_shift_the_next() {
    let (_server, port) = serve();
    let connection = connect(port).await;
    let request = ProduceRequest {
        acks: 0,
        topics: vec![ottla_protocol::produce::ProduceTopic {
            name: "topic".into(),
            partitions: vec![Default::default()],
        }],
        ..ProduceRequest::default()
    };
    assert_eq!(connection.produce(&request, 9).await.unwrap(), None);
    assert_eq!(connection.produce(&request, 3).await.unwrap(), None);
    let versions = connection.api_versions().await.unwrap();
    assert_eq!(versions.highest::<MetadataRequest>().unwrap(), 5);
    assert!(matches!(
        versions.highest::<HeartbeatRequest>(),
        Err(ClientError::NoCommonVersion { .. })
    ));
}

#[tokio::test]
async fn a_timeout_closes_the_connection() {
    let (_server, port) = serve();
    let config = ConnectionConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    };
    // The greeting has no more time than any other request.
    let connection = loop {
        match Connection::connect("127.0.0.1", port, &config).await {
            Ok(connection) => break connection,
            Err(ClientError::Timeout { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let error = connection
        .send(&FindCoordinatorRequest::default(), 0)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }));
    assert!(error.is_retriable());
    assert!(connection.is_closed());
    let error = connection.send(&MetadataRequest::default(), 1).await;
    assert!(matches!(error, Err(ClientError::Disconnected(_))));
}

#[tokio::test]
async fn a_response_that_cannot_be_read_closes_the_connection() {
    let (_server, port) = serve();
    let connection = connect(port).await;
    let error = connection
        .send(&HeartbeatRequest::default(), 0)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Decode(_)));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn the_end_of_the_broker_fails_requests_in_flight() {
    let (server, port) = serve();
    let connection = connect(port).await;
    connection
        .send(&MetadataRequest::default(), 1)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(&FindCoordinatorRequest::default(), 0).await }
    });
    tokio::task::yield_now().await;
    server.shutdown(Duration::from_millis(10)).await;
    let result = waiting.await.unwrap();
    assert!(matches!(result, Err(ClientError::Disconnected(_))));
    assert!(matches!(
        Connection::connect("127.0.0.1", port, &config()).await,
        Err(ClientError::Connect { .. })
    ));
}
