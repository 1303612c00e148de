//! What the configuration requests have in common: the resources that they name.

use std::collections::BTreeMap;

use ottla_config::DynamicLevel;
use ottla_model::ErrorCode;

use crate::broker::Broker;
use crate::dynamic_config::{ApiError, Wanted};

/// `ConfigResource.Type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Unknown,
}

impl ResourceType {
    pub(crate) fn from_id(id: i8) -> Self {
        match id {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            _ => Self::Unknown,
        }
    }
}

/// Checks that a resource names this broker; `unexpected` makes the text for another one's id.
pub(crate) fn own_id(
    broker: &Broker,
    what: &str,
    name: &str,
    unexpected: impl FnOnce(i32) -> String,
) -> Result<(), ApiError> {
    let id: i32 = name.parse().map_err(|_| {
        ApiError::invalid_request(format!("{what} id must be an integer, but it is: {name}"))
    })?;
    if id != broker.id.0 {
        return Err(ApiError::invalid_request(unexpected(broker.id.0)));
    }
    Ok(())
}

/// Refuses resources that are named more than once: for each resource whether it is one of them.
pub(crate) fn duplicates<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> Vec<bool> {
    let resources: Vec<_> = resources.collect();
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for resource in &resources {
        *counts.entry(*resource).or_default() += 1;
    }
    resources
        .iter()
        .map(|resource| counts[resource] > 1)
        .collect()
}

/// Checks keys that come once at most, and values that are there where one is needed.
pub(crate) fn check_entries<'a>(
    entries: impl Iterator<Item = (&'a str, bool)> + Clone,
) -> Result<(), ApiError> {
    let mut names: Vec<&str> = entries.clone().map(|(name, _)| name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::invalid_request(
            "Error due to duplicate config keys",
        ));
    }
    let missing: Vec<&str> = entries
        .filter(|(_, has_value)| !has_value)
        .map(|(name, _)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("Null value not supported for : {}", missing.join(", "));
    Err(ApiError::invalid_request(message))
}

/// Changes the config of a topic or a broker.
pub(crate) async fn alter(
    broker: &Broker,
    kind: i8,
    name: &str,
    wanted: Wanted,
    validate_only: bool,
) -> Result<(), ApiError> {
    match ResourceType::from_id(kind) {
        ResourceType::Topic => {
            let exists = broker.metadata_cache.snapshot().topic(name).is_some();
            broker
                .dynamic_config
                .alter_topic(name, exists, wanted, validate_only)
                .await
        }
        ResourceType::Broker => {
            let mut level = DynamicLevel::Default;
            if !name.is_empty() {
                own_id(broker, "Node", name, |expected| {
                    format!("Unexpected broker id, expected {expected}, but received {name}")
                })?;
                level = DynamicLevel::Broker;
            }
            broker
                .dynamic_config
                .alter_broker(level, wanted, validate_only)
                .await
        }
        ResourceType::ClientMetrics => Err(ApiError::invalid_request(
            "AlterConfigs is only supported for topics and brokers, but resource type is \
             CLIENT_METRICS",
        )),
        ResourceType::BrokerLogger | ResourceType::Unknown => Err(ApiError::invalid_request(
            format!("Unknown resource type {kind}"),
        )),
    }
}

/// The error code and text of an outcome.
pub(crate) fn outcome(result: Result<(), ApiError>) -> (i16, Option<String>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), error.message),
    }
}

/// What a resource that is named more than once is answered.
pub(crate) fn duplicate() -> ApiError {
    ApiError::invalid_request("Each resource must appear at most once.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_of_a_repeated_resource_is_refused() {
        let resources = [(2, "a"), (4, "a"), (2, "b"), (2, "a")];
        assert_eq!(
            duplicates(resources.into_iter()),
            [true, false, false, true]
        );
    }

    #[test]
    fn keys_come_once_and_with_a_value() {
        let check = |entries: &[(&str, bool)], expect: Option<&str>| {
            let result = check_entries(entries.iter().copied());
            let expect = expect.map(ApiError::invalid_request);
            assert_eq!(result.err(), expect);
        };
        check(&[("a", true), ("b", true)], None);
        check(
            &[("a", true), ("a", false)],
            Some("Error due to duplicate config keys"),
        );
        let text = "Null value not supported for : b, c";
        check(&[("b", false), ("a", true), ("c", false)], Some(text));
    }
}
