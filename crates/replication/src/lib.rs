//! ottla-replication
