//! The leader's validator: checks what a producer or a coordinator sent, assigns offsets, and
//! leaves the record bytes alone whenever it can (Kafka's `LogValidator`).
//!
//! The result is always one magic-2 batch. It is either the sent batch with a patched header, or a
//! batch rebuilt because of another codec or an older format.
//!
//! Checksums are not checked here: [`crate::analysis::analyze`] did, and is to be called first. A
//! patched checksum is derived from the stored one, so a wrong one stays wrong.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset, Timestamp, TopicPartition};

use crate::analysis::AppendOrigin;
use crate::batch::{
    ATTRIBUTES_OFFSET_V2, BatchView, CRC_OFFSET_V2, LEADER_EPOCH_OFFSET, MAX_TIMESTAMP_OFFSET,
    Magic, RECORD_BATCH_OVERHEAD, TIMESTAMP_TYPE_MASK, TimestampType,
};
use crate::batches::BatchIterator;
use crate::builder::RecordBatchBuilder;
use crate::checksum::{crc32c, crc32c_combine};
use crate::compression::{Compression, CompressionType};
use crate::record::Record;
use crate::records::DECOMPRESSED_SIZE_MAX;
use crate::skim::RecordSkimmer;

mod checks;
mod errors;
mod glance;

use checks::{RecordChecks, check_batch, check_legacy};
pub use errors::{InvalidRecordCounts, RecordError, ValidationError};
use glance::glance;

/// The attribute bits that survive a change of the timestamp type: codec, transactional, control
/// and delete horizon.
const KEPT_ATTRIBUTES: i16 = 0x77;

/// What a topic asks of the records appended to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidationConfig {
    /// Named in error messages.
    pub topic_partition: TopicPartition,
    /// Whether `cleanup.policy` has `compact`: records then need keys.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` with its level; `None` keeps the producer's codec.
    pub compression: Option<Compression>,
    /// How many bytes a compressed set may become where it has to be rebuilt.
    pub decompressed_size_max: usize,
}

impl ValidationConfig {
    /// Kafka's defaults: not compacted, create time within any bounds, the producer's codec.
    pub fn with_defaults(topic_partition: TopicPartition) -> Self {
        Self {
            topic_partition,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            compression: None,
            decompressed_size_max: DECOMPRESSED_SIZE_MAX,
        }
    }
}

/// Bytes to append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendBytes {
    /// A new header for the sent batch, and the untouched rest of it.
    Patched {
        /// The header of the batch.
        header: [u8; RECORD_BATCH_OVERHEAD],
        /// Everything after it.
        rest: Bytes,
    },
    /// A rebuilt batch.
    Rebuilt(Bytes),
}

impl AppendBytes {
    /// The two parts to write, in order; the second is empty for a rebuilt batch.
    pub fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Patched { header, rest } => [header, rest],
            Self::Rebuilt(batch) => [batch, &[]],
        }
    }

    /// Bytes of the batch.
    pub fn size_in_bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The first 61 bytes of the batch, which [`crate::BatchHeader::parse`] reads.
    pub fn header_bytes(&self) -> &[u8] {
        let [first, _] = self.parts();
        &first[..RECORD_BATCH_OVERHEAD.min(first.len())]
    }

    /// The batch in one piece; copies a patched one.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Patched { .. } => self.parts().concat().into(),
            Self::Rebuilt(batch) => batch.clone(),
        }
    }
}

/// A batch ready to append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatedRecords {
    /// The batch.
    pub batch: AppendBytes,
    /// The offset of its first record, the one asked for.
    pub first_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp, or the append time; −1 for none.
    pub max_timestamp: Timestamp,
    /// The last offset of the batch as the offset of its largest timestamp; −1 if it has none.
    pub shallow_offset_of_max_timestamp: Offset,
    /// The broker's time for a LogAppendTime topic, −1 for CreateTime.
    pub log_append_time: Timestamp,
    /// Whether the batch was rebuilt and its size must be checked again.
    pub size_may_have_changed: bool,
    /// How many records were rebuilt: what ProduceMessageConversionsPerSec counts.
    pub converted_records: i32,
    /// Bytes of memory that decompression and rebuilding took for a time: what
    /// TemporaryMemoryBytes measures.
    pub temporary_memory_bytes: usize,
}

impl ValidatedRecords {
    /// The offset after the batch: the next log end offset.
    pub fn next_offset(&self) -> Offset {
        self.last_offset.wrapping_add(1)
    }
}

/// Validates `input`, complete batches that were analyzed, and assigns offsets from `first_offset`
/// and the leader epoch; `now` is the broker's time.
///
/// # Errors
/// See [`ValidationError`]: nothing of the input may then be appended.
pub fn validate_and_assign(
    input: Bytes,
    config: &ValidationConfig,
    first_offset: Offset,
    now: Timestamp,
    origin: AppendOrigin,
    leader_epoch: LeaderEpoch,
) -> Result<ValidatedRecords, ValidationError> {
    let source = survey(&input)?;
    let validation = Validation {
        config,
        origin,
        now,
        first_offset,
        leader_epoch,
        target: config
            .compression
            .unwrap_or_else(|| Compression::with_default_level(source.codec)),
        source,
    };
    if validation.can_patch() {
        validation.patch(&input)
    } else {
        validation.rebuild(&input)
    }
}

/// What has to be known of the whole set before its records are read.
struct Survey<'a> {
    first: BatchView<'a>,
    codec: CompressionType,
    all_v2: bool,
}

fn survey(input: &[u8]) -> Result<Survey<'_>, ValidationError> {
    let mut survey: Option<Survey<'_>> = None;
    let mut count = 0;
    for batch in BatchIterator::new(input) {
        let batch = batch?;
        let survey = survey.get_or_insert(Survey {
            first: batch,
            codec: CompressionType::None,
            all_v2: true,
        });
        match batch.compression_type()? {
            CompressionType::None => {}
            codec => survey.codec = codec,
        }
        survey.all_v2 &= batch.magic == Magic::V2;
        count += 1;
    }
    let survey = survey
        .ok_or_else(|| ValidationError::invalid_record("Record batch has no batches at all"))?;
    let one_only = survey.first.magic == Magic::V2 || survey.codec != CompressionType::None;
    if one_only && count > 1 {
        return Err(ValidationError::invalid_record(
            "Compressed outer record has more than one batch",
        ));
    }
    Ok(survey)
}

struct Validation<'a> {
    config: &'a ValidationConfig,
    origin: AppendOrigin,
    now: Timestamp,
    first_offset: Offset,
    leader_epoch: LeaderEpoch,
    target: Compression,
    source: Survey<'a>,
}

impl<'a> Validation<'a> {
    /// Whether the sent bytes can stay: same format, same codec (whatever its level). Control
    /// batches are not compressed unless they came so.
    fn can_patch(&self) -> bool {
        let same_codec = self.source.codec == self.target.codec();
        let plain_control =
            self.source.codec == CompressionType::None && self.source.first.is_control();
        self.source.all_v2 && (same_codec || plain_control)
    }

    fn checks(&self, batch: &BatchView<'_>) -> RecordChecks<'a> {
        RecordChecks::new(self.config, self.now, batch)
    }

    fn patch(&self, input: &Bytes) -> Result<ValidatedRecords, ValidationError> {
        let batch = &self.source.first;
        check_batch(self.config, batch, batch, self.origin)?;
        let pass = if batch.is_compressed() {
            self.skim(batch)?
        } else {
            self.read_plain(batch)?
        };
        let last_offset = self.first_offset.wrapping_add(pass.count - 1);
        let (timestamp_type, max_timestamp) = match self.config.timestamp_type {
            TimestampType::LogAppendTime => (TimestampType::LogAppendTime, self.now),
            TimestampType::CreateTime => (TimestampType::CreateTime, pass.max_timestamp),
        };
        let through_codec = batch.is_compressed() || self.target.codec() != CompressionType::None;
        Ok(ValidatedRecords {
            batch: AppendBytes::Patched {
                header: patched_header(
                    batch,
                    last_offset,
                    self.leader_epoch,
                    timestamp_type,
                    max_timestamp,
                ),
                rest: input.slice(RECORD_BATCH_OVERHEAD..batch.size_in_bytes),
            },
            first_offset: self.first_offset,
            last_offset,
            max_timestamp,
            // Kafka answers the last offset for compressed batches even without a timestamp.
            shallow_offset_of_max_timestamp: if through_codec || max_timestamp > Timestamp::NONE {
                last_offset
            } else {
                -1
            },
            log_append_time: self.log_append_time(),
            size_may_have_changed: false,
            converted_records: 0,
            temporary_memory_bytes: if through_codec {
                RECORD_BATCH_OVERHEAD.saturating_add(pass.size_in_bytes)
            } else {
                0
            },
        })
    }

    fn skim(&self, batch: &BatchView<'a>) -> Result<Pass, ValidationError> {
        let mut checks = self.checks(batch);
        let mut pass = Pass::default();
        let mut rebuild = false;
        if batch.record_count != Some(0) {
            for record in RecordSkimmer::new(batch)? {
                let record = record?;
                let accepted = checks.check_skimmed(&record);
                if accepted {
                    rebuild |= record.offset != pass.count;
                    pass.see(record.timestamp, record.size_in_bytes);
                } else {
                    pass.count += 1;
                }
            }
        }
        checks.finish()?;
        if rebuild {
            // Kafka tries to rebuild such a batch from records whose keys it has skipped, and
            // fails. No producer that ever worked sends one.
            return Err(ValidationError::Unexpected(format!(
                "inner offsets of the compressed batch in the append to {} are not consecutive from 0",
                self.config.topic_partition
            )));
        }
        Ok(pass)
    }

    fn read_plain(&self, batch: &BatchView<'a>) -> Result<Pass, ValidationError> {
        let mut checks = self.checks(batch);
        if let Some(pass) = glance(batch, |timestamp, has_key| {
            checks.would_pass(timestamp, has_key)
        }) {
            return Ok(pass);
        }
        let mut pass = Pass::default();
        let records = batch.records(self.config.decompressed_size_max)?;
        for record in records.iter()? {
            let record = record?;
            checks.check(&record);
            pass.see(record.timestamp, record.size_in_bytes);
        }
        checks.finish()?;
        Ok(pass)
    }

    fn rebuild(&self, input: &[u8]) -> Result<ValidatedRecords, ValidationError> {
        let first = &self.source.first;
        let mut builder = RecordBatchBuilder::new(self.first_offset)
            .compression(self.target)
            .leader_epoch(self.leader_epoch)
            .producer(first.producer_id, first.producer_epoch, first.base_sequence)
            .transactional(first.is_transactional());
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            builder = builder.log_append_time(self.now);
        }
        let mut rebuild = Rebuild {
            builder,
            next_offset: self.first_offset,
            failed: None,
        };
        for batch in BatchIterator::new(input) {
            let batch = batch?;
            check_batch(self.config, first, &batch, self.origin)?;
            self.copy_records(&batch, &mut rebuild)?;
        }
        self.finish(rebuild)
    }

    fn copy_records(
        &self,
        batch: &BatchView<'_>,
        rebuild: &mut Rebuild,
    ) -> Result<(), ValidationError> {
        let mut checks = self.checks(batch);
        let records = batch.records(self.config.decompressed_size_max)?;
        if let Some(legacy) = records.legacy() {
            for record in legacy {
                let record = record?;
                if check_legacy(&mut checks, batch, &record)? {
                    rebuild.append(&record.to_record()?);
                }
            }
        } else {
            for record in records.iter()? {
                let record = record?;
                if checks.check(&record) {
                    rebuild.append(&record);
                }
            }
        }
        checks.finish()?;
        Ok(())
    }

    fn finish(&self, rebuild: Rebuild) -> Result<ValidatedRecords, ValidationError> {
        if let Some(error) = rebuild.failed {
            return Err(error.into());
        }
        let builder = rebuild.builder;
        let last_offset = builder.last_offset().ok_or_else(|| {
            ValidationError::invalid_record("Record batch has no records to append")
        })?;
        let max_timestamp = builder.max_timestamp();
        let converted_records = builder.record_count();
        let temporary_memory_bytes = builder.uncompressed_size();
        Ok(ValidatedRecords {
            batch: AppendBytes::Rebuilt(builder.build()?),
            first_offset: self.first_offset,
            last_offset,
            max_timestamp,
            shallow_offset_of_max_timestamp: if max_timestamp > Timestamp::NONE {
                last_offset
            } else {
                -1
            },
            log_append_time: self.log_append_time(),
            size_may_have_changed: true,
            converted_records,
            temporary_memory_bytes,
        })
    }

    fn log_append_time(&self) -> Timestamp {
        match self.config.timestamp_type {
            TimestampType::LogAppendTime => self.now,
            TimestampType::CreateTime => Timestamp::NONE,
        }
    }
}

/// What a pass over the records of a batch learned.
#[derive(Debug, PartialEq, Eq)]
struct Pass {
    count: i64,
    max_timestamp: Timestamp,
    size_in_bytes: usize,
}

impl Default for Pass {
    fn default() -> Self {
        Self {
            count: 0,
            max_timestamp: Timestamp::NONE,
            size_in_bytes: 0,
        }
    }
}

impl Pass {
    fn see(&mut self, timestamp: Timestamp, size_in_bytes: usize) {
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.size_in_bytes = self.size_in_bytes.saturating_add(size_in_bytes);
    }
}

/// A batch in the making; its first failure is told only after all records were checked.
struct Rebuild {
    builder: RecordBatchBuilder,
    next_offset: Offset,
    failed: Option<crate::builder::BuildError>,
}

impl Rebuild {
    fn append(&mut self, record: &Record<'_>) {
        if self.failed.is_some() {
            return;
        }
        self.failed = self.builder.append_record(self.next_offset, record).err();
        self.next_offset = self.next_offset.wrapping_add(1);
    }
}

/// The header of `batch` with offsets, leader epoch and timestamps set. The checksum changes only
/// with the timestamps and is then derived from the stored one without reading the records.
fn patched_header(
    batch: &BatchView<'_>,
    last_offset: Offset,
    leader_epoch: LeaderEpoch,
    timestamp_type: TimestampType,
    max_timestamp: Timestamp,
) -> [u8; RECORD_BATCH_OVERHEAD] {
    let mut header = [0; RECORD_BATCH_OVERHEAD];
    header.copy_from_slice(&batch.bytes()[..RECORD_BATCH_OVERHEAD]);
    let base_offset = last_offset.wrapping_sub(i64::from(batch.last_offset_delta));
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    header[LEADER_EPOCH_OFFSET..LEADER_EPOCH_OFFSET + 4]
        .copy_from_slice(&leader_epoch.0.to_be_bytes());
    if batch.timestamp_type() == Some(timestamp_type) && batch.max_timestamp == max_timestamp {
        return header;
    }
    let old_crc = crc32c(&header[ATTRIBUTES_OFFSET_V2..]);
    let mut attributes = batch.attributes & KEPT_ATTRIBUTES;
    if timestamp_type == TimestampType::LogAppendTime {
        attributes |= TIMESTAMP_TYPE_MASK;
    }
    header[ATTRIBUTES_OFFSET_V2..ATTRIBUTES_OFFSET_V2 + 2]
        .copy_from_slice(&attributes.to_be_bytes());
    header[MAX_TIMESTAMP_OFFSET..MAX_TIMESTAMP_OFFSET + 8]
        .copy_from_slice(&max_timestamp.0.to_be_bytes());
    let new_crc = crc32c(&header[ATTRIBUTES_OFFSET_V2..]);
    // The CRC is linear: combining the old head's with the whole's leaves the rest's.
    let rest = batch.payload().len();
    let rest_crc = crc32c_combine(old_crc, batch.crc, rest);
    let crc = crc32c_combine(new_crc, rest_crc, rest);
    header[CRC_OFFSET_V2..CRC_OFFSET_V2 + 4].copy_from_slice(&crc.to_be_bytes());
    header
}

#[cfg(test)]
mod tests;
