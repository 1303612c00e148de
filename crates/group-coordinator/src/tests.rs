//! The coordinator's promises, each told as a scenario.

mod harness;
mod invariants;

mod admin;
mod commits;
mod expiration;
mod gate;
mod joining;
mod loading;
mod random;
mod rebalancing;
mod states;
mod static_members;
mod syncing;
mod transactions;
