//! Kafka's own operator tools, releases 3.9.1 and 2.3.1, print against three brokers on a real
//! ZooKeeper what they print against three brokers of Apache Kafka 3.9.1.
//!
//! To record anew: `OTTLA_RECORD=1 cargo test -p ottla-integration --test cluster_tools`; the
//! brokers are then those of Apache Kafka.

mod old;
mod operate;
mod reassign;
mod session;
mod topics;

use session::Session;

const TRANSCRIPT: &str = "cluster-tools.txt";

/// What keeps chance out of the transcript, and what it shows.
const PROPERTIES: [(&str, &str); 7] = [
    ("auto.leader.rebalance.enable", "false"),
    ("auto.create.topics.enable", "false"),
    ("log.segment.delete.delay.ms", "1000"),
    (
        "replica.selector.class",
        "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    ),
    // The only replica in sync keeps its broker from going in order.
    ("controlled.shutdown.retry.backoff.ms", "200"),
    ("num.replica.fetchers", "1"),
    // A throttled move takes many fetches.
    ("replica.fetch.max.bytes", "100000"),
];

#[test]
fn tools_print_against_three_brokers_what_they_print_against_kafka() {
    let mut session = Session::start(&PROPERTIES).expect("a cluster");
    let chapters: [fn(&mut Session) -> anyhow::Result<()>; 9] = [
        topics::topics,
        topics::configs,
        operate::records,
        operate::rack_aware_fetches,
        reassign::reassignments,
        reassign::throttled,
        operate::stopped_brokers,
        operate::znodes,
        old::zookeeper_forms,
    ];
    // All chapters run: what the later ones print tells more about a failure.
    let mut failures = Vec::new();
    for chapter in chapters {
        if let Err(error) = chapter(&mut session) {
            eprintln!("{error:#}");
            failures.push(format!("{error:#}"));
        }
    }
    let saved = session.save(TRANSCRIPT).expect("a file");
    assert!(
        failures.is_empty(),
        "{}\n{}\n{failures:#?}",
        session.cluster.logs(),
        saved.display()
    );
    session
        .finish(TRANSCRIPT)
        .unwrap_or_else(|error| panic!("{error:#}"));
}
