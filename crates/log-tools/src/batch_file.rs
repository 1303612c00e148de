//! A segment's file, batch by batch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ottla_record::{BatchPrefix, BatchView, CorruptBatch};

/// Offset, size, CRC or epoch, and the format: what a batch's size can be read from.
const PREFIX_BYTES: u64 = 17;

/// Why the next batch of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchFileError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What stands at a position is no batch.
    #[error("at position {position}: {error}")]
    Corrupt {
        /// Bytes from the start of the file.
        position: u64,
        /// What is wrong there.
        error: CorruptBatch,
    },
}

/// A file of record batches, read forwards; memory is bounded by its largest batch.
#[derive(Debug)]
pub(crate) struct BatchFile {
    file: File,
    /// Where reading ends.
    end: u64,
    position: u64,
    batch: Vec<u8>,
}

impl BatchFile {
    /// Opens a file, of which at most `limit` bytes are read.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len().min(limit);
        Ok(Self {
            file,
            end,
            position: 0,
            batch: Vec::new(),
        })
    }

    /// Where the next batch starts.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Continues at another batch.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position.min(self.end);
    }

    /// Bytes that are not read yet; at the end, those of a batch that is cut off.
    pub(crate) fn remaining(&self) -> u64 {
        self.end - self.position
    }

    /// The next whole batch.
    pub(crate) fn next_batch(&mut self) -> Result<Option<BatchView<'_>>, BatchFileError> {
        let remaining = self.remaining();
        if remaining < PREFIX_BYTES {
            return Ok(None);
        }
        let position = self.position;
        let corrupt = |error| BatchFileError::Corrupt { position, error };
        let mut prefix = [0; PREFIX_BYTES as usize];
        self.file.read_exact_at(&mut prefix, position)?;
        let size = BatchPrefix::parse(&prefix).map_err(corrupt)?.size_in_bytes;
        if size as u64 > remaining {
            return Ok(None);
        }
        self.batch.resize(size, 0);
        self.file.read_exact_at(&mut self.batch, position)?;
        let batch = BatchView::parse(&self.batch).map_err(corrupt)?;
        self.position += size as u64;
        Ok(Some(batch))
    }
}
