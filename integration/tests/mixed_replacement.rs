//! A cluster of Apache Kafka is changed broker by broker to ours, on the same disks and under load,
//! and one back again: nothing is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla_integration::replicas::wait_until_equal;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Load, Operator, Program, Zookeeper};

const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const PRODUCER: &str = "kafka.tools.ConsoleProducer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const DEADLINE: Duration = Duration::from_secs(180);
/// Topics with a partition on each broker.
const ORDERS: &str = "orders";
const TABLE: &str = "table";
const KEYS: usize = 20;
const PROPERTIES: &[(&str, &str)] = &[
    ("min.insync.replicas", "2"),
    ("auto.leader.rebalance.enable", "false"),
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "2"),
    ("transaction.state.log.min.isr", "2"),
    ("replica.lag.time.max.ms", "10000"),
    ("log.cleaner.backoff.ms", "500"),
];

#[test]
fn a_java_cluster_is_replaced_on_its_disks_under_load() {
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    let cluster =
        Cluster::start_on(zookeeper, &[Program::Java; 3], PROPERTIES).expect("a Java cluster");
    let operator = Operator::new(&cluster.bootstrap()).expect("tools");
    let mut replacement = Replacement {
        cluster,
        operator,
        rounds: 0,
        started: Instant::now(),
    };
    if let Err(error) = replacement.show() {
        panic!("{error:#}\n{}", replacement.cluster.logs());
    }
}

struct Replacement {
    cluster: Cluster,
    operator: Operator,
    rounds: usize,
    started: Instant,
}

impl Replacement {
    fn show(&mut self) -> anyhow::Result<()> {
        let everywhere = "1:2:3,2:3:1,3:1:2";
        let compacted = [
            "cleanup.policy=compact",
            "segment.ms=1000",
            "min.cleanable.dirty.ratio=0.01",
        ];
        self.operator.create_topic("load", everywhere, &[])?;
        self.operator.create_topic(ORDERS, everywhere, &[])?;
        self.operator.create_topic(TABLE, everywhere, &compacted)?;
        let load = Load::start(&self.cluster.bootstrap(), "load")?;
        self.write_and_read()?;
        load.wait_for_progress()?;
        for (id, program) in [
            (1, Program::Ottla),
            (2, Program::Ottla),
            (3, Program::Ottla),
            (2, Program::Java),
        ] {
            self.replace(id, program)?;
            self.write_and_read()?;
            load.wait_for_progress()?;
            self.tell(&format!("broker {id} is {program:?}"));
        }
        let records = load.finish(&self.cluster.log_directories())?;
        let (partitions, bytes) = wait_until_equal(&mut self.cluster, &[TABLE])?;
        self.tell(&format!(
            "{records} records; {partitions} partitions of {bytes} bytes are equal"
        ));
        for id in self.cluster.ids() {
            self.cluster.broker(id).stop()?;
        }
        Ok(())
    }

    fn replace(&mut self, id: u32, program: Program) -> anyhow::Result<()> {
        let broker = self.cluster.broker(id);
        broker.stop()?;
        broker.set_program(program);
        broker.restart()?;
        self.cluster.wait_until_all_are_registered()?;
        for topic in ["load", ORDERS, TABLE] {
            for partition in 0..3 {
                self.cluster.wait_for_isr(topic, partition, &[1, 2, 3])?;
            }
        }
        Ok(())
    }

    /// One more round of transactions, of new values of every key, and of a group's progress; what
    /// former rounds wrote is still there.
    fn write_and_read(&mut self) -> anyhow::Result<()> {
        self.rounds += 1;
        self.operator
            .fill_in_transactions(ORDERS, 300, "orders-writer")?;
        let arguments = ["describe", "--transactional-id", "orders-writer"];
        let mut described = String::new();
        // The producer is told once the outcome is sure; the markers come right after.
        wait_for("the end of the transaction", DEADLINE, || {
            described = self.operator.run(TRANSACTIONS, &arguments).ok()?;
            described.contains("CompleteCommit").then_some(())
        })
        .with_context(|| described.clone())?;
        let read = self.read(ORDERS, 300 * self.rounds, &[])?;
        anyhow::ensure!(
            read.lines().count() == 300 * self.rounds,
            "{} orders after {} rounds",
            read.lines().count(),
            self.rounds
        );

        let round = self.rounds;
        let values: String = (0..KEYS)
            .map(|key| format!("key-{key}:round-{round}\n"))
            .collect();
        let keyed = [
            "--property",
            "parse.key=true",
            "--property",
            "key.separator=:",
        ];
        let arguments = [&["--topic", TABLE][..], &keyed].concat();
        self.operator
            .run_with_input(PRODUCER, &values, &arguments)?;
        let mut table = BTreeMap::new();
        wait_for("the table's last values", DEADLINE, || {
            table.clear();
            let shown = ["--property", "print.key=true"];
            let read = self.read(TABLE, KEYS, &shown).ok()?;
            for line in read.lines() {
                let (key, value) = line.split_once('\t')?;
                table.insert(key.to_owned(), value.to_owned());
            }
            let last = format!("round-{round}");
            (table.len() == KEYS && table.values().all(|value| *value == last)).then_some(())
        })
        .with_context(|| format!("{table:?}"))?;

        let group = ["--group", "orders-reader"];
        let consumed = self.operator.run(
            CONSUMER,
            &[
                &[
                    "--topic",
                    ORDERS,
                    "--timeout-ms",
                    "180000",
                    "--max-messages",
                    "300",
                ][..],
                &["--isolation-level", "read_committed"],
                &["--consumer-property", "auto.offset.reset=earliest"],
                &group,
            ]
            .concat(),
        )?;
        anyhow::ensure!(consumed.lines().count() == 300, "a round of the group");
        let described = self
            .operator
            .run(GROUPS, &[&["--describe"][..], &group].concat())?;
        anyhow::ensure!(described.contains(ORDERS), "{described}");
        Ok(())
    }

    /// What is committed in a topic, from its beginning until nothing more comes.
    fn read(&mut self, topic: &str, at_least: usize, more: &[&str]) -> anyhow::Result<String> {
        // How long it waits for more: a busy machine may need longer for the first.
        let mut timeout_ms = 3000;
        let arguments = ["--topic", topic, "--from-beginning"];
        let isolation = ["--isolation-level", "read_committed"];
        let mut read = String::new();
        wait_for("records", DEADLINE, || {
            // It fails when nothing comes any more, and has printed all the same.
            let timeout = ["--timeout-ms", &timeout_ms.to_string()];
            timeout_ms = (timeout_ms * 2).min(60_000);
            read = self
                .operator
                .run_to_any_end(
                    CONSUMER,
                    &[&arguments[..], &timeout, &isolation, more].concat(),
                )
                .ok()?;
            (read.lines().count() >= at_least).then_some(())
        })
        .with_context(|| format!("{} of {at_least}", read.lines().count()))?;
        Ok(read)
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.started.elapsed().as_secs_f64());
    }
}
