//! Changes of a topic's, a broker's or a logger's configuration on behalf of an administrator
//! (`ConfigAdminManager`, `ZkAdminManager`, `RuntimeLoggerManager`).

use ottla_config::{ConfigError, DynamicLevel, Properties, TopicConfig, dynamic, keys};
use ottla_coordination::paths::{ConfigEntity, EntityName};
use ottla_coordination::payloads::EntityConfig;
use ottla_model::{ErrorCode, TopicName, topic_names};
use tracing::{error, info, warn};

use super::loggers::{LEVELS, ROOT};
use super::operations::{Operation, OperationKind, perform};
use super::{ApiError, DynamicConfig};
use crate::coordination::entity_configs::ConfigWriteError;
use crate::coordination::startup::StartupError;

/// What an administrator wants a config to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Exactly these values (AlterConfigs).
    All(Properties),
    /// The stored values with these changes (IncrementalAlterConfigs).
    Changes(Vec<Operation>),
}

impl DynamicConfig {
    /// Changes a topic's overrides. `exists`: whether the metadata cache has the topic.
    pub(crate) async fn alter_topic(
        &self,
        topic: &str,
        exists: bool,
        wanted: Wanted,
        validate_only: bool,
    ) -> Result<(), ApiError> {
        if topic.is_empty() {
            return Err(ApiError::invalid_request(
                "Default topic resources are not allowed.",
            ));
        }
        let entity = ConfigEntity::Topic(TopicName::from(topic));
        let config = match wanted {
            Wanted::All(config) => config,
            Wanted::Changes(operations) => {
                let mut config = self.read(&entity).await?;
                perform(&operations, &mut config, keys::topic_key)?;
                config
            }
        };
        if !exists {
            let message = format!("The topic '{topic}' does not exist.");
            return Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, message));
        }
        topic_names::validate(topic)
            .map_err(|error| ApiError::new(ErrorCode::InvalidTopicException, error.to_string()))?;
        let broker = self.configs.broker();
        TopicConfig::validate(&broker, &Properties::new(), &config)
            .map_err(|error| topic_error(topic, &error))?;
        if validate_only {
            return Ok(());
        }
        info!(topic, keys = ?config.keys(), "updating topic configuration");
        self.write(&entity, config).await
    }

    /// Changes the dynamic values of this broker, or of all brokers.
    pub(crate) async fn alter_broker(
        &self,
        level: DynamicLevel,
        wanted: Wanted,
        validate_only: bool,
    ) -> Result<(), ApiError> {
        let name = match level {
            DynamicLevel::Broker => EntityName::Named(self.broker_id.to_string()),
            DynamicLevel::Default => EntityName::Default,
        };
        let entity = ConfigEntity::Broker(name);
        // Passwords that are stored encoded stay as they are: they cannot be decoded here.
        let mut passwords = Properties::new();
        let config = match wanted {
            Wanted::All(config) => config,
            Wanted::Changes(operations) => {
                if let Some(unknown) = operations.iter().find(|op| op.kind.is_none()) {
                    let message = format!("Unknown operations type {}", unknown.id);
                    return Err(ApiError::invalid_request(message));
                }
                let stored = self.read(&entity).await?;
                let (mut config, _) = dynamic::usable_dynamic(level, &stored);
                passwords = stored;
                passwords.retain(|name, _| dynamic::is_password(name));
                for operation in &operations {
                    passwords.remove(&operation.name);
                }
                perform(&operations, &mut config, keys::broker_key)?;
                config
            }
        };
        let current = self.configs.broker();
        // An invalid request rather than an invalid config, as Kafka answers (KAFKA-13609).
        ottla_config::validate_dynamic(&current, &self.in_force(), level, &config)
            .map_err(|error| ApiError::invalid_request(error.to_string()))?;
        if config.keys().any(|name| dynamic::is_password(name)) {
            let id = match level {
                DynamicLevel::Broker => self.broker_id.to_string(),
                DynamicLevel::Default => String::new(),
            };
            let reason = match (level, &current.password_encoder_secret) {
                (DynamicLevel::Default, _) => "Password config can be defined only at broker level",
                (DynamicLevel::Broker, None) => "Password encoder secret not configured",
                (DynamicLevel::Broker, Some(_)) => "Passwords cannot be stored yet",
            };
            return Err(invalid_value("BROKER", &id, reason));
        }
        if validate_only {
            return Ok(());
        }
        info!(?level, keys = ?config.keys(), "updating dynamic broker configuration");
        let mut config = config;
        config.extend(passwords);
        self.write(&entity, config).await
    }

    /// Changes levels of loggers.
    pub(crate) fn alter_loggers(
        &self,
        operations: &[Operation],
        validate_only: bool,
    ) -> Result<(), ApiError> {
        let changes = operations
            .iter()
            .map(|operation| self.logger_change(operation))
            .collect::<Result<Vec<_>, _>>()?;
        if validate_only {
            return Ok(());
        }
        self.loggers.set(&changes).map_err(|error| {
            error!(error, "cannot change the levels of loggers");
            ApiError::unknown()
        })?;
        for (name, level) in &changes {
            warn!(
                logger = name,
                level = level.unwrap_or("unset"),
                "the level of a logger changes"
            );
        }
        Ok(())
    }

    fn logger_change(
        &self,
        operation: &Operation,
    ) -> Result<(String, Option<&'static str>), ApiError> {
        let name = &operation.name;
        let exists = || {
            if self.loggers.exists(name) {
                return Ok(());
            }
            let message = format!("Logger {name} does not exist!");
            Err(ApiError::new(ErrorCode::InvalidConfig, message))
        };
        let refused = |what: &str| {
            let message = format!("{what} operation is not allowed for the BROKER_LOGGER resource");
            Err(ApiError::invalid_request(message))
        };
        match operation.kind {
            Some(OperationKind::Set) => {
                exists()?;
                let level = operation.value.as_deref().unwrap_or_default();
                match LEVELS.into_iter().find(|known| *known == level) {
                    Some(level) => Ok((name.clone(), Some(level))),
                    None => {
                        let message = format!(
                            "Cannot set the log level of {name} to {level} as it is not a \
                             supported log level. Valid log levels are {}",
                            LEVELS.join(", ")
                        );
                        Err(ApiError::new(ErrorCode::InvalidConfig, message))
                    }
                }
            }
            Some(OperationKind::Delete) => {
                exists()?;
                if name == ROOT {
                    let message = "Removing the log level of the root logger is not allowed";
                    return Err(ApiError::invalid_request(message));
                }
                Ok((name.clone(), None))
            }
            Some(OperationKind::Append) => refused("APPEND"),
            Some(OperationKind::Subtract) => refused("SUBTRACT"),
            None => {
                let message = format!(
                    "Unknown operation type {} is not allowed for the BROKER_LOGGER resource",
                    operation.id
                );
                Err(ApiError::invalid_request(message))
            }
        }
    }

    pub(super) async fn read(&self, entity: &ConfigEntity) -> Result<Properties, ApiError> {
        let config = self.coordination.entity_config(entity).await;
        config
            .map(|config| config.0)
            .map_err(|error| unreadable(entity, &error))
    }

    async fn write(&self, entity: &ConfigEntity, config: Properties) -> Result<(), ApiError> {
        let result = self
            .coordination
            .write_entity_config(entity, &EntityConfig(config))
            .await;
        result.map_err(|error| unwritable(entity, &error))
    }
}

pub(super) fn unreadable(entity: &ConfigEntity, error: &StartupError) -> ApiError {
    error!(entity = entity.entity_path(), %error, "cannot read a configuration");
    ApiError::unknown()
}

pub(super) fn unwritable(entity: &ConfigEntity, error: &ConfigWriteError) -> ApiError {
    let path = entity.entity_path();
    match error {
        ConfigWriteError::NoController => {
            let (kind, name) = path.split_once('/').unwrap_or((path.as_str(), ""));
            let message =
                format!("Cannot set entity configs for {kind} {name} when there is no controller.");
            ApiError::new(ErrorCode::StaleControllerEpoch, message)
        }
        ConfigWriteError::Store(error) => {
            error!(entity = path, %error, "cannot write a configuration");
            ApiError::unknown()
        }
    }
}

/// Names that are unknown and values that contradict each other are errors of their own in Kafka;
/// what its `ConfigDef` says is wrapped.
fn topic_error(topic: &str, error: &ConfigError) -> ApiError {
    let text = error.to_string();
    let is_wrapped = matches!(error, ConfigError::Invalid { .. })
        || text.starts_with("Tiered Storage functionality is disabled");
    if is_wrapped {
        return invalid_value("TOPIC", topic, &text);
    }
    ApiError::new(ErrorCode::InvalidConfig, text)
}

fn invalid_value(kind: &str, name: &str, reason: &str) -> ApiError {
    let resource = format!("ConfigResource(type={kind}, name='{name}')");
    let message = format!("Invalid config value for resource {resource}: {reason}");
    ApiError::new(ErrorCode::InvalidConfig, message)
}
