//! Record batches as bytes: header views of magic 0 to 2, lazy records, checksums, compression,
//! builders, control batches, and the leader's validator (Kafka's `LogValidator`).
//!
//! What does not belong here: files, segments, offsets of a log (storage), and anything that
//! decides by a clock of its own. Nothing in this crate panics or allocates by what its input
//! claims; sizes are checked first and decompression takes a limit.
//!
//! Read in this order: [`batch`], [`batches`], [`record`], [`records`], [`legacy`],
//! [`compression`], [`builder`], [`control`], [`analysis`], [`validator`], [`down_convert`],
//! [`lazy_down_convert`], [`filter`].

pub mod analysis;
pub mod batch;
pub mod batches;
pub mod builder;
mod checksum;
pub mod compression;
pub mod control;
pub mod down_convert;
pub mod filter;
pub mod lazy_down_convert;
pub mod legacy;
pub mod legacy_builder;
pub mod record;
pub mod records;
mod skim;
pub mod validator;
mod varint;

#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod golden_tests;

pub use analysis::{AnalysisError, AppendOrigin, BatchSetInfo, analyze};
pub use batch::{
    BatchHeader, BatchPrefix, BatchView, CorruptBatch, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD,
    Magic, NO_SEQUENCE, RECORD_BATCH_OVERHEAD, TimestampType, decrement_sequence,
    increment_sequence,
};
pub use batches::BatchIterator;
pub use builder::{BuildError, RecordBatchBuilder, SimpleRecord};
pub use compression::{Compression, CompressionType, DecompressError};
pub use control::{
    ControlRecordType, EndTransactionMarker, TransactionResult, end_transaction_marker,
};
pub use down_convert::{ConvertError, ConvertedRecords, convert_down};
pub use filter::{BatchRetention, FilterResult, RecordFilter, filter_to};
pub use lazy_down_convert::{BatchSource, LazyConvertError, LazyDownConversion};
pub use legacy_builder::MessageSetBuilder;
pub use record::{Headers, InvalidRecords, Record, RecordIterator};
pub use records::{BatchRecords, DECOMPRESSED_SIZE_MAX, Records};
pub use validator::{
    AppendBytes, InvalidRecordCounts, RecordError, ValidatedRecords, ValidationConfig,
    ValidationError, validate_and_assign,
};
