//! Kafka's own command-line tools, run in one JVM per release (see `java/ToolServer.java`).

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;

use crate::tools;

/// What a tool printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Output {
    /// The standard output of a tool that must have succeeded.
    pub fn success(self) -> anyhow::Result<String> {
        anyhow::ensure!(
            self.code == 0,
            "exit {}\n{}\n{}",
            self.code,
            self.out,
            self.err
        );
        Ok(self.out)
    }
}

/// A JVM that runs tools one after the other.
#[derive(Debug)]
pub struct ToolServer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl ToolServer {
    /// Starts a JVM on a set of jars, for instance `kafka-3.9`.
    pub fn start(jars: &str) -> anyhow::Result<Self> {
        let java = tools::root().join("integration/java");
        let mut child = Command::new("java")
            .args(["-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                java.join("log4j.properties").display()
            ))
            .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED"])
            .args(["-cp", &tools::class_path(jars)])
            .arg(java.join("ToolServer.java"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting java")?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// Runs a class with arguments and nothing on standard input.
    pub fn run(&mut self, class: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        self.run_with_input(class, "", arguments)
    }

    /// Runs a class with arguments and text on standard input.
    pub fn run_with_input(
        &mut self,
        class: &str,
        input: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Output> {
        let mut line = encode(class);
        for word in std::iter::once(&input).chain(arguments) {
            line.push(' ');
            line.push_str(&encode(word));
        }
        line.push('\n');
        self.stdin.write_all(line.as_bytes())?;
        self.stdin.flush()?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        let ["exit", code, out, err] = words[..] else {
            anyhow::bail!("the tool server ended while it ran {class} {arguments:?}");
        };
        let mut read = |length: &str| -> anyhow::Result<String> {
            let mut bytes = vec![0; length.parse()?];
            self.stdout.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Output {
            code: code.parse()?,
            out: read(out)?,
            err: read(err)?,
        })
    }
}

impl Drop for ToolServer {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encode(word: &str) -> String {
    let mut encoded = String::with_capacity(word.len());
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
