//! The entries of index files, as they stand.

use std::io;
use std::path::Path;

use ottla_model::{Offset, Timestamp};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// An index with all its entries, those of a preallocated tail (zeros) included.
#[derive(Debug)]
pub(crate) struct Index<E> {
    pub(crate) entries: Vec<E>,
    /// Whether the file is a whole number of entries.
    pub(crate) is_whole: bool,
}

/// `(offset, position in the log)` of each entry of an offset index.
pub(crate) fn offset_index(path: &Path, base: Offset) -> io::Result<Index<(Offset, u32)>> {
    read(path, |entry: [u8; OFFSET_ENTRY_BYTES]| {
        let (relative, position) = (word(&entry, 0), word(&entry, 4));
        (base.wrapping_add(Offset::from(relative)), position)
    })
}

/// `(largest timestamp so far, offset of its record)` of each entry of a time index.
pub(crate) fn time_index(path: &Path, base: Offset) -> io::Result<Index<(Timestamp, Offset)>> {
    read(path, |entry: [u8; TIME_ENTRY_BYTES]| {
        let high = i64::from(word(&entry, 0)) << 32;
        let timestamp = Timestamp(high | i64::from(word(&entry, 4)));
        (timestamp, base.wrapping_add(Offset::from(word(&entry, 8))))
    })
}

/// The entries up to the zeros of a preallocated tail: an entry at the base offset ends them unless
/// it is the first.
pub(crate) fn written<E: Copy>(
    entries: &[E],
    base: Offset,
    offset_of: impl Fn(E) -> Offset,
) -> &[E] {
    let end = entries
        .iter()
        .skip(1)
        .position(|entry| offset_of(*entry) == base)
        .map_or(entries.len(), |found| found + 1);
    &entries[..end]
}

/// The position from which an offset is found: of the last entry not behind it.
pub(crate) fn lookup(entries: &[(Offset, u32)], base: Offset, target: Offset) -> u64 {
    let entries = written(entries, base, |entry| entry.0);
    let behind = entries.partition_point(|entry| entry.0 <= target);
    behind
        .checked_sub(1)
        .map_or(0, |index| u64::from(entries[index].1))
}

fn read<E, const SIZE: usize>(
    path: &Path,
    decode: impl Fn([u8; SIZE]) -> E,
) -> io::Result<Index<E>> {
    let bytes = std::fs::read(path)?;
    let (whole, rest) = bytes.as_chunks::<SIZE>();
    Ok(Index {
        entries: whole.iter().map(|entry| decode(*entry)).collect(),
        is_whole: rest.is_empty(),
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_the_last_entry_are_none() {
        let entries = [(10, 0), (12, 70), (10, 0), (10, 0)];
        assert_eq!(written(&entries, 10, |entry| entry.0), &entries[..2]);
        assert_eq!(lookup(&entries, 10, 11), 0);
        assert_eq!(lookup(&entries, 10, 12), 70);
        assert_eq!(lookup(&entries, 10, 99), 70);
        assert_eq!(lookup(&[], 10, 99), 0);
    }
}
