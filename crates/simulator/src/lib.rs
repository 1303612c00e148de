//! Many brokers on one thread from one seed.
//!
//! Each simulated broker is the shipped code: the controller, the replication decisions and real
//! logs with real record batches; only what lies between them is simulated: the clock, the network
//! (delay, loss, partition), disks (slow, full, without power), the coordination service's
//! sessions, and processes that die, stop and come back. One seed decides everything, so a broken
//! promise can be looked at as often as needed.
//!
//! What does not belong here: decisions. The brokers' drivers in [`mod@self`]'s `broker` module
//! mirror those of the shipped broker; if one of them needs an `if` of its own, a decision is
//! missing in the deciding crates.
//!
//! Read in this order: `world` (the clock and what is going to happen), `message`, `network`,
//! `ensemble`, `broker`, `client`, `checker` (what must hold), `nemesis` (what goes wrong),
//! [`Simulation`], [`run_seed`].
//!
//! Unsynced bytes are lost only where another member of the ISR stays up until the loser has left
//! the ISR, or where every message is flushed: Kafka itself promises no more (KIP-966).

mod broker;
mod checker;
mod client;
mod ensemble;
mod message;
mod nemesis;
mod network;
mod pipelined;
mod random;
mod run;
mod settings;
mod simulation;
mod trace;
mod transaction_checker;
mod transactional;
mod world;

pub use run::{Failure, Summary, run_seed};
pub use settings::Settings;
pub use simulation::Simulation;
