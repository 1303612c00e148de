//! Which provider of the coordination contract a configuration names, and how a session with it is
//! opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_coordination::Coordination;
use ottla_coordination_embedded::{EmbeddedService, StoreError};
use ottla_coordination_zookeeper::security::SecurityError;
use ottla_coordination_zookeeper::{
    SystemProperties, ZookeeperOptions, ZookeeperSecurity, ZookeeperSession,
};

use super::Opener;

/// Where the cluster's state is kept.
#[derive(Clone, Debug)]
pub enum Provider {
    /// In this process, in a tree below this directory: for a node alone.
    Embedded(PathBuf),
    /// In the ensemble of `zookeeper.connect`.
    Zookeeper(ZookeeperOptions),
}

impl Provider {
    /// The provider of a configuration; `embedded` is where a node alone keeps its tree, `system`
    /// what a Java broker would be told by `-D`. Reads the files that hold keys and passwords.
    ///
    /// # Errors
    /// The connection to ZooKeeper cannot be protected as it should be.
    pub fn of(
        config: &BrokerConfig,
        embedded: PathBuf,
        system: &SystemProperties,
    ) -> Result<Self, SecurityError> {
        let Some(connect) = &config.zookeeper_connect else {
            return Ok(Self::Embedded(embedded));
        };
        let ZookeeperSecurity { tls, credentials } = ZookeeperSecurity::of(config, system)?;
        let session_timeout = config.zookeeper_session_timeout_ms;
        let connection_timeout = config.zookeeper_connection_timeout_ms;
        Ok(Self::Zookeeper(ZookeeperOptions {
            connect: connect.clone(),
            session_timeout: millis(session_timeout),
            connection_timeout: millis(connection_timeout.unwrap_or(session_timeout)),
            max_in_flight_requests: usize::try_from(config.zookeeper_max_in_flight_requests)
                .unwrap_or(1),
            set_acl: config.zookeeper_set_acl,
            tls,
            credentials,
        }))
    }

    /// Whether other brokers may share the state.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Zookeeper(_))
    }

    /// What opens sessions. Blocks while it reads the embedded tree.
    pub fn opener(self) -> Result<Opener, StoreError> {
        Ok(match self {
            Self::Embedded(directory) => {
                let service = EmbeddedService::open(&directory)?;
                Arc::new(move |sink| {
                    let session: Arc<dyn Coordination> = Arc::new(service.session(sink)?);
                    Ok(session)
                })
            }
            Self::Zookeeper(options) => Arc::new(move |sink| {
                tracing::info!(connect = options.connect, "connecting to ZooKeeper");
                let session = ZookeeperSession::open(&options, sink)?;
                tracing::info!(
                    session_id = format_args!("{:#x}", session.session_id()),
                    "connected to ZooKeeper"
                );
                let session: Arc<dyn Coordination> = Arc::new(session);
                Ok(session)
            }),
        })
    }
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(properties: &[(&str, &str)]) -> Result<Provider, SecurityError> {
        let properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let config = BrokerConfig::from_properties(properties).unwrap();
        Provider::of(
            &config,
            PathBuf::from("/tree"),
            &SystemProperties::default(),
        )
    }

    #[test]
    fn without_a_connect_string_the_tree_is_embedded() {
        let provider = provider(&[]).unwrap();
        assert!(matches!(&provider, Provider::Embedded(path) if path.ends_with("tree")));
        assert!(!provider.is_shared());
    }

    #[test]
    fn the_connection_timeout_defaults_to_the_session_timeout() {
        let options = |extra: &[(&str, &str)]| {
            let mut properties = vec![("zookeeper.connect", "a:1,b:2/k")];
            properties.extend_from_slice(extra);
            match provider(&properties).unwrap() {
                Provider::Zookeeper(options) => options,
                Provider::Embedded(_) => unreachable!("a connect string is given"),
            }
        };
        let plain = options(&[]);
        assert_eq!(plain.connect, "a:1,b:2/k");
        assert_eq!(plain.session_timeout, Duration::from_secs(18));
        assert_eq!(plain.connection_timeout, Duration::from_secs(18));
        assert_eq!(plain.max_in_flight_requests, 10);
        let set = options(&[
            ("zookeeper.session.timeout.ms", "6000"),
            ("zookeeper.connection.timeout.ms", "500"),
            ("zookeeper.max.in.flight.requests", "3"),
        ]);
        assert_eq!(set.session_timeout, Duration::from_secs(6));
        assert_eq!(set.connection_timeout, Duration::from_millis(500));
        assert_eq!(set.max_in_flight_requests, 3);
    }

    #[test]
    fn a_protection_that_cannot_be_given_is_refused() {
        for key in ["zookeeper.ssl.client.enable", "zookeeper.set.acl"] {
            let refused = provider(&[("zookeeper.connect", "a:1"), (key, "true")]).unwrap_err();
            assert!(refused.to_string().contains(key), "{refused}");
        }
    }
}
