//! Changes of configuration while the broker runs: who makes them, and who follows them.

mod loggers;

pub use loggers::{LEVELS, Loggers, ROOT};

/// Placeholder.
#[derive(Debug)]
pub struct DynamicConfig;
