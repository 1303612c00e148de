//! Child processes that end with their test.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::wait::wait_for;

const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program whose standard output and error go to files in `directory`.
    pub fn start(mut command: Command, directory: &Path, name: &str) -> anyhow::Result<Self> {
        let open = |suffix: &str| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(directory.join(format!("{name}.{suffix}")))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open("out")?)
            .stderr(open("err")?)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name, for instance `TERM`; after `STOP` all of its threads stand still.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "STOP" => Signal::STOP,
            "CONT" => Signal::CONT,
            _ => anyhow::bail!("no such signal: {name}"),
        };
        // Without a program of its own, which would take its time.
        kill_process(Pid::from_child(&self.child), signal)?;
        if signal == Signal::STOP {
            wait_for("a process that stands still", STOP_DEADLINE, || {
                self.stands_still().then_some(())
            })?;
        }
        Ok(())
    }

    /// Whether each of its threads is stopped.
    fn stands_still(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut tasks = tasks.into_iter().flatten().flatten();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state follows the name in brackets.
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            state.is_empty() || state.starts_with('T')
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        wait_for("the end of a process", deadline, || {
            child.try_wait().ok().flatten()
        })
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
