//! A broker under test.

use std::collections::BTreeMap;
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
const STOP_DEADLINE: Duration = Duration::from_secs(180);

/// The program that a broker runs; a restart may take the other one on the same directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The broker under test.
    Ottla,
    /// Apache Kafka 3.9; only in a cluster, which has a ZooKeeper.
    Java,
}

/// A broker in a directory of its own; it can be stopped, killed and started again.
#[derive(Debug)]
pub struct Broker {
    directory: tempfile::TempDir,
    program: Program,
    place: Place,
    port: u16,
    properties: BTreeMap<String, String>,
    process: Option<Process>,
}

impl Broker {
    /// Starts a single node on a free port, with these keys over those of a small test broker.
    pub fn start(properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_on(free_port()?, properties)
    }

    /// The same, with a port of its own listener that the caller picked.
    pub fn start_on(port: u16, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut broker = Self::prepare(Program::Ottla, port, properties)?;
        broker.restart()?;
        Ok(broker)
    }

    /// A broker that is not started yet.
    pub fn prepare(
        program: Program,
        port: u16,
        properties: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("ottla-")
            // For looking at what a failed test leaves.
            .disable_cleanup(std::env::var_os("OTTLA_TEST_KEEP").is_some())
            .tempdir()?;
        let data = directory.path().join("logs").display().to_string();
        let listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        let defaults = [
            ("broker.id", "0"),
            ("listeners", &listeners),
            ("log.dirs", &data),
            ("offsets.topic.replication.factor", "1"),
            ("offsets.topic.num.partitions", "8"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        let properties = defaults
            .iter()
            .chain(properties)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Ok(Self {
            directory,
            program,
            place: Place::loopback(),
            port,
            properties,
            process: None,
        })
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("{}:{}", self.place.host, self.port)
    }

    /// The port of its listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From the next start on it runs elsewhere than on loopback.
    pub fn set_place(&mut self, place: &Place) {
        self.place = place.clone();
        let listeners = format!("PLAINTEXT://{}", self.address());
        self.set_property("listeners", &listeners);
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

    /// Whether it was started and has not been stopped or killed.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// The program that it runs, or will with the next start.
    pub fn program(&self) -> Program {
        self.program
    }

    /// From the next start on it runs this program.
    pub fn set_program(&mut self, program: Program) {
        self.program = program;
    }

    /// From the next start on a key has this value.
    pub fn set_property(&mut self, key: &str, value: &str) {
        self.properties.insert(key.to_owned(), value.to_owned());
    }

    /// Starts it (again) on the same directory and port and waits until it accepts connections.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.wait_until_open()
    }

    /// Starts it (again) without waiting.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "the broker is running");
        let file = self.directory.path().join("server.properties");
        let text: String = self
            .properties
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        std::fs::write(&file, text)?;
        let mut command = match self.program {
            Program::Ottla => {
                let mut command = Command::new(tools::ottla());
                command.arg("server");
                command
            }
            Program::Java => tools::java_broker(),
        };
        command.arg(&file);
        let mut command = command_in(&self.place, command);
        command.current_dir(self.directory.path());
        let process = Process::start(command, self.directory.path(), "broker")?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until a launched broker accepts connections.
    pub fn wait_until_open(&mut self) -> anyhow::Result<()> {
        let address = self.address().parse()?;
        let process = self.process.as_mut().context("the broker is stopped")?;
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
        let is_java = self.program == Program::Java || tools::is_reference();
        let obeyed = is_java && status.code() == Some(143);
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
