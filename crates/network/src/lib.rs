//! ottla-network
