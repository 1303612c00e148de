//! The bounds guard: proves that every length and count of a message fits the bytes that are there,
//! before kafka-protocol decodes it.
//!
//! kafka-protocol sizes its arrays from the count on the wire, so that twenty bytes could ask for
//! hundreds of gigabytes. The guard walks the message first, by a table made from Kafka's message
//! schemas (`schema/schema.py`), allocating nothing. Whatever passes is safe to decode: the memory
//! that a decoder takes is bounded by a constant times the frame. Bytes after a well-formed body
//! are tolerated, as in Kafka.
//!
//! The walk recurses only as deep as the table, never as deep as the input.

mod requests;
mod responses;
mod shape;
#[cfg(test)]
pub(crate) mod tests;

use shape::{Field, Kind, Message};

/// The most array elements in one message, over all its arrays. The largest honest message, a full
/// UpdateMetadata or LeaderAndIsr, holds some ten elements per partition.
pub const ELEMENTS_MAX: usize = 1 << 24;

/// Why a message is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// 3.9 has no such API, or it is not one of a ZooKeeper-mode broker.
    #[error("no API has the key {0}")]
    UnknownApi(i16),
    /// The bytes end inside a field, or a length or count is larger than what is left.
    #[error("field {field} needs {needed} bytes where {remaining} are left")]
    Short {
        /// The field's name in Kafka's schema.
        field: &'static str,
        /// The least number of bytes it would take.
        needed: u64,
        /// The bytes that are there.
        remaining: usize,
    },
    /// A field that may not be null in this version is.
    #[error("non-nullable field {0} was serialized as null")]
    Null(&'static str),
    /// A variable-length number is longer than five bytes or larger than 32 bits.
    #[error("field {0} has a malformed variable-length number")]
    Varint(&'static str),
    /// The marker before a nullable structure is neither "null" nor "present".
    #[error("field {0} has a malformed marker")]
    Marker(&'static str),
    /// A known tagged field does not fill its declared size.
    #[error("tagged field {0} does not have its declared size")]
    TagSize(&'static str),
    /// More than [`ELEMENTS_MAX`] elements.
    #[error("more than {ELEMENTS_MAX} array elements")]
    TooManyElements,
}

/// Checks a request's body (what follows the header); answers how many bytes it takes.
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    check(requests::REQUESTS, api_key, version, body)
}

/// Checks a response's body (what follows the header); answers how many bytes it takes.
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    check(responses::RESPONSES, api_key, version, body)
}

fn check(
    table: &[(i16, Message)],
    api_key: i16,
    version: i16,
    body: &[u8],
) -> Result<usize, GuardError> {
    let message = find(table, api_key).ok_or(GuardError::UnknownApi(api_key))?;
    let mut walk = Walk {
        rest: body,
        version,
        flexible: version >= message.first_flexible,
        elements: 0,
    };
    walk.structure(message.fields)?;
    Ok(body.len() - walk.rest.len())
}

fn find(table: &[(i16, Message)], api_key: i16) -> Option<&Message> {
    let index = table.binary_search_by_key(&api_key, |entry| entry.0).ok()?;
    Some(&table[index].1)
}

/// A position in a message.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        for field in fields {
            if field.is_plain_in(self.version) {
                self.value(
                    &field.kind,
                    field.name,
                    field.is_nullable_in(self.version),
                    false,
                )?;
            }
        }
        if self.flexible {
            self.tagged_fields(fields)?;
        }
        Ok(())
    }

    fn value(
        &mut self,
        kind: &'static Kind,
        name: &'static str,
        nullable: bool,
        element: bool,
    ) -> Result<(), GuardError> {
        match kind {
            Kind::Fixed(size) => self.skip(name, *size),
            Kind::String => match self.length(name, Width::Int16, nullable)? {
                Some(length) => self.skip(name, length),
                None => Ok(()),
            },
            Kind::Bytes | Kind::Records => match self.length(name, Width::Int32, nullable)? {
                Some(length) => self.skip(name, length),
                None => Ok(()),
            },
            Kind::Struct(fields) => {
                if nullable && !element && !self.is_present(name)? {
                    return Ok(());
                }
                self.structure(fields)
            }
            Kind::Array(kind) => match self.length(name, Width::Int32, nullable)? {
                Some(count) => self.array(kind, name, count),
                None => Ok(()),
            },
        }
    }

    fn array(
        &mut self,
        kind: &'static Kind,
        name: &'static str,
        count: usize,
    ) -> Result<(), GuardError> {
        // An element without a byte of its own still counts as one: the count must not be free.
        let least = self.least_size(kind).max(1);
        let needed = (count as u64).saturating_mul(least as u64);
        if needed > self.rest.len() as u64 {
            return Err(GuardError::Short {
                field: name,
                needed,
                remaining: self.rest.len(),
            });
        }
        self.elements += count;
        if self.elements > ELEMENTS_MAX {
            return Err(GuardError::TooManyElements);
        }
        if let Kind::Fixed(size) = kind {
            return self.skip(name, count * size);
        }
        for _ in 0..count {
            self.value(kind, name, false, true)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        const NAME: &str = "tagged fields";
        let count = self.varint(NAME)?;
        // Each takes a tag and a size at least.
        let needed = u64::from(count) * 2;
        if needed > self.rest.len() as u64 {
            return Err(GuardError::Short {
                field: NAME,
                needed,
                remaining: self.rest.len(),
            });
        }
        for _ in 0..count {
            let tag = self.varint(NAME)?;
            let size = self.varint(NAME)? as usize;
            let known = fields
                .iter()
                .find(|field| field.is_tag_in(tag, self.version));
            let Some(field) = known else {
                self.skip(NAME, size)?;
                continue;
            };
            let before = self.rest.len();
            self.value(
                &field.kind,
                field.name,
                field.is_nullable_in(self.version),
                false,
            )?;
            if before - self.rest.len() != size {
                return Err(GuardError::TagSize(field.name));
            }
        }
        Ok(())
    }

    /// The least number of bytes that a value takes in this version.
    fn least_size(&self, kind: &Kind) -> usize {
        match kind {
            Kind::Fixed(size) => *size,
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) if self.flexible => 1,
            Kind::String => 2,
            Kind::Bytes | Kind::Records | Kind::Array(_) => 4,
            Kind::Struct(fields) => {
                let plain = fields
                    .iter()
                    .filter(|field| field.is_plain_in(self.version));
                let size: usize = plain
                    .map(|field| match field.kind {
                        Kind::Struct(_) if field.is_nullable_in(self.version) => 1,
                        _ => self.least_size(&field.kind),
                    })
                    .sum();
                size + usize::from(self.flexible)
            }
        }
    }

    /// A length or count, `None` for null.
    fn length(
        &mut self,
        name: &'static str,
        width: Width,
        nullable: bool,
    ) -> Result<Option<usize>, GuardError> {
        let length = if self.flexible {
            i64::from(self.varint(name)?) - 1
        } else {
            match width {
                Width::Int16 => i64::from(i16::from_be_bytes(self.take(name)?)),
                Width::Int32 => i64::from(i32::from_be_bytes(self.take(name)?)),
            }
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if nullable && length == -1 => Ok(None),
            Err(_) => Err(GuardError::Null(name)),
        }
    }

    fn is_present(&mut self, name: &'static str) -> Result<bool, GuardError> {
        match i8::from_be_bytes(self.take(name)?) {
            1 => Ok(true),
            -1 => Ok(false),
            _ => Err(GuardError::Marker(name)),
        }
    }

    fn varint(&mut self, name: &'static str) -> Result<u32, GuardError> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take(name)?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(GuardError::Varint(name))
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], GuardError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(GuardError::Short {
                field,
                needed: N as u64,
                remaining: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(*head)
    }

    fn skip(&mut self, field: &'static str, size: usize) -> Result<(), GuardError> {
        let Some((_, rest)) = self.rest.split_at_checked(size) else {
            return Err(GuardError::Short {
                field,
                needed: size as u64,
                remaining: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(())
    }
}

/// How wide a length is outside flexible versions.
enum Width {
    Int16,
    Int32,
}
