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

const START_DEADLINE: Duration = Duration::from_secs(180);

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

    /// Ends a session as if its client had not been heard of for too long.
    pub fn end_session(&self, session: i64) -> anyhow::Result<()> {
        let leader = self.leader()?;
        let mut stream = TcpStream::connect((&*self.place.host, self.servers[leader].port))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        // ConnectRequest: protocol version, last zxid, timeout, session, password, not read-only.
        let mut connect = Vec::new();
        connect.extend(0i32.to_be_bytes());
        connect.extend(0i64.to_be_bytes());
        connect.extend(30_000i32.to_be_bytes());
        connect.extend(session.to_be_bytes());
        let password = password(session);
        connect.extend(i32::try_from(password.len())?.to_be_bytes());
        connect.extend(password);
        connect.push(0);
        write_frame(&mut stream, &connect)?;
        let answer = read_frame(&mut stream)?;
        // ConnectResponse: protocol version, timeout, session.
        let found = answer.get(8..16).context("a short answer")?;
        if i64::from_be_bytes(found.try_into()?) != session {
            // It has ended by itself.
            return Ok(());
        }
        let mut close = Vec::new();
        close.extend(1i32.to_be_bytes());
        close.extend(CLOSE_SESSION.to_be_bytes());
        write_frame(&mut stream, &close)?;
        read_frame(&mut stream).map(drop)
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
        let timeout = Some(Duration::from_secs(10));
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

/// A request's type.
const CLOSE_SESSION: i32 = -11;

fn write_frame(stream: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<()> {
    let length = i32::try_from(bytes.len())?.to_be_bytes();
    Ok(stream.write_all(&[&length, bytes].concat())?)
}

fn read_frame(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    anyhow::ensure!(length < 1 << 20, "an answer of {length} bytes");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What ZooKeeper makes up as the password of a session: the first 16 bytes of `java.util.Random`
/// with the session and a number that everybody knows as its seed.
fn password(session: i64) -> [u8; 16] {
    const MASK: i64 = (1 << 48) - 1;
    const MULTIPLIER: i64 = 0x5_DEEC_E66D;
    let mut seed = (session ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut bytes = [0; 16];
    for word in bytes.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    bytes
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
