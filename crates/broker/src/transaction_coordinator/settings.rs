//! What the coordinator takes from the broker's configuration. None of it is dynamic.

use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_transaction_coordinator::TransactionConfig;

/// The keys that decide how the transaction log is read and tidied.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the decisions need.
    pub(crate) transaction: TransactionConfig,
    /// How many partitions the transaction log has: read once, as in Kafka, and never again.
    pub(crate) partition_count: i32,
    /// `transaction.state.log.load.buffer.size`, in bytes.
    pub(crate) load_buffer_size: usize,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub(crate) abort_timed_out_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub(crate) remove_expired_interval: Duration,
}

impl Settings {
    /// Reads the configuration. `partition_count` is that of the existing topic, if there is one.
    pub(crate) fn new(config: &BrokerConfig, partition_count: Option<i32>) -> Self {
        Self {
            transaction: TransactionConfig {
                transaction_max_timeout_ms: config.transaction_max_timeout_ms,
                transactional_id_expiration_ms: i64::from(config.transactional_id_expiration_ms),
                request_timeout_ms: config.request_timeout_ms,
            },
            partition_count: partition_count
                .filter(|count| *count > 0)
                .unwrap_or(config.transaction_state_log_num_partitions),
            load_buffer_size: usize::try_from(config.transaction_state_log_load_buffer_size)
                .unwrap_or(0),
            abort_timed_out_interval: duration_ms(
                config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
            ),
            remove_expired_interval: duration_ms(
                config.transaction_remove_expired_transaction_cleanup_interval_ms,
            ),
        }
    }
}

/// A time of the configuration; what is below zero counts as zero.
pub(crate) fn duration_ms(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
