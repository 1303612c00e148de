//! Transactions over both kinds of broker: begun under a coordinator of one kind they are ended
//! under one of the other, while the partitions they write change leaders between them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::replicas::wait_until_equal;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Operator, Program, Zookeeper, command, tools};

/// The Apache Kafka broker; 1 and 2 are ours.
const JAVA: u32 = 3;
const OURS: u32 = 1;
const STATE: &str = "__transaction_state";
const TOPIC: &str = "ledger";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const DEADLINE: Duration = Duration::from_secs(180);
const PROPERTIES: &[(&str, &str)] = &[
    ("auto.leader.rebalance.enable", "false"),
    ("transaction.state.log.num.partitions", "1"),
    ("transaction.state.log.min.isr", "2"),
    ("offsets.topic.num.partitions", "1"),
    ("replica.lag.time.max.ms", "10000"),
];

#[test]
fn transactions_pass_between_coordinators_and_leaders_of_both_kinds() {
    let programs = [Program::Ottla, Program::Ottla, Program::Java];
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    let cluster = Cluster::start_on(zookeeper, &programs, PROPERTIES).expect("a cluster");
    let operator = Operator::new(&cluster.bootstrap()).expect("tools");
    let mut mixed = Mixed {
        cluster,
        operator,
        committed: BTreeSet::new(),
        written: 0,
        started: Instant::now(),
    };
    if let Err(error) = mixed.show() {
        panic!("{error:#}\n{}", mixed.cluster.logs());
    }
}

struct Mixed {
    cluster: Cluster,
    operator: Operator,
    committed: BTreeSet<String>,
    written: usize,
    started: Instant,
}

impl Mixed {
    fn show(&mut self) -> anyhow::Result<()> {
        let configs = ["min.insync.replicas=2"];
        self.operator
            .create_topic(TOPIC, "1:2:3,2:3:1,3:1:2", &configs)?;
        let mut producer = Producer::start(&self.cluster.bootstrap(), "ledger-writer")?;

        for (from, to, crash, commit) in [
            (JAVA, OURS, true, true),
            (OURS, JAVA, true, true),
            (JAVA, OURS, false, false),
            (OURS, JAVA, false, true),
        ] {
            self.coordinator_changes(&mut producer, from, to, crash, commit)?;
        }
        self.leaders_change(&mut producer, false)?;
        self.leaders_change(&mut producer, true)?;
        producer.end()?;

        self.check()?;
        let (partitions, bytes) = wait_until_equal(&mut self.cluster, &[])?;
        self.tell(&format!(
            "{} of {} records committed; {partitions} partitions of {bytes} bytes are equal",
            self.committed.len(),
            self.written
        ));
        for id in self.cluster.ids() {
            self.cluster.broker(id).stop()?;
        }
        Ok(())
    }

    /// A transaction that writes to every partition, begun under one coordinator, which then is
    /// killed or stopped, and ended under the other.
    fn coordinator_changes(
        &mut self,
        producer: &mut Producer,
        from: u32,
        to: u32,
        crash: bool,
        commit: bool,
    ) -> anyhow::Result<()> {
        let order = [from, to, 6 - from - to];
        self.lead(STATE, 0, &order)?;
        producer.say("begin")?;
        let sent = self.send(producer)?;
        let described = self.describe()?;
        anyhow::ensure!(described.contains("Ongoing"), "{described}");
        // The coordinator stands in front.
        let first = described
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().next());
        anyhow::ensure!(first == Some(&from.to_string()), "{described}");
        if crash {
            self.cluster.kill(from)?;
        } else {
            self.cluster.broker(from).stop()?;
        }
        wait_for("the other coordinator", DEADLINE, || {
            (self.cluster.leader(STATE, 0).ok()? == to).then_some(())
        })?;
        self.end(producer, sent, commit)?;
        self.cluster.broker(from).restart()?;
        self.wait_until_in_sync()?;
        self.check()?;
        let how = if crash { "killed" } else { "stopped" };
        self.tell(&format!(
            "coordinator {from} {how}, {to} goes on; commit: {commit}"
        ));
        Ok(())
    }

    /// Every partition with an open transaction is led by Java, by us and by Java again.
    fn leaders_change(&mut self, producer: &mut Producer, commit: bool) -> anyhow::Result<()> {
        producer.say("begin")?;
        let mut sent = Vec::new();
        for order in [[3, 1, 2], [1, 2, 3], [3, 2, 1]] {
            for partition in 0..3 {
                self.lead(TOPIC, partition, &order)?;
            }
            sent.extend(self.send(producer)?);
            self.producers_are_known_equally()?;
            self.check()?;
        }
        self.end(producer, sent, commit)?;
        self.check()?;
        self.tell(&format!("leaders changed; commit: {commit}"));
        Ok(())
    }

    /// What each replica knows of the partition's producers, open transactions included.
    fn producers_are_known_equally(&mut self) -> anyhow::Result<()> {
        let mut known = Vec::new();
        let equal = wait_for("equal knowledge of producers", DEADLINE, || {
            known = ["1", "2", "3"]
                .iter()
                .filter_map(|id| {
                    let arguments = ["describe-producers", "--topic", TOPIC, "--partition", "0"];
                    let arguments = [&arguments[..], &["--broker-id", id]].concat();
                    self.operator.run(TRANSACTIONS, &arguments).ok()
                })
                .collect();
            let shows_one = known.first()?.lines().count() == 2;
            let equal = known.windows(2).all(|pair| pair[0] == pair[1]);
            (known.len() == 3 && shows_one && equal).then_some(())
        });
        equal.with_context(|| format!("{known:#?}"))
    }

    /// Moves a partition's leadership: the first of its replicas becomes the leader.
    fn lead(&mut self, topic: &str, partition: u32, order: &[u32]) -> anyhow::Result<()> {
        self.cluster.wait_for_isr(topic, partition, &[1, 2, 3])?;
        self.operator.move_replicas(topic, partition, order)?;
        // It is refused while the replica is out of sync, and where it leads already.
        let mut elected = anyhow::Ok(String::new());
        wait_for("the preferred leader", DEADLINE, || {
            if self.cluster.leader(topic, partition).ok()? == order[0] {
                return Some(());
            }
            elected = self.operator.elect("preferred", topic, partition);
            None
        })
        .with_context(|| format!("{topic}-{partition} of {order:?}: {elected:?}"))
    }

    fn send(&mut self, producer: &mut Producer) -> anyhow::Result<Vec<String>> {
        let mut sent = Vec::new();
        for partition in 0..3 {
            let values: Vec<String> = (0..50)
                .map(|index| (self.written + index).to_string())
                .collect();
            self.written += values.len();
            producer.say(&format!("send {TOPIC} {partition} {}", values.join(" ")))?;
            sent.extend(
                values
                    .into_iter()
                    .map(|value| format!("{partition} {value}")),
            );
        }
        Ok(sent)
    }

    fn end(
        &mut self,
        producer: &mut Producer,
        sent: Vec<String>,
        commit: bool,
    ) -> anyhow::Result<()> {
        let (order, state) = match commit {
            true => ("commit", "CompleteCommit"),
            false => ("abort", "CompleteAbort"),
        };
        producer.say(order)?;
        if commit {
            self.committed.extend(sent);
        }
        let mut described = String::new();
        wait_for("the end of the transaction", DEADLINE, || {
            described = self.describe().ok()?;
            described.contains(state).then_some(())
        })
        .with_context(|| described)
    }

    fn describe(&mut self) -> anyhow::Result<String> {
        let arguments = ["describe", "--transactional-id", "ledger-writer"];
        self.operator.run(TRANSACTIONS, &arguments)
    }

    /// Exactly what is committed is read as such.
    fn check(&self) -> anyhow::Result<()> {
        let mut python = tools::python("transactions.py");
        let bootstrap = self.cluster.bootstrap();
        python.args(["read", &bootstrap, TOPIC, "read_committed"]);
        let read = String::from_utf8(command::run(&mut python, b"", DEADLINE)?)?;
        let lines: Vec<&str> = read.lines().collect();
        let distinct: BTreeSet<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        anyhow::ensure!(lines.len() == distinct.len(), "a record is read twice");
        let lost = self.committed.difference(&distinct).next();
        let torn = distinct.difference(&self.committed).next();
        anyhow::ensure!(
            lost.is_none() && torn.is_none(),
            "{} read, {} committed, lost {lost:?}, not committed {torn:?}",
            distinct.len(),
            self.committed.len()
        );
        Ok(())
    }

    fn wait_until_in_sync(&self) -> anyhow::Result<()> {
        self.cluster.wait_until_all_are_registered()?;
        self.cluster.wait_for_isr(STATE, 0, &[1, 2, 3])?;
        (0..3).try_for_each(|partition| self.cluster.wait_for_isr(TOPIC, partition, &[1, 2, 3]))
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.started.elapsed().as_secs_f64());
    }
}

/// librdkafka's transactional producer.
struct Producer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Producer {
    fn start(bootstrap: &str, transactional_id: &str) -> anyhow::Result<Self> {
        let mut child = tools::python("transactions.py")
            .args(["produce", bootstrap, transactional_id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut producer = Self {
            child,
            stdin,
            stdout,
        };
        producer.hear("ready")?;
        Ok(producer)
    }

    /// Orders something and waits until it is done.
    fn say(&mut self, order: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("it has ended")?;
        writeln!(stdin, "{order}")?;
        self.hear("done").with_context(|| {
            let word = order.split(' ').next().unwrap_or_default();
            format!("the producer was told to {word}")
        })
    }

    fn hear(&mut self, expected: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        anyhow::ensure!(line.trim() == expected, "it says {line:?}");
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
