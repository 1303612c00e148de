//! The operator's way out of damage below a recovery point.
//!
//! A broker never removes records that it had flushed: it takes the partition offline and names
//! the place. This removes them when a person says so, with everything behind them.

use std::io;
use std::path::{Path, PathBuf};

use ottla_model::Offset;
use ottla_storage::checkpoint::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LEADER_EPOCH_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT, read_leader_epochs, read_partition_offsets, write_leader_epochs,
    write_partition_offsets,
};
use ottla_storage::directory::{Directory, RealDirectory};
use ottla_storage::names::{FileKind, parse_directory_name};

use crate::batch_file::BatchFile;

/// The file that a broker holds locked while it has the log directory open.
const LOCK_FILE: &str = ".lock";
/// Says that nothing needs recovery; not true any more.
pub(crate) const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// Why nothing, or not everything, was done.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The directory is not a partition's.
    #[error("{0}: not the directory of a partition")]
    NotAPartition(PathBuf),
    /// A broker runs on the log directory.
    #[error("{0}: a broker has this log directory open")]
    InUse(PathBuf),
    /// The log has no segment.
    #[error("{0}: there is no segment")]
    Empty(PathBuf),
    /// The log begins behind the offset.
    #[error("the log begins at {start}, behind offset {offset}")]
    BelowStart {
        /// Where the log begins.
        start: Offset,
        /// Where it should have ended.
        offset: Offset,
    },
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// What a truncation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// Where the log ends afterwards.
    pub end_offset: Offset,
    /// The segment that is cut, and its length afterwards; `None` if a whole segment was the first
    /// to go.
    pub cut: Option<(PathBuf, u64)>,
    /// Files that are removed. Indexes of the cut segment are among them: a broker rebuilds them.
    pub removed: Vec<PathBuf>,
}

/// Finds out what ending a partition's log before `offset`, or before its first damaged batch if
/// that is `None` or comes earlier, takes. Nothing is changed.
///
/// # Errors
/// The directory is none of a partition, or cannot be read.
pub fn plan(directory: &Path, offset: Option<Offset>) -> Result<Option<Truncation>, TruncateError> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    if parse_directory_name(&name).is_err() {
        return Err(TruncateError::NotAPartition(directory.to_owned()));
    }
    let mut names: Vec<(FileKind, Offset)> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let name = entry.map_err(failed(directory))?.file_name();
        names.extend(FileKind::parse(&name.to_string_lossy()));
    }
    names.sort_by_key(|(kind, base)| (*base, kind.suffix()));
    let logs: Vec<Offset> = names
        .iter()
        .filter(|(kind, _)| *kind == FileKind::Log)
        .map(|(_, base)| *base)
        .collect();
    let Some(start) = logs.first() else {
        return Err(TruncateError::Empty(directory.to_owned()));
    };
    if let Some(offset) = offset
        && offset < *start
    {
        return Err(TruncateError::BelowStart {
            start: *start,
            offset,
        });
    }
    let mut end_offset = *start;
    for base in &logs {
        let path = directory.join(FileKind::Log.file_name(*base));
        let scanned = scan(&path, *base, offset.unwrap_or(Offset::MAX))?;
        end_offset = scanned.end_offset.max(end_offset);
        let Some(position) = scanned.cut_at else {
            continue;
        };
        let removed = names
            .iter()
            .filter(|(kind, at)| match kind {
                // The cut segment's own snapshot, at its base, is of before it.
                FileKind::Snapshot => *at > end_offset,
                FileKind::Log => *at > *base,
                _ => *at >= *base,
            })
            .map(|(kind, at)| directory.join(kind.file_name(*at)))
            .collect();
        return Ok(Some(Truncation {
            end_offset,
            cut: Some((path, position)),
            removed,
        }));
    }
    Ok(None)
}

/// Does what was planned, while no broker has the log directory.
///
/// # Errors
/// A broker has it, or a file cannot be written: what was done until then stays, and doing it again
/// completes it.
pub fn execute(directory: &Path, truncation: &Truncation) -> Result<(), TruncateError> {
    let directory = directory.canonicalize().map_err(failed(directory))?;
    let log_dir = directory.parent().unwrap_or(&directory);
    let files = RealDirectory;
    let lock_path = log_dir.join(LOCK_FILE);
    let lock = files.try_lock(&lock_path).map_err(failed(&lock_path))?;
    let Some(_lock) = lock else {
        return Err(TruncateError::InUse(log_dir.to_owned()));
    };
    // First the checkpoints: a broker that starts in between recovers more, never less.
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let (partition, _) =
        parse_directory_name(&name).map_err(|_| TruncateError::NotAPartition(directory.clone()))?;
    for name in [
        RECOVERY_POINT_CHECKPOINT,
        HIGH_WATERMARK_CHECKPOINT,
        CLEANER_CHECKPOINT,
    ] {
        let path = log_dir.join(name);
        if !path.exists() {
            continue;
        }
        let mut offsets = read_partition_offsets(&files, &path)
            .map_err(|error| failed(&path)(io::Error::other(error)))?;
        if let Some(offset) = offsets.get_mut(&partition)
            && *offset > truncation.end_offset
        {
            *offset = truncation.end_offset;
            write_partition_offsets(&files, &path, &offsets).map_err(failed(&path))?;
        }
    }
    remove_if_there(&log_dir.join(CLEAN_SHUTDOWN_FILE))?;
    for path in truncation.removed.iter().rev() {
        remove_if_there(path)?;
    }
    if let Some((path, length)) = &truncation.cut {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed(path))?;
        file.set_len(*length).map_err(failed(path))?;
        file.sync_all().map_err(failed(path))?;
    }
    let path = directory.join(LEADER_EPOCH_CHECKPOINT);
    if path.exists() {
        let entries = read_leader_epochs(&files, &path)
            .map_err(|error| failed(&path)(io::Error::other(error)))?;
        let kept: Vec<_> = entries
            .into_iter()
            .filter(|(_, start)| *start < truncation.end_offset)
            .collect();
        write_leader_epochs(&files, &path, &kept).map_err(failed(&path))?;
    }
    files.sync_directory(&directory).map_err(failed(&directory))
}

struct Scan {
    /// Behind the last batch that stays.
    end_offset: Offset,
    /// Where the first batch that goes stands.
    cut_at: Option<u64>,
}

fn scan(path: &Path, base: Offset, offset: Offset) -> Result<Scan, TruncateError> {
    let mut file = BatchFile::open(path, u64::MAX).map_err(failed(path))?;
    let mut end_offset = base;
    loop {
        let position = file.position();
        let kept = match file.next_batch() {
            Ok(Some(batch)) if batch.ensure_valid().is_ok() && batch.last_offset() < offset => {
                Some(batch.last_offset())
            }
            Err(crate::BatchFileError::Io(error)) => return Err(failed(path)(error)),
            Ok(_) | Err(_) => None,
        };
        if kept.is_none() && file.position() == position && file.remaining() == 0 {
            let cut_at = None;
            return Ok(Scan { end_offset, cut_at });
        }
        match kept {
            Some(last) => end_offset = end_offset.max(last.saturating_add(1)),
            None => {
                let cut_at = Some(position);
                return Ok(Scan { end_offset, cut_at });
            }
        }
    }
}

fn remove_if_there(path: &Path) -> Result<(), TruncateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TruncateError + use<> {
    let path = path.to_owned();
    |error| TruncateError::Io { path, error }
}

#[cfg(test)]
mod tests;
