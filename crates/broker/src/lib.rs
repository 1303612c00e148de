//! The broker: everything below it assembled. Handlers translate the wire's versions, drivers
//! perform what the deciding crates decide, and the replica manager joins decisions to logs.
//!
//! What does not belong here: decisions (an `if` in a driver is a decision that leaked) and formats
//! (wire, disk and znodes have crates of their own).
//!
//! Read in this order: [`broker`], `service`, `handlers`, [`metadata_cache`], `replica_manager`,
//! `fetcher`, `controller`, `group_coordinator`, `transaction_coordinator`, `coordination`,
//! `dynamic_config`, `metrics`.

mod background;
mod broker;
mod client_quotas;
pub mod clock;
pub mod configs;
pub mod controller;
pub mod coordination;
mod coordinator_load;
mod coordinator_log;
mod coordinator_timer;
pub mod dynamic_config;
pub mod fetcher;
mod finalized_features;
pub mod group_coordinator;
mod handlers;
mod listeners;
pub mod metadata_cache;
mod metrics;
pub mod producer_ids;
mod purgatory;
pub mod replica_manager;
mod service;
pub mod start;
pub mod transaction_coordinator;

pub use metrics::{InvalidAddress, MetricsAddress};
pub use start::{RunningBroker, StartError, StartOptions};
