//! Produce (key 0, versions 0–11): appends to the partitions that this broker leads
//! (`KafkaApis.handleProduceRequest`).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use ottla_model::ErrorCode;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_network::{Outcome, RequestContext, Response};
use ottla_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError,
};
use ottla_protocol::{NodeEndpoint, keys};
use ottla_record::{AppendOrigin, BatchIterator, BatchView, CompressionType, Magic};
use ottla_replication::partition::Required;
use ottla_storage::VerificationGuard;

use super::{current_leader, produce_verification, wire};
use crate::broker::Broker;
use crate::client_quotas::{Charge, Throttle};
use crate::replica_manager::{AppendEntry, AppendOutcome};

/// The client id of the one client that may write to internal topics (`AdminUtils`).
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// From this version on, the current leader is told with NOT_LEADER_OR_FOLLOWER.
const FIRST_WITH_LEADERS: i16 = 10;
/// From this version on, a partition carries exactly one batch of magic 2.
const FIRST_WITH_ONE_BATCH: i16 = 3;
/// From this version on, zstd may be used (KIP-110).
const FIRST_WITH_ZSTD: i16 = 7;

/// Appends, waits for replicas if asked to, and answers. With acks=0 there is no answer, and an
/// error closes the connection so that the producer notices.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    body: Bytes,
    charge: Option<&Charge<'_>>,
) -> Outcome {
    let version = context.header.api_version;
    let request = match ProduceRequest::decode(version, body) {
        Ok(request) => request,
        Err(error) => return Outcome::Malformed(error),
    };
    let acks = request.acks;
    let topics = match whole_request_error(&request) {
        Some((error, message)) => refuse(&request, error, message.as_deref()),
        None => append(broker, context, request).await,
    };
    let throttle = charge
        .map(|charge| charge.produce(acks))
        .unwrap_or_default();
    if acks == 0 {
        return without_answer(context, &topics, throttle);
    }
    let mut response = ProduceResponse {
        topics,
        throttle_time_ms: throttle.millis,
        ..ProduceResponse::default()
    };
    if version >= FIRST_WITH_LEADERS {
        response.node_endpoints = tell_leaders(broker, context, &mut response.topics);
    }
    broker.request_metrics.errors(keys::PRODUCE, &response);
    let outcome = response.encode(&context.header).into();
    match charge {
        Some(charge) => charge.after(outcome, throttle),
        None => outcome,
    }
}

/// Errors of a request as a whole: its first batches tell whether it is transactional, which
/// needs a transactional id.
/// The second value is a message that says more than the error's own.
fn whole_request_error(request: &ProduceRequest) -> Option<(ErrorCode, Option<String>)> {
    for partition in request.topics.iter().flat_map(|topic| &topic.partitions) {
        let Some(records) = &partition.records else {
            continue;
        };
        match BatchIterator::new(records).next() {
            Some(Ok(batch)) if batch.is_transactional() && request.transactional_id.is_none() => {
                return Some((ErrorCode::TransactionalIdAuthorizationFailed, None));
            }
            Some(Err(error)) => return Some((error.error_code(), Some(error.to_string()))),
            Some(Ok(_)) | None => {}
        }
    }
    None
}

fn refuse(
    request: &ProduceRequest,
    error: ErrorCode,
    message: Option<&str>,
) -> Vec<ProduceTopicResponse> {
    let topics = request.topics.iter().map(|topic| ProduceTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| ProducePartitionResponse {
                error_message: message.map(wire::text),
                ..ProducePartitionResponse::error(partition.index, error)
            })
            .collect(),
    });
    topics.collect()
}

/// Appends what can be appended; the answers stand where the request has its partitions.
async fn append(
    broker: &Broker,
    context: &RequestContext,
    mut request: ProduceRequest,
) -> Vec<ProduceTopicResponse> {
    let version = context.header.api_version;
    let required = Required::from_acks(request.acks);
    let internal_topics_allowed = context.client_id() == ADMIN_CLIENT_ID;
    keep_last_of_duplicates(&mut request);

    let snapshot = broker.metadata_cache.snapshot();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut entries = Vec::new();
    let mut places = Vec::new();
    for topic in request.topics {
        let known = snapshot.topic(&topic.name);
        let is_internal =
            [GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC].contains(&topic.name.as_str());
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.index;
            let mut error = None;
            let records = partition.records.unwrap_or_default();
            if !known.is_some_and(|known| known.partitions.contains_key(&index)) {
                error = Some(ErrorCode::UnknownTopicOrPartition);
            } else if let Err(code) = check_records(version, &records) {
                error = Some(code);
            } else if required.is_none() {
                error = Some(ErrorCode::InvalidRequiredAcks);
            } else if is_internal && !internal_topics_allowed {
                error = Some(ErrorCode::InvalidTopicException);
            }
            if error.is_none() {
                let hosted = broker.replica_manager.find_online(&topic.name, index);
                entries.push(AppendEntry {
                    hosted,
                    records,
                    guard: VerificationGuard::NONE,
                });
                places.push((topics.len(), partitions.len()));
            }
            let answer = error.unwrap_or(ErrorCode::None);
            partitions.push(ProducePartitionResponse::error(index, answer));
        }
        topics.push(ProduceTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    if let Some(required) = required
        && !entries.is_empty()
    {
        if let Some(transactional_id) = &request.transactional_id {
            let refused =
                produce_verification::verify(broker, version, transactional_id, &mut entries).await;
            let mut place = 0;
            entries.retain(|_| {
                place += 1;
                !refused.contains_key(&(place - 1))
            });
            let mut kept = Vec::with_capacity(entries.len());
            for (place, (topic, partition)) in places.into_iter().enumerate() {
                match refused.get(&place) {
                    Some(outcome) => {
                        fill(&mut topics[topic].partitions[partition], outcome.clone())
                    }
                    None => kept.push((topic, partition)),
                }
            }
            places = kept;
        }
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let outcomes = broker
            .replica_manager
            .append(timeout, required, AppendOrigin::Client, entries)
            .await;
        for ((topic, partition), outcome) in places.into_iter().zip(outcomes) {
            fill(&mut topics[topic].partitions[partition], outcome);
        }
    }
    topics
}

fn fill(response: &mut ProducePartitionResponse, outcome: AppendOutcome) {
    response.error_code = outcome.error;
    response.base_offset = outcome.base_offset;
    response.log_append_time_ms = outcome.log_append_time.0;
    response.log_start_offset = outcome.log_start_offset;
    response.error_message = outcome.error_message.map(StrBytes::from_string);
    response.record_errors = outcome
        .record_errors
        .into_iter()
        .map(|(batch_index, message)| RecordError {
            batch_index,
            message: Some(StrBytes::from_string(message)),
        })
        .collect();
}

/// What a version allows in a partition's records (`ProduceRequest.validateRecords`). Older
/// versions may carry anything: old clients sent magics that did not fit the version.
fn check_records(version: i16, records: &[u8]) -> Result<(), ErrorCode> {
    if version < FIRST_WITH_ONE_BATCH {
        return Ok(());
    }
    let mut batches = BatchIterator::new(records);
    let mut next = || -> Result<Option<BatchView<'_>>, ErrorCode> {
        batches
            .next()
            .transpose()
            .map_err(|error| error.error_code())
    };
    let Some(batch) = next()? else {
        return Err(ErrorCode::InvalidRecord);
    };
    if batch.magic != Magic::V2 {
        return Err(ErrorCode::InvalidRecord);
    }
    if version < FIRST_WITH_ZSTD && batch.compression_type() == Ok(CompressionType::Zstd) {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    match next()? {
        Some(_) => Err(ErrorCode::InvalidRecord),
        None => Ok(()),
    }
}

/// A partition that is named more than once counts once, as last named.
fn keep_last_of_duplicates(request: &mut ProduceRequest) {
    let total: usize = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    if total <= 1 {
        return;
    }
    let mut last: HashMap<(StrBytes, i32), usize> = HashMap::with_capacity(total);
    let mut number = 0;
    for topic in &request.topics {
        for partition in &topic.partitions {
            last.insert((topic.name.clone(), partition.index), number);
            number += 1;
        }
    }
    if last.len() == total {
        return;
    }
    number = 0;
    for topic in &mut request.topics {
        topic.partitions.retain(|partition| {
            number += 1;
            last.get(&(topic.name.clone(), partition.index)) == Some(&(number - 1))
        });
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
}

fn without_answer(
    context: &RequestContext,
    topics: &[ProduceTopicResponse],
    throttle: Throttle,
) -> Outcome {
    let failed = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |p| (&topic.name, p)))
        .find(|(_, partition)| !partition.error_code.is_none());
    match failed {
        None if throttle.millis > 0 => Outcome::Respond(Response {
            throttle: throttle.duration(),
            ..Response::default()
        }),
        None => Outcome::NoResponse,
        Some((topic, partition)) => {
            tracing::info!(
                connection = context.connection_id,
                client_id = context.client_id(),
                topic = topic.as_str(),
                partition = partition.index,
                error = partition.error_code.name(),
                "closing connection due to error during produce request with acks=0"
            );
            Outcome::Close
        }
    }
}

/// Fills in who leads the partitions that this broker does not (KIP-951).
fn tell_leaders(
    broker: &Broker,
    context: &RequestContext,
    topics: &mut [ProduceTopicResponse],
) -> Vec<NodeEndpoint> {
    let mut endpoints = current_leader::Endpoints::default();
    for topic in topics {
        for partition in &mut topic.partitions {
            if partition.error_code == ErrorCode::NotLeaderOrFollower {
                partition.current_leader =
                    endpoints.leader_of(broker, context, &topic.name, partition.index);
            }
        }
    }
    endpoints.into_list()
}

#[cfg(test)]
mod tests {
    use ottla_model::Timestamp;
    use ottla_protocol::produce::{ProducePartition, ProduceTopic};
    use ottla_record::RecordBatchBuilder;

    use super::*;

    fn batch() -> Bytes {
        let mut builder = RecordBatchBuilder::new(0);
        builder.append(Timestamp(1), None, Some(b"v")).unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn from_version_3_on_exactly_one_batch_of_magic_2() {
        let one = batch();
        let two: Bytes = [one.as_ref(), one.as_ref()].concat().into();
        let cut = one.slice(..one.len() - 1);
        for version in 3..=11 {
            assert_eq!(check_records(version, &one), Ok(()));
            assert_eq!(check_records(version, &two), Err(ErrorCode::InvalidRecord));
            assert_eq!(check_records(version, &cut), Err(ErrorCode::InvalidRecord));
            assert_eq!(check_records(version, &[]), Err(ErrorCode::InvalidRecord));
        }
        for version in 0..=2 {
            assert_eq!(check_records(version, &two), Ok(()));
            assert_eq!(check_records(version, &[]), Ok(()));
        }
    }

    #[test]
    fn of_duplicate_partitions_the_last_one_counts() {
        let partition = |index, records: &'static [u8]| ProducePartition {
            index,
            records: Some(Bytes::from_static(records)),
        };
        let topic = |partitions| ProduceTopic {
            name: StrBytes::from_static_str("t"),
            partitions,
        };
        let mut request = ProduceRequest {
            topics: vec![
                topic(vec![partition(0, b"a"), partition(1, b"b")]),
                topic(vec![partition(0, b"c")]),
            ],
            ..ProduceRequest::default()
        };
        keep_last_of_duplicates(&mut request);
        assert_eq!(
            request.topics,
            [
                topic(vec![partition(1, b"b")]),
                topic(vec![partition(0, b"c")])
            ]
        );
    }
}
