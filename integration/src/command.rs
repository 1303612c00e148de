//! Running a client program to its end.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::wait::wait_for;

/// Runs a program with text on standard input and returns its standard output; a failure, or no
/// end before the deadline, is an error with what it printed.
pub fn run(command: &mut Command, input: &[u8], deadline: Duration) -> anyhow::Result<Vec<u8>> {
    let out = tempfile::tempfile()?;
    let err = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    // The program may end without reading all of it; its own exit code tells whether that is bad.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = wait_for("the end of a client", deadline, || {
        child.try_wait().ok().flatten()
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer of standard input panicked"))?;
    let read = |mut file: std::fs::File| -> anyhow::Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _};
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let out = read(out)?;
    let tail = || -> anyhow::Result<String> {
        let text = String::from_utf8_lossy(&read(err.try_clone()?)?).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(30)..].join("\n"))
    };
    match ended {
        Ok(status) if status.success() => Ok(out),
        Ok(status) => anyhow::bail!("{command:?}: {status}\n{}", tail()?),
        Err(error) => Err(error.context(format!("{command:?}\n{}", tail()?))),
    }
}
