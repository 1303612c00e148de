//! What the coordinator promises, seen from outside.

mod admin;
mod cleanup;
mod ending;
mod harness;
mod initializing;
mod loading;
mod random;
mod sending;
mod states;
