//! The transaction log's file format.
//!
//! ```text
//! file:   magic "OTTLATX1"  frame*
//! frame:  length u32  crc32c(length) u32  crc32c(body) u32  body
//! body:   (length u32  transaction)*
//! ```
//! A frame is one group commit: one write and one fsync. Frames are acknowledged in order and only
//! when synced, so a crash can only tear the last one. What counts as torn: the file ends inside
//! the frame, or the frame's end was never written and reads as zeros. Everything else is damage.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_coordination::tree::Transaction;

/// First bytes of a log.
pub(crate) const MAGIC: &[u8; 8] = b"OTTLATX1";

const HEADER: usize = 12;

/// What a disk writes at once: unwritten bytes begin at such a boundary.
const SECTOR: usize = 512;

/// Makes a frame.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    body: BytesMut,
}

impl FrameBuilder {
    /// Adds a transaction.
    pub(crate) fn push(&mut self, transaction: &Transaction) {
        let start = self.body.len();
        self.body.put_u32(0);
        transaction.encode(&mut self.body);
        let length = self.body.len() - start - 4;
        self.body[start..start + 4].copy_from_slice(&length_field(length));
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The frame's bytes; the builder is empty again.
    pub(crate) fn finish(&mut self) -> Bytes {
        let body = self.body.split();
        let length = length_field(body.len());
        let mut frame = BytesMut::with_capacity(HEADER + body.len());
        frame.put_slice(&length);
        frame.put_u32(crc32c::crc32c(&length));
        frame.put_u32(crc32c::crc32c(&body));
        frame.put_slice(&body);
        frame.freeze()
    }
}

/// What a log file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The transactions of all whole frames.
    pub(crate) transactions: Vec<Transaction>,
    /// Where the last whole frame ends: 0 if not even the magic is whole. What follows is torn.
    pub(crate) end: usize,
}

/// Damage that a crash cannot have caused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

/// Reads a log file.
pub(crate) fn read(file: &[u8]) -> Result<Contents, Damage> {
    let mut contents = Contents {
        transactions: Vec::new(),
        end: 0,
    };
    if MAGIC.starts_with(file) && file.len() < MAGIC.len() || file.iter().all(|&byte| byte == 0) {
        return Ok(contents);
    }
    if !file.starts_with(MAGIC) {
        return Err(Damage {
            offset: 0,
            reason: "not a transaction log",
        });
    }
    contents.end = MAGIC.len();
    while contents.end < file.len() {
        match frame(file, contents.end)? {
            None => break,
            Some((body, end)) => {
                let offset = contents.end;
                transactions(body, &mut contents.transactions)
                    .map_err(|reason| Damage { offset, reason })?;
                contents.end = end;
            }
        }
    }
    Ok(contents)
}

/// The body of the frame at `start` and where it ends; `None` if the frame is torn.
fn frame(file: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, Damage> {
    let damage = |reason| {
        Err(Damage {
            offset: start,
            reason,
        })
    };
    let rest = &file[start..];
    let Some((header, after)) = rest.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let (length_bytes, length_crc, body_crc) =
        (&header[..4], field(&header[4..8]), field(&header[8..]));
    if crc32c::crc32c(length_bytes) != length_crc {
        return if is_unwritten(file, start) {
            Ok(None)
        } else {
            damage("a bad frame header")
        };
    }
    let Some(body) = after.get(..field(length_bytes) as usize) else {
        return Ok(None);
    };
    let end = start + HEADER + body.len();
    if crc32c::crc32c(body) == body_crc {
        return Ok(Some((body, end)));
    }
    if end == file.len() && is_unwritten(file, start) {
        return Ok(None);
    }
    damage("a bad checksum")
}

/// Whether the file's last sector that has anything of the frame at `start`, or the frame itself if
/// that is shorter, is all zeros.
fn is_unwritten(file: &[u8], start: usize) -> bool {
    let last_sector = (file.len().saturating_sub(1) / SECTOR) * SECTOR;
    let unwritten = &file[last_sector.max(start)..];
    !unwritten.is_empty() && unwritten.iter().all(|&byte| byte == 0)
}

fn transactions(mut body: &[u8], out: &mut Vec<Transaction>) -> Result<(), &'static str> {
    while !body.is_empty() {
        let (length, rest) = body.split_at_checked(4).ok_or("a bad transaction length")?;
        let (transaction, rest) = rest
            .split_at_checked(field(length) as usize)
            .ok_or("a bad transaction length")?;
        out.push(Transaction::decode(transaction).map_err(|error| error.0)?);
        body = rest;
    }
    Ok(())
}

fn length_field(length: usize) -> [u8; 4] {
    // A batch is bounded far below (see the service); a single transaction is a znode or a multi
    // of them, which clients bound by a few MiB.
    u32::try_from(length)
        .expect("a group commit is below 4 GiB")
        .to_be_bytes()
}

fn field(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use ottla_coordination::tree::Change;

    use super::*;

    fn transaction(zxid: i64) -> Transaction {
        let path = format!("/{zxid}");
        Transaction {
            zxid,
            time: 1,
            session: 1,
            changes: vec![Change::Delete { path }],
        }
    }

    /// Three frames of one, two and three transactions, and where each ends.
    fn log() -> (Vec<u8>, Vec<usize>) {
        let mut file = MAGIC.to_vec();
        let mut ends = vec![file.len()];
        let mut builder = FrameBuilder::default();
        for zxids in [1..2, 2..4, 4..7] {
            zxids.for_each(|zxid| builder.push(&transaction(zxid)));
            file.extend_from_slice(&builder.finish());
            assert!(builder.is_empty());
            ends.push(file.len());
        }
        (file, ends)
    }

    #[test]
    fn frames_round_trip() {
        let (file, _) = log();
        let contents = read(&file).unwrap();
        assert_eq!(
            contents.transactions,
            (1..7).map(transaction).collect::<Vec<_>>()
        );
        assert_eq!(contents.end, file.len());
    }

    #[test]
    fn a_log_cut_anywhere_keeps_its_whole_frames() {
        let (file, ends) = log();
        for cut in 0..file.len() {
            let contents = read(&file[..cut]).unwrap();
            let whole = ends.iter().rposition(|&end| end <= cut);
            assert_eq!(
                contents.end,
                whole.map_or(0, |frame| ends[frame]),
                "cut at {cut}"
            );
            let count = whole.map_or(0, |frame| [0, 1, 3, 6][frame]);
            assert_eq!(contents.transactions.len(), count, "cut at {cut}");
        }
    }

    #[test]
    fn a_log_whose_last_write_reads_as_zeros_keeps_its_whole_frames() {
        let (mut file, ends) = log();
        file[ends[2]..].fill(0);
        let contents = read(&file).unwrap();
        assert_eq!((contents.transactions.len(), contents.end), (3, ends[2]));
        // Header written, a later sector not.
        let mut builder = FrameBuilder::default();
        (10..100).for_each(|zxid| builder.push(&transaction(zxid)));
        file.truncate(ends[2]);
        file.extend_from_slice(&builder.finish());
        let last = file.len() / SECTOR * SECTOR;
        file[last..].fill(0);
        assert_eq!(read(&file).unwrap().end, ends[2]);
        assert_eq!(read(&[0; 5]).unwrap().end, 0);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_damage() {
        let (file, _) = log();
        for position in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[position] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "byte {position}, bit {bit}");
            }
        }
    }
}
