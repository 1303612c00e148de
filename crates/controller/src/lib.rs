//! The ZooKeeper-mode controller of Kafka 3.9 as a pure state machine: events in, actions out.
//!
//! What belongs here: who is controller, the states of partitions and replicas, elections, replica
//! assignment, reassignment, topic deletion, and what brokers are told. What does not: sockets,
//! the session itself, channels to brokers, wire versions, clocks. The driver performs the actions
//! in order and turns their results into events.
//!
//! Read in this order: [`event`], [`controller`], [`states`], [`election`], [`assignment`], then
//! `exchange` (how a procedure waits), `znodes`, `request_batch`, the two state machines, `events`
//! (one procedure per event).
//!
//! Invariants: one event in work at a time, others queue in order; every write of the controller
//! is fenced by the version of `/controller_epoch`; memory follows the coordination service, never
//! the reverse; a leader epoch grows with every election and with every removal from an ISR by the
//! controller, and only then; nothing iterates in hash order, so one sequence of events gives one
//! sequence of actions.

pub mod assignment;
mod config;
mod context;
pub mod controller;
mod core;
pub mod election;
pub mod event;
mod events;
mod exchange;
mod failure;
mod gauges;
mod partition_state_machine;
mod replica_state_machine;
mod request_batch;
pub mod states;
#[cfg(test)]
mod tests;
mod topic_map;
mod work;
mod znodes;

pub use config::{Capabilities, ControllerConfig};
pub use controller::Controller;
pub use event::{Action, Answer, ApiError, ApiRequest, Event, Now, Token};
pub use gauges::{Gauges, View};
pub use work::ControllerState;
