use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as kafka;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use ottla_model::ErrorCode;

use super::*;
use crate::api::keys;
use crate::guard::tests::{Random, request_without};
use crate::header::RequestHeader;
use crate::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::DecodeError;
use crate::part::Part;

fn header(api_version: i16) -> RequestHeader {
    RequestHeader {
        api_key: keys::PRODUCE,
        api_version,
        correlation_id: 7,
        client_id: Some("me".into()),
    }
}

fn join(parts: Vec<Part>) -> Bytes {
    let mut out = BytesMut::new();
    for part in parts {
        let Part::Bytes(bytes) = part else {
            panic!("no file was given");
        };
        out.extend_from_slice(&bytes);
    }
    out.freeze()
}

#[test]
fn requests_survive_decoding_and_encoding_in_every_version() {
    let mut random = Random(1);
    for version in 0..=11 {
        for _ in 0..100 {
            let body = request_without(keys::PRODUCE, version, &mut random, &["none"]);
            let request = ProduceRequest::decode(version, body.clone()).unwrap();
            let mut frame = join(request.encode(&header(version)).unwrap());
            assert_eq!(RequestHeader::decode(&mut frame), Ok(header(version)));
            assert_eq!(frame, body, "version {version}");
        }
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let mut random = Random(2);
    let mut seen = 0;
    for _ in 0..100 {
        let body = request_without(keys::PRODUCE, 11, &mut random, &[]);
        let request = ProduceRequest::decode(11, body.clone()).unwrap();
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        for records in partitions.filter_map(|partition| partition.records.as_ref()) {
            assert!(body.as_ptr_range().contains(&records.as_ptr()));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn shorter_bodies_are_refused_and_longer_ones_tolerated() {
    let mut random = Random(3);
    for version in 0..=11 {
        let body = request_without(keys::PRODUCE, version, &mut random, &[]);
        for length in 0..body.len() {
            assert!(ProduceRequest::decode(version, body.slice(..length)).is_err());
        }
        let longer = Bytes::from([&body[..], b"more"].concat());
        assert_eq!(
            ProduceRequest::decode(version, longer).unwrap(),
            ProduceRequest::decode(version, body).unwrap()
        );
    }
    assert!(matches!(
        ProduceRequest::decode(12, Bytes::new()),
        Err(DecodeError::UnsupportedVersion { .. })
    ));
}

#[test]
fn responses_are_those_of_kafka_protocol_in_every_version() {
    for version in 0..=11 {
        let response = ProduceResponse {
            topics: vec![ProduceTopicResponse {
                name: "topic".into(),
                partitions: vec![
                    ProducePartitionResponse {
                        index: 3,
                        error_code: ErrorCode::NotLeaderOrFollower,
                        base_offset: 5,
                        log_append_time_ms: 6,
                        log_start_offset: 7,
                        record_errors: vec![RecordError {
                            batch_index: 8,
                            message: Some("bad".into()),
                        }],
                        error_message: Some("worse".into()),
                        current_leader: LeaderIdAndEpoch {
                            leader_id: 9,
                            leader_epoch: 10,
                        },
                    },
                    ProducePartitionResponse::error(4, ErrorCode::CorruptMessage),
                ],
            }],
            throttle_time_ms: 11,
            node_endpoints: vec![NodeEndpoint {
                node_id: 9,
                host: "host".into(),
                port: 9092,
                rack: None,
            }],
        };
        let mut frame = response.encode(&header(version)).unwrap();
        assert_eq!(frame.get_i32(), 7);
        if version >= 9 {
            assert_eq!(frame.get_u8(), 0);
        }
        let mut expected = BytesMut::new();
        as_kafka(&response, version)
            .encode(&mut expected, version)
            .unwrap();
        assert_eq!(frame, expected, "version {version}");
        kafka::ProduceResponse::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
    }
}

/// The same response in kafka-protocol's types, without what the version does not have.
fn as_kafka(response: &ProduceResponse, version: i16) -> kafka::ProduceResponse {
    use kafka::produce_response as of;
    let partition = |partition: &ProducePartitionResponse| {
        let mut out = of::PartitionProduceResponse::default()
            .with_index(partition.index)
            .with_error_code(partition.error_code.code())
            .with_base_offset(partition.base_offset)
            .with_log_append_time_ms(partition.log_append_time_ms)
            .with_log_start_offset(partition.log_start_offset);
        if version >= 8 {
            let errors = partition.record_errors.iter().map(|error| {
                of::BatchIndexAndErrorMessage::default()
                    .with_batch_index(error.batch_index)
                    .with_batch_index_error_message(error.message.clone())
            });
            out = out
                .with_record_errors(errors.collect())
                .with_error_message(partition.error_message.clone());
        }
        if version >= 10 {
            out = out.with_current_leader(
                of::LeaderIdAndEpoch::default()
                    .with_leader_id(partition.current_leader.leader_id.into())
                    .with_leader_epoch(partition.current_leader.leader_epoch),
            );
        }
        out
    };
    let topics = response.topics.iter().map(|topic| {
        of::TopicProduceResponse::default()
            .with_name(kafka::TopicName(topic.name.clone()))
            .with_partition_responses(topic.partitions.iter().map(partition).collect())
    });
    let mut out = kafka::ProduceResponse::default()
        .with_responses(topics.collect())
        .with_throttle_time_ms(response.throttle_time_ms);
    if version >= 10 {
        let endpoints = response.node_endpoints.iter().map(|endpoint| {
            of::NodeEndpoint::default()
                .with_node_id(endpoint.node_id.into())
                .with_host(StrBytes::from_string(endpoint.host.to_string()))
                .with_port(endpoint.port)
        });
        out = out.with_node_endpoints(endpoints.collect());
    }
    out
}
