//! Quotas of clients as clients meet them: stock tools that are slowed down to their rate, and
//! single requests whose answers and pauses are looked at.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreateTopicsRequest, CreateTopicsResponse,
    IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use ottla_integration::wait::wait_for;
use ottla_integration::{Broker, Direct, ToolServer};
use regex::Regex;

const DEADLINE: Duration = Duration::from_secs(180);
/// Short windows: what is allowed at once is one second's worth.
const WINDOWS: &[(&str, &str)] = &[
    ("quota.window.num", "2"),
    ("controller.quota.window.num", "2"),
];
const RATE: f64 = 100_000.0;
/// The client id of direct requests.
const DIRECT: (&str, Option<&str>) = ("client-id", Some("direct"));

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sets a quota, or takes it back.
fn alter(direct: &Direct, entity: (&str, Option<&str>), key: &str, value: Option<f64>) {
    let entity = EntityData::default()
        .with_entity_type(text(entity.0))
        .with_entity_name(entity.1.map(text));
    let operation = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default()
        .with_entity(vec![entity])
        .with_ops(vec![operation]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let response = direct.send(&request, 1).expect("an answer");
    assert_eq!(response.entries[0].error_code, 0, "{response:?}");
}

fn create(direct: &Direct, version: i16, name: &str, partitions: i32) -> CreateTopicsResponse {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    direct.send(&request, version).expect("an answer")
}

/// Waits until a request on this connection is answered.
fn next_answer(direct: &Direct) {
    let request = MetadataRequest::default();
    direct.send(&request, 9).expect("an answer");
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(value.try_into().expect("a time"))
}

/// Megabytes per second by what a tool printed.
fn measured(pattern: &str, printed: &str) -> f64 {
    let pattern = Regex::new(pattern).expect("a pattern");
    let found = pattern.captures_iter(printed).last();
    let found = found.unwrap_or_else(|| panic!("no figure in {printed}"));
    found[1].parse().expect("a number")
}

#[test]
fn stock_clients_are_slowed_down_to_their_rate_and_freed_at_once() {
    const PRODUCER: &str = "org.apache.kafka.tools.ProducerPerformance";
    const CONSUMER: &str = "org.apache.kafka.tools.ConsumerPerformance";
    // 1.8 MB at 0.2 MB per second. What may go at once makes it shorter, and where windows end it is
    // longer, as in Kafka.
    const RECORDS: &str = "1800";
    let expected = 9.0 * 0.75..9.0 * 1.25;
    // Nobody is faster than that, ever; who is slower may have met a busy machine.
    let show = |what: &str, run: &mut dyn FnMut() -> f64| {
        wait_for(what, DEADLINE, || {
            let seconds = run();
            assert!(seconds >= expected.start, "{what}: {seconds} s");
            expected.contains(&seconds).then_some(())
        })
        .expect("not too slow either");
    };
    let broker = Broker::start(WINDOWS).expect("a broker");
    let address = broker.address();
    let mut tools = ToolServer::start("kafka-3.9").expect("a JVM");
    let configure = |tools: &mut ToolServer, change: [&str; 2]| {
        let mut arguments = vec!["--bootstrap-server", &address, "--alter"];
        arguments.extend(["--entity-type", "clients", "--entity-name", "slow"]);
        arguments.extend(change);
        let output = tools.run("kafka.admin.ConfigCommand", &arguments);
        output.and_then(|o| o.success()).expect("kafka-configs");
    };
    let bootstrap = format!("bootstrap.servers={address}");
    let produce = |tools: &mut ToolServer| {
        let mut arguments = vec!["--topic", "t", "--num-records", RECORDS, "--record-size"];
        arguments.extend(["1000", "--throughput", "-1", "--print-metrics"]);
        arguments.extend(["--producer-props", &bootstrap, "client.id=slow"]);
        let output = tools.run(PRODUCER, &arguments);
        output.and_then(|o| o.success()).expect("a producer")
    };
    produce(&mut tools);
    let both = "producer_byte_rate=200000,consumer_byte_rate=200000";
    configure(&mut tools, ["--add-config", both]);

    show("a producer", &mut || {
        let printed = produce(&mut tools);
        let throttled = measured(
            r"produce-throttle-time-max:\{client-id=slow\}\s*: ([\d.]+)",
            &printed,
        );
        assert!(throttled > 0.0, "{printed}");
        1800.0 / measured(r"([\d.]+) records/sec", &printed)
    });

    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("consumer.properties");
    std::fs::write(&config, "client.id=slow\n").expect("a file");
    let config = config.to_str().expect("text");
    let consume = |tools: &mut ToolServer| {
        let mut arguments = vec!["--bootstrap-server", &address, "--topic", "t"];
        arguments.extend(["--messages", RECORDS, "--consumer.config", config]);
        // One batch of the producer for each fetch: what is cut off of the next one counts too.
        arguments.extend(["--fetch-size", "16300"]);
        arguments.extend(["--hide-header", "--timeout", "180000"]);
        let output = tools.run(CONSUMER, &arguments);
        let printed = output.and_then(|o| o.success()).expect("a consumer");
        let line = printed.lines().last().expect("figures").to_owned();
        // The eighth field is the time that fetching took, in milliseconds.
        let fetching = line
            .split(", ")
            .nth(7)
            .and_then(|ms| ms.parse::<f64>().ok());
        fetching.unwrap_or_else(|| panic!("no figure in {printed}")) / 1000.0
    };
    show("a consumer", &mut || consume(&mut tools));

    let both = "producer_byte_rate,consumer_byte_rate";
    configure(&mut tools, ["--delete-config", both]);
    wait_for("a free producer", DEADLINE, || {
        let rate = measured(r"([\d.]+) records/sec", &produce(&mut tools));
        (rate > 400.0).then_some(())
    })
    .expect("a free producer");
    wait_for("a free consumer", DEADLINE, || {
        (consume(&mut tools) < 3.0).then_some(())
    })
    .expect("a free consumer");
}

#[test]
fn a_throttled_producer_is_answered_at_once_and_then_not_read() {
    let broker = Broker::start(WINDOWS).expect("a broker");
    let direct = Direct::connect(&broker.address()).expect("a connection");
    direct.create_topic("t", &[&[0]]).expect("a topic");
    alter(&direct, DIRECT, "producer_byte_rate", Some(RATE));
    let value = "x".repeat(300_000);
    // Three seconds' worth in one: two too many. The quota may not have arrived yet; then the next
    // one has to account for this one too.
    let two = Duration::from_secs(2);
    wait_for("an answer at once, and a pause", DEADLINE, || {
        let asked = Instant::now();
        let pending = direct.begin_produce("t", &value, 1).expect("a request");
        let response = direct.wait(pending).expect("an answer");
        let answered_in = asked.elapsed();
        let throttle = millis(response.throttle_time_ms);
        next_answer(&direct);
        let all = asked.elapsed();
        assert!(all + two / 20 > throttle, "{all:?} of {throttle:?}");
        let is_so = throttle >= two && throttle < two + two / 20 && answered_in < throttle;
        if !is_so {
            eprintln!("answered in {answered_in:?}, not read for {throttle:?}, {all:?} in all");
            // Until all windows are empty.
            sleep(Duration::from_secs(4));
        }
        is_so.then_some(())
    })
    .expect("a throttle");
    // Others of the same name are measured together, but their connections are read.
    let other = Direct::connect(&broker.address()).expect("a connection");
    alter(
        &other,
        ("user", Some("ANONYMOUS")),
        "producer_byte_rate",
        Some(1e9),
    );
    wait_for("the user's quota comes first", DEADLINE, || {
        let pending = other.begin_produce("t", "x", 1).expect("a request");
        let response = other.wait(pending).expect("an answer");
        (response.throttle_time_ms == 0).then_some(())
    })
    .expect("no throttle");
}

#[test]
fn a_throttled_consumer_is_given_nothing() {
    let broker = Broker::start(WINDOWS).expect("a broker");
    let direct = Direct::connect(&broker.address()).expect("a connection");
    direct.create_topic("t", &[&[0]]).expect("a topic");
    let value = "x".repeat(60_000);
    for _ in 0..2 {
        assert_eq!(direct.produce("t", &value, 1).expect("an answer"), 0);
    }
    alter(&direct, DIRECT, "consumer_byte_rate", Some(RATE));
    let started = Instant::now();
    let (mut bytes, mut throttles) = (0, 0);
    while throttles < 3 {
        assert!(
            started.elapsed() < DEADLINE,
            "{throttles} throttled answers"
        );
        let answer = direct.fetch("t", 0, -1).expect("an answer");
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let sizes = partitions.map(|p| p.records.as_ref().map_or(0, |records| records.len()));
        let size: usize = sizes.sum();
        if answer.throttle_time_ms > 0 {
            throttles += 1;
            assert_eq!(answer.topics.len(), 0, "{answer:?}");
        } else {
            assert!(size > 60_000, "{answer:?}");
            bytes += size;
        }
    }
    assert!(bytes > 0);
}

#[test]
fn changes_of_topics_are_refused_or_slowed_down() {
    const THROTTLING_QUOTA_EXCEEDED: i16 = 89;
    let broker = Broker::start(WINDOWS).expect("a broker");
    let direct = Direct::connect(&broker.address()).expect("a connection");
    alter(&direct, DIRECT, "controller_mutation_rate", Some(1.0));
    // Two may come at once; a request that finds one left may take more.
    let mut names = (0..).map(|number| format!("t{number}"));
    let mut next = |version, partitions| {
        let name = names.next().expect("a name");
        let answer = create(&direct, version, &name, partitions);
        (answer.topics[0].error_code, answer.throttle_time_ms)
    };
    let refused = wait_for("the quota holds", DEADLINE, || {
        let (code, throttle) = next(7, 3);
        (code != 0).then_some((code, throttle))
    })
    .expect("a refusal");
    assert_eq!(refused.0, THROTTLING_QUOTA_EXCEEDED);
    assert!((1..=1000).contains(&refused.1), "{refused:?}");
    // It is answered when the throttle is over, and nothing is owed any more.
    assert_eq!(next(7, 1), (0, 0));
    // Those who do not know the error are only made to wait.
    let (code, throttle) = next(5, 3);
    assert_eq!(code, 0);
    // One or two were left to it.
    assert!((1_000..=4_000).contains(&throttle), "{throttle}");
    let other = Direct::connect(&broker.address()).expect("a connection");
    alter(&other, DIRECT, "controller_mutation_rate", None);
    wait_for("the quota is gone", DEADLINE, || {
        let name = names.next().expect("a name");
        let answer = create(&other, 7, &name, 5);
        (answer.topics[0].error_code == 0).then_some(())
    })
    .expect("a topic");
}

#[test]
fn who_takes_too_much_of_the_brokers_time_waits() {
    let broker = Broker::start(WINDOWS).expect("a broker");
    let direct = Direct::connect(&broker.address()).expect("a connection");
    alter(&direct, ("user", None), "request_percentage", Some(0.001));
    let (asked, throttle) = wait_for("the quota holds", DEADLINE, || {
        let asked = Instant::now();
        let answer = direct
            .send(&MetadataRequest::default(), 9)
            .expect("an answer");
        (answer.throttle_time_ms > 0).then_some((asked, answer.throttle_time_ms))
    })
    .expect("a throttle");
    assert!(throttle <= 1000, "{throttle}");
    next_answer(&direct);
    let all = asked.elapsed();
    assert!(
        all + Duration::from_millis(200) > millis(throttle),
        "{all:?}"
    );
}

/// How many of these connections the broker closes within two seconds.
fn closed(connections: &mut [TcpStream]) -> usize {
    let end = Instant::now() + Duration::from_secs(2);
    let is_closed = |connection: &mut TcpStream| {
        let left = end.saturating_duration_since(Instant::now());
        let least = Duration::from_millis(1);
        let timeout = Some(left.max(least));
        connection.set_read_timeout(timeout).expect("a timeout");
        match connection.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    };
    connections
        .iter_mut()
        .filter_map(|c| is_closed(c).then_some(()))
        .count()
}

#[test]
fn connections_that_come_too_fast_are_closed_or_wait() {
    let broker = Broker::start(WINDOWS).expect("a broker");
    let address = broker.address();
    let direct = Direct::connect(&address).expect("a connection");
    let open = |count| -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect(&address).expect("a connection");
        (0..count).map(connect).collect()
    };
    let ip = ("ip", Some("127.0.0.1"));
    alter(&direct, ip, "connection_creation_rate", Some(5.0));
    let left = wait_for("an address is limited", DEADLINE, || {
        let mut connections = open(30);
        let closed = closed(&mut connections);
        (closed > 0).then(|| connections.len() - closed)
    })
    .expect("closed connections");
    assert!(left >= 5, "{left} were served");
    alter(&direct, ip, "connection_creation_rate", None);
    wait_for("an address is free", DEADLINE, || {
        (closed(&mut open(30)) == 0).then_some(())
    })
    .expect("open connections");

    let config = AlterableConfig::default()
        .with_name(text("max.connection.creation.rate"))
        .with_value(Some(text("10")));
    let all_brokers = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![all_brokers]);
    let response = direct.send(&request, 1).expect("an answer");
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    // Thirty at ten per second, of which ten may come at once.
    wait_for("the broker is limited", DEADLINE, || {
        let started = Instant::now();
        let _before_it = open(30);
        let last = Direct::connect(&address).expect("a connection");
        next_answer(&last);
        (started.elapsed() > Duration::from_millis(1500)).then_some(())
    })
    .expect("connections that wait");
}
