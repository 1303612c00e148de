//! Where the broker listens and what it advertises.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ottla_model::{Endpoint, SecurityProtocol};

use crate::error::ConfigError;
use crate::field::{self, Properties, Values};
use crate::value::{java_trim, split_csv, split_list};

/// The parsed listener keys.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Listeners {
    pub(crate) listeners: Vec<Endpoint>,
    pub(crate) advertised: Vec<Endpoint>,
    pub(crate) inter_broker: String,
    pub(crate) inter_broker_protocol: SecurityProtocol,
    pub(crate) control_plane: Option<String>,
}

impl Listeners {
    pub(crate) fn parse(values: &Values, properties: &Properties) -> Result<Self, ConfigError> {
        let map: String = field::read(values, "listener.security.protocol.map");
        let protocols = protocol_map(&map)?;
        let text: String = field::read(values, "listeners");
        let listeners = endpoints(&text, &protocols, DistinctPorts::Required)?;
        let text: Option<String> = field::read(values, "advertised.listeners");
        let advertised = match text {
            Some(text) => endpoints(&text, &protocols, DistinctPorts::NotRequired)?,
            None => listeners.clone(),
        };
        let (inter_broker, inter_broker_protocol) = inter_broker(values, properties, &protocols)?;
        let control_plane: Option<String> = field::read(values, "control.plane.listener.name");
        let control_plane = control_plane.map(|name| name.to_uppercase());
        if let Some(name) = control_plane
            .as_ref()
            .filter(|name| !protocols.contains_key(*name))
        {
            return Err(ConfigError::conflict(format!(
                "Listener with {name} defined in control.plane.listener.name not found in \
                 listener.security.protocol.map."
            )));
        }
        Ok(Self {
            listeners,
            advertised,
            inter_broker,
            inter_broker_protocol,
            control_plane,
        })
    }
}

fn inter_broker(
    values: &Values,
    properties: &Properties,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<(String, SecurityProtocol), ConfigError> {
    let name: Option<String> = field::read(values, "inter.broker.listener.name");
    let Some(name) = name else {
        let protocol: String = field::read(values, "security.inter.broker.protocol");
        let protocol = protocol_of(&protocol, "security.inter.broker.protocol")?;
        return Ok((protocol.name().to_owned(), protocol));
    };
    if properties.contains_key("security.inter.broker.protocol") {
        return Err(ConfigError::conflict(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be \
             set.",
        ));
    }
    let name = name.to_uppercase();
    match protocols.get(&name) {
        Some(protocol) => Ok((name, *protocol)),
        None => Err(ConfigError::conflict(format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in \
             listener.security.protocol.map."
        ))),
    }
}

fn protocol_map(text: &str) -> Result<BTreeMap<String, SecurityProtocol>, ConfigError> {
    const KEY: &str = "listener.security.protocol.map";
    split_list(text)
        .into_iter()
        .map(|pair| {
            let (name, protocol) = pair.rsplit_once(':').ok_or_else(|| {
                ConfigError::conflict(format!(
                    "Error parsing configuration property '{KEY}': '{pair}' is not of the form \
                     listener:protocol"
                ))
            })?;
            Ok((
                java_trim(name).to_uppercase(),
                protocol_of(java_trim(protocol), KEY)?,
            ))
        })
        .collect()
}

fn protocol_of(name: &str, key: &str) -> Result<SecurityProtocol, ConfigError> {
    name.parse().map_err(|_| {
        ConfigError::conflict(format!(
            "Invalid security protocol `{name}` defined in {key}"
        ))
    })
}

#[derive(Clone, Copy, PartialEq)]
enum DistinctPorts {
    Required,
    NotRequired,
}

fn endpoints(
    text: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
    distinct_ports: DistinctPorts,
) -> Result<Vec<Endpoint>, ConfigError> {
    let endpoints = split_csv(java_trim(text))
        .iter()
        .map(|entry| endpoint(entry, protocols))
        .collect::<Result<Vec<_>, String>>()
        .map_err(|reason| {
            ConfigError::conflict(format!(
                "Error creating broker listeners from '{text}': {reason}"
            ))
        })?;
    check_distinct(&endpoints, text, distinct_ports)?;
    Ok(endpoints)
}

/// Reads `NAME://host:port`; the host may be empty, or an IPv6 address in brackets.
fn endpoint(
    entry: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<Endpoint, String> {
    let unreadable = || format!("Unable to parse {entry} to a broker endpoint");
    let (name, address) = entry.split_once("://").ok_or_else(unreadable)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host,
        None => host,
    };
    let host_is_readable = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte));
    let port_is_readable = port
        .strip_prefix('-')
        .unwrap_or(port)
        .bytes()
        .all(|b| b.is_ascii_digit());
    if name.is_empty() || name.contains([' ', '\t']) || !host_is_readable || !port_is_readable {
        return Err(unreadable());
    }
    let port: i32 = port
        .parse()
        .map_err(|_| format!("For input string: \"{port}\""))?;
    if !(0..=65535).contains(&port) {
        return Err(format!("port {port} of {entry} is not between 0 and 65535"));
    }
    let listener = name.to_uppercase();
    let protocol = *protocols
        .get(&listener)
        .ok_or_else(|| format!("No security protocol defined for listener {listener}"))?;
    Ok(Endpoint {
        listener,
        host: host.to_owned(),
        port,
        protocol,
    })
}

/// Names differ, and ports do, except that one IPv4 and one IPv6 address may share a port.
fn check_distinct(
    endpoints: &[Endpoint],
    text: &str,
    distinct_ports: DistinctPorts,
) -> Result<(), ConfigError> {
    let fail = |reason: String| Err(ConfigError::conflict(reason));
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..index]
            .iter()
            .any(|other| other.listener == endpoint.listener)
        {
            return fail(format!(
                "requirement failed: Each listener must have a different name, listeners: {text}"
            ));
        }
    }
    if distinct_ports == DistinctPorts::NotRequired {
        return Ok(());
    }
    let mut by_port: BTreeMap<i32, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.port != 0) {
        by_port.entry(endpoint.port).or_default().push(endpoint);
    }
    for (port, sharing) in by_port.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        let is_ip = |endpoint: &&Endpoint| is_ipv4(&endpoint.host) || is_ipv6(&endpoint.host);
        let (addresses, names): (Vec<_>, Vec<_>) = sharing.into_iter().partition(is_ip);
        if names.len() > 1 {
            return fail(format!(
                "requirement failed: Each listener must have a different port, listeners: {text}"
            ));
        }
        match addresses.as_slice() {
            [first, second] => {
                let one_of_each = is_ipv4(&first.host) != is_ipv4(&second.host);
                if !one_of_each || !names.is_empty() {
                    return fail(format!(
                        "If you have two listeners on the same port then one needs to be IPv4 and \
                         the other IPv6, listeners: {text}, port: {port}"
                    ));
                }
            }
            [] => {}
            _ => {
                return fail(format!(
                    "Each listener must have a different port unless exactly one listener has an \
                     IPv4 address and the other IPv6 address, listeners: {text}, port: {port}"
                ));
            }
        }
    }
    Ok(())
}

fn is_ipv4(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok()
}

fn is_ipv6(host: &str) -> bool {
    host.split('%')
        .next()
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
