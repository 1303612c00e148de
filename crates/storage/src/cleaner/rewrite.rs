//! The two passes over a log (`Cleaner`): which record of a key is the last, and the rewrite
//! without the others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ottla_model::{Offset, ProducerId, Timestamp};
use ottla_record::{
    BatchIterator, BatchRetention, BatchView, CompressionType, DECOMPRESSED_SIZE_MAX,
    InvalidRecords, Magic, Record, RecordFilter, filter_to,
};

use super::choose::{LogToClean, values};
use super::offset_map::{KeyHash, OffsetMap};
use super::output::{CleanedSegment, OffsetOverflow};
use super::transactions::Transactions;
use super::{CleanError, CleanerSettings, CleaningStats, Pace};
use crate::directory::{StorageFile, read_full};
use crate::log::clean::{LastRecord, Source, remove_cleaned};
use crate::log::split::{pieces, write_cleaned};
use crate::segment::Segment;
use crate::transaction_index::AbortedTransaction;

/// One cleaning of one log.
pub(super) struct Cleaning<'a> {
    pub(super) target: &'a LogToClean,
    pub(super) map: &'a mut OffsetMap,
    pub(super) settings: &'a CleanerSettings,
    /// Counts bytes, pauses, and tells whether the cleaning may go on.
    pub(super) pace: &'a mut dyn Pace,
    pub(super) stats: CleaningStats,
}

impl Cleaning<'_> {
    /// Cleans the log; where the dirty part begins now.
    pub(super) fn run(&mut self, now: Timestamp) -> Result<Offset, CleanError> {
        let target = self.target;
        let range = &target.range;
        let segments = Arc::clone(&target.view.segments);
        let clean = values(&segments, 0, range.first_dirty_offset);
        let legacy_horizon = match clean.last() {
            None => 0,
            Some(last) => {
                (last.modified()?.0).saturating_sub(target.view.config.delete_retention_ms)
            }
        };
        self.build_map()?;
        self.stats.map_utilization = self.map.utilization();
        let end_offset = self.map.latest_offset() + 1;

        let to_clean = values(&segments, 0, end_offset);
        let mut transactions = Transactions::default();
        for group in self.group(to_clean)? {
            self.clean_group(group, &segments, &mut transactions, now, legacy_horizon)?;
        }
        Ok(end_offset)
    }

    /// Pass 1: the last offset of each key in the dirty part, as far as there is room.
    fn build_map(&mut self) -> Result<(), CleanError> {
        self.map.clear();
        let view = &self.target.view;
        let start = self.target.range.first_dirty_offset;
        let end = self.target.range.first_uncleanable_offset;
        let dirty = values(&view.segments, start, end);
        let mut transactions = Transactions::default();
        transactions.expect(aborted_in(&view.segments, start, end)?);
        for (index, segment) in dirty.iter().enumerate() {
            let next = dirty.get(index + 1).map_or(end, |next| next.base_offset);
            if !self.map_segment(segment, start, &mut transactions)? {
                break;
            }
            // The offsets up to the next segment may be gone already.
            self.map.update_latest_offset(next - 1);
        }
        Ok(())
    }

    /// Whether the whole segment found room.
    fn map_segment(
        &mut self,
        segment: &Arc<Segment>,
        start: Offset,
        transactions: &mut Transactions,
    ) -> Result<bool, CleanError> {
        let position = u64::from(segment.offset_index.lookup(start)?.position);
        let mut chunks = Chunks::new(segment, position, self.settings)?;
        let mut keys = Vec::new();
        while chunks.read(self.pace)? {
            let mut done = 0;
            for batch in BatchIterator::new(&chunks.buffer) {
                let batch = batch?;
                done += batch.size_in_bytes;
                let last_offset = batch.last_offset();
                if batch.is_control() {
                    transactions.on_control_batch(&batch)?;
                } else if !transactions.on_batch(&batch) {
                    let records = batch.records(DECOMPRESSED_SIZE_MAX)?;
                    keys.clear();
                    for record in records.iter()? {
                        let record = record?;
                        if let Some(key) = record.key
                            && record.offset >= start
                        {
                            keys.push((KeyHash::of(key), record.offset));
                        }
                    }
                    if !self.map.put_all(&keys) {
                        return Ok(false);
                    }
                }
                if last_offset >= start {
                    self.map.update_latest_offset(last_offset);
                }
            }
            self.stats.bytes_mapped += done as u64;
            chunks.advance(done)?;
        }
        Ok(true)
    }

    /// Neighbours that fit into one segment together.
    fn group<'s>(&self, segments: &'s [Arc<Segment>]) -> io::Result<Vec<&'s [Arc<Segment>]>> {
        let config = &self.target.view.config;
        let sizes = |segment: &Segment| -> io::Result<[u64; 3]> {
            Ok([
                segment.size(),
                segment.offset_index.file().size_in_bytes()?,
                segment.time_index.file().size_in_bytes()?,
            ])
        };
        let limits = [
            config.segment_bytes,
            config.segment_index_bytes,
            config.segment_index_bytes,
        ];
        let mut groups = Vec::new();
        let mut start = 0;
        while start < segments.len() {
            let mut sums = sizes(&segments[start])?;
            let mut end = start + 1;
            while let Some(segment) = segments.get(end) {
                let more = sizes(segment)?;
                let fits = (0..3).all(|at| sums[at] + more[at] <= limits[at]);
                let last_offset = segments
                    .get(end + 1)
                    .map_or(self.target.range.first_uncleanable_offset, |next| {
                        next.base_offset
                    })
                    - 1;
                let span = last_offset - segments[start].base_offset;
                if !fits || (segment.size() > 0 && span > Offset::from(i32::MAX)) {
                    break;
                }
                (0..3).for_each(|at| sums[at] += more[at]);
                end += 1;
            }
            groups.push(&segments[start..end]);
            start = end;
        }
        Ok(groups)
    }

    /// Pass 2 over segments that become one.
    fn clean_group(
        &mut self,
        group: &[Arc<Segment>],
        all: &[Arc<Segment>],
        transactions: &mut Transactions,
        now: Timestamp,
        legacy_horizon: i64,
    ) -> Result<(), CleanError> {
        let directory = Arc::clone(&self.target.view.directory);
        let base_offset = group[0].base_offset;
        let sources: Vec<Source> = group
            .iter()
            .map(|segment| (Arc::clone(segment), segment.size()))
            .collect();
        // A file of an attempt that an error ended.
        remove_cleaned(&directory, base_offset)?;
        let result = self.rewrite(group, all, transactions, now, legacy_horizon);
        let replaced = match result {
            Ok(size) => self.target.log.lock().replace_segments(&sources, size)?,
            Err(error) => {
                remove_cleaned(&directory, base_offset)?;
                if is_overflow(&error) {
                    self.split(group, all)?;
                }
                return Err(error);
            }
        };
        if !replaced {
            remove_cleaned(&directory, base_offset)?;
            return Err(CleanError::Aborted);
        }
        Ok(())
    }

    /// Splits the segments of a group that are too long for their indexes; the cleaning begins anew
    /// another time.
    fn split(&mut self, group: &[Arc<Segment>], all: &[Arc<Segment>]) -> Result<(), CleanError> {
        let view = &self.target.view;
        for segment in group {
            let next = all
                .iter()
                .find(|next| next.base_offset > segment.base_offset);
            let Some(pieces) = pieces(segment, next.map_or(0, |next| next.base_offset))? else {
                continue;
            };
            tracing::info!(
                partition = %self.target.topic_partition, segment = segment.base_offset,
                pieces = pieces.len(), "a segment is too long for its indexes and is split"
            );
            let source = (Arc::clone(segment), segment.size());
            let interval = view.config.index_interval_bytes;
            write_cleaned(&view.directory, segment, &pieces, interval)?;
            let mut log = self.target.log.lock();
            if !log.replace_with_pieces(source, &pieces)? {
                for piece in &pieces {
                    remove_cleaned(&view.directory, piece.base_offset)?;
                }
            }
            return Err(CleanError::Aborted);
        }
        Ok(())
    }

    /// Writes the `.cleaned` files of a group; the size of the segment.
    fn rewrite(
        &mut self,
        group: &[Arc<Segment>],
        all: &[Arc<Segment>],
        transactions: &mut Transactions,
        now: Timestamp,
        legacy_horizon: i64,
    ) -> Result<u64, CleanError> {
        let view = &self.target.view;
        let config = Arc::clone(&view.config);
        let last_records = self.target.log.lock().last_records_of_producers();
        let mut output = CleanedSegment::create(
            Arc::clone(&view.directory),
            group[0].base_offset,
            config.index_interval_bytes,
        )?;
        transactions.kept.clear();
        let mut modified = Timestamp(0);
        for (index, segment) in group.iter().enumerate() {
            let next = group.get(index + 1).map(|next| next.base_offset);
            let end = match next {
                Some(next) => next,
                None => segment.next_offset().map_err(io::Error::from)?,
            };
            transactions.expect(aborted_in(all, segment.base_offset, end)?);
            modified = segment.modified()?;
            let mut filter = Filter {
                map: self.map,
                transactions,
                last_records: &last_records,
                now,
                keeps_legacy_tombstones: modified.0 > legacy_horizon,
                discards_records: false,
                error: None,
                keyless: 0,
                keys: Vec::new(),
                next_key: 0,
            };
            let mut chunks = Chunks::new(segment, 0, self.settings)?;
            let mut retained = Vec::new();
            let horizon = Timestamp(now.0.saturating_add(config.delete_retention_ms));
            while chunks.read(self.pace)? {
                retained.clear();
                let result = filter_to(
                    &chunks.buffer,
                    &mut filter,
                    horizon,
                    DECOMPRESSED_SIZE_MAX,
                    &mut retained,
                )?;
                if let Some(error) = filter.error.take() {
                    return Err(error.into());
                }
                if result.largest_grown_batch > config.max_message_bytes {
                    tracing::warn!(
                        partition = %self.target.topic_partition,
                        size = result.largest_grown_batch, limit = config.max_message_bytes,
                        "a batch grew above max.message.bytes when it was cleaned"
                    );
                }
                output.append(&retained)?;
                self.pace.spend(retained.len())?;
                self.stats.messages_read += result.messages_read as u64;
                self.stats.messages_written += result.messages_retained as u64;
                self.stats.bytes_read += result.bytes_read as u64;
                self.stats.bytes_written += result.bytes_retained as u64;
                chunks.advance(result.bytes_read)?;
            }
            self.stats.keyless_messages += filter.keyless;
        }
        Ok(output.finish(&transactions.kept, modified)?)
    }
}

fn is_overflow(error: &CleanError) -> bool {
    let CleanError::Io(error) = error else {
        return false;
    };
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<OffsetOverflow>())
}

/// Aborted transactions that a reader of `[start, end)` has to know.
fn aborted_in(
    segments: &[Arc<Segment>],
    start: Offset,
    end: Offset,
) -> io::Result<Vec<AbortedTransaction>> {
    let mut found = Vec::new();
    for segment in &segments[crate::log_reader::floor(segments, start)..] {
        if segment.transaction_index.collect(start, end, &mut found)? {
            break;
        }
    }
    Ok(found)
}

/// A segment, read in pieces of whole batches.
struct Chunks<'a> {
    file: &'a dyn StorageFile,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_bytes: usize,
}

impl<'a> Chunks<'a> {
    fn new(segment: &'a Segment, position: u64, settings: &CleanerSettings) -> io::Result<Self> {
        Ok(Self {
            file: &**segment.file()?,
            position,
            end: segment.size(),
            buffer: Vec::new(),
            buffer_bytes: settings.buffer_bytes(),
        })
    }

    /// Reads the next piece; false at the end.
    fn read(&mut self, pace: &mut dyn Pace) -> Result<bool, CleanError> {
        let left = self.end - self.position;
        let wanted =
            usize::try_from(left).map_or(self.buffer_bytes, |left| left.min(self.buffer_bytes));
        pace.spend(wanted)?;
        self.buffer.resize(wanted, 0);
        let read = read_full(self.file, &mut self.buffer, self.position)?;
        self.buffer.truncate(read);
        if read < wanted {
            // Somebody cut it.
            return Err(CleanError::Aborted);
        }
        Ok(read > 0)
    }

    /// Goes on after so many bytes; if not one batch was whole, with a larger buffer.
    fn advance(&mut self, bytes: usize) -> Result<(), CleanError> {
        self.position += bytes as u64;
        if bytes > 0 {
            return Ok(());
        }
        let left = self.end - self.position;
        if self.buffer.len() as u64 == left {
            return Err(CleanError::Truncated {
                position: self.position,
            });
        }
        self.buffer_bytes = self.buffer_bytes.saturating_mul(2);
        Ok(())
    }
}

/// Decides what stays of a segment.
struct Filter<'a> {
    map: &'a OffsetMap,
    transactions: &'a mut Transactions,
    last_records: &'a BTreeMap<ProducerId, LastRecord>,
    now: Timestamp,
    keeps_legacy_tombstones: bool,
    discards_records: bool,
    error: Option<InvalidRecords>,
    keyless: u64,
    /// Offsets and hashes of the records with keys of the batch in work, if it is not compressed.
    keys: Vec<(Offset, KeyHash)>,
    /// Those before this one were looked at.
    next_key: usize,
}

impl Filter<'_> {
    /// The batch holds the last sequence, or else the epoch, of a producer that is still known.
    fn is_last_of_producer(&self, batch: &BatchView<'_>) -> bool {
        if !batch.has_producer_id() {
            return false;
        }
        let last = self.last_records.get(&batch.producer_id);
        last.is_some_and(|last| match last.data_offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.is_control() && batch.producer_epoch == last.producer_epoch,
        })
    }
}

impl Filter<'_> {
    /// The slots of a batch's keys. Compressed batches are not unpacked twice for it.
    fn bring_near(&mut self, batch: &BatchView<'_>) {
        self.keys.clear();
        self.next_key = 0;
        let is_plain = matches!(batch.compression_type(), Ok(CompressionType::None));
        if batch.is_control() || !is_plain {
            return;
        }
        // What is wrong with a record is told when it is looked at.
        let Ok(records) = batch.records(DECOMPRESSED_SIZE_MAX) else {
            return;
        };
        let Ok(records) = records.iter() else { return };
        let keys = records
            .map_while(Result::ok)
            .filter_map(|record| Some((record.offset, KeyHash::of(record.key?))));
        // All hashes first: the loads are then close enough to each other to overlap.
        self.keys.extend(keys);
        self.map.bring_near(self.keys.iter().map(|(_, hash)| *hash));
    }

    /// The hash of a record's key, as it was computed for `bring_near` or else anew.
    fn hash_of(&mut self, offset: Offset, key: &[u8]) -> KeyHash {
        match self.keys.get(self.next_key) {
            Some((known, hash)) if *known == offset => {
                self.next_key += 1;
                *hash
            }
            _ => KeyHash::of(key),
        }
    }
}

impl RecordFilter for Filter<'_> {
    fn check_batch(&mut self, batch: &BatchView<'_>) -> (BatchRetention, bool) {
        let can_discard = if batch.is_control() {
            match self.transactions.on_control_batch(batch) {
                Ok(can_discard) => can_discard,
                Err(error) => {
                    self.error.get_or_insert(error);
                    false
                }
            }
        } else {
            self.transactions.on_batch(batch)
        };
        self.discards_records = can_discard
            && (!batch.is_control()
                || batch
                    .delete_horizon()
                    .is_some_and(|horizon| horizon <= self.now));
        if !self.discards_records {
            self.bring_near(batch);
        }
        let retention = if self.is_last_of_producer(batch) {
            BatchRetention::RetainEmpty
        } else if self.discards_records {
            BatchRetention::Delete
        } else {
            BatchRetention::DeleteEmpty
        };
        (retention, can_discard && batch.is_control())
    }

    fn retains(&mut self, batch: &BatchView<'_>, record: &Record<'_>) -> bool {
        if self.discards_records {
            return false;
        }
        if batch.is_control() || record.offset > self.map.latest_offset() {
            return true;
        }
        let Some(key) = record.key else {
            self.keyless += 1;
            return false;
        };
        let hash = self.hash_of(record.offset, key);
        let is_last = self.map.get(hash).is_none_or(|last| record.offset >= last);
        let outlives_horizon = || match batch.magic {
            Magic::V2 => batch
                .delete_horizon()
                .is_none_or(|horizon| self.now < horizon),
            Magic::V0 | Magic::V1 => self.keeps_legacy_tombstones,
        };
        is_last && (record.value.is_some() || outlives_horizon())
    }
}
