//! Control batches: the markers that end a transaction (EndTransactionMarker, ControlRecordType).

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::batch::{NO_SEQUENCE, read_i16, read_i32};
use crate::builder::{BuildError, RecordBatchBuilder};
use crate::record::{InvalidRecords, Record};

const KEY_SIZE: usize = 4;
const END_MARKER_VALUE_SIZE: usize = 6;

/// What a control record says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ControlRecordType {
    /// The transaction of the batch's producer is aborted.
    Abort,
    /// The transaction of the batch's producer is committed.
    Commit,
    /// A type that this broker does not act upon (KRaft's 2 to 6, and later ones).
    Other(i16),
}

impl ControlRecordType {
    /// The type id in the record's key.
    pub fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(id) => id,
        }
    }

    /// Reads the key of a control record; versions above 0 are read as version 0.
    ///
    /// # Errors
    /// The key is null or too short, or its version is negative.
    pub fn parse(key: Option<&[u8]>) -> Result<Self, InvalidRecords> {
        let key = key.unwrap_or_default();
        if key.len() < KEY_SIZE {
            return Err(InvalidRecords::malformed(format!(
                "Invalid value size found for end control record key. Must have at least {KEY_SIZE} bytes, but found only {}",
                key.len()
            )));
        }
        let version = read_i16(key, 0);
        if version < 0 {
            return Err(InvalidRecords::malformed(format!(
                "Invalid version found for control record: {version}. May indicate data corruption"
            )));
        }
        Ok(match read_i16(key, 2) {
            0 => Self::Abort,
            1 => Self::Commit,
            id => Self::Other(id),
        })
    }

    fn key(self) -> [u8; KEY_SIZE] {
        let [high, low] = self.id().to_be_bytes();
        [0, 0, high, low]
    }
}

/// The outcome of a transaction, as its coordinator writes it into every partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TransactionResult {
    /// Its records must not be seen by read_committed consumers.
    Abort,
    /// Its records may be seen.
    Commit,
}

/// The value of an end-of-transaction marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTransactionMarker {
    /// Commit or abort.
    pub result: TransactionResult,
    /// The epoch of the transaction coordinator, which fences older ones.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads a marker from a control record; `None` if the record is of another type.
    ///
    /// # Errors
    /// Key or value are too short, or a version is negative.
    pub fn parse(record: &Record<'_>) -> Result<Option<Self>, InvalidRecords> {
        let result = match ControlRecordType::parse(record.key)? {
            ControlRecordType::Abort => TransactionResult::Abort,
            ControlRecordType::Commit => TransactionResult::Commit,
            ControlRecordType::Other(_) => return Ok(None),
        };
        let value = record.value.unwrap_or_default();
        if value.len() < END_MARKER_VALUE_SIZE {
            return Err(InvalidRecords::malformed(format!(
                "Invalid value size found for end transaction marker. Must have at least {END_MARKER_VALUE_SIZE} bytes, but found only {}",
                value.len()
            )));
        }
        let version = read_i16(value, 0);
        if version < 0 {
            return Err(InvalidRecords::malformed(format!(
                "Invalid version found for end transaction marker: {version}. May indicate data corruption"
            )));
        }
        Ok(Some(Self {
            result,
            coordinator_epoch: read_i32(value, 2),
        }))
    }

    fn value(self) -> [u8; END_MARKER_VALUE_SIZE] {
        let mut value = [0; END_MARKER_VALUE_SIZE];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        value
    }
}

/// A control batch with one end-of-transaction marker (MemoryRecords.withEndTransactionMarker).
///
/// # Errors
/// A negative timestamp other than −1.
pub fn end_transaction_marker(
    base_offset: Offset,
    timestamp: Timestamp,
    leader_epoch: LeaderEpoch,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    marker: EndTransactionMarker,
) -> Result<Bytes, BuildError> {
    let kind = match marker.result {
        TransactionResult::Abort => ControlRecordType::Abort,
        TransactionResult::Commit => ControlRecordType::Commit,
    };
    let mut builder = RecordBatchBuilder::new(base_offset)
        .leader_epoch(leader_epoch)
        .producer(producer_id, producer_epoch, NO_SEQUENCE)
        .transactional(true)
        .control(true);
    builder.append(timestamp, Some(&kind.key()), Some(&marker.value()))?;
    builder.build()
}
