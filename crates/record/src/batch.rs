//! Header views of record batches and legacy message-set entries (magic 0, 1 and 2) over bytes
//! that may come from a socket or a damaged file.

use std::fmt;
use std::ops::Deref;

use ottla_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::checksum;
use crate::compression::{CompressionType, UnknownCompressionType};

/// Bytes of the offset and size fields in front of every batch.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes needed to know the offset, size and magic of a batch of any format.
pub const HEADER_SIZE_UP_TO_MAGIC: usize = 17;
/// Bytes of the header of a magic-2 batch, where its records start.
pub const RECORD_BATCH_OVERHEAD: usize = 61;
/// The smallest legal value of the size field: a magic-0 message without key and value.
pub const RECORD_OVERHEAD_V0: usize = 14;
/// The bytes of a magic-1 message around its key and value, after the offset and size fields.
pub const RECORD_OVERHEAD_V1: usize = 22;

pub(crate) const SIZE_OFFSET: usize = 8;
pub(crate) const LEADER_EPOCH_OFFSET: usize = 12;
pub(crate) const MAGIC_OFFSET: usize = 16;
pub(crate) const CRC_OFFSET_V2: usize = 17;
pub(crate) const ATTRIBUTES_OFFSET_V2: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_OFFSET: usize = 23;
pub(crate) const BASE_TIMESTAMP_OFFSET: usize = 27;
pub(crate) const MAX_TIMESTAMP_OFFSET: usize = 35;
pub(crate) const PRODUCER_ID_OFFSET: usize = 43;
pub(crate) const PRODUCER_EPOCH_OFFSET: usize = 51;
pub(crate) const BASE_SEQUENCE_OFFSET: usize = 53;
pub(crate) const RECORD_COUNT_OFFSET: usize = 57;

pub(crate) const LEGACY_CRC_OFFSET: usize = 12;
pub(crate) const LEGACY_ATTRIBUTES_OFFSET: usize = 17;
pub(crate) const LEGACY_TIMESTAMP_OFFSET: usize = 18;

pub(crate) const COMPRESSION_MASK: i16 = 0x07;
pub(crate) const TIMESTAMP_TYPE_MASK: i16 = 0x08;
pub(crate) const TRANSACTIONAL_MASK: i16 = 0x10;
pub(crate) const CONTROL_MASK: i16 = 0x20;
pub(crate) const DELETE_HORIZON_MASK: i16 = 0x40;

/// The sequence number that means "none".
pub const NO_SEQUENCE: i32 = -1;

/// The format of a batch: 0 (before 0.10), 1 (0.10) or 2 (0.11 and later).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum Magic {
    /// Messages without timestamps, absolute inner offsets.
    V0 = 0,
    /// Messages with timestamps, relative inner offsets.
    V1 = 1,
    /// Record batches.
    V2 = 2,
}

impl Magic {
    /// The format with this magic byte, if there is one.
    pub fn from_byte(byte: i8) -> Option<Self> {
        match byte {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// The magic byte.
    pub fn byte(self) -> i8 {
        self as i8
    }

    /// Bytes from the start of a batch that [`BatchHeader::parse`] needs.
    pub fn header_size(self) -> usize {
        match self {
            Self::V0 => 18,
            Self::V1 => 26,
            Self::V2 => RECORD_BATCH_OVERHEAD,
        }
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.byte())
    }
}

/// Who set the timestamps of a batch, `message.timestamp.type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appended.
    LogAppendTime,
}

impl TimestampType {
    /// The spelling in configurations and tools: `CreateTime`, `LogAppendTime`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}

/// A batch that cannot be what its bytes claim (Kafka's CorruptRecordException); always
/// `CORRUPT_MESSAGE` for a client, damage for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptBatch {
    /// The size field is below the smallest message.
    #[error(
        "Record size {size} is less than the minimum record overhead ({})",
        RECORD_OVERHEAD_V0
    )]
    SizeTooSmall {
        /// The size field.
        size: i32,
    },
    /// A magic-2 batch that is smaller than its header.
    #[error(
        "Record batch is corrupt (the size {size} is smaller than the minimum allowed overhead {})",
        RECORD_BATCH_OVERHEAD
    )]
    BatchTooSmall {
        /// The whole size of the batch.
        size: usize,
    },
    /// The size field is above the limit of the reader.
    #[error("Record size {size} exceeds the largest allowable message size ({limit}).")]
    SizeTooLarge {
        /// The size field.
        size: i32,
        /// The limit.
        limit: usize,
    },
    /// The magic byte is none of 0, 1, 2.
    #[error("Invalid magic found in record: {0}")]
    InvalidMagic(i8),
    /// Fewer bytes than the batch or its header needs.
    #[error("Record batch is truncated ({available} of {needed} bytes)")]
    Truncated {
        /// Bytes at hand.
        available: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The checksum does not match.
    #[error("Record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    Crc {
        /// The checksum in the batch.
        stored: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
}

impl CorruptBatch {
    /// What a client is told.
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::CorruptMessage
    }
}

/// What the first [`HEADER_SIZE_UP_TO_MAGIC`] bytes of a batch of any format tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPrefix {
    /// The offset field: the base offset (magic 2) or the last offset (magic 0 and 1).
    pub offset: Offset,
    /// Bytes of the whole batch, the 12 of offset and size included.
    pub size_in_bytes: usize,
    /// The format.
    pub magic: Magic,
}

impl BatchPrefix {
    /// Reads the prefix; looks at no more than 17 bytes.
    ///
    /// # Errors
    /// Fewer than 17 bytes, a size below the format's minimum, an unknown magic.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorruptBatch> {
        if bytes.len() < HEADER_SIZE_UP_TO_MAGIC {
            return Err(CorruptBatch::Truncated {
                available: bytes.len(),
                needed: HEADER_SIZE_UP_TO_MAGIC,
            });
        }
        let size = read_i32(bytes, SIZE_OFFSET);
        let body_size = checked_size(size)?;
        let magic_byte = bytes[MAGIC_OFFSET] as i8;
        let magic = Magic::from_byte(magic_byte).ok_or(CorruptBatch::InvalidMagic(magic_byte))?;
        let size_in_bytes = body_size + LOG_OVERHEAD;
        if magic == Magic::V2 && size_in_bytes < RECORD_BATCH_OVERHEAD {
            return Err(CorruptBatch::BatchTooSmall {
                size: size_in_bytes,
            });
        }
        Ok(Self {
            offset: read_i64(bytes, 0),
            size_in_bytes,
            magic,
        })
    }

    /// Bytes from the start of the batch that [`BatchHeader::parse`] needs; never more than
    /// `size_in_bytes`.
    pub fn header_size(&self) -> usize {
        self.magic.header_size()
    }
}

/// The size field as a length, if it can be one.
pub(crate) fn checked_size(size: i32) -> Result<usize, CorruptBatch> {
    match usize::try_from(size) {
        Ok(length) if length >= RECORD_OVERHEAD_V0 => Ok(length),
        _ => Err(CorruptBatch::SizeTooSmall { size }),
    }
}

/// The header of a batch as values: all that can be known without its records.
///
/// For magic 0 and 1 a "batch" is one entry of a message set: a plain message, or the wrapper of a
/// compressed set. The fields they do not have hold Kafka's "none" values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The offset field: the base offset (magic 2) or the last offset (magic 0 and 1).
    pub offset: Offset,
    /// Bytes of the whole batch, the 12 of offset and size included.
    pub size_in_bytes: usize,
    /// The format.
    pub magic: Magic,
    /// The leader's epoch when it appended; −1 for magic 0 and 1.
    pub partition_leader_epoch: LeaderEpoch,
    /// The stored checksum: CRC-32C (magic 2) or CRC-32 (magic 0 and 1).
    pub crc: u32,
    /// Codec, timestamp type and flags; one byte wide for magic 0 and 1.
    pub attributes: i16,
    /// Last offset − base offset as stored; 0 for magic 0 and 1.
    pub last_offset_delta: i32,
    /// What record timestamps are relative to; the delete horizon if that flag is set. The
    /// message's own timestamp for magic 1, −1 for magic 0.
    pub base_timestamp: Timestamp,
    /// The largest timestamp, or the append time; −1 for magic 0.
    pub max_timestamp: Timestamp,
    /// The producer's id; −1 without one.
    pub producer_id: ProducerId,
    /// The producer's epoch; −1 without one.
    pub producer_epoch: ProducerEpoch,
    /// The sequence number of the first record; −1 without one.
    pub base_sequence: i32,
    /// The stored number of records, unchecked; `None` for magic 0 and 1.
    pub record_count: Option<i32>,
}

impl BatchHeader {
    /// Reads a header from the start of a batch; [`BatchPrefix::header_size`] bytes suffice.
    ///
    /// # Errors
    /// As [`BatchPrefix::parse`], and when the header is not complete.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorruptBatch> {
        let prefix = BatchPrefix::parse(bytes)?;
        let needed = prefix.header_size();
        if bytes.len() < needed {
            return Err(CorruptBatch::Truncated {
                available: bytes.len(),
                needed,
            });
        }
        Ok(match prefix.magic {
            Magic::V2 => Self::of_batch(prefix, bytes),
            Magic::V0 | Magic::V1 => Self::of_legacy(prefix, bytes),
        })
    }

    fn of_batch(prefix: BatchPrefix, bytes: &[u8]) -> Self {
        Self {
            offset: prefix.offset,
            size_in_bytes: prefix.size_in_bytes,
            magic: prefix.magic,
            partition_leader_epoch: LeaderEpoch(read_i32(bytes, LEADER_EPOCH_OFFSET)),
            crc: read_i32(bytes, CRC_OFFSET_V2) as u32,
            attributes: read_i16(bytes, ATTRIBUTES_OFFSET_V2),
            last_offset_delta: read_i32(bytes, LAST_OFFSET_DELTA_OFFSET),
            base_timestamp: Timestamp(read_i64(bytes, BASE_TIMESTAMP_OFFSET)),
            max_timestamp: Timestamp(read_i64(bytes, MAX_TIMESTAMP_OFFSET)),
            producer_id: ProducerId(read_i64(bytes, PRODUCER_ID_OFFSET)),
            producer_epoch: ProducerEpoch(read_i16(bytes, PRODUCER_EPOCH_OFFSET)),
            base_sequence: read_i32(bytes, BASE_SEQUENCE_OFFSET),
            record_count: Some(read_i32(bytes, RECORD_COUNT_OFFSET)),
        }
    }

    fn of_legacy(prefix: BatchPrefix, bytes: &[u8]) -> Self {
        let timestamp = match prefix.magic {
            Magic::V0 => Timestamp::NONE,
            Magic::V1 | Magic::V2 => Timestamp(read_i64(bytes, LEGACY_TIMESTAMP_OFFSET)),
        };
        Self {
            offset: prefix.offset,
            size_in_bytes: prefix.size_in_bytes,
            magic: prefix.magic,
            partition_leader_epoch: LeaderEpoch::NONE,
            crc: read_i32(bytes, LEGACY_CRC_OFFSET) as u32,
            attributes: i16::from(bytes[LEGACY_ATTRIBUTES_OFFSET]),
            last_offset_delta: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: NO_SEQUENCE,
            record_count: None,
        }
    }

    /// The offset of the first record. For a *compressed* magic 0 or 1 batch only its records
    /// know that one ([`BatchView::deep_base_offset`]); this is then the last offset.
    pub fn base_offset(&self) -> Offset {
        self.offset
    }

    /// The last offset that the batch covers, even if compaction removed that record.
    pub fn last_offset(&self) -> Offset {
        self.offset
            .wrapping_add(Offset::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().wrapping_add(1)
    }

    /// The sequence number of the last record, −1 without one; wraps from 2147483647 to 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta),
        }
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// The codec is none that Kafka knows (5, 6 and 7).
    pub fn compression_type(&self) -> Result<CompressionType, UnknownCompressionType> {
        CompressionType::from_id(self.attributes & COMPRESSION_MASK)
    }

    /// Whether the codec bits are not zero.
    pub fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION_MASK != 0
    }

    /// Who set the timestamps; `None` for magic 0, which has none.
    pub fn timestamp_type(&self) -> Option<TimestampType> {
        match (self.magic, self.attributes & TIMESTAMP_TYPE_MASK) {
            (Magic::V0, _) => None,
            (_, 0) => Some(TimestampType::CreateTime),
            _ => Some(TimestampType::LogAppendTime),
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.magic == Magic::V2 && self.attributes & TRANSACTIONAL_MASK != 0
    }

    /// Whether the batch holds control records, which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.magic == Magic::V2 && self.attributes & CONTROL_MASK != 0
    }

    /// Whether a producer id is set.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// When the cleaner may remove the tombstones or the marker in the batch, if it decided that.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.magic == Magic::V2 && self.attributes & DELETE_HORIZON_MASK != 0)
            .then_some(self.base_timestamp)
    }
}

/// One complete batch: its header (by deref) and its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`; what follows it is ignored.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and when the batch is not complete. The checksum is not checked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CorruptBatch> {
        let header = BatchHeader::parse(bytes)?;
        match bytes.get(..header.size_in_bytes) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(CorruptBatch::Truncated {
                available: bytes.len(),
                needed: header.size_in_bytes,
            }),
        }
    }

    /// The header as values.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch. [`bytes::Bytes::slice_ref`] turns this into an owned slice.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes after the magic-2 header, compressed if the batch is; empty for magic 0 and 1.
    pub fn payload(&self) -> &'a [u8] {
        match self.header.magic {
            Magic::V2 => &self.bytes[RECORD_BATCH_OVERHEAD..],
            Magic::V0 | Magic::V1 => &[],
        }
    }

    /// The checksum that the bytes of the batch have.
    pub fn compute_crc(&self) -> u32 {
        match self.header.magic {
            Magic::V2 => checksum::crc32c(&self.bytes[ATTRIBUTES_OFFSET_V2..]),
            Magic::V0 | Magic::V1 => crc32fast::hash(&self.bytes[MAGIC_OFFSET..]),
        }
    }

    /// Checks the checksum.
    ///
    /// # Errors
    /// [`CorruptBatch::Crc`].
    pub fn ensure_valid(&self) -> Result<(), CorruptBatch> {
        let computed = self.compute_crc();
        if computed == self.header.crc {
            return Ok(());
        }
        Err(CorruptBatch::Crc {
            stored: self.header.crc,
            computed,
        })
    }
}

impl Deref for BatchView<'_> {
    type Target = BatchHeader;
    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

impl fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

/// The sequence number `increment` after `sequence`, in the ring 0..=2147483647.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment
            .wrapping_sub(i32::MAX.wrapping_sub(sequence))
            .wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// The sequence number `decrement` before `sequence`, in the ring 0..=2147483647.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX
            .wrapping_sub(decrement.wrapping_sub(sequence))
            .wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}

// The readers below index: their callers have checked that the header is there.

pub(crate) fn read_i16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array(bytes, at))
}

pub(crate) fn read_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array(bytes, at))
}

pub(crate) fn read_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
