//! Brokers that were stopped for longer than their session lasts and go on as if nothing had
//! happened: what they decide is void, and they find back by themselves.

use std::time::Duration;

use kafka_protocol::messages::alter_partition_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    AlterPartitionRequest, BrokerId, ElectLeadersRequest, LeaderAndIsrRequest, MetadataRequest,
    StopReplicaRequest, TopicName, UpdateMetadataRequest,
};
use ottla_integration::direct::{creation, produce_error};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Load, replicas};
use ottla_model::ErrorCode;

const DEADLINE: Duration = Duration::from_secs(180);
const ALL: [u32; 3] = [1, 2, 3];

fn start() -> (Cluster, Load) {
    let cluster = Cluster::start(
        3,
        &[
            ("default.replication.factor", "3"),
            ("num.partitions", "3"),
            ("min.insync.replicas", "2"),
            ("replica.lag.time.max.ms", "10000"),
            ("auto.leader.rebalance.enable", "false"),
        ],
    )
    .expect("a cluster");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    progress(&load, &cluster);
    (cluster, load)
}

fn progress(load: &Load, cluster: &Cluster) {
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
}

/// Ends the load, checks it, compares what is on the brokers' disks and stops them.
fn finish(mut cluster: Cluster, load: Load, topics: &[(&str, u32)]) {
    let records = load
        .finish(&cluster.log_directories())
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    eprintln!("{records} records");
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            cluster
                .wait_for_isr(topic, partition, &ALL)
                .expect("all in sync in the end");
        }
    }
    replicas::wait_until_equal(&mut cluster, &["__consumer_offsets"]).expect("equal replicas");
    for id in ALL {
        cluster.broker(id).stop().expect("a clean stop");
    }
}

fn broker_epoch(cluster: &Cluster, id: u32) -> i64 {
    let path = format!("/brokers/ids/{id}");
    let stat = cluster.znodes().stat(&path).expect("a read");
    stat.expect("a registration").czxid
}

fn connect(cluster: &Cluster, id: u32) -> Direct {
    Direct::connect(&cluster.address(id)).expect("a connection")
}

fn broker_id(id: u32) -> BrokerId {
    BrokerId(id.cast_signed())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(name.to_owned().into())
}

/// How the controller answers when `leader` wants partition 0 of `probe` for itself.
fn alone(
    cluster: &Cluster,
    controller: u32,
    leader: u32,
    broker_epoch: i64,
    leader_epoch: i32,
) -> (ErrorCode, Option<ErrorCode>) {
    let partition = PartitionData::default()
        .with_partition_index(0)
        .with_leader_epoch(leader_epoch)
        .with_new_isr(vec![broker_id(leader)])
        .with_partition_epoch(0);
    let topic = TopicData::default()
        .with_topic_name(topic_name("probe"))
        .with_partitions(vec![partition]);
    let request = AlterPartitionRequest::default()
        .with_broker_id(broker_id(leader))
        .with_broker_epoch(broker_epoch)
        .with_topics(vec![topic]);
    let response = connect(cluster, controller)
        .send(&request, 1)
        .expect("an answer");
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let first = partitions
        .map(|p| ErrorCode::from_code(p.error_code))
        .next();
    (ErrorCode::from_code(response.error_code), first)
}

#[test]
fn a_leader_that_slept_is_fenced_and_finds_back() {
    let (mut cluster, load) = start();
    let controller = cluster.controller().expect("a controller");
    let [zombie, other] = [1, 2].map(|step| (controller + step - 1) % 3 + 1);
    connect(&cluster, controller)
        .create_topic("probe", &[&[zombie, other, controller]])
        .expect("a topic");
    cluster.wait_for_isr("probe", 0, &ALL).expect("all in sync");
    assert_eq!(cluster.leader("probe", 0).expect("a leader"), zombie);
    let direct = connect(&cluster, zombie);
    wait_for("the leader to know that it is", DEADLINE, || {
        let code = direct.produce("probe", "before", -1).ok()?;
        (code == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let old_epoch = cluster.leader_epoch("probe", 0).expect("an epoch");
    let old_broker_epoch = broker_epoch(&cluster, zombie);

    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("STOP").expect("a stop");
    cluster.end_session(zombie).expect("the end of its session");
    let next = cluster
        .leader_other_than("probe", 0, zombie)
        .expect("another leader");
    let new_epoch = cluster.leader_epoch("probe", 0).expect("an epoch");
    assert!(new_epoch > old_epoch);
    progress(&load, &cluster);
    // What the zombie will find first when it wakes: records for it as a leader. The one that asks
    // no replica may be taken, as Kafka does, and makes the two logs differ.
    let at_next = connect(&cluster, next);
    for value in ["kept 1", "kept 2"] {
        let code = wait_for("the new leader", DEADLINE, || {
            let code = at_next.produce("probe", value, -1).ok()?;
            (code != ErrorCode::NotLeaderOrFollower.code()).then_some(code)
        });
        assert_eq!(code.expect("an answer"), 0);
    }
    let lost = direct
        .begin_produce("probe", "of the zombie alone", 1)
        .expect("a request");
    let refused = direct
        .begin_produce("probe", "never acknowledged", -1)
        .expect("a request");

    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("CONT").expect("a wake-up");
    direct.wait(lost).expect("an answer");
    let answer = direct.wait(refused).expect("an answer");
    assert_eq!(
        ErrorCode::from_code(produce_error(&answer).expect("a code")),
        ErrorCode::NotLeaderOrFollower,
        "{}",
        cluster.logs()
    );
    wait_for("a new registration", DEADLINE, || {
        (cluster
            .znodes()
            .stat(&format!("/brokers/ids/{zombie}"))
            .ok()??
            .czxid
            != old_broker_epoch)
            .then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let (leader, _) = cluster
        .partition_state("probe", 0)
        .expect("a read")
        .expect("a state");
    assert_eq!(
        leader,
        next.cast_signed(),
        "it is not leader again by itself"
    );
    cluster.wait_for_isr("probe", 0, &ALL).expect("all in sync");

    // Whoever still believes in it is told.
    let code = direct.produce("probe", "too late", -1).expect("an answer");
    assert_eq!(code, ErrorCode::NotLeaderOrFollower.code());
    let fetch = |epoch| {
        let code = direct.fetch_error("probe", 0, epoch).expect("an answer");
        ErrorCode::from_code(code)
    };
    assert_eq!(fetch(old_epoch), ErrorCode::FencedLeaderEpoch);
    let now = cluster.leader_epoch("probe", 0).expect("an epoch");
    assert_eq!(fetch(now + 1), ErrorCode::UnknownLeaderEpoch);
    // What it would have asked of the controller, with the epochs that it had and with the new one.
    let ask = |broker_epoch, epoch| alone(&cluster, controller, zombie, broker_epoch, epoch);
    assert_eq!(
        ask(old_broker_epoch, old_epoch),
        (ErrorCode::StaleBrokerEpoch, None)
    );
    assert_eq!(
        ask(broker_epoch(&cluster, zombie), old_epoch),
        (ErrorCode::None, Some(ErrorCode::FencedLeaderEpoch))
    );
    progress(&load, &cluster);
    let values = at_next.values("probe").expect("the records");
    assert_eq!(values, ["before", "kept 1", "kept 2"]);
    finish(cluster, load, &[("load", 3), ("probe", 1)]);
}

/// The controller that a broker names to clients.
fn named_controller(direct: &Direct) -> i32 {
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let response = direct.send(&request, 12).expect("an answer");
    response.controller_id.0
}

fn controller_epoch(cluster: &Cluster) -> i32 {
    let text = cluster.znodes().get("/controller_epoch").expect("a read");
    text.expect("an epoch").parse().expect("a number")
}

/// Orders that carry an epoch of a controller that is gone are refused by every broker.
fn check_old_orders_are_refused(cluster: &Cluster, zombie: u32, epoch: i32) {
    for id in ALL {
        let direct = connect(cluster, id);
        let broker_epoch = broker_epoch(cluster, id);
        let leader_and_isr = LeaderAndIsrRequest::default()
            .with_controller_id(broker_id(zombie))
            .with_controller_epoch(epoch)
            .with_broker_epoch(broker_epoch);
        let update_metadata = UpdateMetadataRequest::default()
            .with_controller_id(broker_id(zombie))
            .with_controller_epoch(epoch)
            .with_broker_epoch(broker_epoch);
        let stop_replica = StopReplicaRequest::default()
            .with_controller_id(broker_id(zombie))
            .with_controller_epoch(epoch)
            .with_broker_epoch(broker_epoch);
        let codes = [
            direct
                .send(&leader_and_isr, 7)
                .expect("an answer")
                .error_code,
            direct
                .send(&update_metadata, 8)
                .expect("an answer")
                .error_code,
            direct.send(&stop_replica, 4).expect("an answer").error_code,
        ];
        assert_eq!(
            codes.map(ErrorCode::from_code),
            [ErrorCode::StaleControllerEpoch; 3],
            "broker {id}"
        );
    }
}

#[test]
fn a_controller_that_slept_is_fenced_and_resigns() {
    let (mut cluster, load) = start();
    let zombie = cluster.controller().expect("a controller");
    let old_epoch = controller_epoch(&cluster);
    let direct = connect(&cluster, zombie);
    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("STOP").expect("a stop");
    cluster.end_session(zombie).expect("the end of its session");
    let next = cluster
        .controller_other_than(zombie)
        .expect("another controller");
    let others: Vec<u32> = ALL.into_iter().filter(|id| *id != zombie).collect();
    let at_next = connect(&cluster, next);
    wait_for("a topic of the new controller", DEADLINE, || {
        // It may have been made without an answer in time.
        let is_there = || {
            cluster
                .partition_state("meanwhile", 0)
                .ok()
                .flatten()
                .map(drop)
        };
        let created = at_next.create_topic("meanwhile", &[&others]).ok();
        created.or_else(is_there)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let state = cluster.leader("meanwhile", 0).map(|_| ());
    state.expect("a leader");
    progress(&load, &cluster);
    // What the zombie finds when it wakes.
    let order = creation("of-the-zombie", &[&ALL]).expect("an order");
    let order = direct.begin(order, 7);

    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("CONT").expect("a wake-up");
    let answer = direct.wait(order).expect("an answer");
    let code = ErrorCode::from_code(answer.topics[0].error_code);
    eprintln!("the zombie answered a creation with {code:?}");
    wait_for("all to name the new controller", DEADLINE, || {
        let named = ALL.map(|id| named_controller(&connect(&cluster, id)));
        (named == [next.cast_signed(); 3]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let late = creation("too-late", &[&ALL]).expect("an order");
    let answer = direct.send(&late, 7).expect("an answer");
    assert_eq!(answer.topics[0].error_code, ErrorCode::NotController.code());
    cluster
        .wait_until_all_are_registered()
        .expect("all are back");
    check_old_orders_are_refused(&cluster, zombie, old_epoch);
    assert_eq!(controller_epoch(&cluster), old_epoch + 1);
    assert_eq!(cluster.controller().expect("a controller"), next);
    let meanwhile = cluster
        .partition_state("meanwhile", 0)
        .expect("a read")
        .expect("a state");
    assert_eq!(meanwhile.1, others, "nobody has touched it");
    if code == ErrorCode::None {
        // Creation is not fenced by the epoch; who was told that it succeeded has the topic.
        cluster
            .wait_for_isr("of-the-zombie", 0, &ALL)
            .expect("the topic");
    }
    progress(&load, &cluster);
    finish(cluster, load, &[("load", 3)]);
}

#[test]
fn a_controller_that_was_replaced_within_its_session_writes_nothing() {
    let (mut cluster, load) = start();
    let zombie = cluster.controller().expect("a controller");
    let [preferred, other] = [1, 2].map(|step| (zombie + step - 1) % 3 + 1);
    let old_epoch = controller_epoch(&cluster);
    let direct = connect(&cluster, zombie);
    direct
        .create_topic("probe", &[&[preferred, other, zombie]])
        .expect("a topic");
    // The preferred leader comes back as a follower, so that there is something to elect.
    cluster.broker(preferred).stop().expect("a stop");
    cluster.broker(preferred).restart().expect("a restart");
    cluster.wait_for_isr("probe", 0, &ALL).expect("all in sync");
    assert_eq!(cluster.leader("probe", 0).expect("a leader"), other);

    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("STOP").expect("a stop");
    cluster.znodes().delete("/controller").expect("a deletion");
    let next = cluster
        .controller_other_than(zombie)
        .expect("another controller");
    let state_path = "/brokers/topics/probe/partitions/0/state";
    let partitions = TopicPartitions::default()
        .with_topic(topic_name("probe"))
        .with_partitions(vec![0]);
    let elect = ElectLeadersRequest::default()
        .with_topic_partitions(Some(vec![partitions]))
        .with_timeout_ms(60_000);
    let order = direct.begin(elect, 2);
    let process = cluster.broker(zombie).process().expect("a process");
    process.signal("CONT").expect("a wake-up");
    let answer = direct.wait(order).expect("an answer");
    let codes: Vec<ErrorCode> = answer
        .replica_election_results
        .iter()
        .flat_map(|topic| &topic.partition_result)
        .map(|partition| ErrorCode::from_code(partition.error_code))
        .chain([ErrorCode::from_code(answer.error_code)])
        .collect();
    eprintln!("the zombie answered an election with {codes:?}");
    assert!(
        codes.iter().any(|code| *code != ErrorCode::None),
        "{}",
        cluster.logs()
    );
    wait_for("all to name the new controller", DEADLINE, || {
        let named = ALL.map(|id| named_controller(&connect(&cluster, id)));
        (named == [next.cast_signed(); 3]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let state = cluster.znodes().get(state_path).expect("a read");
    assert_eq!(
        cluster.leader("probe", 0).expect("a leader"),
        other,
        "{state:?}"
    );
    check_old_orders_are_refused(&cluster, zombie, old_epoch);
    assert_eq!(controller_epoch(&cluster), old_epoch + 1);
    progress(&load, &cluster);
    finish(cluster, load, &[("load", 3), ("probe", 1)]);
}
