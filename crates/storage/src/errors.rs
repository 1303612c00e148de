//! How the operations of a log fail.

use std::io;

use ottla_model::{ErrorCode, Offset, TopicId, TopicPartition};
use ottla_record::{AnalysisError, CorruptBatch, RecordError, ValidationError};

use crate::producer::ProducerError;

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batches fail the first look.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// The records fail the validator.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// A rebuilt batch is larger than `max.message.bytes`.
    #[error(
        "Message batch size is {size} bytes in append to partition {topic_partition} which exceeds the maximum configured size of {limit}."
    )]
    MessageTooLarge {
        /// The log.
        topic_partition: TopicPartition,
        /// Size of the rebuilt batch in bytes.
        size: usize,
        /// `max.message.bytes`.
        limit: usize,
    },
    /// All batches together are larger than `segment.bytes`.
    #[error(
        "Message batch size is {size} bytes in append to partition {topic_partition}, which exceeds the maximum configured segment size of {limit}."
    )]
    RecordListTooLarge {
        /// The log.
        topic_partition: TopicPartition,
        /// Size of all batches in bytes.
        size: usize,
        /// `segment.bytes`.
        limit: u64,
    },
    /// The producer's state forbids the batch.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A follower's batches do not rise.
    #[error("Out of order offsets found in append to {0}")]
    OffsetsOutOfOrder(TopicPartition),
    /// A follower's first batch begins below the log's end.
    #[error(
        "Unexpected offset in append to {topic_partition}. First offset {first_offset} is less than the next offset {log_end_offset}."
    )]
    UnexpectedAppendOffset {
        /// The log.
        topic_partition: TopicPartition,
        /// First offset of the append, or the last of its first batch where that is unknown.
        first_offset: Offset,
        /// The log's end.
        log_end_offset: Offset,
    },
    /// The disk failed; the log's directory is offline from now on.
    #[error("I/O error in append to {topic_partition}: {error}")]
    Io {
        /// The log.
        topic_partition: TopicPartition,
        /// What the system said.
        error: io::Error,
    },
    /// The log's directory is offline.
    #[error("the log directory of {0} is offline")]
    Offline(TopicPartition),
}

impl AppendError {
    /// What Kafka answers a producer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Analysis(error) => error.error_code(),
            Self::Validation(error) => error.error_code(),
            Self::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::RecordListTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::Producer(error) => error.code(),
            Self::OffsetsOutOfOrder(_) | Self::UnexpectedAppendOffset { .. } => {
                ErrorCode::UnknownServerError
            }
            Self::Io { .. } | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }

    /// Single wrong records, for `record_errors` of a Produce response.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::Validation(error) => error.record_errors(),
            _ => &[],
        }
    }

    /// The text for `error_message` of a Produce response, where Kafka gives one of its own.
    pub fn custom_message(&self) -> Option<&str> {
        match self {
            Self::Validation(error) => error.custom_message(),
            _ => None,
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log's start or above its end.
    #[error(
        "Received request for offset {offset} for partition {topic_partition}, but we only have log segments upto {log_end_offset} and starting from offset {log_start_offset}."
    )]
    OffsetOutOfRange {
        /// The log.
        topic_partition: TopicPartition,
        /// The offset asked for.
        offset: Offset,
        /// First readable offset.
        log_start_offset: Offset,
        /// Exclusive end.
        log_end_offset: Offset,
    },
    /// The log holds bytes that are no batches.
    #[error("{topic_partition} holds a corrupt batch: {error}")]
    Corrupt {
        /// The log.
        topic_partition: TopicPartition,
        /// What is wrong with it.
        error: CorruptBatch,
    },
    /// Records of a batch cannot be decoded.
    #[error("records of {topic_partition} cannot be read: {reason}")]
    Unreadable {
        /// The log.
        topic_partition: TopicPartition,
        /// What is wrong with them.
        reason: String,
    },
    /// The disk failed; the log's directory is offline from now on.
    #[error("I/O error while reading {topic_partition}: {error}")]
    Io {
        /// The log.
        topic_partition: TopicPartition,
        /// What the system said.
        error: io::Error,
    },
    /// The log's directory is offline.
    #[error("the log directory of {0} is offline")]
    Offline(TopicPartition),
}

impl ReadError {
    /// What Kafka answers a consumer or follower.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Corrupt { .. } | Self::Unreadable { .. } => ErrorCode::CorruptMessage,
            Self::Io { .. } | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Why a log could not do something to itself: truncate, roll, flush, delete.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed; the log's directory is offline from now on.
    #[error("I/O error in {topic_partition}: {error}")]
    Io {
        /// The log.
        topic_partition: TopicPartition,
        /// What the system said.
        error: io::Error,
    },
    /// The log's directory is offline.
    #[error("the log directory of {0} is offline")]
    Offline(TopicPartition),
    /// The offset is above the high watermark (DeleteRecords) or negative (truncation).
    #[error("offset {offset} of {topic_partition} is out of range, the limit is {limit}")]
    OffsetOutOfRange {
        /// The log.
        topic_partition: TopicPartition,
        /// The offset asked for.
        offset: Offset,
        /// The largest allowed.
        limit: Offset,
    },
    /// The caller's topic id is not the log's.
    #[error(
        "Tried to assign topic ID {requested} to log for topic partition {topic_partition}, but log already contained topic ID {existing}"
    )]
    InconsistentTopicId {
        /// The log.
        topic_partition: TopicPartition,
        /// The caller's.
        requested: TopicId,
        /// The log's.
        existing: TopicId,
    },
}

impl LogError {
    /// What Kafka answers.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } | Self::Offline(_) => ErrorCode::KafkaStorageError,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::InconsistentTopicId { .. } => ErrorCode::InconsistentTopicId,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk failed, or a small file is malformed: Kafka takes the whole directory offline.
    #[error("{topic_partition}: {error}")]
    Io {
        /// The log.
        topic_partition: TopicPartition,
        /// What the system said.
        error: io::Error,
    },
    /// Bytes that were flushed are damaged. Nothing was deleted; the partition is offline until an
    /// operator decides.
    #[error(
        "{topic_partition} is damaged at byte {position} of segment {segment}, at offset {offset}, below its recovery point {recovery_point}: {reason}"
    )]
    Damaged {
        /// The log.
        topic_partition: TopicPartition,
        /// Base offset of the segment.
        segment: Offset,
        /// Where in its file.
        position: u64,
        /// The first offset that is not readable.
        offset: Offset,
        /// All below it had been flushed.
        recovery_point: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The topic id in the directory is not the one expected.
    #[error("topic id of {topic_partition} is {existing}, not {expected}")]
    InconsistentTopicId {
        /// The log.
        topic_partition: TopicPartition,
        /// The caller's.
        expected: TopicId,
        /// The file's.
        existing: TopicId,
    },
}
