//! What the cleaner needs of a log: a look at it, and the exchange of segments.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ottla_model::{Offset, ProducerEpoch, ProducerId};

use super::Log;
use super::split::{Piece, rename_all};
use crate::directory::remove_if_exists;
use crate::errors::LogError;
use crate::log_config::LogConfig;
use crate::log_dir::{LogDir, Task};
use crate::names::{CLEANED_SUFFIX, FileKind, SWAP_SUFFIX};
use crate::partition_directory::PartitionDirectory;
use crate::published::{LogOffsets, LogPosition};
use crate::segment::Segment;

/// The files of a segment that the cleaner writes, in the order in which they are renamed.
pub(crate) const CLEANED_KINDS: [FileKind; 4] = [
    FileKind::Log,
    FileKind::OffsetIndex,
    FileKind::TimeIndex,
    FileKind::TransactionIndex,
];

/// A log at one moment, to be looked at without its lock.
#[derive(Clone, Debug)]
pub(crate) struct CleaningView {
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) offsets: LogOffsets,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) directory: Arc<PartitionDirectory>,
    pub(crate) log_dir: Arc<LogDir>,
}

/// The last thing that a producer wrote (`LastRecord`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastRecord {
    /// The offset of its last data; without one only a marker is left.
    pub(crate) data_offset: Option<Offset>,
    pub(crate) producer_epoch: ProducerEpoch,
}

/// A segment and the size that it had when it was read.
pub(crate) type Source = (Arc<Segment>, u64);

/// A segment that was written in place of others: its base offset and size.
type Written = (Offset, u64);

impl Log {
    /// The log as it is now.
    pub(crate) fn cleaning_view(&self) -> CleaningView {
        CleaningView {
            segments: self.shared.segments.load_full(),
            offsets: self.offsets,
            config: Arc::clone(&self.config),
            directory: Arc::clone(&self.directory),
            log_dir: self.shared.log_dir.load_full(),
        }
    }

    /// The last records of all producers that are not forgotten yet: the cleaner keeps their
    /// batches.
    pub(crate) fn last_records_of_producers(&self) -> BTreeMap<ProducerId, LastRecord> {
        let last = self.producers.producers().map(|entry| {
            let offset = entry.last_data_offset();
            let last = LastRecord {
                data_offset: (offset >= 0).then_some(offset),
                producer_epoch: entry.producer_epoch,
            };
            (entry.producer_id, last)
        });
        last.collect()
    }

    /// Puts the complete `.cleaned` files with the base offset of the first source in the place of
    /// the sources (`replaceSegments`). Whether it did: not if the sources are not what they were,
    /// because somebody truncated the log or deleted segments; the files are left to the caller.
    ///
    /// A crash anywhere leaves either the sources or the new segment: see the steps of opening a
    /// log.
    ///
    /// # Errors
    /// The directory goes offline.
    pub(crate) fn replace_segments(
        &mut self,
        sources: &[Source],
        size: u64,
    ) -> Result<bool, LogError> {
        let first = sources.first().map(|(segment, _)| segment.base_offset);
        let written: Vec<Written> = first.map(|base| (base, size)).into_iter().collect();
        self.exchange_segments(sources, &written)
    }

    /// The same with the pieces of a segment that has to be split.
    ///
    /// # Errors
    /// The directory goes offline.
    pub(crate) fn replace_with_pieces(
        &mut self,
        source: Source,
        pieces: &[Piece],
    ) -> Result<bool, LogError> {
        let written = pieces.iter().map(|piece| (piece.base_offset, piece.size()));
        self.exchange_segments(&[source], &written.collect::<Vec<_>>())
    }

    fn exchange_segments(
        &mut self,
        sources: &[Source],
        written: &[Written],
    ) -> Result<bool, LogError> {
        self.check_online()?;
        let list = self.shared.segments.load_full();
        let Some(first) = sources.first() else {
            return Ok(false);
        };
        let start = list
            .iter()
            .position(|segment| Arc::ptr_eq(segment, &first.0));
        let unchanged = start.filter(|start| {
            let present = &list[*start..];
            // The active segment is never among them, so at least one more follows.
            present.len() > sources.len()
                && sources
                    .iter()
                    .zip(present)
                    .all(|((source, size), segment)| {
                        Arc::ptr_eq(source, segment) && segment.size() == *size
                    })
        });
        let Some(start) = unchanged else {
            return Ok(false);
        };
        let result = self.exchange(&list, start, sources.len(), written);
        self.guard(result).map(|()| true)
    }

    fn exchange(
        &mut self,
        list: &[Arc<Segment>],
        start: usize,
        count: usize,
        written: &[Written],
    ) -> io::Result<()> {
        let sources = &list[start..start + count];
        let bases: Vec<Offset> = written.iter().map(|(base, _)| *base).collect();
        // Readers that are in the middle of a source go on with what is open: by name they would
        // find the new files.
        for source in sources {
            source.open_all()?;
        }
        rename_all(&self.directory, &bases, CLEANED_SUFFIX, SWAP_SUFFIX)?;
        let mut names = Vec::new();
        for source in sources {
            names.extend(source.mark_deleted()?);
            if !bases.contains(&source.base_offset) {
                let snapshot = self
                    .producers
                    .mark_snapshot_deleted(&self.directory, source.base_offset)?;
                names.extend(snapshot);
            }
        }
        rename_all(&self.directory, &bases, SWAP_SUFFIX, "")?;
        self.directory.sync()?;

        let cleaned = written.iter().map(|(base_offset, size)| {
            let directory = Arc::clone(&self.directory);
            Arc::new(Segment::existing(directory, *base_offset, *size))
        });
        let mut kept = list[..start].to_vec();
        kept.extend(cleaned);
        kept.extend_from_slice(&list[start + count..]);
        self.shared.segments.store(Arc::new(kept));

        // Positions in the sources mean nothing any more.
        self.forget_places();
        let active = self.active.base_offset;
        for place in [
            &mut self.offsets.high_watermark,
            &mut self.offsets.last_stable_offset,
        ] {
            if place.segment_base_offset != active {
                *place = LogPosition::offset_only(place.offset);
            }
        }
        self.publish();
        let task = Task::DeleteFiles {
            directory: Arc::clone(&self.directory),
            names,
            delay_ms: self.config.file_delete_delay_ms,
        };
        self.shared.log_dir.load().background().push(task);
        Ok(())
    }
}

/// Removes what is left of an unfinished rewrite.
pub(crate) fn remove_cleaned(
    directory: &PartitionDirectory,
    base_offset: Offset,
) -> io::Result<()> {
    for kind in CLEANED_KINDS {
        let name = format!("{}{CLEANED_SUFFIX}", kind.file_name(base_offset));
        remove_if_exists(directory.directory(), &directory.file(&name))?;
    }
    Ok(())
}
