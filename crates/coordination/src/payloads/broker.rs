//! `/brokers/ids/<id>`: a broker's registration (`BrokerIdZNode`).

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::{BrokerEpoch, BrokerId, Endpoint, LiveBroker, SecurityProtocol, Timestamp};
use serde::Serialize;

use super::DecodeError;
use super::cluster::{lenient_timestamp, malformed};
use super::json::{Object, as_i32, as_object, as_str, encode, object, parse};

/// How a broker announces itself. The broker epoch is not in here: it is the znode's czxid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistration {
    /// Format: 5 from IBP 2.7, 4 from 0.10.0, else 2. Versions 1 and 3 are only read.
    pub version: i32,
    /// The advertised listeners, in order.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// −1 without JMX.
    pub jmx_port: i32,
    /// When it registered.
    pub timestamp: Timestamp,
    /// Supported (min, max) versions of features; none in ZooKeeper mode so far.
    pub features: BTreeMap<String, (i16, i16)>,
}

impl BrokerRegistration {
    /// The broker as others see it.
    pub fn to_live_broker(&self, id: BrokerId, epoch: BrokerEpoch) -> LiveBroker {
        LiveBroker {
            id,
            epoch,
            endpoints: self.endpoints.clone(),
            rack: self.rack.clone(),
        }
    }

    /// The znode's value. `host` and `port` are those of the first plaintext endpoint, for very
    /// old clients.
    pub fn encode(&self) -> Bytes {
        let plaintext = self
            .endpoints
            .iter()
            .find(|e| e.protocol == SecurityProtocol::Plaintext);
        encode(&Json {
            features: (self.version >= 5).then(|| {
                let range = |&(min_version, max_version): &_| Range {
                    min_version,
                    max_version,
                };
                self.features
                    .iter()
                    .map(|(name, versions)| (&**name, range(versions)))
                    .collect()
            }),
            listener_security_protocol_map: (self.version >= 4).then(|| {
                self.endpoints
                    .iter()
                    .map(|e| (e.listener.as_str(), e.protocol.name()))
                    .collect()
            }),
            endpoints: self.endpoints.iter().map(connection_string).collect(),
            rack: self.rack.as_deref().filter(|_| self.version >= 3),
            jmx_port: self.jmx_port,
            port: plaintext.map_or(-1, |endpoint| endpoint.port),
            host: plaintext.map(|endpoint| endpoint.host.as_str()),
            version: self.version,
            timestamp: self.timestamp.0.to_string(),
        })
    }

    /// Reads the znode's value, any version from 1.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let value = parse(data)?;
        let json = object(&value)?;
        let version = json.i32("version")?;
        let jmx_port = json.i32("jmx_port")?;
        let endpoints = match version {
            ..1 => return Err(DecodeError::UnsupportedVersion(version.into())),
            1 => vec![Endpoint {
                listener: SecurityProtocol::Plaintext.name().to_owned(),
                host: json.str("host")?.to_owned(),
                port: json.i32("port")?,
                protocol: SecurityProtocol::Plaintext,
            }],
            2.. => decode_endpoints(json)?,
        };
        Ok(Self {
            version,
            endpoints,
            rack: json.nullable_str("rack")?.map(str::to_owned),
            jmx_port,
            timestamp: lenient_timestamp(json.get("timestamp")),
            features: decode_features(json)?,
        })
    }
}

/// Order of keys as a 3.9 broker writes them.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<BTreeMap<&'a str, Range>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_security_protocol_map: Option<BTreeMap<&'a str, &'static str>>,
    endpoints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack: Option<&'a str>,
    jmx_port: i32,
    port: i32,
    host: Option<&'a str>,
    version: i32,
    timestamp: String,
}

#[derive(Serialize)]
struct Range {
    min_version: i16,
    max_version: i16,
}

fn connection_string(endpoint: &Endpoint) -> String {
    let Endpoint {
        listener,
        host,
        port,
        ..
    } = endpoint;
    if host.contains(':') {
        format!("{listener}://[{host}]:{port}")
    } else {
        format!("{listener}://{host}:{port}")
    }
}

fn decode_endpoints(json: Object<'_>) -> Result<Vec<Endpoint>, DecodeError> {
    let protocols = match json.get("listener_security_protocol_map") {
        None => None,
        Some(map) => {
            let key = "listener_security_protocol_map";
            let mut protocols = BTreeMap::new();
            for (listener, protocol) in as_object(map, key)?.entries() {
                let name = as_str(protocol, key)?;
                let protocol: SecurityProtocol = name.parse().map_err(|_| malformed(key, name))?;
                protocols.insert(listener.to_owned(), protocol);
            }
            Some(protocols)
        }
    };
    let mut endpoints = Vec::new();
    // Kafka joins the list with commas and splits it again, trimming each part.
    for entry in json.array("endpoints")? {
        let entry = as_str(entry, "endpoints")?;
        for part in entry
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            endpoints.push(parse_endpoint(part, protocols.as_ref())?);
        }
    }
    Ok(endpoints)
}

/// `NAME://host:port`; the name is folded to upper case, an IPv6 host may be in brackets.
fn parse_endpoint(
    text: &str,
    protocols: Option<&BTreeMap<String, SecurityProtocol>>,
) -> Result<Endpoint, DecodeError> {
    let bad = || malformed("endpoints", text);
    // The name ends at the last "://", the port begins after the last colon: Java's pattern is
    // greedy.
    let (listener, address) = text.rsplit_once("://").ok_or_else(bad)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let host_is_legal =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_' | ':');
    if !host.chars().all(host_is_legal) || port.starts_with('+') {
        return Err(bad());
    }
    let listener = listener.to_uppercase();
    let protocol = match protocols {
        Some(protocols) => protocols.get(&listener).copied(),
        None => listener.parse().ok(),
    };
    Ok(Endpoint {
        host: host.to_owned(),
        port: port.parse().map_err(|_| bad())?,
        protocol: protocol.ok_or_else(bad)?,
        listener,
    })
}

fn decode_features(json: Object<'_>) -> Result<BTreeMap<String, (i16, i16)>, DecodeError> {
    let mut features = BTreeMap::new();
    let Some(entries) = json.get("features").filter(|features| !features.is_null()) else {
        return Ok(features);
    };
    for (name, range) in as_object(entries, "features")?.entries() {
        let range = as_object(range, name)?;
        let bound = |key| {
            let number = as_i32(range.need(key)?, key)?;
            i16::try_from(number).map_err(|_| malformed(key, number))
        };
        let (min, max) = (bound("min_version")?, bound("max_version")?);
        if min < 0 || max < min {
            return Err(malformed("max_version", max));
        }
        features.insert(name.to_owned(), (min, max));
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT","SASL_PLAINTEXT":"SASL_PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:9292","SASL_PLAINTEXT://127.0.0.1:9290"],"rack":"r0","jmx_port":-1,"port":9292,"host":"127.0.0.1","version":5,"timestamp":"1795217544444"}"#;

    fn endpoint(listener: &str, host: &str, port: i32, protocol: SecurityProtocol) -> Endpoint {
        Endpoint {
            listener: listener.into(),
            host: host.into(),
            port,
            protocol,
        }
    }

    #[test]
    fn the_registration_is_that_of_a_real_broker() {
        let registration = BrokerRegistration::decode(GOLDEN.as_bytes()).unwrap();
        assert_eq!(registration.encode(), GOLDEN);
        assert_eq!(registration.rack.as_deref(), Some("r0"));
        assert_eq!(
            registration.endpoints[1],
            endpoint(
                "SASL_PLAINTEXT",
                "127.0.0.1",
                9290,
                SecurityProtocol::SaslPlaintext
            )
        );
    }

    #[test]
    fn without_a_plaintext_listener_host_is_null_and_port_minus_one() {
        let mut registration = BrokerRegistration::decode(GOLDEN.as_bytes()).unwrap();
        registration.endpoints = vec![endpoint("X", "::1", 7, SecurityProtocol::Ssl)];
        registration.rack = None;
        let json = r#"{"features":{},"listener_security_protocol_map":{"X":"SSL"},"endpoints":["X://[::1]:7"],"jmx_port":-1,"port":-1,"host":null,"version":5,"timestamp":"1795217544444"}"#;
        assert_eq!(registration.encode(), json);
        assert_eq!(
            BrokerRegistration::decode(json.as_bytes()),
            Ok(registration)
        );
    }

    #[test]
    fn every_older_version_is_read() {
        let one = r#"{"version":1,"host":"localhost","port":9092,"jmx_port":9999,"timestamp":"2233345666"}"#;
        let registration = BrokerRegistration::decode(one.as_bytes()).unwrap();
        let plain = endpoint("PLAINTEXT", "localhost", 9092, SecurityProtocol::Plaintext);
        assert_eq!(registration.endpoints, std::slice::from_ref(&plain));
        assert_eq!(registration.jmx_port, 9999);

        let two = r#"{"version":2,"host":"localhost","port":9092,"jmx_port":9999,"timestamp":"2233345666","endpoints":["PLAINTEXT://localhost:9092","SSL://host1:9093"]}"#;
        let registration = BrokerRegistration::decode(two.as_bytes()).unwrap();
        assert_eq!(registration.endpoints[0], plain);
        assert_eq!(registration.endpoints[1].protocol, SecurityProtocol::Ssl);

        let three = two.replace(r#""version":2"#, r#""version":3,"rack":"dc1""#);
        assert_eq!(
            BrokerRegistration::decode(three.as_bytes())
                .unwrap()
                .rack
                .as_deref(),
            Some("dc1")
        );

        let four = r#"{"version":4,"host":null,"port":-1,"jmx_port":9999,"timestamp":"1","endpoints":["client://host1:9092","REPLICATION://host1:9093"],"listener_security_protocol_map":{"CLIENT":"SSL","REPLICATION":"PLAINTEXT"},"rack":null}"#;
        let registration = BrokerRegistration::decode(four.as_bytes()).unwrap();
        assert_eq!(
            registration.endpoints[0],
            endpoint("CLIENT", "host1", 9092, SecurityProtocol::Ssl)
        );
        assert_eq!(registration.rack, None);

        let five = r#"{"version":5,"jmx_port":-1,"endpoints":["PLAINTEXT://h:1"],"features":{"f":{"min_version":1,"first_active_version":2,"max_version":3}}}"#;
        let registration = BrokerRegistration::decode(five.as_bytes()).unwrap();
        assert_eq!(registration.features["f"], (1, 3));
        assert_eq!(registration.timestamp, Timestamp::NONE);
    }

    #[test]
    fn older_formats_leave_out_what_they_do_not_know() {
        let mut registration = BrokerRegistration::decode(GOLDEN.as_bytes()).unwrap();
        registration.version = 4;
        assert!(!registration.encode().starts_with(br#"{"features""#));
        registration.version = 2;
        let json = registration.encode();
        assert!(json.starts_with(br#"{"endpoints":["#));
        assert!(!String::from_utf8(json.to_vec()).unwrap().contains("rack"));
    }

    #[test]
    fn malformed_registrations_are_errors() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            "{",
            r#"{"version":0,"jmx_port":-1}"#,
            r#"{"version":5,"endpoints":[]}"#,
            r#"{"version":5,"jmx_port":-1}"#,
            r#"{"version":1,"jmx_port":-1,"host":null,"port":1}"#,
            r#"{"version":5,"jmx_port":-1,"endpoints":["nonsense"]}"#,
            r#"{"version":5,"jmx_port":-1,"endpoints":["X://h:1"]}"#,
            r#"{"version":5,"jmx_port":-1,"endpoints":["PLAINTEXT://h:x"]}"#,
            r#"{"version":5,"jmx_port":-1,"endpoints":["PLAINTEXT://h:1"],"features":{"f":{"min_version":1}}}"#,
            r#"{"version":5,"jmx_port":-1,"endpoints":["PLAINTEXT://h:1"],"listener_security_protocol_map":null}"#,
        ] {
            assert!(
                BrokerRegistration::decode(json.as_bytes()).is_err(),
                "{json}"
            );
        }
    }
}
