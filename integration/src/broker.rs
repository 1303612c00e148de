//! A broker under test.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::free_port::free_port;
use crate::process::Process;
use crate::tools;
use crate::wait::wait_for;

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A broker in a directory of its own; it can be stopped, killed and started again.
#[derive(Debug)]
pub struct Broker {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl Broker {
    /// Starts a single node on a free port, with these keys over those of a small test broker.
    pub fn start(properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_on(free_port()?, properties)
    }

    /// The same, with a port of its own listener that the caller picked.
    pub fn start_on(port: u16, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ottla-").tempdir()?;
        let data = directory.path().join("logs");
        let mut all = BTreeMap::from([
            ("broker.id".to_owned(), "0".to_owned()),
            (
                "listeners".to_owned(),
                format!("PLAINTEXT://127.0.0.1:{port}"),
            ),
            ("log.dirs".to_owned(), data.display().to_string()),
            (
                "offsets.topic.replication.factor".to_owned(),
                "1".to_owned(),
            ),
            ("offsets.topic.num.partitions".to_owned(), "8".to_owned()),
            (
                "transaction.state.log.replication.factor".to_owned(),
                "1".to_owned(),
            ),
            ("transaction.state.log.min.isr".to_owned(), "1".to_owned()),
            (
                "group.initial.rebalance.delay.ms".to_owned(),
                "0".to_owned(),
            ),
        ]);
        all.extend(
            properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let text: String = all
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        std::fs::write(directory.path().join("server.properties"), text)?;
        let mut broker = Self {
            directory,
            port,
            process: None,
        };
        broker.restart()?;
        Ok(broker)
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory of its partitions.
    pub fn log_directory(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    /// The directory that holds its configuration and all that it writes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("broker.err")).unwrap_or_default()
    }

    /// The process while it runs.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("the broker is stopped")
    }

    /// Starts it again on the same directory and port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "the broker is running");
        let mut command = Command::new(tools::ottla());
        command
            .arg("server")
            .arg(self.directory.path().join("server.properties"))
            .current_dir(self.directory.path());
        let process =
            self.process
                .insert(Process::start(command, self.directory.path(), "broker")?);
        let address = ([127, 0, 0, 1], self.port).into();
        let opened = wait_for("the broker's port", START_DEADLINE, || {
            if !process.is_running() {
                return Some(false);
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1))
                .ok()
                .map(|_| true)
        });
        match opened {
            Ok(true) => Ok(()),
            Ok(false) => anyhow::bail!("the broker ended at its start:\n{}", self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// Stops it in order and checks that it says success.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the broker is stopped")?;
        process.signal("TERM")?;
        let status = process.wait(STOP_DEADLINE)?;
        // A JVM ends so after a signal that it has obeyed.
        let obeyed = tools::is_reference() && status.code() == Some(143);
        anyhow::ensure!(
            status.success() || obeyed,
            "the broker ended with {status}:\n{}",
            self.log()
        );
        Ok(())
    }

    /// Kills it as a crash does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the broker is stopped")?.kill()
    }
}
