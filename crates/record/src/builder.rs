//! Building of magic-2 batches (MemoryRecordsBuilder).

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::batch::{
    ATTRIBUTES_OFFSET_V2, BASE_SEQUENCE_OFFSET, BASE_TIMESTAMP_OFFSET, BatchHeader, CONTROL_MASK,
    CRC_OFFSET_V2, DELETE_HORIZON_MASK, LAST_OFFSET_DELTA_OFFSET, LEADER_EPOCH_OFFSET,
    LOG_OVERHEAD, MAGIC_OFFSET, MAX_TIMESTAMP_OFFSET, Magic, NO_SEQUENCE, PRODUCER_EPOCH_OFFSET,
    PRODUCER_ID_OFFSET, RECORD_BATCH_OVERHEAD, RECORD_COUNT_OFFSET, SIZE_OFFSET,
    TIMESTAMP_TYPE_MASK, TRANSACTIONAL_MASK,
};
use crate::compression::Compression;
use crate::record::Record;
use crate::varint::{put_varint, put_varlong, size_of_varlong};

/// A record to append, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleRecord {
    /// The create time; −1 for none.
    pub timestamp: Timestamp,
    /// The key, `None` for null.
    pub key: Option<Bytes>,
    /// The value, `None` for null.
    pub value: Option<Bytes>,
}

/// Why a batch cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Offsets must rise.
    #[error(
        "Illegal offset {offset} following previous offset {last} (Offsets must increase monotonically)."
    )]
    OffsetNotIncreasing {
        /// The offset of the record.
        offset: Offset,
        /// The one before it.
        last: Offset,
    },
    /// A record lies before the batch or more than 2147483647 offsets after its start.
    #[error("Maximum offset delta exceeded, base offset: {base}, last offset: {offset}")]
    OffsetDelta {
        /// The base offset.
        base: Offset,
        /// The offset of the record.
        offset: Offset,
    },
    /// A timestamp below −1.
    #[error("Invalid negative timestamp {0}")]
    NegativeTimestamp(Timestamp),
    /// A producer id without an epoch or a sequence number, or a transaction without a producer.
    #[error("Invalid producer state: {0}")]
    ProducerState(&'static str),
    /// A key, value or batch of 2 GiB or more.
    #[error("record or batch is larger than 2147483647 bytes")]
    TooLarge,
    /// A compressor failed.
    #[error("cannot compress with {codec}: {reason}")]
    Compression {
        /// The codec's name.
        codec: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Collects records of one magic-2 batch.
#[derive(Clone, Debug)]
pub struct RecordBatchBuilder {
    base_offset: Offset,
    compression: Compression,
    append_time: Option<Timestamp>,
    delete_horizon: Option<Timestamp>,
    leader_epoch: LeaderEpoch,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    flags: i16,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    last_offset: Option<Offset>,
    count: i32,
    /// Room for the header, then the records.
    buffer: Vec<u8>,
}

impl RecordBatchBuilder {
    /// An empty batch that starts at `base_offset`: uncompressed, create time, no producer, no
    /// leader epoch.
    pub fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            compression: Compression::None,
            append_time: None,
            delete_horizon: None,
            leader_epoch: LeaderEpoch::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: NO_SEQUENCE,
            flags: 0,
            base_timestamp: None,
            max_timestamp: Timestamp::NONE,
            last_offset: None,
            count: 0,
            buffer: vec![0; RECORD_BATCH_OVERHEAD],
        }
    }

    /// Compresses the records.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Makes the batch LogAppendTime with this time.
    #[must_use]
    pub fn log_append_time(mut self, time: Timestamp) -> Self {
        self.append_time = Some(time);
        self
    }

    /// Sets the delete horizon, which record timestamps are then stored relative to.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Timestamp) -> Self {
        self.delete_horizon = Some(horizon);
        self.base_timestamp = Some(horizon);
        self
    }

    /// Sets the leader epoch.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Sets the producer's id, epoch and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction, or not.
    #[must_use]
    pub fn transactional(self, on: bool) -> Self {
        self.flag(TRANSACTIONAL_MASK, on)
    }

    /// Marks the batch as holding control records, or not.
    #[must_use]
    pub fn control(self, on: bool) -> Self {
        self.flag(CONTROL_MASK, on)
    }

    fn flag(mut self, mask: i16, on: bool) -> Self {
        self.flags = if on {
            self.flags | mask
        } else {
            self.flags & !mask
        };
        self
    }

    /// Appends a record at the next offset.
    ///
    /// # Errors
    /// See [`BuildError`]; the builder is then unchanged.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), BuildError> {
        self.append_with_headers(timestamp, key, value, &[])
    }

    /// Appends a record with headers at the next offset.
    ///
    /// # Errors
    /// See [`BuildError`]; the builder is then unchanged.
    pub fn append_with_headers(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let mut encoded = Vec::new();
        for (key, value) in headers {
            put_nullable(&mut encoded, Some(key.as_bytes()))?;
            put_nullable(&mut encoded, *value)?;
        }
        self.write(
            self.next_offset(),
            timestamp,
            key,
            value,
            headers.len(),
            &encoded,
        )
    }

    /// Appends a record at the next offset.
    ///
    /// # Errors
    /// See [`BuildError`]; the builder is then unchanged.
    pub fn append_simple(&mut self, record: &SimpleRecord) -> Result<(), BuildError> {
        self.append(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
        )
    }

    /// Appends a record of another batch at `offset`, with its timestamp and headers.
    ///
    /// # Errors
    /// See [`BuildError`]; the builder is then unchanged.
    pub fn append_record(&mut self, offset: Offset, record: &Record<'_>) -> Result<(), BuildError> {
        self.write(
            offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers.len(),
            record.headers.encoded(),
        )
    }

    /// The number of records so far.
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, before compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the batch would have at most `size_max` bytes (before compression) with one more
    /// record of this key and value; always true for the first record, as in Kafka.
    pub fn has_room_for(
        &self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        size_max: usize,
    ) -> bool {
        let offset_delta = self.next_offset().wrapping_sub(self.base_offset);
        let body = body_size(
            self.timestamp_delta(timestamp),
            offset_delta,
            key,
            value,
            0,
            0,
        );
        let record = body.saturating_add(size_of_varlong(body as i64));
        self.count == 0 || self.buffer.len().saturating_add(record) <= size_max
    }

    /// The largest timestamp so far; the append time if there is one; −1 without records.
    pub fn max_timestamp(&self) -> Timestamp {
        match self.append_time {
            Some(time) => time,
            None => self.max_timestamp,
        }
    }

    /// The offset of the last record, `None` without records.
    pub fn last_offset(&self) -> Option<Offset> {
        self.last_offset
    }

    /// The last offset of the batch where that is not its last record's (compaction).
    pub fn override_last_offset(&mut self, last_offset: Offset) {
        self.last_offset = Some(last_offset);
    }

    /// The finished batch; no bytes at all without records.
    ///
    /// # Errors
    /// The producer's state is incomplete, compression failed, or the batch is too large.
    pub fn build(mut self) -> Result<Bytes, BuildError> {
        self.check_producer_state()?;
        if self.count == 0 {
            return Ok(Bytes::new());
        }
        if self.compression != Compression::None {
            self.compress()?;
        }
        let last_offset = self.last_offset.unwrap_or(self.base_offset);
        let last_offset_delta = i32::try_from(last_offset.wrapping_sub(self.base_offset))
            .map_err(|_| self.delta_error(last_offset))?;
        let header = self.header(last_offset_delta);
        if i32::try_from(self.buffer.len()).is_err() {
            return Err(BuildError::TooLarge);
        }
        seal(&header, &mut self.buffer);
        Ok(self.buffer.into())
    }

    fn check_producer_state(&self) -> Result<(), BuildError> {
        let transactional = self.flags & TRANSACTIONAL_MASK != 0;
        let control = self.flags & CONTROL_MASK != 0;
        let problem = if self.producer_id == ProducerId::NONE {
            transactional.then_some("transactional without a producer id")
        } else if self.producer_epoch == ProducerEpoch::NONE {
            Some("negative producer epoch")
        } else {
            (self.base_sequence < 0 && !control).then_some("negative sequence number")
        };
        problem.map_or(Ok(()), |problem| Err(BuildError::ProducerState(problem)))
    }

    fn compress(&mut self) -> Result<(), BuildError> {
        let mut compressed = vec![0; RECORD_BATCH_OVERHEAD];
        let records = &self.buffer[RECORD_BATCH_OVERHEAD..];
        self.compression
            .compress(Magic::V2, records, &mut compressed)
            .map_err(|error| BuildError::Compression {
                codec: self.compression.codec().name(),
                reason: error.to_string(),
            })?;
        self.buffer = compressed;
        Ok(())
    }

    fn header(&self, last_offset_delta: i32) -> BatchHeader {
        let mut attributes = self.flags | self.compression.codec().id();
        if self.append_time.is_some() {
            attributes |= TIMESTAMP_TYPE_MASK;
        }
        if self.delete_horizon.is_some() {
            attributes |= DELETE_HORIZON_MASK;
        }
        BatchHeader {
            offset: self.base_offset,
            size_in_bytes: self.buffer.len(),
            magic: Magic::V2,
            partition_leader_epoch: self.leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: self.max_timestamp(),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: Some(self.count),
        }
    }

    fn next_offset(&self) -> Offset {
        self.last_offset
            .map_or(self.base_offset, |last| last.wrapping_add(1))
    }

    fn timestamp_delta(&self, timestamp: Timestamp) -> i64 {
        timestamp
            .0
            .wrapping_sub(self.base_timestamp.unwrap_or(timestamp).0)
    }

    fn delta_error(&self, offset: Offset) -> BuildError {
        BuildError::OffsetDelta {
            base: self.base_offset,
            offset,
        }
    }

    fn check(&self, offset: Offset, timestamp: Timestamp) -> Result<i32, BuildError> {
        if let Some(last) = self.last_offset
            && offset <= last
        {
            return Err(BuildError::OffsetNotIncreasing { offset, last });
        }
        if timestamp.0 < Timestamp::NONE.0 {
            return Err(BuildError::NegativeTimestamp(timestamp));
        }
        if self.count == i32::MAX {
            return Err(BuildError::TooLarge);
        }
        match i32::try_from(offset.wrapping_sub(self.base_offset)) {
            Ok(delta) if delta >= 0 => Ok(delta),
            _ => Err(self.delta_error(offset)),
        }
    }

    fn write(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: usize,
        headers: &[u8],
    ) -> Result<(), BuildError> {
        let offset_delta = self.check(offset, timestamp)?;
        let timestamp_delta = self.timestamp_delta(timestamp);
        let size = body_size(
            timestamp_delta,
            i64::from(offset_delta),
            key,
            value,
            header_count,
            headers.len(),
        );
        let size = i32::try_from(size).map_err(|_| BuildError::TooLarge)?;
        let out = &mut self.buffer;
        put_varint(out, size);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        // Both fit: the whole body does.
        put_nullable(out, key)?;
        put_nullable(out, value)?;
        put_varlong(out, header_count as i64);
        out.extend_from_slice(headers);
        self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset = Some(offset);
        self.count += 1;
        Ok(())
    }
}

/// Writes the header, with its checksum, in front of the records of a batch of exactly
/// `batch.len()` bytes. The fields `size_in_bytes` and `crc` of `header` are not looked at.
pub(crate) fn seal(header: &BatchHeader, batch: &mut [u8]) {
    assert!(
        batch.len() >= RECORD_BATCH_OVERHEAD,
        "callers reserve the header before the records"
    );
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &header.offset.to_be_bytes());
    put(
        LEADER_EPOCH_OFFSET,
        &header.partition_leader_epoch.0.to_be_bytes(),
    );
    put(MAGIC_OFFSET, &header.magic.byte().to_be_bytes());
    put(ATTRIBUTES_OFFSET_V2, &header.attributes.to_be_bytes());
    put(
        LAST_OFFSET_DELTA_OFFSET,
        &header.last_offset_delta.to_be_bytes(),
    );
    put(
        BASE_TIMESTAMP_OFFSET,
        &header.base_timestamp.0.to_be_bytes(),
    );
    put(MAX_TIMESTAMP_OFFSET, &header.max_timestamp.0.to_be_bytes());
    put(PRODUCER_ID_OFFSET, &header.producer_id.0.to_be_bytes());
    put(
        PRODUCER_EPOCH_OFFSET,
        &header.producer_epoch.0.to_be_bytes(),
    );
    put(BASE_SEQUENCE_OFFSET, &header.base_sequence.to_be_bytes());
    put(
        RECORD_COUNT_OFFSET,
        &header.record_count.unwrap_or(0).to_be_bytes(),
    );
    let size = (batch.len() - LOG_OVERHEAD) as u32;
    batch[SIZE_OFFSET..SIZE_OFFSET + 4].copy_from_slice(&size.to_be_bytes());
    let crc = crate::checksum::crc32c(&batch[ATTRIBUTES_OFFSET_V2..]);
    batch[CRC_OFFSET_V2..CRC_OFFSET_V2 + 4].copy_from_slice(&crc.to_be_bytes());
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), BuildError> {
    let Some(bytes) = bytes else {
        put_varint(out, -1);
        return Ok(());
    };
    let length = i32::try_from(bytes.len()).map_err(|_| BuildError::TooLarge)?;
    put_varint(out, length);
    out.extend_from_slice(bytes);
    Ok(())
}

fn body_size(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    header_count: usize,
    headers_size: usize,
) -> usize {
    let nullable = |bytes: Option<&[u8]>| match bytes {
        None => size_of_varlong(-1),
        Some(bytes) => bytes
            .len()
            .saturating_add(size_of_varlong(bytes.len() as i64)),
    };
    1usize
        .saturating_add(size_of_varlong(timestamp_delta))
        .saturating_add(size_of_varlong(offset_delta))
        .saturating_add(nullable(key))
        .saturating_add(nullable(value))
        .saturating_add(size_of_varlong(header_count as i64))
        .saturating_add(headers_size)
}
