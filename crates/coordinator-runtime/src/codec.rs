//! Kafka's two encodings as the records of internal topics use them: the old one (int16 and
//! int32 lengths) and the flexible one (unsigned varints and tagged fields).

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes are not what their version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field reaches beyond the end.
    #[error("the record ends inside a field")]
    Truncated,
    /// A length or count is negative or beyond what the bytes can hold.
    #[error("a length of {0} is not possible here")]
    BadLength(i64),
    /// A string is not UTF-8.
    #[error("a string is not valid UTF-8")]
    NotUtf8,
    /// A string or array that must be present is null.
    #[error("a field is null that must not be")]
    Null,
    /// A version that 3.9 does not know.
    #[error("version {0} is not known")]
    UnknownVersion(i16),
}

/// A string has more bytes than its int16 length can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string of {0} bytes is too long to be written")]
pub struct FieldTooLong(pub usize);

/// Reads fields from the front of a record's key or value.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Reads these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.bytes.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&taken);
        Ok(array)
    }

    /// An int8.
    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// An int16.
    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// An int32.
    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// An int64.
    pub fn int64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// An unsigned varint of at most five bytes.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadLength(i64::from(value)))
    }

    fn text(&mut self, length: usize) -> Result<String, DecodeError> {
        let taken = self.take(length)?;
        std::str::from_utf8(&taken)
            .map(str::to_owned)
            .map_err(|_| DecodeError::NotUtf8)
    }

    /// A string with an int16 length, −1 for null.
    pub fn nullable_string(&mut self) -> Result<Option<String>, DecodeError> {
        match self.int16()? {
            -1 => Ok(None),
            length => {
                let length =
                    usize::try_from(length).map_err(|_| DecodeError::BadLength(length.into()))?;
                self.text(length).map(Some)
            }
        }
    }

    /// A string with an int16 length that is not null.
    pub fn string(&mut self) -> Result<String, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::Null)
    }

    /// Bytes with an int32 length, not null; a slice of the record, not a copy.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.int32()?;
        let length = usize::try_from(length).map_err(|_| DecodeError::BadLength(length.into()))?;
        self.take(length)
    }

    /// The int32 count of an array whose elements take at least `least_element_size` bytes each;
    /// a count beyond what the rest can hold is refused before anything is reserved.
    pub fn array_count(&mut self, least_element_size: usize) -> Result<usize, DecodeError> {
        let count = self.int32()?;
        let checked = usize::try_from(count).map_err(|_| DecodeError::BadLength(count.into()))?;
        self.check_count(checked, least_element_size)
    }

    fn check_count(&self, count: usize, least_element_size: usize) -> Result<usize, DecodeError> {
        if count > self.remaining() / least_element_size.max(1) {
            return Err(DecodeError::BadLength(count as i64));
        }
        Ok(count)
    }

    /// A string with a varint length plus one, 0 for null.
    pub fn compact_nullable_string(&mut self) -> Result<Option<String>, DecodeError> {
        match self.unsigned_varint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => self.text(length as usize).map(Some),
        }
    }

    /// A string with a varint length plus one that is not null.
    pub fn compact_string(&mut self) -> Result<String, DecodeError> {
        self.compact_nullable_string()?.ok_or(DecodeError::Null)
    }

    /// Bytes with a varint length plus one, not null.
    pub fn compact_bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self
            .unsigned_varint()?
            .checked_sub(1)
            .ok_or(DecodeError::Null)?;
        self.take(length as usize)
    }

    /// The varint count plus one of an array, see [`Self::array_count`].
    pub fn compact_array_count(&mut self, least_element_size: usize) -> Result<usize, DecodeError> {
        let count = self
            .unsigned_varint()?
            .checked_sub(1)
            .ok_or(DecodeError::Null)?;
        self.check_count(count as usize, least_element_size)
    }

    /// Skips the tagged fields that end a flexible structure.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()?;
            self.take(size as usize)?;
        }
        Ok(())
    }
}

/// Writes fields in the old encoding, the only one that 3.9's brokers write.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// Starts with the version that prefixes every key and value.
    pub fn versioned(version: i16) -> Self {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_i16(version);
        Self { bytes }
    }

    /// An int8.
    pub fn int8(&mut self, value: i8) {
        self.bytes.put_i8(value);
    }

    /// An int16.
    pub fn int16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    /// An int32.
    pub fn int32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    /// An int64.
    pub fn int64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    /// A string.
    pub fn string(&mut self, value: &str) -> Result<(), FieldTooLong> {
        self.int16(i16::try_from(value.len()).map_err(|_| FieldTooLong(value.len()))?);
        self.bytes.put_slice(value.as_bytes());
        Ok(())
    }

    /// A string or null.
    pub fn nullable_string(&mut self, value: Option<&str>) -> Result<(), FieldTooLong> {
        match value {
            Some(value) => self.string(value),
            None => {
                self.int16(-1);
                Ok(())
            }
        }
    }

    /// Bytes with their int32 length.
    pub fn bytes(&mut self, value: &[u8]) -> Result<(), FieldTooLong> {
        self.count(value.len())?;
        self.bytes.put_slice(value);
        Ok(())
    }

    /// The int32 count of an array.
    pub fn count(&mut self, count: usize) -> Result<(), FieldTooLong> {
        self.int32(i32::try_from(count).map_err(|_| FieldTooLong(count))?);
        Ok(())
    }

    /// What was written.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn lengths_that_lie_are_refused_and_reserve_nothing() {
        assert_eq!(
            reader(&[0x7f, 0xff, b'a']).string(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            reader(&[0xff, 0xfe]).string(),
            Err(DecodeError::BadLength(-2))
        );
        assert_eq!(reader(&[0xff, 0xff]).string(), Err(DecodeError::Null));
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(), Ok(None));
        assert_eq!(reader(&[0, 1, 0xff]).string(), Err(DecodeError::NotUtf8));
        assert_eq!(
            reader(&[0x7f, 0xff, 0xff, 0xff]).array_count(1),
            Err(DecodeError::BadLength(i64::from(i32::MAX)))
        );
        assert_eq!(
            reader(&[0xff, 0xff, 0xff, 0xff]).bytes(),
            Err(DecodeError::BadLength(-1))
        );
        assert_eq!(reader(&[0; 3]).int32(), Err(DecodeError::Truncated));
    }

    #[test]
    fn varints_end_after_five_bytes() {
        assert_eq!(reader(&[0xac, 0x02]).unsigned_varint(), Ok(300));
        assert_eq!(
            reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(),
            Ok(u32::MAX)
        );
        assert!(reader(&[0xff; 6]).unsigned_varint().is_err());
    }

    #[test]
    fn tagged_fields_are_skipped() {
        let mut fields = reader(&[2, 0, 1, 0xaa, 5, 0, 9]);
        fields.skip_tagged_fields().unwrap();
        assert_eq!(fields.int8(), Ok(9));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::versioned(3);
        writer.string("g").unwrap();
        writer.nullable_string(None).unwrap();
        writer.bytes(&[1, 2]).unwrap();
        writer.int64(-5);
        let mut reader = Reader::new(writer.finish());
        assert_eq!(reader.int16(), Ok(3));
        assert_eq!(reader.string().as_deref(), Ok("g"));
        assert_eq!(reader.nullable_string(), Ok(None));
        assert_eq!(reader.bytes(), Ok(Bytes::from_static(&[1, 2])));
        assert_eq!(reader.int64(), Ok(-5));
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn a_string_longer_than_an_int16_is_an_error() {
        let long = "x".repeat(32768);
        assert_eq!(Writer::versioned(0).string(&long), Err(FieldTooLong(32768)));
    }
}
