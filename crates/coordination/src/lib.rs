//! ottla-coordination
