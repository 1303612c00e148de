//! The single checks of a batch and of its records, with Kafka's texts.

use ottla_model::{ErrorCode, Offset, Timestamp};

use super::ValidationConfig;
use super::errors::{InvalidRecordCounts, RecordError, ValidationError};
use crate::analysis::AppendOrigin;
use crate::batch::{BatchView, Magic, TimestampType};
use crate::legacy::LegacyRecord;
use crate::record::Record;
use crate::skim::SkimmedRecord;

/// How many record errors of one batch are kept; more are only counted. A few compressed bytes
/// can hold very many bad records.
const RECORD_ERRORS_MAX: usize = 10_000;
/// How many of them the summary shows.
const RECORD_ERRORS_SHOWN: usize = 3;

/// Checks what the header of a batch says, against the first batch of the set.
pub(super) fn check_batch(
    config: &ValidationConfig,
    first: &BatchView<'_>,
    batch: &BatchView<'_>,
    origin: AppendOrigin,
) -> Result<(), ValidationError> {
    let partition = &config.topic_partition;
    if first.magic != batch.magic {
        let counts = InvalidRecordCounts {
            invalid_magic: 1,
            ..Default::default()
        };
        let message = format!(
            "Batch magic {} is not the same as the first batch's magic byte {} in topic partition {partition}",
            batch.magic, first.magic
        );
        return Err(ValidationError::Batch { message, counts });
    }
    if origin != AppendOrigin::Client || batch.magic != Magic::V2 {
        return Ok(());
    }
    match client_batch_problem(batch) {
        None => Ok(()),
        Some(problem) => Err(ValidationError::Batch {
            message: format!("{problem} in topic partition {partition}"),
            counts: InvalidRecordCounts {
                invalid_offset_or_sequence: 1,
                ..Default::default()
            },
        }),
    }
}

fn client_batch_problem(batch: &BatchView<'_>) -> Option<String> {
    let (base, last) = (batch.base_offset(), batch.last_offset());
    let count_from_offsets = last.wrapping_sub(base).wrapping_add(1);
    if count_from_offsets <= 0 {
        return Some(format!(
            "Batch has an invalid offset range: [{base}, {last}]"
        ));
    }
    let count = i64::from(batch.record_count.unwrap_or(0));
    if count <= 0 {
        return Some(format!("Invalid reported count for record batch: {count}"));
    }
    if count_from_offsets != count {
        return Some(format!(
            "Inconsistent batch offset range [{base}, {last}] and count of records {count}"
        ));
    }
    if batch.is_control() {
        return Some("Clients are not allowed to write control records".to_owned());
    }
    if batch.has_producer_id() && batch.base_sequence < 0 {
        return Some(format!(
            "Invalid sequence number {} in record batch with producerId {}",
            batch.base_sequence, batch.producer_id
        ));
    }
    None
}

/// What the checks of a record look at.
#[derive(Clone, Copy)]
struct Facts {
    offset: Offset,
    timestamp: Timestamp,
    has_key: bool,
}

/// What is wrong with a record's timestamp.
enum TimestampProblem {
    /// Too far from the broker's time.
    Range,
    /// It is the broker that sets append times.
    Type,
}

/// The checks of the records of one batch, and what they found.
pub(super) struct RecordChecks<'a> {
    config: &'a ValidationConfig,
    now: Timestamp,
    batch_type: Option<TimestampType>,
    index: i32,
    errors: Vec<RecordError>,
    error_count: usize,
    invalid_timestamp: bool,
    counts: InvalidRecordCounts,
}

impl<'a> RecordChecks<'a> {
    pub(super) fn new(config: &'a ValidationConfig, now: Timestamp, batch: &BatchView<'_>) -> Self {
        Self {
            config,
            now,
            batch_type: batch.timestamp_type(),
            index: 0,
            errors: Vec::new(),
            error_count: 0,
            invalid_timestamp: false,
            counts: InvalidRecordCounts::default(),
        }
    }

    /// Checks the next record; `true` while no record of the batch is wrong.
    pub(super) fn check(&mut self, record: &Record<'_>) -> bool {
        let facts = Facts {
            offset: record.offset,
            timestamp: record.timestamp,
            has_key: record.key.is_some(),
        };
        self.check_facts(facts, || {
            format!(
                "DefaultRecord(offset={}, timestamp={}, key={} bytes, value={} bytes)",
                record.offset,
                record.timestamp,
                record.key.map_or(0, <[u8]>::len),
                record.value.map_or(0, <[u8]>::len)
            )
        })
    }

    /// Checks the next record; `true` if it is right.
    pub(super) fn check_skimmed(&mut self, record: &SkimmedRecord) -> bool {
        let facts = Facts {
            offset: record.offset,
            timestamp: record.timestamp,
            has_key: record.key_size >= 0,
        };
        self.check_facts(facts, || {
            format!(
                "PartialDefaultRecord(offset={}, timestamp={}, key={} bytes, value={} bytes)",
                record.offset, record.timestamp, record.key_size, record.value_size
            )
        })
    }

    fn check_facts(&mut self, facts: Facts, describe: impl Fn() -> String) -> bool {
        let result = self
            .check_key(facts)
            .and_then(|()| self.check_timestamp(facts, describe));
        match result {
            Ok(()) => {
                self.index = self.index.wrapping_add(1);
                self.error_count == 0
            }
            Err((code, message)) => self.refuse(code, message),
        }
    }

    fn check_key(&mut self, facts: Facts) -> Result<(), (ErrorCode, String)> {
        if !self.lacks_key(facts.has_key) {
            return Ok(());
        }
        self.counts.no_key_compacted_topic += 1;
        Err((
            ErrorCode::InvalidRecord,
            format!(
                "Compacted topic cannot accept message without key in topic partition {}",
                self.config.topic_partition
            ),
        ))
    }

    /// Whether a record would pass all checks.
    #[inline]
    pub(super) fn would_pass(&self, timestamp: Timestamp, has_key: bool) -> bool {
        !self.lacks_key(has_key) && self.timestamp_problem(timestamp).is_none()
    }

    #[inline]
    fn lacks_key(&self, has_key: bool) -> bool {
        !has_key && self.config.compacted
    }

    #[inline]
    fn timestamp_problem(&self, timestamp: Timestamp) -> Option<TimestampProblem> {
        let config = self.config;
        let judged =
            config.timestamp_type == TimestampType::CreateTime && timestamp != Timestamp::NONE;
        if !judged {
            return (self.batch_type == Some(TimestampType::LogAppendTime))
                .then_some(TimestampProblem::Type);
        }
        // Kafka's arithmetic wraps, and so do the bounds it prints.
        let age = self.now.0.wrapping_sub(timestamp.0);
        (age > config.timestamp_before_max_ms || age.wrapping_neg() > config.timestamp_after_max_ms)
            .then_some(TimestampProblem::Range)
    }

    fn check_timestamp(
        &self,
        facts: Facts,
        describe: impl Fn() -> String,
    ) -> Result<(), (ErrorCode, String)> {
        let config = self.config;
        let message = match self.timestamp_problem(facts.timestamp) {
            None => return Ok(()),
            Some(TimestampProblem::Range) => format!(
                "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{}, {}]",
                facts.timestamp,
                facts.offset,
                self.now.0.wrapping_sub(config.timestamp_before_max_ms),
                self.now.0.wrapping_add(config.timestamp_after_max_ms)
            ),
            Some(TimestampProblem::Type) => format!(
                "Invalid timestamp type in message {}. Producer should not set timestamp type to LogAppendTime.",
                describe()
            ),
        };
        Err((ErrorCode::InvalidTimestamp, message))
    }

    fn refuse(&mut self, code: ErrorCode, message: String) -> bool {
        self.invalid_timestamp |= code == ErrorCode::InvalidTimestamp;
        self.error_count += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError {
                batch_index: self.index,
                message,
            });
        }
        self.index = self.index.wrapping_add(1);
        false
    }

    /// All is well, or all that is wrong.
    pub(super) fn finish(self) -> Result<(), ValidationError> {
        if self.error_count == 0 {
            return Ok(());
        }
        let (code, message) = if self.invalid_timestamp {
            let text = "One or more records have been rejected due to invalid timestamp";
            (ErrorCode::InvalidTimestamp, text.to_owned())
        } else {
            (ErrorCode::InvalidRecord, self.summary())
        };
        Err(ValidationError::Records {
            code,
            message,
            errors: self.errors,
            counts: self.counts,
        })
    }

    fn summary(&self) -> String {
        let shown: Vec<String> = self
            .errors
            .iter()
            .take(RECORD_ERRORS_SHOWN)
            .map(|error| {
                format!(
                    "RecordError(batchIndex={}, message='{}')",
                    error.batch_index, error.message
                )
            })
            .collect();
        format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
            self.error_count,
            shown.join(", ")
        )
    }
}

/// Checks the next message of a magic 0 or 1 batch; `true` while none is wrong.
///
/// # Errors
/// The checksum of a message in a compressed set is wrong, which no other message makes better.
pub(super) fn check_legacy(
    checks: &mut RecordChecks<'_>,
    batch: &BatchView<'_>,
    record: &LegacyRecord<'_>,
) -> Result<bool, ValidationError> {
    let message = &record.message;
    if message.magic() != batch.magic.byte() {
        checks.counts.invalid_magic += 1;
        let text = format!(
            "Record {}'s magic does not match outer magic {} in topic partition {}",
            describe_legacy(batch, record),
            batch.magic,
            checks.config.topic_partition
        );
        return Ok(checks.refuse(ErrorCode::InvalidRecord, text));
    }
    // A message that stands alone is a batch, and was checked as one.
    if batch.is_compressed()
        && let Err(error) = message.ensure_valid()
    {
        let mut counts = checks.counts;
        counts.invalid_message_crc += 1;
        return Err(ValidationError::Corrupt {
            message: error.to_string(),
            counts,
        });
    }
    let has_key = message.has_key()?;
    let facts = Facts {
        offset: record.offset,
        timestamp: record.timestamp,
        has_key,
    };
    Ok(checks.check_facts(facts, || describe_legacy(batch, record)))
}

fn describe_legacy(batch: &BatchView<'_>, record: &LegacyRecord<'_>) -> String {
    let message = &record.message;
    let (key, value) = message
        .key_and_value()
        .map(|(key, value)| (key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len)))
        .unwrap_or_default();
    let wrapper_type = batch
        .is_compressed()
        .then(|| batch.timestamp_type())
        .flatten();
    let time = if message.magic() > 0 {
        format!(
            "{}={}, ",
            record.timestamp_type(wrapper_type),
            record.timestamp
        )
    } else {
        String::new()
    };
    format!(
        "LegacyRecordBatch(offset={}, Record(magic={}, attributes={}, compression=none, crc={}, {time}key={key} bytes, value={value} bytes))",
        record.offset,
        message.magic(),
        message.attributes() as i8,
        message.stored_crc(),
    )
}
