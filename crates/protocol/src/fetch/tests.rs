use std::fs::File;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages as kafka;
use kafka_protocol::protocol::Decodable;
use ottla_model::{ErrorCode, TopicId};

use super::*;
use crate::api::{Api, keys};
use crate::guard::tests::{Random, request_without, response_without};
use crate::header::RequestHeader;
use crate::leader::LeaderIdAndEpoch;
use crate::part::Part;

fn header(api_version: i16) -> RequestHeader {
    RequestHeader {
        api_key: keys::FETCH,
        api_version,
        correlation_id: 7,
        client_id: None,
    }
}

fn join(parts: &[Part]) -> Bytes {
    let mut out = BytesMut::new();
    for part in parts {
        let Part::Bytes(bytes) = part else {
            panic!("no file was given");
        };
        out.extend_from_slice(bytes);
    }
    out.freeze()
}

#[test]
fn requests_survive_decoding_and_encoding_in_every_version() {
    let mut random = Random(1);
    for version in 0..=17 {
        for _ in 0..100 {
            let body = request_without(keys::FETCH, version, &mut random, &["ReplicaDirectoryId"]);
            let request = FetchRequest::decode(version, body.clone()).unwrap();
            let mut frame = request.encode(&header(version)).unwrap();
            assert_eq!(RequestHeader::decode(&mut frame), Ok(header(version)));
            assert_eq!(frame, body, "version {version}");
        }
    }
}

#[test]
fn tagged_fields_that_are_not_kept_are_skipped() {
    let mut random = Random(2);
    for version in 12..=17 {
        for _ in 0..100 {
            let body = request_without(keys::FETCH, version, &mut random, &[]);
            FetchRequest::decode(version, body.clone()).unwrap();
            for length in 0..body.len() {
                assert!(FetchRequest::decode(version, body.slice(..length)).is_err());
            }
            let body = response_without(keys::FETCH, version, &mut random, &[]);
            let frame = with_response_header(version, &body);
            FetchResponse::decode(version, 7, frame).unwrap();
        }
    }
}

#[test]
fn a_follower_is_named_in_the_tagged_state_from_version_15() {
    for (version, epoch) in [(14, -1), (15, 99)] {
        let request = FetchRequest {
            replica_id: 3,
            replica_epoch: epoch,
            ..FetchRequest::default()
        };
        let mut frame = request.encode(&header(version)).unwrap();
        RequestHeader::decode(&mut frame).unwrap();
        assert_eq!(
            FetchRequest::decode(version, frame.clone()).unwrap(),
            request
        );
        let theirs = kafka::FetchRequest::decode(&mut frame, version).unwrap();
        let (plain, state) = (theirs.replica_id.0, theirs.replica_state);
        assert_eq!(plain.max(state.replica_id.0), 3);
        assert_eq!(state.replica_epoch, epoch);
    }
}

#[test]
fn responses_survive_decoding_and_encoding_in_every_version() {
    let mut random = Random(3);
    for version in 0..=17 {
        for _ in 0..100 {
            let body = response_without(keys::FETCH, version, &mut random, &["SnapshotId"]);
            let frame = with_response_header(version, &body);
            let response = FetchResponse::decode(version, 7, frame.clone()).unwrap();
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let has_null = partitions
                .map(|partition| &partition.records)
                .any(Option::is_none);
            let again = join(&response.encode(&header(version)).unwrap());
            // Null records are written as none at all, as Kafka writes them.
            if !has_null {
                assert_eq!(again, frame, "version {version}");
            }
        }
    }
}

#[test]
fn file_ranges_stand_where_the_records_belong() {
    let file = Arc::new(File::open("/dev/null").unwrap());
    for version in 0..=17 {
        let partition = |index, records| FetchPartitionResponse {
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: 1,
            records,
            diverging_epoch: Some(DivergingEpoch {
                epoch: 1,
                end_offset: 2,
            }),
            current_leader: LeaderIdAndEpoch {
                leader_id: 4,
                leader_epoch: 5,
            },
            ..FetchPartitionResponse::error(index, ErrorCode::None)
        };
        let range = Part::FileRange {
            file: Arc::clone(&file),
            position: 4096,
            length: 300,
        };
        let response = FetchResponse {
            session_id: 8,
            topics: vec![FetchTopicResponse {
                name: "topic".into(),
                topic_id: TopicId([5; 16]),
                partitions: vec![
                    partition(0, Some(range)),
                    partition(1, None),
                    partition(2, Some(Part::Bytes(Bytes::from_static(b"records")))),
                ],
            }],
            ..FetchResponse::default()
        };
        let parts = response.encode(&header(version)).unwrap();
        let mut out = BytesMut::new();
        let mut ranges = 0;
        for part in parts {
            match part {
                Part::Bytes(bytes) => out.put_slice(&bytes),
                Part::FileRange {
                    position, length, ..
                } => {
                    assert_eq!((position, length), (4096, 300));
                    out.put_bytes(b'r', length);
                    ranges += 1;
                }
                Part::Lazy { .. } => panic!("none was given"),
            }
        }
        assert_eq!(ranges, 1);
        let frame = out.freeze();
        let mut body = frame.clone();
        body.advance(if version >= 12 { 5 } else { 4 });
        let theirs = kafka::FetchResponse::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "version {version}");
        let partitions = &theirs.responses[0].partitions;
        let records: Vec<_> = partitions
            .iter()
            .map(|partition| partition.records.as_ref().map_or(0, Bytes::len))
            .collect();
        assert_eq!(records, [300, 0, 7]);
        assert!(partitions[1].records.is_none());
        if version >= 12 {
            assert_eq!(partitions[1].diverging_epoch.end_offset, 2);
            assert_eq!(partitions[1].current_leader.leader_epoch, 5);
        }
        let ours = FetchResponse::decode(version, 7, frame).unwrap();
        assert_eq!(ours.topics[0].partitions[2].high_watermark, 10);
    }
}

fn with_response_header(version: i16, body: &Bytes) -> Bytes {
    let api = Api::find(keys::FETCH).unwrap();
    let mut out = BytesMut::new();
    out.put_i32(7);
    if api.response_header_version(version) == 1 {
        out.put_u8(0);
    }
    out.put_slice(body);
    out.freeze()
}
