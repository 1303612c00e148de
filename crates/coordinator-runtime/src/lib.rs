//! ottla-coordinator-runtime
