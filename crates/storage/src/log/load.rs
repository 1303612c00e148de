//! Opening a log: which files count, what has to be recovered, where it starts and ends
//! (`LogLoader`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use ottla_model::{Offset, Timestamp, TopicId, TopicPartition};

use super::recover::{Recovery, rebuild_producers};
use super::truncate::largest_timestamp_by_scan;
use super::{ActiveState, Log};
use crate::checkpoint::{
    LEADER_EPOCH_CHECKPOINT, create_if_absent, read_leader_epochs, write_leader_epochs,
};
use crate::directory::remove_if_exists;
use crate::errors::LoadError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log_config::LogConfig;
use crate::log_dir::LogDir;
use crate::log_reader::Shared;
use crate::names::{CLEANED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, offset_of_name};
use crate::partition_directory::PartitionDirectory;
use crate::partition_metadata::{PARTITION_METADATA, read_topic_id};
use crate::producer::ProducerStateManager;
use crate::published::{LogOffsets, LogPosition, Published};
use crate::random::Random;
use crate::segment::Segment;

/// What is needed to open a log.
#[derive(Clone, Debug)]
pub struct OpenLog {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The directory of its files, which exists.
    pub directory: Arc<PartitionDirectory>,
    /// The directory of `log.dirs` it lies in.
    pub log_dir: Arc<LogDir>,
    /// Its configuration.
    pub config: Arc<LogConfig>,
    /// Checkpointed log start; 0 without one.
    pub log_start_offset: Offset,
    /// Checkpointed recovery point; 0 without one.
    pub recovery_point: Offset,
    /// Whether the directory was closed in an orderly way: nothing is scanned then.
    pub is_clean: bool,
    /// Whether this is the target of a move between directories.
    pub is_future: bool,
    /// The topic id that the caller knows.
    pub topic_id: Option<TopicId>,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// Seed of the jitter of segments.
    pub jitter_seed: u64,
    /// The broker's time.
    pub now: Timestamp,
}

impl Log {
    /// Opens a log, recovering it if need be; an empty directory becomes an empty log.
    ///
    /// # Errors
    /// See [`LoadError`]. Damage below the recovery point changes nothing on the disk.
    pub fn open(open: OpenLog) -> Result<Self, LoadError> {
        let io = |error| LoadError::Io {
            topic_partition: open.topic_partition.clone(),
            error,
        };
        let topic_id = check_topic_id(&open)?;
        let directory = &open.directory;
        // Listed once as a rule: with many partitions this is much of a start.
        let mut names = file_names(directory).map_err(io)?;
        if finish_swaps(directory, &names).map_err(io)? {
            names = file_names(directory).map_err(io)?;
        }
        let files = inventory(directory, names).map_err(io)?;
        let epoch_path = directory.file(LEADER_EPOCH_CHECKPOINT);
        create_if_absent(directory.directory(), &epoch_path).map_err(io)?;
        let epochs = read_leader_epochs(directory.directory(), &epoch_path).map_err(io)?;

        let mut recovery = Recovery {
            open: &open,
            segments: files.segments,
            epochs: LeaderEpochCache::from_entries(epochs),
            producers: ProducerStateManager::new(files.snapshots),
        };
        let epochs_before = recovery.epochs.clone();
        recovery.rebuild_insane_indexes(&files.without_index)?;
        if !open.is_clean {
            recovery.recover_unflushed()?;
        }
        let mut log_end = recovery.log_end_offset()?;
        if log_end < open.log_start_offset {
            tracing::warn!(
                partition = %open.topic_partition, log_end, log_start = open.log_start_offset,
                "the log ends below its checkpointed start and begins anew there"
            );
            recovery.start_over().map_err(io)?;
        }
        let mut created = false;
        if recovery.segments.is_empty() {
            let base = open.log_start_offset;
            let preallocate = open.config.preallocate.then_some(open.config.segment_bytes);
            let index_bytes = open.config.segment_index_bytes;
            let segment = Segment::create(Arc::clone(directory), base, index_bytes, preallocate);
            recovery.segments.push(Arc::new(segment.map_err(io)?));
            log_end = base;
            created = true;
        }
        let log_start = open.log_start_offset.max(recovery.segments[0].base_offset);
        recovery.epochs.truncate_from_end(log_end);
        recovery.epochs.truncate_from_start(log_start);
        if recovery.epochs != epochs_before {
            let entries = recovery.epochs.entries();
            write_leader_epochs(directory.directory(), &epoch_path, entries).map_err(io)?;
        }
        recovery.restore_producers(log_start, log_end)?;
        let Recovery {
            segments,
            epochs,
            producers,
            ..
        } = recovery;
        let recovery_point = if open.is_clean {
            log_end
        } else {
            open.recovery_point.min(log_end)
        };
        let loaded = Loaded {
            segments,
            epochs,
            producers,
            log_start,
            log_end,
            created,
        };
        assemble(&open, loaded, recovery_point, topic_id).map_err(io)
    }
}

struct Loaded {
    segments: Vec<Arc<Segment>>,
    epochs: LeaderEpochCache,
    producers: ProducerStateManager,
    log_start: Offset,
    log_end: Offset,
    created: bool,
}

fn assemble(
    open: &OpenLog,
    loaded: Loaded,
    recovery_point: Offset,
    topic_id: Option<(TopicId, bool)>,
) -> io::Result<Log> {
    let Some(active) = loaded.segments.last().cloned() else {
        return Err(io::Error::other("a log has at least one segment"));
    };
    let largest = largest_timestamp_by_scan(&active)?;
    active.set_max_timestamp(largest);
    // An idle log holds neither maps nor preallocated indexes until its first append.
    for segment in &loaded.segments {
        segment.release_maps();
    }
    let start = LogPosition::offset_only(loaded.log_start);
    let end = LogPosition {
        offset: loaded.log_end,
        segment_base_offset: active.base_offset,
        position: active.size(),
    };
    let first = if loaded.log_start == loaded.log_end {
        end
    } else {
        start
    };
    let offsets = LogOffsets {
        log_start_offset: loaded.log_start,
        high_watermark: first,
        last_stable_offset: first,
        log_end_offset: end,
    };
    let mut jitter = Random::new(open.jitter_seed);
    let jitter_ms = jitter.below(open.config.jitter_ms_max()) as i64;
    let shared = Shared {
        topic_partition: open.topic_partition.clone(),
        log_dir: ArcSwap::new(Arc::clone(&open.log_dir)),
        segments: ArcSwap::from_pointee(loaded.segments),
        published: Published::new(&offsets),
        is_retired: AtomicBool::new(false),
    };
    let created = if active.size() > 0 {
        active.modified()?
    } else {
        open.now
    };
    let mut log = Log {
        topic_partition: open.topic_partition.clone(),
        directory: Arc::clone(&open.directory),
        validation: open.config.validation(&open.topic_partition),
        config: Arc::clone(&open.config),
        shared: Arc::new(shared),
        active,
        active_state: ActiveState {
            bytes_since_index_entry: 0,
            first_timestamp: None,
            created,
            jitter_ms,
            indexes_have_room: loaded.created,
        },
        offsets,
        recent_ends: VecDeque::new(),
        epochs: loaded.epochs,
        producers: loaded.producers,
        producer_expiration_ms: open.producer_expiration_ms,
        recovery_point,
        last_flushed: open.now,
        topic_id: topic_id.map(|(id, _)| id),
        metadata_is_pending: topic_id.is_some_and(|(_, is_written)| !is_written),
        is_future: open.is_future,
        verifies_transactions: true,
        jitter,
    };
    log.publish();
    Ok(log)
}

/// The log's topic id, and whether it is in the file already.
fn check_topic_id(open: &OpenLog) -> Result<Option<(TopicId, bool)>, LoadError> {
    let path = open.directory.file(PARTITION_METADATA);
    let topic_partition = open.topic_partition.clone();
    let existing = read_topic_id(open.directory.directory(), &path);
    let existing = existing.map_err(|error| LoadError::Io {
        topic_partition: topic_partition.clone(),
        error,
    })?;
    match (existing, open.topic_id) {
        (Some(existing), Some(expected)) if existing != expected => {
            Err(LoadError::InconsistentTopicId {
                topic_partition,
                expected,
                existing,
            })
        }
        (Some(existing), _) => Ok(Some((existing, true))),
        (None, expected) => Ok(expected.map(|id| (id, false))),
    }
}

/// Finishes or undoes what the cleaner was doing when the process ended, and removes files that
/// wait for removal; whether there was any of it. Repeatable: a crash in the middle changes nothing
/// of the outcome.
fn finish_swaps(directory: &PartitionDirectory, names: &[String]) -> io::Result<bool> {
    let files = directory.directory();
    let with = |suffix: &str| -> Vec<&String> {
        names.iter().filter(|name| name.ends_with(suffix)).collect()
    };
    let remove = |name: &String| remove_if_exists(files, &directory.file(name)).map(drop);
    let (deleted, cleaned, swaps) = (
        with(DELETED_SUFFIX),
        with(CLEANED_SUFFIX),
        with(SWAP_SUFFIX),
    );
    if deleted.is_empty() && cleaned.is_empty() && swaps.is_empty() {
        return Ok(false);
    }
    deleted.into_iter().try_for_each(remove)?;

    let uncommitted_from = cleaned.iter().filter_map(|name| offset_of_name(name)).min();
    let (uncommitted, swaps): (Vec<&String>, Vec<&String>) = swaps.into_iter().partition(|swap| {
        uncommitted_from.is_some_and(|from| offset_of_name(swap).is_some_and(|at| at >= from))
    });
    uncommitted.into_iter().try_for_each(remove)?;
    cleaned.into_iter().try_for_each(remove)?;

    if swaps.is_empty() {
        return Ok(true);
    }
    if let Some((from, to)) = replaced_range(directory, &swaps)? {
        for name in names {
            let is_replaced = offset_of_name(name).is_some_and(|at| from <= at && at < to);
            if is_replaced && !name.ends_with(SWAP_SUFFIX) {
                remove(name)?;
            }
        }
    }
    for swap in swaps {
        let name = &swap[..swap.len() - SWAP_SUFFIX.len()];
        files.rename(&directory.file(swap), &directory.file(name))?;
    }
    directory.sync()?;
    Ok(true)
}

/// The names of the directory's files.
fn file_names(directory: &PartitionDirectory) -> io::Result<Vec<String>> {
    let entries = directory.directory().list(&directory.path())?;
    let files = entries.into_iter().filter(|entry| !entry.is_directory);
    Ok(files.map(|entry| entry.name).collect())
}

/// The offsets that the swapped-in segments cover.
fn replaced_range(
    directory: &PartitionDirectory,
    swaps: &[&String],
) -> io::Result<Option<(Offset, Offset)>> {
    let mut range: Option<(Offset, Offset)> = None;
    for swap in swaps {
        let name = &swap[..swap.len() - SWAP_SUFFIX.len()];
        let Some((FileKind::Log, base)) = FileKind::parse(name) else {
            continue;
        };
        let file = directory.open(swap, crate::directory::OpenMode::Existing)?;
        let end = file.length()?;
        let mut scanner = crate::scanner::HeaderScanner::new(&*file, 0, end);
        let mut next_offset = base;
        while let Some(batch) = scanner.next_batch()? {
            next_offset = batch.header.next_offset();
        }
        let (from, to) = range.unwrap_or((base, next_offset));
        range = Some((from.min(base), to.max(next_offset)));
    }
    Ok(range)
}

struct Inventory {
    segments: Vec<Arc<Segment>>,
    without_index: BTreeSet<Offset>,
    snapshots: BTreeSet<Offset>,
}

/// What files of these names are. Indexes without a segment are removed.
fn inventory(directory: &Arc<PartitionDirectory>, names: Vec<String>) -> io::Result<Inventory> {
    let mut logs = Vec::new();
    let mut indexes = Vec::new();
    let mut snapshots = BTreeSet::new();
    for name in names {
        match FileKind::parse(&name) {
            Some((FileKind::Log, base)) => {
                let length = directory.directory().length(&directory.file(&name))?;
                logs.push((base, length));
            }
            Some((FileKind::Snapshot, offset)) => drop(snapshots.insert(offset)),
            Some((kind, base)) => indexes.push((kind, base, name)),
            None => {}
        }
    }
    logs.sort_unstable();
    let bases: BTreeSet<Offset> = logs.iter().map(|(base, _)| *base).collect();
    let mut with_index = BTreeSet::new();
    for (kind, base, name) in indexes {
        if !bases.contains(&base) {
            remove_if_exists(directory.directory(), &directory.file(&name))?;
        } else if kind == FileKind::OffsetIndex {
            with_index.insert(base);
        }
    }
    let segment = |(base, length)| Arc::new(Segment::existing(Arc::clone(directory), base, length));
    Ok(Inventory {
        segments: logs.into_iter().map(segment).collect(),
        without_index: bases.difference(&with_index).copied().collect(),
        snapshots,
    })
}

impl Log {
    pub(super) fn rebuild_producers(
        &mut self,
        last_offset: Offset,
        is_clean: bool,
        now: Timestamp,
    ) -> io::Result<()> {
        let segments = self.shared.segments.load_full();
        let log_start = self.offsets.log_start_offset;
        rebuild_producers(
            &mut self.producers,
            &self.topic_partition,
            &self.directory,
            &segments,
            log_start..last_offset,
            is_clean,
            now,
            self.producer_expiration_ms,
        )
    }
}
