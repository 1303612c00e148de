//! What can be wrong with a configuration.

/// A configuration that cannot be used. The texts are Kafka's where clients or scripts see them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value does not parse or is outside what its key allows.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The key.
        name: String,
        /// The value, or `null`.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that topics do not have.
    #[error("Unknown topic config name: {0}")]
    UnknownTopicKey(String),
    /// Values that are fine alone and contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The text of a configuration file cannot be read.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, counted from 1; 0 where it is not known.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A key asks for protection that this broker does not give yet, so starting without it would
    /// be less safe than the configuration says.
    #[error("{name} is set to {value}, but {reason}")]
    Refused {
        /// The key.
        name: String,
        /// The value.
        value: String,
        /// What is not served.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(name: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn conflict(reason: impl Into<String>) -> Self {
        Self::Conflict(reason.into())
    }
}
