//! Values that exist once in a cluster: `/controller`, `/controller_epoch`, `/cluster/id`,
//! `/feature`, `/latest_producer_id_block`.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::{BrokerId, ControllerEpoch, ProducerId, Timestamp};
use serde::Serialize;

use super::DecodeError;
use super::json::{as_i32, as_object, encode, object, parse};

/// `/controller`: who is the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controller {
    /// The broker.
    pub broker_id: BrokerId,
    /// Since when; readers do not need it.
    pub timestamp: Timestamp,
    /// Greater than 0 if a `KRaft` controller holds the znode; `None` if the writer is older than
    /// 3.4. A ZooKeeper controller writes −1.
    pub kraft_controller_epoch: Option<i32>,
}

impl Controller {
    /// The claim of a broker.
    pub fn of(broker_id: BrokerId, timestamp: Timestamp) -> Self {
        Self {
            broker_id,
            timestamp,
            kraft_controller_epoch: Some(-1),
        }
    }

    /// Whether a `KRaft` controller has taken the cluster over.
    pub fn is_kraft(&self) -> bool {
        self.kraft_controller_epoch.is_some_and(|epoch| epoch > 0)
    }

    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json {
            version: i32,
            brokerid: i32,
            timestamp: String,
            #[serde(rename = "kraftControllerEpoch")]
            kraft_controller_epoch: i32,
        }
        encode(&Json {
            version: 2,
            brokerid: self.broker_id.0,
            timestamp: self.timestamp.0.to_string(),
            kraft_controller_epoch: self.kraft_controller_epoch.unwrap_or(-1),
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let epoch = json.get("kraftControllerEpoch");
        Ok(Self {
            broker_id: BrokerId(json.i32("brokerid")?),
            timestamp: lenient_timestamp(json.get("timestamp")),
            kraft_controller_epoch: epoch
                .map(|epoch| as_i32(epoch, "kraftControllerEpoch"))
                .transpose()?,
        })
    }
}

/// The value of `/controller_epoch`: decimal text.
pub fn encode_controller_epoch(epoch: ControllerEpoch) -> Bytes {
    Bytes::from(epoch.0.to_string())
}

/// Reads the value of `/controller_epoch`.
pub fn decode_controller_epoch(data: &[u8]) -> Result<ControllerEpoch, DecodeError> {
    parse_number("controller_epoch", data).map(ControllerEpoch)
}

/// `/cluster/id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterId(
    /// 22 characters of URL-safe base64 when Kafka generated it; any text is accepted.
    pub String,
);

impl ClusterId {
    /// The id that 16 random bytes give: a version-4 UUID in base64 (`CoreUtils.generateUuidAsBase64`).
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(ottla_model::TopicId(bytes).to_string())
    }

    /// The znode's value; the version is a string here.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json<'a> {
            version: &'a str,
            id: &'a str,
        }
        encode(&Json {
            version: "1",
            id: &self.0,
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        Ok(Self(object(&value)?.str("id")?.to_owned()))
    }
}

/// Whether feature versioning is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeatureStatus {
    /// The cluster's IBP is below 2.7.
    Disabled,
    /// The features below count.
    Enabled,
}

/// `/feature`: the finalized features (KIP-584). Their epoch is the znode's version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    /// 2 if the IBP is 3.3 or above, else 1.
    pub version: i32,
    /// Whether the features count.
    pub status: FeatureStatus,
    /// Finalized version level of each feature, from 1; none in ZooKeeper mode so far.
    pub features: BTreeMap<String, i16>,
}

impl Feature {
    /// Enabled, without features: what a 3.9 controller writes.
    pub fn enabled() -> Self {
        Self {
            version: 2,
            status: FeatureStatus::Enabled,
            features: BTreeMap::new(),
        }
    }

    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Level {
            #[serde(skip_serializing_if = "Option::is_none")]
            min_version_level: Option<i16>,
            max_version_level: i16,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            features: BTreeMap<&'a str, Level>,
            version: i32,
            status: i32,
        }
        let level = |&level: &i16| Level {
            min_version_level: (self.version == 1).then_some(level),
            max_version_level: level,
        };
        encode(&Json {
            features: self
                .features
                .iter()
                .map(|(name, max)| (name.as_str(), level(max)))
                .collect(),
            version: self.version,
            status: match self.status {
                FeatureStatus::Disabled => 0,
                FeatureStatus::Enabled => 1,
            },
        })
    }

    /// Reads the znode's value, version 1 or 2.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let version = json.i32("version")?;
        if !(1..=2).contains(&version) {
            return Err(DecodeError::UnsupportedVersion(version.into()));
        }
        let status = match json.i32("status")? {
            0 => FeatureStatus::Disabled,
            1 => FeatureStatus::Enabled,
            other => return Err(malformed("status", other)),
        };
        let mut features = BTreeMap::new();
        for (name, levels) in json.object("features")?.entries() {
            let levels = as_object(levels, name)?;
            let max = levels.i32("max_version_level")?;
            let min = if version == 1 {
                levels.i32("min_version_level")?
            } else {
                1
            };
            let level = i16::try_from(max).ok().filter(|_| min >= 1 && max >= min);
            features.insert(
                name.to_owned(),
                level.ok_or_else(|| malformed("max_version_level", max))?,
            );
        }
        Ok(Self {
            version,
            status,
            features,
        })
    }
}

/// `/latest_producer_id_block`: the last block of producer ids that was handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    /// Who asked for it.
    pub broker_id: BrokerId,
    /// The first id.
    pub first: ProducerId,
    /// The last id, inclusive.
    pub last: ProducerId,
}

impl ProducerIdBlock {
    /// How many ids a block has (`PRODUCER_ID_BLOCK_SIZE`).
    pub const SIZE: i64 = 1000;

    /// The block after `previous` (`None`: nothing was handed out yet); `None` when the ids are
    /// used up.
    pub fn after(previous: Option<&Self>, broker_id: BrokerId) -> Option<Self> {
        let first = match previous {
            None => 0,
            Some(block) => {
                // Kafka's ZkProducerIdManager refuses as soon as the block that follows would
                // not fit as well.
                if block.last.0 > i64::MAX - Self::SIZE {
                    return None;
                }
                block.last.0 + 1
            }
        };
        let last = ProducerId(first + Self::SIZE - 1);
        Some(Self {
            broker_id,
            first: ProducerId(first),
            last,
        })
    }

    /// The znode's value; the ends are strings.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json {
            version: i32,
            broker: i32,
            block_start: String,
            block_end: String,
        }
        encode(&Json {
            version: 1,
            broker: self.broker_id.0,
            block_start: self.first.0.to_string(),
            block_end: self.last.0.to_string(),
        })
    }

    /// Reads the znode's value.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let first: i64 = parse_number("block_start", json.str("block_start")?.as_bytes())?;
        let last: i64 = parse_number("block_end", json.str("block_end")?.as_bytes())?;
        let size = last.checked_sub(first).and_then(|size| size.checked_add(1));
        if size.and_then(|size| i32::try_from(size).ok()).is_none() {
            return Err(malformed("block_end", last));
        }
        let broker_id = BrokerId(json.i32("broker")?);
        Ok(Self {
            broker_id,
            first: ProducerId(first),
            last: ProducerId(last),
        })
    }
}

/// A decimal number as text.
pub(super) fn parse_number<N: std::str::FromStr>(
    key: &'static str,
    data: &[u8],
) -> Result<N, DecodeError> {
    std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed(key, String::from_utf8_lossy(data)))
}

pub(super) fn malformed(key: &'static str, value: impl ToString) -> DecodeError {
    DecodeError::Malformed {
        key,
        value: value.to_string(),
    }
}

/// A timestamp that no reader depends on: absent or odd ones are [`Timestamp::NONE`].
pub(super) fn lenient_timestamp(value: Option<&serde_json::Value>) -> Timestamp {
    value
        .and_then(|value| value.as_str())
        .and_then(|text| text.parse().ok())
        .map_or(Timestamp::NONE, Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_znode_is_that_of_a_real_broker() {
        let golden =
            br#"{"version":2,"brokerid":0,"timestamp":"1795217122479","kraftControllerEpoch":-1}"#;
        let controller = Controller::of(BrokerId(0), Timestamp(1_795_217_122_479));
        assert_eq!(controller.encode(), golden[..]);
        assert_eq!(Controller::decode(golden), Ok(controller));
        let old = Controller::decode(br#"{"version":1,"brokerid":3,"timestamp":"1","x":{}}"#);
        assert_eq!(old.unwrap().kraft_controller_epoch, None);
        assert!(
            Controller::decode(br#"{"brokerid":1,"kraftControllerEpoch":5}"#)
                .unwrap()
                .is_kraft()
        );
        assert_eq!(
            Controller::decode(b"{}"),
            Err(DecodeError::Missing("brokerid"))
        );
        assert!(Controller::decode(br#"{"brokerid":"1"}"#).is_err());
    }

    #[test]
    fn the_controller_epoch_is_text() {
        assert_eq!(encode_controller_epoch(ControllerEpoch(12)), "12");
        assert_eq!(decode_controller_epoch(b"12"), Ok(ControllerEpoch(12)));
        for bad in [&b""[..], b"x", b"1.0", b"99999999999", b"\xff"] {
            assert!(decode_controller_epoch(bad).is_err());
        }
    }

    #[test]
    fn the_cluster_id_has_a_version_that_is_a_string() {
        let golden = br#"{"version":"1","id":"IPjlS20qQxeR9xJnC1hiyw"}"#;
        let id = ClusterId("IPjlS20qQxeR9xJnC1hiyw".to_owned());
        assert_eq!(id.encode(), golden[..]);
        assert_eq!(ClusterId::decode(golden), Ok(id));
        assert_eq!(ClusterId::from_random([0xff; 16]).0.len(), 22);
        assert!(ClusterId::decode(br#"{"version":"1","id":7}"#).is_err());
    }

    #[test]
    fn the_feature_znode_is_read_in_both_versions() {
        assert_eq!(
            Feature::enabled().encode(),
            br#"{"features":{},"version":2,"status":1}"#[..]
        );
        let one = br#"{"features":{"f":{"min_version_level":1,"max_version_level":3}},"version":1,"status":0}"#;
        let feature = Feature::decode(one).unwrap();
        assert_eq!(feature.features["f"], 3);
        assert_eq!(feature.status, FeatureStatus::Disabled);
        let two = Feature {
            version: 2,
            ..feature
        };
        assert_eq!(Feature::decode(&two.encode()), Ok(two));
        for bad in [
            &br#"{"features":{},"version":3,"status":1}"#[..],
            br#"{"features":{},"version":2,"status":2}"#,
            br#"{"features":{},"version":2}"#,
            br#"{"version":2,"status":1}"#,
            br#"{"features":{"f":{"max_version_level":0}},"version":2,"status":1}"#,
            br#"{"features":{"f":{"max_version_level":1}},"version":1,"status":1}"#,
            br#"{"features":{"f":{"max_version_level":40000}},"version":2,"status":1}"#,
        ] {
            assert!(
                Feature::decode(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn producer_id_blocks_follow_each_other() {
        let golden = br#"{"version":1,"broker":0,"block_start":"0","block_end":"999"}"#;
        let first = ProducerIdBlock::after(None, BrokerId(0)).unwrap();
        assert_eq!(first.encode(), golden[..]);
        assert_eq!(ProducerIdBlock::decode(golden), Ok(first));
        let second = ProducerIdBlock::after(Some(&first), BrokerId(1)).unwrap();
        assert_eq!((second.first.0, second.last.0), (1000, 1999));
        let last = ProducerIdBlock {
            last: ProducerId(i64::MAX - 999),
            ..first
        };
        assert_eq!(ProducerIdBlock::after(Some(&last), BrokerId(0)), None);
        assert!(
            ProducerIdBlock::decode(br#"{"version":1,"broker":0,"block_start":0,"block_end":9}"#)
                .is_err()
        );
        assert!(
            ProducerIdBlock::decode(
                br#"{"version":1,"broker":0,"block_start":"-9223372036854775808","block_end":"9223372036854775807"}"#
            )
            .is_err()
        );
    }
}
