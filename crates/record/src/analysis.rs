//! The first look at a produced or fetched set of batches: sizes, checksums, offsets
//! (`UnifiedLog.analyzeAndValidateRecords`). It is the only pass that computes checksums.

use ottla_model::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicPartition};

use crate::batch::{CorruptBatch, Magic};
use crate::batches::BatchIterator;
use crate::compression::{CompressionType, UnknownCompressionType};

/// Where records to append come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOrigin {
    /// A producer: everything is checked.
    Client,
    /// A coordinator of this broker: its batches may be control batches and need no sequences.
    Coordinator,
    /// The leader, by replication: offsets are already assigned.
    Replication,
}

/// What the headers of a set of batches say together (LogAppendInfo before an append).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSetInfo {
    /// The base offset of the first batch; `None` without batches, and for magic 0 and 1, whose
    /// headers do not have it.
    pub first_offset: Option<Offset>,
    /// The last offset of the last batch; −1 without batches.
    pub last_offset: Offset,
    /// The last offset of the first batch; −1 without batches.
    pub last_offset_of_first_batch: Offset,
    /// The leader epoch of the last batch; −1 for none.
    pub last_leader_epoch: LeaderEpoch,
    /// The largest timestamp; −1 for none.
    pub max_timestamp: Timestamp,
    /// The last offset of the first batch with that timestamp; −1 for none.
    pub shallow_offset_of_max_timestamp: Offset,
    /// The codec of the last compressed batch.
    pub source_compression: CompressionType,
    /// Bytes in complete batches; what follows is a partial batch to be trimmed.
    pub valid_bytes: usize,
    /// The number of batches.
    pub batch_count: usize,
    /// Whether the last offsets of the batches rise.
    pub offsets_rise: bool,
}

/// Why a set of batches is refused before anything else is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// A producer's batch does not start at offset 0.
    #[error(
        "The baseOffset of the record batch in the append to {topic_partition} should be 0, but it is {base_offset}"
    )]
    BaseOffset {
        /// Where it was to go.
        topic_partition: TopicPartition,
        /// The base offset.
        base_offset: Offset,
    },
    /// A batch is larger than `max.message.bytes`.
    #[error(
        "The record batch size in the append to {topic_partition} is {size} bytes which exceeds the maximum configured value of {limit}."
    )]
    TooLarge {
        /// Where it was to go.
        topic_partition: TopicPartition,
        /// The size of the batch in bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A checksum does not match; counts in InvalidMessageCrcRecordsPerSec.
    #[error("Record is corrupt (stored crc = {stored}) in topic partition {topic_partition}.")]
    Crc {
        /// Where it was to go.
        topic_partition: TopicPartition,
        /// The checksum in the batch.
        stored: u32,
    },
    /// A size or magic byte that cannot be.
    #[error(transparent)]
    Corrupt(#[from] CorruptBatch),
    /// The codec bits name no codec.
    #[error(transparent)]
    Codec(#[from] UnknownCompressionType),
}

impl AnalysisError {
    /// What a producer is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::BaseOffset { .. } => ErrorCode::InvalidRecord,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Crc { .. } => ErrorCode::CorruptMessage,
            Self::Corrupt(corrupt) => corrupt.error_code(),
            Self::Codec(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// Checks every complete batch of `records`: the base offset of producers' magic-2 batches, the
/// size against `size_max` if there is one, the checksum.
///
/// # Errors
/// See [`AnalysisError`]; the first failing batch decides.
pub fn analyze(
    records: &[u8],
    topic_partition: &TopicPartition,
    origin: AppendOrigin,
    size_max: Option<usize>,
) -> Result<BatchSetInfo, AnalysisError> {
    let mut info = BatchSetInfo {
        first_offset: None,
        last_offset: -1,
        last_offset_of_first_batch: -1,
        last_leader_epoch: LeaderEpoch::NONE,
        max_timestamp: Timestamp::NONE,
        shallow_offset_of_max_timestamp: -1,
        source_compression: CompressionType::None,
        valid_bytes: 0,
        batch_count: 0,
        offsets_rise: true,
    };
    for batch in BatchIterator::new(records) {
        let batch = batch?;
        let is_v2 = batch.magic == Magic::V2;
        if is_v2 && origin == AppendOrigin::Client && batch.base_offset() != 0 {
            return Err(AnalysisError::BaseOffset {
                topic_partition: topic_partition.clone(),
                base_offset: batch.base_offset(),
            });
        }
        if info.batch_count == 0 {
            info.first_offset = is_v2.then(|| batch.base_offset());
            info.last_offset_of_first_batch = batch.last_offset();
        }
        // As in Kafka, the comparison starts from −1: a set that starts there is out of order.
        info.offsets_rise &= info.last_offset < batch.last_offset();
        info.last_offset = batch.last_offset();
        info.last_leader_epoch = batch.partition_leader_epoch;
        if let Some(limit) = size_max
            && batch.size_in_bytes > limit
        {
            return Err(AnalysisError::TooLarge {
                topic_partition: topic_partition.clone(),
                size: batch.size_in_bytes,
                limit,
            });
        }
        if batch.ensure_valid().is_err() {
            return Err(AnalysisError::Crc {
                topic_partition: topic_partition.clone(),
                stored: batch.crc,
            });
        }
        if batch.max_timestamp > info.max_timestamp {
            info.max_timestamp = batch.max_timestamp;
            info.shallow_offset_of_max_timestamp = info.last_offset;
        }
        info.valid_bytes += batch.size_in_bytes;
        info.batch_count += 1;
        match batch.compression_type()? {
            CompressionType::None => {}
            codec => info.source_compression = codec,
        }
    }
    Ok(info)
}
