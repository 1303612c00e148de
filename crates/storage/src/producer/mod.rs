//! Producers and transactions of one log (`ProducerStateManager`): duplicates, sequences, open
//! transactions, and the snapshots that spare a replay at start.

mod append_info;
mod entry;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};

use ottla_model::{Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::AppendOrigin;

pub use append_info::{CompletedTransaction, ProducerAppendInfo, ProducerError};
pub use entry::{BATCHES_RETAINED, BatchMetadata, ProducerEntry};

use crate::directory::{OpenMode, read_file, remove_if_exists};
use crate::names::{DELETED_SUFFIX, FileKind};
use crate::partition_directory::PartitionDirectory;

/// A transaction is late when it is open for longer than its largest timeout and this much more.
pub const LATE_TRANSACTION_BUFFER_MS: i64 = 5 * 60 * 1000;
/// No snapshot is larger than this: some ten million producers.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 29;

/// Proof that a transaction was verified with its coordinator before an append (KIP-890).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    /// Nothing was verified.
    pub const NONE: Self = Self(0);
}

#[derive(Clone, Copy, Debug)]
struct Verification {
    since: Timestamp,
    guard: VerificationGuard,
    lowest_sequence: i32,
    epoch: ProducerEpoch,
}

/// The producers of one log.
#[derive(Debug, Default)]
pub struct ProducerStateManager {
    producers: BTreeMap<ProducerId, ProducerEntry>,
    verifications: BTreeMap<ProducerId, Verification>,
    guards_given: u64,
    /// Open transactions by first offset.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// Completed transactions by first offset, with the marker's offset, until the high watermark
    /// has passed the marker.
    unreplicated: BTreeMap<Offset, Offset>,
    /// Offsets of snapshot files.
    snapshots: BTreeSet<Offset>,
    map_end_offset: Offset,
    snapshot_offset: Offset,
}

impl ProducerStateManager {
    /// Starts empty, knowing the snapshot files with these offsets.
    pub fn new(snapshots: BTreeSet<Offset>) -> Self {
        Self {
            snapshots,
            ..Self::default()
        }
    }

    /// What is known of a producer.
    pub fn producer(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// All producers by id (DescribeProducers).
    pub fn producers(&self) -> impl ExactSizeIterator<Item = &ProducerEntry> {
        self.producers.values()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.unreplicated.is_empty()
    }

    /// The offset up to which the state is complete.
    pub fn map_end_offset(&self) -> Offset {
        self.map_end_offset
    }

    /// Says that the state is complete up to an offset.
    pub fn set_map_end_offset(&mut self, offset: Offset) {
        self.map_end_offset = offset;
    }

    /// Offsets of the snapshot files, ascending.
    pub fn snapshots(&self) -> &BTreeSet<Offset> {
        &self.snapshots
    }

    /// The first offset that a read_committed consumer may not pass: of open transactions, and of
    /// those whose marker is not below the high watermark.
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        ongoing.into_iter().chain(unreplicated).min().copied()
    }

    /// Whether the oldest open transaction should have ended by now.
    pub fn has_late_transaction(&self, now: Timestamp, transaction_timeout_ms_max: i64) -> bool {
        let oldest = self
            .ongoing
            .values()
            .next()
            .and_then(|id| self.producers.get(id));
        oldest.is_some_and(|producer| {
            let since = producer.last_timestamp.0;
            let limit = transaction_timeout_ms_max.saturating_add(LATE_TRANSACTION_BUFFER_MS);
            since > 0 && now.0.saturating_sub(since) > limit
        })
    }

    /// Starts the effect of an append on one producer.
    pub fn prepare_update(
        &self,
        producer_id: ProducerId,
        origin: AppendOrigin,
    ) -> ProducerAppendInfo {
        let current = self.producers.get(&producer_id).copied();
        ProducerAppendInfo::new(
            current.unwrap_or_else(|| ProducerEntry::unknown(producer_id)),
            origin,
            self.verifications
                .get(&producer_id)
                .map(|state| state.lowest_sequence),
        )
    }

    /// Takes over the effect of an append that is in the log.
    pub fn update(&mut self, info: &ProducerAppendInfo) {
        let entry = *info.entry();
        self.producers.insert(entry.producer_id, entry);
        if let Some(first_offset) = info.started_transaction() {
            self.ongoing.insert(first_offset, entry.producer_id);
        }
    }

    /// Takes over a producer's batches that were found in the log, if they end with the one that a
    /// snapshot told of.
    pub(crate) fn recall(&mut self, found: &ProducerEntry) {
        if let Some(entry) = self.producers.get_mut(&found.producer_id) {
            entry.recall(found);
        }
    }

    /// Forgets a verification: a transactional batch of the producer is in the log.
    pub fn clear_verification(&mut self, producer_id: ProducerId) {
        self.verifications.remove(&producer_id);
    }

    /// The last stable offset right after a transaction completes: where the oldest transaction of
    /// another producer begins, else after the marker. What the aborted index stores.
    pub fn last_stable_offset_after(&self, completed: &CompletedTransaction) -> Offset {
        let other = self
            .ongoing
            .iter()
            .find(|(_, id)| **id != completed.producer_id);
        other.map_or(completed.last_offset + 1, |(first_offset, _)| *first_offset)
    }

    /// Closes a transaction; it stays unstable until the high watermark passes its marker.
    pub fn complete(&mut self, completed: &CompletedTransaction) {
        self.ongoing.remove(&completed.first_offset);
        self.unreplicated
            .insert(completed.first_offset, completed.last_offset);
    }

    /// Forgets completed transactions whose markers are below an offset. Whether any was.
    pub fn on_high_watermark_updated(&mut self, high_watermark: Offset) -> bool {
        let before = self.unreplicated.len();
        if before != 0 {
            self.unreplicated
                .retain(|_, last_offset| *last_offset >= high_watermark);
        }
        before != self.unreplicated.len()
    }

    /// The log starts later now.
    pub fn on_log_start_offset_incremented(&mut self, log_start_offset: Offset) {
        self.on_high_watermark_updated(log_start_offset);
        self.map_end_offset = self.map_end_offset.max(log_start_offset);
        self.snapshot_offset = self.snapshots.last().copied().unwrap_or(log_start_offset);
    }

    /// Drops producers without an open transaction that have been silent for longer than
    /// `producer.id.expiration.ms`, and verifications as old. Returns how many producers went.
    pub fn remove_expired(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers
            .retain(|_, entry| !is_expired(entry, now, expiration_ms));
        self.verifications
            .retain(|_, state| now.0.saturating_sub(state.since.0) < expiration_ms);
        before - self.producers.len()
    }

    /// The guard to verify a transaction with; one per producer until its transaction opens.
    pub fn start_verification(
        &mut self,
        producer_id: ProducerId,
        sequence: i32,
        epoch: ProducerEpoch,
        now: Timestamp,
    ) -> VerificationGuard {
        let guard = VerificationGuard(self.guards_given + 1);
        let state = self
            .verifications
            .entry(producer_id)
            .or_insert(Verification {
                since: now,
                guard,
                lowest_sequence: sequence,
                epoch,
            });
        if state.guard == guard {
            self.guards_given += 1;
        }
        if epoch > state.epoch {
            state.epoch = epoch;
            state.lowest_sequence = sequence;
        } else if epoch == state.epoch {
            state.lowest_sequence = state.lowest_sequence.min(sequence);
        }
        state.guard
    }

    /// The guard that an append of this producer must bear, [`VerificationGuard::NONE`] without one.
    pub fn verification_guard(&self, producer_id: ProducerId) -> VerificationGuard {
        self.verifications
            .get(&producer_id)
            .map_or(VerificationGuard::NONE, |state| state.guard)
    }

    /// Whether this producer's transaction is open.
    pub fn has_open_transaction(&self, producer_id: ProducerId) -> bool {
        self.producers
            .get(&producer_id)
            .is_some_and(|entry| entry.current_transaction_first_offset.is_some())
    }

    /// Writes a snapshot of the state, unless nothing moved since the last one. Its offset.
    pub fn take_snapshot(
        &mut self,
        directory: &PartitionDirectory,
        sync: bool,
    ) -> io::Result<Option<Offset>> {
        if self.map_end_offset <= self.snapshot_offset {
            return Ok(None);
        }
        let offset = self.map_end_offset;
        let file = directory.open(&FileKind::Snapshot.file_name(offset), OpenMode::CreateEmpty)?;
        file.write_all_at(
            &mut [IoSlice::new(&snapshot::encode(self.producers.values()))],
            0,
        )?;
        if sync {
            file.sync()?;
        }
        self.snapshots.insert(offset);
        self.snapshot_offset = offset;
        Ok(Some(offset))
    }

    /// Brings the state back to what the newest usable snapshot in `(log start, log end]` says;
    /// the caller replays from [`Self::map_end_offset`]. Nothing happens if the state already ends
    /// at the log's end. Whether a snapshot was loaded, which holds one batch per producer.
    pub fn truncate_and_reload(
        &mut self,
        directory: &PartitionDirectory,
        log_start_offset: Offset,
        log_end_offset: Offset,
        now: Timestamp,
        expiration_ms: i64,
    ) -> io::Result<bool> {
        let is_outside = |offset: &Offset| *offset > log_end_offset || *offset <= log_start_offset;
        let outside: Vec<Offset> = self.snapshots.iter().copied().filter(is_outside).collect();
        for offset in outside {
            self.delete_snapshot(directory, offset)?;
        }
        if log_end_offset == self.map_end_offset {
            self.on_log_start_offset_incremented(log_start_offset);
            return Ok(false);
        }
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        self.load_newest_snapshot(directory, log_start_offset, now, expiration_ms)
    }

    /// Forgets everything and deletes all snapshots; the log is empty from `offset` on.
    pub fn truncate_fully(
        &mut self,
        directory: &PartitionDirectory,
        offset: Offset,
    ) -> io::Result<()> {
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        while let Some(snapshot) = self.snapshots.first().copied() {
            self.delete_snapshot(directory, snapshot)?;
        }
        self.snapshot_offset = 0;
        self.map_end_offset = offset;
        Ok(())
    }

    /// Deletes snapshots that belong to no segment, except the newest if it is not below the last
    /// segment's base.
    pub fn remove_stray_snapshots(
        &mut self,
        directory: &PartitionDirectory,
        base_offsets: &[Offset],
    ) -> io::Result<()> {
        let mut stray: Vec<Offset> = self
            .snapshots
            .iter()
            .copied()
            .filter(|offset| !base_offsets.contains(offset))
            .collect();
        if stray.last() >= base_offsets.last() {
            stray.pop();
        }
        stray
            .into_iter()
            .try_for_each(|offset| self.delete_snapshot(directory, offset))
    }

    /// Deletes a snapshot file if it is there.
    pub fn delete_snapshot(
        &mut self,
        directory: &PartitionDirectory,
        offset: Offset,
    ) -> io::Result<()> {
        self.snapshots.remove(&offset);
        let path = directory.file(&FileKind::Snapshot.file_name(offset));
        remove_if_exists(directory.directory(), &path).map(drop)
    }

    /// Renames a snapshot file for later removal; its new name, if it was there.
    pub fn mark_snapshot_deleted(
        &mut self,
        directory: &PartitionDirectory,
        offset: Offset,
    ) -> io::Result<Option<String>> {
        if !self.snapshots.remove(&offset) {
            return Ok(None);
        }
        let name = FileKind::Snapshot.file_name(offset);
        let renamed = format!("{name}{DELETED_SUFFIX}");
        match directory
            .directory()
            .rename(&directory.file(&name), &directory.file(&renamed))
        {
            Ok(()) => Ok(Some(renamed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn load_newest_snapshot(
        &mut self,
        directory: &PartitionDirectory,
        log_start_offset: Offset,
        now: Timestamp,
        expiration_ms: i64,
    ) -> io::Result<bool> {
        while let Some(offset) = self.snapshots.last().copied() {
            let path = directory.file(&FileKind::Snapshot.file_name(offset));
            match snapshot::decode(&read_file(
                directory.directory(),
                &path,
                SNAPSHOT_BYTES_MAX,
            )?) {
                Ok(entries) => {
                    self.load(entries, now, expiration_ms);
                    self.snapshot_offset = offset;
                    self.map_end_offset = offset;
                    return Ok(true);
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "failed to load producer snapshot");
                    self.delete_snapshot(directory, offset)?;
                }
            }
        }
        self.snapshot_offset = log_start_offset;
        self.map_end_offset = log_start_offset;
        Ok(false)
    }

    fn load(&mut self, entries: Vec<ProducerEntry>, now: Timestamp, expiration_ms: i64) {
        for entry in entries
            .into_iter()
            .filter(|entry| !is_expired(entry, now, expiration_ms))
        {
            if let Some(first_offset) = entry.current_transaction_first_offset {
                self.ongoing.insert(first_offset, entry.producer_id);
            }
            self.producers.insert(entry.producer_id, entry);
        }
    }
}

fn is_expired(entry: &ProducerEntry, now: Timestamp, expiration_ms: i64) -> bool {
    entry.current_transaction_first_offset.is_none()
        && now.0.saturating_sub(entry.last_timestamp.0) >= expiration_ms
}

#[cfg(test)]
mod tests;
