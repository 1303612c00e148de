//! Checkpoint files: a version, a count, and one line per entry (Kafka's `CheckpointFile`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ottla_model::{LeaderEpoch, Offset, TopicName, TopicPartition};

use crate::directory::{Directory, OpenMode, invalid_data, read_file, write_file_atomically};

/// Offsets up to which logs are flushed.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// High watermarks; the name is historical.
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
/// Log start offsets that were raised above the first segment.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// First dirty offsets of compacted logs.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Leader epochs of one log, in its own directory.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// No checkpoint is larger than this: some ten million partitions.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;

/// Offsets by partition, as the four checkpoints of a log directory hold them.
pub type PartitionOffsets = BTreeMap<TopicPartition, Offset>;

/// Reads a checkpoint of partitions; an absent or empty file has no entries. Of several lines for
/// one partition the last counts.
///
/// # Errors
/// The file cannot be read, or its content is malformed ([`io::ErrorKind::InvalidData`]).
pub fn read_partition_offsets(
    directory: &dyn Directory,
    path: &Path,
) -> io::Result<PartitionOffsets> {
    let lines = read_lines(directory, path, |fields| match fields {
        [topic, partition, offset] => Some((
            TopicPartition {
                topic: TopicName::from(*topic),
                partition: partition.parse().ok()?,
            },
            offset.parse().ok()?,
        )),
        _ => None,
    })?;
    Ok(lines.into_iter().collect())
}

/// Replaces a checkpoint of partitions durably.
pub fn write_partition_offsets(
    directory: &dyn Directory,
    path: &Path,
    offsets: &PartitionOffsets,
) -> io::Result<()> {
    let lines = offsets.iter().map(|(partition, offset)| {
        format!("{} {} {offset}\n", partition.topic, partition.partition)
    });
    write_lines(directory, path, lines)
}

/// Reads a log's leader epochs with their start offsets, in file order.
///
/// # Errors
/// As [`read_partition_offsets`].
pub fn read_leader_epochs(
    directory: &dyn Directory,
    path: &Path,
) -> io::Result<Vec<(LeaderEpoch, Offset)>> {
    read_lines(directory, path, |fields| match fields {
        [epoch, offset] => Some((LeaderEpoch(epoch.parse().ok()?), offset.parse().ok()?)),
        _ => None,
    })
}

/// Replaces a log's leader epochs durably.
pub fn write_leader_epochs(
    directory: &dyn Directory,
    path: &Path,
    epochs: &[(LeaderEpoch, Offset)],
) -> io::Result<()> {
    write_lines(
        directory,
        path,
        epochs
            .iter()
            .map(|(epoch, offset)| format!("{epoch} {offset}\n")),
    )
}

/// Creates an empty checkpoint where there is none, as Kafka does.
pub fn create_if_absent(directory: &dyn Directory, path: &Path) -> io::Result<()> {
    directory.open(path, OpenMode::OpenOrCreate).map(drop)
}

fn write_lines(
    directory: &dyn Directory,
    path: &Path,
    lines: impl ExactSizeIterator<Item = String>,
) -> io::Result<()> {
    let mut content = format!("0\n{}\n", lines.len());
    content.extend(lines);
    write_file_atomically(directory, path, content.as_bytes())
}

fn read_lines<T>(
    directory: &dyn Directory,
    path: &Path,
    parse: impl Fn(&[&str]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let content = match read_file(directory, path, CHECKPOINT_BYTES_MAX) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let malformed =
        |what: &str| invalid_data(format!("{what} in checkpoint file {}", path.display()));
    let content = String::from_utf8(content).map_err(|_| malformed("bytes that are not text"))?;
    let mut lines = content.lines();
    let Some(version) = lines.next() else {
        return Ok(Vec::new());
    };
    if version.trim().parse() != Ok(0) {
        return Err(malformed("unrecognized version"));
    }
    let Some(count) = lines.next() else {
        return Ok(Vec::new());
    };
    let count: usize = count
        .trim()
        .parse()
        .map_err(|_| malformed("malformed entry count"))?;
    let mut entries = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        entries.push(parse(&fields).ok_or_else(|| malformed("malformed line"))?);
    }
    if entries.len() == count {
        Ok(entries)
    } else {
        Err(malformed(&format!(
            "expected {count} entries, found {}",
            entries.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::directory::MemoryDirectory;

    fn read(content: &str) -> io::Result<PartitionOffsets> {
        let directory = MemoryDirectory::new();
        let path = Path::new("/c");
        let file = directory.open(path, OpenMode::CreateEmpty).unwrap();
        file.write_all_at(&mut [IoSlice::new(content.as_bytes())], 0)
            .unwrap();
        read_partition_offsets(&directory, path)
    }

    #[test]
    fn written_bytes_are_those_of_kafka() {
        let directory = MemoryDirectory::new();
        let path = Path::new("/c");
        write_partition_offsets(&directory, path, &BTreeMap::new()).unwrap();
        assert_eq!(read_file(&directory, path, 100).unwrap(), b"0\n0\n");
        write_leader_epochs(&directory, path, &[(LeaderEpoch(0), 0)]).unwrap();
        assert_eq!(read_file(&directory, path, 100).unwrap(), b"0\n1\n0 0\n");
        let offsets = BTreeMap::from([(TopicPartition::new("a-b", 3), 42)]);
        write_partition_offsets(&directory, path, &offsets).unwrap();
        assert_eq!(
            read_file(&directory, path, 100).unwrap(),
            b"0\n1\na-b 3 42\n"
        );
        assert_eq!(read_partition_offsets(&directory, path).unwrap(), offsets);
    }

    #[test]
    fn empty_files_have_no_entries_and_bad_content_is_an_error() {
        for content in ["", "0\n", "0\n0\n", "0\n1\n a \t 0   5 \n"] {
            assert!(read(content).is_ok(), "{content:?}");
        }
        for content in [
            "1\n0\n",
            "x\n0\n",
            "0\nx\n",
            "0\n1\n",
            "0\n0\na 0 5\n",
            "0\n2\na 0 5\n",
            "0\n1\na 0\n",
            "0\n1\na 0 5 6\n",
            "0\n1\na x 5\n",
            "0\n1\na 0 99999999999999999999\n",
            "0\n-1\n",
        ] {
            let error = read(content).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{content:?}");
        }
        let absent = read_partition_offsets(&MemoryDirectory::new(), Path::new("/none")).unwrap();
        assert!(absent.is_empty());
    }
}
