//! The quota on changes of topics as one request meets it (`ControllerMutationQuota`, KIP-599).

use ottla_model::Instant;
use parking_lot::Mutex;

use super::Charge;

/// Partitions that may not be created or deleted now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QuotaExceeded;

/// Counts the partitions that one request creates or deletes.
#[derive(Debug)]
pub(crate) struct MutationQuota<'a> {
    charge: Option<&'a Charge<'a>>,
    is_strict: bool,
    /// The last throttle time, milliseconds, and when it was found.
    last: Mutex<Option<(i64, Instant)>>,
}

impl<'a> MutationQuota<'a> {
    /// Counts changes, refuses none, and throttles the client for what is too much.
    pub(crate) fn permissive(charge: Option<&'a Charge<'a>>) -> Self {
        Self::new(charge, false)
    }

    /// What a version of a request is given: from `strict_since` on, when clients know how to wait,
    /// a quota that refuses changes while it is used up. Without a charge nothing is limited.
    pub(crate) fn of_version(
        charge: Option<&'a Charge<'a>>,
        version: i16,
        strict_since: i16,
    ) -> Self {
        Self::new(charge, version >= strict_since)
    }

    fn new(charge: Option<&'a Charge<'a>>, is_strict: bool) -> Self {
        Self {
            charge,
            is_strict,
            last: Mutex::default(),
        }
    }

    /// Counts partitions that are about to be created or deleted.
    ///
    /// # Errors
    /// The quota is strict, and used up: they must stay as they are.
    pub(crate) fn record(&self, partitions: usize) -> Result<(), QuotaExceeded> {
        let Some(charge) = self.charge else {
            return Ok(());
        };
        let now = charge.clock.now();
        let (user, client_id) = (charge.user(), charge.client_id());
        let tokens = partitions as f64;
        let mut quota = charge.quotas.mutations.lock();
        if self.is_strict {
            quota
                .record_strict(user, client_id, tokens, now)
                .map_err(|throttle_ms| {
                    *self.last.lock() = Some((throttle_ms, now));
                    QuotaExceeded
                })
        } else {
            let throttle_ms = quota.record_permissive(user, client_id, tokens, now);
            if throttle_ms > 0 {
                *self.last.lock() = Some((throttle_ms, now));
            }
            Ok(())
        }
    }

    /// How many milliseconds the client is throttled, at this moment; cut to 32 bits as Kafka does.
    pub(crate) fn throttle_ms(&self) -> i32 {
        let (Some(charge), Some((throttle_ms, since))) = (self.charge, *self.last.lock()) else {
            return 0;
        };
        let elapsed = charge.clock.now().since(since).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        throttle_ms.saturating_sub(elapsed).max(0) as i32
    }
}
