//! The keys that decide something here.

/// The part of a broker's configuration that the coordinator needs, in Kafka's units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: the longest timeout that a producer may ask for.
    pub transaction_max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`: how long an idle id is remembered.
    pub transactional_id_expiration_ms: i64,
    /// `request.timeout.ms`: how long tombstones may take to be replicated.
    pub request_timeout_ms: i32,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            transaction_max_timeout_ms: 900_000,
            transactional_id_expiration_ms: 604_800_000,
            request_timeout_ms: 30_000,
        }
    }
}
