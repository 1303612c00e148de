//! A real Apache ZooKeeper, from the jars of Kafka.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::free_port::free_port;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;

/// A server in a directory of its own, killed when dropped.
#[derive(Debug)]
pub struct Zookeeper {
    port: u16,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Zookeeper {
    /// Starts a server on a free port.
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let properties = directory.path().join("zookeeper.properties");
        let data = directory.path().join("data");
        std::fs::write(
            &properties,
            format!(
                "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
                 admin.enableServer=false\n",
                data.display()
            ),
        )?;
        let mut java = Command::new("java");
        java.args(["-Xmx256M", "-XX:+UseSerialGC", "-cp"])
            .arg(tools::class_path("kafka-3.9"))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&properties);
        let process = Process::start(java, directory.path(), "zookeeper")?;
        wait_for("ZooKeeper's port", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })?;
        Ok(Self {
            port,
            _process: process,
            _directory: directory,
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
