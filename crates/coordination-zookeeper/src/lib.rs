//! ottla-coordination-zookeeper
