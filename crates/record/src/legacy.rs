//! Message sets of magic 0 and 1: plain messages, and compressed sets nested in a wrapper message.

use ottla_model::{Offset, Timestamp};

use crate::batch::{
    BatchView, COMPRESSION_MASK, CorruptBatch, LOG_OVERHEAD, Magic, NO_SEQUENCE,
    RECORD_OVERHEAD_V0, SIZE_OFFSET, TIMESTAMP_TYPE_MASK, TimestampType, checked_size, read_i32,
    read_i64,
};
use crate::compression::{CompressionType, decompress};
use crate::record::{Headers, InvalidRecords, Record};

const MAGIC_POSITION: usize = 4;
const ATTRIBUTES_POSITION: usize = 5;
const TIMESTAMP_POSITION: usize = 6;

/// The key and the value of a message, `None` for null.
pub type KeyAndValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// One message of a set, as stored: the bytes from its checksum on, with nothing checked but that
/// there are at least 14.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegacyMessage<'a> {
    /// The offset field; relative to the set inside a magic-1 wrapper.
    pub offset: Offset,
    bytes: &'a [u8],
}

impl<'a> LegacyMessage<'a> {
    /// The single message that a magic 0 or 1 batch is; `None` for magic 2.
    pub fn of_batch(batch: &BatchView<'a>) -> Option<Self> {
        (batch.magic != Magic::V2).then(|| Self {
            offset: batch.offset,
            bytes: &batch.bytes()[LOG_OVERHEAD..],
        })
    }

    /// The magic byte, which inside a wrapper can be anything.
    pub fn magic(&self) -> i8 {
        self.bytes[MAGIC_POSITION] as i8
    }

    /// The attributes byte.
    pub fn attributes(&self) -> u8 {
        self.bytes[ATTRIBUTES_POSITION]
    }

    /// Bytes of the entry with its offset and size.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + self.bytes.len()
    }

    /// Whether the codec bits are not zero.
    pub fn is_compressed(&self) -> bool {
        i16::from(self.attributes()) & COMPRESSION_MASK != 0
    }

    /// The stored CRC-32.
    pub fn stored_crc(&self) -> u32 {
        read_i32(self.bytes, 0) as u32
    }

    /// Checks the CRC-32.
    ///
    /// # Errors
    /// [`CorruptBatch::Crc`].
    pub fn ensure_valid(&self) -> Result<(), CorruptBatch> {
        let stored = self.stored_crc();
        let computed = crc32fast::hash(&self.bytes[MAGIC_POSITION..]);
        if stored == computed {
            Ok(())
        } else {
            Err(CorruptBatch::Crc { stored, computed })
        }
    }

    /// The timestamp in the message itself; −1 for magic 0 and for a message cut short.
    pub fn own_timestamp(&self) -> Timestamp {
        if self.magic() == 0 || self.bytes.len() < TIMESTAMP_POSITION + 8 {
            return Timestamp::NONE;
        }
        Timestamp(read_i64(self.bytes, TIMESTAMP_POSITION))
    }

    /// Key and value, `None` for null.
    ///
    /// # Errors
    /// Their lengths do not fit into the message.
    pub fn key_and_value(&self) -> Result<KeyAndValue<'a>, InvalidRecords> {
        let mut rest = self.sized_fields()?;
        let key = take_sized(&mut rest)?;
        let value = take_sized(&mut rest)?;
        Ok((key, value))
    }

    /// Whether there is a key, by its length alone.
    ///
    /// # Errors
    /// The message is too short for the length.
    pub(crate) fn has_key(&self) -> Result<bool, InvalidRecords> {
        let fields = self.sized_fields()?;
        let (size, _) = fields.split_first_chunk::<4>().ok_or_else(unreadable)?;
        Ok(i32::from_be_bytes(*size) >= 0)
    }

    fn sized_fields(&self) -> Result<&'a [u8], InvalidRecords> {
        let start = match self.magic() {
            0 => TIMESTAMP_POSITION,
            _ => TIMESTAMP_POSITION + 8,
        };
        self.bytes.get(start..).ok_or_else(unreadable)
    }
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, InvalidRecords> {
    let (size, tail) = rest.split_first_chunk::<4>().ok_or_else(unreadable)?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*size)) else {
        *rest = tail;
        return Ok(None);
    };
    let (taken, tail) = tail.split_at_checked(length).ok_or_else(unreadable)?;
    *rest = tail;
    Ok(Some(taken))
}

fn unreadable() -> InvalidRecords {
    InvalidRecords::Unreadable("lengths in a message exceed the message".to_owned())
}

/// The messages of one magic 0 or 1 batch: the message itself, or those in the compressed set it
/// wraps, decompressed and their number and last offset known.
#[derive(Clone, Debug)]
pub(crate) struct LegacySet<'a> {
    wrapper: LegacyMessage<'a>,
    wrapper_append_time: Option<Timestamp>,
    /// Decompressed inner set; `None` if the batch is not compressed.
    inner: Option<Vec<u8>>,
    /// What inner offsets are relative to.
    absolute_base_offset: Offset,
}

impl<'a> LegacySet<'a> {
    pub(crate) fn open(batch: &BatchView<'a>, limit: usize) -> Result<Self, InvalidRecords> {
        let wrapper = LegacyMessage::of_batch(batch).ok_or_else(|| {
            InvalidRecords::malformed(format!(
                "Invalid wrapper magic found in legacy deep record iterator {}",
                batch.magic
            ))
        })?;
        let mut set = Self {
            wrapper,
            wrapper_append_time: None,
            inner: None,
            absolute_base_offset: 0,
        };
        match batch.compression_type()? {
            CompressionType::None => {}
            codec => set.decompress(batch, codec, limit)?,
        }
        Ok(set)
    }

    fn decompress(
        &mut self,
        batch: &BatchView<'a>,
        codec: CompressionType,
        limit: usize,
    ) -> Result<(), InvalidRecords> {
        let magic = batch.magic;
        if codec == CompressionType::Zstd {
            return Err(InvalidRecords::malformed(format!(
                "Invalid wrapper compressionType found in legacy deep record iterator {magic}"
            )));
        }
        let (_, Some(value)) = self.wrapper.key_and_value()? else {
            return Err(InvalidRecords::malformed(format!(
                "Found invalid compressed record set with null value (magic = {magic})"
            )));
        };
        let inner = decompress(codec, magic, value, limit)?;
        let mut last = None;
        for message in MessageSet::new(&inner) {
            last = Some(message?);
        }
        let last_inner_offset = last
            .ok_or_else(|| {
                InvalidRecords::malformed(
                    "Found invalid compressed record set with no inner records",
                )
            })?
            .offset;
        self.absolute_base_offset = match magic {
            Magic::V1 => absolute_base_offset(self.wrapper.offset, last_inner_offset)?,
            Magic::V0 | Magic::V2 => 0,
        };
        self.wrapper_append_time = (batch.timestamp_type() == Some(TimestampType::LogAppendTime))
            .then_some(batch.max_timestamp);
        self.inner = Some(inner);
        Ok(())
    }

    pub(crate) fn iter(&self) -> LegacyIterator<'_> {
        LegacyIterator {
            set: self,
            inner: self.inner.as_deref().map(MessageSet::new),
            finished: false,
        }
    }
}

fn absolute_base_offset(
    wrapper_offset: Offset,
    last_inner_offset: Offset,
) -> Result<Offset, InvalidRecords> {
    // Certain librdkafka versions produce with wrapper offset 0.
    if wrapper_offset == 0 {
        return Ok(0);
    }
    if wrapper_offset < last_inner_offset {
        return Err(InvalidRecords::malformed(format!(
            "Found invalid wrapper offset in compressed v1 message set, wrapper offset \
             '{wrapper_offset}' is less than the last inner message offset '{last_inner_offset}' \
             and it is not zero."
        )));
    }
    Ok(wrapper_offset.wrapping_sub(last_inner_offset))
}

/// A message with what its wrapper decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LegacyRecord<'a> {
    pub(crate) message: LegacyMessage<'a>,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
}

impl<'a> LegacyRecord<'a> {
    pub(crate) fn to_record(self) -> Result<Record<'a>, InvalidRecords> {
        let (key, value) = self.message.key_and_value()?;
        Ok(Record {
            offset: self.offset,
            timestamp: self.timestamp,
            sequence: NO_SEQUENCE,
            key,
            value,
            headers: Headers::default(),
            size_in_bytes: self.message.size_in_bytes(),
        })
    }

    pub(crate) fn timestamp_type(&self, wrapper_type: Option<TimestampType>) -> &'static str {
        let own = i16::from(self.message.attributes()) & TIMESTAMP_TYPE_MASK;
        match (self.message.magic(), wrapper_type, own) {
            (0, _, _) => "NoTimestampType",
            (_, Some(wrapper), _) => wrapper.name(),
            (_, None, 0) => TimestampType::CreateTime.name(),
            (_, None, _) => TimestampType::LogAppendTime.name(),
        }
    }
}

/// The messages of a [`LegacySet`]. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct LegacyIterator<'a> {
    set: &'a LegacySet<'a>,
    inner: Option<MessageSet<'a>>,
    finished: bool,
}

impl<'a> LegacyIterator<'a> {
    fn absolute(&self, message: LegacyMessage<'a>) -> Result<LegacyRecord<'a>, InvalidRecords> {
        if message.is_compressed() {
            return Err(InvalidRecords::malformed(
                "Inner messages must not be compressed",
            ));
        }
        let timestamp = match self.set.wrapper_append_time {
            Some(append_time) if message.magic() == 1 => append_time,
            _ => message.own_timestamp(),
        };
        Ok(LegacyRecord {
            message,
            offset: self.set.absolute_base_offset.wrapping_add(message.offset),
            timestamp,
        })
    }
}

impl<'a> Iterator for LegacyIterator<'a> {
    type Item = Result<LegacyRecord<'a>, InvalidRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let result = match &mut self.inner {
            Some(messages) => messages.next()?.and_then(|message| self.absolute(message)),
            None => {
                self.finished = true;
                let message = self.set.wrapper;
                Ok(LegacyRecord {
                    message,
                    offset: message.offset,
                    timestamp: message.own_timestamp(),
                })
            }
        };
        self.finished |= result.is_err();
        Some(result)
    }
}

/// The messages of a decompressed set; a partial one at the end is dropped, as in Kafka.
#[derive(Clone, Debug)]
struct MessageSet<'a> {
    rest: &'a [u8],
}

impl<'a> MessageSet<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for MessageSet<'a> {
    type Item = Result<LegacyMessage<'a>, InvalidRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest;
        if bytes.len() < LOG_OVERHEAD {
            return None;
        }
        let Ok(size) = checked_size(read_i32(bytes, SIZE_OFFSET)) else {
            self.rest = &[];
            return Some(Err(InvalidRecords::Corrupt(format!(
                "Record size is less than the minimum record overhead ({RECORD_OVERHEAD_V0})"
            ))));
        };
        let (message, rest) = bytes[LOG_OVERHEAD..].split_at_checked(size)?;
        self.rest = rest;
        Some(Ok(LegacyMessage {
            offset: read_i64(bytes, 0),
            bytes: message,
        }))
    }
}
