//! A shard with a hand-moved clock and a log in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{
    Action, Append, BatchInfo, Durability, Now, RequestId, TransactionOutcome,
};
use ottla_model::{
    ErrorCode, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition,
};

use crate::*;

/// What the log holds: data batches and markers in their order.
#[derive(Clone, Debug)]
pub(super) enum LogEntry {
    Batch {
        base_offset: Offset,
        append: Append,
    },
    Marker {
        producer_id: ProducerId,
        outcome: TransactionOutcome,
    },
}

/// How appends are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acks {
    /// At once, as by a log without followers.
    AtOnce,
    /// By [`World::ack`].
    ByHand,
    /// At once, with this error.
    Refused(ErrorCode),
}

pub(super) struct World {
    pub(super) shard: GroupCoordinatorShard,
    pub(super) now: Now,
    pub(super) acks: Acks,
    pub(super) log: Vec<LogEntry>,
    pub(super) unacknowledged: Vec<Append>,
    replies: BTreeMap<RequestId, Response>,
    answered: std::collections::BTreeSet<RequestId>,
    next_request: u64,
    next_offset: Offset,
    uuids: u64,
}

/// A member as a client knows itself.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) member_id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) generation: i32,
}

pub(super) const GROUP: &str = "group";

pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 0];
    metadata.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as u16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend((-1_i32).to_be_bytes());
    Protocol {
        name: name.into(),
        metadata: metadata.into(),
    }
}

pub(super) fn committed(offset: Offset) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch: LeaderEpoch(4),
        metadata: "text".into(),
        commit_timestamp: Timestamp(1_000_000),
        expire_timestamp: None,
    }
}

pub(super) fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

impl World {
    /// A serving shard with an empty log.
    pub(super) fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        let mut world = Self::unloaded(config);
        world.load();
        world
    }

    pub(super) fn unloaded(config: GroupConfig) -> Self {
        Self {
            shard: GroupCoordinatorShard::new(Arc::new(config)),
            now: Now {
                instant: Instant::from_millis(50),
                timestamp: Timestamp(1_000_000),
            },
            acks: Acks::AtOnce,
            log: Vec::new(),
            unacknowledged: Vec::new(),
            replies: BTreeMap::new(),
            answered: std::collections::BTreeSet::new(),
            next_request: 0,
            next_offset: 0,
            uuids: 0,
        }
    }

    /// Elects the shard and feeds it the log.
    pub(super) fn load(&mut self) {
        let epoch = LeaderEpoch(1);
        let mut loader = self
            .shard
            .begin_load(epoch)
            .expect("the shard is not owned yet");
        replay(&self.log, &mut loader);
        let mut actions = Vec::new();
        assert!(self.shard.finish_load(self.now, loader, &mut actions));
        self.perform(actions);
    }

    /// Another broker that reads the same log now.
    pub(super) fn failover(&self, config: GroupConfig) -> Self {
        let mut world = Self::unloaded(config);
        world.now = self.now;
        world.log = self.log.clone();
        world.next_offset = self.next_offset;
        world.uuids = 1 << 32;
        world.load();
        world
    }

    pub(super) fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.shard.handle(self.now, event, &mut actions);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<GroupAction>) {
        for action in actions {
            match action {
                Action::Reply { request, response } => {
                    assert!(
                        self.answered.insert(request),
                        "{request:?} is answered once"
                    );
                    self.replies.insert(request, response);
                }
                Action::Append(append) => {
                    assert!(!append.records.is_empty(), "a batch has records");
                    match self.acks {
                        Acks::Refused(error) => {
                            let (token, result) = (append.token, Err(error));
                            self.event(Event::AppendDone { token, result });
                        }
                        Acks::ByHand if append.durability == Durability::Required => {
                            self.unacknowledged.push(append);
                        }
                        Acks::ByHand | Acks::AtOnce => self.write(append),
                    }
                }
            }
        }
    }

    fn write(&mut self, append: Append) {
        let (token, base_offset) = (append.token, self.next_offset);
        self.next_offset += append.records.len() as i64;
        self.log.push(LogEntry::Batch {
            base_offset,
            append,
        });
        self.event(Event::AppendDone {
            token,
            result: Ok(base_offset),
        });
    }

    /// Acknowledges the oldest append that waits.
    pub(super) fn ack(&mut self) {
        let append = self.unacknowledged.remove(0);
        self.write(append);
    }

    /// Refuses the oldest append that waits.
    pub(super) fn refuse(&mut self, error: ErrorCode) {
        let token = self.unacknowledged.remove(0).token;
        self.event(Event::AppendDone {
            token,
            result: Err(error),
        });
    }

    /// Moves the clocks; what falls due happens at its own moment.
    pub(super) fn advance(&mut self, millis: u64) {
        let end = self.now.instant + std::time::Duration::from_millis(millis);
        while let Some(deadline) = self
            .shard
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            self.set_clock(deadline.max(self.now.instant));
            self.event(Event::DeadlinesDue);
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, to: Instant) {
        let passed = to.since(self.now.instant).as_millis() as i64;
        self.now = Now {
            instant: to,
            timestamp: Timestamp(self.now.timestamp.0 + passed),
        };
    }

    pub(super) fn send(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.event(Event::Request { id, request });
        id
    }

    pub(super) fn requests_sent(&self) -> u64 {
        self.next_request
    }

    pub(super) fn is_answered(&self, id: RequestId) -> bool {
        self.answered.contains(&id)
    }

    /// The reply that has come, if any.
    pub(super) fn reply(&mut self, id: RequestId) -> Option<Response> {
        self.replies.remove(&id)
    }

    pub(super) fn join_reply(&mut self, id: RequestId) -> JoinGroupResponse {
        match self.reply(id) {
            Some(Response::JoinGroup(response)) => response,
            other => panic!("no answer to the join: {other:?}"),
        }
    }

    pub(super) fn sync_reply(&mut self, id: RequestId) -> SyncGroupResponse {
        match self.reply(id) {
            Some(Response::SyncGroup(response)) => response,
            other => panic!("no answer to the sync: {other:?}"),
        }
    }

    pub(super) fn is_parked(&self, id: RequestId) -> bool {
        !self.replies.contains_key(&id)
    }

    pub(super) fn uuid(&mut self) -> [u8; 16] {
        self.uuids += 1;
        let mut uuid = [1; 16];
        uuid[..8].copy_from_slice(&self.uuids.to_be_bytes());
        uuid
    }

    /// A join of a member with this id; protocol `range` over topic `t`, timeouts of 10 s and 60 s.
    pub(super) fn join_request(&mut self, member_id: &str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: GROUP.into(),
            member_id: member_id.into(),
            group_instance_id: None,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol("range", &["t"])],
            require_known_member_id: false,
            supports_skip_assignment: true,
            reason: None,
            member_uuid: self.uuid(),
        }
    }

    pub(super) fn join(&mut self, member_id: &str) -> RequestId {
        let request = self.join_request(member_id);
        self.send(Request::JoinGroup(request))
    }

    pub(super) fn join_static(&mut self, instance_id: &str, member_id: &str) -> RequestId {
        let request = self.static_join_request(instance_id, member_id);
        self.send(Request::JoinGroup(request))
    }

    pub(super) fn static_join_request(
        &mut self,
        instance_id: &str,
        member_id: &str,
    ) -> JoinGroupRequest {
        JoinGroupRequest {
            group_instance_id: Some(instance_id.into()),
            ..self.join_request(member_id)
        }
    }

    pub(super) fn sync(&mut self, client: &Client, assignments: &[(&str, &str)]) -> RequestId {
        self.send(Request::SyncGroup(sync_request(client, assignments)))
    }

    pub(super) fn heartbeat(&mut self, client: &Client) -> ErrorCode {
        let id = self.send(Request::Heartbeat {
            group_id: GROUP.into(),
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            generation_id: client.generation,
        });
        match self.reply(id) {
            Some(Response::Heartbeat(error)) => error,
            other => panic!("no answer to the heartbeat: {other:?}"),
        }
    }

    pub(super) fn leave(&mut self, member_id: &str, instance_id: Option<&str>) -> ErrorCode {
        let leaving = LeavingMember {
            member_id: member_id.into(),
            group_instance_id: instance_id.map(Arc::from),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: vec![leaving],
        };
        let id = self.send(Request::LeaveGroup(request));
        match self.reply(id) {
            Some(Response::LeaveGroup(response)) => response.members[0].1,
            other => panic!("no answer to the leave: {other:?}"),
        }
    }

    pub(super) fn commit_request(
        &self,
        client: Option<&Client>,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
    ) -> OffsetCommitRequest {
        OffsetCommitRequest {
            group_id: GROUP.into(),
            member_id: client.map_or_else(|| Arc::from(""), |client| client.member_id.clone()),
            group_instance_id: client.and_then(|client| client.instance_id.clone()),
            generation_id: client.map_or(-1, |client| client.generation),
            offsets: offsets.to_vec(),
        }
    }

    /// Commits one partition's offset; the answer, if it has come.
    pub(super) fn commit(
        &mut self,
        client: Option<&Client>,
        partition: TopicPartition,
        offset: Offset,
    ) -> ErrorCode {
        let value = OffsetAndMetadata {
            commit_timestamp: self.now.timestamp,
            ..committed(offset)
        };
        let request = self.commit_request(client, &[(partition, value)]);
        let id = self.send(Request::OffsetCommit(request));
        self.commit_reply(id)
    }

    pub(super) fn commit_reply(&mut self, id: RequestId) -> ErrorCode {
        match self.reply(id) {
            Some(Response::OffsetCommit(partitions)) => partitions[0].1,
            other => panic!("no answer to the commit: {other:?}"),
        }
    }

    pub(super) fn commit_transactional(
        &mut self,
        producer_id: i64,
        partition: TopicPartition,
        offset: Offset,
    ) -> RequestId {
        let commit = self.commit_request(None, &[(partition, committed(offset))]);
        self.send(Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            commit,
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(0),
        }))
    }

    pub(super) fn marker(&mut self, producer_id: i64, outcome: TransactionOutcome) {
        let producer_id = ProducerId(producer_id);
        self.log.push(LogEntry::Marker {
            producer_id,
            outcome,
        });
        self.next_offset += 1;
        self.event(Event::TransactionCompleted {
            producer_id,
            outcome,
        });
    }

    /// The committed offset, −1 for none.
    pub(super) fn offset(&self, partition: &TopicPartition) -> Offset {
        self.fetch(partition, false).offset
    }

    pub(super) fn fetch(&self, partition: &TopicPartition, require_stable: bool) -> FetchedOffset {
        let partitions = std::slice::from_ref(partition);
        self.shard
            .fetch_offsets(GROUP, Some(partitions), require_stable)
            .unwrap()
            .remove(0)
    }

    pub(super) fn describe(&self) -> GroupDescription {
        self.shard.describe_group(GROUP).unwrap()
    }

    pub(super) fn state(&self) -> GroupState {
        self.describe().state
    }

    /// The keys and values that were written since the given number of batches.
    pub(super) fn records(&self) -> Vec<(records::RecordKey, Option<Bytes>)> {
        let mut all = Vec::new();
        for entry in &self.log {
            if let LogEntry::Batch { append, .. } = entry {
                for record in &append.records {
                    let key = records::read_key(record.key.clone()).unwrap();
                    all.push((key, record.value.clone()));
                }
            }
        }
        all
    }

    /// The last value written for the group itself.
    pub(super) fn group_record(&self) -> Option<records::GroupMetadataValue> {
        let written = self.records().into_iter().rev().find_map(|(key, value)| {
            matches!(key, records::RecordKey::GroupMetadata { .. }).then_some(value)
        })?;
        written.map(|value| records::read_group_metadata_value(value).unwrap())
    }

    /// A Stable group with this many members, the leader first.
    pub(super) fn stable_group(&mut self, count: usize) -> Vec<Client> {
        let joins: Vec<RequestId> = (0..count).map(|_| self.join("")).collect();
        self.settle(joins)
    }

    /// Ends the initial delay for these joins and syncs all of them, the leader first.
    pub(super) fn settle(&mut self, joins: Vec<RequestId>) -> Vec<Client> {
        let mut rounds = 0;
        while self.is_parked(joins[0]) {
            self.advance(3_000);
            rounds += 1;
            assert!(rounds < 30, "the join phase ends");
        }
        let mut responses: Vec<JoinGroupResponse> =
            joins.into_iter().map(|id| self.join_reply(id)).collect();
        responses.sort_by_key(|response| response.member_id != response.leader);
        let leader_view = responses[0].members.clone();
        let clients: Vec<Client> = responses
            .into_iter()
            .map(|response| {
                assert_eq!(response.error, ErrorCode::None);
                let seen = leader_view
                    .iter()
                    .find(|m| m.member_id == response.member_id);
                Client {
                    instance_id: seen.and_then(|member| member.group_instance_id.clone()),
                    member_id: response.member_id,
                    generation: response.generation_id,
                }
            })
            .collect();
        let followers: Vec<RequestId> = clients[1..]
            .iter()
            .map(|client| self.sync(client, &[]))
            .collect();
        let assignments: Vec<(&str, &str)> = clients
            .iter()
            .map(|client| (&*client.member_id, &*client.member_id))
            .collect();
        let leader = self.sync(&clients[0], &assignments);
        for (id, client) in [leader].into_iter().chain(followers).zip(&clients) {
            let response = self.sync_reply(id);
            assert_eq!(response.error, ErrorCode::None);
            assert_eq!(response.assignment, client.member_id.as_bytes());
        }
        clients
    }
}

pub(super) fn sync_request(client: &Client, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.into(),
        member_id: client.member_id.clone(),
        group_instance_id: client.instance_id.clone(),
        generation_id: client.generation,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments
            .iter()
            .map(|(id, bytes)| (Arc::from(*id), Bytes::copy_from_slice(bytes.as_bytes())))
            .collect(),
    }
}

pub(super) fn replay(log: &[LogEntry], loader: &mut Loader) {
    for entry in log {
        match entry {
            LogEntry::Batch {
                base_offset,
                append,
            } => {
                let batch = BatchInfo {
                    base_offset: *base_offset,
                    producer_id: append.producer_id,
                    transactional: append.transactional,
                };
                for record in &append.records {
                    loader
                        .replay(batch, record.key.clone(), record.value.clone())
                        .unwrap();
                }
            }
            LogEntry::Marker {
                producer_id,
                outcome,
            } => {
                loader.replay_marker(*producer_id, *outcome);
            }
        }
    }
}
