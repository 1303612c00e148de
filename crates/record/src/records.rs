//! The records of a batch of any format, decompressed once if need be.

use std::borrow::Cow;

use ottla_model::Offset;

use crate::batch::{BatchView, Magic};
use crate::compression::{CompressionType, decompress};
use crate::legacy::{LegacyIterator, LegacySet};
use crate::record::{InvalidRecords, Record, RecordIterator};

/// A bound for [`BatchView::records`] where no configuration gives one: what one batch may hold
/// once it is decompressed.
pub const DECOMPRESSED_SIZE_MAX: usize = 256 * 1024 * 1024;

/// The records of one batch, ready to be iterated over any number of times.
#[derive(Clone, Debug)]
pub struct BatchRecords<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    Batch(BatchView<'a>, Cow<'a, [u8]>),
    Legacy(LegacySet<'a>),
}

impl<'a> BatchView<'a> {
    /// The records of the batch. An uncompressed batch is borrowed; a compressed one is
    /// decompressed into at most `limit` bytes.
    ///
    /// # Errors
    /// The data does not decompress, or not into `limit` bytes; a legacy set is malformed.
    pub fn records(&self, limit: usize) -> Result<BatchRecords<'a>, InvalidRecords> {
        if self.magic != Magic::V2 {
            return LegacySet::open(self, limit).map(|set| BatchRecords(Source::Legacy(set)));
        }
        let payload = match self.compression_type()? {
            CompressionType::None => Cow::Borrowed(self.payload()),
            // Left by compaction: nothing to decompress.
            _ if self.record_count == Some(0) => Cow::Borrowed(&[][..]),
            codec => Cow::Owned(decompress(codec, self.magic, self.payload(), limit)?),
        };
        Ok(BatchRecords(Source::Batch(*self, payload)))
    }

    /// The offset of the first record, which for a compressed magic 0 or 1 batch is in its records.
    ///
    /// # Errors
    /// As [`BatchView::records`].
    pub fn deep_base_offset(&self, limit: usize) -> Result<Offset, InvalidRecords> {
        if self.magic == Magic::V2 || !self.is_compressed() {
            return Ok(self.base_offset());
        }
        match self.records(limit)?.iter()?.next() {
            Some(record) => Ok(record?.offset),
            None => Ok(self.base_offset()),
        }
    }
}

impl BatchRecords<'_> {
    /// Iterates over the records.
    ///
    /// # Errors
    /// The batch claims a negative number of records.
    pub fn iter(&self) -> Result<Records<'_>, InvalidRecords> {
        Ok(Records(match &self.0 {
            Source::Batch(batch, payload) => {
                Iter::Batch(RecordIterator::new(batch.header(), payload)?)
            }
            Source::Legacy(set) => Iter::Legacy(set.iter()),
        }))
    }
}

impl BatchRecords<'_> {
    /// Of each message of a magic 0 or 1 batch, whether its checksum holds, and the stored one;
    /// nothing for magic 2, whose records have none. Ends before a message that cannot be read.
    pub fn message_checksums(&self) -> Vec<(bool, u32)> {
        let messages = self.legacy().into_iter().flatten();
        messages
            .map_while(Result::ok)
            .map(|found| {
                let message = found.message;
                (message.ensure_valid().is_ok(), message.stored_crc())
            })
            .collect()
    }

    /// Whether all messages of a legacy batch are of the batch's format.
    pub(crate) fn has_matching_magic(&self, batch: &BatchView<'_>) -> bool {
        self.legacy().is_none_or(|mut messages| {
            messages.all(|message| {
                message.is_ok_and(|message| message.message.magic() == batch.magic.byte())
            })
        })
    }

    /// The messages with their stored bytes, if the batch is of magic 0 or 1.
    pub(crate) fn legacy(&self) -> Option<LegacyIterator<'_>> {
        match &self.0 {
            Source::Batch(..) => None,
            Source::Legacy(set) => Some(set.iter()),
        }
    }
}

/// Iterator over [`BatchRecords`]. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a>(Iter<'a>);

#[derive(Clone, Debug)]
enum Iter<'a> {
    Batch(RecordIterator<'a>),
    Legacy(LegacyIterator<'a>),
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, InvalidRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Iter::Batch(records) => records.next(),
            Iter::Legacy(records) => records
                .next()
                .map(|record| record.and_then(|record| record.to_record())),
        }
    }
}
