//! A full disk on one of three replicas: the other two go on and lose nothing, and with room it
//! finds back. Needs to be root, for small file systems.

use std::process::Command;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataRequest, TopicName};
use ottla_integration::broker::Program;
use ottla_integration::small_disk::SmallDisk;
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Load, Zookeeper, command};
use ottla_model::ErrorCode;

const DEADLINE: Duration = Duration::from_secs(180);
const ALL: [u32; 3] = [1, 2, 3];
const PARTITIONS: u32 = 6;
/// It has a second directory.
const TWO_DIRECTORIES: u32 = 2;
/// It has only one.
const ONE_DIRECTORY: u32 = 3;

fn connect(cluster: &Cluster, id: u32) -> Direct {
    Direct::connect(&cluster.address(id)).expect("a connection")
}

fn progress(load: &Load, cluster: &Cluster) {
    load.wait_for_progress()
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
}

fn isr(cluster: &Cluster, partition: u32, isr: &[u32]) {
    cluster
        .wait_for_isr("load", partition, isr)
        .unwrap_or_else(|error| panic!("{error:#}"));
}

/// The brokers whose replica of a partition is offline, as clients are told.
fn offline_replicas(cluster: &Cluster, partition: u32) -> Vec<i32> {
    let topic =
        MetadataRequestTopic::default().with_name(Some(TopicName("load".to_owned().into())));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let response = connect(cluster, 1).send(&request, 12).expect("an answer");
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let found = partitions
        .filter(|found| found.partition_index == partition.cast_signed())
        .flat_map(|found| &found.offline_replicas);
    found.map(|id| id.0).collect()
}

/// The error of each log directory of a broker, by its path.
fn log_directories(cluster: &Cluster, id: u32) -> Vec<(String, ErrorCode)> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = connect(cluster, id).send(&request, 4).expect("an answer");
    let results = response.results.iter();
    results
        .map(|dir| {
            (
                dir.log_dir.to_string(),
                ErrorCode::from_code(dir.error_code),
            )
        })
        .collect()
}

fn partitions_in(directory: &std::path::Path) -> Vec<u32> {
    (0..PARTITIONS)
        .filter(|partition| directory.join(format!("load-{partition}")).is_dir())
        .collect()
}

/// One of two directories fails: its partitions are led by others, the other directory goes on.
fn one_of_two(cluster: &mut Cluster, load: &Load, small: &SmallDisk) {
    let logs = small.path().join("logs");
    let affected = partitions_in(&logs);
    let led: Vec<u32> = affected
        .iter()
        .copied()
        .filter(|p| cluster.leader("load", *p).expect("a leader") == TWO_DIRECTORIES)
        .collect();
    assert!(
        !affected.is_empty() && affected.len() < PARTITIONS as usize,
        "{affected:?}"
    );
    small.fill().expect("a full disk");
    let others: Vec<u32> = ALL
        .into_iter()
        .filter(|id| *id != TWO_DIRECTORIES)
        .collect();
    for partition in 0..PARTITIONS {
        let expected = if affected.contains(&partition) {
            &others[..]
        } else {
            &ALL
        };
        isr(cluster, partition, expected);
    }
    for partition in &led {
        assert_ne!(
            cluster.leader("load", *partition).expect("a leader"),
            TWO_DIRECTORIES
        );
    }
    progress(load, cluster);
    for partition in 0..PARTITIONS {
        let expected = if affected.contains(&partition) {
            vec![TWO_DIRECTORIES.cast_signed()]
        } else {
            Vec::new()
        };
        wait_for("the offline replicas", DEADLINE, || {
            (offline_replicas(cluster, partition) == expected).then_some(())
        })
        .unwrap_or_else(|error| panic!("{partition}: {error}\n{}", cluster.logs()));
    }
    let failed: Vec<String> = log_directories(cluster, TWO_DIRECTORIES)
        .into_iter()
        .filter(|(_, error)| *error == ErrorCode::KafkaStorageError)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(failed, [logs.display().to_string()]);
    wait_for("the controller to take the notice", DEADLINE, || {
        let left = cluster
            .znodes()
            .children("/log_dir_event_notification")
            .ok()?;
        left.is_empty().then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    let broker = cluster.broker(TWO_DIRECTORIES);
    assert!(broker.process().expect("a process").is_running());

    small.make_room().expect("room");
    // A directory that has failed stays offline until a restart.
    broker.stop().expect("a stop");
    broker.restart().expect("a restart");
    for partition in 0..PARTITIONS {
        isr(cluster, partition, &ALL);
        wait_for("no offline replicas", DEADLINE, || {
            offline_replicas(cluster, partition)
                .is_empty()
                .then_some(())
        })
        .unwrap_or_else(|error| panic!("{partition}: {error}\n{}", cluster.logs()));
    }
    progress(load, cluster);
    eprintln!("one of two directories: {affected:?} were offline, it led {led:?} of them");
}

/// The only directory fails: the broker ends, and comes back when it is started with room.
fn the_only_one(cluster: &mut Cluster, load: &Load, small: &SmallDisk) {
    small.fill().expect("a full disk");
    let process = cluster.broker(ONE_DIRECTORY).process().expect("a process");
    let status = process.wait(DEADLINE);
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    assert_eq!(status.code(), Some(1), "{}", cluster.logs());
    let others: Vec<u32> = ALL.into_iter().filter(|id| *id != ONE_DIRECTORY).collect();
    for partition in 0..PARTITIONS {
        isr(cluster, partition, &others);
    }
    progress(load, cluster);
    small.make_room().expect("room");
    let broker = cluster.broker(ONE_DIRECTORY);
    broker.kill().expect("an end");
    broker.restart().expect("a restart");
    for partition in 0..PARTITIONS {
        isr(cluster, partition, &ALL);
    }
    progress(load, cluster);
}

#[test]
fn a_full_disk_on_one_replica_stops_nobody_else_and_loses_nothing() {
    let id = command::run(Command::new("id").arg("-u"), b"", DEADLINE).expect("id");
    if id != b"0\n" {
        eprintln!("SKIPPED: only root can mount a small file system");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let mount = |name: &str| SmallDisk::mount(place.path().join(name), 64).expect("a small disk");
    let (first, second) = (mount("first"), mount("second"));
    let wide = place.path().join("wide");
    let directories = |id| match id {
        TWO_DIRECTORIES => Some(format!(
            "{}/logs,{}",
            first.path().display(),
            wide.display()
        )),
        ONE_DIRECTORY => Some(format!("{}/logs", second.path().display())),
        _ => None,
    };
    let mut cluster = Cluster::start_with(
        Zookeeper::start().expect("an ensemble"),
        &[Program::Ottla; 3],
        &[
            ("default.replication.factor", "3"),
            ("num.partitions", &PARTITIONS.to_string()),
            ("min.insync.replicas", "2"),
            ("log.index.size.max.bytes", "65536"),
            ("replica.lag.time.max.ms", "5000"),
            // A broker that has ended is missed when its session has expired.
            ("zookeeper.session.timeout.ms", "6000"),
            ("auto.leader.rebalance.enable", "false"),
        ],
        |id, broker| {
            if let Some(directories) = directories(id) {
                broker.set_property("log.dirs", &directories);
            }
            Ok(())
        },
    )
    .expect("a cluster");
    let load = Load::start(&cluster.bootstrap(), "load").expect("a load");
    progress(&load, &cluster);
    for partition in 0..PARTITIONS {
        isr(&cluster, partition, &ALL);
    }
    one_of_two(&mut cluster, &load, &first);
    the_only_one(&mut cluster, &load, &second);
    let records = load
        .finish(&cluster.log_directories())
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    eprintln!("{records} records");
    for id in ALL {
        cluster.broker(id).stop().expect("a clean stop");
    }
}
