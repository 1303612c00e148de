//! What a leader serves: producers, followers, consumers.

use bytes::Bytes;
use ottla_coordinator_runtime::AppendToken;
use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};
use ottla_record::AppendOrigin;
use ottla_replication::control::lookup_error;
use ottla_replication::delayed::{FetchReadiness, WaitingFetch, fetch_readiness};
use ottla_replication::fetcher::EpochQuery;
use ottla_replication::partition::{
    EpochEndOffset, ReadRequirement, Required, Surroundings, check_last_fetched_epoch,
};
use ottla_replication::replica::FollowerFetch;
use ottla_replication::{LogOffsetMetadata, LogOffsets};
use ottla_storage::{FetchIsolation, Log, LogPosition, LogReader, ReadError, VerificationGuard};

use super::transactions::{Appended, MarkerPlace};
use super::{Io, Process, Replica, offsets};
use crate::message::{CallId, FetchRequest, Fetched, FollowerPosition, Response};

/// `request.timeout.ms` of a producer.
const PRODUCE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// The most that a consumer takes at once, bytes.
const CONSUMER_BYTES_MAX: usize = 4_000;

/// A producer that waits for the in-sync replicas.
pub(super) struct WaitingProducer {
    pub(super) waiter: Waiter,
    base_offset: Offset,
    required_offset: Offset,
    pub(super) deadline: Instant,
}

/// Whom an append is for.
pub(super) enum Waiter {
    Client(CallId),
    Coordinator(Appended),
    Group(AppendToken),
    Marker(MarkerPlace),
}

/// A follower that waits for records.
pub(super) struct WaitingFetcher {
    request: FetchRequest,
    pub(super) deadline: Instant,
}

impl Process {
    pub(super) fn on_produce(
        &mut self,
        call: CallId,
        tp: &TopicPartition,
        (required, guard): (Required, VerificationGuard),
        records: Bytes,
        io: &mut Io<'_>,
    ) {
        let origin = (AppendOrigin::Client, guard);
        match self.append(tp, required, origin, records, io) {
            Err(error) => io.reply(
                call,
                Response::Produce {
                    error,
                    base_offset: -1,
                    leader_epoch: self.leads(tp).map_or(LeaderEpoch::NONE, |replica| {
                        replica.partition.leader_epoch()
                    }),
                },
            ),
            Ok((base_offset, last_offset)) => {
                self.touched.insert(tp.clone());
                let Some(replica) = self.replicas.get_mut(tp) else {
                    return;
                };
                if required == Required::InSyncReplicas {
                    replica.producers.push(WaitingProducer {
                        waiter: Waiter::Client(call),
                        base_offset,
                        required_offset: last_offset + 1,
                        deadline: io.now + PRODUCE_TIMEOUT,
                    });
                } else {
                    let response = Response::Produce {
                        error: ErrorCode::None,
                        base_offset,
                        leader_epoch: replica.partition.leader_epoch(),
                    };
                    io.reply(call, response);
                }
            }
        }
    }

    /// Appends as the leader of a partition, and queues one who waits for the in-sync replicas.
    pub(super) fn append_for(
        &mut self,
        tp: &TopicPartition,
        waiter: Waiter,
        guard: VerificationGuard,
        timeout: std::time::Duration,
        records: Bytes,
        io: &Io<'_>,
    ) -> Result<(), (Waiter, ErrorCode)> {
        let origin = (AppendOrigin::Coordinator, guard);
        match self.append(tp, Required::InSyncReplicas, origin, records, io) {
            Err(error) => Err((waiter, error)),
            Ok((base_offset, last_offset)) => {
                self.touched.insert(tp.clone());
                if let Some(replica) = self.replicas.get_mut(tp) {
                    replica.producers.push(WaitingProducer {
                        waiter,
                        base_offset,
                        required_offset: last_offset + 1,
                        deadline: io.now + timeout,
                    });
                }
                Ok(())
            }
        }
    }

    fn append(
        &mut self,
        tp: &TopicPartition,
        required: Required,
        (origin, guard): (AppendOrigin, VerificationGuard),
        records: Bytes,
        io: &Io<'_>,
    ) -> Result<(Offset, Offset), ErrorCode> {
        let min_insync_replicas = self.settings.min_insync_replicas;
        let missing = self.lookup_error(tp);
        let replica = self.replicas.get_mut(tp).ok_or(missing)?;
        let leader_epoch = replica
            .partition
            .may_append(required, min_insync_replicas)?;
        let log = replica.log.as_mut().ok_or(ErrorCode::NotLeaderOrFollower)?;
        let info = log
            .append_as_leader(records, leader_epoch, origin, guard, io.wall)
            .map_err(|error| error.code())?;
        let around = Surroundings {
            now: io.now,
            min_insync_replicas,
            is_alive: &|id| self.metadata.is_alive(id),
        };
        replica.advance_high_watermark(&around);
        Ok((info.first_offset, info.last_offset))
    }

    fn lookup_error(&self, tp: &TopicPartition) -> ErrorCode {
        lookup_error(self.hosted(tp), self.metadata.knows(tp))
    }

    pub(super) fn on_fetch(&mut self, call: CallId, request: FetchRequest, io: &mut Io<'_>) {
        let answers = self.read_all(&request, Some(io));
        if is_urgent(&answers) || request.partitions.is_empty() {
            io.reply(call, Response::Fetch(answers));
        } else {
            let deadline = io.now + self.settings.fetch_wait_max;
            self.fetches
                .insert(call, WaitingFetcher { request, deadline });
        }
    }

    /// Reads for a follower; the first time its progress is taken into account.
    fn read_all(&mut self, request: &FetchRequest, mut first: Option<&mut Io<'_>>) -> Vec<Fetched> {
        let mut left = self.settings.fetch_bytes_max;
        let mut min_one_batch = true;
        let mut answers = Vec::new();
        for position in &request.partitions {
            let read = self.read_for_follower(
                request,
                position,
                (left, min_one_batch),
                first.as_deref_mut(),
            );
            let fetched = read.unwrap_or_else(Fetched::failed);
            left = left.saturating_sub(fetched.records.len());
            min_one_batch &= fetched.records.is_empty();
            answers.push(fetched);
        }
        answers
    }

    fn read_for_follower(
        &mut self,
        request: &FetchRequest,
        position: &FollowerPosition,
        (bytes_max, min_one_batch): (usize, bool),
        first: Option<&mut Io<'_>>,
    ) -> Result<Fetched, ErrorCode> {
        let fetch = &position.fetch;
        let tp = &fetch.partition;
        let missing = self.lookup_error(tp);
        let replica = self.replicas.get_mut(tp).ok_or(missing)?;
        let claimed = Some(fetch.current_leader_epoch);
        replica
            .partition
            .may_read(claimed, ReadRequirement::Leader)?;
        replica
            .partition
            .check_follower(request.follower, claimed)?;
        let log = replica.log.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)?;
        let before = offsets(log);
        if let Some(epoch) = fetch.last_fetched_epoch {
            let end = end_of_epoch(log, epoch);
            if let Some(diverging) =
                check_last_fetched_epoch(epoch, fetch.fetch_offset, end, &before)?
            {
                return Ok(Fetched {
                    diverging_epoch: Some(diverging),
                    ..answer(&before)
                });
            }
        }
        let reader = log.reader();
        let records = read(
            &reader,
            fetch.fetch_offset,
            bytes_max,
            FetchIsolation::LogEnd,
            min_one_batch,
        )?;
        if let Some(io) = first {
            let progress = FollowerFetch {
                fetch_offset: fetch.fetch_offset,
                log_start_offset: position.log_start_offset,
                broker_epoch: request.broker_epoch,
                now: io.now,
                leader_log_end_offset: before.log_end_offset,
            };
            let around = Surroundings {
                now: io.now,
                min_insync_replicas: self.settings.min_insync_replicas,
                is_alive: &|id| self.metadata.is_alive(id),
            };
            let outcome = replica.partition.record_follower_fetch(
                request.follower,
                &progress,
                &before,
                &around,
            );
            if let (Some(log), Some(offset)) = (&mut replica.log, outcome.high_watermark) {
                log.update_high_watermark(offset);
            }
            self.touched.insert(tp.clone());
            if let Some(proposal) = outcome.proposal {
                self.submit_isr_change(tp, proposal);
            }
        }
        Ok(Fetched {
            records,
            ..answer(&before)
        })
    }

    pub(super) fn consume(
        &self,
        tp: &TopicPartition,
        fetch_offset: Offset,
        isolation: FetchIsolation,
    ) -> Fetched {
        self.read_for_consumer(tp, fetch_offset, isolation)
            .unwrap_or_else(Fetched::failed)
    }

    fn read_for_consumer(
        &self,
        tp: &TopicPartition,
        from: Offset,
        isolation: FetchIsolation,
    ) -> Result<Fetched, ErrorCode> {
        let missing = || self.lookup_error(tp);
        let replica = self.replicas.get(tp).ok_or_else(missing)?;
        replica.partition.may_read(None, ReadRequirement::Leader)?;
        let log = replica.log.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)?;
        let read = log
            .reader()
            .read(from, CONSUMER_BYTES_MAX, isolation, true)
            .map_err(|error| read_error(&error))?;
        let records = match read.slice {
            None => Bytes::new(),
            Some(slice) => slice.read().map_err(|_| ErrorCode::KafkaStorageError)?,
        };
        let open = log.describe_producers().into_iter().filter_map(|producer| {
            let first_offset = producer.current_transaction_start_offset;
            (first_offset >= 0).then_some((producer.producer_id, first_offset))
        });
        Ok(Fetched {
            records,
            aborted: read.aborted_transactions.unwrap_or_default(),
            open: open.collect(),
            ..answer(&offsets(log))
        })
    }

    pub(super) fn list_offsets(
        &self,
        tp: &TopicPartition,
        claimed: LeaderEpoch,
    ) -> Result<(Offset, Offset), ErrorCode> {
        let log = self.led_log(tp, claimed)?;
        Ok((log.log_end_offset(), log.log_start_offset()))
    }

    pub(super) fn epoch_end(&self, query: &EpochQuery) -> Result<EpochEndOffset, ErrorCode> {
        let log = self.led_log(&query.partition, query.current_leader_epoch)?;
        Ok(end_of_epoch(log, query.leader_epoch))
    }

    fn led_log(&self, tp: &TopicPartition, claimed: LeaderEpoch) -> Result<&Log, ErrorCode> {
        let missing = || self.lookup_error(tp);
        let replica = self.replicas.get(tp).ok_or_else(missing)?;
        let partition = &replica.partition;
        partition.may_read(Some(claimed), ReadRequirement::Leader)?;
        replica.log.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Answers the producers and followers that need not wait any longer.
    pub(super) fn complete_waiting(&mut self, io: &mut Io<'_>) {
        let min_insync_replicas = self.settings.min_insync_replicas;
        let mut done = Vec::new();
        for replica in self.replicas.values_mut() {
            let high_watermark = replica.offsets().high_watermark;
            let partition = &replica.partition;
            for waiting in std::mem::take(&mut replica.producers) {
                let ready = partition.produce_is_ready(
                    waiting.required_offset,
                    high_watermark,
                    min_insync_replicas,
                );
                let timed_out =
                    || (waiting.deadline <= io.now).then_some(ErrorCode::RequestTimedOut);
                match ready.or_else(timed_out) {
                    None => replica.producers.push(waiting),
                    Some(error) => done.push((waiting, error, partition.leader_epoch())),
                }
            }
        }
        for (waiting, error, leader_epoch) in done {
            match waiting.waiter {
                Waiter::Client(call) => {
                    let response = Response::Produce {
                        error,
                        base_offset: waiting.base_offset,
                        leader_epoch,
                    };
                    io.reply(call, response);
                }
                Waiter::Coordinator(appended) => {
                    self.transactions
                        .appended(appended, error, waiting.base_offset);
                }
                Waiter::Group(token) => self.groups.appended(token, error, waiting.base_offset),
                Waiter::Marker(place) => self.on_marker_done(place, error, io),
            }
        }
        self.forget_deleted();
        let look_again = !self.touched.is_empty();
        let ready: Vec<CallId> = self
            .fetches
            .iter()
            .filter(|(_, waiting)| {
                waiting.deadline <= io.now || (look_again && self.is_ready(&waiting.request))
            })
            .map(|(call, _)| *call)
            .collect();
        for call in ready {
            if let Some(waiting) = self.fetches.remove(&call) {
                let answers = self.read_all(&waiting.request, None);
                io.reply(call, Response::Fetch(answers));
            }
        }
    }

    fn is_ready(&self, request: &FetchRequest) -> bool {
        request.partitions.iter().any(|position| {
            let fetch = &position.fetch;
            let Some((replica, log)) = self.with_log(&fetch.partition) else {
                return true;
            };
            let reader = log.reader();
            let all = offsets(log);
            let Some(from) = place(&reader, fetch.fetch_offset) else {
                return true;
            };
            let Some(bound) = place(&reader, all.log_end_offset) else {
                return true;
            };
            let waiting = WaitingFetch {
                position: from,
                current_leader_epoch: Some(fetch.current_leader_epoch),
                last_fetched_epoch: fetch.last_fetched_epoch,
                partition_max_bytes: self.settings.fetch_bytes_max as u64,
                from: ReadRequirement::Leader,
                throttled: false,
            };
            let end = fetch
                .last_fetched_epoch
                .map(|epoch| end_of_epoch(log, epoch));
            fetch_readiness(&waiting, &replica.partition, &bound, end, &all)
                != FetchReadiness::Bytes(0)
        })
    }

    fn with_log(&self, tp: &TopicPartition) -> Option<(&Replica, &Log)> {
        let replica = self.replicas.get(tp)?;
        Some((replica, replica.log.as_ref()?))
    }

    /// Drops followers from the ISR that have not kept up.
    pub(super) fn shrink_isrs(&mut self, io: &Io<'_>) {
        let mut proposals = Vec::new();
        for (tp, replica) in &mut self.replicas {
            let end = replica.offsets().log_end_offset;
            if let Some(proposal) = replica.partition.propose_shrink(end, io.now) {
                proposals.push((tp.clone(), proposal));
            }
        }
        for (tp, proposal) in proposals {
            self.submit_isr_change(&tp, proposal);
        }
    }

    /// The replica, if this broker takes itself for the leader.
    pub(crate) fn leads(&self, tp: &TopicPartition) -> Option<&Replica> {
        self.replicas
            .get(tp)
            .filter(|replica| replica.partition.is_leader())
    }
}

fn is_urgent(answers: &[Fetched]) -> bool {
    answers.iter().any(|fetched| {
        !fetched.records.is_empty() || !fetched.error.is_none() || fetched.diverging_epoch.is_some()
    })
}

fn answer(log: &LogOffsets) -> Fetched {
    Fetched {
        high_watermark: log.high_watermark,
        log_start_offset: log.log_start_offset,
        ..Fetched::failed(ErrorCode::None)
    }
}

fn read(
    reader: &LogReader,
    from: Offset,
    bytes_max: usize,
    isolation: FetchIsolation,
    min_one_batch: bool,
) -> Result<Bytes, ErrorCode> {
    let read = reader.read(from, bytes_max, isolation, min_one_batch);
    let slice = read.map_err(|error| read_error(&error))?.slice;
    match slice {
        None => Ok(Bytes::new()),
        Some(slice) => slice.read().map_err(|_| ErrorCode::KafkaStorageError),
    }
}

fn read_error(error: &ReadError) -> ErrorCode {
    error.code()
}

pub(super) fn end_of_epoch(log: &Log, epoch: LeaderEpoch) -> EpochEndOffset {
    log.end_offset_for_epoch(epoch).map_or(
        EpochEndOffset::UNDEFINED,
        |(leader_epoch, end_offset)| EpochEndOffset {
            leader_epoch,
            end_offset,
        },
    )
}

fn place(reader: &LogReader, offset: Offset) -> Option<LogOffsetMetadata> {
    let place = reader
        .position_of(offset)
        .ok()
        .filter(LogPosition::is_placed)?;
    Some(LogOffsetMetadata {
        message_offset: place.offset,
        segment_base_offset: place.segment_base_offset,
        position_in_segment: place.position,
    })
}
