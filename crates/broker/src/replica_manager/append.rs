//! Appending as leader: inline on the caller's thread under the partition's lock, then waiting for
//! the in-sync replicas if asked to (`ReplicaManager.appendRecords`, `DelayedProduce`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use ottla_record::AppendOrigin;
use ottla_replication::partition::Required;
use ottla_storage::{AppendError, AppendInfo, VerificationGuard};

use super::ReplicaManager;
use super::hosted::{Effects, Fetches, HostedPartition, advance_high_watermark};
use crate::purgatory::{Countdown, QueuePlace};

/// Records for one partition, looked up already.
pub(crate) struct AppendEntry {
    /// The partition, or why it cannot be written to.
    pub(crate) hosted: Result<Arc<HostedPartition>, ErrorCode>,
    /// One or more batches.
    pub(crate) records: Bytes,
    /// Of the verification of a transactional batch, if it had to be verified.
    pub(crate) guard: VerificationGuard,
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// The error.
    pub error: ErrorCode,
    /// The offset of the first record; −1 if nothing was appended.
    pub base_offset: Offset,
    /// The broker's time if the topic uses LogAppendTime, else −1.
    pub log_append_time: Timestamp,
    /// First readable offset of the partition; −1 if it is not known.
    pub log_start_offset: Offset,
    /// Single records that are to blame: their index in the batch, and why.
    pub record_errors: Vec<(i32, String)>,
    /// Why, where Kafka says it in words.
    pub error_message: Option<String>,
}

impl AppendOutcome {
    fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            base_offset: -1,
            log_append_time: Timestamp::NONE,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
        }
    }

    /// Records that the log was not asked to take.
    pub(crate) fn refused(error: ErrorCode, message: Option<String>) -> Self {
        Self {
            error_message: message,
            ..Self::failed(error)
        }
    }

    fn appended(info: &AppendInfo) -> Self {
        Self {
            error: ErrorCode::None,
            base_offset: info.first_offset,
            log_append_time: info.log_append_time,
            log_start_offset: info.log_start_offset,
            ..Self::failed(ErrorCode::None)
        }
    }
}

/// A partition that a request still waits for.
struct Pending {
    entry: usize,
    hosted: Arc<HostedPartition>,
    required_offset: Offset,
}

impl ReplicaManager {
    /// Appends to partitions that this broker leads and answers when `required_acks` are in or
    /// `timeout` has passed (then REQUEST_TIMED_OUT; the records stay). The answers are in the
    /// order of the entries.
    pub async fn append_records(
        &self,
        timeout: Duration,
        required_acks: i16,
        internal_topics_allowed: bool,
        origin: AppendOrigin,
        entries: Vec<(TopicPartition, Bytes)>,
    ) -> Vec<(TopicPartition, AppendOutcome)> {
        let Some(required) = Required::from_acks(required_acks) else {
            let refused = AppendOutcome::failed(ErrorCode::InvalidRequiredAcks);
            return entries
                .into_iter()
                .map(|(tp, _)| (tp, refused.clone()))
                .collect();
        };
        let mut partitions = Vec::with_capacity(entries.len());
        let mut lookups = Vec::with_capacity(entries.len());
        for (tp, records) in entries {
            let hosted = if tp.topic.is_internal() && !internal_topics_allowed {
                Err(ErrorCode::InvalidTopicException)
            } else {
                self.find_online(tp.topic.as_str(), tp.partition)
            };
            lookups.push(AppendEntry {
                hosted,
                records,
                guard: VerificationGuard::NONE,
            });
            partitions.push(tp);
        }
        let outcomes = self.append(timeout, required, origin, lookups).await;
        partitions.into_iter().zip(outcomes).collect()
    }

    /// The same for partitions that are looked up already and may be written to.
    pub(crate) async fn append(
        &self,
        timeout: Duration,
        required: Required,
        origin: AppendOrigin,
        entries: Vec<AppendEntry>,
    ) -> Vec<AppendOutcome> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut pending = Vec::new();
        for (entry, wanted) in entries.into_iter().enumerate() {
            let AppendEntry {
                hosted,
                records,
                guard,
            } = wanted;
            let outcome = match hosted {
                Err(error) => {
                    self.counts.produce_began(None);
                    self.counts.produce_failed(None, error, records.len());
                    AppendOutcome::failed(error)
                }
                Ok(hosted) => {
                    self.counts.produce_began(Some(&hosted.topic_counts));
                    let size = records.len();
                    let (outcome, waits_for) =
                        self.append_one(&hosted, required, origin, records, guard);
                    let topic_counts = Some(&*hosted.topic_counts);
                    self.counts
                        .produce_failed(topic_counts, outcome.error, size);
                    if let Some(required_offset) = waits_for {
                        pending.push(Pending {
                            entry,
                            hosted,
                            required_offset,
                        });
                    }
                    outcome
                }
            };
            outcomes.push(outcome);
        }
        if !pending.is_empty() {
            self.wait_for_replicas(timeout, pending, &mut outcomes)
                .await;
        }
        outcomes
    }

    /// Appends under the partition's lock. The second value is the offset that the high watermark
    /// must reach before the producer is answered, if it has not yet.
    fn append_one(
        &self,
        hosted: &HostedPartition,
        required: Required,
        origin: AppendOrigin,
        records: Bytes,
        guard: VerificationGuard,
    ) -> (AppendOutcome, Option<Offset>) {
        let bytes = records.len();
        let mut effects = Effects::default();
        let result = {
            let mut inner = hosted.lock();
            let inner = &mut *inner;
            let min_isr = inner.min_insync_replicas();
            let Some(log) = &inner.log else {
                return (AppendOutcome::failed(ErrorCode::NotLeaderOrFollower), None);
            };
            let mut log = log.lock();
            let leader_epoch = match inner.partition.may_append(required, min_isr) {
                Ok(leader_epoch) => leader_epoch,
                Err(error) => return (refused(error, log.log_start_offset()), None),
            };
            // It may have changed since the log was opened; the caller that verifies reads it too.
            log.set_transaction_verification(
                self.configs
                    .broker()
                    .transaction_partition_verification_enable,
            );
            let wall = self.clock.wall();
            match log.append_as_leader(records, leader_epoch, origin, guard, wall) {
                Err(error) => Err((error, log.log_start_offset())),
                Ok(info) => {
                    let now = self.clock.now();
                    let is_committed = advance_high_watermark(
                        &inner.partition,
                        &mut log,
                        &inner.config,
                        now,
                        &self.metadata_cache,
                    );
                    let high_watermark = log.high_watermark();
                    drop(log);
                    if is_committed {
                        inner.take_produced(&mut effects);
                    }
                    effects.fetches = Fetches::Appended {
                        bytes,
                        is_committed,
                    };
                    let required_offset = info.last_offset + 1;
                    let waits = required == Required::InSyncReplicas
                        && inner
                            .partition
                            .produce_is_ready(required_offset, high_watermark, min_isr)
                            .is_none_or(|error| !error.is_none());
                    Ok((info, waits.then_some(required_offset)))
                }
            }
        };
        match result {
            Ok((info, waits_for)) => {
                hosted.carry_out(effects);
                self.counts.appended(
                    &hosted.topic_counts,
                    bytes,
                    info.record_count,
                    info.converted_records,
                );
                (AppendOutcome::appended(&info), waits_for)
            }
            Err((error, log_start_offset)) => {
                (self.explain(hosted, &error, log_start_offset), None)
            }
        }
    }

    /// Begins to verify a producer's transaction on a partition that this broker leads: the guard
    /// that the append has to bear, or [`VerificationGuard::NONE`] if its transaction is open.
    ///
    /// # Errors
    /// Why the partition cannot be appended to.
    pub(crate) fn start_verification(
        &self,
        hosted: &HostedPartition,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        base_sequence: i32,
    ) -> Result<VerificationGuard, ErrorCode> {
        let inner = hosted.lock();
        let log = inner.log.as_ref().filter(|_| inner.partition.is_leader());
        let mut log = log.ok_or(ErrorCode::NotLeaderOrFollower)?.lock();
        let now = self.clock.wall();
        Ok(log.maybe_start_transaction_verification(
            producer_id,
            base_sequence,
            producer_epoch,
            now,
        ))
    }

    /// Kafka's words for a failed append. Errors that are the broker's own fault are logged.
    fn explain(
        &self,
        hosted: &HostedPartition,
        error: &AppendError,
        log_start_offset: Offset,
    ) -> AppendOutcome {
        let code = error.code();
        if matches!(
            code,
            ErrorCode::UnknownServerError | ErrorCode::KafkaStorageError
        ) {
            tracing::error!(partition = %hosted.topic_partition(), %error, "append failed");
        }
        let record_errors = error
            .record_errors()
            .iter()
            .map(|record| (record.batch_index, record.message.to_string()))
            .collect();
        AppendOutcome {
            record_errors,
            error_message: error.custom_message().map(str::to_owned),
            ..refused(code, log_start_offset)
        }
    }

    async fn wait_for_replicas(
        &self,
        timeout: Duration,
        pending: Vec<Pending>,
        outcomes: &mut [AppendOutcome],
    ) {
        let _waits = self.counts.waiting_produces.enter(pending.len());
        let request = Countdown::new(pending.len());
        let mut places = Places::default();
        for (part, waiting) in pending.iter().enumerate() {
            let mut inner = waiting.hosted.lock();
            let min_isr = inner.min_insync_replicas();
            let high_watermark = inner.offsets().high_watermark;
            match inner
                .partition
                .produce_is_ready(waiting.required_offset, high_watermark, min_isr)
            {
                Some(answer) => request.complete(part, answer),
                None => {
                    let place = inner.produce_queue.push(
                        waiting.required_offset,
                        Arc::clone(&request),
                        part,
                    );
                    places.0.push((Arc::clone(&waiting.hosted), place));
                }
            }
        }
        let deadline = tokio::time::Instant::now() + timeout;
        let answers = request.wait_until(deadline).await;
        drop(places);
        for (waiting, answer) in pending.iter().zip(answers) {
            outcomes[waiting.entry].error = answer.unwrap_or(ErrorCode::RequestTimedOut);
        }
    }
}

/// Waits until everything before `offset` is replicated to the in-sync replicas, for as long as this
/// broker leads the partition: the high watermark then.
///
/// # Errors
/// NOT_LEADER_OR_FOLLOWER: the leadership ended.
pub(crate) async fn wait_until_replicated(
    hosted: Arc<HostedPartition>,
    offset: Offset,
) -> Result<Offset, ErrorCode> {
    loop {
        let request = Countdown::new(1);
        let mut places = Places::default();
        {
            let mut inner = hosted.lock();
            if !inner.partition.is_leader() {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            let high_watermark = inner.offsets().high_watermark;
            if high_watermark >= offset {
                return Ok(high_watermark);
            }
            let place = inner.produce_queue.push(offset, Arc::clone(&request), 0);
            places.0.push((Arc::clone(&hosted), place));
        }
        request.wait().await;
    }
}

/// The places of a waiting request in the queues of its partitions, given up when it is answered
/// or its client goes away.
#[derive(Default)]
struct Places(Vec<(Arc<HostedPartition>, QueuePlace)>);

impl Drop for Places {
    fn drop(&mut self) {
        for (hosted, place) in &self.0 {
            hosted.lock().produce_queue.remove(place);
        }
    }
}

/// A refusal with the log start where Kafka tells it: errors that a healthy producer meets carry
/// none.
fn refused(error: ErrorCode, log_start_offset: Offset) -> AppendOutcome {
    let tells_nothing = matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::CorruptMessage
            | ErrorCode::KafkaStorageError
    );
    AppendOutcome {
        log_start_offset: if tells_nothing { -1 } else { log_start_offset },
        ..AppendOutcome::failed(error)
    }
}
