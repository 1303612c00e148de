//! One transactional id, and how it changes (`kafka.coordinator.transaction.TransactionMetadata`).

use std::collections::BTreeSet;

use ottla_model::{ErrorCode, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::records::TransactionLogValue;
use crate::state::TransactionState;

/// The highest epoch. No client ever gets it, so that its owner can always be fenced by it.
pub(crate) const PRODUCER_EPOCH_MAX: ProducerEpoch = ProducerEpoch(i16::MAX);

/// Whether an epoch is the last one that a client may have.
pub(crate) fn is_epoch_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.0 >= PRODUCER_EPOCH_MAX.0 - 1
}

/// A transactional id in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transaction {
    pub(crate) producer_id: ProducerId,
    /// The producer before the last InitProducerId; not in the log.
    pub(crate) last_producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    /// The epoch that the client had before the last InitProducerId, if it told; not in the log.
    pub(crate) last_producer_epoch: ProducerEpoch,
    pub(crate) timeout_ms: i32,
    pub(crate) state: TransactionState,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// When the last transaction began: InitProducerId leaves it in memory as it was.
    pub(crate) start_timestamp: Timestamp,
    pub(crate) last_update_timestamp: Timestamp,
    /// The state that a transition under way leads to; no other may begin.
    pub(crate) pending: Option<TransactionState>,
    /// The record of a fence was refused: the raised epoch has been given to nobody, and serves
    /// for the next fence.
    pub(crate) has_failed_epoch_fence: bool,
    /// What is to be written once `partitions` have their markers.
    pub(crate) completion: Option<Transition>,
}

/// A change that takes effect when its record is durable (`TxnTransitMetadata`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transition {
    pub(crate) value: TransactionLogValue,
    pub(crate) last_producer_epoch: ProducerEpoch,
}

impl Transaction {
    /// An id that is used for the first time: it has no epoch before the first transition.
    pub(crate) fn new(producer_id: ProducerId, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_id,
            last_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp: Timestamp::NONE,
            last_update_timestamp: now,
            pending: None,
            has_failed_epoch_fence: false,
            completion: None,
        }
    }

    /// An id as the log has it.
    pub(crate) fn loaded(value: TransactionLogValue) -> Self {
        Self {
            producer_id: value.producer_id,
            last_producer_id: ProducerId::NONE,
            producer_epoch: value.producer_epoch,
            last_producer_epoch: ProducerEpoch::NONE,
            timeout_ms: value.timeout_ms,
            state: value.state,
            partitions: value.partitions,
            start_timestamp: value.start_timestamp,
            last_update_timestamp: value.last_update_timestamp,
            pending: None,
            has_failed_epoch_fence: false,
            completion: None,
        }
    }

    /// To Empty with the next epoch, or with the same one again for a client that did not get the
    /// answer (KIP-360).
    ///
    /// # Errors
    /// PRODUCER_FENCED for a client with an old epoch; UNKNOWN_SERVER_ERROR, as in Kafka, for one
    /// with an old epoch when there is no next one.
    pub(crate) fn prepare_increment_producer_epoch(
        &mut self,
        timeout_ms: i32,
        expected: Option<ProducerEpoch>,
        now: Timestamp,
    ) -> Result<Transition, ErrorCode> {
        if is_epoch_exhausted(self.producer_epoch) {
            return Err(ErrorCode::UnknownServerError);
        }
        let next = ProducerEpoch(self.producer_epoch.0 + 1);
        let (epoch, last_epoch) = match expected {
            None => (next, ProducerEpoch::NONE),
            Some(expected)
                if self.producer_epoch == ProducerEpoch::NONE
                    || expected == self.producer_epoch =>
            {
                (next, self.producer_epoch)
            }
            Some(expected) if expected == self.last_producer_epoch => {
                (self.producer_epoch, self.last_producer_epoch)
            }
            Some(_) => return Err(ErrorCode::ProducerFenced),
        };
        Ok(self.prepare_empty(self.producer_id, epoch, last_epoch, timeout_ms, now))
    }

    /// To Empty under a new producer id: the old one has no epoch left.
    pub(crate) fn prepare_producer_id_rotation(
        &mut self,
        producer_id: ProducerId,
        timeout_ms: i32,
        record_last_epoch: bool,
        now: Timestamp,
    ) -> Transition {
        let last_epoch = if record_last_epoch {
            self.producer_epoch
        } else {
            ProducerEpoch::NONE
        };
        self.prepare_empty(producer_id, ProducerEpoch(0), last_epoch, timeout_ms, now)
    }

    /// To Ongoing with more partitions.
    pub(crate) fn prepare_add_partitions(
        &mut self,
        added: BTreeSet<TopicPartition>,
        now: Timestamp,
    ) -> Transition {
        let start_timestamp = if self.state == TransactionState::Ongoing {
            self.start_timestamp
        } else {
            now
        };
        let mut partitions = self.partitions.clone();
        partitions.extend(added);
        let value = TransactionLogValue {
            partitions,
            start_timestamp,
            ..self.value_in(TransactionState::Ongoing, now)
        };
        self.prepare(value, self.last_producer_epoch)
    }

    /// To PrepareCommit or PrepareAbort.
    pub(crate) fn prepare_abort_or_commit(
        &mut self,
        state: TransactionState,
        now: Timestamp,
    ) -> Transition {
        let value = self.value_in(state, now);
        self.prepare(value, self.last_producer_epoch)
    }

    /// Raises the epoch, so that whoever has the one before is fenced, and goes to PrepareAbort.
    pub(crate) fn prepare_fenced_abort(&mut self, now: Timestamp) -> Transition {
        if !self.has_failed_epoch_fence {
            // Only a log that no coordinator wrote has an open transaction with the last epoch.
            self.producer_epoch = ProducerEpoch(self.producer_epoch.0.saturating_add(1));
        }
        self.last_producer_epoch = ProducerEpoch::NONE;
        self.prepare_abort_or_commit(TransactionState::PrepareAbort, now)
    }

    /// From PrepareX to CompleteX, to be written when all markers are.
    pub(crate) fn prepare_complete(&mut self, now: Timestamp) -> Transition {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        self.has_failed_epoch_fence = false;
        let value = TransactionLogValue {
            partitions: BTreeSet::new(),
            ..self.value_in(state, now)
        };
        self.prepare(value, self.last_producer_epoch)
    }

    /// Marks the id as one that is being forgotten.
    pub(crate) fn prepare_dead(&mut self) {
        self.set_pending(TransactionState::Dead);
    }

    /// The transition's record is durable.
    pub(crate) fn complete(&mut self, transition: Transition) {
        let Transition {
            value,
            last_producer_epoch,
        } = transition;
        assert_eq!(
            self.pending,
            Some(value.state),
            "only the transition that was prepared is completed"
        );
        match value.state {
            TransactionState::Empty => {
                self.last_producer_id = self.producer_id;
                self.producer_id = value.producer_id;
                self.producer_epoch = value.producer_epoch;
                self.last_producer_epoch = last_producer_epoch;
                self.timeout_ms = value.timeout_ms;
            }
            TransactionState::Ongoing
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => {
                self.start_timestamp = value.start_timestamp;
                self.partitions = value.partitions;
            }
            TransactionState::PrepareCommit
            | TransactionState::PrepareAbort
            | TransactionState::PrepareEpochFence
            | TransactionState::Dead => {}
        }
        self.last_update_timestamp = value.last_update_timestamp;
        self.state = value.state;
        self.pending = None;
    }

    fn prepare_empty(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        last_producer_epoch: ProducerEpoch,
        timeout_ms: i32,
        now: Timestamp,
    ) -> Transition {
        assert!(
            !is_epoch_exhausted(ProducerEpoch(producer_epoch.0 - 1)),
            "the last epoch is kept for fencing"
        );
        let value = TransactionLogValue {
            producer_id,
            producer_epoch,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            last_update_timestamp: now,
            start_timestamp: Timestamp::NONE,
        };
        self.prepare(value, last_producer_epoch)
    }

    fn value_in(&self, state: TransactionState, now: Timestamp) -> TransactionLogValue {
        TransactionLogValue {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            timeout_ms: self.timeout_ms,
            state,
            partitions: self.partitions.clone(),
            last_update_timestamp: now,
            start_timestamp: self.start_timestamp,
        }
    }

    fn prepare(
        &mut self,
        value: TransactionLogValue,
        last_producer_epoch: ProducerEpoch,
    ) -> Transition {
        self.set_pending(value.state);
        Transition {
            value,
            last_producer_epoch,
        }
    }

    fn set_pending(&mut self, state: TransactionState) {
        assert_eq!(self.pending, None, "one transition at a time");
        assert!(
            state.valid_previous_states().contains(&self.state),
            "{} does not lead to {state}",
            self.state
        );
        self.pending = Some(state);
    }
}
