//! To be filled by its owner: see crates/broker/src/broker.rs for how it is assembled.

/// Placeholder.
#[derive(Debug)]
pub struct DynamicConfig;
