//! Conversion of batches to older formats a piece at a time, while they are sent
//! (`LazyDownConversionRecords`, `LazyDownConversionRecordsSend`, KIP-283).

use std::fmt;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_model::{ErrorCode, Offset};

use crate::batch::{
    BatchPrefix, CorruptBatch, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD, Magic, RECORD_BATCH_OVERHEAD,
};
use crate::down_convert::{ConvertError, convert_down};
use crate::records::DECOMPRESSED_SIZE_MAX;

/// Batches are converted together up to this size; a larger one is converted alone.
const CHUNK_SIZE_MAX: usize = 128 * 1024;

/// Where the batches are read from: a range of a log's file.
pub trait BatchSource {
    /// Bytes in the range.
    fn size(&self) -> usize;

    /// Exactly `length` bytes from `position`, both inside the range.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter than the range.
    fn read(&self, position: usize, length: usize) -> io::Result<Bytes>;
}

/// Why a conversion cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LazyConvertError {
    /// The batches cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The batches cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

impl LazyConvertError {
    /// What a consumer is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Read(_) => ErrorCode::KafkaStorageError,
            Self::Convert(error) => error.error_code(),
        }
    }
}

impl From<CorruptBatch> for LazyConvertError {
    fn from(error: CorruptBatch) -> Self {
        Self::Convert(error.into())
    }
}

/// Batches of which only the first is converted yet. The size of the result is promised before it
/// is known: it is the size of the unconverted batches, or of the first converted one if that is
/// larger. What the converted batches lack is filled by the head of a batch that claims to be
/// larger than what follows, which readers drop as one cut short; what is too much is cut.
///
/// One thing is not as in Kafka, which sends the first batch twice where a transaction's marker
/// comes before it, so that consumers see its records twice.
pub struct LazyDownConversion<S> {
    source: S,
    target: Magic,
    first_offset: Offset,
    /// Where the next batch begins that is not converted yet.
    position: usize,
    first: Bytes,
    size: usize,
    converted_records: usize,
}

impl<S: BatchSource> LazyDownConversion<S> {
    /// Converts the first batch that has something to convert. See [`convert_down`] for `target`
    /// and `first_offset`.
    ///
    /// # Errors
    /// That batch cannot be read or converted.
    pub fn new(source: S, target: Magic, first_offset: Offset) -> Result<Self, LazyConvertError> {
        let mut lazy = Self {
            source,
            target,
            first_offset,
            position: 0,
            first: Bytes::new(),
            size: 0,
            converted_records: 0,
        };
        if let Some(first) = lazy.convert(0)? {
            lazy.size = lazy.source.size().max(first.len());
            lazy.first = first;
        } else if lazy.position > 0 {
            // All of them have no equivalent in the old format: readers see a batch cut short, and
            // may ask for more.
            lazy.size = LOG_OVERHEAD;
        }
        Ok(lazy)
    }

    /// How many bytes are to be sent.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many records have been converted so far: what FetchMessageConversionsPerSec counts.
    pub fn converted_records(&self) -> usize {
        self.converted_records
    }

    /// The next bytes to be sent, at most the `remaining` ones and not none unless that is 0.
    ///
    /// # Errors
    /// Batches cannot be read or converted; then the promised size cannot be kept. zstd is no
    /// error here: the consumer learns of it when it asks for that batch first.
    pub fn next_chunk(&mut self, remaining: usize) -> Result<Bytes, LazyConvertError> {
        let mut chunk = std::mem::take(&mut self.first);
        if chunk.is_empty() {
            chunk = match self.convert(CHUNK_SIZE_MAX) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => overflow_batch(remaining),
                Err(LazyConvertError::Convert(ConvertError::Zstd)) => {
                    self.position = self.source.size();
                    overflow_batch(remaining)
                }
                Err(error) => return Err(error),
            };
        }
        chunk.truncate(remaining);
        Ok(chunk)
    }

    /// Converts batches of up to `size_max` bytes, but at least one, until there is a result;
    /// `None` at the end.
    fn convert(&mut self, size_max: usize) -> Result<Option<Bytes>, LazyConvertError> {
        loop {
            let mut end = self.position;
            while let Some(size) = self.batch_size_at(end)? {
                if end > self.position && end - self.position + size > size_max {
                    break;
                }
                end += size;
            }
            if end == self.position {
                return Ok(None);
            }
            let batches = self.source.read(self.position, end - self.position)?;
            self.position = end;
            let converted = convert_down(
                &batches,
                self.target,
                self.first_offset,
                DECOMPRESSED_SIZE_MAX,
            )?;
            self.converted_records += converted.converted_records;
            if !converted.records.is_empty() {
                return Ok(Some(converted.records));
            }
        }
    }

    /// The size of the batch at a position; `None` at the end and for a batch that is cut.
    fn batch_size_at(&self, position: usize) -> Result<Option<usize>, LazyConvertError> {
        let available = self.source.size() - position;
        if available < HEADER_SIZE_UP_TO_MAGIC {
            return Ok(None);
        }
        let header = self.source.read(position, HEADER_SIZE_UP_TO_MAGIC)?;
        let size = BatchPrefix::parse(&header)?.size_in_bytes;
        Ok((size <= available).then_some(size))
    }
}

impl<S> fmt::Debug for LazyDownConversion<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyDownConversion")
            .field("target", &self.target)
            .field("first_offset", &self.first_offset)
            .field("position", &self.position)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The head of a batch that does not fit into what remains to be sent.
fn overflow_batch(remaining: usize) -> Bytes {
    let claimed = remaining.saturating_add(1);
    let length = claimed.clamp(LOG_OVERHEAD, CHUNK_SIZE_MAX);
    let size = i32::try_from(claimed.max(RECORD_BATCH_OVERHEAD)).unwrap_or(i32::MAX);
    let mut batch = BytesMut::with_capacity(length);
    batch.put_i64(-1);
    batch.put_i32(size);
    batch.resize(length, 0);
    batch.freeze()
}

#[cfg(test)]
mod tests {
    use ottla_model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};

    use super::*;
    use crate::{
        BatchIterator, Compression, CompressionType, EndTransactionMarker, RecordBatchBuilder,
        TransactionResult, end_transaction_marker,
    };

    /// Remembers the largest read.
    struct Memory(Bytes, std::cell::Cell<usize>);

    impl BatchSource for Memory {
        fn size(&self) -> usize {
            self.0.len()
        }

        fn read(&self, position: usize, length: usize) -> io::Result<Bytes> {
            self.1.set(self.1.get().max(length));
            Ok(self.0.slice(position..position + length))
        }
    }

    fn lazy(batches: &[Bytes], target: Magic) -> Result<LazyDownConversion<Memory>, ErrorCode> {
        let memory = Memory(batches.concat().into(), std::cell::Cell::new(0));
        LazyDownConversion::new(memory, target, 0).map_err(|error| error.error_code())
    }

    fn batch(base_offset: Offset, codec: CompressionType, value: &[u8]) -> Bytes {
        let mut builder = RecordBatchBuilder::new(base_offset)
            .compression(Compression::with_default_level(codec));
        for _ in 0..2 {
            builder.append(Timestamp(7), None, Some(value)).unwrap();
        }
        builder.build().unwrap()
    }

    fn marker(offset: Offset) -> Bytes {
        let marker = EndTransactionMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 0,
        };
        let (id, epoch) = (ProducerId(1), ProducerEpoch(0));
        end_transaction_marker(offset, Timestamp(1), LeaderEpoch(0), id, epoch, marker).unwrap()
    }

    /// All that is sent, and its chunks' sizes.
    fn sent(mut lazy: LazyDownConversion<Memory>) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut sizes) = (Vec::new(), Vec::new());
        while out.len() < lazy.size() {
            let chunk = lazy.next_chunk(lazy.size() - out.len()).unwrap();
            assert!(!chunk.is_empty());
            sizes.push(chunk.len());
            out.extend_from_slice(&chunk);
        }
        (out, sizes)
    }

    /// Offsets of the whole batches, and the bytes behind them.
    fn offsets(sent: &[u8]) -> (Vec<Offset>, &[u8]) {
        let mut batches = BatchIterator::new(sent);
        let mut offsets = Vec::new();
        for batch in &mut batches {
            let batch = batch.unwrap();
            batch.ensure_valid().unwrap();
            for record in batch.records(1 << 20).unwrap().iter().unwrap() {
                offsets.push(record.unwrap().offset);
            }
        }
        (offsets, &sent[batches.position()..])
    }

    #[test]
    fn the_tail_claims_to_be_larger_than_what_is_left() {
        for target in [Magic::V0, Magic::V1] {
            let input = [
                batch(0, CompressionType::None, b"a"),
                batch(2, CompressionType::None, b"b"),
            ];
            let unconverted = input[0].len() + input[1].len();
            let (out, chunks) = sent(lazy(&input, target).unwrap());
            assert_eq!(out.len(), unconverted);
            assert_eq!(chunks.len(), 3, "{chunks:?}");
            let (found, tail) = offsets(&out);
            assert_eq!(found, [0, 1, 2, 3]);
            assert_eq!(tail[..8], (-1i64).to_be_bytes());
            assert_eq!(tail[8..12], (tail.len().max(60) as i32 + 1).to_be_bytes());
            assert!(tail[12..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_first_batch_that_grows_is_sent_whole() {
        let mut builder = RecordBatchBuilder::new(0);
        for _ in 0..100 {
            builder.append(Timestamp(7), None, None).unwrap();
        }
        let input = [builder.build().unwrap()];
        let converting = lazy(&input, Magic::V1).unwrap();
        assert!(converting.size() > input[0].len());
        assert_eq!(converting.converted_records(), 100);
        let (out, chunks) = sent(converting);
        assert_eq!(chunks, [out.len()]);
        let (found, tail) = offsets(&out);
        assert_eq!((found.len(), tail.len()), (100, 0));
    }

    #[test]
    fn later_batches_that_grow_are_cut() {
        let mut builder = RecordBatchBuilder::new(2);
        for _ in 0..100 {
            builder.append(Timestamp(7), None, None).unwrap();
        }
        let input = [
            batch(0, CompressionType::None, b"a"),
            builder.build().unwrap(),
        ];
        let converting = lazy(&input, Magic::V1).unwrap();
        assert_eq!(converting.size(), input[0].len() + input[1].len());
        let (out, _) = sent(converting);
        let (found, _) = offsets(&out);
        assert!(found.len() > 2 && found.len() < 102);
        assert!(found.iter().copied().eq(0..found.len() as i64));
    }

    #[test]
    fn memory_is_bounded_by_chunks_and_the_largest_batch() {
        let value = [b'x'; 30_000];
        let input: Vec<_> = (0..20)
            .map(|i| batch(2 * i, CompressionType::None, &value))
            .collect();
        let mut converting = lazy(&input, Magic::V1).unwrap();
        let mut left = converting.size();
        while left > 0 {
            let chunk = converting.next_chunk(left).unwrap();
            assert!(chunk.len() <= CHUNK_SIZE_MAX);
            left -= chunk.len();
        }
        assert_eq!(converting.converted_records(), 40);
        assert!(converting.source.1.get() <= CHUNK_SIZE_MAX);
    }

    #[test]
    fn markers_before_the_first_records_are_passed_over_once() {
        let input = [
            marker(0),
            batch(1, CompressionType::Gzip, b"a"),
            marker(3),
            batch(4, CompressionType::Lz4, b"b"),
        ];
        let (out, _) = sent(lazy(&input, Magic::V0).unwrap());
        assert_eq!(offsets(&out).0, [1, 2, 4, 5]);
    }

    #[test]
    fn nothing_to_convert_becomes_the_head_of_a_large_batch() {
        let (out, _) = sent(lazy(&[marker(0), marker(1)], Magic::V1).unwrap());
        let mut expected = (-1i64).to_be_bytes().to_vec();
        expected.extend_from_slice(&61i32.to_be_bytes());
        assert_eq!(out, expected);
        let cut = batch(0, CompressionType::None, b"a").slice(..50);
        for nothing in [&[][..], &[cut]] {
            assert_eq!(lazy(nothing, Magic::V1).unwrap().size(), 0);
        }
    }

    #[test]
    fn zstd_is_refused_at_the_start_and_hidden_later() {
        let zstd = batch(2, CompressionType::Zstd, &[b'z'; 500]);
        let error = lazy(std::slice::from_ref(&zstd), Magic::V1).unwrap_err();
        assert_eq!(error, ErrorCode::UnsupportedCompressionType);
        let input = [batch(0, CompressionType::None, b"a"), zstd];
        let (out, _) = sent(lazy(&input, Magic::V1).unwrap());
        assert_eq!(out.len(), input[0].len() + input[1].len());
        assert_eq!(offsets(&out).0, [0, 1]);
    }

    #[test]
    fn a_long_tail_is_filled_in_pieces() {
        let filled = [batch(0, CompressionType::None, b"a"), {
            let large = vec![0; 400_000];
            batch(2, CompressionType::Zstd, &large)
        }];
        let mut converting = lazy(&filled, Magic::V1).unwrap();
        converting.next_chunk(1 << 20).unwrap();
        for remaining in [300_000, 200_000, 131_071, 100, 12, 5] {
            let tail = converting.next_chunk(remaining).unwrap();
            assert_eq!(tail.len(), remaining.min(CHUNK_SIZE_MAX));
        }
    }

    #[test]
    fn corrupt_batches_are_errors() {
        let mut corrupt = batch(0, CompressionType::None, b"a").to_vec();
        corrupt[16] = 9;
        let error = lazy(&[corrupt.into()], Magic::V1).unwrap_err();
        assert_eq!(error, ErrorCode::CorruptMessage);
    }
}
