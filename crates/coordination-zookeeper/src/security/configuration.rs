//! From Kafka's keys, or the system properties that stand in for them, to what a session needs.

use ottla_config::BrokerConfig;

use super::digest_md5::DigestCredentials;
use super::jaas;
use super::key_store::{KeyStoreError, Store};
use super::system_properties::SystemProperties;
use super::tls::{Tls, TlsParts};

/// How sessions are protected.
#[derive(Clone, Default, Debug)]
pub struct ZookeeperSecurity {
    /// TLS, if it is asked for.
    pub tls: Option<Tls>,
    /// Who to authenticate as by SASL, if a login is configured.
    pub credentials: Option<DigestCredentials>,
}

/// Why the broker cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A value that cannot be honoured.
    #[error("{key}={value}: {reason}")]
    Refused {
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why.
        reason: String,
    },
    /// A file with keys or certificates.
    #[error("{key}: {error}")]
    KeyStore {
        /// The key that names it.
        key: &'static str,
        /// What is wrong.
        error: KeyStoreError,
    },
    /// The parts do not fit together.
    #[error("TLS to ZooKeeper: {0}")]
    Tls(String),
    /// The login configuration.
    #[error("JAAS configuration {path}: {reason}")]
    Login {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Kafka refuses this too (`KafkaServer.initZkClient`).
    #[error(
        "zookeeper.set.acl is true, but the broker would not be authenticated by ZooKeeper, so that \
         nobody could be given the znodes: set zookeeper.ssl.client.enable, \
         zookeeper.clientCnxnSocket and zookeeper.ssl.keystore.location, or name a JAAS file with a \
         section Client in KAFKA_OPTS by -Djava.security.auth.login.config"
    )]
    AclWithoutIdentity,
}

const NETTY: &str = "org.apache.zookeeper.ClientCnxnSocketNetty";
const NIO: &str = "org.apache.zookeeper.ClientCnxnSocketNIO";

const CLIENT_ENABLE: Key = Key("zookeeper.ssl.client.enable", "zookeeper.client.secure");
const SOCKET: Key = Key("zookeeper.clientCnxnSocket", "zookeeper.clientCnxnSocket");
const KEYSTORE_LOCATION: Key = Key(
    "zookeeper.ssl.keystore.location",
    "zookeeper.ssl.keyStore.location",
);
const KEYSTORE_PASSWORD: Key = Key(
    "zookeeper.ssl.keystore.password",
    "zookeeper.ssl.keyStore.password",
);
const KEYSTORE_TYPE: Key = Key("zookeeper.ssl.keystore.type", "zookeeper.ssl.keyStore.type");
const TRUSTSTORE_LOCATION: Key = Key(
    "zookeeper.ssl.truststore.location",
    "zookeeper.ssl.trustStore.location",
);
const TRUSTSTORE_PASSWORD: Key = Key(
    "zookeeper.ssl.truststore.password",
    "zookeeper.ssl.trustStore.password",
);
const TRUSTSTORE_TYPE: Key = Key(
    "zookeeper.ssl.truststore.type",
    "zookeeper.ssl.trustStore.type",
);
const PROTOCOL: Key = Key("zookeeper.ssl.protocol", "zookeeper.ssl.protocol");
const ENABLED_PROTOCOLS: Key = Key(
    "zookeeper.ssl.enabled.protocols",
    "zookeeper.ssl.enabledProtocols",
);
const CIPHER_SUITES: Key = Key("zookeeper.ssl.cipher.suites", "zookeeper.ssl.ciphersuites");
const IDENTIFICATION: Key = Key(
    "zookeeper.ssl.endpoint.identification.algorithm",
    "zookeeper.ssl.hostnameVerification",
);
const CRL: Key = Key("zookeeper.ssl.crl.enable", "zookeeper.ssl.crl");
const OCSP: Key = Key("zookeeper.ssl.ocsp.enable", "zookeeper.ssl.ocsp");

/// Java's property with the file of logins.
const LOGIN_FILE: &str = "java.security.auth.login.config";

/// The classes that leave a name and a password, and so lead to DIGEST-MD5.
const PASSWORD_MODULES: [&str; 3] = [
    "org.apache.zookeeper.server.auth.DigestLoginModule",
    "org.apache.kafka.common.security.plain.PlainLoginModule",
    "org.apache.kafka.common.security.scram.ScramLoginModule",
];

/// A key of Kafka's and the system property that counts where the key is absent.
#[derive(Clone, Copy)]
struct Key(&'static str, &'static str);

struct Settings<'a> {
    config: &'a BrokerConfig,
    system: &'a SystemProperties,
}

impl Settings<'_> {
    fn text(&self, key: Key) -> Option<&str> {
        let given = self.config.properties().get(key.0).map(String::as_str);
        given.or_else(|| self.system.get(key.1))
    }

    fn non_empty(&self, key: Key) -> Option<&str> {
        self.text(key)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    fn is_true(&self, key: Key) -> bool {
        self.text(key)
            .is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    fn list(&self, key: Key) -> Option<Vec<String>> {
        let items = self.non_empty(key)?.split(',').map(str::trim);
        Some(items.map(str::to_owned).collect())
    }

    fn refused(&self, key: Key, reason: impl Into<String>) -> SecurityError {
        SecurityError::Refused {
            key: key.0,
            value: self.text(key).unwrap_or_default().to_owned(),
            reason: reason.into(),
        }
    }
}

impl ZookeeperSecurity {
    /// What the configuration asks for; `system` is what `KAFKA_OPTS` defines. Reads the files that
    /// are named.
    ///
    /// # Errors
    /// The first thing that cannot be honoured: nothing is left out silently.
    pub fn of(config: &BrokerConfig, system: &SystemProperties) -> Result<Self, SecurityError> {
        let settings = Settings { config, system };
        let security = Self {
            tls: tls(&settings)?,
            credentials: credentials(system)?,
        };
        let is_authenticated = security.credentials.is_some()
            || security.tls.as_ref().is_some_and(Tls::is_authenticated);
        if config.zookeeper_set_acl && !is_authenticated {
            return Err(SecurityError::AclWithoutIdentity);
        }
        Ok(security)
    }
}

fn tls(settings: &Settings<'_>) -> Result<Option<Tls>, SecurityError> {
    let socket = settings.non_empty(SOCKET).unwrap_or(NIO);
    if ![NETTY, NIO].contains(&socket) {
        return Err(settings.refused(SOCKET, format!("only {NETTY} and {NIO} are known")));
    }
    if !settings.is_true(CLIENT_ENABLE) {
        return Ok(None);
    }
    if socket != NETTY {
        // A Java broker would go on without TLS.
        let reason = format!("TLS to ZooKeeper also needs {}={NETTY}", SOCKET.0);
        return Err(settings.refused(CLIENT_ENABLE, reason));
    }
    for key in [CRL, OCSP] {
        if settings.is_true(key) {
            return Err(settings.refused(key, "revoked certificates cannot be found out here"));
        }
    }
    let trust = settings.non_empty(TRUSTSTORE_LOCATION).ok_or_else(|| {
        settings.refused(
            TRUSTSTORE_LOCATION,
            "the certificates to trust must be named; there is no store of Java's to fall back to",
        )
    })?;
    let store = |location: Key, path: &str, kind: Key, password: Key| {
        let password = settings.text(password).map(str::to_owned);
        Store::new(path, settings.text(kind), kind.0, password).map_err(|error| {
            SecurityError::KeyStore {
                key: location.0,
                error,
            }
        })
    };
    let failed = |location: Key| {
        move |error| SecurityError::KeyStore {
            key: location.0,
            error,
        }
    };
    let trusted = store(
        TRUSTSTORE_LOCATION,
        trust,
        TRUSTSTORE_TYPE,
        TRUSTSTORE_PASSWORD,
    )?
    .trusted()
    .map_err(failed(TRUSTSTORE_LOCATION))?;
    let identity = match settings.non_empty(KEYSTORE_LOCATION) {
        None => None,
        Some(path) => {
            let store = store(KEYSTORE_LOCATION, path, KEYSTORE_TYPE, KEYSTORE_PASSWORD)?;
            Some(store.identity().map_err(failed(KEYSTORE_LOCATION))?)
        }
    };
    let parts = TlsParts {
        versions: versions(settings)?,
        cipher_suites: settings.list(CIPHER_SUITES),
        trusted,
        checks_name: checks_name(settings)?,
        identity,
    };
    Tls::new(parts).map(Some).map_err(SecurityError::Tls)
}

/// `enabled.protocols`, or else `protocol` alone, as in ZooKeeper.
fn versions(
    settings: &Settings<'_>,
) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, SecurityError> {
    let (key, names) = match settings.list(ENABLED_PROTOCOLS) {
        Some(names) => (ENABLED_PROTOCOLS, names),
        None => {
            let name = settings.non_empty(PROTOCOL).unwrap_or("TLSv1.2");
            (PROTOCOL, vec![name.to_owned()])
        }
    };
    let version = |name: &String| match name.as_str() {
        "TLSv1.2" => Ok(&rustls::version::TLS12),
        "TLSv1.3" => Ok(&rustls::version::TLS13),
        other => {
            let reason = format!("{other} is not supported, but TLSv1.2 and TLSv1.3 are");
            Err(settings.refused(key, reason))
        }
    };
    names.iter().map(version).collect()
}

fn checks_name(settings: &Settings<'_>) -> Result<bool, SecurityError> {
    if let Some(algorithm) = settings.config.properties().get(IDENTIFICATION.0) {
        return match algorithm.trim() {
            "" => Ok(false),
            https if https.eq_ignore_ascii_case("https") => Ok(true),
            _ => Err(settings.refused(IDENTIFICATION, "it must be HTTPS or empty")),
        };
    }
    let system = settings.system.get(IDENTIFICATION.1);
    Ok(system.is_none_or(|value| value.eq_ignore_ascii_case("true")))
}

/// The login of the section `Client`, or of the one that `zookeeper.sasl.clientconfig` names.
fn credentials(system: &SystemProperties) -> Result<Option<DigestCredentials>, SecurityError> {
    let Some(location) = system.get(LOGIN_FILE) else {
        return Ok(None);
    };
    // Two equal signs in Java mean: this file only. A URL is allowed too.
    let path = location.trim_start_matches('=');
    let path = match path.strip_prefix("file:") {
        Some(rest) if rest.starts_with("///") => &rest[2..],
        Some(rest) => rest,
        None => path,
    };
    let failed = |reason: String| SecurityError::Login {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let expand = |name: &str| match name {
        "/" => Some("/".to_owned()),
        _ => system.get(name).map(str::to_owned),
    };
    let sections = jaas::parse(&text, &expand).map_err(|error| failed(error.to_string()))?;
    let section = system
        .get("zookeeper.sasl.clientconfig")
        .unwrap_or("Client");
    let Some(modules) = sections.get(section) else {
        return Ok(None);
    };
    let wants_sasl = system.get("zookeeper.sasl.client");
    if wants_sasl.is_some_and(|value| !value.eq_ignore_ascii_case("true")) {
        return Err(failed(format!(
            "section {section} is there, but zookeeper.sasl.client=false turns SASL off"
        )));
    }
    let [module] = &modules[..] else {
        return Err(failed(format!(
            "section {section} must have exactly one login module"
        )));
    };
    if !PASSWORD_MODULES.contains(&module.class.as_str()) {
        let reason = if module.class.ends_with("Krb5LoginModule") {
            "Kerberos to ZooKeeper is not supported".to_owned()
        } else {
            format!("the login module {} is not known", module.class)
        };
        return Err(failed(format!(
            "section {section}: {reason}; use {}",
            PASSWORD_MODULES[0]
        )));
    }
    let option = |name: &str| {
        let value = module.options.get(name).cloned();
        value.ok_or_else(|| failed(format!("section {section} has no {name}")))
    };
    Ok(Some(DigestCredentials {
        username: option("username")?,
        password: option("password")?,
    }))
}

#[cfg(test)]
mod tests;
