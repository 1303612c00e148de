//! The aborted transactions of a segment, in order of completion (`TransactionIndex`). The file is
//! made by the first of them.

use std::io::{self, IoSlice};
use std::sync::Arc;

use ottla_model::{Offset, ProducerId};
use parking_lot::Mutex;

use crate::directory::{OpenMode, invalid_data, read_file, remove_if_exists};
use crate::names::FileKind;
use crate::partition_directory::PartitionDirectory;

const ENTRY_BYTES: usize = 34;
/// Largest index that is read whole.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// An aborted transaction, as the index of the segment with its marker holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: ProducerId,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The offset of the marker.
    pub last_offset: Offset,
    /// The last stable offset right after it was aborted.
    pub last_stable_offset: Offset,
}

/// The aborted transactions whose markers lie in one segment.
#[derive(Debug)]
pub struct TransactionIndex {
    directory: Arc<PartitionDirectory>,
    base_offset: Offset,
    /// Read from the file when first asked for: most partitions never see a transaction.
    entries: Mutex<Option<Vec<AbortedTransaction>>>,
}

impl TransactionIndex {
    /// The index of a segment, whether or not it has a file.
    pub fn new(directory: Arc<PartitionDirectory>, base_offset: Offset) -> Self {
        Self {
            directory,
            base_offset,
            entries: Mutex::new(None),
        }
    }

    /// The index of a new segment, which has no file.
    pub fn empty(directory: Arc<PartitionDirectory>, base_offset: Offset) -> Self {
        Self {
            directory,
            base_offset,
            entries: Mutex::new(Some(Vec::new())),
        }
    }

    /// Adds a transaction.
    ///
    /// # Errors
    /// Its marker is not above the last one's, or the file cannot be written.
    pub fn append(&self, aborted: AbortedTransaction) -> io::Result<()> {
        let mut entries = self.loaded()?;
        let list = entries.get_or_insert_default();
        if list
            .last()
            .is_some_and(|last| last.last_offset >= aborted.last_offset)
        {
            return Err(invalid_data(format!(
                "{aborted:?} is not after the last in the index"
            )));
        }
        let file = self.directory.open(&self.name(), OpenMode::OpenOrCreate)?;
        let position = (list.len() * ENTRY_BYTES) as u64;
        file.write_all_at(&mut [IoSlice::new(&encode(&aborted))], position)?;
        list.push(aborted);
        Ok(())
    }

    /// Entries for a reader of `[fetch_offset, upper_bound)`, added to `found`. Whether no later
    /// index can hold more.
    pub fn collect(
        &self,
        fetch_offset: Offset,
        upper_bound: Offset,
        found: &mut Vec<AbortedTransaction>,
    ) -> io::Result<bool> {
        let entries = self.loaded()?;
        for aborted in entries.iter().flatten() {
            if aborted.last_offset >= fetch_offset && aborted.first_offset < upper_bound {
                found.push(*aborted);
            }
            if aborted.last_stable_offset >= upper_bound {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All entries.
    pub fn entries(&self) -> io::Result<Vec<AbortedTransaction>> {
        Ok(self.loaded()?.clone().unwrap_or_default())
    }

    /// Keeps entries whose marker is below an offset.
    pub fn truncate_to(&self, offset: Offset) -> io::Result<()> {
        let mut entries = self.loaded()?;
        let list = entries.get_or_insert_default();
        let kept = list.partition_point(|aborted| aborted.last_offset < offset);
        if kept < list.len() {
            list.truncate(kept);
            let file = self.directory.open(&self.name(), OpenMode::Existing)?;
            file.set_length((kept * ENTRY_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Forgets what is in memory and removes the file (before a rebuild).
    pub fn reset(&self) -> io::Result<()> {
        *self.entries.lock() = Some(Vec::new());
        self.delete()
    }

    /// Whether the file, if there is one, can be the index of this segment.
    pub fn is_sane(&self) -> io::Result<bool> {
        match self.loaded() {
            Ok(entries) => {
                let mut entries = entries.iter().flatten();
                Ok(entries.all(|aborted| aborted.last_offset >= self.base_offset))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the file survive a crash.
    pub fn flush(&self) -> io::Result<()> {
        match &*self.entries.lock() {
            // Not read since it was opened, so not written either; or no file.
            None => Ok(()),
            Some(list) if list.is_empty() => Ok(()),
            Some(_) => self
                .directory
                .open(&self.name(), OpenMode::Existing)?
                .sync(),
        }
    }

    /// Removes the file if there is one.
    pub fn delete(&self) -> io::Result<()> {
        let path = self.directory.file(&self.name());
        remove_if_exists(self.directory.directory(), &path).map(drop)
    }

    fn name(&self) -> String {
        FileKind::TransactionIndex.file_name(self.base_offset)
    }

    fn loaded(&self) -> io::Result<parking_lot::MutexGuard<'_, Option<Vec<AbortedTransaction>>>> {
        let mut entries = self.entries.lock();
        if entries.is_none() {
            let path = self.directory.file(&self.name());
            *entries = Some(
                match read_file(self.directory.directory(), &path, INDEX_BYTES_MAX) {
                    Ok(content) => decode(&content)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(error),
                },
            );
        }
        Ok(entries)
    }
}

pub(crate) fn encode(aborted: &AbortedTransaction) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let numbers = [
        aborted.producer_id.0,
        aborted.first_offset,
        aborted.last_offset,
        aborted.last_stable_offset,
    ];
    for (slot, number) in bytes[2..].chunks_exact_mut(8).zip(numbers) {
        slot.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn decode(content: &[u8]) -> io::Result<Vec<AbortedTransaction>> {
    // A partial entry at the end is what a crash leaves: it is not there.
    let entries = content.chunks_exact(ENTRY_BYTES).map(|entry| {
        if entry[0] != 0 {
            return Err(invalid_data(format!(
                "unknown version {} of an index entry",
                entry[0]
            )));
        }
        let mut numbers = [0_i64; 4];
        for (number, bytes) in numbers.iter_mut().zip(entry[2..].chunks_exact(8)) {
            let mut array = [0; 8];
            array.copy_from_slice(bytes);
            *number = i64::from_be_bytes(array);
        }
        let [producer_id, first_offset, last_offset, last_stable_offset] = numbers;
        let producer_id = ProducerId(producer_id);
        Ok(AbortedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::MemoryDirectory;

    fn aborted(id: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(id),
            first_offset: first,
            last_offset: last,
            last_stable_offset: stable,
        }
    }

    fn index() -> (Arc<PartitionDirectory>, TransactionIndex) {
        let directory = Arc::new(MemoryDirectory::new());
        let directory = Arc::new(PartitionDirectory::new(directory, "/".into()));
        (Arc::clone(&directory), TransactionIndex::new(directory, 40))
    }

    #[test]
    fn the_bytes_are_those_of_kafka_and_the_file_is_made_by_the_first_entry() {
        let (directory, index) = index();
        let path = directory.file("00000000000000000040.txnindex");
        assert!(!directory.directory().exists(&path).unwrap());
        index.append(aborted(7, 42, 55, 56)).unwrap();
        let content = read_file(directory.directory(), &path, 100).unwrap();
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "00000000000000000007000000000000002a00000000000000370000000000000038";
        assert_eq!(hex, golden);
        let reopened = TransactionIndex::new(directory, 40);
        assert_eq!(reopened.entries().unwrap(), [aborted(7, 42, 55, 56)]);
        assert!(reopened.is_sane().unwrap());
    }

    #[test]
    fn collect_follows_the_rules_of_read_committed() {
        let (_, index) = index();
        index.append(aborted(1, 40, 50, 45)).unwrap();
        index.append(aborted(2, 45, 60, 61)).unwrap();
        index.append(aborted(3, 70, 80, 81)).unwrap();
        for (from, to, ids, is_complete) in [
            (40, 100, &[1, 2, 3][..], false),
            (51, 100, &[2, 3], false),
            (40, 45, &[1], true),
            (55, 61, &[2], true),
            (81, 100, &[], false),
        ] {
            let mut found = Vec::new();
            assert_eq!(
                index.collect(from, to, &mut found).unwrap(),
                is_complete,
                "{from}..{to}"
            );
            let found: Vec<i64> = found.iter().map(|aborted| aborted.producer_id.0).collect();
            assert_eq!(found, ids, "{from}..{to}");
        }
        assert!(index.append(aborted(4, 75, 80, 90)).is_err());
        index.truncate_to(80).unwrap();
        assert_eq!(index.entries().unwrap().len(), 2);
    }

    #[test]
    fn an_index_of_another_segment_or_version_is_not_sane() {
        let (directory, index) = index();
        index.append(aborted(1, 30, 39, 40)).unwrap();
        assert!(
            !TransactionIndex::new(Arc::clone(&directory), 40)
                .is_sane()
                .unwrap()
        );
        let name = "00000000000000000040.txnindex";
        let file = directory.open(name, OpenMode::Existing).unwrap();
        file.write_all_at(&mut [IoSlice::new(&[1])], 0).unwrap();
        assert!(!TransactionIndex::new(directory, 40).is_sane().unwrap());
    }
}
