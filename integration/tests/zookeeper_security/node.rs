//! A broker with options of Java's virtual machine.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use ottla_integration::free_port::free_port;
use ottla_integration::process::Process;
use ottla_integration::tools;
use ottla_integration::wait::wait_for;

const DEADLINE: Duration = Duration::from_secs(180);

pub(crate) struct Node {
    port: u16,
    process: Process,
    directory: tempfile::TempDir,
}

impl Node {
    /// Starts a broker and waits until it accepts connections.
    pub(crate) fn start(properties: &[(&str, String)], options: &str) -> anyhow::Result<Self> {
        let mut node = Self::launch(properties, options)?;
        let port = node.port;
        let opened = wait_for("the broker's port", DEADLINE, || {
            if !node.process.is_running() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).ok().map(|_| true)
        });
        anyhow::ensure!(opened.unwrap_or(false), "it did not start:\n{}", node.log());
        Ok(node)
    }

    /// Starts a broker that must not come up; gives what it says.
    pub(crate) fn refusal(properties: &[(&str, String)], options: &str) -> anyhow::Result<String> {
        let mut node = Self::launch(properties, options)?;
        let status = node.process.wait(DEADLINE)?;
        anyhow::ensure!(!status.success(), "it ended with {status}");
        Ok(node.log())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn launch(properties: &[(&str, String)], options: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let mut text = format!(
            "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\n",
            directory.path().join("logs").display()
        );
        for (key, value) in properties {
            text += &format!("{key}={value}\n");
        }
        let file = directory.path().join("server.properties");
        std::fs::write(&file, text)?;
        let mut command = if tools::is_reference() {
            tools::java_broker()
        } else {
            let mut command = Command::new(tools::ottla());
            command.arg("server");
            command
        };
        // The script of Java's hands the first on; without it the second is Java's own.
        command.arg(&file).env("KAFKA_OPTS", options);
        command.env("JAVA_TOOL_OPTIONS", options);
        let process = Process::start(command, directory.path(), "broker")?;
        Ok(Self {
            port,
            process,
            directory,
        })
    }

    fn log(&self) -> String {
        let read = |suffix: &str| {
            let file = self.directory.path().join(format!("broker.{suffix}"));
            std::fs::read_to_string(file).unwrap_or_default()
        };
        read("out") + &read("err")
    }
}
