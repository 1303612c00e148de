//! What a value must be, with the messages of Kafka's `ConfigDef` validators.

use std::fmt;

use crate::error::ConfigError;
use crate::metadata_version::MetadataVersion;
use crate::value::Value;

/// A check of one value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Validator {
    /// Everything is fine.
    Any,
    /// A number within inclusive bounds.
    Range {
        /// The least value.
        min: f64,
        /// The greatest value, if there is one.
        max: Option<f64>,
    },
    /// One of these texts; for a list, each element is.
    OneOf(&'static [&'static str]),
    /// One of these texts in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// Not null.
    NonNull,
    /// Null or not empty.
    NonEmptyString,
    /// The addresses of a KRaft quorum, which this broker does not look at.
    QuorumAddresses,
    /// A level of gzip: 1 to 9, or −1 for the library's own.
    GzipLevel,
    /// Threads of remote storage: at least 1, or −1 to take another key's value.
    RemoteThreads,
    /// A version of Kafka's protocol between brokers.
    MetadataVersion,
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
}

impl Validator {
    /// Checks a value; none is null.
    pub fn check(&self, name: &str, value: Option<&Value>) -> Result<(), ConfigError> {
        let fail = |reason: String| {
            let text = value.map_or_else(|| "null".to_owned(), Value::to_string);
            Err(ConfigError::invalid(name, &text, reason))
        };
        match *self {
            Self::Any | Self::QuorumAddresses => Ok(()),
            Self::Range { min, max } => match value.and_then(Value::as_number) {
                None => fail("Value must be non-null".to_owned()),
                Some(number) if number < min => fail(format!("Value must be at least {min}")),
                Some(number) => match max {
                    Some(max) if number > max => fail(format!("Value must be no more than {max}")),
                    _ => Ok(()),
                },
            },
            Self::OneOf(allowed) => {
                let texts = value.map(Value::texts).unwrap_or_default();
                match texts.iter().find(|text| !allowed.contains(&text.as_str())) {
                    Some(text) => Err(ConfigError::invalid(
                        name,
                        text,
                        format!("String must be one of: {}", allowed.join(", ")),
                    )),
                    None => Ok(()),
                }
            }
            Self::OneOfIgnoringCase(allowed) => {
                let texts = value.map(Value::texts).unwrap_or_default();
                let known =
                    |text: &String| allowed.iter().any(|name| name.eq_ignore_ascii_case(text));
                if texts.iter().all(known) {
                    return Ok(());
                }
                fail(format!(
                    "String must be one of (case insensitive): {}",
                    allowed.join(", ")
                ))
            }
            Self::NonNull if value.is_none() => fail("entry must be non null".to_owned()),
            Self::NonEmptyString if value.is_some_and(|value| value.to_string().is_empty()) => {
                fail("String must be non-empty".to_owned())
            }
            Self::NonNull | Self::NonEmptyString => Ok(()),
            Self::GzipLevel => match value {
                Some(Value::Int(-1 | 1..=9)) => Ok(()),
                _ => fail("Value must be between 1 and 9 or equal to -1".to_owned()),
            },
            Self::RemoteThreads => match value {
                Some(Value::Int(-1 | 1..)) => Ok(()),
                _ => fail("Value can be either -1 or greater than 0".to_owned()),
            },
            Self::MetadataVersion => {
                let text = value.map_or_else(|| "null".to_owned(), Value::to_string);
                match MetadataVersion::parse(&text) {
                    Some(_) => Ok(()),
                    None => fail(format!("Version {text} is not a valid version")),
                }
            }
            Self::ThrottledReplicas => {
                let texts = value.map(Value::texts).unwrap_or_default();
                if texts.concat() == "*" || texts.iter().all(|text| is_throttled_replica(text)) {
                    return Ok(());
                }
                // Kafka prints the list as Java does.
                let list = format!("[{}]", texts.join(", "));
                let reason = format!(
                    "{name} must be the literal '*' or a list of replicas in the following \
                     format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                );
                Err(ConfigError::invalid(name, &list, reason))
            }
        }
    }
}

/// The text that Kafka's documentation gives for the valid values of a key.
impl fmt::Display for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => Ok(()),
            Self::Range { min, max: None } => write!(f, "[{min},...]"),
            Self::Range {
                min,
                max: Some(max),
            } => write!(f, "[{min},...,{max}]"),
            Self::OneOf(allowed) => write!(f, "[{}]", allowed.join(", ")),
            Self::OneOfIgnoringCase(allowed) => {
                write!(f, "(case insensitive) [{}]", allowed.join(", "))
            }
            Self::NonNull => f.write_str("non-null string"),
            Self::NonEmptyString => f.write_str("non-empty string"),
            Self::QuorumAddresses => f.write_str("non-empty list"),
            Self::GzipLevel => f.write_str("[1,...,9] or -1"),
            Self::RemoteThreads => f.write_str("[1,...] or -1"),
            Self::MetadataVersion => f.write_str("a version of Kafka, 0.8.0 to 4.0-IV1"),
            Self::ThrottledReplicas => {
                f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],...")
            }
        }
    }
}

fn is_throttled_replica(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.trim();
    text.is_empty()
        || text
            .split_once(':')
            .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
}
