//! What the fuzz targets do with their bytes; run here too, bounded, as unit tests.
//!
//! The promise: no bytes make a decoder panic or reserve memory beyond a constant times the input,
//! and a decoder reads exactly what the guard has walked.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};

use crate::api::{Api, keys};
use crate::fetch::{FetchRequest, FetchResponse};
use crate::guard::{check_request, check_response};
use crate::header::RequestHeader;
use crate::produce::ProduceRequest;

/// Reads a whole request frame as the network does: the header, then the body it announces.
pub fn frame(data: &[u8]) {
    let mut frame = Bytes::copy_from_slice(data);
    if let Ok(header) = RequestHeader::decode(&mut frame) {
        request_body(header.api_key, header.api_version, frame);
    }
}

/// Reads a request body; the first two bytes choose the API and its version.
pub fn request(data: &[u8]) {
    if let Some((api, version, body)) = choose(data) {
        request_body(api.key, version, body);
    }
}

/// Reads a response body; the first two bytes choose the API and its version.
pub fn response(data: &[u8]) {
    let Some((api, version, body)) = choose(data) else {
        return;
    };
    if api.key == keys::FETCH {
        // Its own decoder stands without the guard, and reads the header itself.
        let _ = FetchResponse::decode(version, 0, body.clone());
    }
    let Ok(walked) = check_response(api.key, version, &body) else {
        return;
    };
    if let Ok(key) = ApiKey::try_from(api.key) {
        let mut rest = body.clone();
        if ResponseKind::decode(key, &mut rest, version).is_ok() {
            assert_eq!(body.len() - rest.len(), walked, "{} {version}", api.name);
        }
    }
}

fn request_body(api_key: i16, version: i16, body: Bytes) {
    let ours = match api_key {
        keys::PRODUCE => ProduceRequest::decode(version, body.clone()).is_ok(),
        keys::FETCH => FetchRequest::decode(version, body.clone()).is_ok(),
        _ => false,
    };
    let Some(api) = Api::find(api_key).filter(|api| api.has_version(version)) else {
        return;
    };
    let Ok(walked) = check_request(api_key, version, &body) else {
        return;
    };
    if let Ok(key) = ApiKey::try_from(api_key) {
        let mut rest = body.clone();
        if RequestKind::decode(key, &mut rest, version).is_ok() {
            assert_eq!(body.len() - rest.len(), walked, "{} {version}", api.name);
            let own = matches!(api_key, keys::PRODUCE | keys::FETCH);
            assert!(
                ours || !own,
                "{} {version} is refused by our own decoder",
                api.name
            );
        }
    }
}

fn choose(data: &[u8]) -> Option<(&'static Api, i16, Bytes)> {
    let ([api, version], body) = data.split_first_chunk::<2>()?;
    let api = &Api::all()[usize::from(*api) % Api::all().len()];
    let version = i16::from(*version) % (api.max_version + 1);
    Some((
        api,
        version.max(api.min_version),
        Bytes::copy_from_slice(body),
    ))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::guard::tests::{Random, request_without, response_without};

    fn damage(bytes: &mut [u8], random: &mut Random) {
        for _ in 0..random.below(4).min(bytes.len() as u64) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
    }

    #[test]
    fn damaged_messages_keep_the_promise() {
        let mut random = Random(11);
        for (index, api) in Api::all().iter().enumerate() {
            for version in api.min_version..=api.max_version {
                for _ in 0..40 {
                    let mut data = vec![index as u8, version as u8];
                    data.extend(request_without(api.key, version, &mut random, &[]));
                    damage(&mut data[2..], &mut random);
                    request(&data);
                    data.truncate(2);
                    data.extend(response_without(api.key, version, &mut random, &[]));
                    damage(&mut data[2..], &mut random);
                    response(&data);
                }
            }
        }
    }

    #[test]
    fn damaged_frames_keep_the_promise() {
        let mut random = Random(12);
        for api in Api::all() {
            let version = api.max_version;
            for _ in 0..100 {
                let mut data = BytesMut::new();
                data.put_i16(api.key);
                data.put_i16(version);
                data.put_slice(&[0, 0, 0, 1, 0, 1, b'c', 0]);
                data.put_slice(&request_without(api.key, version, &mut random, &[]));
                damage(&mut data, &mut random);
                frame(&data);
            }
        }
    }
}
