//! What handlers do to topics: create, delete, add partitions (`ZkAdminManager`, `AdminZkClient`).
//!
//! Each only writes what the controller watches, then waits until the metadata cache shows that
//! the controller has acted.

pub mod auto_create;
pub mod create;
pub mod delete;
pub mod expand;

use std::time::Duration;

use ottla_config::{ConfigError, DynamicValues};
use ottla_controller::ApiError;
use ottla_controller::assignment::AssignmentError;
use ottla_coordination::Error;
use ottla_model::{BrokerId, ErrorCode};

use crate::client_quotas::MutationQuota;
use crate::client_quotas::mutations::QuotaExceeded;
use crate::configs::Configs;
use crate::coordination::CoordinationHandle;
use crate::metadata_cache::MetadataCache;

/// The most partitions that one topic can be given in one request. Far more than a znode holds
/// (1 MiB, at least 7 bytes for each partition); it keeps a request from sizing an allocation.
pub const PARTITIONS_MAX: i32 = 200_000;

/// What changing topics takes.
#[derive(Clone, Debug)]
pub struct TopicAdmin<'a> {
    /// What the caller may change; without one, everything.
    pub(crate) quota: Option<&'a MutationQuota<'a>>,
    /// Configuration in force.
    pub configs: &'a Configs,
    /// Shows what the controller has done.
    pub metadata_cache: &'a MetadataCache,
    /// Where orders to the controller are written.
    pub coordination: &'a CoordinationHandle,
    /// Dynamic values of the broker: sources of what a new topic's configuration shows.
    pub dynamic_values: DynamicValues,
}

impl<'a> TopicAdmin<'a> {
    /// Counts changes against a quota.
    pub(crate) fn under(mut self, quota: &'a MutationQuota<'a>) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Counts partitions that are about to be created or deleted.
    fn record(&self, partitions: usize) -> Result<(), ApiError> {
        let recorded = self.quota.map_or(Ok(()), |quota| quota.record(partitions));
        recorded.map_err(|QuotaExceeded| ApiError::of(ErrorCode::ThrottlingQuotaExceeded))
    }
}

/// How long a caller waits.
fn deadline(timeout_ms: i32) -> tokio::time::Instant {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    tokio::time::Instant::now() + timeout
}

fn timed_out() -> ApiError {
    ApiError::of(ErrorCode::RequestTimedOut)
}

/// An error that is no API exception in Kafka: its text is not shown to clients.
fn unknown_server_error(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "error while changing topics");
    ApiError::of(ErrorCode::UnknownServerError)
}

fn coordination_error(error: Error) -> ApiError {
    unknown_server_error(&error)
}

fn assignment_error(error: &AssignmentError) -> ApiError {
    match error.error_code() {
        ErrorCode::UnknownServerError => unknown_server_error(error),
        code => ApiError::with(code, error.to_string()),
    }
}

fn config_error(error: &ConfigError) -> ApiError {
    ApiError::with(ErrorCode::InvalidConfig, error.to_string())
}

fn joined(ids: impl IntoIterator<Item = BrokerId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.join(", ")
}
