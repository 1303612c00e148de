//! Reading batch headers of a segment's file one after the other, without their records.

use std::io;

use ottla_record::{
    BatchHeader, BatchPrefix, CorruptBatch, HEADER_SIZE_UP_TO_MAGIC, RECORD_BATCH_OVERHEAD,
};

use crate::directory::{StorageFile, read_full};

/// Bytes read at once: one index interval.
const WINDOW_BYTES: usize = 4096;

/// A batch's header and where the batch begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedBatch {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

/// Why headers cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("corrupt batch at byte {position}: {error}")]
    Corrupt { position: u64, error: CorruptBatch },
}

impl From<ScanError> for io::Error {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => error,
            corrupt @ ScanError::Corrupt { .. } => {
                io::Error::new(io::ErrorKind::InvalidData, corrupt.to_string())
            }
        }
    }
}

/// Headers of the complete batches in `[position, end)` of a file, in order.
pub(crate) struct HeaderScanner<'a> {
    file: &'a dyn StorageFile,
    position: u64,
    end: u64,
    window: [u8; WINDOW_BYTES],
    window_start: u64,
    window_length: usize,
}

impl<'a> HeaderScanner<'a> {
    pub(crate) fn new(file: &'a dyn StorageFile, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            window: [0; WINDOW_BYTES],
            window_start: 0,
            window_length: 0,
        }
    }

    /// The next batch; `None` at the end or before an incomplete batch.
    pub(crate) fn next_batch(&mut self) -> Result<Option<PlacedBatch>, ScanError> {
        let position = self.position;
        let corrupt = |error| ScanError::Corrupt { position, error };
        let bytes = self.header_bytes()?;
        if bytes.len() < HEADER_SIZE_UP_TO_MAGIC {
            return Ok(None);
        }
        let prefix = BatchPrefix::parse(bytes).map_err(corrupt)?;
        if bytes.len() < prefix.header_size() {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes).map_err(corrupt)?;
        if self.end - position < header.size_in_bytes as u64 {
            return Ok(None);
        }
        self.position += header.size_in_bytes as u64;
        Ok(Some(PlacedBatch { position, header }))
    }

    /// Up to a header's bytes at the current position.
    fn header_bytes(&mut self) -> io::Result<&[u8]> {
        let wanted = (self.end.saturating_sub(self.position)).min(RECORD_BATCH_OVERHEAD as u64);
        let window_end = self.window_start + self.window_length as u64;
        if self.position < self.window_start || self.position + wanted > window_end {
            let room = (self.end.saturating_sub(self.position)).min(WINDOW_BYTES as u64) as usize;
            self.window_length = read_full(self.file, &mut self.window[..room], self.position)?;
            self.window_start = self.position;
        }
        let start = (self.position - self.window_start) as usize;
        let end = (start + wanted as usize).min(self.window_length);
        Ok(&self.window[start..end])
    }
}
