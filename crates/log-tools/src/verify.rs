//! Checking a whole log directory while no broker has it: every batch, index, snapshot, epoch and
//! checkpoint.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ottla_model::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_record::DECOMPRESSED_SIZE_MAX;
use ottla_storage::checkpoint::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LEADER_EPOCH_CHECKPOINT, LOG_START_CHECKPOINT,
    PartitionOffsets, RECOVERY_POINT_CHECKPOINT, read_leader_epochs, read_partition_offsets,
};
use ottla_storage::directory::RealDirectory;
use ottla_storage::names::{DirectoryRole, FileKind, parse_directory_name};
use ottla_storage::producer::snapshot;

use crate::batch_file::BatchFile;
use crate::index_file;
use crate::truncate::CLEAN_SHUTDOWN_FILE;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the directory.
    pub path: PathBuf,
    /// What is wrong, with the position or offset.
    pub reason: String,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Partitions that were checked.
    pub partitions: usize,
    /// Batches that were checked.
    pub batches: u64,
    /// Everything that is wrong, in the order of the directory.
    pub problems: Vec<Problem>,
}

/// Checks a log directory, or the directory of one partition.
///
/// # Errors
/// The directory itself cannot be read; what is wrong inside is in the report.
pub fn verify(directory: &Path) -> io::Result<Report> {
    let mut report = Report::default();
    let name = directory
        .canonicalize()?
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let is_partition = parse_directory_name(&name).is_ok()
        && std::fs::read_dir(directory)?
            .flatten()
            .any(|entry| FileKind::parse(&entry.file_name().to_string_lossy()).is_some());
    if is_partition {
        let (partition, _) = parse_directory_name(&name).map_err(io::Error::other)?;
        let parent = directory.canonicalize()?;
        let parent = parent.parent().unwrap_or(directory).to_owned();
        let checkpoints = Checkpoints::read(&parent, &mut report);
        check_partition(directory, &partition, &checkpoints, &mut report);
        return Ok(report);
    }
    let checkpoints = Checkpoints::read(directory, &mut report);
    let mut names: Vec<String> = std::fs::read_dir(directory)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_directory = entry.file_type().ok()?.is_dir();
            is_directory.then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    for name in names {
        let path = directory.join(&name);
        match parse_directory_name(&name) {
            Ok((partition, DirectoryRole::Current | DirectoryRole::Future)) => {
                check_partition(&path, &partition, &checkpoints, &mut report);
            }
            Ok((_, DirectoryRole::Delete | DirectoryRole::Stray)) => {}
            Err(error) => report.problem(&path, error.to_string()),
        }
    }
    Ok(report)
}

impl Report {
    fn problem(&mut self, path: &Path, reason: impl Into<String>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            reason: reason.into(),
        });
    }
}

/// What the files of the log directory say of its partitions.
#[derive(Default)]
struct Checkpoints {
    recovery_points: PartitionOffsets,
    log_starts: PartitionOffsets,
    high_watermarks: PartitionOffsets,
    cleaned: PartitionOffsets,
    /// Whether the broker ended in order, and so wrote all of these last.
    is_clean: bool,
}

impl Checkpoints {
    fn read(directory: &Path, report: &mut Report) -> Self {
        let mut read = |name: &str| {
            let path = directory.join(name);
            if !path.exists() {
                return PartitionOffsets::default();
            }
            read_partition_offsets(&RealDirectory, &path).unwrap_or_else(|error| {
                report.problem(&path, error.to_string());
                PartitionOffsets::default()
            })
        };
        Self {
            recovery_points: read(RECOVERY_POINT_CHECKPOINT),
            log_starts: read(LOG_START_CHECKPOINT),
            high_watermarks: read(HIGH_WATERMARK_CHECKPOINT),
            cleaned: read(CLEANER_CHECKPOINT),
            is_clean: directory.join(CLEAN_SHUTDOWN_FILE).exists(),
        }
    }
}

/// The batches of one segment, as the indexes need them.
#[derive(Default)]
struct Segment {
    /// Last offset of the batch at each position.
    last_offsets: BTreeMap<u64, Offset>,
    /// The largest timestamp of the records of each batch, by its last offset.
    timestamps: BTreeMap<Offset, Timestamp>,
    size: u64,
}

fn check_partition(
    path: &Path,
    partition: &TopicPartition,
    checkpoints: &Checkpoints,
    report: &mut Report,
) {
    report.partitions += 1;
    let names = match file_names(path) {
        Ok(names) => names,
        Err(error) => {
            report.problem(path, error.to_string());
            return;
        }
    };
    let mut epochs = Vec::new();
    // The next offset that may come; compaction leaves gaps, nothing makes offsets go back.
    let mut next_offset: Option<Offset> = None;
    let was_cleaned = checkpoints.cleaned.contains_key(partition);
    let mut segments = BTreeMap::new();
    for (kind, base) in &names {
        if *kind != FileKind::Log {
            continue;
        }
        let file = path.join(FileKind::Log.file_name(*base));
        if let Some(next) = next_offset
            && *base > next
            && !was_cleaned
        {
            report.problem(&file, format!("offsets {next} to {} are missing", base - 1));
        }
        if let Some(next) = next_offset
            && *base < next
        {
            let reason = format!("it begins at {base}, but the segment before ends at {next}");
            report.problem(&file, reason);
        }
        let segment = check_log(&file, *base, &mut next_offset, &mut epochs, report);
        segments.insert(*base, segment);
    }
    for (kind, base) in &names {
        let file = path.join(kind.file_name(*base));
        match kind {
            FileKind::Log => {}
            FileKind::Snapshot => {
                if let Err(reason) = std::fs::read(&file)
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| snapshot::decode(&bytes).map_err(|e| e.to_string()))
                {
                    report.problem(&file, reason);
                }
            }
            FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::TransactionIndex => {
                let Some(segment) = segments.get(base) else {
                    report.problem(&file, "there is no log beside it");
                    continue;
                };
                check_index(&file, *kind, *base, segment, report);
            }
        }
    }
    let end = next_offset.unwrap_or_default();
    let log_start = checkpoints.log_starts.get(partition).copied();
    let bounds = (log_start.unwrap_or_default(), end);
    check_epochs(path, &epochs, bounds, checkpoints.is_clean, report);
    for (name, offsets) in [
        (RECOVERY_POINT_CHECKPOINT, &checkpoints.recovery_points),
        (LOG_START_CHECKPOINT, &checkpoints.log_starts),
        (HIGH_WATERMARK_CHECKPOINT, &checkpoints.high_watermarks),
    ] {
        if let Some(offset) = offsets.get(partition)
            && *offset > end
        {
            report.problem(
                path,
                format!("{name} says {offset}, but the log ends at {end}"),
            );
        }
    }
}

fn file_names(path: &Path) -> io::Result<Vec<(FileKind, Offset)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        names.extend(FileKind::parse(&name.to_string_lossy()));
    }
    names.sort_by_key(|(kind, base)| (*base, kind.suffix()));
    Ok(names)
}

fn check_log(
    path: &Path,
    base: Offset,
    next_offset: &mut Option<Offset>,
    epochs: &mut Vec<(LeaderEpoch, Offset)>,
    report: &mut Report,
) -> Segment {
    let mut segment = Segment::default();
    let mut file = match BatchFile::open(path, u64::MAX) {
        Ok(file) => file,
        Err(error) => {
            report.problem(path, error.to_string());
            return segment;
        }
    };
    *next_offset = Some(next_offset.map_or(base, |next| next.max(base)));
    loop {
        let position = file.position();
        let batch = match file.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => {
                report.problem(path, error.to_string());
                return segment;
            }
        };
        report.batches += 1;
        let at = |what: String| format!("at position {position}: {what}");
        if let Err(error) = batch.ensure_valid() {
            report.problem(path, at(error.to_string()));
        }
        let mut largest = Timestamp::NONE;
        let mut first = None;
        match batch.records(DECOMPRESSED_SIZE_MAX) {
            Err(error) => report.problem(path, at(error.to_string())),
            Ok(records) => match records.iter() {
                Err(error) => report.problem(path, at(error.to_string())),
                Ok(records) => {
                    for record in records {
                        match record {
                            Ok(record) => {
                                largest = largest.max(record.timestamp);
                                first.get_or_insert(record.offset);
                            }
                            Err(error) => report.problem(path, at(error.to_string())),
                        }
                    }
                }
            },
        }
        let (first, last) = (first.unwrap_or(batch.base_offset()), batch.last_offset());
        let next = next_offset.unwrap_or(base);
        if first < next {
            let reason = format!("offset {first} comes behind offset {}", next - 1);
            report.problem(path, at(reason));
        }
        if epochs
            .last()
            .is_none_or(|(epoch, _)| *epoch < batch.partition_leader_epoch)
            && batch.partition_leader_epoch >= LeaderEpoch(0)
        {
            epochs.push((batch.partition_leader_epoch, first));
        }
        *next_offset = Some(next.max(last.saturating_add(1)));
        segment.last_offsets.insert(position, last);
        segment.timestamps.insert(last, largest);
    }
    segment.size = file.position() + file.remaining();
    if file.remaining() > 0 {
        let (position, count) = (file.position(), file.remaining());
        report.problem(
            path,
            format!("at position {position}: {count} bytes are no batch"),
        );
    }
    segment
}

fn check_index(path: &Path, kind: FileKind, base: Offset, segment: &Segment, report: &mut Report) {
    match kind {
        FileKind::OffsetIndex => match index_file::offset_index(path, base) {
            Err(error) => report.problem(path, error.to_string()),
            Ok(index) => {
                if !index.is_whole {
                    report.problem(path, "the length is no multiple of 8");
                }
                let entries = index_file::written(&index.entries, base, |entry| entry.0);
                let mut previous = None;
                for (offset, position) in entries {
                    let found = segment.last_offsets.get(&u64::from(*position));
                    if found != Some(offset) {
                        let reason = format!(
                            "offset {offset} at position {position}, where the log has {found:?}"
                        );
                        report.problem(path, reason);
                    }
                    if previous.is_some_and(|previous| previous >= *offset) {
                        report.problem(path, format!("offset {offset} is out of order"));
                    }
                    previous = Some(*offset);
                }
            }
        },
        FileKind::TimeIndex => match index_file::time_index(path, base) {
            Err(error) => report.problem(path, error.to_string()),
            Ok(index) => {
                if !index.is_whole {
                    report.problem(path, "the length is no multiple of 12");
                }
                let entries = index_file::written(&index.entries, base, |entry| entry.1);
                let mut previous = Timestamp::NONE;
                for (timestamp, offset) in entries {
                    if timestamp.0 <= 0 && *offset == base {
                        continue;
                    }
                    if segment
                        .timestamps
                        .get(offset)
                        .is_none_or(|found| found != timestamp)
                    {
                        let reason = format!(
                            "timestamp {} of offset {offset} is not in the log",
                            timestamp.0
                        );
                        report.problem(path, reason);
                    }
                    if *timestamp < previous {
                        report.problem(path, format!("timestamp {} is out of order", timestamp.0));
                    }
                    previous = *timestamp;
                }
            }
        },
        FileKind::TransactionIndex => {
            let mut sink = Vec::new();
            if let Err(error) = crate::dump::dump_aborted(path, &mut sink) {
                report.problem(path, error.to_string());
            }
        }
        FileKind::Log | FileKind::Snapshot => {}
    }
}

fn check_epochs(
    path: &Path,
    found: &[(LeaderEpoch, Offset)],
    (log_start, end): (Offset, Offset),
    is_clean: bool,
    report: &mut Report,
) {
    let file = path.join(LEADER_EPOCH_CHECKPOINT);
    if !file.exists() {
        return;
    }
    let entries = match read_leader_epochs(&RealDirectory, &file) {
        Ok(entries) => entries,
        Err(error) => {
            report.problem(&file, error.to_string());
            return;
        }
    };
    for pair in entries.windows(2) {
        if pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1 {
            let ((first, from), (second, to)) = (pair[0], pair[1]);
            let reason = format!(
                "epoch {} at {from} and {} at {to} are out of order",
                first.0, second.0
            );
            report.problem(&file, reason);
        }
    }
    if let Some((epoch, offset)) = entries.last()
        && *offset > end
    {
        let reason = format!(
            "epoch {} starts at {offset}, behind the log's end {end}",
            epoch.0
        );
        report.problem(&file, reason);
    }
    // Deleted records are in segments until all of a segment is; their epochs go at once, and the
    // one that spans the log's start begins there. A crash leaves the start that was noted behind.
    let log_start = match entries.first() {
        Some((_, first)) if !is_clean => log_start.max(*first),
        _ => log_start,
    };
    for (index, (epoch, offset)) in found.iter().enumerate() {
        let epoch_end = found.get(index + 1).map_or(end, |next| next.1);
        if epoch_end <= log_start {
            continue;
        }
        let offset = &log_start.max(*offset);
        let start = entries.iter().find(|entry| entry.0 == *epoch);
        if start.is_none_or(|(_, start)| start > offset) {
            let reason = format!(
                "the log has epoch {} at offset {offset}, which it does not say",
                epoch.0
            );
            report.problem(&file, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_record::RecordBatchBuilder;

    use super::*;

    fn batch(offset: Offset, epoch: LeaderEpoch) -> Bytes {
        let mut builder = RecordBatchBuilder::new(offset).leader_epoch(epoch);
        let value = Some(&b"value"[..]);
        builder
            .append(Timestamp(1000 + offset), None, value)
            .unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn epochs_of_deleted_records_are_not_missed() {
        let log_dir = tempfile::tempdir().unwrap();
        let directory = log_dir.path().join("topic-0");
        std::fs::create_dir(&directory).unwrap();
        let epochs = [0, 0, 1, 1, 2, 2];
        let bytes: Vec<u8> = (0..)
            .zip(epochs)
            .flat_map(|(offset, epoch)| batch(offset, LeaderEpoch(epoch)))
            .collect();
        std::fs::write(directory.join(FileKind::Log.file_name(0)), bytes).unwrap();
        let problems = |checkpoint: &str, log_start: Offset, is_clean: bool| {
            let start = format!("0\n1\ntopic 0 {log_start}\n");
            std::fs::write(log_dir.path().join(LOG_START_CHECKPOINT), start).unwrap();
            std::fs::write(directory.join(LEADER_EPOCH_CHECKPOINT), checkpoint).unwrap();
            let mark = log_dir.path().join(CLEAN_SHUTDOWN_FILE);
            match is_clean {
                true => std::fs::write(mark, "").unwrap(),
                false => std::fs::remove_file(mark).unwrap(),
            }
            verify(log_dir.path()).unwrap().problems.len()
        };
        let (whole, deleted) = ("0\n3\n0 0\n1 2\n2 4\n", "0\n2\n1 3\n2 4\n");
        assert_eq!(problems(whole, 0, true), 0);
        assert_eq!(problems(deleted, 3, true), 0);
        assert_eq!(problems(deleted, 2, true), 1, "epoch 1 began at 2");
        assert_eq!(problems(deleted, 0, true), 2);
        assert_eq!(problems("0\n1\n1 3\n", 3, true), 1, "epoch 2");
        assert_eq!(problems(deleted, 0, false), 0, "noted late");
    }
}
