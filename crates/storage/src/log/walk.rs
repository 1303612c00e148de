//! Reading whole batches of a segment one after the other, checking all there is to check.

use std::io;

use ottla_model::Offset;
use ottla_record::{
    BatchHeader, BatchPrefix, BatchView, HEADER_SIZE_UP_TO_MAGIC, RECORD_BATCH_OVERHEAD,
};

use crate::directory::{StorageFile, read_full};
use crate::segment::Segment;

/// Bytes read at once: checksums then find them in the processor's cache.
const CHUNK_BYTES: usize = 256 << 10;
/// How far the disk is asked to be ahead, so that it works while checksums are computed.
const READ_AHEAD_BYTES: u64 = 4 << 20;

const INCOMPLETE: &str = "an incomplete batch";

/// A walk over a segment from its first byte.
pub(super) struct Walk<'a> {
    segment: &'a Segment,
    file: &'a dyn StorageFile,
    /// Where the next batch begins.
    position: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file, and how much of it was read.
    buffer_start: u64,
    buffer_length: usize,
    /// The disk was asked for what lies before.
    announced: u64,
}

/// What comes next.
pub(super) enum Step<'a> {
    /// A sound batch.
    Batch(BatchView<'a>),
    /// The segment ends.
    End,
    /// Something that is no batch which may follow.
    Damaged(String),
    /// A batch that is too far from the segment's base for an index.
    OutOfReach(String),
}

impl<'a> Walk<'a> {
    pub(super) fn new(segment: &'a Segment) -> io::Result<Self> {
        Ok(Self {
            segment,
            file: &**segment.file()?,
            position: 0,
            buffer: Vec::new(),
            buffer_start: 0,
            buffer_length: 0,
            announced: 0,
        })
    }

    /// Where the next batch begins, in bytes of the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch, which may not begin below `next_offset`.
    pub(super) fn next(&mut self, next_offset: Offset) -> io::Result<Step<'_>> {
        let left = self.segment.size().saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        let damaged = |reason: &str| Ok(Step::Damaged(reason.to_owned()));
        let bytes = self.bring(RECORD_BATCH_OVERHEAD)?;
        if bytes.len() < HEADER_SIZE_UP_TO_MAGIC {
            return damaged(INCOMPLETE);
        }
        let header = match BatchPrefix::parse(bytes) {
            Ok(prefix) if bytes.len() < prefix.header_size() => return damaged(INCOMPLETE),
            Ok(_) => BatchHeader::parse(bytes),
            Err(error) => Err(error),
        };
        let header = match header {
            Ok(header) => header,
            Err(error) => return damaged(&error.to_string()),
        };
        let size = header.size_in_bytes;
        if left < size as u64 {
            return damaged(INCOMPLETE);
        }
        let (first, last) = (header.base_offset(), header.last_offset());
        if first < next_offset || last < first {
            let reason = format!("offsets {first} to {last} where {next_offset} was expected");
            return Ok(Step::Damaged(reason));
        }
        if last - self.segment.base_offset > Offset::from(i32::MAX) {
            return Ok(Step::OutOfReach(format!(
                "offset {last} is out of the segment's reach"
            )));
        }
        let position = self.position;
        self.position += size as u64;
        // No larger than the file: `left` is a part of it.
        let Some(bytes) = self.bring_from(position, size)?.get(..size) else {
            return damaged(INCOMPLETE);
        };
        let view = match BatchView::parse(bytes) {
            Ok(view) => view,
            Err(error) => return damaged(&error.to_string()),
        };
        match view.ensure_valid() {
            Ok(()) => Ok(Step::Batch(view)),
            Err(error) => damaged(&error.to_string()),
        }
    }

    fn bring(&mut self, wanted: usize) -> io::Result<&[u8]> {
        self.bring_from(self.position, wanted)
    }

    /// The bytes from a position on: as many as wanted, unless the segment ends before.
    fn bring_from(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let done = (position - self.buffer_start) as usize;
        if self.buffer_length - done < wanted {
            self.fill(position, wanted)?;
        }
        let done = (position - self.buffer_start) as usize;
        Ok(&self.buffer[done..self.buffer_length])
    }

    /// Reads on, so that the buffer begins at a position.
    fn fill(&mut self, position: u64, wanted: usize) -> io::Result<()> {
        let done = (position - self.buffer_start) as usize;
        self.buffer.copy_within(done..self.buffer_length, 0);
        self.buffer_length -= done;
        self.buffer_start = position;
        let left = self.segment.size().saturating_sub(position);
        let room = CHUNK_BYTES.max(wanted);
        let room = usize::try_from(left).map_or(room, |left| left.min(room));
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        if room > self.buffer_length {
            self.announce(position + room as u64);
            let begin = position + self.buffer_length as u64;
            let read = read_full(self.file, &mut self.buffer[self.buffer_length..room], begin)?;
            self.buffer_length += read;
        }
        Ok(())
    }

    /// Asks the disk for what comes after the bytes that are read now.
    fn announce(&mut self, end: u64) {
        let ahead = (end + READ_AHEAD_BYTES).min(self.segment.size());
        // In large pieces: each is a call.
        if ahead >= self.announced + READ_AHEAD_BYTES / 2 || ahead == self.segment.size() {
            let begin = self.announced.max(end);
            if ahead > begin {
                self.file.will_read(begin, ahead - begin);
                self.announced = ahead;
            }
        }
    }
}
