//! An idempotent producer with several requests on their way, as librdkafka's and Java's are by
//! default: what was not acknowledged is sent again, in order and in the same batches, once all
//! requests are back.

use std::collections::VecDeque;
use std::time::Duration;

use ottla_model::{BrokerId, ErrorCode, Offset, TopicPartition};
use ottla_replication::partition::Required;

use crate::checker::{Checker, Violation};
use crate::client::{Batch, Next, find_leader};
use crate::message::{CallId, Request, Response};
use crate::world::World;

/// `max.in.flight.requests.per.connection`: as many batches are known again by every broker.
const IN_FLIGHT_MAX: usize = 5;

/// How often there is more before all of a burst is acknowledged.
const SLIDE_PERCENT: u64 = 20;

pub(crate) struct PipelinedProducer {
    number: u32,
    partition: TopicPartition,
    leader: Option<BrokerId>,
    finds_leader: bool,
    /// Something went wrong: nothing is sent until all calls have ended.
    drains: bool,
    /// What is not acknowledged, and what is behind it, in order.
    window: VecDeque<Sent>,
    next: u64,
    /// Something was acknowledged. A log takes any batch for the first of a producer that it does
    /// not know, in Kafka too: until then a second request could overtake the first.
    is_known: bool,
    pause_ms_max: u64,
    pub(crate) is_stopping: bool,
}

struct Sent {
    batch: Batch,
    call: Option<CallId>,
    is_acknowledged: bool,
}

impl PipelinedProducer {
    pub(crate) fn new(number: u32, partition: TopicPartition, pause_ms_max: u64) -> Self {
        Self {
            number,
            partition,
            leader: None,
            finds_leader: false,
            drains: false,
            window: VecDeque::new(),
            next: 0,
            is_known: false,
            pause_ms_max,
            is_stopping: false,
        }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    fn waits(&self) -> bool {
        self.finds_leader || self.window.iter().any(|sent| sent.call.is_some())
    }

    /// How many batches come up: a burst of them, or some more behind those on their way.
    fn room(&self, world: &mut World) -> u64 {
        let goes_on = self.window.is_empty() || world.random.chance(SLIDE_PERCENT);
        let window = if self.is_known { IN_FLIGHT_MAX } else { 1 };
        let room = window.saturating_sub(self.window.len());
        if self.is_stopping || !goes_on || room == 0 {
            return 0;
        }
        world.random.between(1, room as u64)
    }

    pub(crate) fn act(&mut self, world: &mut World) -> Next {
        for _ in 0..self.room(world) {
            let batch = Batch::fill(world, self.number, &mut self.next, true);
            self.window.push_back(Sent {
                batch,
                call: None,
                is_acknowledged: false,
            });
        }
        if self.window.is_empty() || (self.drains && self.waits()) {
            return Next::Done;
        }
        self.drains = false;
        let Some(leader) = self.leader else {
            if self.waits() {
                return Next::Done;
            }
            let next = find_leader(world, &self.partition);
            self.finds_leader = matches!(next, Next::Call(..));
            return next;
        };
        let unsent = |sent: &&Sent| sent.call.is_none() && !sent.is_acknowledged;
        let request = |sent: &Sent| Request::Produce {
            partition: self.partition.clone(),
            required: Required::InSyncReplicas,
            transactional_id: None,
            records: sent.batch.records.clone(),
        };
        let requests = self.window.iter().filter(unsent).map(request);
        Next::Calls(leader, requests.collect())
    }

    /// What [`Self::act`] wanted sent has these names.
    pub(crate) fn sent(&mut self, calls: &[CallId]) {
        let unsent = |sent: &&mut Sent| sent.call.is_none() && !sent.is_acknowledged;
        for (sent, call) in self.window.iter_mut().filter(unsent).zip(calls) {
            sent.call = Some(*call);
        }
    }

    pub(crate) fn on_response(
        &mut self,
        world: &mut World,
        checker: &mut Checker,
        call: CallId,
        response: Option<Response>,
    ) -> Result<Duration, Violation> {
        let retry = world.random.millis(20, 200);
        let mut window = self.window.iter_mut();
        let place = window.position(|sent| sent.call == Some(call));
        let Some(place) = place else {
            self.finds_leader = false;
            if let Some(Response::Metadata { leader }) = response {
                self.leader = leader;
            }
            let found = self.leader.is_some();
            return Ok(if found { Duration::ZERO } else { retry });
        };
        self.window[place].call = None;
        match response {
            Some(Response::Produce {
                error: ErrorCode::None,
                base_offset,
                ..
            }) => {
                self.acknowledge(checker, place, base_offset)?;
                Ok(if self.window.is_empty() {
                    world.random.millis(0, self.pause_ms_max)
                } else {
                    Duration::ZERO
                })
            }
            Some(Response::Produce {
                error,
                leader_epoch,
                ..
            }) => {
                let is_current = checker
                    .state(&self.partition)
                    .is_some_and(|state| state.leader_epoch == leader_epoch);
                let is_retriable = match error {
                    ErrorCode::NotLeaderOrFollower
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::RequestTimedOut
                    | ErrorCode::NotEnoughReplicas
                    | ErrorCode::NotEnoughReplicasAfterAppend => true,
                    // Batches before it may not have come through, and a deposed leader does not
                    // know what was written since. All else must be known as written, or fit.
                    ErrorCode::OutOfOrderSequenceNumber => place > 0 || !is_current,
                    _ => false,
                };
                if !is_retriable {
                    return Err(format!(
                        "{}: producer {} is answered {error:?} for batch {place} of {}",
                        self.partition,
                        self.number,
                        self.window.len()
                    ));
                }
                self.give_up_connection();
                Ok(retry)
            }
            _ => {
                self.give_up_connection();
                Ok(retry)
            }
        }
    }

    fn acknowledge(
        &mut self,
        checker: &mut Checker,
        place: usize,
        base_offset: Offset,
    ) -> Result<(), Violation> {
        let sent = &mut self.window[place];
        sent.is_acknowledged = true;
        self.is_known = true;
        checker.acknowledged(&self.partition, base_offset, &sent.batch.ids)?;
        while self.window.front().is_some_and(|sent| sent.is_acknowledged) {
            self.window.pop_front();
        }
        Ok(())
    }

    fn give_up_connection(&mut self) {
        self.drains = true;
        self.leader = None;
    }
}
