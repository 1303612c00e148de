//! A topic's configuration in force: its own overrides over the broker's values.

use crate::broker_config::BrokerConfig;
use crate::error::ConfigError;
use crate::field::{self, Field, Properties, Values, typed_config};
use crate::keys;
use crate::synonyms;
use crate::value::Value;

/// What happens to old records; both may be true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    /// Keep the last record of each key.
    pub compact: bool,
    /// Delete by age and size.
    pub delete: bool,
}

/// How records are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// With gzip.
    Gzip,
    /// With snappy.
    Snappy,
    /// With LZ4.
    Lz4,
    /// With Zstandard.
    Zstd,
}

/// Whose clock a record's timestamp is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}

typed_config! {
    /// Every topic key of Kafka 3.9 with its value in force. A field is called like its key, with
    /// underscores for dots.
    pub struct TopicConfig {
        cleanup_policy: CleanupPolicy = "cleanup.policy",
        compression_gzip_level: i32 = "compression.gzip.level",
        compression_lz4_level: i32 = "compression.lz4.level",
        compression_type: CompressionType = "compression.type",
        compression_zstd_level: i32 = "compression.zstd.level",
        delete_retention_ms: i64 = "delete.retention.ms",
        file_delete_delay_ms: i64 = "file.delete.delay.ms",
        flush_messages: i64 = "flush.messages",
        flush_ms: i64 = "flush.ms",
        follower_replication_throttled_replicas: Vec<String> = "follower.replication.throttled.replicas",
        index_interval_bytes: i32 = "index.interval.bytes",
        leader_replication_throttled_replicas: Vec<String> = "leader.replication.throttled.replicas",
        local_retention_bytes: i64 = "local.retention.bytes",
        local_retention_ms: i64 = "local.retention.ms",
        max_compaction_lag_ms: i64 = "max.compaction.lag.ms",
        max_message_bytes: i32 = "max.message.bytes",
        message_downconversion_enable: bool = "message.downconversion.enable",
        message_format_version: String = "message.format.version",
        message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms",
        message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms",
        message_timestamp_difference_max_ms: i64 = "message.timestamp.difference.max.ms",
        message_timestamp_type: TimestampType = "message.timestamp.type",
        min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio",
        min_compaction_lag_ms: i64 = "min.compaction.lag.ms",
        min_insync_replicas: i32 = "min.insync.replicas",
        preallocate: bool = "preallocate",
        remote_log_copy_disable: bool = "remote.log.copy.disable",
        remote_log_delete_on_disable: bool = "remote.log.delete.on.disable",
        remote_storage_enable: bool = "remote.storage.enable",
        retention_bytes: i64 = "retention.bytes",
        retention_ms: i64 = "retention.ms",
        segment_bytes: i32 = "segment.bytes",
        segment_index_bytes: i32 = "segment.index.bytes",
        segment_jitter_ms: i64 = "segment.jitter.ms",
        segment_ms: i64 = "segment.ms",
        unclean_leader_election_enable: bool = "unclean.leader.election.enable",
    } with {}
}

impl TopicConfig {
    /// The values in force for a topic with these overrides. Overrides with unknown names have no
    /// effect, as in Kafka: they may come from a newer version.
    ///
    /// # Errors
    /// The first value that is wrong, with Kafka's message.
    pub fn resolve(broker: &BrokerConfig, overrides: &Properties) -> Result<Self, ConfigError> {
        let values = values(broker, overrides)?;
        let mut config = Self::from_values(&values);
        // The deprecated difference counts while the newer pair has its defaults.
        let difference = config.message_timestamp_difference_max_ms;
        for limit in [
            &mut config.message_timestamp_before_max_ms,
            &mut config.message_timestamp_after_max_ms,
        ] {
            if *limit == i64::MAX {
                *limit = difference;
            }
        }
        Ok(config)
    }

    /// Checks overrides that somebody wants to set: names, values, and values against each other.
    /// `existing` are the overrides in force, empty for a new topic.
    ///
    /// # Errors
    /// What is wrong, with Kafka's message.
    pub fn validate(
        broker: &BrokerConfig,
        existing: &Properties,
        overrides: &Properties,
    ) -> Result<(), ConfigError> {
        if let Some(unknown) = overrides
            .keys()
            .find(|name| keys::topic_key(name).is_none())
        {
            return Err(ConfigError::UnknownTopicKey(unknown.clone()));
        }
        let values = values(broker, overrides)?;
        crate::validation::check_topic(&Self::from_values(&values), existing)
    }
}

/// The values in force before anything is derived from them: what DescribeConfigs shows.
pub(crate) fn values(broker: &BrokerConfig, overrides: &Properties) -> Result<Values, ConfigError> {
    let mut properties = synonyms::topic_defaults(broker);
    properties.extend(
        overrides
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    field::parse(keys::topic_keys(), &properties)
}

impl Field for CleanupPolicy {
    fn read(value: Option<&Value>) -> Option<Self> {
        let policies = Vec::<String>::read(value)?;
        let has = |name: &str| policies.iter().any(|policy| policy == name);
        Some(Self {
            compact: has("compact"),
            delete: has("delete"),
        })
    }
}

impl Field for CompressionType {
    fn read(value: Option<&Value>) -> Option<Self> {
        match String::read(value)?.as_str() {
            "producer" => Some(Self::Producer),
            "uncompressed" => Some(Self::Uncompressed),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Field for TimestampType {
    fn read(value: Option<&Value>) -> Option<Self> {
        match String::read(value)?.as_str() {
            "CreateTime" => Some(Self::CreateTime),
            "LogAppendTime" => Some(Self::LogAppendTime),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(values: &[(&str, &str)]) -> Properties {
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn broker(values: &[(&str, &str)]) -> BrokerConfig {
        BrokerConfig::from_properties(properties(values)).unwrap()
    }

    #[test]
    fn every_key_has_a_field_and_every_field_a_key() {
        let keys: Vec<&str> = keys::topic_keys().map(|key| key.name).collect();
        let mut fields = TopicConfig::FIELDS.to_vec();
        fields.sort_unstable();
        assert_eq!(keys, fields);
    }

    #[test]
    fn overrides_are_stronger_than_the_brokers_values() {
        let broker = broker(&[
            ("log.retention.hours", "1"),
            ("log.segment.bytes", "1000"),
            ("log.cleanup.policy", "compact"),
        ]);
        let overrides = properties(&[("segment.bytes", "2000"), ("compression.type", "zstd")]);
        let topic = TopicConfig::resolve(&broker, &overrides).unwrap();
        assert_eq!(topic.retention_ms, 3_600_000);
        assert_eq!(topic.segment_bytes, 2000);
        assert_eq!(topic.compression_type, CompressionType::Zstd);
        assert_eq!(
            topic.cleanup_policy,
            CleanupPolicy {
                compact: true,
                delete: false
            }
        );
        assert_eq!(topic.message_timestamp_type, TimestampType::CreateTime);
    }

    #[test]
    fn the_deprecated_timestamp_difference_counts_while_the_newer_pair_is_unset() {
        let overrides = properties(&[
            ("message.timestamp.difference.max.ms", "10"),
            ("message.timestamp.after.max.ms", "20"),
        ]);
        let topic = TopicConfig::resolve(&broker(&[]), &overrides).unwrap();
        assert_eq!(topic.message_timestamp_before_max_ms, 10);
        assert_eq!(topic.message_timestamp_after_max_ms, 20);
    }

    #[test]
    fn unknown_names_have_no_effect_on_reading_and_are_refused_on_writing() {
        let broker = broker(&[]);
        let overrides = properties(&[("no.such", "1")]);
        assert!(TopicConfig::resolve(&broker, &overrides).is_ok());
        let error = TopicConfig::validate(&broker, &Properties::new(), &overrides).unwrap_err();
        assert_eq!(error.to_string(), "Unknown topic config name: no.such");
    }

    #[test]
    fn wrong_overrides_get_kafkas_messages() {
        let broker = broker(&[]);
        let check = |values: &[(&str, &str)], expect: &str| {
            let overrides = properties(values);
            let result = TopicConfig::validate(&broker, &Properties::new(), &overrides);
            assert_eq!(result.unwrap_err().to_string(), expect);
        };
        check(
            &[("retention.ms", "-5")],
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        );
        check(
            &[("cleanup.policy", "delete,foo")],
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, \
             delete",
        );
        check(
            &[("compression.gzip.level", "0")],
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and \
             9 or equal to -1",
        );
        check(
            &[("min.cleanable.dirty.ratio", "1.5")],
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more \
             than 1",
        );
        check(
            &[("leader.replication.throttled.replicas", "0:0,x")],
            "Invalid value [0:0, x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas \
             in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        );
        check(
            &[
                ("min.compaction.lag.ms", "10"),
                ("max.compaction.lag.ms", "5"),
            ],
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
        );
        check(
            &[("remote.storage.enable", "true")],
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        );
    }
}
