//! Following leaders on other brokers (`ReplicaFetcherManager`, `ReplicaFetcherThread`), and what a
//! leader tells the controller about its followers (`AlterPartitionManager`).
//!
//! There is one task per leader and fetcher id, with one connection and one request in flight. What
//! it does with each answer `ottla_replication::fetcher` decides; the logs belong to the replica
//! manager.
//!
//! Read in this order: [`manager`], `worker`, `leader`, `session`, `versions`; then
//! [`log_dir_movers`]; [`to_controller`], [`alter_partition`], [`isr_znodes`], [`producer_id_blocks`].

pub mod alter_partition;
pub mod isr_znodes;
mod leader;
pub mod log_dir_movers;
pub mod manager;
pub mod producer_id_blocks;
mod session;
#[cfg(test)]
mod tests;
pub mod to_controller;
mod versions;
mod worker;

pub use manager::{FetcherCounts, Fetchers};
pub use producer_id_blocks::ClusterBlocks;
pub use to_controller::ToController;
