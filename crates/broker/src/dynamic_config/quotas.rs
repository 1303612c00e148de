//! Quotas of clients (KIP-546, KIP-612) as they are stored below `/config`, and their way into
//! force.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ottla_config::Properties;
use ottla_config::value::{Type, Value};
use ottla_coordination::Error;
use ottla_coordination::paths::sanitizer::{desanitize, sanitize};
use ottla_coordination::paths::{self, ConfigEntity, EntityName};
use ottla_coordination::payloads::EntityConfig;
use ottla_model::ErrorCode;
use ottla_quotas::IpLimit;
use tracing::{error, info};

use super::alter::{unreadable, unwritable};
use super::{ApiError, DynamicConfig};
use crate::coordination::startup::StartupError;

/// What an entity's parts are called.
const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";
/// What an address may be limited in: new connections per second.
const CONNECTION_RATE: &str = "connection_creation_rate";

/// Whose quotas: parts of an entity, each with a name or, for the default, none.
pub(crate) type QuotaEntity = Vec<(String, Option<String>)>;

/// A change of one quota; no value takes it back.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct QuotaOperation {
    /// The key, for instance `producer_byte_rate`.
    pub(crate) key: String,
    /// The new value.
    pub(crate) value: Option<f64>,
}

/// What a part of an entity must be to be listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Match {
    /// This name.
    Exact(String),
    /// The default.
    Default,
    /// Any name, or the default.
    Any,
}

/// One part of a filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Component {
    /// `user`, `client-id` or `ip`.
    pub(crate) kind: String,
    /// What it must be.
    pub(crate) matches: Match,
}

impl DynamicConfig {
    /// Lists the entities that pass the filter, with their quotas. `strict`: entities must have no
    /// other parts than the filter names.
    pub(crate) async fn describe_quotas(
        &self,
        filter: &[Component],
        strict: bool,
    ) -> Result<Vec<(QuotaEntity, BTreeMap<String, f64>)>, ApiError> {
        let [user, client, ip] = components(filter)?;
        let mut listed = Vec::new();
        let entities = self.quota_entities().await.map_err(|error| {
            error!(%error, "cannot list entities");
            ApiError::unknown()
        })?;
        for entity in entities {
            let parts = parts(&entity);
            let passes = |component: Option<&Component>, kind: &str| {
                let part = parts
                    .iter()
                    .find(|(name, _)| name == kind)
                    .map(|(_, name)| name);
                match (component, part) {
                    (None, part) => part.is_none() || !strict,
                    (Some(_), None) => false,
                    (Some(component), Some(name)) => match &component.matches {
                        Match::Exact(wanted) => name.as_ref() == Some(wanted),
                        Match::Default => name.is_none(),
                        Match::Any => true,
                    },
                }
            };
            if !passes(user, USER) || !passes(client, CLIENT_ID) || !passes(ip, IP) {
                continue;
            }
            let config = self.read(&entity).await?;
            let keys = quota_keys(&entity);
            let mut quotas = BTreeMap::new();
            for (key, value) in config {
                if !keys.iter().any(|(known, _)| *known == key) {
                    continue; // SCRAM credentials, for instance
                }
                let value: f64 = value.parse().map_err(|_| {
                    error!(
                        entity = entity.entity_path(),
                        key, value, "a quota is not a number"
                    );
                    ApiError::unknown()
                })?;
                quotas.insert(key, value);
            }
            if !quotas.is_empty() {
                listed.push((parts, quotas));
            }
        }
        Ok(listed)
    }

    /// Changes the quotas of one entity.
    pub(crate) async fn alter_quotas(
        &self,
        entity: &QuotaEntity,
        operations: &[QuotaOperation],
        validate_only: bool,
    ) -> Result<(), ApiError> {
        let entity = quota_entity(entity)?;
        if let ConfigEntity::Ip(EntityName::Named(ip)) = &entity
            && resolve(ip).await.is_none()
        {
            let message = format!("{ip} is not a valid IP or resolvable host.");
            return Err(ApiError::invalid_request(message));
        }
        let mut config = self.read(&entity).await?;
        for operation in operations {
            let Some(value) = operation.value else {
                config.remove(&operation.key);
                continue;
            };
            let known = quota_keys(&entity)
                .iter()
                .find(|(key, _)| *key == operation.key);
            let Some((key, kind)) = known else {
                if is_scram(&entity, &operation.key) {
                    return Err(ApiError::unknown()); // as Kafka: it is no number
                }
                let message = format!("Invalid configuration key {}", operation.key);
                return Err(ApiError::invalid_request(message));
            };
            config.insert((*key).to_owned(), quota_text(key, *kind, value)?);
        }
        check_stored(&entity, &config)?;
        if validate_only {
            return Ok(());
        }
        self.write_quotas(&entity, config).await
    }

    /// Quotas that have become empty leave no znodes behind (`AdminZkClient.tryCleanQuotaNodes`).
    pub(super) async fn write_quotas(
        &self,
        entity: &ConfigEntity,
        config: Properties,
    ) -> Result<(), ApiError> {
        let failed = |error| unreadable(entity, &StartupError::Coordination(error));
        if !config.is_empty() || !self.is_childless(entity).await? {
            let result = self
                .coordination
                .write_entity_config(entity, &EntityConfig(config))
                .await;
            return result.map_err(|error| unwritable(entity, &error));
        }
        let path = self.emptied_path(entity).await?;
        info!(path, "deleting the znode of quotas that are empty");
        self.coordination
            .delete_recursive(&path)
            .await
            .map_err(failed)?;
        self.coordination
            .announce_config_change(entity)
            .await
            .map_err(failed)
    }

    async fn is_childless(&self, entity: &ConfigEntity) -> Result<bool, ApiError> {
        Ok(self
            .children(paths::entity_config(entity))
            .await?
            .is_empty())
    }

    /// What to delete when an entity's quotas are empty: for the only client of a user the level of
    /// clients as well, and the user too if it has nothing else.
    async fn emptied_path(&self, entity: &ConfigEntity) -> Result<String, ApiError> {
        let path = paths::entity_config(entity);
        let ConfigEntity::UserClient { user, .. } = entity else {
            return Ok(path);
        };
        let Some(clients) = paths::parent(&path).map(str::to_owned) else {
            return Ok(path);
        };
        if self.children(clients.clone()).await? != [paths::name(&path)] {
            return Ok(path);
        }
        let user = ConfigEntity::User(user.clone());
        let user_path = paths::entity_config(&user);
        let user_is_empty = self.read(&user).await?.is_empty();
        if user_is_empty && self.children(user_path.clone()).await? == ["clients"] {
            return Ok(user_path);
        }
        Ok(clients)
    }

    /// Every entity that may have quotas.
    pub(super) async fn quota_entities(&self) -> Result<Vec<ConfigEntity>, Error> {
        let children = |path: String| self.coordination.get_children(path, false);
        let mut entities = Vec::new();
        for user in children(paths::CONFIG_USERS.to_owned()).await? {
            let clients = format!("users/{user}/clients");
            entities.extend(ConfigEntity::parse(&format!("users/{user}")));
            for client in children(format!("{}/{clients}", paths::CONFIG)).await? {
                entities.extend(ConfigEntity::parse(&format!("{clients}/{client}")));
            }
        }
        for (root, kind) in [
            (paths::CONFIG_CLIENTS, "clients"),
            (paths::CONFIG_IPS, "ips"),
        ] {
            for name in children(root.to_owned()).await? {
                entities.extend(ConfigEntity::parse(&format!("{kind}/{name}")));
            }
        }
        Ok(entities)
    }

    /// Puts what is stored for a user, a client id or an address in force.
    pub(super) async fn apply_quotas(&self, entity: &ConfigEntity, stored: &Properties) {
        info!(
            entity = entity.entity_path(),
            ?stored,
            "applying quotas of clients"
        );
        let applied = match entity {
            ConfigEntity::Ip(ip) => self.apply_ip_limit(ip, stored).await,
            _ => self
                .client_quotas
                .update(entity, stored)
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = applied {
            let entity = entity.entity_path();
            error!(entity, error, "cannot apply quotas of clients");
        }
    }

    async fn apply_ip_limit(&self, ip: &EntityName, stored: &Properties) -> Result<(), String> {
        let limit = match stored.get(CONNECTION_RATE).map(|raw| raw.trim().parse()) {
            None => None,
            Some(Ok(limit)) => Some(limit),
            Some(Err(error)) => return Err(format!("{CONNECTION_RATE}: {error}")),
        };
        let ip = match ip {
            EntityName::Default => IpLimit::Default,
            EntityName::Named(host) => match resolve(host).await {
                Some(address) => IpLimit::Address(address),
                None => return Err(format!("{host} has no address")),
            },
        };
        self.connection_rates.set_ip_limit(ip, limit);
        Ok(())
    }

    pub(super) async fn children(&self, path: String) -> Result<Vec<String>, ApiError> {
        self.coordination
            .get_children(path.clone(), false)
            .await
            .map_err(|error| {
                error!(path, %error, "cannot list entities");
                ApiError::unknown()
            })
    }
}

/// The filter's parts: user, client id, ip.
fn components(filter: &[Component]) -> Result<[Option<&Component>; 3], ApiError> {
    let mut found: [Option<&Component>; 3] = [None; 3];
    for component in filter {
        let (index, name) = match component.kind.as_str() {
            USER => (0, "user"),
            CLIENT_ID => (1, "client"),
            IP => (2, "ip"),
            "" => {
                let message = "Unexpected empty filter component entity type";
                return Err(ApiError::invalid_request(message));
            }
            other => {
                let message = format!("Custom entity type '{other}' not supported");
                return Err(ApiError::new(ErrorCode::UnsupportedVersion, message));
            }
        };
        if found[index].replace(component).is_some() {
            let message = format!("Duplicate {name} filter component entity type");
            return Err(ApiError::invalid_request(message));
        }
    }
    if (found[0].is_some() || found[1].is_some()) && found[2].is_some() {
        return Err(ApiError::invalid_request(
            "Invalid entity filter component combination, IP filter component should not be used \
             with user or clientId filter component.",
        ));
    }
    Ok(found)
}

/// The entity that its parts name.
fn quota_entity(parts: &QuotaEntity) -> Result<ConfigEntity, ApiError> {
    if parts.is_empty() {
        return Err(ApiError::invalid_request(
            "Invalid empty client quota entity",
        ));
    }
    let [mut user, mut client, mut ip] = [const { None }; 3];
    for (kind, name) in parts {
        let slot = match kind.as_str() {
            USER => &mut user,
            CLIENT_ID => &mut client,
            IP => &mut ip,
            other => {
                let message = format!("Unhandled client quota entity type: {other}");
                return Err(ApiError::invalid_request(message));
            }
        };
        *slot = Some(match name {
            None => EntityName::Default,
            Some(name) if name.is_empty() => {
                return Err(ApiError::invalid_request(format!(
                    "Empty {kind} not supported"
                )));
            }
            // Kafka encodes addresses too, so one with colons is not found to be an address.
            Some(name) if kind == IP => EntityName::Named(sanitize(name)),
            Some(name) => EntityName::Named(name.clone()),
        });
    }
    match (user, client, ip) {
        (Some(user), Some(client), None) => Ok(ConfigEntity::UserClient { user, client }),
        (Some(user), None, None) => Ok(ConfigEntity::User(user)),
        (None, Some(client), None) => Ok(ConfigEntity::Client(client)),
        (None, None, Some(ip)) => Ok(ConfigEntity::Ip(ip)),
        (_, _, Some(_)) => Err(ApiError::invalid_request(
            "Invalid quota entity combination, IP entity should not be used with user/client ID \
             entity.",
        )),
        (None, None, None) => Err(ApiError::invalid_request("Invalid client quota entity")),
    }
}

/// The parts of an entity, as answers carry them.
fn parts(entity: &ConfigEntity) -> QuotaEntity {
    let part = |kind: &str, name: &EntityName| {
        let name = match name {
            EntityName::Default => None,
            EntityName::Named(name) if kind == IP => {
                Some(desanitize(name).unwrap_or_else(|| name.clone()))
            }
            EntityName::Named(name) => Some(name.clone()),
        };
        (kind.to_owned(), name)
    };
    match entity {
        ConfigEntity::User(user) => vec![part(USER, user)],
        ConfigEntity::UserClient { user, client } => {
            vec![part(USER, user), part(CLIENT_ID, client)]
        }
        ConfigEntity::Client(client) => vec![part(CLIENT_ID, client)],
        ConfigEntity::Ip(ip) => vec![part(IP, ip)],
        ConfigEntity::Topic(_) | ConfigEntity::Broker(_) => Vec::new(),
    }
}

/// The quotas that an entity can have (`QuotaConfigs`).
fn quota_keys(entity: &ConfigEntity) -> &'static [(&'static str, Type)] {
    match entity {
        ConfigEntity::Ip(_) => &[(CONNECTION_RATE, Type::Int)],
        _ => &[
            ("producer_byte_rate", Type::Long),
            ("consumer_byte_rate", Type::Long),
            ("request_percentage", Type::Double),
            ("controller_mutation_rate", Type::Double),
        ],
    }
}

fn is_scram(entity: &ConfigEntity, key: &str) -> bool {
    matches!(
        entity,
        ConfigEntity::User(_) | ConfigEntity::UserClient { .. }
    ) && matches!(key, "SCRAM-SHA-256" | "SCRAM-SHA-512")
}

/// Rates of whole bytes are stored without a fraction, the others as Java prints a double.
fn quota_text(key: &str, kind: Type, value: f64) -> Result<String, ApiError> {
    const EPSILON: f64 = 1e-6;
    // Casts from floating point saturate, in Java as here.
    let whole = match kind {
        Type::Long => (value + EPSILON) as i64,
        Type::Int => i64::from((value + EPSILON) as i32),
        _ => return Ok(Value::Double(value).to_string()),
    };
    if (whole as f64 - value).abs() > EPSILON {
        let message = format!("Configuration {key} must be a {} value", kind.name());
        return Err(ApiError::invalid_request(message));
    }
    Ok(whole.to_string())
}

/// What Kafka checks before it writes; it says nothing about what is wrong.
pub(super) fn check_stored(entity: &ConfigEntity, config: &Properties) -> Result<(), ApiError> {
    for (key, raw) in config {
        let known = quota_keys(entity).iter().find(|(known, _)| known == key);
        let has_credentials = matches!(entity, ConfigEntity::User(EntityName::Named(_)));
        let fine = match known {
            Some((key, kind)) => match Value::parse(key, *kind, raw) {
                Ok(Value::Int(number)) => number >= 0,
                result => result.is_ok(),
            },
            None => has_credentials && is_scram(entity, key),
        };
        if !fine {
            error!(
                entity = entity.entity_path(),
                key, "a stored quota is not valid"
            );
            return Err(ApiError::unknown());
        }
    }
    Ok(())
}

/// A host's first address.
async fn resolve(host: &str) -> Option<IpAddr> {
    let mut addresses = tokio::net::lookup_host((host, 0)).await.ok()?;
    addresses.next().map(|address| address.ip().to_canonical())
}
