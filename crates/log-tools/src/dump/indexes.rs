//! Offset and time indexes, compared with their log.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ottla_model::{Offset, Timestamp};
use ottla_record::DECOMPRESSED_SIZE_MAX;
use ottla_storage::names::FileKind;

use super::{Complaints, DumpError, DumpOptions, absolute, base_offset, unreadable};
use crate::batch_file::BatchFile;
use crate::index_file;

pub(super) fn dump_offset_index(
    path: &Path,
    options: &DumpOptions,
    complaints: &mut Complaints,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let base = base_offset(path)?;
    let index = index_file::offset_index(path, base).map_err(unreadable(path))?;
    let Some((last, _)) = index.entries.last() else {
        writeln!(out, "{} is empty.", path.display())?;
        return Ok(());
    };
    if options.index_sanity_check {
        if *last < base {
            return Err(insane(path, "the last offset is below the base offset"));
        }
        return passed(path, index.is_whole, out);
    }
    let mut log = open_log(path, base)?;
    let mut mismatches = Vec::new();
    for (offset, position) in index_file::written(&index.entries, base, |entry| entry.0) {
        log.seek(u64::from(*position));
        let batch = log.next_batch().map_err(|error| DumpError::File {
            path: log_of(path, base),
            error,
        })?;
        let found = batch.map_or(-1, |batch| batch.last_offset());
        if found != *offset {
            mismatches.push((*offset, found));
        }
        if !options.verify_index_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    if !mismatches.is_empty() {
        complaints.index.push((absolute(path), mismatches));
    }
    Ok(())
}

pub(super) fn dump_time_index(
    path: &Path,
    options: &DumpOptions,
    complaints: &mut Complaints,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let base = base_offset(path)?;
    let index = index_file::time_index(path, base).map_err(unreadable(path))?;
    if options.index_sanity_check {
        if let Some((timestamp, offset)) = index.entries.last()
            && (*timestamp < index.entries[0].0 || *offset < base)
        {
            return Err(insane(path, "the last entry is behind the first"));
        }
        return passed(path, index.is_whole, out);
    }
    let offsets_path = path.with_file_name(FileKind::OffsetIndex.file_name(base));
    let offsets =
        index_file::offset_index(&offsets_path, base).map_err(unreadable(&offsets_path))?;
    let mut log = open_log(path, base)?;
    let mut previous = Timestamp::NONE;
    for (timestamp, offset) in index_file::written(&index.entries, base, |entry| entry.1) {
        log.seek(index_file::lookup(&offsets.entries, base, *offset));
        let found = batch_with(&mut log, *offset).map_err(|error| DumpError::File {
            path: log_of(path, base),
            error,
        })?;
        let times = &mut complaints.time_index;
        match found {
            Some((last, largest)) if last == *offset => {
                if largest != *timestamp {
                    push(&mut times.mismatches, path, (timestamp.0, largest.0));
                }
                if previous >= *timestamp {
                    push(&mut times.out_of_order, path, (timestamp.0, previous.0));
                }
            }
            found => {
                let last = found.map_or(-1, |(last, _)| last);
                push(&mut times.not_found, path, (*offset, last));
            }
        }
        if !options.verify_index_only {
            writeln!(out, "timestamp: {} offset: {offset}", timestamp.0)?;
        }
        previous = *timestamp;
    }
    Ok(())
}

/// Last offset and largest timestamp of the batch that ends at an offset or behind it.
fn batch_with(
    log: &mut BatchFile,
    offset: Offset,
) -> Result<Option<(Offset, Timestamp)>, crate::BatchFileError> {
    while let Some(batch) = log.next_batch()? {
        let last = batch.last_offset();
        if last < offset {
            continue;
        }
        let mut largest = Timestamp::NONE;
        // Records that cannot be read have no timestamps: a mismatch, which is what is asked for.
        if let Ok(records) = batch.records(DECOMPRESSED_SIZE_MAX)
            && let Ok(records) = records.iter()
        {
            for record in records.flatten() {
                largest = largest.max(record.timestamp);
            }
        }
        return Ok(Some((last, largest)));
    }
    Ok(None)
}

fn passed(path: &Path, is_whole: bool, out: &mut dyn Write) -> Result<(), DumpError> {
    if !is_whole {
        return Err(insane(path, "the length is no multiple of an entry's"));
    }
    writeln!(out, "{} passed sanity check.", path.display())?;
    Ok(())
}

fn insane(path: &Path, reason: &'static str) -> DumpError {
    DumpError::Insane {
        path: path.to_owned(),
        reason,
    }
}

fn log_of(index: &Path, base: Offset) -> PathBuf {
    index.with_file_name(FileKind::Log.file_name(base))
}

fn open_log(index: &Path, base: Offset) -> Result<BatchFile, DumpError> {
    let path = log_of(index, base);
    BatchFile::open(&path, u64::MAX).map_err(unreadable(&path))
}

type ByFile = Vec<(PathBuf, Vec<(i64, i64)>)>;

fn push(list: &mut ByFile, path: &Path, pair: (i64, i64)) {
    let path = absolute(path);
    match list.last_mut() {
        Some((last, pairs)) if *last == path => pairs.push(pair),
        _ => list.push((path, vec![pair])),
    }
}

/// What time indexes say that their logs do not.
#[derive(Debug, Default)]
pub(super) struct TimeIndexComplaints {
    mismatches: ByFile,
    out_of_order: ByFile,
    not_found: ByFile,
}

impl TimeIndexComplaints {
    pub(super) fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        for (file, pairs) in &self.mismatches {
            writeln!(err, "Found timestamp mismatch in :{}", file.display())?;
            for (index, log) in pairs {
                writeln!(err, "  Index timestamp: {index}, log timestamp: {log}")?;
            }
        }
        for (file, pairs) in &self.out_of_order {
            writeln!(err, "Found out of order timestamp in :{}", file.display())?;
            for (index, previous) in pairs {
                writeln!(
                    err,
                    "  Index timestamp: {index}, Previously indexed timestamp: {previous}"
                )?;
            }
        }
        for (_, pairs) in &self.not_found {
            writeln!(
                err,
                "The following indexed offsets are not found in the log."
            )?;
            for (index, log) in pairs {
                writeln!(err, "Indexed offset: {index}, found log offset: {log}")?;
            }
        }
        Ok(())
    }
}
