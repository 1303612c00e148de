//! What an operator does to a cluster with Kafka's own tools.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::tool_server::{Output, ToolServer};
use crate::tools;
use crate::wait::wait_for;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ELECT: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const DEADLINE: Duration = Duration::from_secs(180);

/// A tool server that knows the cluster's addresses; every method fails if the tool does.
#[derive(Debug)]
pub struct Operator {
    tools: ToolServer,
    bootstrap: String,
    directory: tempfile::TempDir,
}

impl Operator {
    /// An operator of the cluster behind these addresses.
    pub fn new(bootstrap: &str) -> anyhow::Result<Self> {
        Ok(Self {
            tools: ToolServer::start("kafka-3.9")?,
            bootstrap: bootstrap.to_owned(),
            directory: tempfile::Builder::new().prefix("operator-").tempdir()?,
        })
    }

    /// Runs a tool with `--bootstrap-server` and these arguments; gives what it printed.
    pub fn run(&mut self, class: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with_input(class, "", arguments)
    }

    /// The same, with text on standard input.
    pub fn run_with_input(
        &mut self,
        class: &str,
        input: &str,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        self.output(class, input, arguments)?
            .success()
            .with_context(|| format!("{class} {arguments:?}"))
    }

    /// What a tool printed, though it may have failed.
    pub fn run_to_any_end(&mut self, class: &str, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(self.output(class, "", arguments)?.out)
    }

    fn output(&mut self, class: &str, input: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let bootstrap = self.bootstrap.clone();
        let patience = tools::patience(class);
        let all = [&["--bootstrap-server", &bootstrap], arguments, patience].concat();
        self.tools.run_with_input(class, input, &all)
    }

    /// Creates a topic with the replicas of each partition, for instance `1:2,2:1`.
    pub fn create_topic(
        &mut self,
        topic: &str,
        assignment: &str,
        configs: &[&str],
    ) -> anyhow::Result<()> {
        let mut arguments = vec!["--create", "--topic", topic];
        arguments.extend(["--replica-assignment", assignment]);
        for config in configs {
            arguments.extend(["--config", config]);
        }
        self.run(TOPICS, &arguments).map(drop)
    }

    /// Gives a topic so many partitions.
    pub fn expand_topic(&mut self, topic: &str, partitions: u32) -> anyhow::Result<()> {
        let partitions = partitions.to_string();
        let arguments = ["--alter", "--topic", topic, "--partitions", &partitions];
        self.run(TOPICS, &arguments).map(drop)
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, topic: &str) -> anyhow::Result<()> {
        self.run(TOPICS, &["--delete", "--topic", topic]).map(drop)
    }

    /// What `kafka-topics --describe` prints, with more arguments.
    pub fn describe(&mut self, more: &[&str]) -> anyhow::Result<String> {
        self.run(TOPICS, &[&["--describe"], more].concat())
    }

    /// Alters settings: `entity` as `["--entity-type", "topics", …]`, `change` as
    /// `["--add-config", "a=1,b=2"]`.
    pub fn configure(&mut self, entity: &[&str], change: &[&str]) -> anyhow::Result<()> {
        self.run(CONFIGS, &[&["--alter"], entity, change].concat())
            .map(drop)
    }

    /// What `kafka-configs --describe` prints.
    pub fn settings(&mut self, entity: &[&str]) -> anyhow::Result<String> {
        self.run(CONFIGS, &[&["--describe"], entity].concat())
    }

    /// Orders the replicas of a partition to be these, and does not wait.
    pub fn order_replicas(
        &mut self,
        topic: &str,
        partition: u32,
        replicas: &[u32],
        more: &[&str],
    ) -> anyhow::Result<()> {
        let file = self.reassignment(topic, partition, replicas)?;
        let file = file.display().to_string();
        let order = ["--execute", "--reassignment-json-file", &file];
        self.run(REASSIGN, &[&order, more].concat()).map(drop)
    }

    /// Waits until an ordered move is complete, as `--verify` tells, which ends its throttles.
    pub fn wait_for_replicas(
        &mut self,
        topic: &str,
        partition: u32,
        replicas: &[u32],
    ) -> anyhow::Result<()> {
        let file = self.reassignment(topic, partition, replicas)?;
        let file = file.display().to_string();
        let mut last = anyhow::Ok(String::new());
        wait_for("the end of a move", DEADLINE, || {
            last = self.run(REASSIGN, &["--verify", "--reassignment-json-file", &file]);
            let text = last.as_ref().ok()?;
            text.contains("is completed").then_some(())
        })
        .with_context(|| format!("{last:?}"))
    }

    /// Orders a move and waits for its end.
    pub fn move_replicas(
        &mut self,
        topic: &str,
        partition: u32,
        replicas: &[u32],
    ) -> anyhow::Result<()> {
        self.order_replicas(topic, partition, replicas, &[])?;
        self.wait_for_replicas(topic, partition, replicas)
    }

    /// Cancels an ordered move.
    pub fn cancel_move(
        &mut self,
        topic: &str,
        partition: u32,
        replicas: &[u32],
    ) -> anyhow::Result<String> {
        let file = self.reassignment(topic, partition, replicas)?;
        let file = file.display().to_string();
        self.run(REASSIGN, &["--cancel", "--reassignment-json-file", &file])
    }

    /// Runs a `preferred` or `unclean` election of one partition.
    pub fn elect(&mut self, kind: &str, topic: &str, partition: u32) -> anyhow::Result<String> {
        let partition = partition.to_string();
        let arguments = ["--election-type", kind, "--topic", topic];
        self.run(
            ELECT,
            &[&arguments[..], &["--partition", &partition]].concat(),
        )
    }

    /// Writes so many records with these acks; all must be acknowledged.
    pub fn produce(&mut self, topic: &str, records: usize, acks: &str) -> anyhow::Result<()> {
        let count = records.to_string();
        // The tool's own default is not to retry: a leader may learn of its new partition later
        // than a client does.
        let config = self.directory.path().join("producer.properties");
        std::fs::write(&config, "retries=2147483647\n")?;
        let config = config.to_str().context("a path that is no text")?;
        let mut arguments = vec!["--topic", topic, "--max-messages", &count, "--acks", acks];
        arguments.extend(["--producer.config", config]);
        let out = self.run(PRODUCER, &arguments)?;
        let acknowledged = out.matches("\"producer_send_success\"").count();
        anyhow::ensure!(acknowledged == records, "{acknowledged} of {records}");
        Ok(())
    }

    /// Writes so many kilobytes.
    pub fn fill(&mut self, topic: &str, kilobytes: usize) -> anyhow::Result<()> {
        self.perform(topic, kilobytes, &["--record-size", "1000"])
    }

    /// Writes so many small records in transactions of some milliseconds.
    pub fn fill_in_transactions(
        &mut self,
        topic: &str,
        records: usize,
        transactional_id: &str,
    ) -> anyhow::Result<()> {
        let mut arguments = vec![
            "--payload-monotonic",
            "--transactional-id",
            transactional_id,
        ];
        arguments.extend(["--transaction-duration-ms", "20"]);
        self.perform(topic, records, &arguments)
    }

    fn perform(&mut self, topic: &str, records: usize, more: &[&str]) -> anyhow::Result<()> {
        let count = records.to_string();
        let bootstrap = format!("bootstrap.servers={}", self.bootstrap);
        let mut arguments = vec!["--topic", topic, "--num-records", &count];
        arguments.extend(more);
        arguments.extend(["--throughput", "-1", "--producer-props"]);
        arguments.extend([bootstrap.as_str(), "acks=all"]);
        arguments.extend(["max.block.ms=240000", "delivery.timeout.ms=240000"]);
        let output = self.tools.run(PERFORMANCE, &arguments)?;
        output.success().map(drop)
    }

    fn reassignment(
        &self,
        topic: &str,
        partition: u32,
        replicas: &[u32],
    ) -> anyhow::Result<PathBuf> {
        let file = self.directory.path().join("reassignment.json");
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":{partition},"replicas":{replicas:?}}}]}}"#
        );
        std::fs::write(&file, text)?;
        Ok(file)
    }
}
