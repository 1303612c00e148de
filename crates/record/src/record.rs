//! Records of magic-2 batches, read lazily from uncompressed bytes without allocation.

use ottla_model::{ErrorCode, Offset, Timestamp};

use crate::batch::{BatchHeader, NO_SEQUENCE, TimestampType, increment_sequence};
use crate::varint::Cursor;

/// A batch whose records contradict its structure (Kafka's InvalidRecordException), or whose
/// records cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecords {
    /// The records are malformed; the text is Kafka's.
    #[error("{0}")]
    Malformed(String),
    /// An inner message of a compressed legacy set, or its framing, is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The lengths in a magic 0 or 1 message do not fit it; Kafka has no code for that.
    #[error("{0}")]
    Unreadable(String),
    /// The compressed data is damaged.
    #[error("Failed to decompress record stream")]
    Decompression(#[from] crate::compression::DecompressError),
    /// The codec bits name no codec.
    #[error(transparent)]
    Codec(#[from] crate::compression::UnknownCompressionType),
}

impl InvalidRecords {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    pub(crate) fn structure() -> Self {
        Self::malformed("Found invalid record structure")
    }

    /// What a producer is told. Kafka has no code of its own for data that does not decompress.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_) => ErrorCode::InvalidRecord,
            Self::Corrupt(_) => ErrorCode::CorruptMessage,
            Self::Unreadable(_) | Self::Decompression(_) | Self::Codec(_) => {
                ErrorCode::UnknownServerError
            }
        }
    }
}

/// One record, borrowed from the (decompressed) bytes of its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The absolute offset.
    pub offset: Offset,
    /// The timestamp; the batch's append time if it has one.
    pub timestamp: Timestamp,
    /// The producer's sequence number, −1 without one.
    pub sequence: i32,
    /// The key, `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for null (a tombstone on a compacted topic).
    pub value: Option<&'a [u8]>,
    /// The headers; none for magic 0 and 1.
    pub headers: Headers<'a>,
    /// Bytes of the record itself, its length prefix included.
    pub size_in_bytes: usize,
}

/// The headers of a record, checked when the record was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers as encoded, without their count.
    pub(crate) fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

    /// Key and value of each header, in order. Keys are UTF-8 by convention, not checked.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let key = cursor.nullable_bytes()??;
            let value = cursor.nullable_bytes()?;
            Some((key, value))
        })
    }
}

/// The records of one magic-2 batch, from its uncompressed record bytes. Strict as Kafka: too few
/// records, bytes after the last one and lengths that disagree are errors.
///
/// Ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIterator<'a> {
    cursor: Cursor<'a>,
    base: RecordBase,
    remaining: i32,
    compressed: bool,
}

impl<'a> RecordIterator<'a> {
    /// `records` are the bytes after the batch header, decompressed if `header` says so. A batch
    /// of zero records (left by compaction) is empty whatever its bytes.
    ///
    /// # Errors
    /// A negative record count.
    pub fn new(header: &BatchHeader, records: &'a [u8]) -> Result<Self, InvalidRecords> {
        Ok(Self {
            cursor: Cursor::new(records),
            base: RecordBase::of(header),
            remaining: checked_count(header)?,
            compressed: header.is_compressed(),
        })
    }

    fn read(&mut self) -> Result<Record<'a>, InvalidRecords> {
        let record = read_record(&mut self.cursor, &self.base, self.compressed)?;
        if self.remaining == 1 && self.cursor.remaining() > 0 {
            return Err(records_left());
        }
        Ok(record)
    }
}

impl<'a> Iterator for RecordIterator<'a> {
    type Item = Result<Record<'a>, InvalidRecords>;

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

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.remaining).ok())
    }
}

/// What the deltas of a batch's records are relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordBase {
    offset: Offset,
    timestamp: i64,
    append_time: Option<Timestamp>,
    sequence: i32,
}

impl RecordBase {
    pub(crate) fn of(header: &BatchHeader) -> Self {
        Self {
            offset: header.base_offset(),
            timestamp: header.base_timestamp.0,
            append_time: (header.timestamp_type() == Some(TimestampType::LogAppendTime))
                .then_some(header.max_timestamp),
            sequence: header.base_sequence,
        }
    }

    pub(crate) fn offset(&self, delta: i32) -> Offset {
        self.offset.wrapping_add(Offset::from(delta))
    }

    pub(crate) fn timestamp(&self, delta: i64) -> Timestamp {
        self.append_time
            .unwrap_or(Timestamp(self.timestamp.wrapping_add(delta)))
    }

    fn sequence(&self, delta: i32) -> i32 {
        if self.sequence >= 0 {
            increment_sequence(self.sequence, delta)
        } else {
            NO_SEQUENCE
        }
    }
}

pub(crate) fn checked_count(header: &BatchHeader) -> Result<i32, InvalidRecords> {
    match header.record_count {
        Some(count) if count >= 0 => Ok(count),
        count => Err(InvalidRecords::malformed(format!(
            "Found invalid record count {} in magic v{} batch",
            count.unwrap_or(-1),
            header.magic
        ))),
    }
}

pub(crate) fn records_left() -> InvalidRecords {
    InvalidRecords::malformed("Incorrect declared batch size, records still remaining in file")
}

pub(crate) fn premature_end() -> InvalidRecords {
    InvalidRecords::malformed("Incorrect declared batch size, premature EOF reached")
}

fn read_record<'a>(
    cursor: &mut Cursor<'a>,
    base: &RecordBase,
    compressed: bool,
) -> Result<Record<'a>, InvalidRecords> {
    let before = cursor.remaining();
    let size = cursor.varint().ok_or_else(premature_end)?;
    let prefix = before - cursor.remaining();
    let remaining = cursor.remaining();
    let body = usize::try_from(size)
        .ok()
        .and_then(|size| cursor.take(size))
        .ok_or_else(|| wrong_size(size, remaining, compressed))?;
    let mut body_cursor = Cursor::new(body);
    let record = read_body(&mut body_cursor, base, prefix + body.len())?;
    match body_cursor.remaining() {
        0 => Ok(record),
        left => Err(InvalidRecords::malformed(format!(
            "Invalid record size: expected to read {size} bytes in record payload, but instead read {}",
            body.len() - left
        ))),
    }
}

fn wrong_size(size: i32, remaining: usize, compressed: bool) -> InvalidRecords {
    if size < 0 {
        return premature_end();
    }
    InvalidRecords::malformed(if compressed {
        format!(
            "Invalid record size: expected {size} bytes in record payload, but the record payload reached EOF."
        )
    } else {
        format!(
            "Invalid record size: expected {size} bytes in record payload, but instead the buffer has only {remaining} remaining bytes."
        )
    })
}

fn read_body<'a>(
    cursor: &mut Cursor<'a>,
    base: &RecordBase,
    size_in_bytes: usize,
) -> Result<Record<'a>, InvalidRecords> {
    let malformed = InvalidRecords::structure;
    let _attributes = cursor.byte().ok_or_else(malformed)?;
    let timestamp_delta = cursor.varlong().ok_or_else(malformed)?;
    let offset_delta = cursor.varint().ok_or_else(malformed)?;
    let key = cursor.nullable_bytes().ok_or_else(malformed)?;
    let value = cursor.nullable_bytes().ok_or_else(malformed)?;
    let headers = read_headers(cursor)?;
    Ok(Record {
        offset: base.offset(offset_delta),
        timestamp: base.timestamp(timestamp_delta),
        sequence: base.sequence(offset_delta),
        key,
        value,
        headers,
        size_in_bytes,
    })
}

fn read_headers<'a>(cursor: &mut Cursor<'a>) -> Result<Headers<'a>, InvalidRecords> {
    let malformed = InvalidRecords::structure;
    let count = cursor.varint().ok_or_else(malformed)?;
    let checked = usize::try_from(count).map_err(|_| negative_header_count(count))?;
    if checked > cursor.remaining() {
        return Err(InvalidRecords::malformed(format!(
            "Found invalid number of record headers. {count} is larger than the remaining size of the buffer"
        )));
    }
    let start = *cursor;
    for _ in 0..checked {
        let key_size = cursor.varint().ok_or_else(malformed)?;
        let length = usize::try_from(key_size).map_err(|_| negative_header_key(key_size))?;
        cursor.take(length).ok_or_else(malformed)?;
        cursor.nullable_bytes().ok_or_else(malformed)?;
    }
    let length = start.remaining() - cursor.remaining();
    let mut start = start;
    Ok(Headers {
        count: checked,
        bytes: start.take(length).unwrap_or_default(),
    })
}

pub(crate) fn negative_header_count(count: i32) -> InvalidRecords {
    InvalidRecords::malformed(format!("Found invalid number of record headers {count}"))
}

pub(crate) fn negative_header_key(size: i32) -> InvalidRecords {
    InvalidRecords::malformed(format!("Invalid negative header key size {size}"))
}
