//! The page of metrics: what a dashboard made for the JMX exporter would show.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Cluster, command};
use regex::Regex;

const DEADLINE: Duration = Duration::from_secs(180);
/// kcat's word for a partition of its choice.
const ANY: &str = "-1";
/// The system chooses the port, and the broker says which.
const LISTENER: (&str, &str) = ("ottla.metrics.listener", "127.0.0.1:0");

fn get(broker: &Broker, path: &str) -> (String, String) {
    let pattern = Regex::new(r"metrics are at http://(\S+)/metrics").expect("a pattern");
    let mut stream = wait_for("the page", DEADLINE, || {
        let log = broker.log();
        // The last one, if it was started again.
        let address = pattern.captures_iter(&log).last()?;
        TcpStream::connect(&address[1]).ok()
    })
    .expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The page at one moment.
struct Page(String);

impl Page {
    fn of(broker: &Broker) -> Self {
        Self(get(broker, "/metrics").1)
    }

    /// The value of a series as it is written; `None` if it is not on the page.
    fn find(&self, series: &str) -> Option<f64> {
        let mut lines = self.0.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }

    fn value(&self, series: &str) -> f64 {
        self.find(series)
            .unwrap_or_else(|| panic!("no {series}:\n{}", self.0))
    }
}

fn produce(address: &str, topic: &str, partition: &str, records: usize) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", address, "-P", "-t", topic, "-p", partition]);
    kcat.args(["-X", "acks=all", "-X", "enable.idempotence=true"]);
    let lines: String = (0..records).map(|n| format!("record {n}\n")).collect();
    command::run(&mut kcat, lines.as_bytes(), DEADLINE).expect("kcat -P");
}

/// TCP ports on which a process listens.
fn listening(process: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{process}/fd")).expect("its files");
    let sockets: BTreeSet<String> = links
        .filter_map(|file| {
            fs::read_link(file.ok()?.path())
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        })
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"]
        .map(|name| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        // State and inode: 0A is LISTEN.
        .filter(|fields| fields[3] == "0A" && sockets.contains(fields[9]))
        .count()
}

#[test]
fn nothing_listens_unless_it_is_asked_for() {
    let mut broker = Broker::start(&[]).expect("a broker");
    assert_eq!(listening(broker.process().expect("it runs").id()), 1);
    let mut broker = Broker::start(&[LISTENER]).expect("a broker");
    let process = broker.process().expect("it runs").id();
    wait_for("two ports", DEADLINE, || {
        (listening(process) == 2).then_some(())
    })
    .expect("two ports");
    let (head, body) = get(&broker, "/other");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(body, "");
    let (head, body) = get(&broker, "/");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let kind = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert!(body.contains("\nkafka_server_replicamanager_underreplicatedpartitions 0\n"));
}

#[test]
fn what_clients_do_is_counted_under_the_exporters_names() {
    let mut broker = Broker::start(&[LISTENER]).expect("a broker");
    produce(&broker.address(), "counted", ANY, 10);
    let mut kcat = Command::new("kcat");
    let address = broker.address();
    kcat.args([
        "-b",
        &address,
        "-C",
        "-t",
        "counted",
        "-o",
        "beginning",
        "-e",
        "-q",
    ]);
    let consumed = command::run(&mut kcat, b"", DEADLINE).expect("kcat -C");
    assert_eq!(String::from_utf8_lossy(&consumed).lines().count(), 10);

    // The last fetch may be on its way when its consumer has ended.
    let request = "kafka_network_requestmetrics";
    let fetches_of = |page: &Page| {
        let by_version = page.0.lines().filter_map(|line| {
            let series = format!("{request}_requests_total{{request=\"Fetch\",version=");
            let (_, count) = line.strip_prefix(&series)?.split_once(' ')?;
            Some(count.parse::<f64>().expect("a number"))
        });
        let total = format!("{request}_totaltimems_count{{request=\"Fetch\"}}");
        let consumers = format!("{request}_totaltimems_count{{request=\"FetchConsumer\"}}");
        let counts = [page.value(&total), page.value(&consumers)];
        (by_version.sum::<f64>(), counts)
    };
    let page = wait_for("as many fetches of each kind", DEADLINE, || {
        let page = Page::of(&broker);
        let (by_version, counts) = fetches_of(&page);
        (by_version >= 1.0 && counts == [by_version; 2]).then_some(page)
    });
    let page = page.unwrap_or_else(|_| panic!("{:?}", fetches_of(&Page::of(&broker))));
    let topic = |metric: &str| {
        let all = format!("kafka_server_brokertopicmetrics_{metric}_total");
        let (of_topic, of_all) = (
            page.value(&format!("{all}{{topic=\"counted\"}}")),
            page.value(&all),
        );
        assert!(of_all >= of_topic, "{metric}: {of_all} {of_topic}");
        of_topic
    };
    assert_eq!(topic("messagesin"), 10.0);
    assert!(topic("bytesin") > 80.0);
    assert_eq!(topic("bytesout"), topic("bytesin"));
    assert!(topic("totalproducerequests") >= 1.0);
    assert!(topic("totalfetchrequests") >= 1.0);
    let failed = "kafka_server_brokertopicmetrics_failedproducerequests_total";
    assert_eq!(page.value(failed), 0.0);

    let median = format!("{request}_totaltimems{{request=\"Produce\",quantile=\"0.50\"}}");
    let slowest = format!("{request}_totaltimems{{request=\"Produce\",quantile=\"0.999\"}}");
    let (median, slowest) = (page.value(&median), page.value(&slowest));
    assert!(0.0 < median && median <= slowest && slowest < 600_000.0);
    let succeeded = format!("{request}_errors_total{{request=\"Produce\",error=\"NONE\"}}");
    assert!(page.value(&succeeded) >= 1.0);

    let end = "kafka_log_log_logendoffset{topic=\"counted\",partition=\"0\"}";
    assert_eq!(page.value(end), 10.0);
    let controller = "kafka_controller_kafkacontroller";
    assert_eq!(
        page.value(&format!("{controller}_activecontrollercount")),
        1.0
    );
    assert_eq!(page.value(&format!("{controller}_activebrokercount")), 1.0);
    assert_eq!(page.value("kafka_server_replicamanager_leadercount"), 1.0);
    assert!(page.value("process_resident_memory_bytes") > 1e6);
    broker.stop().expect("a clean stop");
}

#[test]
fn a_replica_that_is_gone_shows_and_one_that_is_back_does_not() {
    let mut cluster = Cluster::start(
        2,
        &[
            LISTENER,
            ("default.replication.factor", "2"),
            ("num.partitions", "2"),
            // Long before the session of a broker that is gone ends.
            ("replica.lag.time.max.ms", "2000"),
            ("zookeeper.session.timeout.ms", "60000"),
        ],
    )
    .expect("a cluster");
    let survivor = cluster.controller().expect("a controller");
    let other = 3 - survivor;
    // A broker must know of both to make a topic with two replicas.
    for id in cluster.ids() {
        let address = cluster.broker(id).address();
        wait_for("two brokers", DEADLINE, || {
            let mut kcat = Command::new("kcat");
            kcat.args(["-b", &address, "-L"]);
            let listed = command::run(&mut kcat, b"", DEADLINE).ok()?;
            let listed = String::from_utf8_lossy(&listed).into_owned();
            listed.contains(" 2 brokers:").then_some(())
        })
        .expect("two brokers");
    }
    // One of the two partitions is led by each.
    produce(&cluster.bootstrap(), "spread", ANY, 10);
    for partition in 0..2 {
        cluster
            .wait_for_isr("spread", partition, &[1, 2])
            .expect("both in sync");
    }
    let follower = Page::of(cluster.broker(other));
    assert_eq!(
        follower.value("kafka_controller_kafkacontroller_activecontrollercount"),
        0.0
    );
    wait_for("a follower without a lag", DEADLINE, || {
        let follower = Page::of(cluster.broker(other));
        let followed = follower.0.lines().find(|line| {
            line.starts_with("kafka_server_fetcherlagmetrics_consumerlag{")
                && line.contains("topic=\"spread\"")
        });
        followed?.ends_with(" 0").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", Page::of(cluster.broker(other)).0));

    cluster.broker(other).kill().expect("a kill");
    let logs = cluster.logs();
    let wait = |cluster: &mut Cluster, what: &str, is_so: fn(&Page) -> bool| {
        wait_for(what, DEADLINE, || {
            let page = Page::of(cluster.broker(survivor));
            is_so(&page).then_some(page)
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{logs}"))
    };
    // The survivor's own partition: with acks=all, as soon as its follower is out.
    let led = (0..2).find(|partition| cluster.leader("spread", *partition).ok() == Some(survivor));
    let led = led.expect("a partition of the survivor").to_string();
    produce(&cluster.broker(survivor).address(), "spread", &led, 10);
    let page = wait(&mut cluster, "a smaller set of in-sync replicas", |page| {
        page.value("kafka_server_replicamanager_underreplicatedpartitions") == 1.0
            && page.value("kafka_server_replicamanager_isrshrinks_total") >= 1.0
    });
    // A follower that was slow for a moment has left and come back before.
    assert_eq!(
        page.value("kafka_server_replicamanager_isrexpands_total"),
        page.value("kafka_server_replicamanager_isrshrinks_total") - 1.0
    );
    let in_sync = format!(
        "kafka_cluster_partition_insyncreplicascount{{topic=\"spread\",partition=\"{led}\"}}"
    );
    assert_eq!(page.value(&in_sync), 1.0);
    // The other one, when the controller has elected it.
    cluster.end_session(other).expect("the end of its session");
    let page = wait(&mut cluster, "two under-replicated partitions", |page| {
        page.value("kafka_server_replicamanager_underreplicatedpartitions") == 2.0
            && page.value("kafka_controller_kafkacontroller_activebrokercount") == 1.0
    });
    assert_eq!(page.value("kafka_server_replicamanager_leadercount"), 2.0);
    let offline = "kafka_controller_kafkacontroller_offlinepartitionscount";
    assert_eq!(page.value(offline), 0.0);
    let elections = "kafka_controller_controllerstats_leaderelectionrateandtimems_count";
    assert!(page.value(elections) >= 1.0);
    let unclean = "kafka_controller_controllerstats_uncleanleaderelections_total";
    assert_eq!(page.value(unclean), 0.0);

    cluster.broker(other).restart().expect("a restart");
    let page = wait(&mut cluster, "all replicas in sync", |page| {
        page.value("kafka_server_replicamanager_underreplicatedpartitions") == 0.0
            && page.value("kafka_server_replicamanager_isrexpands_total") > 0.0
    });
    assert!(page.value("kafka_server_brokertopicmetrics_replicationbytesout_total") > 0.0);
    let followers = "kafka_network_requestmetrics_totaltimems_count{request=\"FetchFollower\"}";
    assert!(page.value(followers) > 0.0);
}
