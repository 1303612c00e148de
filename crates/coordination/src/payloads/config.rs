//! Values below `/config`: overrides of an entity, and notifications of their change.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::DecodeError;
use super::json::{as_str, encode, object, parse};
use crate::paths::ConfigEntity;

/// The overrides of an entity: key to value, all text (`ConfigEntityZNode`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EntityConfig(pub BTreeMap<String, String>);

impl EntityConfig {
    /// The znode's value.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json<'a> {
            version: i32,
            config: &'a BTreeMap<String, String>,
        }
        encode(&Json {
            version: 1,
            config: &self.0,
        })
    }

    /// Reads the znode's value. What is not JSON, and JSON without a `config` object, are no
    /// overrides; a value that is no text is an error.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let Ok(value) = parse(data) else {
            return Ok(Self::default());
        };
        let Some(config) = value.get("config").and_then(|config| config.as_object()) else {
            return Ok(Self::default());
        };
        let text = |(key, value): (&String, _)| {
            as_str(value, key).map(|value| (key.clone(), value.to_owned()))
        };
        config.iter().map(text).collect::<Result<_, _>>().map(Self)
    }
}

/// `/config/changes/config_change_N`: whose config changed. What it is now must be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    /// The path below `/config`, for instance `topics/t`; see [`ConfigChange::entity`].
    pub entity_path: String,
}

impl ConfigChange {
    /// The announcement of a change.
    pub fn of(entity: &ConfigEntity) -> Self {
        Self {
            entity_path: entity.entity_path(),
        }
    }

    /// The entity; `None` if it is of a type that Kafka 3.9 does not know.
    pub fn entity(&self) -> Option<ConfigEntity> {
        ConfigEntity::parse(&self.entity_path)
    }

    /// The znode's value, in version 2.
    pub fn encode(&self) -> Bytes {
        #[derive(Serialize)]
        struct Json<'a> {
            version: i32,
            entity_path: &'a str,
        }
        encode(&Json {
            version: 2,
            entity_path: &self.entity_path,
        })
    }

    /// Reads the znode's value, version 1 (topics and clients only) or 2. What is not JSON is
    /// [`DecodeError::NotJson`] and to be ignored; it may be from before 0.9.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let entity_path = match json.i32("version")? {
            1 => {
                let kind = json.str("entity_type")?;
                if !matches!(kind, "topics" | "clients") {
                    return Err(super::cluster::malformed("entity_type", kind));
                }
                format!("{kind}/{}", json.str("entity_name")?)
            }
            2 => json.str("entity_path")?.to_owned(),
            version => return Err(DecodeError::UnsupportedVersion(version.into())),
        };
        Ok(Self { entity_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::EntityName;

    #[test]
    fn overrides_are_those_of_a_real_cluster() {
        for golden in [
            r#"{"version":1,"config":{"max.message.bytes":"1000","retention.ms":"3600000"}}"#,
            r#"{"version":1,"config":{}}"#,
            r#"{"version":1,"config":{"SCRAM-SHA-256":"salt=c2Fs,stored_key=9Gla,server_key=7x7G,iterations=4096"}}"#,
        ] {
            assert_eq!(
                EntityConfig::decode(golden.as_bytes()).unwrap().encode(),
                golden
            );
        }
    }

    #[test]
    fn what_holds_no_overrides_has_none() {
        for json in [
            "",
            "x",
            "[]",
            "{}",
            "null",
            r#"{"config":null}"#,
            r#"{"config":[]}"#,
        ] {
            assert_eq!(
                EntityConfig::decode(json.as_bytes()),
                Ok(EntityConfig::default())
            );
        }
        assert!(EntityConfig::decode(br#"{"config":{"a":1}}"#).is_err());
    }

    #[test]
    fn both_versions_of_a_change_are_read() {
        let golden = r#"{"version":2,"entity_path":"topics/cfg"}"#;
        let change = ConfigChange::decode(golden.as_bytes()).unwrap();
        assert_eq!(change.encode(), golden);
        assert_eq!(change.entity(), Some(ConfigEntity::Topic("cfg".into())));
        assert_eq!(ConfigChange::of(&change.entity().unwrap()), change);
        let one = br#"{"version":1,"entity_type":"clients","entity_name":"app"}"#;
        assert_eq!(
            ConfigChange::decode(one).unwrap().entity(),
            Some(ConfigEntity::Client(EntityName::Named("app".to_owned())))
        );
    }

    #[test]
    fn malformed_changes_are_errors() {
        assert!(matches!(
            ConfigChange::decode(b"topics t"),
            Err(DecodeError::NotJson(_))
        ));
        for json in [
            "1",
            "{}",
            r#"{"version":2}"#,
            r#"{"version":3,"entity_path":"topics/t"}"#,
            r#"{"version":1,"entity_type":"users","entity_name":"u"}"#,
            r#"{"version":"2","entity_path":"topics/t"}"#,
        ] {
            assert!(ConfigChange::decode(json.as_bytes()).is_err(), "{json}");
        }
    }
}
