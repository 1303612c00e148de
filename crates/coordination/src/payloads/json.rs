//! Reading JSON with Kafka's strictness (`kafka.utils.json`), and writing it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::DecodeError;

/// The fields of a JSON object.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(&'a Map<String, Value>);

/// Parses the first JSON value; like Jackson, what follows it is not looked at.
pub(super) fn parse(data: &[u8]) -> Result<Value, DecodeError> {
    match serde_json::Deserializer::from_slice(data)
        .into_iter::<Value>()
        .next()
    {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(DecodeError::NotJson(error.to_string())),
        None => Err(DecodeError::NotJson("no value".to_owned())),
    }
}

/// The bytes of a value; a struct's fields are written in the order of their declaration.
pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    // Serialising into memory fails only for maps whose keys are neither strings nor numbers.
    let json = serde_json::to_vec(value).expect("payload keys are strings or numbers");
    Bytes::from(json)
}

/// The whole value as an object.
pub(super) fn object(value: &Value) -> Result<Object<'_>, DecodeError> {
    as_object(value, "")
}

pub(super) fn as_object<'a>(value: &'a Value, key: &str) -> Result<Object<'a>, DecodeError> {
    value
        .as_object()
        .map(Object)
        .ok_or_else(|| wrong_type(key, "an object"))
}

pub(super) fn as_i32(value: &Value, key: &str) -> Result<i32, DecodeError> {
    value
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| wrong_type(key, "a 32-bit integer"))
}

pub(super) fn as_str<'a>(value: &'a Value, key: &str) -> Result<&'a str, DecodeError> {
    value.as_str().ok_or_else(|| wrong_type(key, "a string"))
}

pub(super) fn as_array<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], DecodeError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| wrong_type(key, "an array"))
}

pub(super) fn wrong_type(key: &str, expected: &'static str) -> DecodeError {
    DecodeError::WrongType {
        key: key.to_owned(),
        expected,
    }
}

impl<'a> Object<'a> {
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    pub(super) fn need(self, key: &'static str) -> Result<&'a Value, DecodeError> {
        self.get(key).ok_or(DecodeError::Missing(key))
    }

    pub(super) fn i32(self, key: &'static str) -> Result<i32, DecodeError> {
        as_i32(self.need(key)?, key)
    }

    pub(super) fn i64(self, key: &'static str) -> Result<i64, DecodeError> {
        self.need(key)?
            .as_i64()
            .ok_or_else(|| wrong_type(key, "a 64-bit integer"))
    }

    pub(super) fn str(self, key: &'static str) -> Result<&'a str, DecodeError> {
        as_str(self.need(key)?, key)
    }

    pub(super) fn array(self, key: &'static str) -> Result<&'a [Value], DecodeError> {
        as_array(self.need(key)?, key)
    }

    pub(super) fn object(self, key: &'static str) -> Result<Object<'a>, DecodeError> {
        as_object(self.need(key)?, key)
    }

    /// An object that may be absent (but not null).
    pub(super) fn optional_object(
        self,
        key: &'static str,
    ) -> Result<Option<Object<'a>>, DecodeError> {
        self.get(key).map(|value| as_object(value, key)).transpose()
    }

    /// A string that may be absent or null.
    pub(super) fn nullable_str(self, key: &'static str) -> Result<Option<&'a str>, DecodeError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => as_str(value, key).map(Some),
        }
    }

    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}
