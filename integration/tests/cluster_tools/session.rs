//! A session of command lines with a cluster, written down with what they print.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::{
    Cluster, Output, Process, Program, ToolServer, Zookeeper, command, tools, wait,
};
use regex::Regex;

const PATIENCE: Duration = Duration::from_secs(180);
const DEADLINE: Duration = Duration::from_secs(180);

/// A consumer in a JVM of its own says in its log which replicas it chooses.
const LOGGING: &str = "log4j.properties";
const LOGGING_TEXT: &str = "\
log4j.rootLogger=WARN, stderr
log4j.logger.org.apache.kafka.clients.consumer.internals.FetchCollector=DEBUG
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.Target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=[%d] %p %m (%c)%n
";

/// Command lines begin with the name of a script; those of the release 2.3 have `old:` before it.
/// Among the words `B` stands for all brokers, `B1` for one, `Z` for the ensemble, and `@name` for
/// a file that the session has written. Words may be quoted with `'`.
pub(crate) struct Session {
    pub(crate) cluster: Cluster,
    today: ToolServer,
    old: ToolServer,
    bootstrap: String,
    files: tempfile::TempDir,
    text: String,
    noise: Vec<(Regex, String)>,
}

/// How the printed lines are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As printed.
    Kept,
    /// Sorted, for what tools keep in hash tables or hear from several brokers at once.
    Free,
}

/// Whether real brokers run, and what they let the tools print is written down.
pub(crate) fn is_recording() -> bool {
    std::env::var_os("OTTLA_RECORD").is_some()
}

impl Session {
    /// Starts three brokers in three racks.
    pub(crate) fn start(properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let program = if is_recording() {
            Program::Java
        } else {
            Program::Ottla
        };
        let mut cluster = Cluster::start_on(Zookeeper::start()?, &[program; 3], properties)?;
        for id in cluster.ids() {
            let broker = cluster.broker(id);
            broker.stop()?;
            broker.set_property("broker.rack", &format!("rack-{id}"));
            broker.restart()?;
        }
        cluster.wait_until_all_are_registered()?;
        // The epochs of partitions tell how often the controller changed while brokers were away.
        while cluster.controller()? != 1 {
            cluster.znodes().delete("/controller")?;
        }
        let files = tempfile::Builder::new().prefix("tools-").tempdir()?;
        std::fs::write(files.path().join(LOGGING), LOGGING_TEXT)?;
        let mut noise = Vec::new();
        let mut add = |pattern: &str, with: &str| -> anyhow::Result<()> {
            noise.push((Regex::new(pattern)?, with.to_owned()));
            Ok(())
        };
        for id in cluster.ids() {
            let broker = cluster.broker(id);
            let address = broker.address();
            let (_, port) = address.rsplit_once(':').context("no port")?;
            add(&regex::escape(&address), &format!("BROKER-{id}"))?;
            add(&format!(r"\b{port}\b"), &format!("PORT-{id}"))?;
            let directory = broker.log_directory().display().to_string();
            add(&regex::escape(&directory), &format!("LOGS-{id}"))?;
        }
        add(&regex::escape(&cluster.zookeeper().address()), "ZOOKEEPER")?;
        add(&regex::escape(&files.path().display().to_string()), "FILES")?;
        for (pattern, with) in [
            (r"TopicId: [\w-]{22}", "TopicId: ID"),
            (r#""topic_id":"[\w-]{22}""#, r#""topic_id":"ID""#),
            (r"Cluster ID: [\w-]{22}", "Cluster ID: ID"),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
            (r"\b\d{13}\b", "MILLIS"),
            (r"(?m)^\[?\d{4}-\d\d-\d\d[T ].*(ERROR|WARN|INFO).*\n", ""),
            (r"(?m)^console-consumer-\d+.*\n", ""),
            // Which of them is controller, and how often that changed, is chance.
            (r#""brokerid":\d"#, r#""brokerid":ID"#),
            (r#""controller_epoch":\d+"#, r#""controller_epoch":EPOCH"#),
            // Columns are as wide as the longest entry, among them those that were just left out.
            (r" {2,}", "  "),
        ] {
            add(pattern, with)?;
        }
        Ok(Self {
            bootstrap: cluster.bootstrap(),
            cluster,
            today: ToolServer::start("kafka-3.9")?,
            old: ToolServer::start("kafka-2.3")?,
            files,
            text: String::new(),
            noise,
        })
    }

    /// A heading in the transcript.
    pub(crate) fn chapter(&mut self, title: &str) {
        eprintln!("{title}");
        self.text += &format!("\n# {title}\n");
    }

    /// Writes a file that command lines can name with `@`.
    pub(crate) fn file(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path_of(name), text)?)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Runs a command line and writes down what it prints.
    pub(crate) fn note(&mut self, line: &str) -> anyhow::Result<Output> {
        self.note_with("", line, Order::Kept)
    }

    /// The same, the lines in an order of their own.
    pub(crate) fn note_unordered(&mut self, line: &str) -> anyhow::Result<Output> {
        self.note_with("", line, Order::Free)
    }

    /// Runs a command line until its output passes a test, and writes down that run: for what
    /// brokers learn a moment after one of them has answered.
    pub(crate) fn note_when(
        &mut self,
        line: &str,
        passes: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Output> {
        let before = self.text.len();
        let end = Instant::now() + PATIENCE;
        loop {
            self.text.truncate(before);
            let output = self.note(line)?;
            if passes(&output.out) || Instant::now() > end {
                return Ok(output);
            }
        }
    }

    /// Runs a command line that makes up orders of replicas by chance, and writes down what it
    /// prints with all of them sorted.
    pub(crate) fn note_sorted_replicas(&mut self, line: &str) -> anyhow::Result<Output> {
        let before = self.text.len();
        let output = self.note(line)?;
        let text = self.text.split_off(before);
        let lists = Regex::new(r#""replicas":\[([\d,]+)\]"#)?;
        self.text += &lists.replace_all(&text, |found: &regex::Captures<'_>| {
            let mut ids: Vec<&str> = found[1].split(',').collect();
            ids.sort_unstable();
            format!("\"replicas\":[{}]", ids.join(","))
        });
        Ok(output)
    }

    /// Runs a command line with text on standard input and writes down what it prints.
    pub(crate) fn note_with(
        &mut self,
        input: &str,
        line: &str,
        order: Order,
    ) -> anyhow::Result<Output> {
        let output = self.run_with(input, line)?;
        self.write_down(line, &output, order)?;
        Ok(output)
    }

    fn write_down(&mut self, line: &str, output: &Output, order: Order) -> anyhow::Result<()> {
        writeln!(self.text, "$ {line}")?;
        for text in [&output.out, &output.err] {
            self.write(text, order)?;
        }
        writeln!(self.text, "-> {}", output.code)?;
        Ok(())
    }

    fn write(&mut self, text: &str, order: Order) -> anyhow::Result<()> {
        let mut text = text.replace('\r', "");
        for (pattern, with) in &self.noise {
            text = pattern.replace_all(&text, with).into_owned();
        }
        let stack = |line: &&str| line.starts_with("\tat ") || line.starts_with("\t... ");
        let mut lines: Vec<String> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !stack(line))
            .map(|line| with_sorted_isr(&with_sorted_config(line)))
            .collect();
        if order == Order::Free {
            lines.sort_unstable();
        }
        for line in lines {
            writeln!(self.text, "{line}")?;
        }
        Ok(())
    }

    /// Runs a command line; its output is not compared.
    pub(crate) fn run(&mut self, line: &str) -> anyhow::Result<Output> {
        self.run_with("", line)
    }

    fn run_with(&mut self, input: &str, line: &str) -> anyhow::Result<Output> {
        // A tool may ask any of them.
        self.cluster.wait_until_brokers_agree()?;
        let words = words(line);
        let (script, arguments) = words.split_first().context("an empty line")?;
        let arguments: Vec<String> = arguments.iter().map(|word| self.meaning(word)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match script.strip_prefix("old:") {
            Some(script) => self
                .old
                .run_with_input(old_class(script)?, input, &arguments),
            None => {
                let class = class(script)?;
                let arguments = [&arguments, tools::patience(class)].concat();
                self.today.run_with_input(class, input, &arguments)
            }
        }
    }

    fn meaning(&mut self, word: &str) -> String {
        if let Some(file) = word.strip_prefix('@') {
            return self.path_of(file).display().to_string();
        }
        if let Some(key) = word.strip_suffix("=B") {
            return format!("{key}={}", self.bootstrap);
        }
        match word {
            "B" => self.bootstrap.clone(),
            "B1" | "B2" | "B3" => {
                let id = u32::from(word.as_bytes()[1] - b'0');
                self.cluster.broker(id).address()
            }
            "Z" => self.cluster.zookeeper().address(),
            _ => word.to_owned(),
        }
    }

    /// Types commands into one zookeeper-shell and writes down the answers.
    pub(crate) fn zookeeper_shell(&mut self, commands: &[&str]) -> anyhow::Result<()> {
        let input: String = commands.iter().map(|line| format!("{line}\n")).collect();
        let address = self.cluster.zookeeper().address();
        let mut java = java(&self.path_of(LOGGING), class("zookeeper-shell")?);
        java.args(["-server", &address]);
        let out = command::run(&mut java, format!("{input}quit\n").as_bytes(), DEADLINE)?;
        let out = String::from_utf8(out)?;
        writeln!(self.text, "$ zookeeper-shell\n{input}>")?;
        // Events of the session come at any moment.
        let answers: String = out
            .lines()
            .filter(|line| {
                let line = line.trim();
                !(line.starts_with("WATCHER::") || line.starts_with("WatchedEvent"))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        self.write(&answers, Order::Kept)
    }

    /// Runs a tool in a JVM of its own until its output and log are what is waited for; it need
    /// not end by itself.
    pub(crate) fn run_until(
        &mut self,
        line: &str,
        what: &str,
        passes: impl Fn(&str, &str) -> bool,
    ) -> anyhow::Result<()> {
        let words = words(line);
        let (script, arguments) = words.split_first().context("an empty line")?;
        let mut java = java(&self.path_of(LOGGING), class(script)?);
        java.args(arguments.iter().map(|word| self.meaning(word)));
        let directory = tempfile::tempdir()?;
        let mut process = Process::start(java, directory.path(), "tool")?;
        let printed = |ending: &str| {
            let file = directory.path().join(format!("tool.{ending}"));
            std::fs::read_to_string(file).unwrap_or_default()
        };
        let answer = wait::wait_for(what, DEADLINE, || {
            passes(&printed("out"), &printed("err")).then_some(())
        });
        process.kill()?;
        answer.with_context(|| printed("err"))
    }

    /// Writes what was printed so far below `target`, and tells where.
    pub(crate) fn save(&self, name: &str) -> anyhow::Result<PathBuf> {
        let by = if is_recording() { "kafka-" } else { "" };
        let path = tools::root().join("target").join(format!("{by}{name}"));
        std::fs::write(&path, &self.text)?;
        Ok(path)
    }

    /// Compares the session with the recorded one, or records it.
    pub(crate) fn finish(self, name: &str) -> anyhow::Result<()> {
        let golden = tools::root().join("integration/golden").join(name);
        if is_recording() {
            return Ok(std::fs::write(golden, self.text)?);
        }
        let got = self.save(name)?;
        compare(&std::fs::read_to_string(golden)?, &self.text, &got)
            .with_context(|| self.cluster.logs())
    }
}

fn compare(expected: &str, got: &str, file: &Path) -> anyhow::Result<()> {
    let lines: Vec<&str> = got.lines().collect();
    let mut command = "";
    for (index, line) in expected.lines().enumerate() {
        if line.starts_with("$ ") {
            command = line;
        }
        anyhow::ensure!(
            lines.get(index) == Some(&line),
            "line {}, {command}\nKafka: {line:?}\nottla: {:?}\nwhole: {}",
            index + 1,
            lines.get(index),
            file.display()
        );
    }
    anyhow::ensure!(expected == got, "more than expected: {}", file.display());
    Ok(())
}

/// In-sync replicas are a set: the order tells only who came back first.
fn with_sorted_isr(line: &str) -> String {
    for (before, after) in [("Isr: ", '\t'), ("\"isr\":[", ']')] {
        if let Some(start) = line.find(before).map(|at| at + before.len()) {
            let end = line[start..]
                .find(after)
                .map_or(line.len(), |at| start + at);
            let mut ids: Vec<&str> = line[start..end].split(',').collect();
            ids.sort_unstable();
            return format!("{}{}{}", &line[..start], ids.join(","), &line[end..]);
        }
    }
    line.to_owned()
}

/// The keys of a stored configuration are in the order of a hash table.
fn with_sorted_config(line: &str) -> String {
    let begin = r#"{"version":1,"config":{"#;
    let Some(config) = line.strip_prefix(begin).and_then(|l| l.strip_suffix("}}")) else {
        return line.to_owned();
    };
    let mut entries: Vec<&str> = config.split(',').collect();
    // A comma within a value would make more entries of one, in every transcript alike.
    entries.sort_unstable();
    format!("{begin}{}}}}}", entries.join(","))
}

fn java(logging: &Path, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j.configuration=file:{}", logging.display()))
        .args(["-cp", &tools::class_path("kafka-3.9"), class]);
    java
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words
}

fn class(script: &str) -> anyhow::Result<&'static str> {
    Ok(match script {
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-console-producer" => "kafka.tools.ConsoleProducer",
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-consumer-perf-test" => "org.apache.kafka.tools.ConsumerPerformance",
        "kafka-producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-log-dirs" => "org.apache.kafka.tools.LogDirsCommand",
        "kafka-leader-election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "kafka-reassign-partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "kafka-replica-verification" => "org.apache.kafka.tools.ReplicaVerificationTool",
        "kafka-broker-api-versions" => "kafka.admin.BrokerApiVersionsCommand",
        "kafka-features" => "org.apache.kafka.tools.FeatureCommand",
        "kafka-cluster" => "org.apache.kafka.tools.ClusterTool",
        "zookeeper-shell" => "org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka",
        _ => anyhow::bail!("no such script: {script}"),
    })
}

fn old_class(script: &str) -> anyhow::Result<&'static str> {
    Ok(match script {
        "kafka-topics" => "kafka.admin.TopicCommand",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-reassign-partitions" => "kafka.admin.ReassignPartitionsCommand",
        "kafka-preferred-replica-election" => "kafka.admin.PreferredReplicaLeaderElectionCommand",
        _ => anyhow::bail!("no such script: {script}"),
    })
}
