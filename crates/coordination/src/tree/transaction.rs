//! What a write did, as a log keeps it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The effect of one write on the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Its number; greater than that of every earlier one.
    pub zxid: i64,
    /// Wall time, ms since 1970.
    pub time: i64,
    /// Whose write it was.
    pub session: i64,
    /// What happens, in order.
    pub changes: Vec<Change>,
}

/// One step of a transaction. Sequential names are resolved and versions have been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The session begins.
    OpenSession,
    /// The session ends; its ephemeral znodes were deleted by the changes before.
    CloseSession,
    /// A znode appears.
    Create {
        /// Where.
        path: String,
        /// Its data, `None` or non-empty.
        data: Option<Bytes>,
        /// Whether it goes with the session.
        ephemeral: bool,
    },
    /// A znode's data is replaced.
    SetData {
        /// Which.
        path: String,
        /// The data, `None` or non-empty.
        data: Option<Bytes>,
    },
    /// A znode disappears.
    Delete {
        /// Which.
        path: String,
    },
}

/// The bytes are not those of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed transaction: {0}")]
pub struct DamagedTransaction(pub &'static str);

impl Transaction {
    /// Appends the transaction's bytes: zxid, time, session, then the changes to the end, each a
    /// tag and its fields; texts and data with a 32-bit length in front.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.zxid);
        out.put_i64(self.time);
        out.put_i64(self.session);
        for change in &self.changes {
            match change {
                Change::OpenSession => out.put_u8(OPEN_SESSION),
                Change::CloseSession => out.put_u8(CLOSE_SESSION),
                Change::Create {
                    path,
                    data,
                    ephemeral,
                } => {
                    out.put_u8(if *ephemeral { CREATE_EPHEMERAL } else { CREATE });
                    put_bytes(out, path.as_bytes());
                    put_data(out, data.as_ref());
                }
                Change::SetData { path, data } => {
                    out.put_u8(SET_DATA);
                    put_bytes(out, path.as_bytes());
                    put_data(out, data.as_ref());
                }
                Change::Delete { path } => {
                    out.put_u8(DELETE);
                    put_bytes(out, path.as_bytes());
                }
            }
        }
    }

    /// Reads what [`Transaction::encode`] wrote; the bytes must end with it.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DamagedTransaction> {
        let mut number = || {
            bytes
                .try_get_i64()
                .map_err(|_| DamagedTransaction("shorter than its header"))
        };
        let (zxid, time, session) = (number()?, number()?, number()?);
        let mut changes = Vec::new();
        while let Ok(tag) = bytes.try_get_u8() {
            changes.push(match tag {
                OPEN_SESSION => Change::OpenSession,
                CLOSE_SESSION => Change::CloseSession,
                CREATE | CREATE_EPHEMERAL => Change::Create {
                    path: get_text(&mut bytes)?,
                    data: get_data(&mut bytes)?,
                    ephemeral: tag == CREATE_EPHEMERAL,
                },
                SET_DATA => Change::SetData {
                    path: get_text(&mut bytes)?,
                    data: get_data(&mut bytes)?,
                },
                DELETE => Change::Delete {
                    path: get_text(&mut bytes)?,
                },
                _ => return Err(DamagedTransaction("unknown kind of change")),
            });
        }
        Ok(Self {
            zxid,
            time,
            session,
            changes,
        })
    }
}

const OPEN_SESSION: u8 = 1;
const CLOSE_SESSION: u8 = 2;
const CREATE: u8 = 3;
const CREATE_EPHEMERAL: u8 = 4;
const SET_DATA: u8 = 5;
const DELETE: u8 = 6;

/// Longest text or data: what fits its length field.
pub(super) const LENGTH_MAX: usize = u32::MAX as usize;

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    assert!(
        bytes.len() <= LENGTH_MAX,
        "requests this large are refused when planned"
    );
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Absent data is written as empty: the tree does not tell them apart.
pub(super) fn put_data(out: &mut BytesMut, data: Option<&Bytes>) {
    put_bytes(out, data.map_or(&[], |data| data.as_ref()));
}

pub(super) fn get_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DamagedTransaction> {
    let too_short = DamagedTransaction("shorter than its fields");
    let length = bytes.try_get_u32().map_err(|_| too_short.clone())? as usize;
    let (field, rest) = bytes.split_at_checked(length).ok_or(too_short)?;
    *bytes = rest;
    Ok(field)
}

pub(super) fn get_data(bytes: &mut &[u8]) -> Result<Option<Bytes>, DamagedTransaction> {
    let data = get_bytes(bytes)?;
    Ok((!data.is_empty()).then(|| Bytes::copy_from_slice(data)))
}

pub(super) fn get_text(bytes: &mut &[u8]) -> Result<String, DamagedTransaction> {
    match std::str::from_utf8(get_bytes(bytes)?) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DamagedTransaction("a path is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_round_trip_and_no_part_of_one_is_another() {
        let transaction = Transaction {
            zxid: 7,
            time: -1,
            session: i64::MAX,
            changes: vec![
                Change::OpenSession,
                Change::Create {
                    path: "/ä".into(),
                    data: Some("x".into()),
                    ephemeral: true,
                },
                Change::Create {
                    path: "/b".into(),
                    data: None,
                    ephemeral: false,
                },
                Change::SetData {
                    path: "/b".into(),
                    data: Some("yy".into()),
                },
                Change::Delete { path: "/b".into() },
                Change::CloseSession,
            ],
        };
        let mut bytes = BytesMut::new();
        transaction.encode(&mut bytes);
        assert_eq!(Transaction::decode(&bytes), Ok(transaction.clone()));
        for end in 0..bytes.len() {
            // Only whole changes can be cut off unseen; the log's frames tell that.
            if let Ok(part) = Transaction::decode(&bytes[..end]) {
                assert!(transaction.changes.starts_with(&part.changes));
                assert!(part.changes.len() < transaction.changes.len());
            }
        }
        bytes.put_u8(99);
        assert!(Transaction::decode(&bytes).is_err());
    }

    #[test]
    fn a_length_beyond_the_bytes_allocates_nothing() {
        let mut bytes = BytesMut::new();
        bytes.put_bytes(0, 24);
        bytes.put_u8(DELETE);
        bytes.put_u32(u32::MAX);
        assert!(Transaction::decode(&bytes).is_err());
    }
}
