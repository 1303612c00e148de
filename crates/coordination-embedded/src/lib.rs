//! ottla-coordination-embedded
