//! The driver over a log in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_coordinator_runtime::AppendResult;
use ottla_group_coordinator::{
    GroupConfig, GroupFilter, GroupState, JoinGroupRequest, OffsetAndMetadata, OffsetCommitRequest,
    Protocol, SyncGroupRequest,
};
use ottla_model::ids::GROUP_METADATA_TOPIC;
use ottla_model::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_record::{BatchView, Compression};
use ottla_storage::VerificationGuard;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::GroupCoordinator;
use super::settings::Settings;
use crate::clock::Clock;
use crate::coordinator_log::{CoordinatorLog, PendingAppend, PendingOffset, ReadBackError};
use crate::replica_manager::LeadershipListener;

/// One partition's log, whose appends are acknowledged when the gate opens.
struct MemoryLog {
    batches: Mutex<Vec<(Offset, Bytes)>>,
    acknowledged: watch::Sender<bool>,
}

impl MemoryLog {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            batches: Mutex::new(Vec::new()),
            acknowledged: watch::Sender::new(true),
        })
    }

    fn end(&self) -> Offset {
        self.batches.lock().last().map_or(0, |(base, bytes)| {
            base + i64::from(BatchView::parse(bytes).unwrap().header().last_offset_delta) + 1
        })
    }
}

/// What the driver holds of the log.
struct Handle(Arc<MemoryLog>);

impl CoordinatorLog for Handle {
    fn append(
        &self,
        _partition: i32,
        required_acks: i16,
        _timeout: Duration,
        _guard: VerificationGuard,
        batch: Bytes,
    ) -> PendingAppend {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let base_offset = log.end();
            let mut bytes = BytesMut::from(&batch[..]);
            bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
            log.batches.lock().push((base_offset, bytes.freeze()));
            if required_acks != 0 {
                let mut gate = log.acknowledged.subscribe();
                if gate.wait_for(|open| *open).await.is_err() {
                    return AppendResult::Err(ErrorCode::NotLeaderOrFollower);
                }
            }
            Ok(base_offset)
        })
    }

    fn replicated(&self, _partition: i32, _offset: Offset) -> PendingOffset {
        let end = self.0.end();
        Box::pin(async move { Ok(end) })
    }

    fn read(
        &self,
        _partition: i32,
        from: Option<Offset>,
        _bytes_max: usize,
    ) -> Result<Bytes, ReadBackError> {
        let batches = self.0.batches.lock();
        let found = batches.iter().find(|(base, _)| *base >= from.unwrap_or(0));
        Ok(found.map_or_else(Bytes::new, |(_, bytes)| bytes.clone()))
    }
}

fn coordinator(log: &Arc<MemoryLog>) -> Arc<GroupCoordinator> {
    let settings = Settings {
        group: GroupConfig {
            group_initial_rebalance_delay_ms: 0,
            ..GroupConfig::default()
        },
        partition_count: 1,
        required_acks: -1,
        commit_timeout: Duration::from_secs(5),
        load_buffer_size: 1 << 20,
        retention_check_interval: Duration::from_secs(600),
        compression: Compression::None,
    };
    GroupCoordinator::start(settings, Clock::start(), Arc::new(Handle(Arc::clone(log))))
}

fn offsets_partition() -> TopicPartition {
    TopicPartition::new(GROUP_METADATA_TOPIC, 0)
}

/// Waits until the shard serves.
async fn elect(coordinator: &GroupCoordinator, epoch: i32) {
    coordinator.on_election(&offsets_partition(), LeaderEpoch(epoch));
    while coordinator.describe_group("g").is_err() {
        tokio::task::yield_now().await;
    }
}

fn join(member_id: &str, uuid: u8) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        member_id: member_id.into(),
        group_instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::new(),
        }],
        require_known_member_id: false,
        supports_skip_assignment: true,
        reason: None,
        member_uuid: [uuid; 16],
    }
}

fn commit(offset: Offset) -> OffsetCommitRequest {
    let value = OffsetAndMetadata {
        offset,
        leader_epoch: LeaderEpoch(0),
        metadata: "".into(),
        commit_timestamp: Timestamp(1),
        expire_timestamp: None,
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        member_id: "".into(),
        group_instance_id: None,
        generation_id: -1,
        offsets: vec![(TopicPartition::new("t", 0), value)],
    }
}

fn fetch(coordinator: &GroupCoordinator) -> Result<Vec<Offset>, ErrorCode> {
    let fetched = coordinator.fetch_offsets("g", None, false)?;
    Ok(fetched.into_iter().map(|offset| offset.offset).collect())
}

#[tokio::test]
async fn a_partition_is_served_from_its_election_to_its_resignation() {
    let coordinator = coordinator(&MemoryLog::new());
    assert_eq!(fetch(&coordinator), Err(ErrorCode::NotCoordinator));
    elect(&coordinator, 0).await;
    assert_eq!(fetch(&coordinator), Ok(vec![]));
    coordinator.on_resignation(&offsets_partition(), Some(LeaderEpoch(1)));
    while fetch(&coordinator).is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetch(&coordinator), Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn other_topics_leaders_are_no_news() {
    let coordinator = coordinator(&MemoryLog::new());
    coordinator.on_election(&TopicPartition::new("t", 0), LeaderEpoch(0));
    coordinator.on_partitions_deleted(&[]);
    tokio::task::yield_now().await;
    assert_eq!(fetch(&coordinator), Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn a_commit_is_answered_when_it_is_replicated() {
    let log = MemoryLog::new();
    let coordinator = coordinator(&log);
    elect(&coordinator, 0).await;
    log.acknowledged.send_replace(false);
    let committing = {
        let coordinator = Arc::clone(&coordinator);
        tokio::spawn(async move { coordinator.commit_offsets(commit(7)).await })
    };
    while log.batches.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetch(&coordinator), Ok(vec![]));
    assert!(!committing.is_finished());
    log.acknowledged.send_replace(true);
    let answers = committing.await.unwrap();
    assert_eq!(
        answers,
        vec![(TopicPartition::new("t", 0), ErrorCode::None)]
    );
    assert_eq!(fetch(&coordinator), Ok(vec![7]));
}

#[tokio::test]
async fn a_group_forms_by_its_timers_and_survives_a_failover() {
    let log = MemoryLog::new();
    let first = coordinator(&log);
    elect(&first, 0).await;
    let joined = first.join_group(join("", 1)).await;
    assert_eq!((joined.error, joined.generation_id), (ErrorCode::None, 1));
    let sync = SyncGroupRequest {
        group_id: "g".into(),
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        generation_id: 1,
        protocol_type: None,
        protocol_name: None,
        assignments: [(joined.member_id.clone(), Bytes::from_static(b"all"))].into(),
    };
    let synced = first.sync_group(sync).await;
    assert_eq!(
        (synced.error, synced.assignment),
        (ErrorCode::None, Bytes::from_static(b"all"))
    );
    let in_group = OffsetCommitRequest {
        member_id: joined.member_id.clone(),
        generation_id: 1,
        ..commit(42)
    };
    assert_eq!(first.commit_offsets(in_group).await[0].1, ErrorCode::None);

    let second = coordinator(&log);
    elect(&second, 1).await;
    assert_eq!(fetch(&second), Ok(vec![42]));
    let described = second.describe_group("g").unwrap();
    assert_eq!(described.state, GroupState::Stable);
    assert_eq!(described, first.describe_group("g").unwrap());
    let heartbeat = second
        .heartbeat("g".into(), joined.member_id, None, 1)
        .await;
    assert_eq!(heartbeat, ErrorCode::None);
    assert_eq!(second.list_groups(&GroupFilter::default()).1.len(), 1);
}

#[tokio::test]
async fn a_parked_join_is_answered_when_the_broker_resigns_or_goes_down() {
    let log = MemoryLog::new();
    for resign in [true, false] {
        let coordinator = coordinator(&log);
        elect(&coordinator, 0).await;
        let leader = coordinator.join_group(join("", 1)).await;
        let parked = {
            let coordinator = Arc::clone(&coordinator);
            tokio::spawn(async move { coordinator.join_group(join("", 2)).await })
        };
        while coordinator.describe_group("g").unwrap().members.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(leader.error, ErrorCode::None);
        if resign {
            coordinator.on_resignation(&offsets_partition(), None);
        } else {
            coordinator.shut_down();
        }
        assert_eq!(parked.await.unwrap().error, ErrorCode::NotCoordinator);
    }
}
