//! A session of commands written down with what they print, compared with what the same session
//! printed against a real Apache Kafka 3.9.1.
//!
//! To record anew, point `OTTLA_RECORD_FROM` at a fresh single-node Kafka 3.9.1 with
//! `group.initial.rebalance.delay.ms=0` and eight offsets partitions.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::tool_server::{Output, ToolServer};
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(120);

/// The address of a real broker to record from, if that is asked for.
pub fn record_from() -> Option<String> {
    std::env::var("OTTLA_RECORD_FROM").ok()
}

/// A session with one broker.
#[derive(Debug)]
pub struct Transcript {
    tools: ToolServer,
    bootstrap: String,
    text: String,
    noise: Vec<(Regex, &'static str)>,
}

impl Transcript {
    /// Begins a session of the tools in `jars` with the broker at `bootstrap`.
    pub fn new(jars: &str, bootstrap: &str) -> anyhow::Result<Self> {
        let noise = [
            (r"127\.0\.0\.1:\d+", "BROKER"),
            (r"TopicId: [\w-]{22}", "TopicId: ID"),
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "UUID",
            ),
            (r"\b\d{13}\b", "MILLIS"),
            (r"(?m)^\[?\d{4}-\d\d-\d\d[T ].*(ERROR|WARN|INFO).*\n", ""),
            // Groups of consumers without a name of their own, until they are forgotten.
            (r"(?m)^console-consumer-\d+.*\n", ""),
            (r#""logDir":"[^"]*""#, r#""logDir":"DIR""#),
            // Columns are as wide as the longest entry, among them those that were just left out.
            (r" {2,}", "  "),
        ];
        let noise = noise
            .into_iter()
            .map(|(pattern, with)| Ok((Regex::new(pattern)?, with)))
            .collect::<Result<_, regex::Error>>()?;
        Ok(Self {
            tools: ToolServer::start(jars)?,
            bootstrap: bootstrap.to_owned(),
            text: String::new(),
            noise,
        })
    }

    /// The address of the broker.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Runs a tool whose output is not compared.
    pub fn run(&mut self, class: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        self.run_with_input(class, "", arguments)
    }

    /// Runs a tool with text on standard input; its output is not compared. The word `B` among the
    /// arguments stands for the broker's address.
    pub fn run_with_input(
        &mut self,
        class: &str,
        input: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Output> {
        let bootstrap = self.bootstrap.clone();
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|a| if *a == "B" { bootstrap.as_str() } else { a })
            .collect();
        let arguments = [&arguments, tools::patience(class)].concat();
        self.tools.run_with_input(class, input, &arguments)
    }

    /// Runs a tool and writes down its exit code and output.
    pub fn note(&mut self, class: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        self.note_with_input(class, "", arguments)
    }

    /// Runs a tool with text on standard input and writes down its exit code and output, the lines
    /// in an order of their own (tools print what they keep in hash tables).
    pub fn note_with_input(
        &mut self,
        class: &str,
        input: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Output> {
        self.note_all(class, input, arguments, &[])
    }

    /// Runs a tool until its output passes a test, and writes down that run: for what a broker
    /// learns a moment after it has answered.
    pub fn note_when(
        &mut self,
        class: &str,
        arguments: &[&str],
        passes: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Output> {
        let before = self.text.len();
        let end = Instant::now() + PATIENCE;
        loop {
            self.text.truncate(before);
            let output = self.note(class, arguments)?;
            if passes(&output.out) || Instant::now() > end {
                return Ok(output);
            }
        }
    }

    /// Runs a tool and writes down its exit code and output, without the lines that have one of
    /// these words.
    pub fn note_without(
        &mut self,
        class: &str,
        arguments: &[&str],
        without: &[String],
    ) -> anyhow::Result<Output> {
        self.note_all(class, "", arguments, without)
    }

    fn note_all(
        &mut self,
        class: &str,
        input: &str,
        arguments: &[&str],
        without: &[String],
    ) -> anyhow::Result<Output> {
        let output = self.run_with_input(class, input, arguments)?;
        let name = class.rsplit('.').next().unwrap_or(class);
        writeln!(self.text, "$ {name} {}", arguments.join(" "))?;
        for text in [&output.out, &output.err] {
            let mut text = text.replace('\r', "");
            for (pattern, with) in &self.noise {
                text = pattern.replace_all(&text, *with).into_owned();
            }
            let stack = |line: &&str| line.starts_with("\tat ") || line.starts_with("\t... ");
            let mut lines: Vec<&str> = text
                .lines()
                .map(str::trim_end)
                .filter(|line| !line.is_empty() && !stack(line))
                .filter(|line| !without.iter().any(|word| line.contains(word.as_str())))
                .collect();
            lines.sort_unstable();
            for line in lines {
                writeln!(self.text, "{line}")?;
            }
        }
        writeln!(self.text, "-> {}", output.code)?;
        Ok(output)
    }

    /// Compares the session with the recorded one, or records it.
    pub fn finish(self, name: &str) -> anyhow::Result<()> {
        let path: PathBuf = tools::root().join("integration/golden").join(name);
        if record_from().is_some() {
            std::fs::write(path, self.text)?;
            return Ok(());
        }
        let expected = std::fs::read_to_string(&path)?;
        let got = tools::root().join("target").join(name);
        std::fs::write(&got, &self.text)?;
        let first = expected
            .lines()
            .zip(self.text.lines())
            .position(|(a, b)| a != b);
        let first = first.or((expected != self.text).then_some(0));
        if let Some(line) = first {
            anyhow::bail!(
                "differs from {name} at line {}:\nKafka: {:?}\nottla: {:?}\nwhole: {}",
                line + 1,
                expected.lines().nth(line),
                self.text.lines().nth(line),
                got.display(),
            );
        }
        Ok(())
    }
}
