//! The table and kafka-protocol agree on every message in every version: well-formed bodies made
//! from the table are decoded and come out of kafka-protocol's encoder as the same bytes. So what
//! the guard has walked is what the decoder reads.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};

use super::shape::{Field, Kind, Message};
use super::*;
use crate::api::Api;
use crate::message::decode_request;

/// A small generator of numbers (splitmix64): tests say the same thing every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Writes a well-formed body by the table.
struct Maker<'a> {
    random: &'a mut Random,
    version: i16,
    flexible: bool,
    /// Tagged fields to leave out; with any at all, unknown ones are left out too.
    without: &'static [&'static str],
    out: Vec<u8>,
}

impl Maker<'_> {
    fn structure(&mut self, fields: &'static [Field]) {
        for field in fields {
            if field.is_plain_in(self.version) {
                self.value(&field.kind, field.is_nullable_in(self.version));
            }
        }
        if self.flexible {
            self.tagged_fields(fields);
        }
    }

    fn value(&mut self, kind: &'static Kind, nullable: bool) {
        let null = nullable && self.random.below(3) == 0;
        match kind {
            Kind::Fixed(size) => {
                // 1 at the end: true for a boolean, and no field's default value.
                self.out.extend(std::iter::repeat_n(0, size - 1));
                self.out.push(1);
            }
            Kind::String => self.length(2, (!null).then_some(3), b"abc"),
            Kind::Bytes | Kind::Records => self.length(4, (!null).then_some(5), b"\0\xff\x80ab"),
            Kind::Struct(fields) => {
                if nullable {
                    self.out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.structure(fields);
                }
            }
            Kind::Array(element) => {
                let count = self.random.below(3);
                self.length(4, (!null).then_some(count), b"");
                for _ in 0..if null { 0 } else { count } {
                    self.value(element, false);
                }
            }
        }
    }

    fn tagged_fields(&mut self, fields: &'static [Field]) {
        let mut tags: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in fields {
            let Some(tag) = field.tag_in(self.version) else {
                continue;
            };
            let mut inner = Maker {
                random: self.random,
                version: self.version,
                flexible: true,
                without: self.without,
                out: Vec::new(),
            };
            inner.value(&field.kind, false);
            // An empty array is the default, which an encoder leaves out.
            if inner.out != [1] && !self.without.contains(&field.name) {
                tags.push((tag, inner.out));
            }
        }
        if self.without.is_empty() && self.random.below(4) == 0 {
            tags.push((1000, b"unknown".to_vec()));
        }
        tags.sort();
        self.varint(tags.len() as u32);
        for (tag, value) in tags {
            self.varint(tag);
            self.varint(value.len() as u32);
            self.out.extend(value);
        }
    }

    fn length(&mut self, width: usize, length: Option<u64>, bytes: &[u8]) {
        let value = length.map_or(-1, |length| length as i32);
        match width {
            _ if self.flexible => self.varint((value + 1) as u32),
            2 => self.out.extend((value as i16).to_be_bytes()),
            _ => self.out.extend(value.to_be_bytes()),
        }
        if length.is_some() {
            self.out.extend(bytes);
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

fn make(message: &'static Message, version: i16, random: &mut Random) -> Bytes {
    make_without(message, version, random, &[])
}

/// A well-formed request body with only the tagged fields that a codec of ours keeps.
pub(crate) fn request_without(
    api_key: i16,
    version: i16,
    random: &mut Random,
    without: &'static [&'static str],
) -> Bytes {
    let message = find(requests::REQUESTS, api_key).unwrap();
    make_without(message, version, random, without)
}

/// A well-formed response body with only the tagged fields that a codec of ours keeps.
pub(crate) fn response_without(
    api_key: i16,
    version: i16,
    random: &mut Random,
    without: &'static [&'static str],
) -> Bytes {
    let message = find(responses::RESPONSES, api_key).unwrap();
    make_without(message, version, random, without)
}

fn make_without(
    message: &'static Message,
    version: i16,
    random: &mut Random,
    without: &'static [&'static str],
) -> Bytes {
    let mut maker = Maker {
        random,
        version,
        flexible: version >= message.first_flexible,
        without,
        out: Vec::new(),
    };
    maker.structure(message.fields);
    maker.out.into()
}

fn every_version() -> impl Iterator<Item = (&'static Api, ApiKey, i16)> {
    Api::all().iter().flat_map(|api| {
        let key = ApiKey::try_from(api.key).unwrap();
        (api.min_version..=api.max_version).map(move |version| (api, key, version))
    })
}

fn re_encode_request(key: ApiKey, version: i16, body: &Bytes) -> Result<Bytes, String> {
    let request = RequestKind::decode(key, &mut body.clone(), version).map_err(text)?;
    let mut out = BytesMut::new();
    request.encode(&mut out, version).map_err(text)?;
    Ok(out.freeze())
}

fn re_encode_response(key: ApiKey, version: i16, body: &Bytes) -> Result<Bytes, String> {
    let response = ResponseKind::decode(key, &mut body.clone(), version).map_err(text)?;
    let mut out = BytesMut::new();
    response.encode(&mut out, version).map_err(text)?;
    Ok(out.freeze())
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

#[test]
fn requests_of_the_table_are_those_of_kafka_protocol_in_every_version() {
    let mut random = Random(1);
    let mut wrong = Vec::new();
    for (api, key, version) in every_version() {
        let message = find(requests::REQUESTS, api.key).unwrap();
        for _ in 0..20 {
            let body = make(message, version, &mut random);
            assert_eq!(check_request(api.key, version, &body), Ok(body.len()));
            let again = re_encode_request(key, version, &body);
            if again.as_ref() != Ok(&body) {
                wrong.push(format!(
                    "{} {version}: {body:02x?} -> {again:02x?}",
                    api.name
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn responses_of_the_table_are_those_of_kafka_protocol_in_every_version() {
    let mut random = Random(2);
    let mut wrong = Vec::new();
    for (api, key, version) in every_version() {
        let message = find(responses::RESPONSES, api.key).unwrap();
        for _ in 0..20 {
            let body = make(message, version, &mut random);
            assert_eq!(check_response(api.key, version, &body), Ok(body.len()));
            let again = re_encode_response(key, version, &body);
            if again.as_ref() != Ok(&body) {
                wrong.push(format!(
                    "{} {version}: {body:02x?} -> {again:02x?}",
                    api.name
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shorter_body_is_refused_and_every_longer_one_tolerated() {
    let mut random = Random(3);
    for (api, _, version) in every_version() {
        let message = find(requests::REQUESTS, api.key).unwrap();
        let body = make(message, version, &mut random);
        for length in 0..body.len() {
            let result = check_request(api.key, version, &body[..length]);
            assert!(result.is_err(), "{} {version} at {length}", api.name);
        }
        let longer = [&body[..], b"more"].concat();
        assert_eq!(check_request(api.key, version, &longer), Ok(body.len()));
    }
}

#[test]
fn damaged_bodies_never_panic_and_what_passes_is_decoded_within_bounds() {
    let mut random = Random(4);
    for (api, key, version) in every_version() {
        for table in [requests::REQUESTS, responses::RESPONSES] {
            let message = find(table, api.key).unwrap();
            for _ in 0..30 {
                let mut body = make(message, version, &mut random).to_vec();
                for _ in 0..=random.below(3) {
                    let Some(last) = body.len().checked_sub(1) else {
                        break;
                    };
                    let at = random.below(last as u64 + 1) as usize;
                    body[at] = random.next() as u8;
                }
                if check(table, api.key, version, &body).is_err() {
                    continue;
                }
                // Must return, whatever it returns; an allocation of a false count would abort.
                let mut body = Bytes::from(body);
                if std::ptr::eq(table, requests::REQUESTS) {
                    let _ = RequestKind::decode(key, &mut body, version);
                } else {
                    let _ = ResponseKind::decode(key, &mut body, version);
                }
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(5);
    for _ in 0..200 {
        let length = random.below(64) as usize;
        let body: Bytes = (0..length).map(|_| random.next() as u8).collect();
        for (api, _, version) in every_version() {
            let _ = decode_request(api.key, version, body.clone());
            let _ = check_response(api.key, version, &body);
        }
    }
}

#[test]
fn a_count_larger_than_the_bytes_left_is_refused_before_anything_is_reserved() {
    // Metadata 1: two thousand million topics in four bytes.
    assert_eq!(
        check_request(3, 1, &0x7fff_ffff_i32.to_be_bytes()),
        Err(GuardError::Short {
            field: "Topics",
            needed: 2 * 0x7fff_ffff,
            remaining: 0,
        })
    );
    // Metadata 12: the same, compact.
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert!(matches!(
        check_request(3, 12, &body),
        Err(GuardError::Short {
            field: "Topics",
            ..
        })
    ));
    // A heartbeat with more tagged fields than bytes.
    let body = [1, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(
        check_request(12, 4, &body),
        Err(GuardError::Short {
            field: "tagged fields",
            ..
        })
    ));
}

#[test]
fn null_is_refused_where_the_version_does_not_allow_it() {
    let null = (-1_i32).to_be_bytes();
    assert_eq!(check_request(3, 0, &null), Err(GuardError::Null("Topics")));
    assert_eq!(check_request(3, 1, &null), Ok(4));
    assert_eq!(check_request(99, 0, &[]), Err(GuardError::UnknownApi(99)));
}

#[test]
fn the_table_is_what_the_script_makes_of_the_facts() {
    // Each line of the facts about a field is one field of the tables, no more and no less.
    fn count(fields: &[Field]) -> usize {
        fields.iter().map(|field| 1 + nested(&field.kind)).sum()
    }
    fn nested(kind: &Kind) -> usize {
        match kind {
            Kind::Struct(fields) => count(fields),
            Kind::Array(kind) => nested(kind),
            Kind::Fixed(_) | Kind::String | Kind::Bytes | Kind::Records => 0,
        }
    }
    let tables = requests::REQUESTS.iter().chain(responses::RESPONSES);
    let fields: usize = tables.map(|(_, message)| count(message.fields)).sum();
    let facts = include_str!("../../schema/messages.txt");
    let lines = facts.lines().filter(|line| line.starts_with("  "));
    assert_eq!(fields, lines.count());
}
