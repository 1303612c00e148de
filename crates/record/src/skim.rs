//! A pass over the records of a compressed magic-2 batch that looks at offsets, timestamps and
//! sizes only, in bounded memory and without keeping keys, values or headers
//! (`DefaultRecordBatch.skipKeyValueIterator`).

use ottla_model::{Offset, Timestamp};

use crate::batch::BatchView;
use crate::compression::{CHUNK_SIZE, Decompressor};
use crate::record::{
    InvalidRecords, RecordBase, checked_count, negative_header_count, negative_header_key,
    premature_end, records_left,
};
use crate::varint::{Cursor, unzigzag_32, unzigzag_64};

/// What a skimmed record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SkimmedRecord {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    /// Negative for null.
    pub(crate) key_size: i32,
    /// Negative for null.
    pub(crate) value_size: i32,
    pub(crate) size_in_bytes: usize,
}

/// Bytes that are decompressed at a time where there is much: a whole block of the LZ4 frames that
/// Kafka writes.
const LARGE_CHUNK_SIZE: usize = 64 * 1024;

/// Skims the records of a batch, decompressing as it goes. Ends after the first error.
pub(crate) struct RecordSkimmer<'a> {
    source: ByteStream<'a>,
    base: RecordBase,
    remaining: i32,
}

impl<'a> RecordSkimmer<'a> {
    pub(crate) fn new(batch: &BatchView<'a>) -> Result<Self, InvalidRecords> {
        let remaining = checked_count(batch)?;
        let codec = batch.compression_type()?;
        // Nothing is kept, so there is nothing to limit but time, which the compressed size bounds.
        let decompressor = Decompressor::new(codec, batch.magic, batch.payload(), usize::MAX)?;
        let chunk_size = match batch.payload().len() {
            LARGE_CHUNK_SIZE.. => LARGE_CHUNK_SIZE,
            _ => CHUNK_SIZE,
        };
        Ok(Self {
            source: ByteStream::new(decompressor, chunk_size),
            base: RecordBase::of(batch),
            remaining,
        })
    }

    fn read(&mut self) -> Result<SkimmedRecord, InvalidRecords> {
        let record = match self.read_at_once() {
            Some(record) => record,
            None => self.read_in_pieces()?,
        };
        if self.remaining == 1 && self.source.byte()?.is_some() {
            return Err(records_left());
        }
        Ok(record)
    }

    /// A sound record all of which is decompressed already. Others are left where they begin.
    fn read_at_once(&mut self) -> Option<SkimmedRecord> {
        let available = self.source.available();
        let mut cursor = Cursor::new(available);
        let size = usize::try_from(cursor.varint()?).ok()?;
        let mut body = Cursor::new(cursor.take(size)?);
        let _attributes = body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key_size = skip_sized(&mut body)?;
        let value_size = skip_sized(&mut body)?;
        let headers = usize::try_from(body.varint()?).ok()?;
        for _ in 0..headers {
            let header_key_size = skip_sized(&mut body)?;
            if header_key_size < 0 {
                return None;
            }
            skip_sized(&mut body)?;
        }
        if body.remaining() > 0 {
            return None;
        }
        let size_in_bytes = available.len() - cursor.remaining();
        self.source.advance(size_in_bytes);
        Some(SkimmedRecord {
            offset: self.base.offset(offset_delta),
            timestamp: self.base.timestamp(timestamp_delta),
            key_size,
            value_size,
            size_in_bytes,
        })
    }

    fn read_in_pieces(&mut self) -> Result<SkimmedRecord, InvalidRecords> {
        let start = self.source.consumed;
        let size = self.source.varint()?.ok_or_else(premature_end)?;
        let body_start = self.source.consumed;
        let record = self.read_body(body_start - start)?;
        let read = self.source.consumed - body_start;
        if u64::try_from(size) != Ok(read) {
            return Err(InvalidRecords::malformed(format!(
                "Invalid record size: expected to read {size} bytes in record payload, but instead read {read}"
            )));
        }
        Ok(record)
    }

    fn read_body(&mut self, prefix: u64) -> Result<SkimmedRecord, InvalidRecords> {
        let malformed = InvalidRecords::structure;
        let source = &mut self.source;
        let start = source.consumed;
        let _attributes = source.byte()?.ok_or_else(malformed)?;
        let timestamp_delta = source.varlong()?.ok_or_else(malformed)?;
        let offset_delta = source.varint()?.ok_or_else(malformed)?;
        let key_size = source.skip_sized()?;
        let value_size = source.skip_sized()?;
        let header_count = source.varint()?.ok_or_else(malformed)?;
        if header_count < 0 {
            return Err(negative_header_count(header_count));
        }
        for _ in 0..header_count {
            let header_key_size = source.skip_sized()?;
            if header_key_size < 0 {
                return Err(negative_header_key(header_key_size));
            }
            source.skip_sized()?;
        }
        Ok(SkimmedRecord {
            offset: self.base.offset(offset_delta),
            timestamp: self.base.timestamp(timestamp_delta),
            key_size,
            value_size,
            size_in_bytes: usize::try_from(prefix + source.consumed - start).unwrap_or(usize::MAX),
        })
    }
}

impl Iterator for RecordSkimmer<'_> {
    type Item = Result<SkimmedRecord, InvalidRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let result = self.read();
        match result {
            Ok(_) => self.remaining -= 1,
            Err(_) => self.remaining = 0,
        }
        Some(result)
    }
}

/// Skips a length-prefixed field and answers its length, negative for null.
fn skip_sized(cursor: &mut Cursor<'_>) -> Option<i32> {
    let size = cursor.varint()?;
    cursor.take(usize::try_from(size).unwrap_or(0))?;
    Some(size)
}

/// Decompressed bytes through one small buffer.
struct ByteStream<'a> {
    decompressor: Decompressor<'a>,
    buffer: Box<[u8]>,
    position: usize,
    filled: usize,
    consumed: u64,
}

impl<'a> ByteStream<'a> {
    fn new(decompressor: Decompressor<'a>, chunk_size: usize) -> Self {
        Self {
            decompressor,
            buffer: vec![0; chunk_size].into_boxed_slice(),
            position: 0,
            filled: 0,
            consumed: 0,
        }
    }

    /// What is in the buffer and not yet read.
    fn available(&self) -> &[u8] {
        &self.buffer[self.position..self.filled]
    }

    /// Takes bytes that are available.
    fn advance(&mut self, length: usize) {
        self.position += length;
        self.consumed += length as u64;
    }

    /// Whether there are bytes to read in the buffer, after filling it if it was empty.
    #[inline]
    fn fill(&mut self) -> Result<bool, InvalidRecords> {
        if self.position == self.filled {
            self.position = 0;
            self.filled = self.decompressor.read(&mut self.buffer)?;
        }
        Ok(self.position < self.filled)
    }

    #[inline]
    fn byte(&mut self) -> Result<Option<u8>, InvalidRecords> {
        if !self.fill()? {
            return Ok(None);
        }
        let byte = self.buffer[self.position];
        self.position += 1;
        self.consumed += 1;
        Ok(Some(byte))
    }

    fn varint(&mut self) -> Result<Option<i32>, InvalidRecords> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let Some(byte) = self.byte()? else {
                return Ok(None);
            };
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(Some(unzigzag_32(value)));
            }
        }
        Ok(None)
    }

    fn varlong(&mut self) -> Result<Option<i64>, InvalidRecords> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(byte) = self.byte()? else {
                return Ok(None);
            };
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(Some(unzigzag_64(value)));
            }
        }
        Ok(None)
    }

    /// Skips a length-prefixed field and answers its length, negative for null.
    fn skip_sized(&mut self) -> Result<i32, InvalidRecords> {
        let size = self.varint()?.ok_or_else(InvalidRecords::structure)?;
        let mut left = usize::try_from(size).unwrap_or(0);
        while left > 0 {
            if !self.fill()? {
                return Err(InvalidRecords::malformed(format!(
                    "Reached end of input stream before skipping all bytes. Remaining bytes:{left}"
                )));
            }
            let step = left.min(self.filled - self.position);
            self.position += step;
            self.consumed += step as u64;
            left -= step;
        }
        Ok(size)
    }
}
