//! Appending: as the leader, with validation, and as a follower, verbatim.

use std::io::{self, IoSlice};

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset, ProducerId, Timestamp};
use ottla_record::{
    AppendOrigin, BatchHeader, BatchIterator, BatchSetInfo, BatchView, EndTransactionMarker, Magic,
    ValidatedRecords, analyze, validate_and_assign,
};

use super::Log;
use crate::errors::{AppendError, LogError};
use crate::producer::{
    BatchMetadata, CompletedTransaction, ProducerAppendInfo, ProducerError, VerificationGuard,
};
use crate::published::LogPosition;
use crate::time_index::TimestampOffset;
use crate::transaction_index::AbortedTransaction;

/// A marker's records are tiny; more is not decompressed.
const MARKER_BYTES_MAX: usize = 64 * 1024;

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendInfo {
    /// Offset of the first record; −1 if there was no complete batch. For a duplicate that of the
    /// batch in the log. The last offset of the first batch for a follower's magic 0 or 1.
    pub first_offset: Offset,
    /// Offset of the last record; −1 if there was no complete batch.
    pub last_offset: Offset,
    /// Epoch of the last batch.
    pub last_leader_epoch: LeaderEpoch,
    /// Largest timestamp.
    pub max_timestamp: Timestamp,
    /// The broker's time for LogAppendTime, else [`Timestamp::NONE`]; for a duplicate the timestamp
    /// of the batch in the log.
    pub log_append_time: Timestamp,
    /// The log's start after the append.
    pub log_start_offset: Offset,
    /// Bytes written.
    pub size_in_bytes: usize,
    /// Number of records of a leader's append, for the metrics; 0 for a follower's.
    pub record_count: i64,
    /// The batch is in the log already: nothing was written.
    pub is_duplicate: bool,
    /// Records that were rebuilt (ProduceMessageConversionsPerSec).
    pub converted_records: i32,
    /// Memory that rebuilding took (TemporaryMemoryBytes).
    pub temporary_memory_bytes: usize,
}

/// Bytes to write and what the log has to know about them.
struct Planned {
    first_offset: Option<Offset>,
    last_offset: Offset,
    max_timestamp: Timestamp,
    shallow_offset_of_max_timestamp: Offset,
    size: u64,
}

impl Log {
    /// Validates what a client or a coordinator sent, assigns offsets and writes it. Nothing is
    /// written if anything is wrong.
    ///
    /// # Errors
    /// See [`AppendError`]; after an I/O error the log's directory is offline.
    pub fn append_as_leader(
        &mut self,
        records: Bytes,
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        guard: VerificationGuard,
        now: Timestamp,
    ) -> Result<AppendInfo, AppendError> {
        let size_max = Some(self.config.max_message_bytes);
        let info = analyze(&records, &self.topic_partition, origin, size_max)?;
        if info.batch_count == 0 {
            return Ok(self.nothing_appended());
        }
        self.prepare_to_append()?;
        let input = records.slice(..info.valid_bytes);
        let validated = validate_and_assign(
            input.clone(),
            &self.validation,
            self.log_end_offset(),
            now,
            origin,
            leader_epoch,
        )?;
        self.check_sizes(&validated)?;
        let result = self.note_epoch(leader_epoch, validated.first_offset);
        self.guard_append(result)?;
        let planned = Planned {
            first_offset: Some(validated.first_offset),
            last_offset: validated.last_offset,
            max_timestamp: validated.max_timestamp,
            shallow_offset_of_max_timestamp: validated.shallow_offset_of_max_timestamp,
            size: validated.batch.size_in_bytes() as u64,
        };
        let result = self.maybe_roll(&planned, now);
        self.guard_append(result)?;

        let effect = match self.check_producer(&validated, &input, origin, guard)? {
            ProducerCheck::Duplicate(batch) => return Ok(self.duplicate(&info, batch)),
            ProducerCheck::Fine(effect) => effect,
        };
        let result = self.write(validated.batch.parts(), &planned);
        self.guard_append(result)?;
        let result = self.apply(effect.iter(), planned.last_offset, now);
        self.guard_append(result)?;
        Ok(AppendInfo {
            first_offset: validated.first_offset,
            last_offset: validated.last_offset,
            last_leader_epoch: leader_epoch,
            max_timestamp: validated.max_timestamp,
            log_append_time: validated.log_append_time,
            log_start_offset: self.log_start_offset(),
            size_in_bytes: validated.batch.size_in_bytes(),
            record_count: validated.last_offset - validated.first_offset + 1,
            is_duplicate: false,
            converted_records: validated.converted_records,
            temporary_memory_bytes: validated.temporary_memory_bytes,
        })
    }

    /// Writes what a leader sent, as it is. Offsets must rise; gaps are legal.
    ///
    /// # Errors
    /// See [`AppendError`]; after an I/O error the log's directory is offline.
    pub fn append_as_follower(
        &mut self,
        records: Bytes,
        now: Timestamp,
    ) -> Result<AppendInfo, AppendError> {
        let origin = AppendOrigin::Replication;
        let info = analyze(&records, &self.topic_partition, origin, None)?;
        if info.batch_count == 0 {
            return Ok(self.nothing_appended());
        }
        self.prepare_to_append()?;
        if !info.offsets_rise {
            return Err(AppendError::OffsetsOutOfOrder(self.topic_partition.clone()));
        }
        let first_offset = info.first_offset.unwrap_or(info.last_offset_of_first_batch);
        if first_offset < self.log_end_offset() {
            return Err(AppendError::UnexpectedAppendOffset {
                topic_partition: self.topic_partition.clone(),
                first_offset,
                log_end_offset: self.log_end_offset(),
            });
        }
        let valid = &records[..info.valid_bytes];
        let mut epochs_changed = false;
        for batch in BatchIterator::new(valid).flatten() {
            epochs_changed |= match batch.magic {
                Magic::V2 => self
                    .epochs
                    .assign(batch.partition_leader_epoch, batch.base_offset()),
                Magic::V0 | Magic::V1 => self.epochs.clear(),
            };
        }
        if epochs_changed {
            let result = self.write_epochs();
            self.guard_append(result)?;
        }
        self.check_list_size(valid.len())?;
        let planned = Planned {
            first_offset: info.first_offset,
            last_offset: info.last_offset,
            max_timestamp: info.max_timestamp,
            shallow_offset_of_max_timestamp: info.shallow_offset_of_max_timestamp,
            size: valid.len() as u64,
        };
        let result = self.maybe_roll(&planned, now);
        self.guard_append(result)?;
        let effects = self.replicated_effects(valid)?;
        let result = self.write([valid, &[]], &planned);
        self.guard_append(result)?;
        let result = self.apply(effects.iter(), planned.last_offset, now);
        self.guard_append(result)?;
        Ok(AppendInfo {
            first_offset,
            last_offset: info.last_offset,
            last_leader_epoch: info.last_leader_epoch,
            max_timestamp: info.max_timestamp,
            log_append_time: Timestamp::NONE,
            log_start_offset: self.log_start_offset(),
            size_in_bytes: valid.len(),
            record_count: 0,
            is_duplicate: false,
            converted_records: 0,
            temporary_memory_bytes: 0,
        })
    }

    fn prepare_to_append(&mut self) -> Result<(), AppendError> {
        if self.is_out_of_service() {
            return Err(AppendError::Offline(self.topic_partition.clone()));
        }
        let result = self.write_pending_metadata();
        self.guard_append(result)
    }

    fn check_sizes(&self, validated: &ValidatedRecords) -> Result<(), AppendError> {
        let (size, limit) = (
            validated.batch.size_in_bytes(),
            self.config.max_message_bytes,
        );
        if validated.size_may_have_changed && size > limit {
            let topic_partition = self.topic_partition.clone();
            return Err(AppendError::MessageTooLarge {
                topic_partition,
                size,
                limit,
            });
        }
        self.check_list_size(size)
    }

    fn check_list_size(&self, size: usize) -> Result<(), AppendError> {
        let limit = self.config.segment_bytes;
        if size as u64 > limit {
            let topic_partition = self.topic_partition.clone();
            return Err(AppendError::RecordListTooLarge {
                topic_partition,
                size,
                limit,
            });
        }
        Ok(())
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> io::Result<()> {
        if self.epochs.assign(epoch, start_offset) {
            self.write_epochs()
        } else {
            Ok(())
        }
    }

    fn check_producer(
        &mut self,
        validated: &ValidatedRecords,
        input: &[u8],
        origin: AppendOrigin,
        guard: VerificationGuard,
    ) -> Result<ProducerCheck, AppendError> {
        let header = BatchHeader::parse(validated.batch.header_bytes());
        let header = header.map_err(ottla_record::AnalysisError::from)?;
        if !header.has_producer_id() {
            return Ok(ProducerCheck::Fine(None));
        }
        if origin == AppendOrigin::Client
            && let Some(known) = self.producers.producer(header.producer_id)
            && let Some(batch) = known.find_duplicate(
                header.producer_epoch,
                header.base_sequence,
                header.last_sequence(),
            )
        {
            return Ok(ProducerCheck::Duplicate(batch));
        }
        let id = header.producer_id;
        if header.is_transactional()
            && !self.producers.has_open_transaction(id)
            && self.lacks_verification(&header, origin, guard)
        {
            return Err(AppendError::Producer(
                ProducerError::InvalidTransactionState(
                    "Record was not part of an ongoing transaction".to_owned(),
                ),
            ));
        }
        // A marker is one uncompressed record: what was sent holds the same as what is written.
        let marker = if header.is_control() {
            marker_of(input)?
        } else {
            None
        };
        let mut info = self.producers.prepare_update(id, origin);
        let completed = self.take_in(&mut info, &header, marker)?;
        Ok(ProducerCheck::Fine(Some(Effect {
            info,
            completed,
            is_transactional: header.is_transactional(),
        })))
    }

    /// Transactional data needs the guard of its verification once verification has begun for the
    /// producer, and always when the caller says that it verified.
    fn lacks_verification(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
        guard: VerificationGuard,
    ) -> bool {
        let is_checked = matches!(origin, AppendOrigin::Client | AppendOrigin::Coordinator);
        is_checked
            && !header.is_control()
            && self.verifies_transactions
            && (guard == VerificationGuard::NONE
                || guard != self.producers.verification_guard(header.producer_id))
    }

    fn replicated_effects(&self, valid: &[u8]) -> Result<Vec<Effect>, AppendError> {
        let mut effects: Vec<Effect> = Vec::new();
        for batch in BatchIterator::new(valid)
            .flatten()
            .filter(|batch| batch.has_producer_id())
        {
            let id = batch.producer_id;
            let known = effects
                .iter()
                .rev()
                .find(|effect| effect.info.entry().producer_id == id);
            let mut info = match known {
                Some(effect) => effect.info.continued(),
                None => self.producers.prepare_update(id, AppendOrigin::Replication),
            };
            let marker = if batch.is_control() {
                marker_of(batch.bytes())?
            } else {
                None
            };
            if batch.is_control() && marker.is_none() {
                // The cleaner removed the whole transaction and kept the empty batch.
                continue;
            }
            let completed = self.take_in(&mut info, batch.header(), marker)?;
            let is_transactional = batch.is_transactional();
            effects.push(Effect {
                info,
                completed,
                is_transactional,
            });
        }
        Ok(effects)
    }

    fn take_in(
        &self,
        info: &mut ProducerAppendInfo,
        header: &BatchHeader,
        marker: Option<EndTransactionMarker>,
    ) -> Result<Option<CompletedTransaction>, ProducerError> {
        match marker {
            Some(marker) => info.append_marker(
                marker,
                header.producer_epoch,
                header.base_offset(),
                header.max_timestamp,
                &self.topic_partition,
            ),
            None if header.is_control() => Ok(None),
            None => info
                .append_data(header, &self.topic_partition)
                .map(|()| None),
        }
    }

    /// Writes bytes at the end of the active segment and moves the log's end.
    fn write(&mut self, parts: [&[u8]; 2], planned: &Planned) -> io::Result<()> {
        let segment = &self.active;
        let position = segment.size();
        let relative = planned.last_offset - segment.base_offset;
        if !(0..=i64::from(i32::MAX)).contains(&relative) || position > i32::MAX as u64 {
            return Err(io::Error::other(format!(
                "offset {} at byte {position} is out of reach of segment {}",
                planned.last_offset, segment.base_offset
            )));
        }
        let [first, second] = parts;
        let mut buffers = [IoSlice::new(first), IoSlice::new(second)];
        segment.file()?.write_all_at(&mut buffers, position)?;
        segment.set_size(position + planned.size);

        if position == 0 && planned.max_timestamp.0 >= 0 {
            self.active_state.first_timestamp = Some(planned.max_timestamp);
        }
        if planned.max_timestamp > segment.max_timestamp()?.timestamp {
            segment.set_max_timestamp(TimestampOffset {
                timestamp: planned.max_timestamp,
                offset: planned.shallow_offset_of_max_timestamp,
            });
        }
        if self.active_state.bytes_since_index_entry > self.config.index_interval_bytes {
            segment
                .offset_index
                .append(planned.last_offset, position as u32)?;
            segment
                .time_index
                .maybe_append(segment.max_timestamp()?, false)?;
            self.active_state.bytes_since_index_entry = 0;
        }
        self.active_state.bytes_since_index_entry += planned.size;

        let end = LogPosition {
            offset: planned.last_offset + 1,
            segment_base_offset: segment.base_offset,
            position: position + planned.size,
        };
        self.offsets.log_end_offset = end;
        self.remember_end(end);
        Ok(())
    }

    /// After the write: producers and transactions, what readers see, and a flush if due.
    fn apply<'a>(
        &mut self,
        effects: impl Iterator<Item = &'a Effect>,
        last_offset: Offset,
        now: Timestamp,
    ) -> io::Result<()> {
        for effect in effects {
            self.producers.update(&effect.info);
            if effect.is_transactional {
                self.producers
                    .clear_verification(effect.info.entry().producer_id);
            }
            if let Some(completed) = &effect.completed {
                let last_stable_offset = self.producers.last_stable_offset_after(completed);
                if completed.is_aborted {
                    self.active.transaction_index.append(AbortedTransaction {
                        producer_id: completed.producer_id,
                        first_offset: completed.first_offset,
                        last_offset: completed.last_offset,
                        last_stable_offset,
                    })?;
                }
                self.producers.complete(completed);
            }
        }
        self.producers.set_map_end_offset(last_offset + 1);
        self.publish();
        if self.log_end_offset() - self.recovery_point >= self.config.flush_messages {
            self.flush_all(now)?;
        }
        Ok(())
    }

    fn maybe_roll(&mut self, planned: &Planned, now: Timestamp) -> io::Result<()> {
        self.make_room_in_indexes()?;
        if self.should_roll(
            planned.size,
            planned.max_timestamp,
            planned.last_offset,
            now,
        )? {
            // A follower does not know the first offset of old formats: the largest base that the
            // last offset can be relative to is safe.
            let base = planned.first_offset;
            let base = base.unwrap_or(planned.last_offset - Offset::from(i32::MAX));
            self.roll_to(base, now)?;
        }
        Ok(())
    }

    fn nothing_appended(&self) -> AppendInfo {
        AppendInfo {
            first_offset: -1,
            last_offset: -1,
            last_leader_epoch: LeaderEpoch::NONE,
            max_timestamp: Timestamp::NONE,
            log_append_time: Timestamp::NONE,
            log_start_offset: self.log_start_offset(),
            size_in_bytes: 0,
            record_count: 0,
            is_duplicate: false,
            converted_records: 0,
            temporary_memory_bytes: 0,
        }
    }

    fn duplicate(&self, info: &BatchSetInfo, batch: BatchMetadata) -> AppendInfo {
        AppendInfo {
            first_offset: batch.first_offset(),
            last_offset: batch.last_offset,
            last_leader_epoch: info.last_leader_epoch,
            max_timestamp: Timestamp(batch.timestamp),
            log_append_time: Timestamp(batch.timestamp),
            is_duplicate: true,
            ..self.nothing_appended()
        }
    }

    fn guard_append<T>(&self, result: io::Result<T>) -> Result<T, AppendError> {
        self.guard(result).map_err(|error| match error {
            LogError::Io {
                topic_partition,
                error,
            } => AppendError::Io {
                topic_partition,
                error,
            },
            LogError::Offline(topic_partition) => AppendError::Offline(topic_partition),
            LogError::OffsetOutOfRange { .. } | LogError::InconsistentTopicId { .. } => {
                unreachable!("a guard reports I/O errors only")
            }
        })
    }
}

/// What an append does to one producer.
struct Effect {
    info: ProducerAppendInfo,
    completed: Option<CompletedTransaction>,
    is_transactional: bool,
}

#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for the length of one append"
)]
enum ProducerCheck {
    Duplicate(BatchMetadata),
    Fine(Option<Effect>),
}

/// The marker in a control batch; `None` without records or for markers of other kinds.
pub(super) fn marker_of(batch: &[u8]) -> Result<Option<EndTransactionMarker>, AppendError> {
    let corrupt = |error| AppendError::Validation(ottla_record::ValidationError::from(error));
    let batch = BatchView::parse(batch).map_err(ottla_record::AnalysisError::from)?;
    let records = batch.records(MARKER_BYTES_MAX).map_err(corrupt)?;
    match records.iter().map_err(corrupt)?.next() {
        None => Ok(None),
        Some(record) => EndTransactionMarker::parse(&record.map_err(corrupt)?).map_err(corrupt),
    }
}

const _: () = assert!(
    ProducerId::NONE.0 == -1,
    "a batch without producer bears −1"
);
