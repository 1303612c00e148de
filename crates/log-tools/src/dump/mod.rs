//! What `kafka-dump-log.sh` prints of a segment's files (DumpLogSegments).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ottla_model::Offset;
use ottla_storage::names;

use crate::batch_file::BatchFileError;

mod batches;
mod decoders;
mod indexes;
mod producers;

pub use decoders::{Decoder, Text};

/// What to print, under the names of the tool's options.
#[derive(Debug, Clone)]
pub struct DumpOptions {
    /// `--deep-iteration`: each record, not only each batch.
    pub deep_iteration: bool,
    /// `--print-data-log` or a decoder: what the records hold.
    pub contents: Option<Decoder>,
    /// `--skip-record-metadata`.
    pub skip_record_metadata: bool,
    /// `--verify-index-only`.
    pub verify_index_only: bool,
    /// `--index-sanity-check`.
    pub index_sanity_check: bool,
    /// `--max-bytes`: how much of a log is read; `None` for all.
    pub max_bytes: Option<u64>,
}

/// Why a dump stopped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// A file cannot be read to its end.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: BatchFileError,
    },
    /// A batch's records cannot be read.
    #[error("{path}: the batch at position {position}: {reason}")]
    Records {
        /// The file.
        path: PathBuf,
        /// Where the batch starts.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An index fails the check that a broker makes at its start.
    #[error("{path}: {reason}")]
    Insane {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name says no offset.
    #[error("{0}: the name of the file does not begin with an offset")]
    Name(PathBuf),
}

/// Mismatches of all files, printed behind everything else on standard error.
#[derive(Debug, Default)]
struct Complaints {
    index: Vec<(PathBuf, Vec<(Offset, Offset)>)>,
    time_index: indexes::TimeIndexComplaints,
    non_consecutive: Vec<(PathBuf, Vec<(Offset, Offset)>)>,
}

/// Prints files one after the other.
///
/// # Errors
/// The first file that cannot be read to its end.
pub fn dump(
    files: &[PathBuf],
    options: &DumpOptions,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), DumpError> {
    let mut complaints = Complaints::default();
    for file in files {
        writeln!(out, "Dumping {}", file.display())?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let suffix = name.rfind('.').map_or("", |at| &name[at..]);
        match suffix {
            ".log" => batches::dump(file, options, &mut complaints, out)?,
            ".index" => indexes::dump_offset_index(file, options, &mut complaints, out)?,
            ".timeindex" => indexes::dump_time_index(file, options, &mut complaints, out)?,
            ".snapshot" => producers::dump_snapshot(file, out, err)?,
            ".txnindex" => producers::dump_transaction_index(file, out)?,
            _ => writeln!(err, "Ignoring unknown file {}", file.display())?,
        }
    }
    complaints.print(err)?;
    Ok(())
}

impl Complaints {
    fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        for (file, mismatches) in &self.index {
            writeln!(err, "Mismatches in :{}", file.display())?;
            // Kafka's lists grow at their heads.
            for (index, log) in mismatches.iter().rev() {
                writeln!(err, "  Index offset: {index}, log offset: {log}")?;
            }
        }
        self.time_index.print(err)?;
        for (file, pairs) in &self.non_consecutive {
            writeln!(err, "Non-consecutive offsets in {}", file.display())?;
            for (first, second) in pairs.iter().rev() {
                writeln!(err, "  {first} is followed by {second}")?;
            }
        }
        Ok(())
    }
}

/// Prints an index of aborted transactions.
pub(crate) fn dump_aborted(path: &Path, out: &mut dyn Write) -> Result<(), DumpError> {
    producers::dump_transaction_index(path, out)
}

/// The offset that a file's name begins with.
fn base_offset(file: &Path) -> Result<Offset, DumpError> {
    file.file_name()
        .and_then(|name| names::offset_of_name(&name.to_string_lossy()))
        .ok_or_else(|| DumpError::Name(file.to_owned()))
}

/// Reading `path` failed.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> DumpError + use<> {
    let path = path.to_owned();
    |error| DumpError::File {
        path,
        error: error.into(),
    }
}

/// A path as Java's `getAbsolutePath` gives it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An optional number as Java prints it.
fn optional_long(value: Option<i64>) -> String {
    value.map_or_else(
        || "OptionalLong.empty".to_owned(),
        |value| format!("OptionalLong[{value}]"),
    )
}
