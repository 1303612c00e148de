//! Keys that stand for the same thing: a topic key and the broker keys with its default, and
//! broker keys in several units.

use crate::broker_config::BrokerConfig;
use crate::field::Properties;

/// The broker key with the default of a topic key; where there are several, the strongest.
pub fn broker_synonym(topic_key: &str) -> Option<&'static str> {
    Some(match topic_key {
        "cleanup.policy" => "log.cleanup.policy",
        "compression.gzip.level" => "compression.gzip.level",
        "compression.lz4.level" => "compression.lz4.level",
        "compression.type" => "compression.type",
        "compression.zstd.level" => "compression.zstd.level",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.downconversion.enable" => "log.message.downconversion.enable",
        "message.format.version" => "log.message.format.version",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.difference.max.ms" => "log.message.timestamp.difference.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "min.insync.replicas" => "min.insync.replicas",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        "unclean.leader.election.enable" => "unclean.leader.election.enable",
        _ => return None,
    })
}

/// The keys that set the same thing as a broker key, strongest first, itself included.
///
/// With `listener_overrides`, a key of one listener (`listener.name.<listener>.<key>`) is followed
/// by the key that counts for all listeners.
pub(crate) fn broker_synonyms(name: &str, listener_overrides: bool) -> Vec<&str> {
    match name {
        "log.roll.ms" | "log.roll.hours" => vec!["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            vec!["log.roll.jitter.ms", "log.roll.jitter.hours"]
        }
        "log.flush.interval.ms" => vec!["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            vec![
                "log.retention.ms",
                "log.retention.minutes",
                "log.retention.hours",
            ]
        }
        _ => match listener_key(name) {
            Some(base) if listener_overrides => vec![name, without_mechanism(base)],
            _ => vec![name],
        },
    }
}

/// What follows `listener.name.<listener>.`.
pub(crate) fn listener_key(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.")?
        .split_once('.')
        .map(|(_, base)| base)
}

/// Some keys of a listener carry a SASL mechanism in front.
fn without_mechanism(base: &str) -> &str {
    const PER_MECHANISM: [&str; 5] = [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    PER_MECHANISM
        .into_iter()
        .find(|key| base.ends_with(key))
        .unwrap_or(base)
}

/// The broker's values as topic properties (`KafkaConfig.extractLogConfigMap`).
pub(crate) fn topic_defaults(broker: &BrokerConfig) -> Properties {
    let ignores_format = broker.inter_broker_protocol_version()
        >= crate::metadata_version::MetadataVersion::IBP_3_0_IV1;
    let message_format = if ignores_format {
        "3.0-IV1"
    } else {
        &broker.log_message_format_version
    };
    let policy = broker.log_cleanup_policy.join(",");
    let ratio = crate::value::Value::Double(broker.log_cleaner_min_cleanable_ratio);
    let before = broker.log_message_timestamp_before_max_ms();
    let after = broker.log_message_timestamp_after_max_ms();
    let values: [(&str, &dyn ToString); 31] = [
        ("segment.bytes", &broker.log_segment_bytes),
        ("segment.ms", &broker.log_roll_ms()),
        ("segment.jitter.ms", &broker.log_roll_jitter_ms()),
        ("segment.index.bytes", &broker.log_index_size_max_bytes),
        ("flush.messages", &broker.log_flush_interval_messages),
        ("flush.ms", &broker.log_flush_interval_ms()),
        ("retention.bytes", &broker.log_retention_bytes),
        ("retention.ms", &broker.log_retention_ms()),
        ("max.message.bytes", &broker.message_max_bytes),
        ("index.interval.bytes", &broker.log_index_interval_bytes),
        (
            "delete.retention.ms",
            &broker.log_cleaner_delete_retention_ms,
        ),
        (
            "min.compaction.lag.ms",
            &broker.log_cleaner_min_compaction_lag_ms,
        ),
        (
            "max.compaction.lag.ms",
            &broker.log_cleaner_max_compaction_lag_ms,
        ),
        ("file.delete.delay.ms", &broker.log_segment_delete_delay_ms),
        ("min.cleanable.dirty.ratio", &ratio),
        ("cleanup.policy", &policy),
        ("min.insync.replicas", &broker.min_insync_replicas),
        ("compression.type", &broker.compression_type),
        ("compression.gzip.level", &broker.compression_gzip_level),
        ("compression.lz4.level", &broker.compression_lz4_level),
        ("compression.zstd.level", &broker.compression_zstd_level),
        (
            "unclean.leader.election.enable",
            &broker.unclean_leader_election_enable,
        ),
        ("preallocate", &broker.log_preallocate),
        ("message.format.version", &message_format),
        ("message.timestamp.type", &broker.log_message_timestamp_type),
        (
            "message.timestamp.difference.max.ms",
            &broker.log_message_timestamp_difference_max_ms,
        ),
        ("message.timestamp.before.max.ms", &before),
        ("message.timestamp.after.max.ms", &after),
        (
            "message.downconversion.enable",
            &broker.log_message_downconversion_enable,
        ),
        ("local.retention.ms", &broker.log_local_retention_ms),
        ("local.retention.bytes", &broker.log_local_retention_bytes),
    ];
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect()
}
