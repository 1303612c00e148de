//! Values as Kafka's `ConfigDef` parses and prints them.

use std::fmt;

use crate::error::ConfigError;

/// The type of a key's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text.
    String,
    /// A 32-bit integer.
    Int,
    /// A 16-bit integer.
    Short,
    /// A 64-bit integer.
    Long,
    /// A 64-bit floating-point number.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

impl Type {
    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The number of the type in DescribeConfigs (v3 and later).
    pub fn describe_id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// A secret: compares and clones, but does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// A parsed value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// See [`Type::Boolean`].
    Boolean(bool),
    /// See [`Type::String`].
    String(String),
    /// See [`Type::Int`].
    Int(i32),
    /// See [`Type::Short`].
    Short(i16),
    /// See [`Type::Long`].
    Long(i64),
    /// See [`Type::Double`].
    Double(f64),
    /// See [`Type::List`].
    List(Vec<String>),
    /// See [`Type::Class`].
    Class(String),
    /// See [`Type::Password`].
    Password(Password),
}

impl Value {
    /// Reads a value as `ConfigDef.parseType` does: blanks around it do not count.
    pub fn parse(name: &str, kind: Type, raw: &str) -> Result<Self, ConfigError> {
        let text = java_trim(raw);
        let not_a_number =
            || ConfigError::invalid(name, raw, format!("Not a number of type {}", kind.name()));
        Ok(match kind {
            Type::Boolean if text.eq_ignore_ascii_case("true") => Self::Boolean(true),
            Type::Boolean if text.eq_ignore_ascii_case("false") => Self::Boolean(false),
            Type::Boolean => {
                let reason = "Expected value to be either true or false";
                return Err(ConfigError::invalid(name, raw, reason));
            }
            Type::String => Self::String(text.to_owned()),
            Type::Int => Self::Int(text.parse().map_err(|_| not_a_number())?),
            Type::Short => Self::Short(text.parse().map_err(|_| not_a_number())?),
            Type::Long => Self::Long(text.parse().map_err(|_| not_a_number())?),
            Type::Double => Self::Double(parse_java_double(text).ok_or_else(not_a_number)?),
            Type::List => Self::List(split_list(text)),
            Type::Class => Self::Class(text.to_owned()),
            Type::Password => Self::Password(Password::new(text)),
        })
    }

    /// The number in it, for range checks.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(f64::from(*value)),
            Self::Short(value) => Some(f64::from(*value)),
            Self::Long(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The texts in it, for checks of allowed values.
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::String(text) | Self::Class(text) => std::slice::from_ref(text),
            Self::List(texts) => texts,
            _ => &[],
        }
    }
}

/// Kafka's text of a value (`ConfigDef.convertToString`), the secret of a password included.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::String(value) | Self::Class(value) => f.write_str(value),
            Self::Int(value) => value.fmt(f),
            Self::Short(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&java_double(*value)),
            Self::List(values) => f.write_str(&values.join(",")),
            Self::Password(value) => f.write_str(value.expose()),
        }
    }
}

/// Java's `String.trim`: everything up to and including the space is blank.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Splits at commas; blanks around them do not count, empty elements stay.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',')
        .map(|part| part.trim_matches(is_regex_space).to_owned())
        .collect()
}

/// `Csv.parseCsvList`: as [`split_list`], without the empty elements.
pub(crate) fn split_csv(text: &str) -> Vec<String> {
    split_list(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect()
}

fn is_regex_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// `Double.parseDouble` without hexadecimal numbers, which nobody writes into a configuration.
fn parse_java_double(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned {
        "Infinity" | "NaN" => return text.parse().ok(),
        _ if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => return None,
        _ => {}
    }
    text.strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(text)
        .parse()
        .ok()
}

/// `Double.toString`: decimal from 10⁻³ up to 10⁷, else computerized scientific notation.
fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Type, raw: &str, expect: Result<&str, &str>) {
        let result = Value::parse("k", kind, raw).map(|value| value.to_string());
        let expect = expect.map(str::to_owned);
        assert_eq!(
            result.map_err(|error| error.to_string()),
            expect.map_err(str::to_owned)
        );
    }

    #[test]
    fn values_are_trimmed_and_printed_as_kafka_prints_them() {
        check(Type::Boolean, " TRUE ", Ok("true"));
        check(Type::Int, " +7", Ok("7"));
        check(Type::Long, "-1\t", Ok("-1"));
        check(Type::List, " a , b,,c ", Ok("a,b,,c"));
        check(Type::List, "  ", Ok(""));
        check(Type::String, "  x y ", Ok("x y"));
        check(
            Type::Double,
            "1.7976931348623157E308",
            Ok("1.7976931348623157E308"),
        );
        check(Type::Double, "5", Ok("5.0"));
        check(Type::Double, "0.00005f", Ok("5.0E-5"));
        check(Type::Double, "10000000", Ok("1.0E7"));
        check(Type::Double, "1024", Ok("1024.0"));
    }

    #[test]
    fn unreadable_values_get_kafkas_messages() {
        check(
            Type::Boolean,
            "yes",
            Err("Invalid value yes for configuration k: Expected value to be either true or false"),
        );
        check(
            Type::Int,
            "1x",
            Err("Invalid value 1x for configuration k: Not a number of type INT"),
        );
        check(
            Type::Int,
            "2147483648",
            Err("Invalid value 2147483648 for configuration k: Not a number of type INT"),
        );
        check(
            Type::Long,
            "",
            Err("Invalid value  for configuration k: Not a number of type LONG"),
        );
        check(
            Type::Double,
            "inf",
            Err("Invalid value inf for configuration k: Not a number of type DOUBLE"),
        );
    }

    #[test]
    fn passwords_do_not_print() {
        assert_eq!(format!("{:?}", Password::new("secret")), "[hidden]");
    }
}
