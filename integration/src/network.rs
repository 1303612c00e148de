//! A small network of its own whose links between two nodes can be cut: packets vanish silently,
//! nobody is told. Needs to be root, for network namespaces.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::command;

const DEADLINE: Duration = Duration::from_secs(120);
/// A hardware address that nobody has: what is sent to it is lost.
const NOBODY: &str = "02:00:00:00:00:99";

/// Where a process runs and what its address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// An address that all nodes and the test reach.
    pub host: String,
    /// The network namespace, if it is not that of the test.
    namespace: Option<String>,
}

impl Place {
    /// The loopback interface of the test itself.
    pub fn loopback() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            namespace: None,
        }
    }
}

/// The command as it is run at a place; to be given its working directory afterwards.
pub(crate) fn command_in(place: &Place, command: Command) -> Command {
    let Some(namespace) = &place.namespace else {
        return command;
    };
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]);
    inside.arg(command.get_program()).args(command.get_args());
    inside
}

/// Nodes on one bridge, the test among them; all of it is removed when dropped, which must be after
/// the processes there.
#[derive(Debug)]
pub struct Network {
    /// The namespace of the bridge: of its own, so that no firewall rules of the machine apply.
    bridge: String,
    /// The test's own link to the bridge.
    link: String,
    nodes: Vec<Place>,
}

impl Network {
    /// Makes so many nodes, or tells why this machine cannot.
    pub fn new(count: usize) -> anyhow::Result<Self> {
        let process = std::process::id();
        // Private addresses; the process id keeps tests that run side by side apart.
        let subnet = format!("10.{}.{}", 128 + process / 256 % 64, process % 256);
        let mut network = Self {
            bridge: format!("ottla-{process}-bridge"),
            link: format!("otv{process}"),
            nodes: Vec::new(),
        };
        let bridge = network.bridge.clone();
        ip(&["netns", "add", &bridge])?;
        inside(&bridge, &["link", "add", "bridge", "type", "bridge"])?;
        inside(&bridge, &["link", "set", "bridge", "up"])?;
        let own = network.link.clone();
        ip(&[
            "link", "add", &own, "type", "veth", "peer", "name", "port0", "netns", &bridge,
        ])?;
        inside(&bridge, &["link", "set", "port0", "master", "bridge", "up"])?;
        ip(&["addr", "add", &format!("{subnet}.254/24"), "dev", &own])?;
        ip(&["link", "set", &own, "up"])?;
        for index in 1..=count {
            let namespace = format!("ottla-{process}-{index}");
            let host = format!("{subnet}.{index}");
            let port = format!("port{index}");
            ip(&["netns", "add", &namespace])?;
            network.nodes.push(Place {
                host: host.clone(),
                namespace: Some(namespace.clone()),
            });
            inside(
                &bridge,
                &[
                    "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                    &namespace,
                ],
            )?;
            inside(&bridge, &["link", "set", &port, "master", "bridge", "up"])?;
            let address = format!("{host}/24");
            inside(&namespace, &["addr", "add", &address, "dev", "eth0"])?;
            inside(&namespace, &["link", "set", "eth0", "up"])?;
            inside(&namespace, &["link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// A node, counted from 1.
    pub fn node(&self, number: usize) -> &Place {
        &self.nodes[number - 1]
    }

    /// From now on nothing arrives from one of two nodes at the other.
    pub fn cut(&self, one: usize, other: usize) -> anyhow::Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let to = &self.node(to).host;
            self.neighbour(from, &["replace", to, "lladdr", NOBODY, "nud", "permanent"])?;
        }
        Ok(())
    }

    /// Two nodes reach each other again.
    pub fn heal(&self, one: usize, other: usize) -> anyhow::Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let to = &self.node(to).host;
            self.neighbour(from, &["del", to])?;
        }
        Ok(())
    }

    fn neighbour(&self, at: usize, arguments: &[&str]) -> anyhow::Result<()> {
        let place = self.node(at);
        let namespace = place.namespace.as_deref().context("no namespace")?;
        let all = [&["neigh"], arguments, &["dev", "eth0"]].concat();
        inside(namespace, &all)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Nothing else can be done about a failure here.
        for node in &self.nodes {
            if let Some(namespace) = &node.namespace {
                let _ = ip(&["netns", "del", namespace]);
            }
        }
        let _ = ip(&["link", "del", &self.link]);
        let _ = ip(&["netns", "del", &self.bridge]);
    }
}

fn inside(namespace: &str, arguments: &[&str]) -> anyhow::Result<()> {
    ip(&[&["-n", namespace], arguments].concat())
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    command::run(Command::new("ip").args(arguments), b"", DEADLINE).map(drop)
}
