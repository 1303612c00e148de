//! ottla-record
