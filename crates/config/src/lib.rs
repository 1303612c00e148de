//! Configuration: every key of Kafka 3.9 once, in one table, and everything that reads it.
//!
//! What belongs here: parsing of properties and TOML, the typed [`BrokerConfig`] and
//! [`TopicConfig`], descriptions with sources and synonyms, the rules of dynamic updates, and what
//! this broker does about keys that it does not serve. What does not: reading files, and acting on
//! any value.
//!
//! Read in this order: [`key`], [`keys`], [`value`], [`validator`], [`broker_config`],
//! [`topic_config`].
//!
//! Invariants: a typed config exists only if every value parses, passes its validator, and fits the
//! others; a field's type is the type that the table states.

pub mod broker_config;
pub mod describe;
pub mod dynamic;
pub mod error;
mod field;
pub mod key;
pub mod keys;
mod listeners;
pub mod metadata_version;
pub mod profile;
pub mod properties;
pub mod serving;
pub mod synonyms;
pub mod toml_form;
pub mod topic_config;
mod validation;
pub mod validator;
pub mod value;

pub use broker_config::BrokerConfig;
pub use describe::{
    ConfigSource, DescribedEntry, DynamicValues, Synonym, describe_broker,
    describe_broker_defaults, describe_topic,
};
pub use dynamic::{DynamicLevel, validate_dynamic};
pub use error::ConfigError;
pub use field::Properties;
pub use metadata_version::MetadataVersion;
pub use topic_config::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};
pub use value::Password;
