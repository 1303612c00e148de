//! Zig-zag variable-length integers of record bodies, with Kafka's limits: at most 5 bytes for a
//! varint and 10 for a varlong.

/// A cursor over the bytes of records. Every read answers `None` when the bytes end too early or
/// an integer is longer than it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Option<i32> {
        if let Some(short) = self.short() {
            return Some(unzigzag_32(short));
        }
        self.long_varint()
    }

    #[inline]
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        if let Some(short) = self.short() {
            return Some(unzigzag_64(u64::from(short)));
        }
        self.long_varlong()
    }

    /// A number of one byte or two, as nearly all are, before its zig-zag is undone.
    #[inline]
    fn short(&mut self) -> Option<u32> {
        match *self.bytes {
            [only, ref rest @ ..] if only < 0x80 => {
                self.bytes = rest;
                Some(u32::from(only))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.bytes = rest;
                Some(u32::from(first & 0x7f) | u32::from(second) << 7)
            }
            _ => None,
        }
    }

    fn long_varint(&mut self) -> Option<i32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Some(unzigzag_32(value));
            }
        }
        None
    }

    fn long_varlong(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Some(unzigzag_64(value));
            }
        }
        None
    }

    /// A length-prefixed slice; any negative length is null, as in Kafka.
    #[inline]
    pub(crate) fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }
}

pub(crate) fn unzigzag_32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

pub(crate) fn unzigzag_64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a varlong.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes that [`put_varint`] or [`put_varlong`] writes for a value.
pub(crate) fn size_of_varlong(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1) as u64 ^ (value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_at_the_edges_survive() {
        for value in [
            0,
            -1,
            1,
            63,
            64,
            -64,
            -65,
            8191,
            8192,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
        ] {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), size_of_varlong(value), "{value}");
            assert_eq!(Cursor::new(&out).varlong(), Some(value));
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(Cursor::new(&out).varint(), Some(small));
            }
        }
    }

    #[test]
    fn overlong_and_cut_integers_are_refused() {
        assert_eq!(Cursor::new(&[0x80; 5]).varint(), None);
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).varint(),
            None
        );
        assert_eq!(Cursor::new(&[0x80; 10]).varlong(), None);
        assert_eq!(Cursor::new(&[0x80]).varint(), None);
        assert_eq!(Cursor::new(&[]).varint(), None);
    }
}
