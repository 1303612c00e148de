//! Record batches as bytes: header views of magic 0 to 2, lazy records, checksums, compression,
//! builders, control batches, and the leader's validator (Kafka's `LogValidator`).
//!
//! What does not belong here: files, segments, offsets of a log (storage), and anything that
//! decides by a clock of its own. Nothing in this crate panics or allocates by what its input
//! claims; sizes are checked first and decompression takes a limit.
//!
//! Read in this order: [`batch`], [`batches`], [`record`], [`compression`].

pub mod batch;
pub mod batches;
pub mod compression;
pub mod record;
mod varint;

pub use batch::{
    BatchHeader, BatchPrefix, BatchView, CorruptBatch, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD,
    Magic, NO_SEQUENCE, RECORD_BATCH_OVERHEAD, TimestampType, decrement_sequence,
    increment_sequence,
};
pub use batches::BatchIterator;
pub use compression::{CompressionType, DecompressError};
pub use record::{Headers, InvalidRecords, Record, RecordIterator};
