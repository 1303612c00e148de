//! The leader's pass over the plain records of a magic-2 batch in which all is well: it makes
//! nothing of a record but what the leader has to know. Whatever is out of the ordinary ends it,
//! and is left to [`crate::record`], which reads again and has the words for it.

use ottla_model::Timestamp;

use super::Pass;
use crate::batch::BatchView;
use crate::record::RecordBase;
use crate::varint::Cursor;

/// Looks at the records of a batch that is not compressed; `accepts` is asked of each record's
/// timestamp and whether it has a key. `None` if it refuses one, or if one is malformed.
#[inline]
pub(super) fn glance(
    batch: &BatchView<'_>,
    accepts: impl Fn(Timestamp, bool) -> bool,
) -> Option<Pass> {
    let base = RecordBase::of(batch);
    let count = batch.record_count.filter(|count| *count > 0)?;
    let mut records = Cursor::new(batch.payload());
    let mut max_timestamp = Timestamp::NONE;
    for _ in 0..count {
        let size = usize::try_from(records.varint()?).ok()?;
        let mut record = Cursor::new(records.take(size)?);
        let _attributes = record.byte()?;
        let timestamp = base.timestamp(record.varlong()?);
        let _offset_delta = record.varint()?;
        let has_key = record.nullable_bytes()?.is_some();
        let _value = record.nullable_bytes()?;
        let headers = record.varint()?;
        if headers != 0 {
            skip_headers(&mut record, headers)?;
        }
        if record.remaining() != 0 || !accepts(timestamp, has_key) {
            return None;
        }
        max_timestamp = max_timestamp.max(timestamp);
    }
    (records.remaining() == 0).then_some(Pass {
        count: i64::from(count),
        max_timestamp,
        size_in_bytes: batch.payload().len(),
    })
}

fn skip_headers(record: &mut Cursor<'_>, count: i32) -> Option<()> {
    // Each takes bytes: a count that lies ends with them.
    for _ in 0..usize::try_from(count).ok()? {
        let key_size = usize::try_from(record.varint()?).ok()?;
        record.take(key_size)?;
        record.nullable_bytes()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::builder::RecordBatchBuilder;
    use crate::record::InvalidRecords;

    /// What the reader of records says of them, who knows all errors.
    fn read(batch: &BatchView<'_>) -> Result<Pass, InvalidRecords> {
        let mut seen = Pass::default();
        for record in batch.records(1 << 20)?.iter()? {
            let record = record?;
            seen.see(record.timestamp, record.size_in_bytes);
        }
        Ok(seen)
    }

    fn batch(records: usize) -> Bytes {
        let mut builder = RecordBatchBuilder::new(0);
        for index in 0..records {
            let value = vec![b'v'; index * index];
            let headers: &[(&str, Option<&[u8]>)] = match index % 3 {
                0 => &[],
                1 => &[("a", None), ("", Some(b"c"))],
                _ => &[("name", Some(b"value"))],
            };
            builder
                .append_with_headers(
                    Timestamp(1_000_000 + (index as i64 - 2) * 77),
                    (index % 2 == 0).then_some(b"key"),
                    (index % 4 != 0).then_some(&value),
                    headers,
                )
                .unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_glance_sees_what_the_reader_reads_and_nothing_where_that_fails() {
        let mut refused = 0;
        for records in 1..12 {
            let sound = batch(records);
            let view = BatchView::parse(&sound).unwrap();
            assert_eq!(glance(&view, |_, _| true), read(&view).ok());
            for at in crate::batch::RECORD_COUNT_OFFSET..sound.len() {
                for change in [0x01, 0x02, 0x7f, 0x80, 0xff] {
                    let mut damaged = sound.to_vec();
                    damaged[at] ^= change;
                    let view = BatchView::parse(&damaged).unwrap();
                    let expected = read(&view).ok().filter(|seen| seen.count > 0);
                    assert_eq!(glance(&view, |_, _| true), expected, "byte {at} ^ {change}");
                    refused += usize::from(expected.is_none());
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn every_record_is_asked_about() {
        let sound = batch(5);
        let view = BatchView::parse(&sound).unwrap();
        assert_eq!(glance(&view, |_, has_key| has_key), None);
        let last = Timestamp(1_000_000 + 2 * 77);
        assert_eq!(glance(&view, |timestamp, _| timestamp < last), None);
        assert!(glance(&view, |timestamp, _| timestamp <= last).is_some());
    }
}
