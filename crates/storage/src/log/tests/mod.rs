//! Tests of the log, by promise. `model` and `crash` play random operations by seed.

mod append;
mod config;
mod crash;
mod loading;
mod model;
mod offsets;
mod producers;
mod retention;
mod split;
mod transactions;
mod truncation;

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use ottla_record::{
    AppendOrigin, BatchIterator, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, RecordBatchBuilder,
    TransactionResult, end_transaction_marker,
};

use crate::AppendError;
use crate::directory::{Directory, FaultyDirectory, MemoryDirectory};
use crate::errors::LoadError;
use crate::log::{AppendInfo, Log, OpenLog};
use crate::log_config::LogConfig;
use crate::log_dir::{Background, LogDir};
use crate::log_reader::FetchIsolation;
use crate::partition_directory::PartitionDirectory;
use crate::producer::VerificationGuard;

pub(super) const NOW: Timestamp = Timestamp(1_000_000);

/// A partition's directory on a file system that can fail and crash.
pub(super) struct Disk {
    pub(super) files: FaultyDirectory,
    pub(super) config: LogConfig,
}

impl Disk {
    pub(super) fn new(config: LogConfig) -> Self {
        let files = FaultyDirectory::new(MemoryDirectory::new());
        files.create_directory("/data/t-0".as_ref()).unwrap();
        files.sync_directory("/".as_ref()).unwrap();
        files.memory().set_clock(NOW);
        Self { files, config }
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    pub(super) fn open_request(&self, is_clean: bool, recovery_point: Offset) -> OpenLog {
        let files: Arc<dyn Directory> = Arc::new(self.files.clone());
        let log_dir = LogDir::new(
            Arc::clone(&files),
            "/data".into(),
            Arc::<Background>::default(),
        );
        OpenLog {
            topic_partition: self.partition(),
            directory: Arc::new(PartitionDirectory::new(files, "/data/t-0".into())),
            log_dir: Arc::new(log_dir),
            config: Arc::new(self.config.clone()),
            log_start_offset: 0,
            recovery_point,
            is_clean,
            is_future: false,
            topic_id: None,
            producer_expiration_ms: 86_400_000,
            jitter_seed: 7,
            now: NOW,
        }
    }

    pub(super) fn open(&self) -> Log {
        Log::open(self.open_request(true, 0)).unwrap()
    }

    pub(super) fn recover(&self, recovery_point: Offset) -> Result<Log, LoadError> {
        Log::open(self.open_request(false, recovery_point))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = self.files.list("/data/t-0".as_ref()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    pub(super) fn length(&self, name: &str) -> u64 {
        self.files
            .length(&std::path::Path::new("/data/t-0").join(name))
            .unwrap()
    }

    pub(super) fn overwrite(&self, name: &str, position: u64, bytes: &[u8]) {
        let path = std::path::Path::new("/data/t-0").join(name);
        let file = self
            .files
            .open(&path, crate::directory::OpenMode::OpenOrCreate)
            .unwrap();
        file.write_all_at(&mut [std::io::IoSlice::new(bytes)], position)
            .unwrap();
    }
}

/// Small segments, an index entry after every 100 bytes.
pub(super) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        segment_index_bytes: 1024,
        index_interval_bytes: 100,
        ..LogConfig::default()
    }
}

/// A producer's batch of `values`, one per record.
pub(super) fn batch(timestamp: i64, values: &[&str]) -> Bytes {
    build(RecordBatchBuilder::new(0), timestamp, values)
}

pub(super) fn build(mut builder: RecordBatchBuilder, timestamp: i64, values: &[&str]) -> Bytes {
    for value in values {
        builder
            .append(Timestamp(timestamp), Some(b"k"), Some(value.as_bytes()))
            .unwrap();
    }
    builder.build().unwrap()
}

/// An idempotent producer's batch, in a transaction or not.
pub(super) fn produced(
    id: i64,
    epoch: i16,
    sequence: i32,
    count: usize,
    transactional: bool,
) -> Bytes {
    let builder = RecordBatchBuilder::new(0)
        .producer(ProducerId(id), ProducerEpoch(epoch), sequence)
        .transactional(transactional);
    build(builder, 1000, &vec!["v"; count])
}

pub(super) fn marker(
    id: i64,
    epoch: i16,
    coordinator_epoch: i32,
    result: TransactionResult,
) -> Bytes {
    let marker = EndTransactionMarker {
        result,
        coordinator_epoch,
    };
    end_transaction_marker(
        0,
        Timestamp(1000),
        LeaderEpoch(0),
        ProducerId(id),
        ProducerEpoch(epoch),
        marker,
    )
    .unwrap()
}

pub(super) fn lead(log: &mut Log, records: Bytes) -> Result<AppendInfo, AppendError> {
    lead_at(log, records, 0)
}

pub(super) fn lead_at(
    log: &mut Log,
    records: Bytes,
    epoch: i32,
) -> Result<AppendInfo, AppendError> {
    let none = VerificationGuard::NONE;
    log.append_as_leader(records, LeaderEpoch(epoch), AppendOrigin::Client, none, NOW)
}

pub(super) fn coordinate(log: &mut Log, records: Bytes) -> Result<AppendInfo, AppendError> {
    let none = VerificationGuard::NONE;
    log.append_as_leader(
        records,
        LeaderEpoch(0),
        AppendOrigin::Coordinator,
        none,
        NOW,
    )
}

/// All records of the log as (offset, value), read as a follower reads.
pub(super) fn contents(log: &Log) -> Vec<(Offset, String)> {
    let reader = log.reader();
    let mut from = log.log_start_offset();
    let mut records = Vec::new();
    while from < log.log_end_offset() {
        let fetched = reader
            .read(from, 300, FetchIsolation::LogEnd, true)
            .unwrap();
        let Some(slice) = fetched.slice else { break };
        let bytes = slice.read().unwrap();
        let before = from;
        for batch in BatchIterator::new(&bytes) {
            let batch = batch.unwrap();
            batch.ensure_valid().unwrap();
            for record in batch
                .records(DECOMPRESSED_SIZE_MAX)
                .unwrap()
                .iter()
                .unwrap()
            {
                let record = record.unwrap();
                if record.offset >= log.log_start_offset() && record.offset >= from {
                    let value = String::from_utf8_lossy(record.value.unwrap_or_default());
                    records.push((record.offset, value.into_owned()));
                }
            }
            from = batch.next_offset();
        }
        assert!(from > before, "a read makes progress");
    }
    records
}
