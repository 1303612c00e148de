//! All that a broker tells about a directory, as text that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeProducersRequest, DescribeTransactionsRequest, GroupId, ListOffsetsRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, TopicName, TransactionalId,
};
use ottla_integration::Direct;
use ottla_integration::wait::wait_for;
use ottla_model::TopicId;
use ottla_protocol::Part;
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_record::BatchIterator;

const LIST_OFFSETS_VERSION: i16 = 8;
const EPOCH_VERSION: i16 = 4;
const OFFSET_FETCH_VERSION: i16 = 8;
const DECOMPRESSED_MAX: usize = 1 << 24;
/// Small, so that a partition takes many answers.
const FETCH_BYTES: i32 = 20_000;
const DEADLINE: Duration = Duration::from_secs(180);
const EARLIEST_LOCAL: i64 = -4;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// What to ask about.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// Topics and their numbers of partitions.
    pub(crate) topics: Vec<(String, i32)>,
    /// Topics that the cleaner works on, of which only the last value of each key is compared.
    pub(crate) compacted: BTreeSet<String>,
    /// Topics in a format without timestamps, whose offsets cannot be asked for by time.
    pub(crate) untimed: BTreeSet<String>,
    /// Leader epochs below this one are asked about.
    pub(crate) leader_epochs: i32,
    pub(crate) groups: Vec<String>,
    pub(crate) transactional_ids: Vec<String>,
    /// Times to look up, from and to.
    pub(crate) times: (i64, i64),
}

/// Answers by what was asked.
pub(crate) type Picture = BTreeMap<String, String>;

/// Asks everything, until the broker leads and coordinates everything.
pub(crate) fn take(address: &str, questions: &Questions) -> anyhow::Result<Picture> {
    let mut last = anyhow::Ok(Picture::new());
    let taken = wait_for("a broker that answers everything", DEADLINE, || {
        last = Direct::connect(address).and_then(|broker| Asking { broker, questions }.all());
        last.is_ok().then_some(())
    });
    match taken {
        Ok(()) => last,
        Err(error) => Err(error.context(format!("{last:?}"))),
    }
}

/// The first differences, if there are any.
pub(crate) fn compare(before: &Picture, after: &Picture) -> anyhow::Result<()> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let different: Vec<String> = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            format!(
                "{key}:\n  before: {:?}\n  after:  {:?}",
                before.get(key),
                after.get(key)
            )
        })
        .collect();
    anyhow::ensure!(
        different.is_empty(),
        "{} of {} answers differ:\n{}",
        different.len(),
        before.len(),
        different[..different.len().min(25)].join("\n")
    );
    Ok(())
}

struct Asking<'a> {
    broker: Direct,
    questions: &'a Questions,
}

impl Asking<'_> {
    fn all(&self) -> anyhow::Result<Picture> {
        let mut picture = Picture::new();
        for (topic, partitions) in &self.questions.topics {
            for partition in 0..*partitions {
                let name = format!("{topic}-{partition}");
                self.records(topic, partition, &name, &mut picture)?;
                self.offsets(topic, partition, &name, &mut picture)?;
                self.epochs(topic, partition, &name, &mut picture)?;
                self.producers(topic, partition, &name, &mut picture)?;
            }
        }
        self.groups(&mut picture)?;
        self.transactions(&mut picture)?;
        Ok(picture)
    }

    fn is_compacted(&self, topic: &str) -> bool {
        self.questions.compacted.contains(topic)
    }

    /// Both kinds of consumers read the whole partition.
    fn records(
        &self,
        topic: &str,
        partition: i32,
        name: &str,
        picture: &mut Picture,
    ) -> anyhow::Result<()> {
        for isolation in [0, 1] {
            let mut aborted = BTreeSet::new();
            let mut table = BTreeMap::new();
            let (mut at, mut bytes, mut bounds) = (0, 0, None);
            loop {
                let answer = self.fetch(topic, partition, at, isolation)?;
                if answer.error_code.code() == 1 && bounds.is_none() {
                    // Before the log's start: begin there.
                    at = self.offset_at(topic, partition, EARLIEST, 0)?.0;
                    bounds = Some(String::new());
                    continue;
                }
                anyhow::ensure!(answer.error_code.is_none(), "{name}: {answer:?}");
                bounds = Some(format!(
                    "start {} high watermark {} stable {}",
                    answer.log_start_offset, answer.high_watermark, answer.last_stable_offset
                ));
                for transaction in answer.aborted_transactions.into_iter().flatten() {
                    aborted.insert((transaction.producer_id, transaction.first_offset));
                }
                let Some(Part::Bytes(records)) = answer.records else {
                    break;
                };
                let from = at;
                for batch in BatchIterator::new(&records) {
                    let batch = batch?;
                    let header = batch.header();
                    at = header.next_offset();
                    bytes += batch.bytes().len();
                    if isolation == 0 && self.is_compacted(topic) {
                        if header.is_control() {
                            continue;
                        }
                        for record in batch.records(DECOMPRESSED_MAX)?.iter()? {
                            let record = record?;
                            let key = record.key.map(<[u8]>::to_vec);
                            table.insert(
                                key,
                                record.value.map(|value| {
                                    format!(
                                        "{} {} {}",
                                        record.offset,
                                        record.timestamp.0,
                                        String::from_utf8_lossy(value)
                                    )
                                }),
                            );
                        }
                    } else if isolation == 0 {
                        batch.ensure_valid()?;
                        let records = match header.is_control() {
                            true => "a marker".to_owned(),
                            false => {
                                let records = batch.records(DECOMPRESSED_MAX)?;
                                let count = records.iter()?.collect::<Result<Vec<_>, _>>()?.len();
                                format!("{count} records")
                            }
                        };
                        picture.insert(
                            format!("{name} batch {:08}", header.base_offset()),
                            format!(
                                "to {at}, {records}, {} bytes, crc {:x}",
                                batch.bytes().len(),
                                crc32c::crc32c(batch.bytes())
                            ),
                        );
                    }
                }
                if at == from {
                    break;
                }
            }
            let seen = bounds.context("no answer")?;
            let what = match isolation {
                0 => "all",
                _ => "committed",
            };
            if self.is_compacted(topic) {
                for (key, value) in table {
                    if let (Some(key), Some(value)) = (key, value) {
                        let key = key.escape_ascii();
                        picture.insert(format!("{name} key {key}"), value);
                    }
                }
                picture.insert(format!("{name} {what}"), format!("{seen} read to {at}"));
            } else {
                picture.insert(
                    format!("{name} {what}"),
                    format!("{seen} read to {at}, {bytes} bytes, aborted {aborted:?}"),
                );
            }
        }
        Ok(())
    }

    fn fetch(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        isolation_level: i8,
    ) -> anyhow::Result<ottla_protocol::fetch::FetchPartitionResponse> {
        let request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: FETCH_BYTES,
            isolation_level,
            topics: vec![FetchTopic {
                name: topic.to_owned().into(),
                topic_id: TopicId::ZERO,
                partitions: vec![FetchPartition {
                    partition,
                    current_leader_epoch: -1,
                    fetch_offset: offset,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    max_bytes: FETCH_BYTES,
                }],
            }],
            ..FetchRequest::default()
        };
        let response = self.broker.fetch_as(&request)?;
        let partitions = response.topics.into_iter().flat_map(|t| t.partitions);
        partitions.into_iter().next().context("no partition")
    }

    /// Offset, timestamp and leader epoch.
    fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        time: i64,
        isolation: i8,
    ) -> anyhow::Result<(i64, i64, i32)> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(time);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![asked]),
            ]);
        let response = self.broker.send(&request, LIST_OFFSETS_VERSION)?;
        let answer = &response.topics[0].partitions[0];
        anyhow::ensure!(answer.error_code == 0, "{topic}-{partition}: {answer:?}");
        Ok((answer.offset, answer.timestamp, answer.leader_epoch))
    }

    fn offsets(
        &self,
        topic: &str,
        partition: i32,
        name: &str,
        picture: &mut Picture,
    ) -> anyhow::Result<()> {
        let (from, to) = self.questions.times;
        let mut times = vec![EARLIEST];
        let is_timed = !self.questions.untimed.contains(topic);
        if is_timed {
            times.push(EARLIEST_LOCAL);
        }
        if is_timed && !self.is_compacted(topic) {
            times.push(MAX_TIMESTAMP);
            let step = ((to - from) / 37).max(1);
            times.extend((0..40).map(|i| from - step + i * step));
        }
        for time in times {
            let answer = self.offset_at(topic, partition, time, 0)?;
            picture.insert(format!("{name} at {time}"), format!("{answer:?}"));
        }
        for isolation in [0, 1] {
            // The epoch of what is to come is the leader's.
            let (offset, _, _) = self.offset_at(topic, partition, LATEST, isolation)?;
            picture.insert(format!("{name} end {isolation}"), offset.to_string());
        }
        Ok(())
    }

    fn epochs(
        &self,
        topic: &str,
        partition: i32,
        name: &str,
        picture: &mut Picture,
    ) -> anyhow::Result<()> {
        for epoch in 0..self.questions.leader_epochs {
            let asked = OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(-1)
                .with_leader_epoch(epoch);
            let request = OffsetForLeaderEpochRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![
                    OffsetForLeaderTopic::default()
                        .with_topic(topic_name(topic))
                        .with_partitions(vec![asked]),
                ]);
            let response = self.broker.send(&request, EPOCH_VERSION)?;
            let answer = &response.topics[0].partitions[0];
            anyhow::ensure!(answer.error_code == 0, "{name}: {answer:?}");
            picture.insert(
                format!("{name} epoch {epoch}"),
                format!("{} ends at {}", answer.leader_epoch, answer.end_offset),
            );
        }
        Ok(())
    }

    fn producers(
        &self,
        topic: &str,
        partition: i32,
        name: &str,
        picture: &mut Picture,
    ) -> anyhow::Result<()> {
        let asked = TopicRequest::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        let response = self.broker.send(&request, 0)?;
        let answer = &response.topics[0].partitions[0];
        anyhow::ensure!(answer.error_code == 0, "{name}: {answer:?}");
        for producer in &answer.active_producers {
            picture.insert(
                format!("{name} producer {}", producer.producer_id.0),
                format!(
                    "epoch {} sequence {} at {} coordinator {} transaction {}",
                    producer.producer_epoch,
                    producer.last_sequence,
                    producer.last_timestamp,
                    producer.coordinator_epoch,
                    producer.current_txn_start_offset
                ),
            );
        }
        Ok(())
    }

    fn groups(&self, picture: &mut Picture) -> anyhow::Result<()> {
        for group in &self.questions.groups {
            let asked = OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(group.clone().into()))
                .with_topics(None);
            let request = OffsetFetchRequest::default().with_groups(vec![asked]);
            let response = self.broker.send(&request, OFFSET_FETCH_VERSION)?;
            let answer = &response.groups[0];
            anyhow::ensure!(answer.error_code == 0, "{group}: {answer:?}");
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    anyhow::ensure!(partition.error_code == 0, "{group}: {answer:?}");
                    picture.insert(
                        format!("{group} {}-{}", &*topic.name.0, partition.partition_index),
                        format!(
                            "{} epoch {} {:?}",
                            partition.committed_offset,
                            partition.committed_leader_epoch,
                            partition.metadata.as_deref()
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    fn transactions(&self, picture: &mut Picture) -> anyhow::Result<()> {
        let ids = self.questions.transactional_ids.iter();
        let ids = ids.map(|id| TransactionalId(id.clone().into())).collect();
        let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
        let response = self.broker.send(&request, 0)?;
        for state in response.transaction_states {
            anyhow::ensure!(state.error_code == 0, "{state:?}");
            picture.insert(
                format!("transaction {}", &*state.transactional_id.0),
                format!(
                    "{} timeout {} since {} producer {} epoch {} topics {:?}",
                    &*state.transaction_state,
                    state.transaction_timeout_ms,
                    state.transaction_start_time_ms,
                    state.producer_id.0,
                    state.producer_epoch,
                    state.topics
                ),
            );
        }
        Ok(())
    }
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(topic.to_owned().into())
}
