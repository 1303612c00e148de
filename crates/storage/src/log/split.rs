//! Segments with offsets that their indexes cannot express (`splitOverflowedSegment`). The cleaner
//! of old releases made such: it put segments together that lie too far apart. Whoever meets one
//! while it is recovered or cleaned splits it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ottla_model::Offset;

use super::clean::{CLEANED_KINDS, remove_cleaned};
use crate::cleaner::CleanedSegment;
use crate::directory::read_full;
use crate::names::{CLEANED_SUFFIX, FileKind, SWAP_SUFFIX};
use crate::partition_directory::PartitionDirectory;
use crate::scanner::ScanError;
use crate::segment::Segment;

/// A part of a segment that becomes one of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) base_offset: Offset,
    bytes: Range<u64>,
}

impl Piece {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

/// How to split a segment; `None` if it need not be, or if what looks as if it had to be is damage:
/// offsets that do not rise, or reach the next segment at `end`.
pub(crate) fn pieces(segment: &Segment, end: Offset) -> io::Result<Option<Vec<Piece>>> {
    let mut scanner = segment.scan(0)?;
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut next_offset, mut position) = (segment.base_offset, 0);
    loop {
        let batch = match scanner.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(ScanError::Corrupt { .. }) => return Ok(None),
            Err(ScanError::Io(error)) => return Err(error),
        };
        let (first, last) = (batch.header.base_offset(), batch.header.last_offset());
        if first < next_offset || last < first || last >= end {
            return Ok(None);
        }
        next_offset = last + 1;
        position = batch.position + batch.header.size_in_bytes as u64;
        let reaches = |base: Offset| last - base <= Offset::from(i32::MAX);
        // Where it can, the first one keeps the name.
        let keeps_name = pieces.is_empty() && reaches(segment.base_offset);
        match pieces.last_mut() {
            Some(piece) if reaches(piece.base_offset) => piece.bytes.end = position,
            _ => pieces.push(Piece {
                base_offset: if keeps_name {
                    segment.base_offset
                } else {
                    first
                },
                bytes: batch.position..position,
            }),
        }
    }
    let is_overflow = pieces.len() > 1
        || pieces
            .first()
            .is_some_and(|piece| piece.base_offset != segment.base_offset);
    Ok((is_overflow && position == segment.size()).then_some(pieces))
}

/// Writes the pieces as `.cleaned` files with their indexes.
pub(crate) fn write_cleaned(
    directory: &Arc<PartitionDirectory>,
    segment: &Segment,
    pieces: &[Piece],
    index_interval_bytes: u64,
) -> io::Result<()> {
    let aborted = segment.transaction_index.entries()?;
    let modified = segment.modified()?;
    for (index, piece) in pieces.iter().enumerate() {
        let base = piece.base_offset;
        let end = pieces
            .get(index + 1)
            .map_or(Offset::MAX, |next| next.base_offset);
        remove_cleaned(directory, base)?;
        let mut output = CleanedSegment::create(Arc::clone(directory), base, index_interval_bytes)?;
        let mut scanner = segment.scan(piece.bytes.start)?;
        let mut buffer = Vec::new();
        while let Some(batch) = scanner.next_batch()? {
            if batch.position >= piece.bytes.end {
                break;
            }
            // No larger than the file: the scanner saw the whole batch in it.
            buffer.resize(batch.header.size_in_bytes, 0);
            if read_full(&**segment.file()?, &mut buffer, batch.position)? < buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            output.append(&buffer)?;
        }
        let mut aborted = aborted.clone();
        aborted.retain(|entry| (base..end).contains(&entry.last_offset));
        output.finish(&aborted, modified)?;
    }
    Ok(())
}

/// Renames the files of rewritten segments from one suffix to the next; the last segment first, so
/// that a start in between sees that not all of them are there.
pub(super) fn rename_all(
    directory: &PartitionDirectory,
    base_offsets: &[Offset],
    from: &str,
    to: &str,
) -> io::Result<()> {
    for base_offset in base_offsets.iter().rev() {
        for kind in CLEANED_KINDS {
            let name = kind.file_name(*base_offset);
            let source = directory.file(&format!("{name}{from}"));
            let target = directory.file(&format!("{name}{to}"));
            match directory.directory().rename(&source, &target) {
                // Only a log with aborted transactions has an index of them.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && kind == FileKind::TransactionIndex => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// Puts pieces in the place of a segment of a log that is being opened.
pub(super) fn split_unopened(
    directory: &Arc<PartitionDirectory>,
    segment: &Segment,
    pieces: &[Piece],
    index_interval_bytes: u64,
) -> io::Result<Vec<Arc<Segment>>> {
    write_cleaned(directory, segment, pieces, index_interval_bytes)?;
    let bases: Vec<Offset> = pieces.iter().map(|piece| piece.base_offset).collect();
    rename_all(directory, &bases, CLEANED_SUFFIX, SWAP_SUFFIX)?;
    segment.delete()?;
    rename_all(directory, &bases, SWAP_SUFFIX, "")?;
    directory.sync()?;
    let open = |piece: &Piece| {
        let segment = Segment::existing(Arc::clone(directory), piece.base_offset, piece.size());
        Arc::new(segment)
    };
    Ok(pieces.iter().map(open).collect())
}
