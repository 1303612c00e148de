//! What a log takes from its topic's configuration.

use ottla_config::TopicConfig;
use ottla_model::TopicPartition;
use ottla_record::{Compression, DECOMPRESSED_SIZE_MAX, TimestampType, ValidationConfig};

/// The part of a topic's configuration that storage acts on; names and units are those of the keys.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each field is the topic key of its name")]
pub struct LogConfig {
    pub compact: bool,
    pub delete: bool,
    pub retention_ms: i64,
    pub retention_bytes: i64,
    pub segment_bytes: u64,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u64,
    pub index_interval_bytes: u64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub max_message_bytes: usize,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub preallocate: bool,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// The codec to store with; `None` keeps the producer's.
    pub compression: Option<Compression>,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            compact: false,
            delete: true,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 86_400_000,
            file_delete_delay_ms: 60_000,
            preallocate: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            compression: None,
        }
    }
}

impl LogConfig {
    /// After how many milliseconds a segment rolls, jitter aside.
    pub fn roll_ms(&self) -> i64 {
        if self.compact {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// The largest jitter of a segment, exclusive.
    pub fn jitter_ms_max(&self) -> u64 {
        self.segment_jitter_ms.min(self.segment_ms).max(0) as u64
    }

    /// The validator's view.
    pub(crate) fn validation(&self, topic_partition: &TopicPartition) -> ValidationConfig {
        ValidationConfig {
            topic_partition: topic_partition.clone(),
            compacted: self.compact,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compression: self.compression,
            decompressed_size_max: DECOMPRESSED_SIZE_MAX,
        }
    }
}

impl From<&TopicConfig> for LogConfig {
    fn from(config: &TopicConfig) -> Self {
        let size = |value: i32| u64::from(value.max(0).unsigned_abs());
        Self {
            compact: config.cleanup_policy.compact,
            delete: config.cleanup_policy.delete,
            retention_ms: config.retention_ms,
            retention_bytes: config.retention_bytes,
            segment_bytes: size(config.segment_bytes),
            segment_ms: config.segment_ms,
            segment_jitter_ms: config.segment_jitter_ms,
            segment_index_bytes: size(config.segment_index_bytes),
            index_interval_bytes: size(config.index_interval_bytes),
            flush_messages: config.flush_messages,
            flush_ms: config.flush_ms,
            max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(0),
            min_compaction_lag_ms: config.min_compaction_lag_ms,
            max_compaction_lag_ms: config.max_compaction_lag_ms,
            min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
            delete_retention_ms: config.delete_retention_ms,
            file_delete_delay_ms: config.file_delete_delay_ms,
            preallocate: config.preallocate,
            timestamp_type: match config.message_timestamp_type {
                ottla_config::TimestampType::CreateTime => TimestampType::CreateTime,
                ottla_config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: config.message_timestamp_before_max_ms,
            timestamp_after_max_ms: config.message_timestamp_after_max_ms,
            compression: compression(config),
        }
    }
}

fn compression(config: &TopicConfig) -> Option<Compression> {
    use ottla_config::CompressionType as Configured;
    match config.compression_type {
        Configured::Producer => None,
        Configured::Uncompressed => Some(Compression::None),
        Configured::Gzip => Some(Compression::Gzip {
            level: config.compression_gzip_level,
        }),
        Configured::Snappy => Some(Compression::Snappy),
        Configured::Lz4 => Some(Compression::Lz4 {
            level: config.compression_lz4_level,
        }),
        Configured::Zstd => Some(Compression::Zstd {
            level: config.compression_zstd_level,
        }),
    }
}
