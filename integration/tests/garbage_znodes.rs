//! Znodes that hold garbage, unknown fields and versions of the future, written while a cluster
//! runs and before brokers start: topics and brokers that are not meant go on, nothing acknowledged
//! is lost, and what is made readable again works again.

use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest, ProducerId};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Load};

const DEADLINE: Duration = Duration::from_secs(180);
const ALL: [u32; 3] = [1, 2, 3];

/// Not JSON, JSON of other types, and objects without what is needed or with too much of it.
const GARBAGE: [&[u8]; 12] = [
    b"",
    b"garbage",
    b"\xff\xfe\x00",
    b"{",
    b"[[[[[[[[[[[[[[[[[[[[",
    b"null",
    b"7",
    b"[]",
    b"{}",
    br#"{"version":99}"#,
    br#"{"version":1,"partitions":7,"brokerid":"x","broker":"y","features":1,"config":[1]}"#,
    br#"{"version":1,"partitions":[{"topic":7}],"leader":"x","isr":{},"endpoints":3,"id":[]}"#,
];

/// Assignments that can be read and make no sense.
const ABSURD: [&str; 5] = [
    "\"-1\":[1,2,3]",
    "\"0\":[]",
    "\"0\":[1,1,1]",
    "\"0\":[-5,999]",
    "\"2147483647\":[3,2,1]",
];

struct Site {
    cluster: Cluster,
    load: Load,
}

impl Site {
    fn logs(&self) -> String {
        self.cluster.logs()
    }

    fn progress(&self) {
        self.load
            .wait_for_progress()
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
    }

    /// Everybody still runs, and the load goes on.
    fn check(&mut self, what: &str) {
        eprintln!("{what}");
        self.cluster.check_all_run().expect(what);
        self.progress();
    }

    fn direct(&self, id: u32) -> Direct {
        Direct::connect(&self.cluster.address(id)).expect("a connection")
    }

    /// Writes a znode, or creates it.
    fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        let znodes = self.cluster.znodes();
        let data = data.as_ref();
        // The controller may delete it at the same moment.
        wait_for("a write", DEADLINE, || {
            znodes
                .set(path, data)
                .or_else(|_| znodes.create(path, data))
                .ok()
        })
        .expect(path);
    }

    fn get(&self, path: &str) -> Option<String> {
        self.cluster.znodes().get(path).expect(path)
    }

    fn delete(&self, path: &str) {
        self.cluster.znodes().delete(path).expect(path);
    }

    /// Makes some broker controller anew, which reads everything.
    fn replace_controller(&self) {
        self.delete("/controller");
        self.cluster.controller().expect("a controller");
    }

    /// A topic by the znode that an old tool would write; waits until all its replicas are in sync.
    fn check_that_topics_are_made(&self, name: &str) {
        let path = format!("/brokers/topics/{name}");
        self.put(&path, r#"{"version":1,"partitions":{"0":[1,2,3]}}"#);
        self.cluster
            .wait_for_isr(name, 0, &ALL)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Produces to partition 0 until it is acknowledged.
    fn produce(&self, topic: &str, value: &str) {
        wait_for("an acknowledgement", DEADLINE, || {
            let leader = self.cluster.leader(topic, 0).expect("a leader");
            let code = self.direct(leader).produce(topic, value, -1).ok()?;
            (code == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
    }
}

/// Topics in all formats there have been, and in one that may come.
fn formats_of_topics(site: &mut Site) {
    for (name, text) in [
        ("version-1", r#"{"version":1,"partitions":{"0":[1,2,3]}}"#),
        (
            "version-2",
            r#"{"version":2,"partitions":{"0":[2,3,1]},"adding_replicas":{},"removing_replicas":{}}"#,
        ),
        (
            "version-3",
            r#"{"partitions":{"0":[3,1,2]},"topic_id":"3xIKwx30R6O09LdM88asTw","adding_replicas":{},"removing_replicas":{},"version":3}"#,
        ),
        (
            "version-99",
            r#"{"version":99,"unknown":[{"a":null}],"partitions":{"0":[1,3,2]},"colour":"blue"}"#,
        ),
    ] {
        let path = format!("/brokers/topics/{name}");
        site.cluster.znodes().create(&path, text).expect(name);
        site.cluster
            .wait_for_isr(name, 0, &ALL)
            .unwrap_or_else(|error| panic!("{error:#}"));
        site.produce(name, "a record");
        let now = site.get(&path).expect("a topic");
        assert!(now.contains("\"topic_id\":\""), "{now}");
    }
    site.check("topics of every format");
}

fn garbage_topics(site: &mut Site) {
    for (number, garbage) in GARBAGE.iter().enumerate() {
        site.put(&format!("/brokers/topics/garbage-{number}"), garbage);
    }
    for (number, partitions) in ABSURD.iter().enumerate() {
        let text = format!("{{\"version\":1,\"partitions\":{{{partitions}}}}}");
        site.put(&format!("/brokers/topics/absurd-{number}"), text);
    }
    site.check_that_topics_are_made("beside-garbage");
    site.replace_controller();
    site.check_that_topics_are_made("after-garbage");
    site.check("garbage topics");
    for number in 0..GARBAGE.len() {
        site.check_that_topics_are_made(&format!("garbage-{number}"));
    }
    site.check("garbage topics that were made readable");
}

fn garbage_states(site: &mut Site) {
    site.produce("version-1", "before");
    let path = "/brokers/topics/version-1/partitions/0/state";
    let before = site.get(path).expect("a state");
    for garbage in GARBAGE.iter().step_by(3) {
        site.put(path, garbage);
        site.replace_controller();
        site.progress();
    }
    site.check_that_topics_are_made("beside-a-garbage-state");
    site.put(path, &before);
    site.replace_controller();
    site.produce("version-1", "after");
    let leader = site.cluster.leader("version-1", 0).expect("a leader");
    let values = site.direct(leader).values("version-1").expect("records");
    assert_eq!(values, ["a record", "before", "after"]);
    site.check("garbage states");
}

fn registrations(site: &mut Site) {
    let path = "/brokers/ids/2";
    let before = site.get(path).expect("a registration");
    let future = before.replace("\"version\":5", "\"version\":99,\"unknown\":{\"a\":[1]}");
    assert_ne!(future, before);
    site.put(path, &future);
    site.check("a registration of a later version");
    for garbage in GARBAGE {
        site.put(path, garbage);
    }
    // The controller reads all of them again when any comes or goes.
    site.put("/brokers/ids/77", "garbage");
    site.put("/brokers/ids/not-a-number", "");
    site.check_that_topics_are_made("with-garbage-registrations");
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let metadata = site.direct(1).send(&request, 12).expect("metadata");
    let known: Vec<i32> = metadata.brokers.iter().map(|b| b.node_id.0).collect();
    assert_eq!(known.len(), 3, "{known:?}");
    site.delete("/brokers/ids/77");
    site.delete("/brokers/ids/not-a-number");
    site.put(path, &before);
    site.check("garbage registrations");
}

fn orders(site: &mut Site) {
    for garbage in GARBAGE.iter().step_by(2) {
        for path in [
            "/admin/reassign_partitions",
            "/admin/preferred_replica_election",
        ] {
            site.put(path, garbage);
        }
    }
    site.replace_controller();
    let path = "/admin/reassign_partitions";
    if site.get(path).is_some() {
        site.delete(path);
    }
    site.progress();
    site.put(
        path,
        r#"{"version":1,"unknown":1,"partitions":[{"topic":"version-2","partition":0,"replicas":[2,1],"colour":1}]}"#,
    );
    site.cluster
        .wait_for_isr("version-2", 0, &[1, 2])
        .unwrap_or_else(|error| panic!("{error:#}"));
    wait_for("the order to be carried out", DEADLINE, || {
        site.get(path).is_none().then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", site.logs()));
    site.check("garbage orders");
}

fn notifications(site: &mut Site) {
    let parents = [
        ("/isr_change_notification", "isr_change_"),
        ("/log_dir_event_notification", "log_dir_event_"),
        ("/config/changes", "config_change_"),
    ];
    for (parent, prefix) in parents {
        for garbage in GARBAGE {
            let path = format!("{parent}/{prefix}");
            let znodes = site.cluster.znodes();
            znodes.create_sequential(&path, garbage).expect(parent);
        }
    }
    for (parent, _) in &parents[..2] {
        wait_for("the controller to take them away", DEADLINE, || {
            let left = site.cluster.znodes().children(parent).ok()?;
            left.is_empty().then_some(())
        })
        .unwrap_or_else(|error| panic!("{parent}: {error}\n{}", site.logs()));
    }
    // Announcements behind the garbage are still heard, by all.
    site.put(
        "/config/topics/load",
        r#"{"version":1,"config":{"max.message.bytes":"1500000"},"unknown":0}"#,
    );
    let announcement = r#"{"version":2,"entity_path":"topics/load"}"#;
    let znodes = site.cluster.znodes();
    znodes
        .create_sequential("/config/changes/config_change_", announcement)
        .expect("an announcement");
    for id in ALL {
        wait_for("the configuration to be applied", DEADLINE, || {
            let log = site.cluster.broker(id).log();
            log.contains("max.message.bytes").then_some(())
        })
        .unwrap_or_else(|error| panic!("broker {id}: {error}\n{}", site.logs()));
    }
    for garbage in GARBAGE {
        site.put("/config/topics/load", garbage);
        let znodes = site.cluster.znodes();
        znodes
            .create_sequential("/config/changes/config_change_", announcement)
            .expect("an announcement");
    }
    site.check("garbage notifications and configurations");
}

fn controller_znodes(site: &mut Site) {
    for garbage in GARBAGE.iter().step_by(3) {
        site.put("/controller", garbage);
    }
    site.progress();
    site.replace_controller();
    site.check_that_topics_are_made("after-garbage-in-controller");

    let epoch = site.get("/controller_epoch").expect("an epoch");
    for garbage in ["", "garbage", "9999999999", "2147483647"] {
        site.put("/controller_epoch", garbage);
        // Nobody can be elected with it.
        if site.get("/controller").is_some() {
            site.delete("/controller");
        }
        site.progress();
        assert_eq!(site.get("/controller"), None, "{garbage}");
    }
    site.put("/controller_epoch", &epoch);
    // What makes brokers try again.
    site.put("/controller", "garbage");
    site.replace_controller();
    site.check_that_topics_are_made("after-garbage-in-controller-epoch");

    let feature = site.get("/feature").expect("features");
    for garbage in GARBAGE.iter().step_by(3) {
        site.put("/feature", garbage);
    }
    // Each that is elected gives it up again, as in Kafka.
    site.delete("/controller");
    site.progress();
    site.put("/feature", &feature);
    site.check_that_topics_are_made("after-garbage-in-feature");
    site.check("garbage in /controller, /controller_epoch and /feature");
}

/// The error code of a request for a producer id.
fn producer_id(direct: &Direct) -> i16 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    direct.send(&request, 4).expect("an answer").error_code
}

/// What a broker reads when it starts.
fn before_a_start(site: &mut Site) {
    site.cluster.broker(3).stop().expect("a stop");
    let cluster_id = site.get("/cluster/id").expect("an id");
    let block = site.get("/latest_producer_id_block").expect("a block");
    for garbage in [&b"garbage"[..], b"{}", br#"{"id":7}"#] {
        site.put("/cluster/id", garbage);
        let broker = site.cluster.broker(3);
        assert!(broker.restart().is_err(), "it must not make up another id");
        broker.kill().expect("an end");
    }
    let future = cluster_id.replace("\"version\":\"1\"", "\"version\":\"99\",\"unknown\":1");
    site.put("/cluster/id", future);
    site.put("/latest_producer_id_block", "garbage");
    site.put("/config/brokers/3", "garbage");
    site.put(
        "/config/brokers/<default>",
        r#"{"version":1,"config":{"log.retention.ms":"x"}}"#,
    );
    site.cluster.broker(3).restart().expect("a start");
    site.cluster
        .wait_for_isr("load", 0, &ALL)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let direct = site.direct(3);
    assert_ne!(producer_id(&direct), 0, "there are no ids to give");
    site.put("/latest_producer_id_block", &block);
    wait_for("a producer id", DEADLINE, || {
        (producer_id(&direct) == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", site.logs()));
    site.put("/cluster/id", &cluster_id);
    site.check("garbage before a start");
}

#[test]
fn garbage_in_znodes_harms_nobody_else() {
    let cluster = Cluster::start(
        3,
        &[
            ("default.replication.factor", "3"),
            ("num.partitions", "3"),
            ("min.insync.replicas", "2"),
            ("auto.leader.rebalance.enable", "false"),
        ],
    )
    .expect("a cluster");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    let mut site = Site { cluster, load };
    site.progress();
    for phase in [
        formats_of_topics,
        garbage_topics,
        garbage_states,
        registrations,
        orders,
        notifications,
        controller_znodes,
        before_a_start,
    ] {
        phase(&mut site);
    }
    let logs = site.logs();
    let Site { mut cluster, load } = site;
    let records = load
        .finish(&cluster.log_directories())
        .unwrap_or_else(|error| panic!("{error:#}\n{logs}"));
    eprintln!("{records} records");
    for id in ALL {
        cluster.broker(id).stop().expect("a clean stop");
        let log = cluster.broker(id).log();
        assert!(!log.contains("panicked"), "broker {id}\n{log}");
    }
}
