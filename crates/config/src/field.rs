//! From parsed values to typed fields.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::key::Key;
use crate::value::{Password, Value};

/// Parsed values by key; none is Kafka's `null`.
pub(crate) type Values = BTreeMap<&'static str, Option<Value>>;

/// Raw properties, before anything is read from them.
pub type Properties = BTreeMap<String, String>;

/// Parses and checks what `properties` say for each of `keys`; keys that are not set get their
/// defaults, and other keys do not count.
pub(crate) fn parse(
    keys: impl Iterator<Item = &'static Key>,
    properties: &Properties,
) -> Result<Values, ConfigError> {
    keys.map(|key| {
        let raw = properties.get(key.name).map(String::as_str).or(key.default);
        let value = raw
            .map(|raw| Value::parse(key.name, key.kind, raw))
            .transpose()?;
        key.validator.check(key.name, value.as_ref())?;
        Ok((key.name, value))
    })
    .collect()
}

/// A type that a field can have.
pub(crate) trait Field: Sized {
    /// Reads a value; none when the type of the value is another one.
    fn read(value: Option<&Value>) -> Option<Self>;
}

macro_rules! fields {
    ($($variant:ident($type:ty)),* $(,)?) => {
        $(impl Field for $type {
            fn read(value: Option<&Value>) -> Option<Self> {
                match value {
                    Some(Value::$variant(value)) => Some(value.clone()),
                    _ => None,
                }
            }
        })*
    };
}

fields!(
    Boolean(bool),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>)
);
fields!(Password(Password));

impl Field for String {
    fn read(value: Option<&Value>) -> Option<Self> {
        match value {
            Some(Value::String(value) | Value::Class(value)) => Some(value.clone()),
            _ => None,
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn read(value: Option<&Value>) -> Option<Self> {
        match value {
            None => Some(None),
            some => T::read(some).map(Some),
        }
    }
}

/// The typed value of a key.
///
/// # Panics
/// If the struct's field and the table's row disagree about the type, which a test rules out.
pub(crate) fn read<T: Field>(values: &Values, name: &str) -> T {
    match values.get(name).and_then(|value| T::read(value.as_ref())) {
        Some(value) => value,
        None => panic!("the table and the typed struct disagree about {name}"),
    }
}

/// Declares a struct with one public field per key, and whatever private parts follow `with`.
macro_rules! typed_config {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($field:ident: $type:ty = $key:literal,)*
        } with {
            $($extra:ident: $extra_type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(non_snake_case, reason = "fields are named like Kafka's keys")]
        pub struct $name {
            $(#[doc = concat!("`", $key, "`")] pub $field: $type,)*
            $(pub(crate) $extra: $extra_type,)*
        }

        impl $name {
            /// The key behind every field, in order.
            #[cfg(test)]
            pub(crate) const FIELDS: &[&str] = &[$($key),*];

            #[allow(clippy::redundant_field_names, reason = "one shape for all fields")]
            fn from_values(values: &$crate::field::Values, $($extra: $extra_type,)*) -> Self {
                Self {
                    $($field: $crate::field::read(values, $key),)*
                    $($extra: $extra,)*
                }
            }
        }
    };
}
pub(crate) use typed_config;
