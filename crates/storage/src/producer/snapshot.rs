//! Producer snapshot files: the state of all producers at an offset, which is the file's name.

use ottla_model::{ProducerEpoch, ProducerId, Timestamp};
use ottla_record::NO_SEQUENCE;

use super::entry::{BatchMetadata, ProducerEntry};

const VERSION: i16 = 1;
const CRC_OFFSET: usize = 2;
const COUNT_OFFSET: usize = 6;
const ENTRIES_OFFSET: usize = 10;
const ENTRY_BYTES: usize = 46;

/// A snapshot that cannot be used; it is deleted, and an older one is tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CorruptSnapshot {
    /// Another version than 1.
    #[error("snapshot contained an unknown file version {0}")]
    Version(i16),
    /// The checksum does not match the content.
    #[error("snapshot is corrupt (stored crc: {stored}, computed crc: {computed})")]
    Crc {
        /// In the file.
        stored: u32,
        /// Of the content.
        computed: u32,
    },
    /// The length does not fit the number of entries.
    #[error("snapshot of {0} bytes does not hold the entries it counts")]
    Length(usize),
}

/// The file's content for these producers.
pub fn encode<'a>(producers: impl ExactSizeIterator<Item = &'a ProducerEntry>) -> Vec<u8> {
    let count = i32::try_from(producers.len()).unwrap_or(i32::MAX);
    let mut bytes = Vec::with_capacity(ENTRIES_OFFSET + producers.len() * ENTRY_BYTES);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(count.to_be_bytes());
    for entry in producers {
        let last = entry.batches().last();
        bytes.extend(entry.producer_id.0.to_be_bytes());
        bytes.extend(entry.producer_epoch.0.to_be_bytes());
        bytes.extend(entry.last_sequence().to_be_bytes());
        bytes.extend(entry.last_data_offset().to_be_bytes());
        bytes.extend(last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend(entry.last_timestamp.0.to_be_bytes());
        bytes.extend(entry.coordinator_epoch.to_be_bytes());
        bytes.extend(
            entry
                .current_transaction_first_offset
                .unwrap_or(-1)
                .to_be_bytes(),
        );
    }
    let crc = crc32c::crc32c(&bytes[COUNT_OFFSET..]);
    bytes[CRC_OFFSET..COUNT_OFFSET].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads a file's content.
///
/// # Errors
/// See [`CorruptSnapshot`].
pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, CorruptSnapshot> {
    let Some((header, entries)) = bytes.split_at_checked(ENTRIES_OFFSET) else {
        return Err(CorruptSnapshot::Length(bytes.len()));
    };
    let mut header = Fields(header);
    let version = i16::from_be_bytes(header.take());
    if version != VERSION {
        return Err(CorruptSnapshot::Version(version));
    }
    let stored = u32::from_be_bytes(header.take());
    let computed = crc32c::crc32c(&bytes[COUNT_OFFSET..]);
    if stored != computed {
        return Err(CorruptSnapshot::Crc { stored, computed });
    }
    let count = i32::from_be_bytes(header.take());
    if usize::try_from(count).ok() != Some(entries.len() / ENTRY_BYTES)
        || entries.len() % ENTRY_BYTES != 0
    {
        return Err(CorruptSnapshot::Length(bytes.len()));
    }
    Ok(entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| decode_entry(Fields(entry)))
        .collect())
}

fn decode_entry(mut fields: Fields<'_>) -> ProducerEntry {
    let mut entry = ProducerEntry::unknown(ProducerId(i64::from_be_bytes(fields.take())));
    entry.producer_epoch = ProducerEpoch(i16::from_be_bytes(fields.take()));
    let last_sequence = i32::from_be_bytes(fields.take());
    let last_offset = i64::from_be_bytes(fields.take());
    let offset_delta = i32::from_be_bytes(fields.take());
    let timestamp = i64::from_be_bytes(fields.take());
    entry.last_timestamp = Timestamp(timestamp);
    entry.coordinator_epoch = i32::from_be_bytes(fields.take());
    let first_offset = i64::from_be_bytes(fields.take());
    entry.current_transaction_first_offset = (first_offset >= 0).then_some(first_offset);
    if last_offset >= 0 {
        entry.push(BatchMetadata {
            last_sequence: last_sequence.max(NO_SEQUENCE),
            last_offset,
            offset_delta: offset_delta.max(0),
            timestamp,
        });
    }
    entry
}

/// Reads fixed fields off the front; the lengths were checked before.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N);
        self.0 = rest;
        let mut array = [0; N];
        array.copy_from_slice(field);
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden_entries() -> [ProducerEntry; 2] {
        let mut first = ProducerEntry::unknown(ProducerId(7));
        first.producer_epoch = ProducerEpoch(3);
        first.push(BatchMetadata {
            last_sequence: 9,
            last_offset: 50,
            offset_delta: 4,
            timestamp: 1000,
        });
        first.last_timestamp = Timestamp(1000);
        first.coordinator_epoch = 5;
        first.current_transaction_first_offset = Some(42);
        let mut second = ProducerEntry::unknown(ProducerId(8));
        second.producer_epoch = ProducerEpoch(0);
        second.last_timestamp = Timestamp(2000);
        [first, second]
    }

    const GOLDEN: &str = "0001969166400000000200000000000000070003000000090000000000000032\
        0000000400000000000003e800000005000000000000002a00000000000000080000ffffffffffffffff\
        ffffffff0000000000000000000007d0ffffffffffffffffffffffff";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_those_of_kafka() {
        let entries = golden_entries();
        let bytes = encode(entries.iter());
        assert_eq!(hex(&bytes), GOLDEN);
        assert_eq!(decode(&bytes).unwrap(), entries);
    }

    #[test]
    fn every_damaged_byte_and_every_wrong_length_is_noticed() {
        let bytes = encode(golden_entries().iter());
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {index}");
            assert!(decode(&bytes[..index]).is_err(), "length {index}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
}
