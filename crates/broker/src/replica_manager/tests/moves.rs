//! Replicas that move between the directories of their broker.

use std::collections::BTreeMap;

use super::*;
use crate::replica_manager::LogDirDescription;

const CHUNK: usize = 1;

fn world() -> World {
    let directory = Arc::new(MemoryDirectory::default());
    World::with_log_dirs(directory, &["/a", "/b", "/c"], &[])
}

impl World {
    async fn move_to(&self, partition: &TopicPartition, path: &str) -> ErrorCode {
        let wanted = BTreeMap::from([(partition.clone(), path.to_owned())]);
        self.replicas.alter_replica_log_dirs(wanted).await[0].1
    }

    /// Directories that hold the partition; one that it moves to has a question mark.
    async fn places(&self, partition: &TopicPartition) -> String {
        let described = self.replicas.describe_log_dirs(None).await;
        let name = |directory: &LogDirDescription| {
            let mut logs = directory.logs.iter();
            let log = logs.find(|log| log.topic_partition == *partition)?;
            let mark = if log.is_future { "?" } else { "" };
            Some(format!("{}{mark}", directory.path))
        };
        let names: Vec<String> = described.iter().filter_map(name).collect();
        names.join(" ")
    }

    /// Takes steps until the move ends; how many.
    fn run(&self, partition: &TopicPartition) -> usize {
        for step in 1..1000 {
            match self.replicas.move_step(partition, CHUNK) {
                MoveStep::Copied(_) => {}
                MoveStep::Done(_) => return step,
                other => panic!("{other:?}"),
            }
        }
        panic!("the move does not end");
    }
}

#[tokio::test]
async fn a_move_is_answered_at_once_and_what_is_produced_meanwhile_is_there() {
    let world = world();
    world.lead(&tp(0), &[1]).await;
    for _ in 0..5 {
        world.produce(&tp(0), 1, LONG).await;
    }
    assert_eq!(world.places(&tp(0)).await, "/a");
    assert_eq!(world.move_to(&tp(0), "/b").await, ErrorCode::None);
    assert_eq!(world.move_to(&tp(0), "/b").await, ErrorCode::None);
    assert_eq!(world.places(&tp(0)).await, "/a /b?");
    world.produce(&tp(0), 1, LONG).await;
    world.run(&tp(0));
    assert_eq!(world.places(&tp(0)).await, "/b");
    let after = world.produce(&tp(0), -1, LONG).await;
    assert_eq!((after.error, after.base_offset), (ErrorCode::None, 18));
    let read = world.fetch(&tp(0), 0, &consumer(Duration::ZERO, 1)).await;
    assert_eq!((read.error, read.high_watermark), (ErrorCode::None, 21));
    assert_eq!(read.size(), 7 * batch(3).len());
    assert_eq!(
        world.replicas.move_step(&tp(0), CHUNK),
        MoveStep::Ended,
        "it is over"
    );
}

#[tokio::test]
async fn a_move_elsewhere_or_back_ends_the_one_under_way() {
    let world = world();
    world.lead(&tp(0), &[1]).await;
    world.produce(&tp(0), 1, LONG).await;
    world.move_to(&tp(0), "/b").await;
    assert_eq!(world.move_to(&tp(0), "/c").await, ErrorCode::None);
    assert_eq!(world.places(&tp(0)).await, "/a /c?");
    assert_eq!(world.move_to(&tp(0), "/a").await, ErrorCode::None);
    assert_eq!(world.places(&tp(0)).await, "/a");
    assert_eq!(world.replicas.move_step(&tp(0), CHUNK), MoveStep::Ended);
    assert_eq!(world.move_to(&tp(0), "/b").await, ErrorCode::None);
    world.run(&tp(0));
    assert_eq!(world.places(&tp(0)).await, "/b");
}

#[tokio::test]
async fn what_cannot_move_is_refused_and_a_replica_to_come_remembers_its_directory() {
    let world = world();
    let code = world.move_to(&tp(0), "/c").await;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    world.describe(&tp(0), state(1, 1, &[1]), &[1]);
    let code = world.move_to(&tp(0), "/c").await;
    assert_eq!(code, ErrorCode::ReplicaNotAvailable);
    assert_eq!(world.move_to(&tp(0), "/d").await, ErrorCode::LogDirNotFound);
    assert_eq!(
        world.move_to(&tp(0), "/c/").await,
        ErrorCode::LogDirNotFound
    );
    let long = TopicPartition::new("x".repeat(249).as_str(), 0);
    let code = world.move_to(&long, "/d").await;
    assert_eq!(code, ErrorCode::InvalidTopicException);
    world.lead(&tp(0), &[1]).await;
    assert_eq!(world.places(&tp(0)).await, "/c");
}

#[tokio::test]
async fn a_follower_that_is_cut_while_it_moves_is_cut_where_it_goes() {
    let world = world();
    world.lead(&tp(0), &[1, 2]).await;
    for _ in 0..4 {
        world.produce(&tp(0), 1, LONG).await;
    }
    world.move_to(&tp(0), "/b").await;
    // Everything is copied, and they have not changed places yet.
    let future = world.replicas.find_online("t", 0).unwrap();
    let future = Arc::clone(&future.lock().future.as_ref().unwrap().log);
    while future.lock().log_end_offset() < 6 {
        let reader = world.replicas.reader(&tp(0)).unwrap();
        let from = future.lock().log_end_offset();
        let read = reader.read(from, 1, FetchIsolation::LogEnd, true).unwrap();
        let records = read.slice.unwrap().read().unwrap();
        let now = Timestamp(1_000);
        future.lock().append_as_follower(records, now).unwrap();
    }
    world.describe(&tp(0), state(2, 2, &[1, 2]), &[1, 2]);
    world.command(&tp(0), state(2, 2, &[1, 2]), &[1, 2]).await;
    let epoch = LeaderEpoch(2);
    world.replicas.truncate_follower(&tp(0), epoch, 3).unwrap();
    world.run(&tp(0));
    assert_eq!(world.places(&tp(0)).await, "/b");
    assert_eq!(world.replicas.log_end_offset(&tp(0)), Some(3));
    assert_eq!(future.lock().log_end_offset(), 3);
}

#[tokio::test]
async fn records_are_deleted_from_both_logs_and_a_stopped_replica_leaves_neither() {
    let world = world();
    world.lead(&tp(0), &[1]).await;
    for _ in 0..4 {
        world.produce(&tp(0), 1, LONG).await;
    }
    world.move_to(&tp(0), "/b").await;
    let before = world.replicas.find_online("t", 0).unwrap();
    assert_eq!(
        before.lock().low_watermark(&world.replicas.metadata_cache),
        0
    );
    let log = Arc::clone(before.lock().log.as_ref().unwrap());
    log.lock().maybe_increment_log_start_offset(7).unwrap();
    assert_eq!(
        before.lock().low_watermark(&world.replicas.metadata_cache),
        0,
        "the log that it moves to has them still"
    );
    world.run(&tp(0));
    assert_eq!(
        before.lock().low_watermark(&world.replicas.metadata_cache),
        7
    );
    world.move_to(&tp(0), "/c").await;
    let response = world
        .replicas
        .stop_replicas(StopReplicaRequest {
            header: header(),
            partitions: vec![StopReplicaPartition {
                topic_partition: tp(0),
                leader_epoch: LeaderEpoch(-2),
                delete: true,
            }],
        })
        .await;
    assert_eq!(response.partitions[0].1, ErrorCode::None);
    assert_eq!(world.replicas.move_step(&tp(0), CHUNK), MoveStep::Ended);
    assert_eq!(world.places(&tp(0)).await, "");
}

#[tokio::test]
async fn a_failed_directory_ends_moves_out_of_it_and_into_it() {
    for fails in ["/a", "/b"] {
        let directory = Arc::new(FaultyDirectory::new(MemoryDirectory::default()));
        let world = World::with_log_dirs(Arc::clone(&directory) as _, &["/a", "/b"], &[]);
        world.lead(&tp(0), &[1]).await;
        world.produce(&tp(0), 1, LONG).await;
        world.move_to(&tp(0), "/b").await;
        // The disk fails under whoever writes next.
        directory.fail_from(directory.calls(), Fault::InputOutput);
        if fails == "/a" {
            let failed = world.produce(&tp(0), 1, LONG).await.error;
            assert_eq!(failed, ErrorCode::KafkaStorageError);
        } else {
            assert_eq!(world.replicas.move_step(&tp(0), CHUNK), MoveStep::Ended);
        }
        directory.heal();
        assert_eq!(
            world.replicas.handle_failed_directories(),
            [PathBuf::from(fails)]
        );
        assert_eq!(world.replicas.move_step(&tp(0), CHUNK), MoveStep::Ended);
        let code = world.move_to(&tp(0), "/b").await;
        assert_eq!(code, ErrorCode::KafkaStorageError);
        let expected = if fails == "/a" {
            ErrorCode::KafkaStorageError
        } else {
            ErrorCode::None
        };
        assert_eq!(world.produce(&tp(0), 1, LONG).await.error, expected);
    }
}
