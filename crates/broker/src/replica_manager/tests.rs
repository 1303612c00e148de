//! The replica manager over logs in memory, as handlers and the controller see it. Broker 1 is the
//! one under test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_config::BrokerConfig;
use ottla_model::control::{
    ControlHeader, LeaderAndIsrPartition, LeaderAndIsrRequest, StopReplicaPartition,
    StopReplicaRequest, UpdateMetadataPartition, UpdateMetadataRequest,
};
use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, ErrorCode, LeaderAndIsr, LeaderEpoch,
    LeaderRecoveryState, LiveBroker, Offset, PartitionEpoch, ReplicaAssignment, Timestamp, TopicId,
    TopicName, TopicPartition,
};
use ottla_record::{AppendOrigin, RecordBatchBuilder};
use ottla_replication::fetch_session::FetchPartition;
use ottla_replication::partition::ReadRequirement;
use ottla_storage::directory::{Directory, Fault, FaultyDirectory, MemoryDirectory};
use ottla_storage::{FetchIsolation, LogConfig, LogDirs, LogManager, LogManagerSettings};
use parking_lot::Mutex;

use super::*;
use crate::clock::Clock;
use crate::configs::Configs;
use crate::metadata_cache::MetadataCache;

mod moves;

const OWN_EPOCH: i64 = 50;
const ID: TopicId = TopicId([7; 16]);
const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

struct World {
    replicas: Arc<ReplicaManager>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl LeadershipListener for Heard {
    fn on_election(&self, partition: &TopicPartition, leader_epoch: LeaderEpoch) {
        self.0
            .lock()
            .push(format!("elected {partition} {leader_epoch}"));
    }

    fn on_resignation(&self, partition: &TopicPartition, leader_epoch: Option<LeaderEpoch>) {
        self.0
            .lock()
            .push(format!("resigned {partition} {leader_epoch:?}"));
    }

    fn on_partitions_deleted(&self, partitions: &[TopicPartition]) {
        self.0.lock().push(format!("deleted {partitions:?}"));
    }
}

fn header() -> ControlHeader {
    ControlHeader {
        controller_id: BrokerId(1),
        controller_epoch: ControllerEpoch(1),
        broker_epoch: BrokerEpoch(OWN_EPOCH),
    }
}

fn state(leader: i32, leader_epoch: i32, isr: &[i32]) -> LeaderAndIsr {
    LeaderAndIsr {
        leader: BrokerId(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        isr: isr.iter().copied().map(BrokerId).collect(),
        recovery: LeaderRecoveryState::Recovered,
        partition_epoch: PartitionEpoch(leader_epoch),
        controller_epoch: ControllerEpoch(1),
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

impl World {
    fn new(properties: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(MemoryDirectory::default()), properties)
    }

    fn on(directory: Arc<dyn Directory>, properties: &[(&str, &str)]) -> Self {
        Self::with_log_dirs(directory, &["/data"], properties)
    }

    fn with_log_dirs(
        directory: Arc<dyn Directory>,
        log_dirs: &[&str],
        properties: &[(&str, &str)],
    ) -> Self {
        let properties = [
            ("zookeeper.connect", "localhost:1"),
            ("broker.id", "1"),
            ("log.index.size.max.bytes", "4096"),
        ]
        .iter()
        .chain(properties)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        let configs =
            Arc::new(Configs::new(BrokerConfig::from_properties(properties).unwrap()).unwrap());
        let clock = Clock::start();
        let dirs = LogDirs::open(
            directory,
            &log_dirs.iter().map(PathBuf::from).collect::<Vec<_>>(),
        );
        let dirs = dirs.unwrap();
        let config = |_: &TopicName| Arc::new(LogConfig::default());
        let settings = LogManagerSettings::default();
        let logs = LogManager::load(dirs, settings, &config, clock.wall()).unwrap();
        let replicas = ReplicaManager::new(
            BrokerId(1),
            clock,
            configs,
            Arc::new(MetadataCache::default()),
            Arc::new(logs),
        );
        let heard = Arc::new(Heard::default());
        replicas.set_listener(Arc::clone(&heard) as _);
        replicas.set_broker_epoch(BrokerEpoch(OWN_EPOCH));
        Self { replicas, heard }
    }

    fn describe(&self, partition: &TopicPartition, state: LeaderAndIsr, alive: &[i32]) {
        let broker = |id: &i32| LiveBroker {
            id: BrokerId(*id),
            epoch: BrokerEpoch::NONE,
            endpoints: Vec::new(),
            rack: None,
        };
        let error = self.replicas.update_metadata(&UpdateMetadataRequest {
            header: header(),
            partitions: vec![UpdateMetadataPartition {
                topic_partition: partition.clone(),
                replicas: state.isr.clone(),
                state,
                offline_replicas: Vec::new(),
            }],
            topic_ids: vec![(partition.topic.clone(), ID)],
            live_brokers: alive.iter().map(broker).collect(),
        });
        assert_eq!(error, ErrorCode::None);
    }

    async fn command(
        &self,
        partition: &TopicPartition,
        state: LeaderAndIsr,
        replicas: &[i32],
    ) -> ErrorCode {
        let replicas = replicas.iter().copied().map(BrokerId);
        let response = self
            .replicas
            .become_leader_or_follower(LeaderAndIsrRequest {
                header: header(),
                partitions: vec![LeaderAndIsrPartition {
                    topic_partition: partition.clone(),
                    state,
                    assignment: ReplicaAssignment::of(replicas),
                    is_new: true,
                }],
                topic_ids: vec![(partition.topic.clone(), ID)],
                live_leaders: Vec::new(),
            })
            .await;
        assert_eq!(response.error, ErrorCode::None);
        response.partitions[0].1
    }

    /// Broker 1 leads the partition at epoch 1 with these replicas, all in sync and alive.
    async fn lead(&self, partition: &TopicPartition, replicas: &[i32]) {
        self.describe(partition, state(1, 1, replicas), replicas);
        assert_eq!(
            self.command(partition, state(1, 1, replicas), replicas)
                .await,
            ErrorCode::None
        );
    }

    async fn produce(
        &self,
        partition: &TopicPartition,
        acks: i16,
        timeout: Duration,
    ) -> AppendOutcome {
        let entries = vec![(partition.clone(), batch(3))];
        let mut outcomes = self
            .replicas
            .append_records(timeout, acks, false, AppendOrigin::Client, entries)
            .await;
        outcomes.remove(0).1
    }

    async fn fetch(
        &self,
        partition: &TopicPartition,
        offset: Offset,
        params: &FetchParams<'_>,
    ) -> ReadResult {
        let entry = FetchEntry {
            hosted: self
                .replicas
                .find_online(partition.topic.as_str(), partition.partition),
            topic_id: Some(ID),
            request: FetchPartition {
                fetch_offset: offset,
                log_start_offset: 0,
                max_bytes: 1 << 20,
                current_leader_epoch: None,
                last_fetched_epoch: None,
            },
        };
        self.replicas.fetch(params, &[entry]).await.remove(0)
    }
}

fn batch(records: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::new(0);
    for _ in 0..records {
        builder
            .append(Timestamp(1_000), None, Some(b"value"))
            .unwrap();
    }
    builder.build().unwrap()
}

fn consumer(wait_max: Duration, bytes_min: i64) -> FetchParams<'static> {
    FetchParams {
        follower: None,
        from: ReadRequirement::AnyReplica,
        wait_max,
        bytes_min,
        bytes_max: 1 << 20,
        is_limit_hard: false,
        isolation: FetchIsolation::HighWatermark,
        client: None,
    }
}

fn follower(id: i32) -> FetchParams<'static> {
    FetchParams {
        follower: Some((BrokerId(id), BrokerEpoch::NONE)),
        from: ReadRequirement::Leader,
        isolation: FetchIsolation::LogEnd,
        ..consumer(Duration::ZERO, 1)
    }
}

#[tokio::test]
async fn what_is_produced_can_be_fetched() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1]).await;
    let first = world.produce(&tp(0), -1, LONG).await;
    let second = world.produce(&tp(0), 1, LONG).await;
    assert_eq!((first.error, first.base_offset), (ErrorCode::None, 0));
    assert_eq!(
        (second.error, second.base_offset, second.log_start_offset),
        (ErrorCode::None, 3, 0)
    );
    let read = world.fetch(&tp(0), 0, &consumer(Duration::ZERO, 1)).await;
    assert_eq!(
        (read.error, read.high_watermark, read.last_stable_offset),
        (ErrorCode::None, 6, 6)
    );
    assert_eq!(read.size(), 2 * batch(3).len());
    assert_eq!(
        world.fetch(&tp(0), 7, &consumer(LONG, 1)).await.error,
        ErrorCode::OffsetOutOfRange
    );
}

#[tokio::test]
async fn a_fetch_waits_for_what_is_produced_next() {
    let world = Arc::new(World::new(&[]));
    world.lead(&tp(0), &[1]).await;
    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.fetch(&tp(0), 0, &consumer(LONG, 1)).await }
    });
    world.produce(&tp(0), 1, LONG).await;
    assert_eq!(waiting.await.unwrap().size(), batch(3).len());
    let nothing = world.fetch(&tp(0), 3, &consumer(SOON, 1)).await;
    assert_eq!((nothing.error, nothing.size()), (ErrorCode::None, 0));
}

#[tokio::test]
async fn a_fetch_waits_for_its_minimum() {
    let world = Arc::new(World::new(&[]));
    world.lead(&tp(0), &[1]).await;
    let size = batch(3).len();
    let enough = i64::try_from(3 * size - 1).unwrap();
    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.fetch(&tp(0), 0, &consumer(LONG, enough)).await }
    });
    for _ in 0..3 {
        tokio::task::yield_now().await;
        world.produce(&tp(0), 1, LONG).await;
    }
    assert_eq!(waiting.await.unwrap().size(), 3 * size);
}

#[tokio::test]
async fn acks_all_waits_for_the_followers_in_sync() {
    let world = Arc::new(World::new(&[]));
    world.lead(&tp(0), &[1, 2]).await;
    let late = world.produce(&tp(0), -1, SOON).await;
    assert_eq!(
        (late.error, late.base_offset),
        (ErrorCode::RequestTimedOut, 0)
    );
    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.produce(&tp(0), -1, LONG).await }
    });
    while world.replicas.reader(&tp(0)).unwrap().log_end_offset() < 6 {
        tokio::task::yield_now().await;
    }
    let unseen = world.fetch(&tp(0), 0, &consumer(Duration::ZERO, 1)).await;
    assert_eq!((unseen.high_watermark, unseen.size()), (0, 0));
    assert_eq!(
        world.fetch(&tp(0), 0, &follower(2)).await.size(),
        2 * batch(3).len()
    );
    assert_eq!(
        world.fetch(&tp(0), 6, &follower(2)).await.error,
        ErrorCode::None
    );
    let done = waiting.await.unwrap();
    assert_eq!((done.error, done.base_offset), (ErrorCode::None, 3));
    let stranger = world.fetch(&tp(0), 6, &follower(9)).await;
    assert_eq!(stranger.error, ErrorCode::NotLeaderOrFollower);
}

#[tokio::test]
async fn who_waits_for_replication_is_told_of_it_and_of_the_end_of_the_leadership() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1, 2]).await;
    assert_eq!(world.produce(&tp(0), 1, LONG).await.base_offset, 0);
    let wait = |offset| {
        let hosted = world.replicas.find_online("t", 0).unwrap();
        tokio::spawn(wait_until_replicated(hosted, offset))
    };
    assert_eq!(wait(0).await.unwrap(), Ok(0), "at once");
    let (one, both, more) = (wait(2), wait(3), wait(4));
    tokio::task::yield_now().await;
    assert_eq!(
        world.fetch(&tp(0), 0, &follower(2)).await.size(),
        batch(3).len()
    );
    tokio::task::yield_now().await;
    assert!(!one.is_finished(), "it was fetched, but not asked beyond");
    world.fetch(&tp(0), 3, &follower(2)).await;
    assert_eq!(one.await.unwrap(), Ok(3));
    assert_eq!(both.await.unwrap(), Ok(3));
    assert!(!more.is_finished());
    assert_eq!(
        world.command(&tp(0), state(2, 2, &[2]), &[1, 2]).await,
        ErrorCode::None
    );
    assert_eq!(more.await.unwrap(), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(wait(0).await.unwrap(), Err(ErrorCode::NotLeaderOrFollower));
}

#[tokio::test]
async fn too_few_in_sync_replicas_refuse_acks_all_only() {
    let world = World::new(&[("min.insync.replicas", "2")]);
    world.describe(&tp(0), state(1, 1, &[1]), &[1, 2]);
    assert_eq!(
        world.command(&tp(0), state(1, 1, &[1]), &[1, 2]).await,
        ErrorCode::None
    );
    let refused = world.produce(&tp(0), -1, LONG).await;
    assert_eq!(
        (refused.error, refused.base_offset),
        (ErrorCode::NotEnoughReplicas, -1)
    );
    assert_eq!(world.produce(&tp(0), 1, LONG).await.error, ErrorCode::None);
    assert_eq!(
        world.produce(&tp(0), 7, LONG).await.error,
        ErrorCode::InvalidRequiredAcks
    );
}

#[tokio::test]
async fn who_is_not_leader_says_so_and_who_waits_is_told() {
    let world = Arc::new(World::new(&[]));
    assert_eq!(
        world.produce(&tp(0), 1, LONG).await.error,
        ErrorCode::UnknownTopicOrPartition
    );
    world.describe(&tp(1), state(2, 1, &[2]), &[1, 2]);
    assert_eq!(
        world.produce(&tp(1), 1, LONG).await.error,
        ErrorCode::NotLeaderOrFollower
    );

    world.lead(&tp(0), &[1, 2]).await;
    let produce = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.produce(&tp(0), -1, LONG).await }
    });
    while world.replicas.reader(&tp(0)).unwrap().log_end_offset() < 3 {
        tokio::task::yield_now().await;
    }
    let fetch = tokio::spawn({
        let world = Arc::clone(&world);
        let params = FetchParams {
            from: ReadRequirement::Leader,
            ..consumer(LONG, 1)
        };
        async move { world.fetch(&tp(0), 0, &params).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        world.command(&tp(0), state(2, 2, &[2]), &[1, 2]).await,
        ErrorCode::None
    );
    assert_eq!(produce.await.unwrap().error, ErrorCode::NotLeaderOrFollower);
    assert_eq!(fetch.await.unwrap().error, ErrorCode::NotLeaderOrFollower);
    let from_follower = world.fetch(&tp(0), 0, &consumer(Duration::ZERO, 1)).await;
    assert_eq!(
        from_follower.error,
        ErrorCode::None,
        "any replica serves new consumers"
    );
}

#[tokio::test]
async fn commands_are_accepted_once_and_a_dead_leader_is_no_error() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1]).await;
    assert_eq!(
        world.command(&tp(0), state(1, 1, &[1]), &[1]).await,
        ErrorCode::StaleControllerEpoch
    );
    assert_eq!(
        world.command(&tp(0), state(1, 0, &[1]), &[1]).await,
        ErrorCode::StaleControllerEpoch
    );
    let elsewhere = world.command(&tp(1), state(2, 1, &[2]), &[2]).await;
    assert_eq!(elsewhere, ErrorCode::UnknownTopicOrPartition);
    for _ in 0..2 {
        let unavailable = world.command(&tp(2), state(3, 4, &[3]), &[1, 3]).await;
        assert_eq!(
            unavailable,
            ErrorCode::None,
            "and again, since the epoch is not taken over"
        );
    }
    assert_eq!(
        world.replicas.reader(&tp(2)).unwrap().log_end_offset(),
        0,
        "the log exists"
    );

    let old = LeaderAndIsrRequest {
        header: ControlHeader {
            broker_epoch: BrokerEpoch(OWN_EPOCH - 1),
            ..header()
        },
        partitions: Vec::new(),
        topic_ids: Vec::new(),
        live_leaders: Vec::new(),
    };
    let response = world.replicas.become_leader_or_follower(old).await;
    assert_eq!(response.error, ErrorCode::StaleBrokerEpoch);
}

#[tokio::test]
async fn a_deleted_replica_is_gone_and_its_coordinator_resigns() {
    let world = World::new(&[]);
    let offsets = TopicPartition::new("__consumer_offsets", 3);
    world.lead(&offsets, &[1]).await;
    world.lead(&tp(0), &[1]).await;
    for (partition, leader_epoch) in [(&offsets, -2), (&tp(0), -2), (&tp(8), 0)] {
        let response = world
            .replicas
            .stop_replicas(StopReplicaRequest {
                header: header(),
                partitions: vec![StopReplicaPartition {
                    topic_partition: partition.clone(),
                    leader_epoch: LeaderEpoch(leader_epoch),
                    delete: true,
                }],
            })
            .await;
        assert_eq!(response.partitions, [(partition.clone(), ErrorCode::None)]);
    }
    assert!(world.replicas.reader(&offsets).is_none());
    assert_eq!(
        world.produce(&tp(0), 1, LONG).await.error,
        ErrorCode::NotLeaderOrFollower
    );
    world.describe(&tp(0), state(-2, 1, &[1]), &[1]);
    assert_eq!(
        world.produce(&tp(0), 1, LONG).await.error,
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(
        *world.heard.0.lock(),
        [
            "elected __consumer_offsets-3 1",
            "resigned __consumer_offsets-3 None",
            "deleted [t-0]"
        ]
    );
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1]).await;
    world.produce(&tp(0), 1, LONG).await;
    for (partition, offset, expected) in [
        (tp(0), 4, (ErrorCode::OffsetOutOfRange, -1)),
        (tp(0), -3, (ErrorCode::OffsetOutOfRange, -1)),
        (tp(0), 2, (ErrorCode::None, 2)),
        (tp(0), 1, (ErrorCode::None, 2)),
        (tp(0), -1, (ErrorCode::None, 3)),
        (tp(5), 0, (ErrorCode::UnknownTopicOrPartition, -1)),
        (
            TopicPartition::new("__consumer_offsets", 0),
            0,
            (ErrorCode::InvalidTopicException, -1),
        ),
    ] {
        let answers = world
            .replicas
            .delete_records(SOON, vec![(partition.clone(), offset)])
            .await;
        assert_eq!(
            (answers[0].1, answers[0].2),
            expected,
            "{partition} {offset}"
        );
    }
    assert_eq!(
        world.fetch(&tp(0), 2, &consumer(LONG, 1)).await.error,
        ErrorCode::OffsetOutOfRange
    );
}

#[tokio::test]
async fn offsets_by_timestamp_and_by_epoch() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1]).await;
    world.produce(&tp(0), 1, LONG).await;
    let query = |timestamp| OffsetQuery {
        timestamp,
        isolation: Some(ClientIsolation::ReadUncommitted),
        current_leader_epoch: None,
        from: ReadRequirement::Leader,
    };
    for (timestamp, expected) in [
        (OffsetQuery::LATEST, Some((-1, 3))),
        (OffsetQuery::EARLIEST, Some((-1, 0))),
        (OffsetQuery::EARLIEST_LOCAL, Some((-1, 0))),
        (OffsetQuery::MAX_TIMESTAMP, Some((1_000, 0))),
        (OffsetQuery::LATEST_TIERED, Some((-1, -1))),
        (0, Some((1_000, 0))),
        (1_000, Some((1_000, 0))),
        (1_001, None),
    ] {
        let found = world
            .replicas
            .offset_for_timestamp(tp(0), query(timestamp))
            .await
            .unwrap();
        assert_eq!(
            found.map(|f| (f.timestamp, f.offset)),
            expected,
            "{timestamp}"
        );
    }
    let end = world
        .replicas
        .end_of_leader_epoch(&tp(0), None, LeaderEpoch(1))
        .unwrap();
    assert_eq!((end.leader_epoch, end.end_offset), (LeaderEpoch(1), 3));
    let fenced = world
        .replicas
        .end_of_leader_epoch(&tp(0), Some(LeaderEpoch(0)), LeaderEpoch(1));
    assert_eq!(fenced, Err(ErrorCode::FencedLeaderEpoch));
    let offsets = world
        .replicas
        .legacy_offsets(tp(0), -1, 10, true, ReadRequirement::Leader)
        .await
        .unwrap();
    assert_eq!(offsets, [3, 0]);
}

#[tokio::test]
async fn a_new_leader_does_not_tell_latest_before_its_epoch_is_committed() {
    let world = World::new(&[]);
    world.lead(&tp(0), &[1, 2]).await;
    world.produce(&tp(0), 1, LONG).await;
    assert_eq!(
        world.command(&tp(0), state(1, 2, &[1, 2]), &[1, 2]).await,
        ErrorCode::None
    );
    let query = OffsetQuery {
        timestamp: OffsetQuery::LATEST,
        isolation: Some(ClientIsolation::ReadUncommitted),
        current_leader_epoch: None,
        from: ReadRequirement::Leader,
    };
    let latest = world.replicas.offset_for_timestamp(tp(0), query).await;
    assert_eq!(latest, Err(ErrorCode::OffsetNotAvailable));
    world.fetch(&tp(0), 3, &follower(2)).await;
    let latest = world
        .replicas
        .offset_for_timestamp(tp(0), query)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (latest.offset, latest.leader_epoch),
        (3, Some(LeaderEpoch(2)))
    );
}

#[tokio::test]
async fn partitions_of_a_failed_directory_are_offline() {
    let directory = Arc::new(FaultyDirectory::new(MemoryDirectory::default()));
    let world = World::on(Arc::clone(&directory) as _, &[]);
    world.lead(&tp(0), &[1]).await;
    world.produce(&tp(0), 1, LONG).await;
    directory.fail_from(directory.calls(), Fault::InputOutput);
    assert_eq!(
        world.produce(&tp(0), 1, LONG).await.error,
        ErrorCode::KafkaStorageError
    );
    assert_eq!(
        world.replicas.handle_failed_directories(),
        [PathBuf::from("/data")]
    );
    assert!(
        world.replicas.handle_failed_directories().is_empty(),
        "told once"
    );
    assert!(world.replicas.is_all_offline());
    assert_eq!(
        world.produce(&tp(0), 1, LONG).await.error,
        ErrorCode::KafkaStorageError
    );
    let read = world.fetch(&tp(0), 0, &consumer(LONG, 1)).await;
    assert_eq!(read.error, ErrorCode::KafkaStorageError);
    let again = world.command(&tp(0), state(1, 9, &[1]), &[1]).await;
    assert_eq!(again, ErrorCode::KafkaStorageError);
    assert_eq!(
        world.command(&tp(1), state(1, 1, &[1]), &[1]).await,
        ErrorCode::KafkaStorageError
    );
}

#[tokio::test]
async fn a_follower_that_lags_leaves_the_isr_and_comes_back() {
    let world = World::new(&[
        ("replica.lag.time.max.ms", "1"),
        ("replica.fetch.wait.max.ms", "1"),
    ]);
    world.lead(&tp(0), &[1, 2]).await;
    world.produce(&tp(0), 1, LONG).await;
    tokio::time::sleep(SOON).await;
    world.replicas.shrink_isrs();
    let shrink = world.replicas.next_isr_request().unwrap();
    assert_eq!(shrink[0].1.proposal.isr, [BrokerId(1)]);
    assert!(world.replicas.next_isr_request().is_none(), "one at a time");
    let hidden = world.fetch(&tp(0), 0, &consumer(Duration::ZERO, 1)).await;
    assert_eq!(
        hidden.high_watermark, 0,
        "the follower counts until the controller has agreed"
    );
    let agreed = |isr: &[i32], epoch| {
        Ok(vec![(
            tp(0),
            Ok(LeaderAndIsr {
                partition_epoch: PartitionEpoch(epoch),
                ..state(1, 1, isr)
            }),
        )])
    };
    world
        .replicas
        .complete_isr_request(&shrink, agreed(&[1], 2));
    assert_eq!(
        world
            .fetch(&tp(0), 0, &consumer(Duration::ZERO, 1))
            .await
            .high_watermark,
        3
    );

    world.fetch(&tp(0), 3, &follower(2)).await;
    let expand = world.replicas.next_isr_request().unwrap();
    assert_eq!(expand[0].1.proposal.isr, [BrokerId(1), BrokerId(2)]);
    world
        .replicas
        .complete_isr_request(&expand, agreed(&[1, 2], 3));
    world.produce(&tp(0), 1, LONG).await;
    assert_eq!(
        world
            .fetch(&tp(0), 0, &consumer(Duration::ZERO, 1))
            .await
            .high_watermark,
        3
    );
}
