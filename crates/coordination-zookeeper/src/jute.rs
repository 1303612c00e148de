//! Jute, ZooKeeper's encoding: big-endian numbers, lengths of four bytes, −1 for null.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes that are not what they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed answer of ZooKeeper: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends a frame: its length, then what `body` writes.
pub(crate) fn frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = length_of(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

pub(crate) fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(u8::from(value));
}

/// A buffer; `None` is null, which is not the same as an empty one.
pub(crate) fn put_buffer(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            out.put_i32(length_of(value.len()));
            out.put_slice(value);
        }
    }
}

pub(crate) fn put_string(out: &mut BytesMut, value: &str) {
    put_buffer(out, Some(value.as_bytes()));
}

/// The count of a vector; its elements follow.
pub(crate) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(length_of(count));
}

fn length_of(length: usize) -> i32 {
    // Nothing that the broker writes comes near: a server refuses a frame of more than a MiB.
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Reads one frame. Every length is compared with what is left before anything is taken.
#[derive(Debug)]
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    fn need(&self, count: usize) -> Result<(), Malformed> {
        if self.0.len() < count {
            return Err(Malformed("it ends too early"));
        }
        Ok(())
    }

    pub(crate) fn int(&mut self) -> Result<i32, Malformed> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        self.need(8)?;
        Ok(self.0.get_i64())
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        self.need(1)?;
        Ok(self.0.get_u8() != 0)
    }

    pub(crate) fn buffer(&mut self) -> Result<Option<Bytes>, Malformed> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Malformed("a negative length"))?;
        self.need(length)?;
        Ok(Some(self.0.split_to(length)))
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        let bytes = self.buffer()?.unwrap_or_default();
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Malformed("text that is not UTF-8")),
        }
    }

    /// The count of a vector whose elements have at least four bytes each.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.int()?).unwrap_or(0);
        if count > self.0.len() / 4 {
            return Err(Malformed("a count of more than is there"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_empty() {
        let mut out = BytesMut::new();
        frame(&mut out, |out| {
            put_buffer(out, None);
            put_buffer(out, Some(b""));
            put_string(out, "ab");
            put_bool(out, true);
        });
        let expected = b"\0\0\0\x0f\xff\xff\xff\xff\0\0\0\0\0\0\0\x02ab\x01";
        assert_eq!(&out[..], expected);
        let mut reader = Reader::new(out.split_off(4).freeze());
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(Bytes::new())));
        assert_eq!(reader.string(), Ok("ab".to_owned()));
        assert_eq!(reader.bool(), Ok(true));
        assert!(reader.bool().is_err());
    }

    #[test]
    fn lengths_are_not_believed() {
        for bytes in [&b"\x7f\xff\xff\xffab"[..], b"\xff\xff\xff\xfe", b"\0\0"] {
            let reader = || Reader::new(Bytes::copy_from_slice(bytes));
            assert!(reader().buffer().is_err());
            assert!(reader().string().is_err());
        }
        let mut reader = Reader::new(Bytes::from_static(b"\x7f\xff\xff\xffabcd"));
        assert!(reader.count().is_err());
    }
}
