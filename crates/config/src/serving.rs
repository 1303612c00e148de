//! What this broker does about keys that it knows and does not serve, and about keys that nobody
//! knows: silence would promise what it does not keep.

use ottla_model::SecurityProtocol;

use crate::broker_config::BrokerConfig;
use crate::error::ConfigError;
use crate::field::Properties;
use crate::key::Serving;
use crate::keys;
use crate::synonyms::listener_key;
use crate::value::Value;

/// Classes that replace `${provider:…}` in values (KIP-297); no key of the table.
const PROVIDERS: &str = "config.providers";

/// A property that has no effect, worth a warning at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ineffective {
    /// Kafka knows the key; this broker does not act on it yet.
    Unserved(String),
    /// Nobody knows the key.
    Unknown(String),
}

impl std::fmt::Display for Ineffective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unserved(name) => {
                write!(
                    f,
                    "the configuration '{name}' is known but has no effect yet"
                )
            }
            // Kafka's own words for it.
            Self::Unknown(name) => {
                write!(
                    f,
                    "The configuration '{name}' was supplied but isn't a known config."
                )
            }
        }
    }
}

/// The keys of `properties` that have no effect. Values that are a key's default count too: someone
/// took the trouble to write them.
pub fn ineffective(properties: &Properties) -> Vec<Ineffective> {
    let judge = |name: &String| {
        let base = listener_key(name).unwrap_or(name);
        match keys::broker_key(base) {
            Some(key) if key.serving == Serving::Unserved => {
                Some(Ineffective::Unserved(name.clone()))
            }
            Some(_) => None,
            None if name.starts_with("ottla.") => None,
            None => Some(Ineffective::Unknown(name.clone())),
        }
    };
    properties.keys().filter_map(judge).collect()
}

/// Whether this broker may start: it does not where running would be less safe than the
/// configuration asks for.
///
/// # Errors
/// The first key that asks for protection that is not served.
pub fn check_safe(config: &BrokerConfig) -> Result<(), ConfigError> {
    if let Some(providers) = config
        .properties()
        .get(PROVIDERS)
        .filter(|names| !names.is_empty())
    {
        return Err(ConfigError::Refused {
            name: PROVIDERS.to_owned(),
            value: providers.clone(),
            reason: "Java classes cannot run here: values that they provide would be taken \
                     literally"
                .to_owned(),
        });
    }
    for (name, raw) in config.properties() {
        let Some(key) = keys::broker_key(name) else {
            continue;
        };
        let Serving::Refused(reason) = key.serving else {
            continue;
        };
        let value = Value::parse(name, key.kind, raw)?;
        let default = key
            .default
            .map(|raw| Value::parse(name, key.kind, raw))
            .transpose()?;
        let is_empty = value.to_string().is_empty();
        if is_empty || Some(value) == default {
            continue;
        }
        let (name, value, reason) = (name.clone(), raw.clone(), reason.to_owned());
        return Err(ConfigError::Refused {
            name,
            value,
            reason,
        });
    }
    let all = config
        .listeners()
        .iter()
        .chain(config.advertised_listeners());
    for endpoint in all {
        if endpoint.protocol == SecurityProtocol::Plaintext {
            continue;
        }
        return Err(ConfigError::Refused {
            name: "listeners".to_owned(),
            value: config.listeners.clone(),
            reason: format!(
                "listener {} needs {}, and only PLAINTEXT listeners are served yet",
                endpoint.listener, endpoint.protocol
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(values: &[(&str, &str)]) -> Properties {
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_start_that_would_be_less_safe_than_asked_is_refused() {
        let check = |name: &str, value: &str, expect: Option<&str>| {
            let config = BrokerConfig::from_properties(properties(&[(name, value)])).unwrap();
            let error = check_safe(&config).err().map(|error| error.to_string());
            assert_eq!(
                error.is_some(),
                expect.is_some(),
                "{name}={value}: {error:?}"
            );
            if let (Some(error), Some(expect)) = (error, expect) {
                assert!(error.contains(expect), "{error}");
            }
        };
        check(
            "authorizer.class.name",
            "kafka.security.authorizer.AclAuthorizer",
            Some("unchecked"),
        );
        check("authorizer.class.name", "", None);
        check("process.roles", "broker", Some("ZooKeeper"));
        check("process.roles", "", None);
        check("create.topic.policy.class.name", "x.Y", Some("unchecked"));
        check("client.quota.callback.class", "x.Y", Some("throttled"));
        check("principal.builder.class", "x.Y", Some("principals"));
        let default = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder";
        check("principal.builder.class", default, None);
        check(
            "listeners",
            "PLAINTEXT://:1,SASL_PLAINTEXT://:2",
            Some("needs SASL_PLAINTEXT"),
        );
        check("listeners", "PLAINTEXT://:1,SSL://:2", Some("needs SSL"));
        check("config.providers", "file", Some("literally"));
        check("num.partitions", "3", None);
    }

    #[test]
    fn keys_without_effect_are_named() {
        let set = properties(&[
            ("log.cleaner.threads", "2"),
            ("remote.log.manager.thread.pool.size", "2"),
            ("listener.name.plaintext.ssl.keystore.location", "/x"),
            ("num.partitions", "3"),
            ("ottla.log.level", "debug"),
            ("no.such.key", "1"),
        ]);
        let warnings: Vec<String> = ineffective(&set).iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "the configuration 'listener.name.plaintext.ssl.keystore.location' is known but has \
                 no effect yet",
                "The configuration 'no.such.key' was supplied but isn't a known config.",
                "the configuration 'remote.log.manager.thread.pool.size' is known but has no effect \
                 yet",
            ]
        );
    }
}
