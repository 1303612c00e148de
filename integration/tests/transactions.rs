//! Exactly once: what a Java producer commits is read once, whatever happens to the broker.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Output, ToolServer};

const JARS: &str = "kafka-3.9";
const PRODUCER_PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const TOPIC: &str = "numbers";
const RECORDS: usize = 20_000;
const ROUNDS: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(180);

/// Transactions of 50 ms go on while the broker is killed and started again.
#[test]
fn what_is_committed_is_read_once_over_crashes() {
    let mut broker = Broker::start(&[]).expect("a broker");
    let address = broker.address();
    let bootstrap = format!("bootstrap.servers={address}");
    let producer = std::thread::spawn(move || {
        let records = RECORDS.to_string();
        let mut tools = ToolServer::start(JARS)?;
        let arguments = [
            "--topic",
            TOPIC,
            "--num-records",
            &records,
            "--payload-monotonic",
            "--throughput",
            "4000",
            "--transactional-id",
            "numbers-producer",
            "--transaction-duration-ms",
            "50",
            "--producer-props",
            &bootstrap,
            "max.block.ms=240000",
            "delivery.timeout.ms=240000",
            "transaction.timeout.ms=600000",
        ];
        tools.run(PRODUCER_PERFORMANCE, &arguments)?.success()
    });
    let log = broker.log_directory().join(format!("{TOPIC}-0"));
    for round in 1..=ROUNDS {
        let before = size_of(&log);
        wait_for("more records", DEADLINE, || {
            // Who is held up here finds that all was written meanwhile.
            (size_of(&log) > before + 20_000 || producer.is_finished()).then_some(())
        })
        .unwrap_or_else(|error| panic!("round {round}: {error:#}\n{}", broker.log()));
        broker.kill().expect("a killed broker");
        broker.restart().expect("a broker again");
    }
    producer
        .join()
        .expect("no panic")
        .expect("all transactions are committed");

    let mut tools = ToolServer::start(JARS).expect("a tool server");
    // It ends when nothing more has come for so long; a busy machine may need longer for the first.
    let mut timeout_ms = 5000;
    let read = wait_for("all records", DEADLINE, || {
        let timeout = timeout_ms.to_string();
        timeout_ms = (timeout_ms * 2).min(60_000);
        let read = tools.run(
            CONSUMER,
            &[
                "--bootstrap-server",
                &address,
                "--topic",
                TOPIC,
                "--from-beginning",
                "--isolation-level",
                "read_committed",
                "--timeout-ms",
                &timeout,
            ],
        );
        let read = read.expect("an output");
        (read.out.lines().count() >= RECORDS).then_some(read)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", broker.log()));
    let numbers: Vec<&str> = read.out.lines().collect();
    let distinct: BTreeSet<usize> = numbers
        .iter()
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert_eq!(numbers.len(), RECORDS, "each record once");
    assert_eq!(distinct, (0..RECORDS).collect());

    let mut described = String::new();
    // The producer is told once the outcome is sure; the markers come right after.
    wait_for("the end of the last transaction", DEADLINE, || {
        let describe = tools.run(
            TRANSACTIONS,
            &[
                "--bootstrap-server",
                &address,
                "describe",
                "--transactional-id",
                "numbers-producer",
            ],
        );
        described = describe.and_then(Output::success).expect("a description");
        described.contains("CompleteCommit").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{described}"));
}

fn size_of(log: &Path) -> u64 {
    let segment = log.join("00000000000000000000.log");
    segment.metadata().map_or(0, |file| file.len())
}
