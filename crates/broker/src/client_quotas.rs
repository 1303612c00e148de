//! Quotas of clients in force: what is configured, what requests have used, and what they wait for
//! (`QuotaManagers`, `RequestHandlerHelper`).
//!
//! As long as no quota has been set nothing is measured, and a request costs a look at one flag.
//! From the first one on every request is handled with a [`Charge`], which times its handler and
//! knows whose it is. A throttled client is answered at once, told how long it is throttled, and
//! its connection stays unread for that time (KIP-219).
//!
//! Read in this order: this file, [`charge`], [`mutations`], `answers`.

mod answers;
pub(crate) mod charge;
pub(crate) mod mutations;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_config::{BrokerConfig, Properties};
use ottla_coordination::paths::{ConfigEntity, EntityName};
use ottla_quotas::{ClientQuota, Entity, Mutations, Name, QuotaRate, Windows};
use parking_lot::Mutex;

pub(crate) use answers::Answer;
pub(crate) use charge::{Charge, Meter, Throttle};
pub(crate) use mutations::MutationQuota;

/// The quotas of clients, and what they have used.
pub(crate) struct ClientQuotas {
    /// Whether a quota has ever been set: for a user or a client id, of whatever kind.
    enabled: AtomicBool,
    /// Bytes per second of produce requests.
    produce: Mutex<QuotaRate>,
    /// Bytes per second of answers to consumers' fetches.
    fetch: Mutex<QuotaRate>,
    /// Time on threads, in percent of one.
    request: Mutex<QuotaRate>,
    /// Partitions created and deleted per second.
    mutations: Mutex<Mutations>,
}

impl fmt::Debug for ClientQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientQuotas")
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// A stored quota is not a number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key} is not a number: {value}")]
pub(crate) struct InvalidQuota {
    key: &'static str,
    value: String,
}

impl ClientQuotas {
    /// Without quotas.
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let windows = windows(config);
        let mutations = Windows::new(
            config.controller_quota_window_num,
            config.controller_quota_window_size_seconds,
        );
        Self {
            enabled: AtomicBool::new(false),
            produce: Mutex::new(ClientQuota::new(windows)),
            fetch: Mutex::new(ClientQuota::new(windows)),
            request: Mutex::new(ClientQuota::new(windows)),
            mutations: Mutex::new(ClientQuota::new(mutations)),
        }
    }

    /// Whether requests must be measured.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Puts what is stored for a user or a client id in force; quotas that it has no more end.
    ///
    /// # Errors
    /// A value is not a number; those of other kinds before it are in force, as in Kafka.
    pub(crate) fn update(
        &self,
        entity: &ConfigEntity,
        stored: &Properties,
    ) -> Result<(), InvalidQuota> {
        let Some(entity) = quota_entity(entity) else {
            return Ok(());
        };
        let rates = [
            ("producer_byte_rate", &self.produce),
            ("consumer_byte_rate", &self.fetch),
        ];
        for (key, quota) in rates {
            let limit = number::<i64>(stored, key)?.map(|limit| limit as f64);
            quota.lock().set_limit(&entity, limit);
            self.enabled.store(true, Ordering::Relaxed);
        }
        let limit = number::<f64>(stored, "request_percentage")?;
        self.request.lock().set_limit(&entity, limit);
        let limit = number::<f64>(stored, "controller_mutation_rate")?;
        self.mutations.lock().set_limit(&entity, limit);
        Ok(())
    }
}

/// The windows over which what clients do is measured.
pub(crate) fn windows(config: &BrokerConfig) -> Windows {
    Windows::new(config.quota_window_num, config.quota_window_size_seconds)
}

fn quota_entity(entity: &ConfigEntity) -> Option<Entity> {
    let of = |name: &EntityName| match name {
        EntityName::Default => Name::Default,
        EntityName::Named(name) => Name::Named(name.clone()),
    };
    let (user, client_id) = match entity {
        ConfigEntity::User(user) => (Some(of(user)), None),
        ConfigEntity::Client(client) => (None, Some(of(client))),
        ConfigEntity::UserClient { user, client } => (Some(of(user)), Some(of(client))),
        ConfigEntity::Topic(_) | ConfigEntity::Broker(_) | ConfigEntity::Ip(_) => return None,
    };
    Some(Entity { user, client_id })
}

fn number<N: std::str::FromStr>(
    stored: &Properties,
    key: &'static str,
) -> Result<Option<N>, InvalidQuota> {
    let Some(value) = stored.get(key) else {
        return Ok(None);
    };
    value.trim().parse().map(Some).map_err(|_| InvalidQuota {
        key,
        value: value.clone(),
    })
}
