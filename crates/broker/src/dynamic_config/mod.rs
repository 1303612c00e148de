//! Changes of configuration while the broker runs: who makes them, and who follows them.
//!
//! Whoever changes a config writes the entity's znode and announces it below `/config/changes`;
//! every broker follows the announcements, reads the entity's config again and applies it whole
//! ([`follow`]). So a change that this broker makes ([`alter`]) takes effect here the same way as
//! everywhere else.
//!
//! Read in this order: this file, [`follow`], [`operations`], [`alter`], [`quotas`], [`scram`],
//! [`loggers`].

mod alter;
mod follow;
mod loggers;
mod operations;
mod quotas;
mod scram;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use ottla_config::{DynamicLevel, DynamicValues, Properties, dynamic};
use ottla_coordination::paths::{self, ConfigEntity, EntityName};
use ottla_model::{BrokerId, ErrorCode, TopicName};
use ottla_network::ConnectionRates;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::client_quotas::{self, ClientQuotas};
use crate::configs::Configs;
use crate::coordination::CoordinationHandle;
use crate::coordination::startup::StartupError;

pub(crate) use alter::Wanted;
pub use loggers::{LEVELS, Loggers, ROOT, Reload};
pub(crate) use operations::{Operation, OperationKind};
pub(crate) use quotas::{Component, Match, QuotaEntity, QuotaOperation};
pub(crate) use scram::{ScramAlteration, ScramInfo, ScramMechanism, ScramSecret};

/// What an administrator is told when a change or a question fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ApiError {
    /// The code.
    pub(crate) code: ErrorCode,
    /// The text, where it says more than the code does.
    pub(crate) message: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
        }
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Something that must not leak into an answer, or that has nothing to say.
    pub(crate) fn unknown() -> Self {
        Self {
            code: ErrorCode::UnknownServerError,
            message: None,
        }
    }
}

/// A config that this broker has applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// A topic's overrides; [`Configs`] has them.
    Topic(TopicName),
    /// This broker's own values; [`Configs`] has them.
    Broker,
}

/// The broker's side of dynamic configuration.
pub struct DynamicConfig {
    broker_id: BrokerId,
    coordination: Arc<CoordinationHandle>,
    configs: Arc<Configs>,
    loggers: Arc<Loggers>,
    client_quotas: Arc<ClientQuotas>,
    connection_rates: Arc<ConnectionRates>,
    in_force: Mutex<DynamicValues>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Changed>>>,
}

impl fmt::Debug for DynamicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicConfig")
            .field("broker_id", &self.broker_id)
            .finish_non_exhaustive()
    }
}

impl DynamicConfig {
    /// Without any dynamic values yet; see [`DynamicConfig::load`].
    pub fn new(
        broker_id: BrokerId,
        coordination: Arc<CoordinationHandle>,
        configs: Arc<Configs>,
        loggers: Arc<Loggers>,
    ) -> Arc<Self> {
        let (in_force, subscribers) = (Mutex::default(), Mutex::default());
        let config = configs.broker();
        let client_quotas = Arc::new(ClientQuotas::new(&config));
        let connection_rates = Arc::new(ConnectionRates::new(client_quotas::windows(&config)));
        Arc::new(Self {
            broker_id,
            coordination,
            configs,
            loggers,
            client_quotas,
            connection_rates,
            in_force,
            subscribers,
        })
    }

    /// Hears of configs that are applied from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Changed> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.lock().push(sender);
        receiver
    }

    /// Quotas of users and client ids in force.
    pub(crate) fn client_quotas(&self) -> &Arc<ClientQuotas> {
        &self.client_quotas
    }

    /// Quotas of addresses in force.
    pub(crate) fn connection_rates(&self) -> &Arc<ConnectionRates> {
        &self.connection_rates
    }

    /// Applies what is stored for this broker, for every topic and for clients: before logs are
    /// opened.
    ///
    /// # Errors
    /// Reading failed. Values that cannot be used are logged and left out.
    pub async fn load(&self) -> Result<(), StartupError> {
        let own = EntityName::Named(self.broker_id.to_string());
        self.apply(&ConfigEntity::Broker(EntityName::Default))
            .await?;
        self.apply(&ConfigEntity::Broker(own)).await?;
        for topic in self
            .coordination
            .get_children(paths::CONFIG_TOPICS, false)
            .await?
        {
            self.apply(&ConfigEntity::Topic(TopicName::from(topic)))
                .await?;
        }
        for entity in self.quota_entities().await? {
            self.apply(&entity).await?;
        }
        Ok(())
    }

    /// Applies what is stored for a topic: before its first log is made here.
    ///
    /// # Errors
    /// Reading failed. Values that cannot be used are logged and left out.
    pub async fn load_topic(&self, topic: &TopicName) -> Result<(), StartupError> {
        self.apply(&ConfigEntity::Topic(topic.clone())).await
    }

    /// The dynamic values that this broker runs with.
    pub(crate) fn in_force(&self) -> DynamicValues {
        self.in_force.lock().clone()
    }

    /// The loggers of this process.
    pub(crate) fn loggers(&self) -> &Loggers {
        &self.loggers
    }

    /// A topic's overrides as they are stored now.
    pub(crate) async fn topic_overrides(&self, topic: &str) -> Result<Properties, StartupError> {
        let entity = ConfigEntity::Topic(TopicName::from(topic));
        Ok(self.coordination.entity_config(&entity).await?.0)
    }

    /// Reads an entity's config and puts it in force.
    async fn apply(&self, entity: &ConfigEntity) -> Result<(), StartupError> {
        let own_id = self.broker_id.to_string();
        let level = match entity {
            ConfigEntity::Broker(EntityName::Default) => Some(DynamicLevel::Default),
            ConfigEntity::Broker(EntityName::Named(id)) if *id == own_id => {
                Some(DynamicLevel::Broker)
            }
            ConfigEntity::Broker(_) => return Ok(()),
            _ => None,
        };
        let config = self.coordination.entity_config(entity).await?.0;
        match (level, entity) {
            (Some(level), _) => self.apply_broker(level, &config),
            (None, ConfigEntity::Topic(topic)) => self.apply_topic(topic, config),
            (None, entity) => self.apply_quotas(entity, &config).await,
        }
        Ok(())
    }

    fn apply_topic(&self, topic: &TopicName, overrides: Properties) {
        info!(%topic, keys = ?overrides.keys(), "applying topic configuration");
        match self.configs.set_topic(topic, overrides) {
            Ok(()) => self.tell(Changed::Topic(topic.clone())),
            Err(error) => error!(%topic, %error, "cannot apply topic configuration"),
        }
    }

    fn apply_broker(&self, level: DynamicLevel, stored: &Properties) {
        let (usable, ignored) = dynamic::usable_dynamic(level, stored);
        for (name, reason) in ignored {
            error!(?level, name, reason, "a dynamic value is ignored");
        }
        let mut in_force = self.in_force.lock();
        let mut proposed = in_force.clone();
        match level {
            DynamicLevel::Broker => proposed.broker = usable,
            DynamicLevel::Default => proposed.default = usable,
        }
        if proposed == *in_force {
            return;
        }
        let applied = self
            .configs
            .broker()
            .with_dynamic(&proposed)
            .and_then(|config| self.configs.set_broker(config));
        match applied {
            Ok(()) => *in_force = proposed,
            Err(error) => {
                error!(?level, %error, "cannot apply dynamic broker configuration");
                return;
            }
        }
        drop(in_force);
        info!(?level, "applied dynamic broker configuration");
        self.tell(Changed::Broker);
    }

    fn tell(&self, changed: Changed) {
        self.subscribers
            .lock()
            .retain(|subscriber| subscriber.send(changed.clone()).is_ok());
    }
}
