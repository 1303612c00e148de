//! A producer whose every request can be told and sent again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreateTopicsRequest, DeleteRecordsRequest, EndTxnRequest,
    FindCoordinatorRequest, GroupId, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    OffsetCommitRequest, ProducerId, TopicName, TransactionalId,
};
use ottla_integration::Direct;
use ottla_integration::wait::wait_for;
use ottla_model::{ProducerEpoch, Timestamp};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use ottla_record::{Compression, RecordBatchBuilder};

const DEADLINE: Duration = Duration::from_secs(180);
/// The longest that Kafka allows: an open transaction outlives the test.
const TRANSACTION_TIMEOUT_MS: i32 = 900_000;
const NONE: i16 = 0;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// A record: key, value.
pub(crate) type Content = (Option<String>, Option<String>);

/// A producer with an id; its sequence numbers live here, not with the broker.
#[derive(Debug)]
pub(crate) struct Producer {
    transactional_id: Option<String>,
    id: i64,
    epoch: i16,
    /// By topic: the next sequence number.
    sequences: BTreeMap<String, i32>,
    /// By topic: the last batch and the offset that it was given.
    last: BTreeMap<String, (Bytes, i64)>,
}

impl Producer {
    /// Gets an id, for a transactional id if it is given.
    pub(crate) fn start(address: &str, transactional_id: Option<&str>) -> anyhow::Result<Self> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(transactional_id.map(transactional))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = until_done("a producer id", || {
            let response = Direct::connect(address)?.send(&request, 4)?;
            Ok((response.error_code, response))
        })?;
        Ok(Self {
            transactional_id: transactional_id.map(str::to_owned),
            id: response.producer_id.0,
            epoch: response.producer_epoch,
            sequences: BTreeMap::new(),
            last: BTreeMap::new(),
        })
    }

    /// Writes one batch to partition 0; in a transaction if it has a transactional id.
    pub(crate) fn write(
        &mut self,
        broker: &Direct,
        topic: &str,
        codec: Compression,
        records: &[Content],
        time: i64,
    ) -> anyhow::Result<i64> {
        let sequence = self.sequences.get(topic).copied().unwrap_or(0);
        let batch = self.batch(sequence, codec, records, time)?;
        if let Some(id) = &self.transactional_id {
            let topics = vec![
                AddPartitionsToTxnTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![0]),
            ];
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(transactional(id))
                .with_v3_and_below_producer_id(ProducerId(self.id))
                .with_v3_and_below_producer_epoch(self.epoch)
                .with_v3_and_below_topics(topics);
            until_done("a partition in a transaction", || {
                let response = broker.send(&request, 3)?;
                let results = &response.results_by_topic_v3_and_below;
                Ok((results[0].results_by_partition[0].partition_error_code, ()))
            })?;
        }
        let offset = until_done("an appended batch", || self.send(broker, topic, &batch))?;
        self.last.insert(topic.to_owned(), (batch, offset));
        let next = sequence + i32::try_from(records.len())?;
        self.sequences.insert(topic.to_owned(), next);
        Ok(offset)
    }

    /// Ends the transaction.
    pub(crate) fn end(&self, broker: &Direct, committed: bool) -> anyhow::Result<()> {
        let id = self.transactional_id.as_deref().context("no transaction")?;
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(ProducerId(self.id))
            .with_producer_epoch(self.epoch)
            .with_committed(committed);
        until_done("the end of a transaction", || {
            Ok((broker.send(&request, 3)?.error_code, ()))
        })
    }

    /// The last batch of each topic comes again and is known; one that leaves a gap is refused.
    pub(crate) fn check_it_is_known(&self, broker: &Direct) -> anyhow::Result<()> {
        for (topic, (batch, offset)) in &self.last {
            let again = self.send(broker, topic, batch)?;
            anyhow::ensure!(
                again == (NONE, *offset),
                "{topic}: sent again, the batch at {offset} is answered with {again:?}"
            );
            if self.transactional_id.is_some() {
                continue;
            }
            let sequence = self.sequences[topic] + 7;
            let records = [(Some("gap".to_owned()), Some("gap".to_owned()))];
            let gap = self.batch(sequence, Compression::None, &records, now()?)?;
            let (error, _) = self.send(broker, topic, &gap)?;
            anyhow::ensure!(
                error == OUT_OF_ORDER_SEQUENCE_NUMBER,
                "{topic}: a gap is answered with {error}"
            );
        }
        Ok(())
    }

    fn batch(
        &self,
        sequence: i32,
        codec: Compression,
        records: &[Content],
        time: i64,
    ) -> anyhow::Result<Bytes> {
        let mut builder = RecordBatchBuilder::new(0)
            .compression(codec)
            .producer(
                ottla_model::ProducerId(self.id),
                ProducerEpoch(self.epoch),
                sequence,
            )
            .transactional(self.transactional_id.is_some());
        for (i, (key, value)) in (0..).zip(records) {
            // Not in order, as from many clients.
            let time = time + i64::from(i ^ 1);
            builder.append_with_headers(
                Timestamp(time),
                key.as_deref().map(str::as_bytes),
                value.as_deref().map(str::as_bytes),
                &[("number", Some(i.to_string().as_bytes())), ("none", None)],
            )?;
        }
        Ok(builder.build()?)
    }

    fn send(&self, broker: &Direct, topic: &str, batch: &Bytes) -> anyhow::Result<(i16, i64)> {
        send_batch(broker, self.transactional_id.as_deref(), topic, batch)
    }
}

/// Writes a batch without a producer id, as old topics need it.
pub(crate) fn write_plain(
    broker: &Direct,
    topic: &str,
    codec: Compression,
    records: &[Content],
    time: i64,
) -> anyhow::Result<i64> {
    let mut builder = RecordBatchBuilder::new(0).compression(codec);
    for (i, (key, value)) in (0..).zip(records) {
        builder.append(
            Timestamp(time + i),
            key.as_deref().map(str::as_bytes),
            value.as_deref().map(str::as_bytes),
        )?;
    }
    let batch = builder.build()?;
    until_done("an appended batch", || {
        send_batch(broker, None, topic, &batch)
    })
}

fn send_batch(
    broker: &Direct,
    transactional_id: Option<&str>,
    topic: &str,
    batch: &Bytes,
) -> anyhow::Result<(i16, i64)> {
    let request = ProduceRequest {
        transactional_id: transactional_id.map(|id| id.to_owned().into()),
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic {
            name: topic.to_owned().into(),
            partitions: vec![ProducePartition {
                index: 0,
                records: Some(batch.clone()),
            }],
        }],
    };
    let response = broker.produce_as(&request)?;
    let partition = &response.responses[0].partition_responses[0];
    Ok((partition.error_code, partition.base_offset))
}

/// Creates a topic of one partition with these settings.
pub(crate) fn create_topic(
    broker: &Direct,
    name: &str,
    configs: &[(&str, &str)],
) -> anyhow::Result<()> {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name((*key).to_owned().into())
            .with_value(Some((*value).to_owned().into()))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    until_done("a topic", || {
        Ok((broker.send(&request, 5)?.topics[0].error_code, ()))
    })
}

/// Gives a topic's setting another value.
pub(crate) fn set_topic_config(
    broker: &Direct,
    topic: &str,
    key: &str,
    value: &str,
) -> anyhow::Result<()> {
    const TOPIC: i8 = 2;
    let config = AlterableConfig::default()
        .with_name(key.to_owned().into())
        .with_value(Some(value.to_owned().into()));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(topic.to_owned().into())
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    until_done("a setting", || {
        Ok((broker.send(&request, 1)?.responses[0].error_code, ()))
    })
}

/// Deletes the records of partition 0 below an offset.
pub(crate) fn delete_records(broker: &Direct, topic: &str, offset: i64) -> anyhow::Result<()> {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(0)
        .with_offset(offset);
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(30_000)
        .with_topics(vec![
            DeleteRecordsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(vec![partition]),
        ]);
    until_done("deleted records", || {
        let response = broker.send(&request, 2)?;
        let partitions = response.topics.iter().flat_map(|t| &t.partitions);
        let error = partitions.map(|p| p.error_code).next();
        Ok((error.context("no partition")?, ()))
    })
}

/// Commits an offset of partition 0 for a group without members.
pub(crate) fn commit(broker: &Direct, group: &str, topic: &str, offset: i64) -> anyhow::Result<()> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(0)
        .with_committed_metadata(Some(format!("of {group}").into()));
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(group.to_owned().into()))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(vec![partition]),
        ]);
    until_done("a commit", || {
        let response = broker.send(&request, 8)?;
        Ok((response.topics[0].partitions[0].error_code, ()))
    })
}

/// Waits for the coordinator of a group (0) or of a transactional id (1), which creates its topic.
pub(crate) fn find_coordinator(broker: &Direct, key: &str, key_type: i8) -> anyhow::Result<()> {
    let request = FindCoordinatorRequest::default()
        .with_key(key.to_owned().into())
        .with_key_type(key_type);
    until_done("a coordinator", || {
        Ok((broker.send(&request, 3)?.error_code, ()))
    })
}

/// Milliseconds since 1970.
pub(crate) fn now() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// Repeats what fails with an error that passes, such as a leader that is not there yet.
fn until_done<T>(
    what: &str,
    mut attempt: impl FnMut() -> anyhow::Result<(i16, T)>,
) -> anyhow::Result<T> {
    let mut last = None;
    let done = wait_for(what, DEADLINE, || match attempt() {
        Ok((NONE, value)) => Some(Ok(value)),
        // Unknown topic, no leader, not the leader, coordinator errors, no broker known yet, a
        // transaction that ends.
        Ok((error @ (3 | 5 | 6 | 14 | 15 | 16 | 38 | 51), _)) => {
            last = Some(error);
            None
        }
        Ok((error, _)) => Some(Err(anyhow::anyhow!("error {error}"))),
        Err(error) => Some(Err(error)),
    });
    done.with_context(|| format!("{what}: last error {last:?}"))?
        .with_context(|| what.to_owned())
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(topic.to_owned().into())
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(id.to_owned().into())
}
