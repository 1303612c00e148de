//! How validation fails, in Kafka's codes and words.

use ottla_model::ErrorCode;

use crate::batch::CorruptBatch;
use crate::builder::BuildError;
use crate::compression::UnknownCompressionType;
use crate::record::InvalidRecords;

/// What is wrong with one record, for `record_errors` of a Produce response (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The index of the record in its batch.
    pub batch_index: i32,
    /// What is wrong.
    pub message: String,
}

/// How often the broker's metrics of invalid records are to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InvalidRecordCounts {
    /// InvalidMagicNumberRecordsPerSec.
    pub invalid_magic: u64,
    /// InvalidOffsetOrSequenceRecordsPerSec.
    pub invalid_offset_or_sequence: u64,
    /// InvalidMessageCrcRecordsPerSec.
    pub invalid_message_crc: u64,
    /// NoKeyCompactedTopicRecordsPerSec.
    pub no_key_compacted_topic: u64,
}

/// Why records are refused. Nothing of them may be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// Single records are wrong (RecordValidationException): the only case whose text and list
    /// reach the producer.
    #[error("{message}")]
    Records {
        /// `INVALID_TIMESTAMP` if any record is refused for that, else `INVALID_RECORD`.
        code: ErrorCode,
        /// For `error_message` of the response.
        message: String,
        /// For `record_errors` of the response.
        errors: Vec<RecordError>,
        /// For the metrics.
        counts: InvalidRecordCounts,
    },
    /// The batch as a whole is wrong: `INVALID_RECORD`.
    #[error("{message}")]
    Batch {
        /// For the log.
        message: String,
        /// For the metrics.
        counts: InvalidRecordCounts,
    },
    /// A checksum inside a compressed set is wrong: `CORRUPT_MESSAGE`.
    #[error("{message}")]
    Corrupt {
        /// For the log.
        message: String,
        /// For the metrics.
        counts: InvalidRecordCounts,
    },
    /// The batches themselves cannot be told apart.
    #[error(transparent)]
    CorruptBatch(#[from] CorruptBatch),
    /// The records cannot be read.
    #[error(transparent)]
    InvalidRecords(#[from] InvalidRecords),
    /// The codec bits name no codec.
    #[error(transparent)]
    Codec(#[from] UnknownCompressionType),
    /// The batch cannot be rebuilt from its records.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// What Kafka itself fails on without a code of its own.
    #[error("{0}")]
    Unexpected(String),
}

impl ValidationError {
    pub(super) fn invalid_record(message: impl Into<String>) -> Self {
        Self::Batch {
            message: message.into(),
            counts: InvalidRecordCounts::default(),
        }
    }

    /// What a producer is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Records { code, .. } => *code,
            Self::Batch { .. } => ErrorCode::InvalidRecord,
            Self::Corrupt { .. } => ErrorCode::CorruptMessage,
            Self::CorruptBatch(error) => error.error_code(),
            Self::InvalidRecords(error) => error.error_code(),
            Self::Codec(_) | Self::Build(_) | Self::Unexpected(_) => ErrorCode::UnknownServerError,
        }
    }

    /// The text for `error_message` of a Produce response, which only single wrong records have.
    pub fn custom_message(&self) -> Option<&str> {
        match self {
            Self::Records { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The single wrong records, for `record_errors` of a Produce response.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::Records { errors, .. } => errors,
            _ => &[],
        }
    }

    /// What to add to the metrics.
    pub fn counts(&self) -> InvalidRecordCounts {
        match self {
            Self::Records { counts, .. }
            | Self::Batch { counts, .. }
            | Self::Corrupt { counts, .. } => *counts,
            _ => InvalidRecordCounts::default(),
        }
    }
}
