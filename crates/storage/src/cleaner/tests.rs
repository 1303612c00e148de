//! The cleaner over whole logs, by promise.

mod crash;
mod property;
mod records;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_model::{BrokerId, LeaderEpoch, ProducerEpoch, ProducerId, TopicName};
use ottla_record::{
    AppendOrigin, BatchIterator, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, RecordBatchBuilder,
    TransactionResult, end_transaction_marker,
};
use parking_lot::Mutex;

use super::*;
use crate::directory::{Directory, FaultyDirectory, MemoryDirectory};
use crate::log_config::LogConfig;
use crate::log_manager::{LogDirs, LogHandle, LogManagerSettings};
use crate::producer::VerificationGuard;

const NOW: Timestamp = Timestamp(1_000_000);
/// `delete.retention.ms` of the tests.
const DELETE_RETENTION: i64 = 500;

/// A broker's logs on a disk that can fail and crash, with one compacted partition.
struct Bench {
    files: FaultyDirectory,
    config: LogConfig,
    manager: LogManager,
    log: LogHandle,
    clock: TestClock,
}

struct TestClock {
    wall: Mutex<Timestamp>,
    throttle: Mutex<Throttle>,
    paused: Mutex<Duration>,
}

impl CleanerClock for TestClock {
    fn now(&self) -> Instant {
        Instant(*self.paused.lock())
    }
    fn wall(&self) -> Timestamp {
        *self.wall.lock()
    }
    fn pause(&self, duration: Duration) {
        *self.paused.lock() += duration;
    }
    fn throttle(&self) -> &Mutex<Throttle> {
        &self.throttle
    }
}

/// A compacted topic with small segments that is cleaned as soon as anything is dirty.
fn compacted() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 4000,
        segment_index_bytes: 1024,
        index_interval_bytes: 100,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: DELETE_RETENTION,
        ..LogConfig::default()
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn load(files: &FaultyDirectory, config: &LogConfig) -> LogManager {
    let mut dirs = LogDirs::open(Arc::new(files.clone()), &[PathBuf::from("/a")]).unwrap();
    dirs.verify("cluster", None).unwrap();
    dirs.write_identity("cluster", BrokerId(0), NOW);
    let configs = |_: &TopicName| Arc::new(config.clone());
    LogManager::load(dirs, LogManagerSettings::default(), &configs, NOW).unwrap()
}

impl Bench {
    fn new(config: LogConfig) -> Self {
        Self::on(FaultyDirectory::new(MemoryDirectory::new()), config)
    }

    fn on(files: FaultyDirectory, config: LogConfig) -> Self {
        files.memory().set_clock(NOW);
        let manager = load(&files, &config);
        let log = manager
            .get_or_create_log(&partition(), true, None, Arc::new(config.clone()), NOW)
            .unwrap();
        log.lock().set_transaction_verification(false);
        let clock = TestClock {
            wall: Mutex::new(NOW),
            throttle: Mutex::new(Throttle::new(Instant(Duration::ZERO))),
            paused: Mutex::default(),
        };
        Self {
            files,
            config,
            manager,
            log,
            clock,
        }
    }

    /// The disk after the process was killed, opened anew.
    fn reopened(self) -> Self {
        let Self { files, config, .. } = self;
        files.heal();
        Self::on(FaultyDirectory::new(files.memory().duplicate()), config)
    }

    fn append(&self, records: Bytes) -> Offset {
        self.append_from(records, AppendOrigin::Client)
    }

    fn append_from(&self, records: Bytes, origin: AppendOrigin) -> Offset {
        let none = VerificationGuard::NONE;
        let mut log = self.log.lock();
        let info = log.append_as_leader(records, LeaderEpoch(0), origin, none, NOW);
        info.unwrap().first_offset
    }

    /// One record per batch.
    fn put(&self, key: &str, value: Option<&str>) -> Offset {
        self.append(batch(RecordBatchBuilder::new(0), &[(key, value)]))
    }

    /// Commits all and ends the active segment.
    fn roll(&self) {
        let mut log = self.log.lock();
        let end = log.log_end_offset();
        log.update_high_watermark(end);
        log.roll(NOW).unwrap();
    }

    fn set_time(&self, now: i64) {
        *self.clock.wall.lock() = Timestamp(now);
        self.files.memory().set_clock(Timestamp(now));
    }

    fn clean(&self) -> CleanRound {
        self.clean_with(CleanerSettings {
            dedupe_buffer_size: 1 << 20,
            io_buffer_size: 1024,
            ..CleanerSettings::default()
        })
    }

    fn clean_with(&self, settings: CleanerSettings) -> CleanRound {
        self.manager.clean(&mut Cleaner::new(settings), &self.clock)
    }

    /// Cleans once more although nothing is dirty but one more record.
    fn clean_again(&self) {
        self.put("filler", Some("f"));
        self.roll();
        assert!(matches!(self.clean(), CleanRound::Cleaned(_)));
    }

    /// All batches as they are on the disk.
    fn bytes(&self) -> Vec<u8> {
        let segments = self.log.lock().cleaning_view().segments;
        let mut bytes = Vec::new();
        for segment in segments.iter() {
            let mut content = vec![0; segment.size() as usize];
            crate::directory::read_full(&**segment.file().unwrap(), &mut content, 0).unwrap();
            bytes.extend(content);
        }
        bytes
    }

    /// Offset, key and value of all data records but fillers, and of markers with key "marker".
    fn rows(&self) -> Vec<(Offset, String, Option<String>)> {
        let bytes = self.bytes();
        let mut rows = Vec::new();
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
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                if batch.is_control() {
                    rows.push((record.offset, "marker".to_owned(), None));
                    continue;
                }
                let key = record.key.map_or("-".to_owned(), text);
                if key != "filler" {
                    rows.push((record.offset, key, record.value.map(text)));
                }
            }
        }
        rows
    }

    /// Offsets and keys, as `0:a 3:b`.
    fn kept(&self) -> String {
        let rows = self.rows().into_iter();
        let texts: Vec<String> = rows
            .map(|(offset, key, _)| format!("{offset}:{key}"))
            .collect();
        texts.join(" ")
    }

    fn checkpoint(&self) -> Option<Offset> {
        let path = Path::new("/a").join(CLEANER_CHECKPOINT);
        let offsets = read_partition_offsets(&self.files, &path).unwrap();
        offsets.get(&partition()).copied()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.files.list(Path::new("/a/t-0")).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn batch(mut builder: RecordBatchBuilder, records: &[(&str, Option<&str>)]) -> Bytes {
    for (key, value) in records {
        let value = value.map(str::as_bytes);
        builder
            .append(Timestamp(1000), Some(key.as_bytes()), value)
            .unwrap();
    }
    builder.build().unwrap()
}

fn produced(id: i64, sequence: i32, transactional: bool, keys: &[&str]) -> Bytes {
    let records: Vec<_> = keys.iter().map(|key| (*key, Some("v"))).collect();
    let builder = RecordBatchBuilder::new(0)
        .producer(ProducerId(id), ProducerEpoch(0), sequence)
        .transactional(transactional);
    batch(builder, &records)
}

fn marker(id: i64, result: TransactionResult) -> Bytes {
    let marker = EndTransactionMarker {
        result,
        coordinator_epoch: 0,
    };
    let (id, epoch) = (ProducerId(id), ProducerEpoch(0));
    end_transaction_marker(0, Timestamp(1000), LeaderEpoch(0), id, epoch, marker).unwrap()
}
