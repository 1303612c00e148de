//! What the coordinator takes from the broker's configuration. None of it is dynamic.

use std::time::Duration;

use ottla_config::{BrokerConfig, MetadataVersion};
use ottla_group_coordinator::{GroupConfig, RecordVersions};
use ottla_record::{Compression, CompressionType};

/// The keys that decide how the offsets topic is written, read and tidied.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the decisions need.
    pub(crate) group: GroupConfig,
    /// How many partitions the offsets topic has: read once, as in Kafka, and never again.
    pub(crate) partition_count: i32,
    /// `offsets.commit.required.acks`.
    pub(crate) required_acks: i16,
    /// `offsets.commit.timeout.ms`.
    pub(crate) commit_timeout: Duration,
    /// `offsets.load.buffer.size`, in bytes.
    pub(crate) load_buffer_size: usize,
    /// `offsets.retention.check.interval.ms`.
    pub(crate) retention_check_interval: Duration,
    /// `offsets.topic.compression.codec`.
    pub(crate) compression: Compression,
}

impl Settings {
    /// Reads the configuration. `partition_count` is that of the existing topic, if there is one.
    pub(crate) fn new(config: &BrokerConfig, partition_count: Option<i32>) -> Self {
        let codec = i16::try_from(config.offsets_topic_compression_codec)
            .ok()
            .and_then(|id| CompressionType::from_id(id).ok())
            .unwrap_or_default();
        Self {
            group: GroupConfig {
                group_min_session_timeout_ms: config.group_min_session_timeout_ms,
                group_max_session_timeout_ms: config.group_max_session_timeout_ms,
                group_initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
                group_max_size: config.group_max_size,
                offset_metadata_max_bytes: config.offset_metadata_max_bytes,
                offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
                record_versions: record_versions(config.inter_broker_protocol_version()),
            },
            partition_count: partition_count
                .filter(|count| *count > 0)
                .unwrap_or(config.offsets_topic_num_partitions),
            required_acks: config.offsets_commit_required_acks,
            commit_timeout: duration_ms(i64::from(config.offsets_commit_timeout_ms)),
            load_buffer_size: usize::try_from(config.offsets_load_buffer_size).unwrap_or(0),
            retention_check_interval: duration_ms(config.offsets_retention_check_interval_ms),
            compression: Compression::with_default_level(codec),
        }
    }
}

fn duration_ms(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Whether brokers of this protocol know static members (KIP-345); below, requests that name an
/// instance are refused.
pub(crate) fn knows_static_members(version: MetadataVersion) -> bool {
    MetadataVersion::parse("2.3-IV0").is_some_and(|first| version >= first)
}

fn record_versions(version: MetadataVersion) -> RecordVersions {
    let before = |name: &str| MetadataVersion::parse(name).is_some_and(|first| version < first);
    RecordVersions {
        offset_commit_value: if before("2.1-IV0") {
            1
        } else if before("2.1-IV1") {
            2
        } else {
            3
        },
        group_metadata_value: if before("0.10.1-IV0") {
            0
        } else if before("2.1-IV0") {
            1
        } else if before("2.3-IV0") {
            2
        } else {
            3
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_inter_broker_protocols_write_old_records() {
        for (name, offset, group) in [
            ("0.10.0-IV1", 1, 0),
            ("0.10.1-IV0", 1, 1),
            ("2.0-IV1", 1, 1),
            ("2.1-IV0", 2, 2),
            ("2.1-IV1", 3, 2),
            ("2.2-IV1", 3, 2),
            ("2.3-IV0", 3, 3),
            ("3.9-IV0", 3, 3),
        ] {
            let version = MetadataVersion::parse(name).unwrap();
            let expected = RecordVersions {
                offset_commit_value: offset,
                group_metadata_value: group,
            };
            assert_eq!(record_versions(version), expected, "{name}");
            assert_eq!(knows_static_members(version), group == 3, "{name}");
        }
    }
}
