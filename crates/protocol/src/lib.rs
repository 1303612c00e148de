//! ottla-protocol
