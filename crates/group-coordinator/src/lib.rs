//! ottla-group-coordinator
