//! What must hold, whatever happens. Checked as it happens, never by the nodes themselves.
//!
//! - *Committed* is what some leader's high watermark has passed. It is the same on every replica
//!   whose own high watermark has passed it, and every member of the ISR has it.
//! - A record that was acknowledged (acks=all) is committed, and its producer's records are there
//!   once each and in order.
//! - Of transactions see `transaction_checker`.
//! - Leader epochs never fall; a leader's high watermark never falls within its epoch.
//! - Partition states are written by the newest controller only; their ISR is part of the
//!   assignment and not empty, and holds the leader.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_coordination::paths;
use ottla_coordination::payloads::{
    TopicAssignment, decode_controller_epoch, decode_partition_state,
};
use ottla_coordination::tree::{Change, Transaction};
use ottla_group_coordinator::records::read_offset_commit_value;
use ottla_model::ids::{GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC};
use ottla_model::{
    BrokerId, ControllerEpoch, LeaderAndIsr, LeaderEpoch, Offset, ProducerId, TopicPartition,
};
use ottla_record::{BatchIterator, BatchView, DECOMPRESSED_SIZE_MAX, TransactionResult};
use ottla_storage::{FetchIsolation, Log, LogReader};

use crate::broker::Replica;
use crate::client::RecordId;
use crate::message::Fetched;
use crate::settings::Settings;
use crate::transaction_checker::{Transactions, read_marker};

/// A promise that was broken, in words.
pub(crate) type Violation = String;

/// The most that is read at once, bytes.
const READ_BYTES_MAX: usize = 1 << 20;

impl Model {
    /// Whether no replicated marker has ended the transaction that an offset belongs to.
    fn is_open(&self, producer_id: ProducerId, offset: Offset) -> bool {
        let open = self.open.get(&producer_id);
        open.is_some_and(|records| records.iter().any(|(open, _)| *open == offset))
    }
}

/// What is known of one partition.
#[derive(Default)]
struct Model {
    assignment: Vec<BrokerId>,
    /// Replicas that a running reassignment adds.
    adding: Vec<BrokerId>,
    /// Replicas that a reassignment is about to remove. The controller tells the leader of the new
    /// assignment before it takes them out of the ISR, and from then on the high watermark does not
    /// wait for them (`onPartitionReassignment`, steps B3 and B4).
    removing: Vec<BrokerId>,
    state: Option<LeaderAndIsr>,
    /// Committed batches: last offset and hash, by base offset.
    batches: BTreeMap<Offset, (Offset, u64)>,
    /// End of what is committed.
    end: Offset,
    records: BTreeMap<Offset, RecordId>,
    /// The last record of each idempotent producer.
    last: BTreeMap<u32, u64>,
    /// Records of open transactions.
    open: BTreeMap<ProducerId, Vec<(Offset, RecordId)>>,
    /// Offsets of records whose transaction was aborted.
    aborted: BTreeSet<Offset>,
    /// In the partition of `__consumer_offsets`: what is committed for each client.
    offsets: BTreeMap<u32, RecordId>,
}

#[derive(Default)]
pub(crate) struct Checker {
    partitions: BTreeMap<TopicPartition, Model>,
    /// To where each replica was compared with what is committed.
    compared: BTreeMap<(BrokerId, TopicPartition), Offset>,
    /// Of each replica: its life, its leader epoch, and its high watermark if it leads.
    seen: BTreeMap<(BrokerId, TopicPartition), (u64, LeaderEpoch, Option<Offset>)>,
    controller_epoch: ControllerEpochSeen,
    /// Replicas that lost unsynced bytes and have not left the ISR since.
    damaged: BTreeSet<(BrokerId, TopicPartition)>,
    /// Replicas that lost unsynced bytes and have not joined the ISR again since: what they took
    /// for committed when they started may be gone or, cut back before but not durably, come back.
    outsiders: BTreeSet<(BrokerId, TopicPartition)>,
    /// Brokers that have not started since they lost unsynced bytes.
    without_power: BTreeSet<BrokerId>,
    acknowledged: u64,
    pub(crate) transactions: Transactions,
}

#[derive(Default)]
struct ControllerEpochSeen {
    epoch: i32,
    /// The session that wrote it.
    session: i64,
}

// What the coordination service holds.
impl Checker {
    /// Takes a write into account; the partitions whose state it changed.
    pub(crate) fn on_transaction(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Vec<TopicPartition>, Violation> {
        let mut changed = Vec::new();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } | Change::SetData { path, data } => {
                    let data = data.as_deref().unwrap_or_default();
                    if path == paths::CONTROLLER_EPOCH {
                        self.on_controller_epoch(data, transaction.session)?;
                    } else if let Some(tp) = paths::parse_partition_state(path) {
                        if !data.is_empty() {
                            self.on_state(&tp, data, transaction.session)?;
                            changed.push(tp);
                        }
                    } else if let Some(topic) = paths::parse_topic(path) {
                        let assignment = TopicAssignment::decode(data)
                            .map_err(|error| format!("{path}: {error}"))?;
                        for (index, assignment) in assignment.partitions {
                            let tp = TopicPartition::new(topic.clone(), index);
                            let model = self.partitions.entry(tp).or_default();
                            model.assignment = assignment.replicas;
                            model.adding = assignment.adding;
                            model.removing = assignment.removing;
                        }
                    }
                }
                Change::Delete { path } => {
                    if let Some(topic) = paths::parse_topic(path) {
                        self.partitions.retain(|tp, _| tp.topic != topic);
                        self.compared.retain(|(_, tp), _| tp.topic != topic);
                        self.seen.retain(|(_, tp), _| tp.topic != topic);
                    }
                }
                Change::OpenSession | Change::CloseSession => {}
            }
        }
        Ok(changed)
    }

    fn on_controller_epoch(&mut self, data: &[u8], session: i64) -> Result<(), Violation> {
        let ControllerEpoch(epoch) = decode_controller_epoch(data)
            .map_err(|error| format!("{}: {error}", paths::CONTROLLER_EPOCH))?;
        let before = self.controller_epoch.epoch;
        if epoch < before {
            return Err(format!(
                "the controller epoch falls from {before} to {epoch}"
            ));
        }
        self.controller_epoch = ControllerEpochSeen { epoch, session };
        Ok(())
    }

    fn on_state(
        &mut self,
        tp: &TopicPartition,
        data: &[u8],
        session: i64,
    ) -> Result<(), Violation> {
        let state =
            decode_partition_state(data, 0).map_err(|error| format!("state of {tp}: {error}"))?;
        let controller = &self.controller_epoch;
        if state.controller_epoch.0 != controller.epoch || session != controller.session {
            return Err(format!(
                "{tp}: session {session} wrote {state:?}, but controller epoch {} of session {} is in effect",
                controller.epoch, controller.session
            ));
        }
        let model = self.partitions.entry(tp.clone()).or_default();
        let is_assigned = |id: &BrokerId| model.assignment.contains(id);
        if state.isr.is_empty() || !state.isr.iter().all(is_assigned) {
            return Err(format!(
                "{tp}: ISR of {state:?} is not part of the assignment {:?}",
                model.assignment
            ));
        }
        if state.leader != BrokerId::NONE && !state.isr.contains(&state.leader) {
            return Err(format!("{tp}: leader of {state:?} is not in sync"));
        }
        if let Some(before) = &model.state
            && (state.leader_epoch < before.leader_epoch
                || (state.leader_epoch == before.leader_epoch && state.leader != before.leader))
        {
            return Err(format!("{tp}: leadership {before:?} becomes {state:?}"));
        }
        let joined: Vec<_> = self
            .outsiders
            .iter()
            .filter(|(broker, of)| of == tp && state.isr.contains(broker))
            .cloned()
            .collect();
        for replica in joined {
            self.outsiders.remove(&replica);
            // What a leader asked for before the power failed counts for what was lost by it.
            if self.without_power.contains(&replica.0) {
                self.damaged.insert(replica);
            }
        }
        let left: Vec<_> = self
            .damaged
            .iter()
            .filter(|(broker, of)| of == tp && !state.isr.contains(broker))
            .cloned()
            .collect();
        for replica in left {
            self.damaged.remove(&replica);
            self.outsiders.insert(replica);
        }
        model.state = Some(state);
        Ok(())
    }

    /// A broker has lost bytes that were not synced.
    pub(crate) fn on_power_failure(&mut self, broker: BrokerId) {
        self.compared.retain(|(of, _), _| *of != broker);
        self.without_power.insert(broker);
        for (tp, model) in &self.partitions {
            let in_sync = |state: &LeaderAndIsr| state.isr.contains(&broker);
            if model.state.as_ref().is_some_and(in_sync) {
                self.damaged.insert((broker, tp.clone()));
            } else {
                self.outsiders.insert((broker, tp.clone()));
            }
        }
    }

    /// A broker starts.
    pub(crate) fn on_start(&mut self, broker: BrokerId) {
        self.without_power.remove(&broker);
    }

    /// Whether a broker has been in a partition's ISR since before it lost unsynced bytes.
    pub(crate) fn is_damaged(&self, broker: BrokerId, tp: &TopicPartition) -> bool {
        self.damaged.contains(&(broker, tp.clone()))
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    pub(crate) fn state(&self, tp: &TopicPartition) -> Option<&LeaderAndIsr> {
        self.partitions.get(tp)?.state.as_ref()
    }

    pub(crate) fn assignment(&self, tp: &TopicPartition) -> &[BrokerId] {
        self.partitions
            .get(tp)
            .map_or(&[], |model| &model.assignment)
    }

    /// Whether all replicas that were there before a running reassignment are in sync.
    pub(crate) fn origin_is_in_sync(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_some_and(|model| {
            let in_sync = |id| model.state.as_ref().is_some_and(|s| s.isr.contains(id));
            let mut replicas = model.assignment.iter();
            replicas.all(|id| model.adding.contains(id) || in_sync(id))
        })
    }

    /// The members of the ISR that must have all that is committed.
    pub(crate) fn trusted_isr(&self, tp: &TopicPartition) -> Vec<BrokerId> {
        let Some(model) = self.partitions.get(tp) else {
            return Vec::new();
        };
        let isr = model.state.as_ref().map_or(&[][..], |state| &state.isr);
        let trusted = |id: &&BrokerId| {
            !model.removing.contains(id) && !self.damaged.contains(&(**id, tp.clone()))
        };
        isr.iter().filter(trusted).copied().collect()
    }
}

// Replicas and what is committed.
impl Checker {
    /// Looks at a replica after something happened to it. True if more is committed now.
    pub(crate) fn observe(
        &mut self,
        broker: BrokerId,
        life: u64,
        tp: &TopicPartition,
        replica: &mut Replica,
    ) -> Result<bool, Violation> {
        let cut_to = replica.cut_to.take();
        let Some(log) = &replica.log else {
            self.forget(broker, tp);
            return Ok(false);
        };
        if !self.partitions.contains_key(tp) {
            // Its topic is deleted; the replica will follow.
            return Ok(false);
        }
        let high_watermark = log.high_watermark();
        if let Some(offset) = cut_to {
            let compared = self.compared.entry((broker, tp.clone())).or_default();
            *compared = (*compared).min(offset);
        }
        let leads = replica.partition.is_leader();
        let epoch = replica.partition.leader_epoch();
        let now = (life, epoch, leads.then_some(high_watermark));
        let before = self.seen.insert((broker, tp.clone()), now);
        if let Some((then, old, led_to)) = before
            && then == life
        {
            if epoch < old {
                return Err(format!(
                    "{tp} on {broker}: leader epoch falls from {old} to {epoch}"
                ));
            }
            if let Some(led_to) = led_to
                && epoch == old
                && leads
                && high_watermark < led_to
            {
                return Err(format!(
                    "{tp} on leader {broker}: high watermark falls from {led_to} to {high_watermark} in epoch {epoch}"
                ));
            }
        }
        let committed = self.partitions.get(tp).map_or(0, |model| model.end);
        let grows = high_watermark > committed;
        if grows {
            if !leads {
                return Err(format!(
                    "{tp} on follower {broker}: high watermark {high_watermark} is above what any leader committed, {committed}"
                ));
            }
            self.extend(broker, tp, log, high_watermark)?;
        }
        let replica = (broker, tp.clone());
        if !self.damaged.contains(&replica) && !self.outsiders.contains(&replica) {
            self.compare(broker, tp, log, high_watermark)?;
        }
        Ok(grows)
    }

    /// A replica was deleted.
    pub(crate) fn forget(&mut self, broker: BrokerId, tp: &TopicPartition) {
        let replica = (broker, tp.clone());
        self.compared.remove(&replica);
        self.seen.remove(&replica);
    }

    fn extend(
        &mut self,
        broker: BrokerId,
        tp: &TopicPartition,
        log: &Log,
        to: Offset,
    ) -> Result<(), Violation> {
        let Some(model) = self.partitions.get_mut(tp) else {
            return Ok(());
        };
        let from = model.end;
        let transactions = &mut self.transactions;
        read(&log.reader(), from, to, |batch| {
            if batch.base_offset() != model.end {
                return Err(format!(
                    "{tp} on {broker}: a batch at {} follows offset {}",
                    batch.base_offset(),
                    model.end
                ));
            }
            let last = batch.last_offset();
            model
                .batches
                .insert(batch.base_offset(), (last, hash(batch.bytes())));
            model.end = last + 1;
            if tp.topic.as_str() == TRANSACTION_STATE_TOPIC {
                return Ok(());
            }
            if tp.topic.as_str() == GROUP_METADATA_TOPIC && !batch.is_control() {
                let open = model.open.entry(batch.producer_id).or_default();
                open.extend(read_offsets(batch)?);
                return Ok(());
            }
            if batch.is_control() {
                let outcome = read_marker(batch)?;
                let records = model.open.remove(&batch.producer_id).unwrap_or_default();
                if outcome == TransactionResult::Commit
                    && tp.topic.as_str() == GROUP_METADATA_TOPIC
                    && let Some((_, id)) = records.last()
                {
                    model.offsets.insert(id.transactional_producer(), *id);
                }
                if outcome == TransactionResult::Abort {
                    model
                        .aborted
                        .extend(records.iter().map(|(offset, _)| offset));
                }
                return transactions.ended_in(tp, &records, outcome);
            }
            for (offset, id) in RecordId::read(batch)? {
                if let Some(producer) = id.idempotent_producer() {
                    let before = model.last.insert(producer, id.number());
                    let expected = before.map_or(0, |before| before + 1);
                    if id.number() != expected {
                        return Err(format!(
                            "{tp}: offset {offset} holds record {} of producer {producer}, but {expected} is next",
                            id.number()
                        ));
                    }
                }
                model.records.insert(offset, id);
                if batch.is_transactional() {
                    transactions.appended(tp, offset, id)?;
                    let open = model.open.entry(batch.producer_id).or_default();
                    open.push((offset, id));
                }
            }
            Ok(())
        })?;
        if model.end == to {
            Ok(())
        } else {
            Err(format!(
                "{tp} on {broker}: the high watermark {to} is not where a batch ends ({})",
                model.end
            ))
        }
    }

    fn compare(
        &mut self,
        broker: BrokerId,
        tp: &TopicPartition,
        log: &Log,
        to: Offset,
    ) -> Result<(), Violation> {
        let Some(model) = self.partitions.get(tp) else {
            return Ok(());
        };
        let compared = self.compared.entry((broker, tp.clone())).or_default();
        let from = *compared;
        if from >= to {
            return Ok(());
        }
        read(&log.reader(), from, to, |batch| {
            let expected = model.batches.get(&batch.base_offset());
            let found = (batch.last_offset(), hash(batch.bytes()));
            if expected != Some(&found) {
                return Err(format!(
                    "{tp} on {broker}: batch {}..={} of epoch {} is not the one that was committed there ({expected:?})",
                    batch.base_offset(),
                    batch.last_offset(),
                    batch.partition_leader_epoch
                ));
            }
            *compared = batch.last_offset() + 1;
            Ok(())
        })
    }

    /// A member of the ISR has everything that is committed.
    pub(crate) fn check_has_committed(
        &mut self,
        broker: BrokerId,
        tp: &TopicPartition,
        log: Option<&Log>,
    ) -> Result<(), Violation> {
        let end = self.partitions.get(tp).map_or(0, |model| model.end);
        let log_end = log.map_or(0, Log::log_end_offset);
        if log_end < end {
            return Err(format!(
                "{tp} on {broker}: in sync, but ends at {log_end} before what is committed, {end}"
            ));
        }
        match log {
            Some(log) => self.compare(broker, tp, log, end),
            None => Ok(()),
        }
    }

    /// A producer was told that its records are safe.
    pub(crate) fn acknowledged(
        &mut self,
        tp: &TopicPartition,
        base_offset: Offset,
        ids: &[RecordId],
    ) -> Result<(), Violation> {
        self.acknowledged += ids.len() as u64;
        let Some(model) = self.partitions.get(tp) else {
            return Ok(());
        };
        for (offset, id) in (base_offset..).zip(ids) {
            let found = model.records.get(&offset);
            if found != Some(id) {
                return Err(format!(
                    "{tp}: {id:?} was acknowledged at offset {offset}, where {found:?} is committed"
                ));
            }
        }
        Ok(())
    }

    /// A consumer has read these batches from `offset` on; where it goes on.
    pub(crate) fn consumed(
        &self,
        tp: &TopicPartition,
        offset: Offset,
        records: &[u8],
    ) -> Result<Offset, Violation> {
        let Some(model) = self.partitions.get(tp) else {
            return Ok(offset);
        };
        let mut next = offset;
        for batch in BatchIterator::new(records) {
            let batch = batch.map_err(|error| format!("{tp}: a consumer got {error}"))?;
            let found = (batch.last_offset(), hash(batch.bytes()));
            if batch.base_offset() != next || model.batches.get(&next) != Some(&found) {
                return Err(format!(
                    "{tp}: a consumer at offset {next} got a batch at {} that is not committed",
                    batch.base_offset()
                ));
            }
            next = batch.last_offset() + 1;
        }
        Ok(next)
    }

    /// A consumer with read_committed has read from `offset` on; where it goes on. It skips what
    /// the answer names as aborted, like Kafka's clients, and must be left with exactly the records
    /// of no transaction or of committed ones. A leader that has started again forgets, as Kafka's
    /// does, that a marker in its log is not replicated yet (`ProducerStateManager` keeps that in
    /// memory only): what it shows of such a transaction must be how it ends in the end.
    pub(crate) fn consumed_committed(
        &mut self,
        tp: &TopicPartition,
        offset: Offset,
        fetched: &Fetched,
    ) -> Result<Offset, Violation> {
        let next = self.consumed(tp, offset, &fetched.records)?;
        let Some(model) = self.partitions.get(tp) else {
            return Ok(next);
        };
        let mut aborted = fetched.aborted.clone();
        aborted.sort_by_key(|transaction| transaction.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut skipped = BTreeSet::new();
        let mut delivered = Vec::new();
        // Of transactions that no replicated marker has ended.
        let mut decided = Vec::new();
        for batch in BatchIterator::new(&fetched.records) {
            let batch = batch.map_err(|error| error.to_string())?;
            while let Some(transaction) =
                aborted.next_if(|transaction| transaction.first_offset <= batch.last_offset())
            {
                skipped.insert(transaction.producer_id);
            }
            let id = batch.producer_id;
            if batch.is_control() {
                if read_marker(&batch)? == TransactionResult::Abort {
                    skipped.remove(&id);
                }
                continue;
            }
            let outcome = if batch.is_transactional() && skipped.contains(&id) {
                TransactionResult::Abort
            } else {
                TransactionResult::Commit
            };
            let records = RecordId::read(&batch)?;
            if outcome == TransactionResult::Commit {
                delivered.extend_from_slice(&records);
            }
            for record in records {
                if !model.is_open(id, record.0) {
                    continue;
                }
                // Its end is in the leader's log at least.
                let ends_later = fetched
                    .open
                    .get(&id)
                    .is_some_and(|first| *first <= record.0);
                if ends_later {
                    return Err(format!(
                        "{tp}: {record:?} of an open transaction was read with read_committed"
                    ));
                }
                decided.push((record, outcome));
            }
        }
        let is_committed = |offset: &Offset| {
            let mut decided = decided.iter();
            match decided.find(|((decided, _), _)| decided == offset) {
                Some((_, outcome)) => *outcome == TransactionResult::Commit,
                None => !model.aborted.contains(offset),
            }
        };
        let expected: Vec<(Offset, RecordId)> = model
            .records
            .range(offset..next.max(offset))
            .filter(|(offset, _)| is_committed(offset))
            .map(|(offset, id)| (*offset, *id))
            .collect();
        if delivered != expected {
            return Err(format!(
                "{tp}: read_committed from {offset} gives {delivered:?} with {:?}, but {expected:?} is committed",
                fetched.aborted
            ));
        }
        for (record, outcome) in decided {
            self.transactions.read_as(tp, record, outcome)?;
        }
        Ok(next)
    }

    /// A client was told what offset is committed for it.
    pub(crate) fn fetched_offset(
        &mut self,
        client: u32,
        offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Result<(), Violation> {
        let state = self.state(&Settings::offsets_partition());
        let is_current = state.is_some_and(|state| state.leader_epoch == leader_epoch);
        self.transactions.fetched_offset(client, offset, is_current)
    }

    /// What is committed for each client that has committed an offset.
    pub(crate) fn committed_offsets(&self) -> BTreeMap<u32, RecordId> {
        let model = self.partitions.get(&Settings::offsets_partition());
        model.map_or_else(BTreeMap::new, |model| model.offsets.clone())
    }

    pub(crate) fn committed_end(&self, tp: &TopicPartition) -> Offset {
        self.partitions.get(tp).map_or(0, |model| model.end)
    }

    /// How many records were acknowledged.
    pub(crate) fn acknowledged_count(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn controller_epoch(&self) -> i32 {
        self.controller_epoch.epoch
    }
}

/// Reads whole batches from `from` to `to`.
fn read(
    reader: &LogReader,
    from: Offset,
    to: Offset,
    mut take: impl FnMut(&BatchView<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut next = from;
    while next < to {
        let read = reader
            .read(next, READ_BYTES_MAX, FetchIsolation::LogEnd, true)
            .map_err(|error| error.to_string())?;
        let bytes = match read.slice {
            Some(slice) => slice.read().map_err(|error| error.to_string())?,
            None => return Err(format!("nothing at offset {next} below {to}")),
        };
        let before = next;
        for batch in BatchIterator::new(&bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            batch.ensure_valid().map_err(|error| error.to_string())?;
            if batch.last_offset() >= to {
                return if batch.base_offset() >= to {
                    Ok(())
                } else {
                    Err(format!("offset {to} lies inside a batch"))
                };
            }
            take(&batch)?;
            next = batch.last_offset() + 1;
        }
        if next == before {
            return Err(format!("no batch at offset {next} below {to}"));
        }
    }
    Ok(())
}

/// The offsets that a batch of `__consumer_offsets` commits.
fn read_offsets(batch: &BatchView<'_>) -> Result<Vec<(Offset, RecordId)>, Violation> {
    let text = |error: ottla_record::InvalidRecords| error.to_string();
    let records = batch.records(DECOMPRESSED_SIZE_MAX).map_err(text)?;
    let mut offsets = Vec::new();
    for record in records.iter().map_err(text)? {
        let record = record.map_err(text)?;
        let value = record.value.ok_or("an offset is removed")?;
        let value = read_offset_commit_value(Bytes::copy_from_slice(value));
        let value = value.map_err(|error| error.to_string())?;
        offsets.push((record.offset, RecordId::of_offset(value.offset)));
    }
    Ok(offsets)
}

fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}
