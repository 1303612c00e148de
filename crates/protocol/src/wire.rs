//! Kafka's primitive types, read from and written to byte buffers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

/// Why bytes could not be read or a value not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a value, or a length is larger than what is left.
    #[error("{needed} bytes needed where {remaining} are left")]
    Short {
        /// The bytes that the value takes at least.
        needed: usize,
        /// The bytes that are there.
        remaining: usize,
    },
    /// A length or count is negative where null is not allowed.
    #[error("null or negative length {0}")]
    Null(i64),
    /// A variable-length number is longer than five bytes or larger than 32 bits.
    #[error("malformed variable-length number")]
    Varint,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A known tagged field does not fill its declared size.
    #[error("tagged field {0} does not have its declared size")]
    TagSize(u32),
    /// A value is too long for its length field.
    #[error("{0} is too long for its length field")]
    TooLong(usize),
}

/// Reads values off the front of a frame. Byte values are slices of the frame, never copies.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn int8(&mut self) -> Result<i8, WireError> {
        self.need(1)?;
        Ok(self.rest.get_i8())
    }

    pub(crate) fn int16(&mut self) -> Result<i16, WireError> {
        self.need(2)?;
        Ok(self.rest.get_i16())
    }

    pub(crate) fn int32(&mut self) -> Result<i32, WireError> {
        self.need(4)?;
        Ok(self.rest.get_i32())
    }

    pub(crate) fn int64(&mut self) -> Result<i64, WireError> {
        self.need(8)?;
        Ok(self.rest.get_i64())
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.need(16)?;
        let mut id = [0; 16];
        self.rest.copy_to_slice(&mut id);
        Ok(id)
    }

    pub(crate) fn varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            self.need(1)?;
            let byte = self.rest.get_u8();
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    /// Text with an int16 length, −1 for null.
    pub(crate) fn nullable_string_int16(&mut self) -> Result<Option<StrBytes>, WireError> {
        // Java's reader takes every negative length of a header's client id for null.
        let length = self.int16()?.max(-1);
        self.text(i64::from(length))
    }

    /// Text with the length of a version's style; `None` for null.
    pub(crate) fn nullable_string(
        &mut self,
        flexible: bool,
    ) -> Result<Option<StrBytes>, WireError> {
        let length = if flexible {
            i64::from(self.varint()?) - 1
        } else {
            i64::from(self.int16()?)
        };
        self.text(length)
    }

    /// Text that must not be null.
    pub(crate) fn string(&mut self, flexible: bool) -> Result<StrBytes, WireError> {
        self.nullable_string(flexible)?.ok_or(WireError::Null(-1))
    }

    /// Bytes with the length of a version's style; `None` for null.
    pub(crate) fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, WireError> {
        let length = self.length(flexible)?;
        self.slice(length)
    }

    /// The number of elements of an array, each of at least `least` bytes; `None` for null.
    pub(crate) fn nullable_count(
        &mut self,
        flexible: bool,
        least: usize,
    ) -> Result<Option<usize>, WireError> {
        match self.length(flexible)? {
            -1 => Ok(None),
            length => {
                let count = usize::try_from(length).map_err(|_| WireError::Null(length))?;
                self.need(count.saturating_mul(least))?;
                Ok(Some(count))
            }
        }
    }

    /// The number of elements of an array that must not be null.
    pub(crate) fn count(&mut self, flexible: bool, least: usize) -> Result<usize, WireError> {
        self.nullable_count(flexible, least)?
            .ok_or(WireError::Null(-1))
    }

    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        self.tagged_fields(|_, _| Ok(false))
    }

    /// Reads tagged fields. `known` reads the value of a tag that it knows and says whether it did;
    /// others are skipped.
    pub(crate) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            self.need(size)?;
            let mut value = Reader::new(self.rest.split_to(size));
            if known(tag, &mut value)? && value.remaining() != 0 {
                return Err(WireError::TagSize(tag));
            }
        }
        Ok(())
    }

    fn length(&mut self, flexible: bool) -> Result<i64, WireError> {
        Ok(if flexible {
            i64::from(self.varint()?) - 1
        } else {
            i64::from(self.int32()?)
        })
    }

    fn text(&mut self, length: i64) -> Result<Option<StrBytes>, WireError> {
        let Some(bytes) = self.slice(length)? else {
            return Ok(None);
        };
        StrBytes::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WireError::Utf8)
    }

    fn slice(&mut self, length: i64) -> Result<Option<Bytes>, WireError> {
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| WireError::Null(length))?;
        self.need(length)?;
        Ok(Some(self.rest.split_to(length)))
    }

    fn need(&self, needed: usize) -> Result<(), WireError> {
        if needed > self.rest.len() {
            return Err(WireError::Short {
                needed,
                remaining: self.rest.len(),
            });
        }
        Ok(())
    }
}

/// Writes text with an int16 length, −1 for null.
pub(crate) fn put_nullable_string(out: &mut BytesMut, text: Option<&str>) -> Result<(), WireError> {
    match text {
        None => out.put_i16(-1),
        Some(text) => {
            let length = i16::try_from(text.len()).map_err(|_| WireError::TooLong(text.len()))?;
            out.put_i16(length);
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// Writes values in the style of a version: plain or flexible lengths.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut BytesMut,
    pub(crate) flexible: bool,
}

impl Writer<'_> {
    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub(crate) fn string(&mut self, text: &str) -> Result<(), WireError> {
        self.nullable_string(Some(text))
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) -> Result<(), WireError> {
        if !self.flexible {
            return put_nullable_string(self.out, text);
        }
        self.compact_length(text.map(str::len))?;
        self.out.put_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// The length of bytes, or the count of an array; `None` for null.
    pub(crate) fn length(&mut self, length: Option<usize>) -> Result<(), WireError> {
        if self.flexible {
            return self.compact_length(length);
        }
        let value = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| WireError::TooLong(length))?,
        };
        self.out.put_i32(value);
        Ok(())
    }

    /// The end of a structure without tagged fields.
    pub(crate) fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.out.put_u8(0);
        }
    }

    /// One tagged field: its number, its size, its bytes.
    pub(crate) fn tagged_field(&mut self, tag: u32, value: &[u8]) -> Result<(), WireError> {
        let size = u32::try_from(value.len()).map_err(|_| WireError::TooLong(value.len()))?;
        self.varint(tag);
        self.varint(size);
        self.out.put_slice(value);
        Ok(())
    }

    fn compact_length(&mut self, length: Option<usize>) -> Result<(), WireError> {
        let value = match length {
            None => 0,
            Some(length) => i32::try_from(length)
                .ok()
                .and_then(|length| length.checked_add(1))
                .ok_or(WireError::TooLong(length))? as u32,
        };
        self.varint(value);
        Ok(())
    }
}
