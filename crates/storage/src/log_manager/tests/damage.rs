//! Every file that a broker may find, cut after each byte and with a bit of each byte flipped: what
//! it held is recovered or rebuilt, or the damage is reported; nothing is invented, and nobody
//! panics or reads beyond the end of a file.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ottla_model::{ProducerEpoch, ProducerId};
use ottla_record::{
    BatchIterator, DECOMPRESSED_SIZE_MAX, EndTransactionMarker, TransactionResult,
    end_transaction_marker,
};

use super::*;
use crate::cleaner::{Cleaner, CleanerClock, CleanerSettings, Throttle};
use crate::log::TimestampTarget;
use crate::names::{DELETED_SUFFIX, FileKind, SWAP_SUFFIX};

/// What one test damages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Batches,
    Indexes,
    OtherOfPartitions,
    OfDirectory,
}

/// A record of a log: its offset, and its value, which says the same.
type Row = (Offset, String);

/// What a log answers.
#[derive(Clone, PartialEq, Debug)]
struct Answers {
    rows: Vec<Row>,
    end: Offset,
    producers: Vec<(i64, i32, Offset)>,
    aborted: Vec<(i64, Offset)>,
    by_time: Vec<Option<Offset>>,
}

/// A disk with one directory that a broker left, in order or not.
struct World {
    files: MemoryDirectory,
    is_clean: bool,
    answers: BTreeMap<TopicPartition, Answers>,
    recovery_points: PartitionOffsets,
    /// The base offset of the first segment that a recovery looks at.
    scanned: PartitionOffsets,
    /// Bytes of log files that no checksum covers: offsets and leader epochs of batches.
    uncovered: BTreeMap<PathBuf, BTreeSet<usize>>,
    /// Where batches of log files begin.
    starts: BTreeMap<PathBuf, BTreeSet<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Damage {
    CutTo(usize),
    Flipped(usize, u8),
}

/// What became of it.
#[derive(Default, Debug)]
struct Tally {
    cases: usize,
    whole: usize,
    shorter: usize,
    reported: usize,
}

const T: &str = "t";
/// A compacted topic.
const C: &str = "c";
/// A topic whose segments were being replaced.
const SWAPPED: &str = "s";
/// A topic with files that wait for their removal, and some that were not finished.
const LEFT_OVER: &str = "u";

fn config_of(topic: &TopicName) -> Arc<LogConfig> {
    let is_compacted = topic.as_str() == C;
    Arc::new(LogConfig {
        compact: is_compacted,
        delete: !is_compacted,
        segment_bytes: 400,
        segment_index_bytes: 48,
        index_interval_bytes: 60,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    })
}

fn load(files: &MemoryDirectory) -> Result<LogManager, StartError> {
    let mut dirs = LogDirs::open(Arc::new(files.clone()), &[PathBuf::from("/a")])?;
    dirs.verify("cluster", Some(BrokerId(0)))?;
    dirs.write_identity("cluster", BrokerId(0), NOW);
    LogManager::load(dirs, LogManagerSettings::default(), &config_of, NOW)
}

struct NoTime(Mutex<Throttle>);

impl CleanerClock for NoTime {
    fn now(&self) -> Instant {
        Instant(Duration::ZERO)
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
    fn pause(&self, _: Duration) {}
    fn throttle(&self) -> &Mutex<Throttle> {
        &self.0
    }
}

fn clean(manager: &LogManager) {
    let settings = CleanerSettings {
        dedupe_buffer_size: 10_000,
        io_buffer_size: 256,
        ..CleanerSettings::default()
    };
    let clock = NoTime(Mutex::new(Throttle::new(Instant(Duration::ZERO))));
    manager.clean(&mut Cleaner::new(settings), &clock);
}

/// Writes records that say their offsets.
struct Writer {
    log: LogHandle,
    epoch: i32,
    sequences: BTreeMap<i64, i32>,
}

impl Writer {
    fn new(manager: &LogManager, topic: &str) -> Self {
        let partition = TopicPartition::new(topic, 0);
        let id = Some(TopicId([7; 16]));
        let config = config_of(&partition.topic);
        let log = manager.get_or_create_log(&partition, true, id, config, NOW);
        let log = log.unwrap();
        log.lock().set_transaction_verification(false);
        let (epoch, sequences) = (0, BTreeMap::new());
        Self {
            log,
            epoch,
            sequences,
        }
    }

    fn append(&self, records: Bytes, origin: AppendOrigin) {
        let (mut log, none) = (self.log.lock(), VerificationGuard::NONE);
        log.append_as_leader(records, LeaderEpoch(self.epoch), origin, none, NOW)
            .unwrap();
        let end = log.log_end_offset();
        log.update_high_watermark(end);
    }

    fn write(&mut self, producer: Option<i64>, is_transactional: bool, count: usize) {
        let first = self.log.lock().log_end_offset();
        let mut builder = RecordBatchBuilder::new(0);
        if let Some(id) = producer {
            let sequence = self.sequences.entry(id).or_insert(0);
            builder = builder
                .producer(ProducerId(id), ProducerEpoch(0), *sequence)
                .transactional(is_transactional);
            *sequence += count as i32;
        }
        for offset in first..first + count as i64 {
            let (key, value) = (format!("{}", offset % 3), format!("{offset}"));
            builder
                .append(
                    Timestamp(1000 + offset * 10),
                    Some(key.as_bytes()),
                    Some(value.as_bytes()),
                )
                .unwrap();
        }
        self.append(builder.build().unwrap(), AppendOrigin::Client);
    }

    fn end(&self, producer: i64, result: TransactionResult) {
        let marker = EndTransactionMarker {
            result,
            coordinator_epoch: 0,
        };
        let (id, epoch) = (ProducerId(producer), ProducerEpoch(0));
        let batch =
            end_transaction_marker(0, Timestamp(1000), LeaderEpoch(0), id, epoch, marker).unwrap();
        self.append(batch, AppendOrigin::Coordinator);
    }

    fn roll(&self) {
        self.log.lock().roll(NOW).unwrap();
    }
}

/// The bytes of a file.
fn content(files: &MemoryDirectory, path: &Path) -> Vec<u8> {
    read_file(files, path, 1 << 20).unwrap()
}

fn overwrite(files: &MemoryDirectory, path: &Path, bytes: &[u8]) {
    let file = files.open(path, OpenMode::CreateEmpty).unwrap();
    file.write_all_at(&mut [std::io::IoSlice::new(bytes)], 0)
        .unwrap();
}

impl World {
    fn new(is_clean: bool) -> Self {
        let files = MemoryDirectory::new();
        files.set_clock(NOW);
        let manager = load(&files).unwrap();
        let mut t = Writer::new(&manager, T);
        t.write(None, false, 2);
        t.write(Some(5), false, 2);
        t.write(Some(7), true, 1);
        t.end(7, TransactionResult::Abort);
        t.epoch = 2;
        t.write(Some(8), true, 1);
        t.end(8, TransactionResult::Commit);
        t.roll();
        t.write(Some(5), false, 1);
        manager.flush_log(&t.log, NOW);
        let mut others: Vec<Writer> = [C, SWAPPED, LEFT_OVER]
            .into_iter()
            .map(|topic| Writer::new(&manager, topic))
            .collect();
        for other in &mut others {
            for _ in 0..3 {
                other.write(Some(9), false, 2);
                other.roll();
            }
            manager.flush_log(&other.log, NOW);
        }
        clean(&manager);
        manager.checkpoint_recovery_points();
        t.log.lock().maybe_increment_log_start_offset(1).unwrap();
        manager.checkpoint_log_start_offsets();
        manager.checkpoint_high_watermarks();
        t.epoch = 3;
        t.write(Some(7), true, 2);
        t.end(7, TransactionResult::Abort);
        t.roll();
        t.write(Some(5), false, 1);
        t.write(Some(10), true, 1);
        for other in &mut others {
            other.write(None, false, 1);
        }
        if is_clean {
            manager.shutdown(NOW);
        }
        drop((t, others, manager));
        let files = files.duplicate();
        if !is_clean {
            leave_half_done(&files);
        }
        let mut world = Self {
            answers: BTreeMap::new(),
            recovery_points: read_partition_offsets(
                &files,
                &Path::new("/a").join(RECOVERY_POINT_CHECKPOINT),
            )
            .unwrap(),
            scanned: BTreeMap::new(),
            uncovered: BTreeMap::new(),
            starts: BTreeMap::new(),
            files,
            is_clean,
        };
        for path in world.paths() {
            if path.to_string_lossy().contains(".log") {
                let starts = starts(&content(&world.files, &path));
                let uncovered = starts.iter().flat_map(|start| {
                    let (offset, epoch) = (0..8, 12..16);
                    offset.chain(epoch).map(move |at| start + at)
                });
                world.uncovered.insert(path.clone(), uncovered.collect());
                world.starts.insert(path, starts);
            }
        }
        let manager = load(&world.files.duplicate()).unwrap();
        for (partition, log) in manager.logs() {
            let answers = answers(&log).unwrap();
            let flushed = world.recovery_points[&partition];
            let segments = log.lock().reader().segments();
            let first = crate::log_reader::floor(&segments, flushed);
            let base = segments[first].base_offset;
            world.scanned.insert(partition.clone(), base);
            world.answers.insert(partition, answers);
        }
        assert_eq!(world.answers.len(), 4);
        let t = &world.answers[&TopicPartition::new(T, 0)];
        assert!(
            t.rows.len() >= 10 && t.aborted.len() == 2 && t.producers.len() > 3,
            "{t:?}"
        );
        world
    }

    /// All files, in order.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for entry in self.files.list(Path::new("/a")).unwrap() {
            let path = Path::new("/a").join(&entry.name);
            if !entry.is_directory {
                paths.push(path);
                continue;
            }
            let files = self.files.list(&path).unwrap();
            paths.extend(files.into_iter().map(|file| path.join(file.name)));
        }
        paths
    }

    /// The disk without the partitions that a file has nothing to do with.
    fn image_for(&self, path: &Path) -> MemoryDirectory {
        let image = self.files.duplicate();
        for partition in self.answers.keys() {
            let directory = Path::new("/a").join(partition.to_string());
            if Self::part_of(path) != Part::OfDirectory && !path.starts_with(&directory) {
                image.remove_directory(&directory).unwrap();
            }
        }
        image.duplicate()
    }

    fn part_of(path: &Path) -> Part {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match () {
            () if path.parent() == Some(Path::new("/a")) => Part::OfDirectory,
            () if name.contains(".log") => Part::Batches,
            () if name.contains("index") => Part::Indexes,
            () => Part::OtherOfPartitions,
        }
    }

    /// Tries all damages of a part's files.
    fn play(&self, part: Part) {
        let mut tally = Tally::default();
        let mut failures = Vec::new();
        for path in self.paths() {
            // After an orderly stop nothing is half done.
            let is_plain = path.starts_with("/a/s-0") || path.starts_with("/a/u-0");
            if Self::part_of(&path) != part || (self.is_clean && is_plain) {
                continue;
            }
            let bytes = content(&self.files, &path);
            let image = self.image_for(&path);
            let cuts = (0..bytes.len()).map(Damage::CutTo);
            let flips = (0..bytes.len()).map(|at| Damage::Flipped(at, 1 << (at % 8)));
            for damage in cuts.chain(flips) {
                let mut damaged = bytes.clone();
                match damage {
                    Damage::CutTo(length) => damaged.truncate(length),
                    Damage::Flipped(at, bit) => damaged[at] ^= bit,
                }
                let files = image.duplicate();
                overwrite(&files, &path, &damaged);
                tally.cases += 1;
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    self.check(&files, &path, damage, &mut tally)
                }));
                if outcome.is_err() {
                    failures.push((path.clone(), damage));
                }
            }
        }
        eprintln!("{part:?}, clean: {}: {tally:?}", self.is_clean);
        assert!(
            failures.is_empty(),
            "{} failures: {failures:?}",
            failures.len()
        );
        assert!(tally.cases > 150 && tally.whole > 0, "{tally:?}");
    }

    /// Starts on a damaged disk.
    fn check(&self, files: &MemoryDirectory, path: &Path, damage: Damage, tally: &mut Tally) {
        let Ok(manager) = load(files) else {
            tally.reported += 1;
            return;
        };
        let directory = path.parent().unwrap();
        let mut is_whole = true;
        for (partition, expected) in &self.answers {
            let of_it = Path::new("/a").join(partition.to_string());
            if directory != of_it && directory != Path::new("/a") {
                continue;
            }
            let Some(log) = manager.get_log(partition) else {
                let is_reported =
                    manager.damage(partition).is_some() || manager.has_offline_directories();
                assert!(is_reported, "{partition} is not there, and nobody says so");
                tally.reported += 1;
                return;
            };
            match answers(&log) {
                Some(found) => {
                    is_whole &= found == *expected;
                    self.judge(partition, path, damage, expected, &found);
                }
                // A reader is told.
                None => is_whole = false,
            }
            exercise(&manager, &log);
        }
        clean(&manager);
        manager.shutdown(NOW);
        if is_whole {
            tally.whole += 1;
        } else {
            tally.shorter += 1;
        }
    }

    /// Whether what is found is what the damage may leave.
    fn judge(
        &self,
        partition: &TopicPartition,
        path: &Path,
        damage: Damage,
        expected: &Answers,
        found: &Answers,
    ) {
        let part = Self::part_of(path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_uncovered = match damage {
            Damage::Flipped(at, _) => self
                .uncovered
                .get(path)
                .is_some_and(|places| places.contains(&at)),
            Damage::CutTo(_) => false,
        };
        for (offset, value) in &found.rows {
            let number: Offset = value.parse().unwrap();
            let is_known = (0..expected.end).contains(&number);
            assert!(
                is_known && (number == *offset || is_uncovered),
                "{offset} is {value}, which was never written"
            );
        }
        let base = name.get(..20).and_then(|base| base.parse::<Offset>().ok());
        let flushed = self.recovery_points[partition];
        // Nothing looks into what was flushed: a reader sees that a checksum is wrong.
        let is_flushed = self.is_clean || base.is_some_and(|base| base < self.scanned[partition]);
        if (is_flushed && part == Part::Batches)
            || is_uncovered
            || name.ends_with(SWAP_SUFFIX)
            // Another start, another recovery point or other epochs have consequences of their own.
            || part == Part::OfDirectory
            || name == "leader-epoch-checkpoint"
        {
            return;
        }
        if part == Part::Batches {
            assert_eq!(
                found.rows,
                expected.rows[..found.rows.len()],
                "{partition} begins as it did"
            );
            // A file that ends with a whole batch looks as after a truncation.
            let is_cut_between = match damage {
                Damage::CutTo(length) => self.starts[path].contains(&length),
                Damage::Flipped(..) => false,
            };
            assert!(
                found.end >= flushed || is_cut_between,
                "{partition} ends at {}, flushed to {flushed}",
                found.end
            );
            return;
        }
        assert_eq!(found.rows, expected.rows, "{partition}");
        // Believed after an orderly stop; they only answer other questions.
        if part != Part::Indexes {
            assert_eq!(found, expected, "{partition}");
        } else if !is_flushed {
            assert_eq!(found.by_time, expected.by_time, "{partition}");
            assert_eq!(found.aborted, expected.aborted, "{partition}");
        }
    }
}

/// What a power failure in the middle of two exchanges leaves.
fn leave_half_done(files: &MemoryDirectory) {
    let kinds = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex];
    for kind in kinds {
        let name = kind.file_name(0);
        let swapped = Path::new("/a/s-0");
        let target = swapped.join(format!("{name}{SWAP_SUFFIX}"));
        files.rename(&swapped.join(&name), &target).unwrap();
        let left_over = Path::new("/a/u-0");
        let bytes = content(files, &left_over.join(&name));
        overwrite(files, &left_over.join(format!("{name}.cleaned")), &bytes);
        let deleted = format!("{}{DELETED_SUFFIX}", kind.file_name(1));
        overwrite(files, &left_over.join(deleted), &bytes);
    }
}

/// Where the batches of a log file begin.
fn starts(log: &[u8]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    let mut next = 0;
    for batch in BatchIterator::new(log) {
        starts.insert(next);
        next += batch.unwrap().size_in_bytes;
    }
    starts
}

/// What a reader of the whole log is told; `None` if that is an error.
fn answers(log: &LogHandle) -> Option<Answers> {
    let log = log.lock();
    let reader = log.reader();
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let mut rows = Vec::new();
    let mut aborted = BTreeSet::new();
    let mut from = start;
    while from < end {
        let fetched = reader.read(from, 150, FetchIsolation::LogEnd, true).ok()?;
        let Some(slice) = fetched.slice else { break };
        let length = slice.file.length().unwrap();
        assert!(slice.position + slice.length as u64 <= length, "{slice:?}");
        let bytes = slice.read().unwrap();
        let before = from;
        for batch in BatchIterator::new(&bytes) {
            let batch = batch.ok()?;
            from = batch.next_offset();
            batch.ensure_valid().ok()?;
            if batch.is_control() {
                continue;
            }
            let records = batch.records(DECOMPRESSED_SIZE_MAX).ok()?;
            for record in records.iter().ok()? {
                let record = record.ok()?;
                if record.offset >= start {
                    let value = record.value.unwrap_or_default();
                    rows.push((record.offset, String::from_utf8_lossy(value).into_owned()));
                }
            }
        }
        if from <= before {
            return None;
        }
    }
    for offset in start..log.last_stable_offset() {
        let fetched = reader
            .read(offset, 150, FetchIsolation::TxnCommitted, true)
            .ok()?;
        for transaction in fetched.aborted_transactions? {
            aborted.insert((transaction.producer_id.0, transaction.first_offset));
        }
    }
    let producers = log.describe_producers().into_iter();
    let by_time = (0..20).map(|i| {
        let target = TimestampTarget::At(Timestamp(1000 + i * 10));
        let found = log.fetch_offset_by_timestamp(target).ok()?;
        found.map(|found| found.offset)
    });
    Some(Answers {
        rows,
        end,
        producers: producers
            .map(|producer| {
                (
                    producer.producer_id.0,
                    producer.last_sequence,
                    producer.current_transaction_start_offset,
                )
            })
            .collect(),
        aborted: aborted.into_iter().collect(),
        by_time: by_time.collect(),
    })
}

/// Everything else that is done with a log; each may fail, none may panic.
fn exercise(manager: &LogManager, log: &LogHandle) {
    let mut log_ = log.lock();
    let reader = log_.reader();
    let _ = log_.fetch_offset_by_timestamp(TimestampTarget::MaxTimestamp);
    let _ = reader.legacy_offsets_before(TimestampTarget::Latest, 10, NOW);
    let _ = log_.end_offset_for_epoch(LeaderEpoch(2));
    for offset in log_.log_start_offset()..log_.log_end_offset().min(50) {
        for isolation in [FetchIsolation::LogEnd, FetchIsolation::HighWatermark] {
            let Ok(fetched) = reader.read(offset, 100, isolation, false) else {
                continue;
            };
            if let Some(slice) = fetched.slice {
                let length = slice.file.length().unwrap();
                assert!(slice.position + slice.length as u64 <= length, "{slice:?}");
            }
        }
    }
    let end = log_.log_end_offset();
    let none = VerificationGuard::NONE;
    let origin = AppendOrigin::Client;
    if let Ok(info) = log_.append_as_leader(batch("new"), LeaderEpoch(9), origin, none, NOW) {
        assert_eq!((info.first_offset, log_.log_end_offset()), (end, end + 1));
    }
    log_.update_high_watermark(end);
    drop(log_);
    let _ = manager.truncate_to(log, end, NOW);
    manager.run_retention(NOW);
    manager.flush_log(log, NOW);
}

#[test]
fn damaged_batches_after_a_kill_are_cut_off_or_reported() {
    World::new(false).play(Part::Batches);
}

#[test]
fn damaged_batches_after_an_orderly_stop_harm_nobody_else() {
    World::new(true).play(Part::Batches);
}

#[test]
fn damaged_indexes_after_a_kill_are_rebuilt() {
    World::new(false).play(Part::Indexes);
}

#[test]
fn damaged_indexes_after_an_orderly_stop_harm_nobody_else() {
    World::new(true).play(Part::Indexes);
}

#[test]
fn damaged_snapshots_epochs_and_identities_are_replaced_or_reported() {
    for is_clean in [false, true] {
        World::new(is_clean).play(Part::OtherOfPartitions);
    }
}

#[test]
fn damaged_checkpoints_and_marks_of_a_directory_are_replaced_or_reported() {
    for is_clean in [false, true] {
        World::new(is_clean).play(Part::OfDirectory);
    }
}
