//! Iteration over back-to-back batches.

use crate::batch::{
    BatchPrefix, BatchView, CorruptBatch, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD, SIZE_OFFSET,
    checked_size, read_i32,
};

/// The complete batches of a buffer, in order. Stops before a partial batch at the end (what a
/// fetch that was cut at its size limit holds) and after the first corrupt size or magic.
///
/// Checksums are not checked: [`BatchView::ensure_valid`].
#[derive(Clone, Debug)]
pub struct BatchIterator<'a> {
    bytes: &'a [u8],
    position: usize,
    size_max: usize,
    failed: bool,
}

impl<'a> BatchIterator<'a> {
    /// Iterates over batches of any size.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_size_max(bytes, i32::MAX as usize)
    }

    /// Iterates over batches whose size field is at most `size_max`; a larger one is corrupt.
    pub fn with_size_max(bytes: &'a [u8], size_max: usize) -> Self {
        Self {
            bytes,
            position: 0,
            size_max,
            failed: false,
        }
    }

    /// Where the next batch starts; at the end, the number of bytes in complete batches.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not iterated yet; at the end, those of a partial batch.
    pub fn trailing_bytes(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn next_batch(&self) -> Result<Option<BatchView<'a>>, CorruptBatch> {
        let rest = &self.bytes[self.position..];
        if rest.len() < LOG_OVERHEAD {
            return Ok(None);
        }
        let size = read_i32(rest, SIZE_OFFSET);
        if checked_size(size)? > self.size_max {
            return Err(CorruptBatch::SizeTooLarge {
                size,
                limit: self.size_max,
            });
        }
        if rest.len() < HEADER_SIZE_UP_TO_MAGIC {
            return Ok(None);
        }
        if rest.len() < BatchPrefix::parse(rest)?.size_in_bytes {
            return Ok(None);
        }
        BatchView::parse(rest).map(Some)
    }
}

impl<'a> Iterator for BatchIterator<'a> {
    type Item = Result<BatchView<'a>, CorruptBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.next_batch() {
            Ok(Some(batch)) => {
                self.position += batch.size_in_bytes;
                Some(Ok(batch))
            }
            Ok(None) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
