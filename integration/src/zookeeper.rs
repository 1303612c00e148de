//! A real Apache ZooKeeper, alone or as an ensemble, from the jars of Kafka.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::free_port::free_port;
use crate::network::{Place, command_in};
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;

const START_DEADLINE: Duration = Duration::from_secs(60);

/// Servers in a directory of their own, killed when dropped.
#[derive(Debug)]
pub struct Zookeeper {
    servers: Vec<Server>,
    place: Place,
    directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Server {
    port: u16,
    properties: PathBuf,
    process: Option<Process>,
}

impl Zookeeper {
    /// Starts one server on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Self::ensemble(1)
    }

    /// Starts so many servers that elect a leader among themselves.
    pub fn ensemble(count: usize) -> anyhow::Result<Self> {
        Self::ensemble_in(&Place::loopback(), count)
    }

    /// The same, elsewhere than on loopback.
    pub fn ensemble_in(place: &Place, count: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("zookeeper-").tempdir()?;
        let mut peers = String::new();
        if count > 1 {
            for id in 1..=count {
                let (quorum, election) = (free_port()?, free_port()?);
                peers += &format!("server.{id}={}:{quorum}:{election}\n", place.host);
            }
        }
        let mut servers = Vec::new();
        for id in 1..=count {
            servers.push(Server::write(directory.path(), &place.host, id, &peers)?);
        }
        let mut zookeeper = Self {
            servers,
            place: place.clone(),
            directory,
        };
        for index in 0..count {
            zookeeper.launch(index)?;
        }
        for index in 0..count {
            zookeeper.wait_until_serving(index)?;
        }
        Ok(zookeeper)
    }

    /// `host:port` of each server, joined by commas.
    pub fn address(&self) -> String {
        let addresses: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("{}:{}", self.place.host, server.port))
            .collect();
        addresses.join(",")
    }

    /// How many servers there are, running or not.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// The server that leads the ensemble now, or the only one.
    pub fn leader(&self) -> anyhow::Result<usize> {
        wait_for("a leader of the ensemble", START_DEADLINE, || {
            (0..self.servers.len()).find(|index| {
                let mode = self.mode(*index);
                mode.as_deref() == Some("leader") || mode.as_deref() == Some("standalone")
            })
        })
    }

    /// The process of a running server.
    pub fn process(&self, index: usize) -> anyhow::Result<&Process> {
        let process = self.servers[index].process.as_ref();
        process.context("the ZooKeeper server is stopped")
    }

    /// Kills one server as a crash does.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let process = self.servers[index].process.take();
        process.context("the ZooKeeper server is stopped")?.kill()
    }

    /// Starts a killed server again and waits until it serves; without a quorum it never does.
    pub fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.launch(index)?;
        self.wait_until_serving(index)
    }

    /// Starts a killed server again without waiting.
    pub fn launch(&mut self, index: usize) -> anyhow::Result<()> {
        let directory = self.directory.path();
        let server = &mut self.servers[index];
        anyhow::ensure!(server.process.is_none(), "the ZooKeeper server is running");
        let mut java = Command::new("java");
        java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            // Only processes end here, never the machine; a busy disk would stop the ensemble for seconds.
            .arg("-Dzookeeper.forceSync=no")
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                tools::root()
                    .join("integration/java/log4j-server.properties")
                    .display()
            ))
            .arg("-cp")
            .arg(tools::class_path("kafka-3.9"))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&server.properties);
        let java = command_in(&self.place, java);
        let name = format!("zookeeper-{}", index + 1);
        server.process = Some(Process::start(java, directory, &name)?);
        Ok(())
    }

    /// Waits until a server answers as part of a quorum.
    pub fn wait_until_serving(&self, index: usize) -> anyhow::Result<()> {
        wait_for("a ZooKeeper that serves", START_DEADLINE, || {
            self.mode(index)
        })?;
        Ok(())
    }

    /// `leader`, `follower` or `standalone` of a server that serves.
    fn mode(&self, index: usize) -> Option<String> {
        let mut stream = TcpStream::connect((&*self.place.host, self.servers[index].port)).ok()?;
        let timeout = Some(Duration::from_secs(2));
        stream.set_read_timeout(timeout).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.trim().to_owned())
    }
}

impl Server {
    fn write(directory: &Path, host: &str, id: usize, peers: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let data = directory.join(format!("data-{id}"));
        std::fs::create_dir_all(&data)?;
        std::fs::write(data.join("myid"), format!("{id}\n"))?;
        let properties = directory.join(format!("zookeeper-{id}.properties"));
        // Short ticks allow the short sessions that keep tests short.
        let text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress={host}\nmaxClientCnxns=0\n\
             admin.enableServer=false\ntickTime=500\ninitLimit=20\nsyncLimit=10\n\
             maxSessionTimeout=60000\n4lw.commands.whitelist=*\n{peers}",
            data.display()
        );
        std::fs::write(&properties, text)?;
        Ok(Self {
            port,
            properties,
            process: None,
        })
    }
}
