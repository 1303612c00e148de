//! Building of message sets of magic 0 and 1, for readers that know nothing newer.

use ottla_model::{Offset, Timestamp};

use crate::batch::{
    LEGACY_ATTRIBUTES_OFFSET, LEGACY_CRC_OFFSET, LOG_OVERHEAD, MAGIC_OFFSET, Magic, SIZE_OFFSET,
    TIMESTAMP_TYPE_MASK, TimestampType,
};
use crate::builder::BuildError;
use crate::compression::Compression;

/// Collects messages of one set: back-to-back messages, or one wrapper with a compressed set.
#[derive(Clone, Debug)]
pub struct MessageSetBuilder {
    magic: Magic,
    compression: Compression,
    timestamp_type: TimestampType,
    base_offset: Offset,
    last_offset: Option<Offset>,
    max_timestamp: Timestamp,
    buffer: Vec<u8>,
}

impl MessageSetBuilder {
    /// An empty set of format `magic`, 0 or 1. Offsets in a compressed magic-1 set are stored
    /// relative to `base_offset`.
    ///
    /// # Panics
    /// If `magic` is 2 or `compression` zstd: no reader of old formats knows them, and callers
    /// choose both themselves.
    pub fn new(
        magic: Magic,
        compression: Compression,
        timestamp_type: TimestampType,
        base_offset: Offset,
    ) -> Self {
        assert!(
            magic != Magic::V2 && !matches!(compression, Compression::Zstd { .. }),
            "message sets exist for magic 0 and 1 and without zstd only"
        );
        Self {
            magic,
            compression,
            timestamp_type,
            base_offset,
            last_offset: None,
            max_timestamp: Timestamp::NONE,
            buffer: Vec::new(),
        }
    }

    /// Appends a message. For a LogAppendTime set the timestamp is the append time.
    ///
    /// # Errors
    /// The offset does not rise, the timestamp is below −1, or the message is too large.
    pub fn append(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), BuildError> {
        if let Some(last) = self.last_offset
            && offset <= last
        {
            return Err(BuildError::OffsetNotIncreasing { offset, last });
        }
        if timestamp.0 < Timestamp::NONE.0 {
            return Err(BuildError::NegativeTimestamp(timestamp));
        }
        let relative = self.magic == Magic::V1 && self.compression != Compression::None;
        let stored_offset = if relative {
            offset.wrapping_sub(self.base_offset)
        } else {
            offset
        };
        let message = Message {
            magic: self.magic,
            attributes: self.timestamp_attribute(),
            offset: stored_offset,
            timestamp,
            key,
            value,
        };
        message.write(&mut self.buffer)?;
        self.last_offset = Some(offset);
        if self.magic == Magic::V1 {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        Ok(())
    }

    /// The offset of the last message, `None` without messages.
    pub fn last_offset(&self) -> Option<Offset> {
        self.last_offset
    }

    /// The finished set; no bytes at all without messages.
    ///
    /// # Errors
    /// Compression failed, or the set is too large.
    pub fn build(self) -> Result<Vec<u8>, BuildError> {
        let Some(last_offset) = self.last_offset else {
            return Ok(Vec::new());
        };
        if self.compression == Compression::None {
            return Ok(self.buffer);
        }
        let mut compressed = Vec::new();
        self.compression
            .compress(self.magic, &self.buffer, &mut compressed)
            .map_err(|error| BuildError::Compression {
                codec: self.compression.codec().name(),
                reason: error.to_string(),
            })?;
        let mut out = Vec::new();
        let wrapper = Message {
            magic: self.magic,
            attributes: self.timestamp_attribute() | self.compression.codec().id() as u8,
            offset: last_offset,
            timestamp: self.max_timestamp,
            key: None,
            value: Some(&compressed),
        };
        wrapper.write(&mut out)?;
        Ok(out)
    }

    fn timestamp_attribute(&self) -> u8 {
        match (self.magic, self.timestamp_type) {
            (Magic::V1, TimestampType::LogAppendTime) => TIMESTAMP_TYPE_MASK as u8,
            _ => 0,
        }
    }
}

struct Message<'a> {
    magic: Magic,
    attributes: u8,
    offset: Offset,
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl Message<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let start = out.len();
        out.extend_from_slice(&self.offset.to_be_bytes());
        // The size and the checksum come last.
        out.extend_from_slice(&[0; MAGIC_OFFSET - SIZE_OFFSET]);
        out.push(self.magic.byte() as u8);
        debug_assert_eq!(out.len() - start, LEGACY_ATTRIBUTES_OFFSET);
        out.push(self.attributes);
        if self.magic == Magic::V1 {
            out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        }
        for field in [self.key, self.value] {
            let size = match field {
                Some(bytes) => i32::try_from(bytes.len()).map_err(|_| BuildError::TooLarge)?,
                None => -1,
            };
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(field.unwrap_or_default());
        }
        let size = i32::try_from(out.len() - start - LOG_OVERHEAD)
            .map_err(|_| BuildError::TooLarge)?
            .to_be_bytes();
        out[start + SIZE_OFFSET..start + LOG_OVERHEAD].copy_from_slice(&size);
        let crc = crc32fast::hash(&out[start + MAGIC_OFFSET..]).to_be_bytes();
        out[start + LEGACY_CRC_OFFSET..start + MAGIC_OFFSET].copy_from_slice(&crc);
        Ok(())
    }
}
