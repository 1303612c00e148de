//! Conversion of batches to older formats for consumers that know nothing newer
//! (`RecordsUtil.downConvert`).

use bytes::Bytes;
use ottla_model::{ErrorCode, Offset};

use crate::batch::{BatchView, CorruptBatch, Magic, TimestampType};
use crate::batches::BatchIterator;
use crate::builder::BuildError;
use crate::compression::{Compression, CompressionType, UnknownCompressionType};
use crate::legacy_builder::MessageSetBuilder;
use crate::record::{InvalidRecords, Record};

/// Batches in an older format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertedRecords {
    /// The batches; those that were old enough already are untouched.
    pub records: Bytes,
    /// How many records were converted: what FetchMessageConversionsPerSec counts.
    pub converted_records: usize,
    /// Bytes of memory taken for a time: what TemporaryMemoryBytes measures.
    pub temporary_memory_bytes: usize,
}

/// Why batches cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// zstd does not exist in old formats: `UNSUPPORTED_COMPRESSION_TYPE`.
    #[error("Down-conversion of zstandard-compressed batches is not supported")]
    Zstd,
    /// The batches cannot be told apart.
    #[error(transparent)]
    CorruptBatch(#[from] CorruptBatch),
    /// The codec bits name no codec.
    #[error(transparent)]
    Codec(#[from] UnknownCompressionType),
    /// The records cannot be read.
    #[error(transparent)]
    InvalidRecords(#[from] InvalidRecords),
    /// The records cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl ConvertError {
    /// What a consumer is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Zstd => ErrorCode::UnsupportedCompressionType,
            Self::CorruptBatch(error) => error.error_code(),
            Self::InvalidRecords(error) => error.error_code(),
            Self::Codec(_) | Self::Build(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// Converts the complete batches of `records` to `target`. Control batches and headers are
/// dropped, and so are uncompressed records before `first_offset`, on which some librdkafka
/// versions rely. `limit` bounds what one batch may decompress to.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert_down(
    records: &[u8],
    target: Magic,
    first_offset: Offset,
    limit: usize,
) -> Result<ConvertedRecords, ConvertError> {
    let mut out = Vec::new();
    let mut converted_records = 0;
    let mut temporary_memory_bytes = 0;
    for batch in BatchIterator::new(records) {
        let batch = batch?;
        if target < Magic::V2 && batch.is_control() {
            continue;
        }
        if target < Magic::V2 && batch.compression_type()? == CompressionType::Zstd {
            return Err(ConvertError::Zstd);
        }
        if batch.magic <= target {
            out.extend_from_slice(batch.bytes());
            temporary_memory_bytes += batch.size_in_bytes;
            continue;
        }
        let source = batch.records(limit)?;
        let wanted = source.iter()?.filter(|record| match record {
            Ok(record) => batch.is_compressed() || record.offset >= first_offset,
            Err(_) => true,
        });
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        if wanted.is_empty() {
            continue;
        }
        let set = message_set(&batch, target, &wanted)?;
        temporary_memory_bytes += batch.size_in_bytes + set.len();
        converted_records += wanted.len();
        out.extend_from_slice(&set);
    }
    Ok(ConvertedRecords {
        records: out.into(),
        converted_records,
        temporary_memory_bytes,
    })
}

/// Records of a batch as a message set of format `magic`, 0 or 1, in the batch's codec and with
/// its timestamp type.
pub(crate) fn message_set(
    batch: &BatchView<'_>,
    magic: Magic,
    records: &[Record<'_>],
) -> Result<Vec<u8>, ConvertError> {
    let Some(first) = records.first() else {
        return Ok(Vec::new());
    };
    let timestamp_type = batch.timestamp_type().unwrap_or_default();
    let mut set = MessageSetBuilder::new(
        magic,
        Compression::with_default_level(batch.compression_type()?),
        timestamp_type,
        first.offset,
    );
    for record in records {
        let timestamp = match timestamp_type {
            TimestampType::LogAppendTime => batch.max_timestamp,
            TimestampType::CreateTime => record.timestamp,
        };
        set.append(record.offset, timestamp, record.key, record.value)?;
    }
    Ok(set.build()?)
}

#[cfg(test)]
mod tests {
    use ottla_model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};

    use super::*;
    use crate::{
        EndTransactionMarker, RecordBatchBuilder, TransactionResult, end_transaction_marker,
    };

    fn batch(base_offset: Offset, codec: CompressionType, append_time: bool) -> Bytes {
        let mut builder = RecordBatchBuilder::new(base_offset)
            .compression(Compression::with_default_level(codec));
        if append_time {
            builder = builder.log_append_time(Timestamp(5000));
        }
        for key in ["a", "b"] {
            builder
                .append_with_headers(
                    Timestamp(base_offset),
                    Some(key.as_bytes()),
                    None,
                    &[("h", None)],
                )
                .unwrap();
        }
        builder.build().unwrap()
    }

    fn rows(bytes: &[u8]) -> Vec<(Magic, Offset, i64)> {
        let mut rows = Vec::new();
        for batch in BatchIterator::new(bytes) {
            let batch = batch.unwrap();
            batch.ensure_valid().unwrap();
            for record in batch.records(1 << 20).unwrap().iter().unwrap() {
                let record = record.unwrap();
                assert!(record.headers.is_empty());
                rows.push((batch.magic, record.offset, record.timestamp.0));
            }
        }
        rows
    }

    #[test]
    fn batches_become_message_sets_without_markers() {
        let marker = end_transaction_marker(
            14,
            Timestamp(1),
            LeaderEpoch(0),
            ProducerId(1),
            ProducerEpoch(0),
            EndTransactionMarker {
                result: TransactionResult::Commit,
                coordinator_epoch: 0,
            },
        )
        .unwrap();
        for codec in [
            CompressionType::None,
            CompressionType::Gzip,
            CompressionType::Snappy,
            CompressionType::Lz4,
        ] {
            let input = [
                batch(10, codec, false),
                batch(12, codec, true),
                marker.clone(),
            ]
            .concat();
            let v1 = convert_down(&input, Magic::V1, 0, 1 << 20).unwrap();
            let expected = [(10, 10), (11, 10), (12, 5000), (13, 5000)];
            assert_eq!(rows(&v1.records), expected.map(|(o, t)| (Magic::V1, o, t)));
            assert_eq!(v1.converted_records, 4);
            for source in [&input[..], &v1.records] {
                let v0 = convert_down(source, Magic::V0, 0, 1 << 20).unwrap();
                assert_eq!(
                    rows(&v0.records),
                    expected.map(|(offset, _)| (Magic::V0, offset, -1))
                );
            }
        }
    }

    #[test]
    fn uncompressed_records_before_the_fetch_offset_are_dropped() {
        for (codec, kept) in [(CompressionType::None, 1), (CompressionType::Gzip, 2)] {
            let input = batch(10, codec, false);
            let converted = convert_down(&input, Magic::V1, 11, 1 << 20).unwrap();
            assert_eq!(rows(&converted.records).len(), kept);
        }
    }

    #[test]
    fn old_batches_pass_untouched_and_zstd_does_not_pass() {
        let old = convert_down(&batch(10, CompressionType::None, false), Magic::V0, 0, 100)
            .unwrap()
            .records;
        let again = convert_down(&old, Magic::V1, 11, 100).unwrap();
        assert_eq!(again.records, old);
        assert_eq!(again.converted_records, 0);
        let zstd = batch(10, CompressionType::Zstd, false);
        let error = convert_down(&zstd, Magic::V1, 0, 100).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::UnsupportedCompressionType);
    }
}
