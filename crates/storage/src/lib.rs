//! ottla-storage
