//! Fetch (key 1, versions 0–17): records for consumers and followers
//! (`KafkaApis.handleFetchRequest`, `FetchManager`).

mod down_conversion;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use ottla_config::CompressionType;
use ottla_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, TopicId, TopicName};
use ottla_network::{Outcome, RequestContext, Response};
use ottla_protocol::fetch::{
    AbortedTransaction, DivergingEpoch, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicResponse,
};
use ottla_protocol::{Part, keys};
use ottla_record::LazyConvertError;
use ottla_replication::fetch_session::{
    AnswerFacts, FetchKind, FetchMetadata, FetchPartition, FetchTarget, INVALID_SESSION_ID, Resumed,
};
use ottla_replication::partition::ReadRequirement;
use ottla_storage::{FetchIsolation, FileSlice};

use super::current_leader;
use crate::broker::Broker;
use crate::client_quotas::{Charge, Throttle};
use crate::metadata_cache::MetadataSnapshot;
use crate::metrics::{FETCH_CONSUMER, FETCH_FOLLOWER};
use crate::replica_manager::{ClientPlace, FetchEntry, FetchParams, ReadResult};

/// From this version on, topics are named by id (KIP-516).
const FIRST_WITH_TOPIC_IDS: i16 = 13;
/// From this version on, consumers may be sent to, and read from, followers (KIP-392).
const FIRST_FROM_FOLLOWER: i16 = 11;
/// From this version on, clients understand zstd (KIP-110).
const FIRST_WITH_ZSTD: i16 = 10;
/// From this version on, the current leader is told where this broker does not lead (KIP-951).
const FIRST_WITH_LEADERS: i16 = 16;
/// Up to this version, the batches of an answer may be cut and the first one is not spared.
const LAST_WITH_HARD_LIMIT: i16 = 2;
/// Up to this version, clients do not know KAFKA_STORAGE_ERROR.
const LAST_WITHOUT_STORAGE_ERROR: i16 = 5;
/// Records up to this size are copied into the answer: cheaper than a call to sendfile.
const INLINE_BYTES_MAX: usize = 4096;

/// One partition of a request on its way to an answer.
struct Asked {
    /// Its place in the session, for incremental requests.
    slot: u64,
    target: FetchTarget,
    request: FetchPartition,
    /// Known before anything is read: the partition or its topic is unknown.
    refused: Option<ErrorCode>,
}

/// How the request stands to the cache of sessions.
enum Context {
    Sessionless,
    Full,
    Incremental,
}

/// Bytes of a Fetch response without partitions, and of a partition with its topic (version 17).
const RESPONSE_BYTES: usize = 16;
const PARTITION_BYTES: usize = 55;
/// Bytes of an aborted transaction: its producer's id and its first offset.
const ABORTED_TRANSACTION_BYTES: usize = 16;

/// Reads, or waits and reads, and answers.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    body: Bytes,
    charge: Option<&Charge<'_>>,
) -> Outcome {
    let version = context.header.api_version;
    let request = match FetchRequest::decode(version, body) {
        Ok(request) => request,
        Err(error) => return Outcome::Malformed(error),
    };
    let is_follower = request.replica_id >= 0;
    let mark = if is_follower {
        FETCH_FOLLOWER
    } else {
        FETCH_CONSUMER
    };
    // Followers are throttled by other means.
    let charge = charge.filter(|_| !is_follower);
    let snapshot = broker.metadata_cache.snapshot();
    let metadata = FetchMetadata {
        session_id: request.session_id,
        epoch: request.session_epoch,
    };
    let (session, mut asked) = match begin(broker, &snapshot, version, metadata, &request) {
        Ok(begun) => begun,
        Err(error) => {
            let response = FetchResponse {
                error_code: error,
                ..FetchResponse::default()
            };
            let throttle = charge.map(|charge| charge.fetch(RESPONSE_BYTES));
            return respond(broker, context, mark, response, charge.zip(throttle));
        }
    };
    for partition in &mut asked {
        partition.refused = refusal(&snapshot, &partition.target);
    }
    // Partitions that are not read come last in the answer.
    asked.sort_by_key(|partition| partition.refused.is_some());
    drop(snapshot);

    let entries = entries(broker, &asked);
    let quota_bytes = charge.map_or(i32::MAX, Charge::fetch_max_bytes);
    let params = params(broker, context, &request, quota_bytes);
    let read = broker.replica_manager.fetch(&params, &entries).await;
    let mut results: Vec<_> = asked
        .iter()
        .filter_map(|partition| partition.refused)
        .map(ReadResult::failed)
        .collect();
    let mut all = read;
    all.append(&mut results);
    let throttle = charge.map(|charge| charge.fetch(response_size(&session, &all)));
    if let Some(throttle) = throttle
        && throttle.millis > 0
    {
        // Nothing is sent, and the session does not learn what was read.
        let session_id = match session {
            Context::Incremental => metadata.session_id,
            Context::Full | Context::Sessionless => INVALID_SESSION_ID,
        };
        let response = FetchResponse {
            session_id,
            ..FetchResponse::default()
        };
        return respond(broker, context, mark, response, charge.zip(Some(throttle)));
    }
    count_bytes(broker, is_follower, &entries, &all);

    let mut keep = vec![true; all.len()];
    let session_id = match end(
        broker, version, session, metadata, &request, &asked, &all, &mut keep,
    ) {
        Ok(session_id) => session_id,
        Err(error) => {
            let session_id = metadata.session_id;
            let response = FetchResponse {
                error_code: error,
                session_id,
                ..FetchResponse::default()
            };
            return respond(broker, context, mark, response, charge.zip(throttle));
        }
    };
    if is_follower {
        count_throttled(broker, &entries, &all, &keep);
    }
    let mut answer = Answer::new(broker, context, is_follower);
    for ((partition, result), _) in asked.iter().zip(all).zip(keep).filter(|(_, keep)| *keep) {
        answer.push(partition, result).await;
    }
    let response = answer.into_response(session_id);
    respond(broker, context, mark, response, charge.zip(throttle))
}

fn respond(
    broker: &Broker,
    context: &RequestContext,
    mark: u8,
    mut response: FetchResponse,
    charged: Option<(&Charge<'_>, Throttle)>,
) -> Outcome {
    if let Some((_, throttle)) = charged {
        response.throttle_time_ms = throttle.millis;
    }
    broker.request_metrics.errors(keys::FETCH, &response);
    let outcome = match response.encode(&context.header) {
        Ok(parts) => Outcome::Respond(Response {
            parts,
            mark,
            ..Response::default()
        }),
        Err(error) => {
            tracing::error!(%error, "fetch response could not be encoded; closing connection");
            Outcome::Close
        }
    };
    match charged {
        Some((charge, throttle)) => charge.after(outcome, throttle),
        None => outcome,
    }
}

/// The bytes of the answer as a consumer's quota counts them: before anything is converted, and, in
/// an incremental session, without partitions that have nothing to tell.
fn response_size(session: &Context, results: &[ReadResult]) -> usize {
    let partitions = results.iter().filter_map(|result| {
        let is_told = !matches!(session, Context::Incremental)
            || result.size() > 0
            || !result.error.is_none();
        is_told.then(|| {
            let aborted = result.aborted_transactions.as_ref().map_or(0, Vec::len);
            PARTITION_BYTES + result.size() + aborted * ABORTED_TRANSACTION_BYTES
        })
    });
    RESPONSE_BYTES + partitions.sum::<usize>()
}

fn count_bytes(broker: &Broker, is_follower: bool, entries: &[FetchEntry], read: &[ReadResult]) {
    for (entry, result) in entries.iter().zip(read) {
        if let (Ok(hosted), size @ 1..) = (&entry.hosted, result.size()) {
            let counts = broker.replica_manager.counts();
            counts.bytes_out(&hosted.topic_counts, is_follower, size);
        }
    }
}

/// What is sent to followers counts against the leader's limit, in sync or not. As in Kafka an
/// empty answer counts a little too, which keeps the window of measurement open: a throttle that
/// begins after a quiet time lets through what the whole window allows.
fn count_throttled(broker: &Broker, entries: &[FetchEntry], read: &[ReadResult], keep: &[bool]) {
    let replicas = &broker.replica_manager;
    let throttled = entries
        .iter()
        .zip(read)
        .zip(keep)
        .filter_map(|((entry, result), keep)| {
            let hosted = entry.hosted.as_ref().ok().filter(|_| *keep)?;
            let counts = replicas.is_throttled_as_leader(hosted.topic_partition());
            counts.then(|| PARTITION_BYTES + result.size())
        });
    replicas.sent_to_follower(RESPONSE_BYTES + throttled.sum::<usize>());
}

/// Which partitions are asked for: those that the request names, or those of its session.
fn begin(
    broker: &Broker,
    snapshot: &MetadataSnapshot,
    version: i16,
    metadata: FetchMetadata,
    request: &FetchRequest,
) -> Result<(Context, Vec<Asked>), ErrorCode> {
    let uses_topic_ids = version >= FIRST_WITH_TOPIC_IDS;
    let names = Names {
        broker,
        snapshot,
        uses_topic_ids,
    };
    let named = named_partitions(&names, request);
    let sessions = &broker.replica_manager.fetch_sessions;
    let kind = metadata.kind();
    if kind != FetchKind::Incremental {
        sessions.remove(metadata.session_id);
        let context = if kind == FetchKind::Full {
            Context::Full
        } else {
            Context::Sessionless
        };
        return Ok((context, as_asked(named)));
    }
    let forgotten: Vec<_> = request
        .forgotten_topics
        .iter()
        .flat_map(|topic| {
            let name = names.resolve(&topic.name, topic.topic_id);
            let target = move |&partition| FetchTarget {
                topic: name.clone(),
                topic_id: topic.topic_id,
                partition,
            };
            topic.partitions.iter().map(target)
        })
        .collect();
    let shard = sessions
        .shard_of(metadata.session_id)
        .ok_or(ErrorCode::FetchSessionIdNotFound)?;
    let mut shard = shard.lock();
    let now = broker.clock.now();
    match shard.resume(now, metadata, uses_topic_ids, &named, &forgotten)? {
        Resumed::Closed => Ok((Context::Sessionless, as_asked(named))),
        Resumed::Incremental => {
            let resolve = |id: TopicId| snapshot.topic_name(id).cloned();
            let asked = shard
                .partitions(metadata.session_id, &resolve)
                .into_iter()
                .map(|(slot, target, request)| Asked {
                    slot,
                    target,
                    request,
                    refused: None,
                })
                .collect();
            Ok((Context::Incremental, asked))
        }
    }
}

fn as_asked(named: Vec<(FetchTarget, FetchPartition)>) -> Vec<Asked> {
    let asked = named.into_iter().map(|(target, request)| Asked {
        slot: 0,
        target,
        request,
        refused: None,
    });
    asked.collect()
}

/// Topics as a request names them.
struct Names<'a> {
    broker: &'a Broker,
    snapshot: &'a MetadataSnapshot,
    uses_topic_ids: bool,
}

impl Names<'_> {
    fn resolve(&self, name: &StrBytes, id: TopicId) -> Option<TopicName> {
        if self.uses_topic_ids {
            self.snapshot.topic_name(id).cloned()
        } else {
            let shared = self.broker.replica_manager.topic_name(name);
            Some(shared.unwrap_or_else(|| TopicName::from(name.as_str())))
        }
    }
}

/// The partitions that a request names; of one that is named twice the last mention counts.
fn named_partitions(
    names: &Names<'_>,
    request: &FetchRequest,
) -> Vec<(FetchTarget, FetchPartition)> {
    let total = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let mut named: Vec<(FetchTarget, FetchPartition)> = Vec::with_capacity(total);
    let mut places = HashMap::new();
    for topic in &request.topics {
        let name = names.resolve(&topic.name, topic.topic_id);
        for partition in &topic.partitions {
            let request = FetchPartition {
                fetch_offset: partition.fetch_offset,
                log_start_offset: partition.log_start_offset,
                max_bytes: partition.max_bytes,
                current_leader_epoch: epoch(partition.current_leader_epoch),
                last_fetched_epoch: epoch(partition.last_fetched_epoch),
            };
            if total > 1 {
                let key = (topic.name.clone(), topic.topic_id, partition.partition);
                let place = *places.entry(key).or_insert(named.len());
                if let Some(earlier) = named.get_mut(place) {
                    earlier.1 = request;
                    continue;
                }
            }
            let target = FetchTarget {
                topic: name.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
            };
            named.push((target, request));
        }
    }
    named
}

fn epoch(raw: i32) -> Option<LeaderEpoch> {
    (raw >= 0).then_some(LeaderEpoch(raw))
}

fn refusal(snapshot: &MetadataSnapshot, target: &FetchTarget) -> Option<ErrorCode> {
    let Some(name) = &target.topic else {
        return Some(ErrorCode::UnknownTopicId);
    };
    let is_known = snapshot
        .topic(name.as_str())
        .is_some_and(|topic| topic.partitions.contains_key(&target.partition));
    (!is_known).then_some(ErrorCode::UnknownTopicOrPartition)
}

fn entries(broker: &Broker, asked: &[Asked]) -> Vec<FetchEntry> {
    let readable = asked.iter().filter(|partition| partition.refused.is_none());
    readable
        .map(|partition| {
            let target = &partition.target;
            let hosted = match &target.topic {
                Some(name) => broker
                    .replica_manager
                    .find_online(name.as_str(), target.partition),
                None => Err(ErrorCode::UnknownTopicId),
            };
            FetchEntry {
                hosted,
                topic_id: Some(target.topic_id).filter(|id| !id.is_zero()),
                request: partition.request,
            }
        })
        .collect()
}

fn params<'a>(
    broker: &Broker,
    context: &'a RequestContext,
    request: &'a FetchRequest,
    quota_bytes: i32,
) -> FetchParams<'a> {
    let version = context.header.api_version;
    let follower = (request.replica_id >= 0).then_some((
        BrokerId(request.replica_id),
        BrokerEpoch(request.replica_epoch),
    ));
    let fetch_max_bytes = broker.configs.broker().fetch_max_bytes;
    let bytes_max = request.max_bytes.min(fetch_max_bytes).min(quota_bytes);
    let is_consumer = follower.is_none();
    FetchParams {
        follower,
        from: if is_consumer && version >= FIRST_FROM_FOLLOWER {
            ReadRequirement::AnyReplica
        } else {
            ReadRequirement::Leader
        },
        wait_max: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        bytes_min: i64::from(request.min_bytes.min(bytes_max)),
        bytes_max: usize::try_from(bytes_max).unwrap_or(0),
        is_limit_hard: version <= LAST_WITH_HARD_LIMIT,
        isolation: if !is_consumer {
            FetchIsolation::LogEnd
        } else if request.isolation_level == 1 {
            FetchIsolation::TxnCommitted
        } else {
            FetchIsolation::HighWatermark
        },
        client: (is_consumer && version >= FIRST_FROM_FOLLOWER).then(|| ClientPlace {
            rack: &request.rack_id,
            listener: context.listener.as_str(),
        }),
    }
}

/// Brings the session up to date and tells which partitions need not be answered; gives back the
/// session's id.
#[allow(
    clippy::too_many_arguments,
    reason = "the end of one request, called once"
)]
fn end(
    broker: &Broker,
    version: i16,
    context: Context,
    metadata: FetchMetadata,
    request: &FetchRequest,
    asked: &[Asked],
    results: &[ReadResult],
    keep: &mut [bool],
) -> Result<i32, ErrorCode> {
    let sessions = &broker.replica_manager.fetch_sessions;
    match context {
        Context::Sessionless => Ok(INVALID_SESSION_ID),
        Context::Full => {
            let partitions: Vec<_> = asked
                .iter()
                .zip(results)
                .map(|(partition, result)| {
                    (
                        partition.target.clone(),
                        partition.request,
                        facts(version, result),
                    )
                })
                .collect();
            let is_follower = request.replica_id >= 0;
            let uses_topic_ids = version >= FIRST_WITH_TOPIC_IDS;
            Ok(sessions.create(broker.clock.now(), is_follower, uses_topic_ids, &partitions))
        }
        Context::Incremental => {
            let Some(shard) = sessions.shard_of(metadata.session_id) else {
                return Ok(metadata.session_id);
            };
            let mut answers = asked
                .iter()
                .zip(results)
                .zip(keep)
                .map(|((partition, result), keep)| (partition.slot, facts(version, result), keep));
            shard.lock().finish(metadata, &mut answers)?;
            Ok(metadata.session_id)
        }
    }
}

fn facts(version: i16, result: &ReadResult) -> AnswerFacts {
    AnswerFacts {
        records_size: result.size() as u64,
        high_watermark: result.high_watermark,
        log_start_offset: result.log_start_offset,
        error: for_version(version, result.error),
        redirects_or_diverges: result.preferred_read_replica.is_some()
            || result.diverging_epoch.is_some(),
    }
}

fn for_version(version: i16, error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::KafkaStorageError && version <= LAST_WITHOUT_STORAGE_ERROR {
        ErrorCode::NotLeaderOrFollower
    } else {
        error
    }
}

/// The answer in the making: partitions of one topic that follow each other share its entry.
struct Answer<'a> {
    broker: &'a Broker,
    context: &'a RequestContext,
    is_follower: bool,
    topics: Vec<FetchTopicResponse>,
    endpoints: current_leader::Endpoints,
}

impl<'a> Answer<'a> {
    fn new(broker: &'a Broker, context: &'a RequestContext, is_follower: bool) -> Self {
        Self {
            broker,
            context,
            is_follower,
            topics: Vec::new(),
            endpoints: current_leader::Endpoints::default(),
        }
    }

    async fn push(&mut self, asked: &Asked, result: ReadResult) {
        let partition = self.partition(asked, result).await;
        let target = &asked.target;
        let name = target.topic.as_ref().map_or("", TopicName::as_str);
        match self.topics.last_mut() {
            Some(last) if last.topic_id == target.topic_id && last.name.as_str() == name => {
                last.partitions.push(partition);
            }
            _ => self.topics.push(FetchTopicResponse {
                name: StrBytes::from_string(name.to_owned()),
                topic_id: target.topic_id,
                partitions: vec![partition],
            }),
        }
    }

    async fn partition(&mut self, asked: &Asked, result: ReadResult) -> FetchPartitionResponse {
        let version = self.context.header.api_version;
        let index = asked.target.partition;
        if let Some(error) = asked.refused {
            return unread(index, error);
        }
        if let Some(error) = self.conversion_error(asked) {
            return unconverted(index, error);
        }
        let records = match self.records(asked, result.records).await {
            Ok(records) => records,
            Err(error) => return unconverted(index, for_version(version, error)),
        };
        let mut response = FetchPartitionResponse {
            high_watermark: result.high_watermark,
            last_stable_offset: result.last_stable_offset,
            log_start_offset: result.log_start_offset,
            diverging_epoch: result.diverging_epoch.map(|end| DivergingEpoch {
                epoch: end.leader_epoch.0,
                end_offset: end.end_offset,
            }),
            aborted_transactions: result.aborted_transactions.map(|aborted| {
                let of = |transaction: ottla_storage::AbortedTransaction| AbortedTransaction {
                    producer_id: transaction.producer_id.0,
                    first_offset: transaction.first_offset,
                };
                aborted.into_iter().map(of).collect()
            }),
            preferred_read_replica: result.preferred_read_replica.map_or(-1, |id| id.0),
            records: Some(records),
            ..FetchPartitionResponse::error(index, for_version(version, result.error))
        };
        let leads_elsewhere = matches!(
            result.error,
            ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
        );
        if version >= FIRST_WITH_LEADERS
            && leads_elsewhere
            && let Some(name) = &asked.target.topic
        {
            response.current_leader =
                self.endpoints
                    .leader_of(self.broker, self.context, name.as_str(), index);
        }
        response
    }

    /// The records as they are sent, in a format that the client knows.
    async fn records(&self, asked: &Asked, read: Option<FileSlice>) -> Result<Part, ErrorCode> {
        let Some(slice) = read else {
            return Ok(Part::Bytes(Bytes::new()));
        };
        let part = match down_conversion::target(self.context.header.api_version) {
            None => part(slice).map_err(LazyConvertError::Read),
            Some(magic) => {
                let replicas = &self.broker.replica_manager;
                let topic = asked.target.topic.as_ref().map_or("", TopicName::as_str);
                let hosted = replicas.find_online(topic, asked.target.partition).ok();
                let topic = hosted.map(|hosted| Arc::clone(&hosted.topic_counts));
                let all = Arc::clone(replicas.counts());
                let offset = asked.request.fetch_offset;
                down_conversion::convert(all, topic, slice, magic, offset).await
            }
        };
        part.map_err(|error| {
            let code = error.error_code();
            if code != ErrorCode::UnsupportedCompressionType {
                tracing::error!(%error, target = ?asked.target, "records could not be read");
            }
            code
        })
    }

    /// Whether the client cannot be served from this topic at all.
    fn conversion_error(&self, asked: &Asked) -> Option<ErrorCode> {
        let version = self.context.header.api_version;
        if version >= FIRST_WITH_ZSTD {
            return None;
        }
        let topic = asked.target.topic.as_ref()?;
        let hosted = self
            .broker
            .replica_manager
            .find_online(topic.as_str(), asked.target.partition)
            .ok()?;
        let view = hosted.view();
        view.reader().ok()?;
        if view.config.compression_type == CompressionType::Zstd {
            return Some(ErrorCode::UnsupportedCompressionType);
        }
        let is_forbidden = !self.is_follower && !view.config.message_downconversion_enable;
        (is_forbidden && down_conversion::target(version).is_some())
            .then_some(ErrorCode::UnsupportedVersion)
    }

    fn into_response(self, session_id: i32) -> FetchResponse {
        FetchResponse {
            session_id,
            topics: self.topics,
            node_endpoints: self.endpoints.into_list(),
            ..FetchResponse::default()
        }
    }
}

/// The answer for a partition that was not read (`FetchResponse.partitionResponse`): unlike one that
/// was read in vain, it has a list of aborted transactions, an empty one.
fn unread(index: i32, error: ErrorCode) -> FetchPartitionResponse {
    FetchPartitionResponse {
        aborted_transactions: Some(Vec::new()),
        ..FetchPartitionResponse::error(index, error)
    }
}

/// The answer where the records could not be given to this client: unlike all others, it has null
/// in their place.
fn unconverted(index: i32, error: ErrorCode) -> FetchPartitionResponse {
    FetchPartitionResponse {
        records: None,
        ..unread(index, error)
    }
}

/// A range of a file goes to the socket without passing through this process, unless it is so
/// small that copying is cheaper, or the file is none of the system's.
fn part(slice: FileSlice) -> std::io::Result<Part> {
    match slice.descriptor() {
        Some(file) if slice.length > INLINE_BYTES_MAX => Ok(Part::FileRange {
            file,
            position: slice.position,
            length: slice.length,
        }),
        _ => slice.read().map(Part::Bytes),
    }
}
